/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Overrides through the device, from a controller's view. */

#include "override.h"
#include "queue.h"
#include "router.h"

#define	EXPECT(applied, expired, refused, replaced, waiting) do {	\
	struct l4s_stats s = router_stats(&r);				\
	CHECK_EQ(s.overrides_applied, applied);				\
	CHECK_EQ(s.overrides_expired, expired);				\
	CHECK_EQ(s.overrides_refused, refused);				\
	CHECK_EQ(s.overrides_replaced, replaced);			\
	CHECK_EQ(s.overrides_waiting, waiting);				\
} while (0)

#define	PASS(ecn, was, why) do {					\
	router_pass(&r, (ecn), &record);				\
	CHECK_EQ(record.dequeue_action, (was));				\
	CHECK_EQ(record.reason, (why));					\
} while (0)

static struct l4s_limits
generous(void)
{
	struct l4s_limits l;

	l4s_user_limits_default(&l);
	l.drop_share = L4S_FACTOR_ONE;
	return (l);
}

/* A controller without gains: p' stays 0 for any queue delay. */
static struct router
without_gains(void)
{
	struct l4s_params params;

	l4s_user_params_default(&params);
	params.alpha_uhz = params.beta_uhz = 0;
	return (router_create(&params, NULL, 64));
}

static void
once_each_action(void)
{
	struct l4s_limits limits = generous();
	struct router r = router_create(NULL, &limits, 64);
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct l4s_stats s;

	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	EXPECT(0, 0, 0, 0, 1);
	PASS(L4S_ECN_ECT1, L4S_ACTION_MARK, L4S_REASON_ONCE);
	CHECK_EQ(record.base_action, L4S_ACTION_ENQUEUE);
	CHECK_EQ(record.override_action, L4S_ACTION_MARK);
	CHECK_EQ(record.override_id, 1);
	EXPECT(1, 0, 0, 0, 0);
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	CHECK_EQ(record.override_id, 0);

	CHECK_EQ(router_once(&r, L4S_ACTION_DROP), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_BASE);
	CHECK_EQ(l4s_user_drops(r.u, &out, 1), 1);
	CHECK_EQ(out.cookie, 2);
	CHECK_EQ(out.reason, L4S_REASON_ONCE);
	CHECK_EQ(router_once(&r, L4S_ACTION_ENQUEUE), 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_ONCE);
	EXPECT(3, 0, 0, 0, 0);
	s = router_stats(&r);
	CHECK_EQ(s.marks_override, 1);
	CHECK_EQ(s.drops_override, 1);
	CHECK_EQ(s.decisions_overridden, 3);
	router_destroy(&r);
}

static void
waits_for_its_queue(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_override o = router_override(&r, L4S_MODE_ONCE,
	    L4S_ACTION_MARK, 1, SEC);
	struct l4s_record_v1 record;

	o.queue = L4S_QUEUE_L4S;
	CHECK_EQ(router_send(&r, &o), 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	EXPECT(0, 0, 0, 0, 1);
	PASS(L4S_ECN_ECT1, L4S_ACTION_MARK, L4S_REASON_ONCE);
	EXPECT(1, 0, 0, 0, 0);
	router_destroy(&r);
}

static void
not_ect_is_never_marked(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;
	struct l4s_stats s;

	/* A once is used up by the refusal. */
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	PASS(L4S_ECN_NOT_ECT, L4S_ACTION_ENQUEUE, L4S_REASON_NOT_ECT);
	CHECK_EQ(record.override_action, L4S_ACTION_MARK);
	EXPECT(0, 0, 1, 0, 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	/* A hold continues. */
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 3, SEC), 0);
	PASS(L4S_ECN_NOT_ECT, L4S_ACTION_ENQUEUE, L4S_REASON_NOT_ECT);
	EXPECT(0, 0, 1, 0, 1);
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	EXPECT(1, 0, 1, 0, 0);
	PASS(L4S_ECN_NOT_ECT, L4S_ACTION_ENQUEUE, L4S_REASON_NOT_ECT);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	s = router_stats(&r);
	CHECK_EQ(s.refused[L4S_REASON_NOT_ECT], 3);
	/* An override that was only ever refused. */
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 2, SEC), 0);
	PASS(L4S_ECN_NOT_ECT, L4S_ACTION_ENQUEUE, L4S_REASON_NOT_ECT);
	PASS(L4S_ECN_NOT_ECT, L4S_ACTION_ENQUEUE, L4S_REASON_NOT_ECT);
	EXPECT(1, 0, 2, 0, 0);
	router_destroy(&r);
}

