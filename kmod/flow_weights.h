/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Flow weights on DualPI2's probabilities (l4s_params.flow_weights).
 *
 * A faster flow than the others gets more signals, a slower one fewer:
 *
 *	p_C = (f p')^2        p_CL = f k p'        f = r / mu, 1/2 to 2
 *
 * and its packets are marked natively above 1 / f of the threshold. r is the
 * flow's rate over both queues, decayed with 100 ms, and mu = sum(r^2) / sum(r)
 * over the flows: the byte-weighted mean rate, which many short flows hardly
 * change. p' is the controller's, so the delay does not change; shares of the
 * link depend less on round-trip times.
 *
 * A new flow is assumed to send at the mean rate until its own is measured: the
 * missing part of its first 100 ms is filled with mu.  So short flows have a
 * weight of about one, and a flow that keeps changing its ports does not count
 * as slow.
 *
 *	enqueue ─▶ keyed hash of the flow ─▶ bucket: bytes ─┐
 *	                                                    ▼ every 4 to 32 ms
 *	dequeue ◀─ bucket: f = r / mu ◀─ mu ◀─ sums ◀─── r decays, bytes add
 *
 * An update visits the active buckets twice, for r and for f, at most
 * FLOW_SLICE of them per packet; the following packets visit the rest.
 * An update that becomes due in the meantime begins when the current one has
 * ended, and accounts for the elapsed time.  Many flows are updated less often,
 * with 4 ms more for each 32 of them: each sends fewer packets in that time,
 * and the cost per packet stays the same as with few.
 *
 * Flows that share a bucket are treated as one flow, as are the flows in a
 * tunnel.
 */

#ifndef _L4S_FLOW_WEIGHTS_H_
#define	_L4S_FLOW_WEIGHTS_H_

#include "osdep.h"
#include "siphash.h"

/* A power of two; at least eight times the flows to be distinguished. */
#define	FLOW_BUCKETS		1024
/* Used instead of a bucket for packets of unknown flows: weight one. */
#define	FLOW_NONE		FLOW_BUCKETS
/* Used instead of a next bucket: end of the list, or not in the list. */
#define	FLOW_LAST		0xffff
#define	FLOW_INACTIVE		0xfffe

#define	FLOW_TICK_NS		(4 * L4S_NS_PER_MS)
/*
 * For each of this many active buckets, the next update is a tick later;
 * maximum number of ticks.
 */
#define	FLOW_TICK_BUCKETS	32
#define	FLOW_TICKS_MAX		8
/* Maximum number of buckets updated per packet: less than a microsecond. */
#define	FLOW_SLICE		32

/* exp(-4 ms / 100 ms), Q31. */
#define	FLOW_DECAY		2063279609U
/* Maximum rate: 268 Gbit/s. */
#define	FLOW_RATE_MAX		3423000000U
/* Below one packet, the rate counts as zero and the flow is forgotten. */
#define	FLOW_RATE_MIN		32

/* Weights are Q14. */
#define	FLOW_WEIGHT_SHIFT	14
#define	FLOW_WEIGHT_ONE		(1U << FLOW_WEIGHT_SHIFT)
#define	FLOW_WEIGHT_MIN		(FLOW_WEIGHT_ONE / 2)
#define	FLOW_WEIGHT_MAX		(FLOW_WEIGHT_ONE * 2)

struct l4s_flow_bucket {
	uint32_t	bytes;		/* since the last update */
	uint32_t	rate;		/* decayed sum of bytes; 0: unknown */
	uint32_t	prior;		/* mu when it was new, decayed */
	uint16_t	weight;		/* Q14; one while the rate is unknown */
	uint16_t	next;		/* active bucket, FLOW_LAST, _INACTIVE */
};

/*
 * Allocated while an instance has weights, at a size that the kernel's
 * allocator does not round up.
 */
union l4s_flow_table {
	struct l4s_flow_bucket buckets[FLOW_BUCKETS];
	union l4s_flow_table *next;	/* in a list of unused ones */
};

_Static_assert(sizeof(union l4s_flow_table) == 16384, "l4s_flow_table");

/* Used only by the packet path. */
struct l4s_flow_weights {
	struct l4s_siphash_key key;
	uint64_t	due_ns;		/* the next update; 0: in progress */
	union l4s_flow_table *table;	/* NULL: no weights; written under
					   l4s_overrides.lock too */

	/* The update in progress, or the last one. */
	uint64_t	tick_ns;	/* when it was due */
	uint32_t	decay;		/* since the one before, Q31 */
	bool		weighing;	/* rates are done: f */
	unsigned	visited;	/* buckets whose rates are done */
	uint16_t	*link;		/* that names the bucket to visit next */
	uint64_t	sum;		/* of rates so far: 2^42 at most */
	unsigned __int128 squares;	/* 2^74 at most */

	uint32_t	mean;		/* mu; 0: unknown */
	uint64_t	inverse;	/* 2^46 / mu */

	uint16_t	first;		/* active bucket, or FLOW_LAST */
};

/* Adds an unused table to the list; false if memory is short. */
bool	l4s_flow_tables_add(union l4s_flow_table **);
void	l4s_flow_tables_free(union l4s_flow_table *);

/* Resets to no flows; keeps the key and the table. */
void	l4s_flow_weights_start(struct l4s_flow_weights *, uint64_t now);

/* See FLOW_SLICE. */
void	l4s_flow_weights_update(struct l4s_flow_weights *, uint64_t now)
	    __attribute__((noinline));

/* Counts a packet of the flow with this hash (0: none); returns its bucket. */
static inline uint16_t
l4s_flow_weights_arrived(struct l4s_flow_weights *w, uint64_t hash,
    uint32_t length)
{
	struct l4s_flow_bucket *b;
	uint16_t bucket = hash % FLOW_BUCKETS;

	if (__predict_false(hash == 0))
		return (FLOW_NONE);
	b = &w->table->buckets[bucket];
	if (__predict_false(b->next == FLOW_INACTIVE)) {
		b->prior = w->mean;
		b->next = w->first;
		w->first = bucket;
	}
	/* Wraps at 2^32, a terabit per second. */
	b->bytes += length;
	return (bucket);
}

/* f of a bucket or FLOW_NONE, FLOW_WEIGHT_MIN to FLOW_WEIGHT_MAX. */
static inline uint32_t
l4s_flow_weight(const union l4s_flow_table *t, uint16_t bucket)
{
	return (bucket < FLOW_BUCKETS ? t->buckets[bucket].weight :
	    FLOW_WEIGHT_ONE);
}

#endif /* !_L4S_FLOW_WEIGHTS_H_ */
