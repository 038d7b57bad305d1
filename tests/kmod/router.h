/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* A router in userspace with a controlling descriptor, for the tests. */

#ifndef _ROUTER_H_
#define	_ROUTER_H_

#include "decode.h"
#include "l4s_user.h"
#include "test.h"

struct router {
	struct l4s_user	*u;
	struct l4s_user_handle *h;	/* the controller */
	uint64_t	now;
	uint64_t	id;		/* of the last override */
	uint64_t	cookie;
	struct decoder	decoder;
};

static inline struct router
router_create(const struct l4s_params *params, const struct l4s_limits *limits,
    uint32_t records)
{
	struct router r = { .now = SEC };
	int error;

	r.u = l4s_user_create(params, limits, records, 1, &error);
	CHECK(r.u != NULL);
	r.h = l4s_user_open(r.u);
	CHECK(r.h != NULL);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_CONTROL, NULL, 0, r.now), 0);
	return (r);
}

static inline void
router_destroy(struct router *r)
{
	l4s_user_close(r->h, r->now);
	l4s_user_destroy(r->u);
}

static inline int
router_put(struct router *r, uint8_t ecn)
{
	return (l4s_user_enqueue(r->u, r->cookie++, 1000, ecn, 0, r->now));
}

/*
 * Reads one message of the records; returns its type, 0 if none is available.
 * *record is filled in for a decision.
 */
static inline uint8_t
router_read(struct router *r, struct l4s_record_v1 *record)
{
	uint8_t message[L4S_RECORD_SIZE];
	struct l4s_header hdr;
	size_t got;

	CHECK_EQ(l4s_user_read(r->h, message, sizeof(message), r->now, &got),
	    0);
	if (got == 0)
		return (0);
	memcpy(&hdr, message, sizeof(hdr));
	if (hdr.type == L4S_RECORD_DECISION)
		CHECK(decode(&r->decoder, message, record));
	else
		(void)decode(&r->decoder, message, record);
	return (hdr.type);
}

/*
 * Passes one packet through; its record is in *record. (With both queues empty
 * before, it is this packet's.)
 */
static inline void
router_pass(struct router *r, uint8_t ecn, struct l4s_record_v1 *record)
{
	struct l4s_user_packet out;

	CHECK_EQ(router_put(r, ecn), 0);
	CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
	memset(record, 0, sizeof(*record));
	while (router_read(r, record) != 0)
		;
	CHECK_EQ(record->hdr.type, L4S_RECORD_DECISION);
	CHECK_EQ(record->dequeue_action, out.action);
	CHECK_EQ(record->reason, out.reason);
}

static inline struct l4s_override
router_override(struct router *r, uint8_t mode, uint8_t action,
    uint32_t packets, uint64_t life)
{
	struct l4s_override o = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(o),
		.mode = mode,
		.action = action,
		.sched = 1,
		.id = ++r->id,
		.expires_ns = r->now + life,
		.hold_packets = packets,
		.queue = L4S_QUEUE_ANY,
	};

	return (o);
}

static inline int
router_send(struct router *r, struct l4s_override *o)
{
	return (l4s_user_request(r->h, L4S_OP_OVERRIDE, o, sizeof(*o),
	    r->now));
}

static inline int
router_once(struct router *r, uint8_t action)
{
	struct l4s_override o = router_override(r, L4S_MODE_ONCE, action, 1,
	    SEC);

	return (router_send(r, &o));
}

static inline int
router_hold(struct router *r, uint8_t action, uint32_t packets, uint64_t life)
{
	struct l4s_override o = router_override(r, L4S_MODE_HOLD, action,
	    packets, life);

	return (router_send(r, &o));
}