/*
 * A packet with a header that cannot be written counts as Not-ECT where it
 * would be marked: an override is refused, DualPI2's own signal is a drop, and
 * no record reports a mark.
 */
static void
unmarkable_packets(void)
{
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct l4s_stats s;
	struct router r = router_create(NULL, NULL, 64);
	unsigned i;

	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	PASS(L4S_ECN_ECT0 | L4S_USER_ECN_FIXED, L4S_ACTION_ENQUEUE,
	    L4S_REASON_NOT_ECT);
	CHECK_EQ(record.ecn, L4S_ECN_ECT0);
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	PASS(L4S_ECN_CE | L4S_USER_ECN_FIXED, L4S_ACTION_ENQUEUE,
	    L4S_REASON_NOT_ECT);
	EXPECT(0, 0, 2, 0, 0);

	/* Above the step, and queued behind another: to be marked. */
	for (i = 0; i < 4; i++)
		CHECK_EQ(router_put(&r, L4S_ECN_ECT1 |
		    (i == 2 ? L4S_USER_ECN_FIXED : 0)), 0);
	r.now += 2 * MS;
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.cookie, 2);
	CHECK_EQ(out.action, L4S_ACTION_ENQUEUE);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.cookie, 3);
	CHECK_EQ(out.action, L4S_ACTION_MARK);
	CHECK_EQ(out.ecn, L4S_ECN_CE);
	/* The packet that cannot be marked is dropped. */
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.cookie, 5);
	CHECK_EQ(l4s_user_drops(r.u, &out, 1), 1);
	CHECK_EQ(out.cookie, 4);
	CHECK_EQ(out.action, L4S_ACTION_DROP);
	CHECK_EQ(out.ecn, L4S_ECN_ECT1);
	s = router_stats(&r);
	CHECK_EQ(s.drops_base, 1);
	CHECK_EQ(s.marks_native, 2);
	router_destroy(&r);
}

/* A packet that an override drops spends no credit of the scheduler. */
static void
drops_spend_no_credit(void)
{
	struct l4s_limits limits = generous();
	struct router r = without_gains();
	struct l4s_user_packet out;
	struct l4s_override o;
	uint64_t sent[2] = { 0, 0 };
	unsigned n;

	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &limits,
	    sizeof(limits), r.now), 0);
	for (n = 0; n < 4; n++)
		CHECK_EQ(router_put(&r, n & 1), 0);
	for (n = 0; n < 50000; n++) {
		/* Every other Classic packet is dropped. */
		if (n % 4 == 0) {
			o = router_override(&r, L4S_MODE_ONCE,
			    L4S_ACTION_DROP, 1, SEC);
			o.queue = L4S_QUEUE_CLASSIC;
			CHECK_EQ(router_send(&r, &o), 0);
		}
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
		sent[out.queue]++;
		CHECK_EQ(router_put(&r, out.queue), 0);
		while (l4s_user_drops(r.u, &out, 1) != 0)
			CHECK_EQ(router_put(&r, out.queue), 0);
	}
	CHECK(router_stats(&r).drops_override > 1000);
	CHECK_NEAR((double)sent[0] / (sent[0] + sent[1]), 0.1, 0.002);
	router_destroy(&r);
}

/*
 * Makes at least n decisions, with four packets in the queue at a time; counts
 * packets dropped by a hold and those refused because of its share.
 */
struct drop_count {
	uint64_t	decisions;
	uint64_t	dropped;
	uint64_t	refused;
};

static void
decide(struct router *r, unsigned n, uint32_t share, struct drop_count *c)
{
	struct l4s_user_packet out[5];
	uint64_t end = c->decisions + n;
	uint32_t packets, bytes;
	size_t i, got;

	while (c->decisions < end) {
		do {
			CHECK_EQ(router_put(r, L4S_ECN_ECT0), 0);
			l4s_user_backlog(r->u, L4S_QUEUE_ANY, &packets,
			    &bytes);
		} while (packets < 4);
		CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out[4]), 1);
		/* Packets dropped on the way came first. */
		got = l4s_user_drops(r->u, out, 4);
		out[got] = out[4];
		for (i = 0; i <= got; i++) {
			c->decisions++;
			c->dropped += out[i].reason == L4S_REASON_HOLD;
			c->refused += out[i].reason == L4S_REASON_DROP_SHARE;
			CHECK(c->dropped * L4S_FACTOR_ONE <=
			    c->decisions * share);
		}
	}
}

