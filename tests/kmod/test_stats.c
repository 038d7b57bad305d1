/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* An operator's view of a queue: RFC 9332, sections 2.5.2.2 and 2.5.2.3. */

#include "router.h"
#include "counters.h"

/* The bins of delays cover all delays, each from its edge to the next. */
static void
delay_bins(void)
{
	unsigned bin;

	CHECK_EQ(l4s_delay_bin(0), 0);
	for (bin = 1; bin < L4S_DELAY_BINS; bin++) {
		CHECK(L4S_DELAY_BIN_NS(bin) > L4S_DELAY_BIN_NS(bin - 1));
		CHECK_EQ(l4s_delay_bin(L4S_DELAY_BIN_NS(bin) - 1), bin - 1);
		CHECK_EQ(l4s_delay_bin(L4S_DELAY_BIN_NS(bin)), bin);
	}
	CHECK_EQ(L4S_DELAY_BIN_NS(1), 16384);
	CHECK_EQ(L4S_DELAY_BIN_NS(L4S_DELAY_BINS - 1), 1ULL << 29);
	CHECK_EQ(l4s_delay_bin(UINT64_MAX), L4S_DELAY_BINS - 1);
}

/* Takes all packets that the queue sends or drops, until it is empty. */
static void
drain(struct router *r)
{
	struct l4s_user_packet out;

	while (l4s_user_dequeue(r->u, r->now, &out) != 0)
		;
	while (l4s_user_drops(r->u, &out, 1) != 0)
		;
}

/* Each packet is counted in its own queue, and its drop under its codepoint. */
static void
each_queue_has_separate_statistics(void)
{
	struct l4s_params params;
	struct l4s_queues t;
	const struct l4s_queue_stats *c = &t.queue[L4S_QUEUE_CLASSIC];
	const struct l4s_queue_stats *l = &t.queue[L4S_QUEUE_L4S];
	struct router r;
	unsigned i;

	l4s_user_params_default(&params);
	params.limit_packets = 4;
	r = router_create(&params, NULL, 64);
	t = router_queues(&r);
	CHECK_EQ(c->packets_in + l->packets_in, 0);
	CHECK_EQ(t.credit, -80 * 1500);	/* L4S's lead, in bytes x per cent */

	for (i = 0; i < 100; i++) {	/* they earn the drops below */
		CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
		drain(&r);
	}
	t = router_queues(&r);
	CHECK_EQ(c->forwarded, 100);
	CHECK_EQ(c->forwarded_bytes, 100000);
	CHECK_EQ(c->delays[0], 100);
	CHECK_EQ(c->delay_max_ns, 0);
	CHECK_EQ(l->packets_in, 0);

	for (i = 0; i < 3; i++) {
		CHECK_EQ(router_once(&r, L4S_ACTION_DROP), 0);
		CHECK_EQ(router_put(&r, (uint8_t)i), 0);
		CHECK_EQ(router_put(&r, (uint8_t)i), 0);
		drain(&r);	/* the last that waits is not dropped */
	}
	t = router_queues(&r);
	CHECK_EQ(c->drops_not_ect, 1);
	CHECK_EQ(c->drops_ecn, 1);
	CHECK_EQ(l->drops_ecn, 1);
	CHECK_EQ(l->drops_not_ect, 0);
	CHECK_EQ(l->dropped_bytes, 1000);

	CHECK_EQ(router_put(&r, L4S_ECN_ECT1), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT1), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT1), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT1), 1);
	r.now += 3 * MS;
	t = router_queues(&r);
	CHECK_EQ(l->queued, 3);
	CHECK_EQ(l->queued_max, 3);
	CHECK_EQ(l->queued_bytes_max, 3000);
	CHECK_EQ(l->drops_tail, 1);
	CHECK_EQ(l->delay_ns, 3 * MS);
	CHECK_EQ(c->queued_max, 2);
	CHECK_EQ(c->delay_ns, 3 * MS);

	/* Above the native threshold: marked, except one that arrived alone. */
	drain(&r);
	t = router_queues(&r);
	CHECK_EQ(l->forwarded, 4);
	CHECK_EQ(l->marked, 2);
	CHECK_EQ(l->marked_bytes, 2000);
	CHECK_EQ(l->delay_max_ns, 3 * MS);
	CHECK_EQ(l->delay_sum_ns, 9 * MS);
	CHECK_EQ(l->delays[l4s_delay_bin(3 * MS)], 3);
	CHECK_EQ(l->delay_ns, 0);
	CHECK_EQ(c->marked, 0);
	CHECK_EQ(l->queued_max, 3);
	router_destroy(&r);
}

/* The probabilities are the controller's, as in records. */
static void
live_probabilities(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_record_v1 record;
	struct l4s_queues t;
	unsigned i;

	for (i = 0; i < 40; i++)
		CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	r.now += 60 * MS;
	drain(&r);
	router_pass(&r, L4S_ECN_NOT_ECT, &record);
	t = router_queues(&r);
	CHECK(record.base_probability > L4S_PROB_ONE / 100);
	CHECK_EQ(t.base_probability, record.base_probability);
	CHECK_EQ(t.classic_probability, (uint64_t)t.base_probability *
	    t.base_probability >> 31);
	CHECK(t.base_probability < L4S_PROB_ONE / 2);
	CHECK_EQ(t.coupled_probability, 2 * t.base_probability);
	router_destroy(&r);
}