/* Every identity of struct l4s_stats. */
static inline void
check_stats(const struct l4s_stats *s)
{
	CHECK_EQ(s->packets_in, s->forwarded + s->dropped + s->queued);
	CHECK_EQ(s->dropped, s->drops_tail + s->drops_base +
	    s->drops_override + s->drops_flush);
	CHECK_EQ(s->records_written,
	    s->records_read + s->records_lost + s->records_waiting);
	CHECK_EQ(s->overrides_received, s->overrides_applied +
	    s->overrides_expired + s->overrides_refused +
	    s->overrides_replaced + s->overrides_waiting);
}

static inline struct l4s_stats
handle_stats(struct l4s_user_handle *h, uint64_t now)
{
	struct l4s_stats s = { .version = L4S_ABI_VERSION,
	    .length = sizeof(s), .sched = 1 };

	CHECK_EQ(l4s_user_request(h, L4S_OP_STATS, &s, sizeof(s), now), 0);
	check_stats(&s);
	return (s);
}

/* Every identity of struct l4s_queue_stats. */
static inline void
check_queue(const struct l4s_queue_stats *q)
{
	uint64_t delays = 0;
	unsigned bin;

	CHECK_EQ(q->packets_in, q->forwarded + q->dropped + q->queued);
	CHECK_EQ(q->bytes_in,
	    q->forwarded_bytes + q->dropped_bytes + q->queued_bytes);
	CHECK_EQ(q->dropped, q->drops_tail + q->drops_ecn + q->drops_not_ect +
	    q->drops_flush);
	for (bin = 0; bin < L4S_DELAY_BINS; bin++)
		delays += q->delays[bin];
	CHECK_EQ(q->forwarded, delays);
	CHECK(q->marked <= q->forwarded);
	CHECK(q->marked_bytes <= q->forwarded_bytes);
	CHECK(q->queued <= q->queued_max);
	CHECK(q->queued_bytes <= q->queued_bytes_max);
	CHECK(q->delay_sum_ns <= q->forwarded * q->delay_max_ns);
	CHECK(q->queued != 0 || q->delay_ns == 0);
}

/* Counts in both requests agree. */
static inline struct l4s_queues
router_queues(struct router *r)
{
	struct l4s_queues t = { .version = L4S_ABI_VERSION,
	    .length = sizeof(t), .sched = 1 };
	const struct l4s_queue_stats *c = &t.queue[L4S_QUEUE_CLASSIC];
	const struct l4s_queue_stats *l = &t.queue[L4S_QUEUE_L4S];
	struct l4s_stats s;

	CHECK_EQ(l4s_user_request(r->h, L4S_OP_QUEUES, &t, sizeof(t), r->now),
	    0);
	check_queue(c);
	check_queue(l);
	s = handle_stats(r->h, r->now);
	CHECK_EQ(s.packets_in, c->packets_in + l->packets_in);
	CHECK_EQ(s.bytes_in, c->bytes_in + l->bytes_in);
	CHECK_EQ(s.forwarded, c->forwarded + l->forwarded);
	CHECK_EQ(s.forwarded_bytes, c->forwarded_bytes + l->forwarded_bytes);
	CHECK_EQ(s.queued_bytes, c->queued_bytes + l->queued_bytes);
	CHECK_EQ(s.drops_tail, c->drops_tail + l->drops_tail);
	CHECK_EQ(s.drops_flush, c->drops_flush + l->drops_flush);
	CHECK_EQ(s.drops_base + s.drops_override, c->drops_ecn +
	    c->drops_not_ect + l->drops_ecn + l->drops_not_ect);
	CHECK_EQ(s.marks_classic + s.marks_native + s.marks_coupled +
	    s.marks_override, c->marked + l->marked);
	CHECK(t.base_probability <= L4S_PROB_ONE);
	CHECK(t.classic_probability <= L4S_PROB_ONE);
	CHECK(t.coupled_probability <= L4S_PROB_ONE);
	CHECK(t.overload <= t.overloads);
	return (t);
}

static inline struct l4s_stats
router_stats(struct router *r)
{
	return (handle_stats(r->h, r->now));
}

#endif /* !_ROUTER_H_ */