/* Override drops never exceed their share of the decisions, at any time. */
static void
drop_share(void)
{
	struct drop_count count = { 0 }, before;
	struct l4s_limits limits;
	struct router r;
	unsigned i;

	l4s_user_limits_default(&limits);
	limits.drop_share = L4S_FACTOR_ONE / 10;
	r = router_create(NULL, &limits, 64);
	for (i = 0; i < 4; i++) {
		CHECK_EQ(router_hold(&r, L4S_ACTION_DROP, 1000, SEC), 0);
		decide(&r, 500, limits.drop_share, &count);
	}
	CHECK_EQ(count.dropped + count.refused, count.decisions);
	CHECK(count.dropped >= 199);
	/* At most 64 drops are saved, for a pause of any length. */
	CHECK_EQ(router_hold(&r, L4S_ACTION_ENQUEUE, 1, SEC), 0);
	decide(&r, 5000, L4S_FACTOR_ONE, &count);
	before = count;
	CHECK_EQ(router_hold(&r, L4S_ACTION_DROP, 120, SEC), 0);
	decide(&r, 120, L4S_FACTOR_ONE, &count);
	CHECK(count.dropped - before.dropped >= 64 &&
	    count.dropped - before.dropped <= 64 + 12);
	router_destroy(&r);
}

/* Makes n decisions on lone packets under a hold; returns how many it marked. */
static unsigned
marked(struct router *r, unsigned n, uint8_t ecn)
{
	struct l4s_record_v1 record;
	unsigned i, marks = 0;

	CHECK_EQ(router_hold(r, L4S_ACTION_MARK, n, SEC), 0);
	for (i = 0; i < n; i++) {
		router_pass(r, ecn, &record);
		CHECK_EQ(record.reason, record.dequeue_action ==
		    L4S_ACTION_MARK ? L4S_REASON_HOLD :
		    L4S_REASON_MARK_SHARE);
		marks += record.dequeue_action == L4S_ACTION_MARK;
	}
	return (marks);
}

/* Marks beyond DualPI2's stay within their share, in both queues together. */
static void
mark_share(void)
{
	struct l4s_limits limits;
	struct router r;

	l4s_user_limits_default(&limits);
	limits.mark_share = L4S_FACTOR_ONE / 10;
	r = router_create(NULL, &limits, 64);
	/* 64 are saved at first.  The 71st mark needs 70 decisions more. */
	CHECK_EQ(marked(&r, 640, L4S_ECN_ECT0), 64 + 63);
	CHECK_EQ(marked(&r, 400, L4S_ECN_ECT1), 40);
	CHECK_EQ(router_stats(&r).refused[L4S_REASON_MARK_SHARE],
	    640 + 400 - (64 + 63) - 40);
	/* A share of one is no limit; one of zero leaves what is saved. */
	limits.mark_share = L4S_FACTOR_ONE;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &limits,
	    sizeof(limits), r.now), 0);
	CHECK_EQ(marked(&r, 1000, L4S_ECN_ECT0), 1000);
	limits.mark_share = 0;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &limits,
	    sizeof(limits), r.now), 0);
	CHECK(marked(&r, 200, L4S_ECN_ECT1) <= L4S_SHARE_BURST);
	CHECK_EQ(marked(&r, 10, L4S_ECN_ECT0), 0);
	router_destroy(&r);
}

/* Passes n L4S packets that DualPI2 marks, under a hold of an action. */
static void
pass_marked_by_dualpi2(struct router *r, uint8_t action, unsigned n)
{
	struct l4s_user_packet out;
	unsigned i;

	CHECK_EQ(router_hold(r, action, n, SEC), 0);
	CHECK_EQ(router_put(r, L4S_ECN_ECT1), 0);
	for (i = 0; i < n; i++) {
		CHECK_EQ(router_put(r, L4S_ECN_ECT1), 0);
		r->now += 2 * MS;	/* above the native threshold */
		CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
		if (i == 0) {		/* it found no packet in the queue */
			CHECK_EQ(router_put(r, L4S_ECN_ECT1), 0);
			continue;
		}
		CHECK_EQ(out.action, action);
		CHECK_EQ(out.reason, L4S_REASON_HOLD);
	}
	/* The rest leave without an override. */
	while (l4s_user_dequeue(r->u, r->now, &out) == 1)
		CHECK_EQ(out.reason, L4S_REASON_BASE);
}

