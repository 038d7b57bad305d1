/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The student: a network in fixed point that chooses set-points from the
 * summaries of an instance, at the end of each period.
 *
 *	summaries ─▶ period ─▶ signals ─▶ means ─▶ network ─▶ set-points
 *	             (merge)   (student_signals.c)  (student.c)
 *
 * Its inputs are logarithms of the period's values and their exponential means,
 * so the network itself has no state.  The format of its file and the formulas
 * are in l4sllm_abi.h; model/src/student is the same to the bit.
 *
 * No floating point and no allocation; a decision takes at most
 * L4S_STUDENT_PRODUCTS multiplications of the network.
 */

#ifndef _L4S_STUDENT_H_
#define	_L4S_STUDENT_H_

#include "osdep.h"
#include "l4sllm_abi.h"

#define	L4S_STUDENT_PRODUCTS						\
	((size_t)L4S_STUDENT_HIDDEN * (L4S_STUDENT_INPUTS +		\
	L4S_STUDENT_HIDDEN + L4S_STUDENT_OUTPUTS))
#define	L4S_STUDENT_UNITS	(2 * L4S_STUDENT_HIDDEN + L4S_STUDENT_OUTPUTS)
/* Maximum length of a file, bytes. */
#define	L4S_STUDENT_BYTES						\
	(sizeof(struct l4s_student) +					\
	L4S_STUDENT_INPUTS * sizeof(struct l4s_student_input) +		\
	L4S_STUDENT_UNITS * sizeof(struct l4s_student_unit) +		\
	L4S_STUDENT_PRODUCTS)

/* The range of net.inet.l4sllm.idle_budget, 1e-6. */
#define	L4S_STUDENT_BUDGET_MIN	1000
#define	L4S_STUDENT_BUDGET_MAX	20000

/*
 * Its set-points expire after this many periods without a new decision, as when
 * no packets arrive, or earlier, after the maximum lifetime of an override.
 */
#define	L4S_STUDENT_LIFE	4

/* A loaded file that has been checked. */
struct l4s_student_net {
	struct l4s_student header;
	struct l4s_student_input inputs[L4S_STUDENT_INPUTS];
	struct l4s_student_unit units[L4S_STUDENT_UNITS];
	int8_t		first[L4S_STUDENT_HIDDEN][L4S_STUDENT_INPUTS];
	int8_t		second[L4S_STUDENT_HIDDEN][L4S_STUDENT_HIDDEN];
	int8_t		last[L4S_STUDENT_OUTPUTS][L4S_STUDENT_HIDDEN];
};

/* Half seconds in which a flow must send to count as long-lived. */
#define	STUDENT_PIECES		8
#define	STUDENT_FLOW_WORDS	(L4S_FLOW_BITS / 64)

/* Flows of a queue: bitmaps of the last half seconds, and of the current one. */
struct l4s_student_flows {
	uint64_t	pieces[STUDENT_PIECES][STUDENT_FLOW_WORDS];
	uint64_t	current[STUDENT_FLOW_WORDS];
};

/* What an instance remembers; initially 0. */
struct l4s_student_state {
	struct l4s_summary period;	/* merged so far, if open */
	bool		open;
	bool		begun;		/* a period has ended */
	int32_t		latest[L4S_SIGNALS];
	/* Q24, of 4, 16 and 64 periods. */
	int64_t		means[L4S_SIGNALS][L4S_STUDENT_SCALES - 1];
	int32_t		rate;		/* log2 of the previous drain rate, Q16 */
	bool		rate_known;
	uint64_t	age_ns;		/* since the start or a silence */
	uint64_t	silence_ns;	/* without packets until now */
	uint64_t	piece_ns;	/* length of the current piece */
	uint32_t	npieces;	/* complete, at most STUDENT_PIECES */
	uint32_t	newest;		/* index of the newest piece */
	struct l4s_student_flows flows[2];
};

/* A student in an instance. */
struct l4s_student_slot {
	struct l4s_student_net net;
	struct l4s_student_state state;
	struct l4s_override decision;	/* the latest */
	struct l4s_student_slot *next;	/* in a list of unused ones */
};

/* Adds a slot for the network to a list; false if memory is short. */
bool	l4s_student_slots_add(struct l4s_student_slot **,
	    const struct l4s_student_net *);
void	l4s_student_slots_free(struct l4s_student_slot *);

/* CRC-32 of IEEE 802.3, as in zlib. */
uint32_t l4s_crc32(const uint8_t *, size_t);

/*
 * Checks a file.  Returns 0, L4S_EPROTO (version, length or checksum) or
 * L4S_EINVAL (a field), and copies it into the network.
 */
int	l4s_student_load(struct l4s_student_net *, const void *file,
	    size_t size);

/*
 * Chooses set-points: factors on the parameters' values, within the limits.
 * Zero factors are not in steer_set.
 */
void	l4s_student_decide(const struct l4s_student_net *,
	    const struct l4s_student_state *, const struct l4s_params *,
	    const struct l4s_limits *, struct l4s_override *);

/*
 * Adds the next summary of the instance.  Returns true if it completes a period
 * of at least period_ns, whose signals are then in the state.
 */
bool	l4s_student_add(struct l4s_student_state *,
	    const struct l4s_summary *, uint64_t period_ns,
	    uint32_t idle_budget);
/* An input before normalisation, Q16. */
int32_t	l4s_student_signal(const struct l4s_student_state *, uint8_t signal,
	    uint8_t scale);

#endif /* !_L4S_STUDENT_H_ */