/* The next event of overload, or a zero code; other messages are skipped. */
static struct l4s_event
overload_event(struct router *r)
{
	struct l4s_event e;
	size_t got;

	do {
		memset(&e, 0, sizeof(e));
		CHECK_EQ(l4s_user_read(r->h, &e, sizeof(e), r->now, &got), 0);
	} while (got != 0 && (e.hdr.type != L4S_RECORD_EVENT ||
	    (e.code != L4S_EVENT_OVERLOAD &&
	    e.code != L4S_EVENT_OVERLOAD_END)));
	return (e);
}

/* Keeps a backlog of `ms' old packets for `steps' times 16 ms. */
static void
hold_delay(struct router *r, uint64_t delay_ns, unsigned steps)
{
	struct l4s_user_packet out;
	unsigned i;

	for (i = 0; i < steps; i++) {
		CHECK_EQ(router_put(r, L4S_ECN_NOT_ECT), 0);
		r->now += delay_ns;
		(void)l4s_user_dequeue(r->u, r->now, &out);
		drain(r);
	}
}

/*
 * The start and end of overload each write an event; that of the end has the
 * duration.  Overload that returns within a second is the same period.
 */
static void
overload_events(void)
{
	struct router r = router_create(NULL, NULL, 4096);
	struct l4s_event begin, end;
	struct l4s_queues t;

	CHECK_EQ(overload_event(&r).code, 0);
	hold_delay(&r, 400 * MS, 20);
	begin = overload_event(&r);
	CHECK_EQ(begin.code, L4S_EVENT_OVERLOAD);
	CHECK_EQ(begin.sched, 1);
	CHECK_EQ(begin.value, 0);
	CHECK_EQ(overload_event(&r).code, 0);
	t = router_queues(&r);
	CHECK_EQ(t.overload, 1);
	CHECK_EQ(t.overloads, 1);
	CHECK(t.overload_ns > 0);
	CHECK_EQ(t.overload_ns, r.now - begin.hdr.time_ns);

	/* A break that is too short to be an end, and overload again. */
	hold_delay(&r, 1 * MS, 900);
	CHECK_EQ(overload_event(&r).code, 0);
	CHECK_EQ(router_queues(&r).overload, 0);
	hold_delay(&r, 400 * MS, 20);
	CHECK_EQ(overload_event(&r).code, 0);
	t = router_queues(&r);
	CHECK_EQ(t.overload, 1);
	CHECK_EQ(t.overloads, 1);

	hold_delay(&r, 1 * MS, 2500);
	end = overload_event(&r);
	CHECK_EQ(end.code, L4S_EVENT_OVERLOAD_END);
	t = router_queues(&r);
	CHECK_EQ(t.overload, 0);
	CHECK_EQ(end.value, t.overload_ns);
	CHECK(end.value < end.hdr.time_ns - begin.hdr.time_ns -
	    L4S_OVERLOAD_QUIET_NS);
	CHECK_EQ(overload_event(&r).code, 0);
	hold_delay(&r, 400 * MS, 20);
	CHECK_EQ(overload_event(&r).code, L4S_EVENT_OVERLOAD);
	CHECK_EQ(router_queues(&r).overloads, 2);
	router_destroy(&r);
}

/*
 * A controller that sends an override for each packet does not hide overload:
 * the updates run before its override is taken, or when one expires.
 */
static void
overload_under_a_controller(void)
{
	struct router r = router_create(NULL, NULL, 4096);
	struct l4s_user_packet out;
	struct l4s_event begin;
	struct l4s_queues t;
	unsigned i;

	for (i = 0; i < 20; i++) {
		CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
		r.now += 400 * MS;
		CHECK_EQ(router_once(&r, L4S_ACTION_ENQUEUE), 0);
		(void)l4s_user_dequeue(r.u, r.now, &out);
		drain(&r);
	}
	begin = overload_event(&r);
	CHECK_EQ(begin.code, L4S_EVENT_OVERLOAD);
	t = router_queues(&r);
	CHECK_EQ(t.overload, 1);
	CHECK_EQ(t.overload_ns, r.now - begin.hdr.time_ns);
	router_destroy(&r);
}

/*
 * Number of packets of a burst of 100 Not-ECT datagrams sent by a link of
 * `bps'.
 */
static uint64_t
burst_through(uint64_t bps)
{
	const uint32_t length = 1228;
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_packet out;
	struct l4s_queues t;
	unsigned i;

	for (i = 0; i < 100; i++)
		CHECK_EQ(l4s_user_enqueue(r.u, r.cookie++, length,
		    L4S_ECN_NOT_ECT, 0, r.now), 0);
	while (l4s_user_dequeue(r.u, r.now, &out) != 0)
		r.now += length * 8 * SEC / bps;
	t = router_queues(&r);
	CHECK_EQ(t.queue[L4S_QUEUE_CLASSIC].dropped,
	    100 - t.queue[L4S_QUEUE_CLASSIC].forwarded);
	router_destroy(&r);
	return (t.queue[L4S_QUEUE_CLASSIC].forwarded);
}

/* The manual's numbers for slow links (CAVEATS of dualpi2_llm.4). */
static void
bursts_at_slow_rates(void)
{
	CHECK_NEAR(burst_through(64000), 3, 2);
	CHECK_NEAR(burst_through(512000), 14, 5);
	CHECK_NEAR(burst_through(1000000), 26, 5);
	CHECK_NEAR(burst_through(4000000), 79, 5);
	CHECK_NEAR(burst_through(8000000), 95, 5);
}

const struct test stats_tests[] = {
	TEST(delay_bins),
	TEST(each_queue_has_separate_statistics),
	TEST(live_probabilities),
	TEST(overload_events),
	TEST(overload_under_a_controller),
	TEST(bursts_at_slow_rates),
	TEST_END
};