/*
 * A mark of DualPI2 that an override prevents may be made up for in the same
 * queue, and one that it confirms costs nothing.
 */
static void
marks_may_be_moved(void)
{
	struct l4s_params params;
	struct l4s_limits limits;
	struct router r;

	l4s_user_params_default(&params);
	params.alpha_uhz = params.beta_uhz = 0;
	l4s_user_limits_default(&limits);
	limits.mark_share = 0;
	r = router_create(&params, &limits, 64);
	CHECK_EQ(marked(&r, 100, L4S_ECN_ECT0), L4S_SHARE_BURST);
	pass_marked_by_dualpi2(&r, L4S_ACTION_MARK, 20);
	CHECK_EQ(marked(&r, 10, L4S_ECN_ECT1), 0);
	pass_marked_by_dualpi2(&r, L4S_ACTION_ENQUEUE, 20);
	CHECK_EQ(marked(&r, 10, L4S_ECN_ECT0), 0);
	CHECK_EQ(marked(&r, 50, L4S_ECN_ECT1), 19);
	/* At most 64 are kept. */
	pass_marked_by_dualpi2(&r, L4S_ACTION_ENQUEUE, 200);
	CHECK_EQ(marked(&r, 200, L4S_ECN_ECT1), L4S_SHARE_BURST);
	router_destroy(&r);
}

static void
ceiling(void)
{
	struct router r = without_gains();
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct l4s_stats s;

	/* One packet waits in Classic for longer than 250 ms. */
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 250 * MS;
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 10, SEC), 0);
	PASS(L4S_ECN_ECT1, L4S_ACTION_MARK, L4S_REASON_HOLD);
	r.now += 1;
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_CEILING);
	CHECK((record.status & L4S_STATUS_CEILING) != 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_CEILING);
	PASS(L4S_ECN_ECT1, L4S_ACTION_MARK, L4S_REASON_HOLD);
	s = router_stats(&r);
	CHECK_EQ(s.refused[L4S_REASON_CEILING], 2);
	router_destroy(&r);
}

/* Records report the ceiling without overrides too, and only above it. */
static void
ceiling_without_override(void)
{
	struct router r = without_gains();
	struct l4s_user_packet out;
	struct l4s_record_v1 record;

	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 250 * MS;
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_BASE);
	CHECK_EQ(record.status & L4S_STATUS_CEILING, 0);
	r.now += 1;
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_BASE);
	CHECK((record.status & L4S_STATUS_CEILING) != 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.status & L4S_STATUS_CEILING, 0);
	/* An override that ends above the ceiling does not end this state. */
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 251 * MS;
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 1, SEC), 0);
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_CEILING);
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_BASE);
	CHECK((record.status & L4S_STATUS_CEILING) != 0);
	router_destroy(&r);
}

/* A controller with a high gain is at p' = 1 after one update with a queue. */
static struct router
overloaded(void)
{
	struct l4s_params params;
	struct l4s_limits limits = generous();
	struct router r;

	l4s_user_params_default(&params);
	params.alpha_uhz = UINT32_MAX;
	params.beta_uhz = 0;
	params.tupdate_ns = SEC;
	limits.ceiling_ns = UINT64_MAX;
	r = router_create(&params, &limits, 64);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += SEC;
	return (r);
}

/*
 * DualPI2 decides in overload: it drops at p' = 1, except for the packet that
 * leaves the queue empty, which is marked.
 */
static void
overload(void)
{
	struct router r = overloaded();
	struct l4s_user_packet out;
	struct l4s_stats s;

	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	CHECK_EQ(router_hold(&r, L4S_ACTION_ENQUEUE, 10, SEC), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.cookie, 1);
	CHECK_EQ(out.action, L4S_ACTION_MARK);
	CHECK_EQ(out.reason, L4S_REASON_OVERLOAD);
	CHECK_EQ(l4s_user_drops(r.u, &out, 1), 1);
	CHECK_EQ(out.cookie, 0);
	CHECK_EQ(out.reason, L4S_REASON_OVERLOAD);
	s = router_stats(&r);
	CHECK_EQ(s.refused[L4S_REASON_OVERLOAD], 2);
	CHECK_EQ(s.drops_base, 1);
	router_destroy(&r);
}

