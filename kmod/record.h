/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Writing struct l4s_record and struct l4s_event into a ring, word by word,
 * without an intermediate copy: this is the cost that every packet pays.
 */

#ifndef _L4S_RECORD_H_
#define	_L4S_RECORD_H_

#include "dualpi2.h"
#include "ring.h"

/* What was decided, beside what DualPI2's verdict and state tell. */
struct l4s_decision {
	uint64_t	override_id;
	uint8_t		action;
	uint8_t		reason;
	uint8_t		override_action;
	uint16_t	status;
};

/*
 * The words of a record that change only with the configuration, kept ready.
 * To be refreshed when the parameters or the set-points change.
 */
struct l4s_record_config {
	uint64_t	instance;	/* sched, instance */
	uint64_t	target_tupdate;
	uint64_t	burst_ecnth;
	uint64_t	alpha_beta;
	uint32_t	flags;
};

void	l4s_record_configure(struct l4s_record_config *,
	    const struct dualpi2 *, uint32_t sched, uint32_t instance);
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
ALIGNED(sched);
FOLLOWS(instance, sched, 4);
ALIGNED(queue_type);
FOLLOWS(dequeue_action, queue_type, 1);
FOLLOWS(base_action, queue_type, 2);
FOLLOWS(reason, queue_type, 3);
FOLLOWS(ecn, queue_type, 4);
FOLLOWS(override_action, queue_type, 5);
FOLLOWS(status, queue_type, 6);
ALIGNED(qdelay_reference);
FOLLOWS(tupdate, qdelay_reference, 4);
ALIGNED(max_burst);
FOLLOWS(max_ecn_threshold, max_burst, 4);
ALIGNED(alpha);
FOLLOWS(beta, alpha, 4);
ALIGNED(flags);
FOLLOWS(burst_allowance, flags, 4);
ALIGNED(drop_probability);
FOLLOWS(current_queue_delay, drop_probability, 4);
ALIGNED(previous_queue_delay);
FOLLOWS(average_dequeue_time, previous_queue_delay, 4);
ALIGNED(dequeue_count);
FOLLOWS(status_flags, dequeue_count, 4);
ALIGNED(queue_length);
FOLLOWS(length_in_bytes, queue_length, 4);
ALIGNED(packet_length);
FOLLOWS(base_probability, packet_length, 4);

#define	HEADER(type)							\
	PAIR(HALVES(L4S_ABI_VERSION, BYTES((type), 0)), L4S_RECORD_SIZE)

static inline void
l4s_record_write(struct l4s_ring *r, const struct l4s_record_config *c,
    const struct dualpi2 *d, const struct dualpi2_verdict *v,
    const struct l4s_decision *x, uint64_t queue_delay, uint64_t now)
{
	const struct dualpi2_queue *q = &d->queue[v->queue];
	uint32_t status = x->status | d->status | q->sampling;
	uint64_t seq, *w;

	w = l4s_ring_begin(r, &seq);
#define	PUT(field, value)	L4S_STORE(&w[WORD(field)], (value))
	PUT(hdr.version, HEADER(L4S_RECORD_DECISION));
	PUT(hdr.seq, seq);
	PUT(hdr.time_ns, now);
	PUT(sched, c->instance);
	PUT(sojourn_ns, v->sojourn_ns);
	PUT(override_id, x->override_id);
	PUT(queue_type, PAIR(
	    HALVES(BYTES(v->queue, x->action), BYTES(v->action, x->reason)),
	    HALVES(BYTES(v->ecn, x->override_action), status)));
	PUT(qdelay_reference, c->target_tupdate);
	PUT(max_burst, c->burst_ecnth);
	PUT(alpha, c->alpha_beta);
	PUT(flags, PAIR(c->flags, d->burst_us));
	PUT(drop_probability, PAIR(dualpi2_q31(v->probability),
	    dualpi2_us(queue_delay)));
	PUT(previous_queue_delay, PAIR(d->previous_us, q->sample_us));
	PUT(accumulated_probability, q->accumulated);
	PUT(measurement_start_time, q->sample_start);
	PUT(dequeue_count, PAIR(q->sample_bytes, status));
	PUT(total_packets, q->total_packets);
	PUT(total_bytes, q->total_bytes);
	PUT(queue_length, PAIR(q->packets, q->bytes));
	PUT(total_drops, q->total_drops);
	PUT(packet_length, PAIR(v->length, d->p_base));
#undef PUT
	l4s_ring_commit(r, seq);
}

#endif /* !_L4S_RECORD_H_ */
