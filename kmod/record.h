/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Writes records and their context messages into a ring.  Records are written
 * word by word without an intermediate copy, because every packet pays for
 * them.
 */

#ifndef _L4S_RECORD_H_
#define	_L4S_RECORD_H_

#include "dualpi2.h"
#include "ring.h"

/* A decision, in addition to DualPI2's verdict and state. */
struct l4s_decision {
	uint64_t	override_id;
	uint8_t		action;
	uint8_t		reason;
	uint8_t		override_action;
	uint8_t		status;		/* L4S_STATUS_*, except the queue's */
};

/* The latest context messages of an instance. */
struct l4s_told {
	struct l4s_config config;
	struct l4s_state state;
};

/* Describes the current configuration, for the next message. */
void	l4s_record_configure(struct l4s_config *, const struct dualpi2 *,
	    uint32_t sched, uint32_t instance);
/*
 * Writes what has changed since the last call.  Must be called after an update
 * of p' and after a change of the configuration or of the override, before the
 * packet that triggered it is handled.
 */
void	l4s_record_context(struct l4s_ring *, struct l4s_told *,
	    const struct dualpi2 *, const struct l4s_config *,
	    uint64_t override_id, uint64_t now);
/* Writes a keyframe (struct l4s_config).  Must be called at the same places. */
void	l4s_record_keyframe(struct l4s_ring *, struct l4s_told *,
	    const struct dualpi2 *, const struct l4s_config *,
	    uint64_t override_id, uint64_t now);
/*
 * Writes an event to each ring that has readers (NULL: no rings), and wakes
 * them.
 */
void	l4s_event_write(struct l4s_ring *rings, uint32_t sched,
	    uint32_t instance, uint32_t code, uint64_t value, uint64_t now);

/*
 * A record is written in whole words.  (A struct built by narrow stores and
 * copied by words would stall until the store buffer is drained.) PLACE()
 * shifts a value, which must fit, to its field's position in its word.
 */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define	PLACE_SHIFT(at, size)	((at) % 8 * 8)
#else
#define	PLACE_SHIFT(at, size)	(64 - ((at) % 8 + (size)) * 8)
#endif
#define	PLACE(field, value)	((uint64_t)(value) << PLACE_SHIFT(	\
	offsetof(struct l4s_record, field),				\
	sizeof(((struct l4s_record *)NULL)->field)))
#define	PLACE32(field, value)	PLACE(field, (uint32_t)(value))

/* The word that starts with a field, checked against the layout. */
#define	WORD(field)	(offsetof(struct l4s_record, field) / 8)
#define	ALIGNED(field)							\
	_Static_assert(offsetof(struct l4s_record, field) % 8 == 0, #field)
#define	SHARES(field, first)						\
	_Static_assert(WORD(field) == WORD(first), #field)

ALIGNED(hdr.version);
SHARES(hdr.type, hdr.version);
SHARES(hdr.length, hdr.version);
ALIGNED(instance);
SHARES(total_packets, instance);
ALIGNED(delay_ns);
ALIGNED(drop_probability);
SHARES(accumulated, drop_probability);
ALIGNED(queue_length);
SHARES(length_in_bytes, queue_length);
ALIGNED(packet_length);
SHARES(weight, packet_length);
SHARES(actions, packet_length);
SHARES(queue_reason, packet_length);
SHARES(status, packet_length);

#define	HEADER(type_)							\
	(PLACE(hdr.version, L4S_ABI_VERSION) | PLACE(hdr.type, (type_)) | \
	PLACE(hdr.length, L4S_RECORD_SIZE))

#ifdef L4S_RECORD_TAP
/*
 * For tests: describes the same decision as in version 1, from the state of the
 * queue itself.  seq is left 0.
 */
void	l4s_record_reference(struct l4s_record_v1 *, const struct l4s_config *,
	    const struct dualpi2 *, const struct dualpi2_verdict *,
	    const struct l4s_decision *, uint64_t delay, uint64_t now);
#endif

/*
 * The decision in the record's last word.  For a packet that DualPI2 alone
 * sends unchanged, only reason and status are nonzero: L4S_RECORD_PLAIN().
 */
#define	L4S_RECORD_PLAIN(reason, status_)				\
	(PLACE(queue_reason, (reason)) | PLACE(status, (status_)))
_Static_assert(L4S_ACTIONS(L4S_ACTION_ENQUEUE, L4S_ACTION_ENQUEUE,
    L4S_ACTION_ENQUEUE, 0) == 0, "a plain packet has no actions");

static inline uint64_t
l4s_record_decided(const struct l4s_decision *x, uint8_t base)
{
	return (PLACE(actions, L4S_ACTIONS(x->action, base,
	    x->override_action, 0)) | L4S_RECORD_PLAIN(x->reason, x->status));
}

/* `delay' is the record's delay_ns; `decided' is from l4s_record_decided(). */
static inline void
l4s_record_write(struct l4s_ring *r, uint32_t instance,
    const struct dualpi2 *d, const struct dualpi2_verdict *v,
    uint64_t decided, uint64_t delay, uint64_t now)
{
	const struct dualpi2_queue *q = &d->queue[v->queue];
	uint64_t seq, *w;

	w = l4s_ring_begin(r, L4S_RECORD_SHIFT - 3, &seq);
#define	PUT(field, value)	L4S_STORE(&w[WORD(field)], (value))
	PUT(hdr.version, HEADER(L4S_RECORD_DECISION));
	PUT(hdr.seq, seq);
	PUT(hdr.time_ns, now);
	PUT(instance, PLACE(instance, instance) |
	    PLACE32(total_packets, q->total_packets));
	PUT(delay_ns, delay);
	PUT(drop_probability,
	    PLACE(drop_probability, v->probability) |
	    PLACE32(accumulated, q->accumulated));
	PUT(queue_length, PLACE(queue_length, dualpi2_packets(v->backlog)) |
	    PLACE(length_in_bytes, dualpi2_bytes(v->backlog)));
	PUT(packet_length, PLACE(packet_length, v->length) |
	    PLACE(weight, v->weight) |
	    PLACE(actions, L4S_ACTIONS(0, 0, 0, (uint64_t)v->ecn)) |
	    PLACE(queue_reason, L4S_QUEUE_REASON(v->queue, 0)) |
	    PLACE(status, q->status) | decided);
#undef PUT
	l4s_ring_commit(r, L4S_RECORD_SHIFT - 3, seq, w);
}

#endif /* !_L4S_RECORD_H_ */