/* After an overload, packets that arrive one at a time are not dropped. */
static void
lone_packets_after_overload(void)
{
	struct router r = overloaded();
	struct l4s_user_packet out;
	unsigned i;

	for (i = 0; i < 100; i++) {
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
		CHECK_EQ(out.cookie, i);
		CHECK_EQ(l4s_user_drops(r.u, &out, 1), 0);
		CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
		r.now += 20 * MS;
	}
	router_destroy(&r);
}

/*
 * An override does not drop the last packet in the queue: it is refused with a
 * separate reason, and uses none of the share of drops.
 */
static void
last_packet_is_not_dropped(void)
{
	struct l4s_limits limits;
	struct l4s_record_v1 record;
	struct l4s_user_packet out;
	struct l4s_stats s;
	struct router r;

	l4s_user_limits_default(&limits);
	limits.drop_share = L4S_FACTOR_ONE / 4;
	r = router_create(NULL, &limits, 64);
	CHECK_EQ(router_hold(&r, L4S_ACTION_DROP, 5, SEC), 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_LAST_PACKET);
	CHECK_EQ(record.base_action, L4S_ACTION_ENQUEUE);
	CHECK_EQ(record.override_action, L4S_ACTION_DROP);
	CHECK_EQ(record.override_id, r.id);
	EXPECT(0, 0, 0, 0, 1);
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_LAST_PACKET);
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_LAST_PACKET);
	/*
	 * Four decisions earned one drop; one packet behind it, in either
	 * queue.
	 */
	CHECK_EQ(router_put(&r, L4S_ECN_ECT1), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_LAST_PACKET);
	CHECK_EQ(l4s_user_drops(r.u, &out, 1), 1);
	CHECK_EQ(out.reason, L4S_REASON_HOLD);
	EXPECT(1, 0, 0, 0, 0);
	s = router_stats(&r);
	CHECK_EQ(s.refused[L4S_REASON_LAST_PACKET], 4);
	CHECK_EQ(s.drops_override, 1);
	/* An override that was only ever refused. */
	CHECK_EQ(router_once(&r, L4S_ACTION_DROP), 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_LAST_PACKET);
	EXPECT(1, 0, 1, 0, 0);
	router_destroy(&r);
}

static void
expiry_by_time(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;

	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 100, MS), 0);
	r.now += MS - 1;
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	r.now += 1;
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	EXPECT(1, 0, 0, 0, 0);
	/* Without an effect. */
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 100, MS), 0);
	r.now += MS;
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	EXPECT(1, 1, 0, 0, 0);
	/* Already expired, without affecting the active one. */
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 100, SEC), 0);
	CHECK_EQ(router_hold(&r, L4S_ACTION_DROP, 100, 0), 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	EXPECT(2, 2, 0, 0, 0);
	router_destroy(&r);
}

static void
expiry_by_packets(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;
	unsigned i;

	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 5, SEC), 0);
	for (i = 0; i < 5; i++)
		PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	router_destroy(&r);
}

static void
replacement(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;

	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 5, SEC), 0);
	CHECK_EQ(router_hold(&r, L4S_ACTION_ENQUEUE, 5, SEC), 0);
	EXPECT(0, 0, 0, 1, 1);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_HOLD);
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	EXPECT(1, 0, 0, 1, 1);
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_ONCE);
	/* The replaced hold does not return. */
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	EXPECT(2, 0, 0, 1, 0);
	/* Replaced after a limit refused it: refused. */
	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 5, SEC), 0);
	PASS(L4S_ECN_NOT_ECT, L4S_ACTION_ENQUEUE, L4S_REASON_NOT_ECT);
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	EXPECT(2, 0, 1, 1, 1);
	/* Replaced after its time: expired. */
	r.now += 2 * SEC;
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	EXPECT(2, 1, 1, 1, 1);
	router_destroy(&r);
}

static void
close_returns_to_base(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;

	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 100, SEC), 0);
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	l4s_user_close(r.h, r.now);
	r.h = l4s_user_open(r.u);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	EXPECT(1, 0, 0, 0, 0);
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), L4S_EPERM);
	router_destroy(&r);
}

