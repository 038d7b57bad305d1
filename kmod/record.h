/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Writing records into a ring, word by word and without an intermediate copy,
 * since that is the cost that every packet pays; and their context messages.
 */

#ifndef _L4S_RECORD_H_
#define	_L4S_RECORD_H_

#include "dualpi2.h"
#include "ring.h"

/* What was decided, in addition to what DualPI2's verdict and state tell. */
struct l4s_decision {
	uint64_t	override_id;
	uint8_t		action;
	uint8_t		reason;
	uint8_t		override_action;
	uint16_t	status;
};

/*
 * What the latest context messages of an instance said.
 */
struct l4s_told {
	struct l4s_config config;
	struct l4s_state state;
};

/* The configuration in force, for the next message. */
void	l4s_record_configure(struct l4s_config *, const struct dualpi2 *,
	    uint32_t sched, uint32_t instance);
/*
 * To be called after an update of p' and after a change of the configuration
 * or of the override, before the packet that finds it is handled: writes what
 * changed since.
 */
void	l4s_record_context(struct l4s_ring *, struct l4s_told *,
	    const struct dualpi2 *, const struct l4s_config *,
	    uint64_t override_id, uint64_t now);
/* Writes a keyframe (struct l4s_config), at the same places. */
void	l4s_record_keyframe(struct l4s_ring *, struct l4s_told *,
	    const struct dualpi2 *, const struct l4s_config *,
	    uint64_t override_id, uint64_t now);
/* To each of the rings (NULL: none) that has readers, and wakes them. */
void	l4s_event_write(struct l4s_ring *rings, uint32_t sched,
	    uint32_t instance, uint32_t code, uint64_t value, uint64_t now);

/*
 * Fields that share a 64-bit word, in the order in which they stand in
 * memory.  (A struct built of small stores and copied by words would wait for
 * the stores to leave the store buffer.)
 */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define	PAIR(a, b)	((uint64_t)(uint32_t)(a) | (uint64_t)(uint32_t)(b) << 32)
#define	HALVES(a, b)	((uint32_t)(uint16_t)(a) | (uint32_t)(uint16_t)(b) << 16)
#define	BYTES(a, b)	((uint16_t)((uint8_t)(a) | (uint16_t)(uint8_t)(b) << 8))
#else
#define	PAIR(a, b)	((uint64_t)(uint32_t)(a) << 32 | (uint64_t)(uint32_t)(b))
#define	HALVES(a, b)	((uint32_t)(uint16_t)(a) << 16 | (uint32_t)(uint16_t)(b))
#define	BYTES(a, b)	((uint16_t)((uint16_t)(uint8_t)(a) << 8 | (uint8_t)(b)))
#endif

/* The word that a field begins, checked against the layout. */
#define	WORD(field)	(offsetof(struct l4s_record, field) / 8)
#define	ALIGNED(field)							\
	_Static_assert(offsetof(struct l4s_record, field) % 8 == 0, #field)
#define	FOLLOWS(field, first, by)					\
	_Static_assert(offsetof(struct l4s_record, field) ==		\
	    offsetof(struct l4s_record, first) + (by), #field)

ALIGNED(hdr.version);
FOLLOWS(hdr.type, hdr.version, 2);
FOLLOWS(hdr.length, hdr.version, 4);
ALIGNED(instance);
FOLLOWS(total_packets, instance, 4);
ALIGNED(delay_ns);
ALIGNED(drop_probability);
FOLLOWS(accumulated, drop_probability, 4);
ALIGNED(queue_length);
FOLLOWS(length_in_bytes, queue_length, 4);
ALIGNED(packet_length);
FOLLOWS(weight, packet_length, 4);
FOLLOWS(actions, packet_length, 5);
FOLLOWS(queue_reason, packet_length, 6);
FOLLOWS(status, packet_length, 7);

#define	HEADER(type)							\
	PAIR(HALVES(L4S_ABI_VERSION, BYTES((type), 0)), L4S_RECORD_SIZE)

#ifdef L4S_RECORD_TAP
/*
 * For tests: the same decision as version 1 described it, from the state of
 * the queue itself.  seq is left 0.
 */
void	l4s_record_reference(struct l4s_record_v1 *, const struct l4s_config *,
	    const struct dualpi2 *, const struct dualpi2_verdict *,
	    const struct l4s_decision *, uint64_t delay, uint64_t now);
#endif

/* `delay' is the record's delay_ns. */
static inline void
l4s_record_write(struct l4s_ring *r, uint32_t instance,
    const struct dualpi2 *d, const struct dualpi2_verdict *v,
    const struct l4s_decision *x, uint64_t delay, uint64_t now)
{
	const struct dualpi2_queue *q = &d->queue[v->queue];
	uint64_t seq, *w;

	w = l4s_ring_begin(r, L4S_RECORD_SHIFT - 3, &seq);
#define	PUT(field, value)	L4S_STORE(&w[WORD(field)], (value))
	PUT(hdr.version, HEADER(L4S_RECORD_DECISION));
	PUT(hdr.seq, seq);
	PUT(hdr.time_ns, now);
	PUT(instance, PAIR(instance, q->total_packets));
	PUT(delay_ns, delay);
	PUT(drop_probability, PAIR(dualpi2_q31(v->probability),
	    q->accumulated));
	PUT(queue_length, PAIR(dualpi2_packets(q->backlog),
	    dualpi2_bytes(q->backlog)));
	PUT(packet_length, PAIR(v->length, HALVES(
	    BYTES(v->weight, L4S_ACTIONS(x->action, v->action,
	    x->override_action, v->ecn)),
	    BYTES(L4S_QUEUE_REASON(v->queue, x->reason),
	    x->status | d->status | q->sampling))));
#undef PUT
	l4s_ring_commit(r, L4S_RECORD_SHIFT - 3, seq);
}

#endif /* !_L4S_RECORD_H_ */