static void
checked_at_submission(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_override o, hold, steer;
	struct l4s_stats s;
	unsigned bad = 0;

#define	BAD(from, field, value, error) do {				\
	o = from;							\
	o.field = (value);						\
	CHECK_EQ(router_send(&r, &o), error);				\
	bad++;								\
} while (0)
	hold = router_override(&r, L4S_MODE_HOLD, L4S_ACTION_MARK, 10, SEC);
	steer = router_override(&r, L4S_MODE_STEER, 0, 0, SEC);
	steer.steer_set = L4S_STEER_TARGET;
	steer.target = L4S_FACTOR_ONE / 2;
	BAD(hold, id, 0, L4S_EINVAL);
	BAD(hold, mode, 0, L4S_EINVAL);
	BAD(hold, mode, 4, L4S_EINVAL);
	BAD(hold, action, 3, L4S_EINVAL);
	BAD(hold, queue, 3, L4S_EINVAL);
	BAD(hold, pad, 1, L4S_EINVAL);
	BAD(hold, hold_packets, 0, L4S_EINVAL);
	BAD(hold, hold_packets, 1001, L4S_ERANGE);
	BAD(hold, steer_set, L4S_STEER_ALPHA, L4S_EINVAL);
	BAD(hold, alpha, 1, L4S_EINVAL);
	BAD(hold, beta, 1, L4S_EINVAL);
	BAD(hold, tupdate, 1, L4S_EINVAL);
	BAD(hold, expires_ns, r.now + 30 * SEC + 1, L4S_ERANGE);
	BAD(hold, mode, L4S_MODE_ONCE, L4S_EINVAL);	/* ten packets */
	BAD(steer, action, 1, L4S_EINVAL);
	BAD(steer, queue, L4S_QUEUE_L4S, L4S_EINVAL);
	BAD(steer, hold_packets, 1, L4S_EINVAL);
	BAD(steer, steer_set, 0, L4S_EINVAL);
	BAD(steer, steer_set, 0x41, L4S_EINVAL);
	BAD(steer, coupling, 65536, L4S_EINVAL);
	BAD(steer, target, L4S_FACTOR_ONE / 10 - 1, L4S_ERANGE);
	BAD(steer, target, L4S_FACTOR_ONE * 4 + 1, L4S_ERANGE);
	BAD(steer, target, 0, L4S_ERANGE);
	steer.steer_set = L4S_STEER_ALL;
	steer.threshold = steer.coupling = L4S_FACTOR_ONE;
	/*
	 * A target of 1.5 ms instead of RFC 9332's 15, and gains multiplied by
	 * 20.
	 */
	steer.target = steer.tupdate = (L4S_FACTOR_ONE + 5) / 10;
	steer.alpha = steer.beta = L4S_FACTOR_ONE * 20;
	BAD(steer, alpha, L4S_FACTOR_ONE / 20 - 1, L4S_ERANGE);
	BAD(steer, beta, L4S_FACTOR_ONE * 20 + 1, L4S_ERANGE);
	BAD(steer, tupdate, L4S_FACTOR_ONE / 10 - 1, L4S_ERANGE);
#undef BAD
	s = router_stats(&r);
	CHECK_EQ(s.refused_invalid, bad);
	CHECK_EQ(s.overrides_received, 0);
	CHECK_EQ(router_send(&r, &hold), 0);
	CHECK_EQ(router_send(&r, &steer), 0);
	EXPECT(0, 0, 0, 1, 1);
	router_destroy(&r);
}

/*
 * The set-points shift and revert at their times, and p' does not jump: the
 * queue is at 20 ms, and each update moves p' according to its set-points.
 */
static void
steer_and_back(void)
{
	struct router r = router_create(NULL, NULL, 4096);
	struct l4s_override o;
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	uint64_t expires = 0, end = r.now + 4 * SEC;
	double p, last = 0, step = 0;
	unsigned n = 0, steered = 0;
	uint8_t type;

	while (r.now < end) {
		CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
		if (n++ < 20) {
			r.now += MS;
			continue;
		}
		if (n == 500) {
			o = router_override(&r, L4S_MODE_STEER, 0, 0, SEC);
			o.steer_set = L4S_STEER_TARGET | L4S_STEER_ALPHA |
			    L4S_STEER_BETA;
			o.target = L4S_FACTOR_ONE / 2;
			o.alpha = o.beta = L4S_FACTOR_ONE * 2;
			expires = o.expires_ns;
			CHECK_EQ(router_send(&r, &o), 0);
		}
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out) +
		    l4s_user_drops(r.u, &out, 1), 1);
		do
			type = router_read(&r, &record);
		while (type != 0 && type != L4S_RECORD_DECISION);
		CHECK_EQ(type, L4S_RECORD_DECISION);
		p = ldexp(record.base_probability, -31);
		if (n >= 500 && r.now < expires) {
			steered++;
			CHECK_EQ(record.reason, L4S_REASON_STEER);
			CHECK_EQ(record.override_id, r.id);
			CHECK_EQ(record.qdelay_reference, 7500);
			CHECK_EQ(record.base_action, record.dequeue_action);
			CHECK((record.status & L4S_STATUS_STEERED) != 0);
			step = 0.32 * 0.0125;
		} else {
			CHECK_EQ(record.reason, L4S_REASON_BASE);
			CHECK_EQ(record.qdelay_reference, 15000);
			CHECK((record.status & L4S_STATUS_STEERED) == 0);
			step = 0.16 * 0.005;
		}
		if (n > 60)	/* the fill's own steps are over */
			CHECK(p == last || fabs(p - last - step) < 1e-6);
		last = p;
		r.now += MS;
	}
	CHECK_EQ(steered, 1000);
	EXPECT(1, 0, 0, 0, 0);
	router_destroy(&r);
}

static void
steer_under_the_ceiling(void)
{
	struct router r = without_gains();
	struct l4s_override o = router_override(&r, L4S_MODE_STEER, 0, 0,
	    10 * SEC);
	struct l4s_user_packet out;
	struct l4s_record_v1 record;

	o.steer_set = L4S_STEER_COUPLING;
	o.coupling = L4S_FACTOR_ONE * 2;
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 251 * MS;
	CHECK_EQ(router_send(&r, &o), 0);
	/* Above the ceiling: not in effect, which counts as a refusal. */
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_CEILING);
	EXPECT(0, 0, 0, 0, 1);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out) +
	    l4s_user_drops(r.u, &out, 1), 1);
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_STEER);
	EXPECT(1, 0, 0, 0, 0);
	/* And again, in the middle of its life. */
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 251 * MS;
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_CEILING);
	router_destroy(&r);
}

/* Narrower limits end a steer outside them. */
static void
limits_change_in_force(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_override o = router_override(&r, L4S_MODE_STEER, 0, 0, SEC);
	struct l4s_limits limits;
	struct l4s_record_v1 record;

	o.steer_set = L4S_STEER_TARGET;
	o.target = L4S_FACTOR_ONE * 3;
	CHECK_EQ(router_send(&r, &o), 0);
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_STEER);
	l4s_user_limits_default(&limits);
	limits.factor_max = L4S_FACTOR_ONE * 2;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &limits,
	    sizeof(limits), r.now), 0);
	PASS(L4S_ECN_ECT1, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	CHECK_EQ(record.qdelay_reference, 15000);
	EXPECT(1, 0, 0, 0, 0);
	router_destroy(&r);
}

/*
 * A steer that expires while no packet passes ends at its own time: a router
 * that checks every millisecond and one that checks only afterwards agree.
 */
static void
steer_expires_in_a_pause(void)
{
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct l4s_override o;
	struct l4s_params params;
	struct router r;
	uint32_t p[2], before = 0;
	unsigned i, n;

	l4s_user_params_default(&params);
	params.alpha_uhz = 1600000;
	params.beta_uhz = 0;
	for (i = 0; i < 2; i++) {
		r = router_create(&params, NULL, 64);
		CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
		r.now += 120 * MS;		/* p' is past one half */
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out) +
		    l4s_user_drops(r.u, &out, 1), 1);
		o = router_override(&r, L4S_MODE_STEER, 0, 0, 50 * MS);
		o.steer_set = L4S_STEER_TARGET;
		o.target = 4 * L4S_FACTOR_ONE;
		CHECK_EQ(router_send(&r, &o), 0);
		router_pass(&r, L4S_ECN_ECT0, &record);
		before = record.base_probability;
		for (n = 1; n <= 80; n++) {
			r.now += MS;
			if (i == 0)
				(void)l4s_user_dequeue(r.u, r.now, &out);
		}
		router_pass(&r, L4S_ECN_ECT0, &record);
		CHECK_EQ(record.reason, L4S_REASON_BASE);
		p[i] = record.base_probability;
		router_destroy(&r);
	}
	CHECK(before > p[0] && p[0] > 0);
	CHECK_EQ(p[0], p[1]);
}

/* The only pending event with a code in the handle; counts them. */
static unsigned
events(struct router *r, uint32_t code, struct l4s_event *last)
{
	struct l4s_event e;
	unsigned n = 0;
	size_t got;

	while (l4s_user_read(r->h, &e, sizeof(e), r->now, &got) == 0 &&
	    got != 0)
		if (e.hdr.type == L4S_RECORD_EVENT && e.code == code) {
			n++;
			*last = e;
		}
	return (n);
}

static void
watchdog(void)
{
	struct l4s_limits limits = generous();
	struct l4s_event event;
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct l4s_stats s;
	struct router r;
	unsigned i;

	limits.watchdog_ns = 10 * MS;
	r = router_create(NULL, &limits, 256);
	/* No deadline is missed before the first override. */
	r.now += SEC;
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	CHECK_EQ(router_stats(&r).watchdog_misses, 0);

	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 1000, SEC), 0);
	r.now += 10 * MS;
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	r.now += 1;
	for (i = 0; i < 3; i++) {
		CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
		CHECK_EQ(out.reason, L4S_REASON_BASE);
	}
	CHECK_EQ(events(&r, L4S_EVENT_WATCHDOG, &event), 1);
	CHECK_EQ(event.value, 1);
	CHECK_EQ(event.sched, 1);
	s = router_stats(&r);
	CHECK_EQ(s.watchdog_misses, 1);
	CHECK_EQ(s.watchdog_active, 1);
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	CHECK((record.status & L4S_STATUS_WATCHDOG) != 0);
	r.now += SEC;
	CHECK_EQ(router_stats(&r).watchdog_misses, 1);

	/* The next override ends it. */
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_ONCE);
	CHECK_EQ(events(&r, L4S_EVENT_RECOVERED, &event), 1);
	CHECK_EQ(router_stats(&r).watchdog_active, 0);
	/* Detected from the device alone, without a packet. */
	r.now += 11 * MS;
	s = router_stats(&r);
	CHECK_EQ(s.watchdog_misses, 2);
	CHECK_EQ(s.watchdog_active, 1);
	router_destroy(&r);
}

/* An override that expires far in the future; one for an unserved queue. */
static void
late_and_idle(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;

	CHECK_EQ(router_hold(&r, L4S_ACTION_MARK, 10, 30 * SEC), 0);
	r.now += 29 * SEC;
	PASS(L4S_ECN_ECT0, L4S_ACTION_MARK, L4S_REASON_HOLD);
	r.now += SEC;
	PASS(L4S_ECN_ECT0, L4S_ACTION_ENQUEUE, L4S_REASON_BASE);
	router_destroy(&r);
}

/*
 * The controller closes after the packet path saw that something is pending,
 * and before it takes the lock: the cancelled override has no effect.
 */
static void
cancelled_while_collected(void)
{
	struct l4s_limits limits = generous();
	struct l4s_override override = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(override),
		.mode = L4S_MODE_ONCE,
		.action = L4S_ACTION_MARK,
		.id = 1,
		.expires_ns = 2 * SEC,
		.hold_packets = 1,
		.queue = L4S_QUEUE_ANY,
	};
	struct l4s_overrides o;
	struct dualpi2 d;
	uint32_t seen;
	bool recovered;

	start(&d, NULL);
	l4s_overrides_init(&o, &limits);
	CHECK_EQ(l4s_override_submit(&o, &override, SEC, &recovered), 0);
	seen = o.pending;
	l4s_overrides_release(&o);
	CHECK(!l4s_override_collect(&o, &d, seen, 0, SEC));
	CHECK(!o.active);
	CHECK_EQ(o.counts.expired, 1);
	CHECK_EQ(o.counts.applied, 0);
	CHECK_EQ(o.pending, 0);
	l4s_overrides_destroy(&o);
}

const struct test override_tests[] = {
	TEST(once_each_action),
	TEST(waits_for_its_queue),
	TEST(not_ect_is_never_marked),
	TEST(unmarkable_packets),
	TEST(drop_share),
	TEST(mark_share),
	TEST(marks_may_be_moved),
	TEST(drops_spend_no_credit),
	TEST(ceiling),
	TEST(ceiling_without_override),
	TEST(overload),
	TEST(lone_packets_after_overload),
	TEST(last_packet_is_not_dropped),
	TEST(expiry_by_time),
	TEST(expiry_by_packets),
	TEST(replacement),
	TEST(close_returns_to_base),
	TEST(cancelled_while_collected),
	TEST(checked_at_submission),
	TEST(steer_and_back),
	TEST(steer_expires_in_a_pause),
	TEST(steer_under_the_ceiling),
	TEST(limits_change_in_force),
	TEST(watchdog),
	TEST(late_and_idle),
	TEST_END
};
