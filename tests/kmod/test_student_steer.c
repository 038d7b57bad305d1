/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* A student that steers a queue, with overrides, limits and readers. */

#include "params.h"
#include "student_file.h"
#include "summaries.h"

#define	PERIOD		(20 * MS)

/* The target, ns, and the reason of the latest packet. */
#define	EXPECT(ns, why) do {						\
	CHECK_EQ(target(&r), (ns));					\
	CHECK_EQ(pass(&r), (why));					\
} while (0)

/* Loads a student and switches it on. */
static void
steer_with(struct router *r, const struct student_file *f)
{
	struct l4s_student_switch on = { .version = L4S_ABI_VERSION,
	    .length = sizeof(on), .on = 1 };
	uint8_t bytes[L4S_STUDENT_BYTES];
	size_t size = student_pack(f, bytes);

	CHECK_EQ(l4s_user_request(r->h, L4S_OP_LOAD_STUDENT, bytes, size,
	    r->now), 0);
	CHECK_EQ(l4s_user_request(r->h, L4S_OP_SET_STUDENT, &on, sizeof(on),
	    r->now), 0);
}

static struct l4s_student_status
status(struct router *r)
{
	struct l4s_student_status s;

	CHECK_EQ(l4s_user_request(r->h, L4S_OP_GET_STUDENT, &s, sizeof(s),
	    r->now), 0);
	return (s);
}

static struct l4s_params
set_points(const struct router *r)
{
	struct l4s_params p;

	l4s_user_set_points(r->u, &p);
	return (p);
}

static uint64_t
target(const struct router *r)
{
	return (set_points(r).target_ns);
}

/* A packet through the queue, which is empty before and after; its reason. */
static uint8_t
pass(struct router *r)
{
	struct l4s_user_packet out;

	CHECK_EQ(router_put(r, L4S_ECN_ECT0), 0);
	CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
	return (out.reason);
}

/* A packet each millisecond. */
static void
run(struct router *r, uint64_t ns)
{
	uint64_t end = r->now + ns;

	for (; r->now < end; r->now += MS)
		(void)pass(r);
}

/* Twice the default target, alpha and beta. */
static struct student_file
doubles(void)
{
	return (student_constant(PERIOD, 30 * MS, 320000, 6400000, 512));
}

/* A router that the student has begun to steer. */
static struct router
steered(const struct l4s_params *params, const struct l4s_limits *limits)
{
	struct student_file f = doubles();
	struct router r = router_create(params, limits, 1024);

	steer_with(&r, &f);
	run(&r, PERIOD + MS);
	return (r);
}

static void
steers_after_the_first_period(void)
{
	struct student_file f = doubles();
	struct router r = router_create(NULL, NULL, 1024);
	struct l4s_record_v1 record;
	unsigned n;

	steer_with(&r, &f);
	for (n = 0; n < 50; n++, r.now += MS) {
		router_pass(&r, L4S_ECN_ECT0, &record);
		CHECK_EQ(record.dequeue_action, L4S_ACTION_ENQUEUE);
		CHECK_EQ(record.base_action, L4S_ACTION_ENQUEUE);
		CHECK_EQ(record.override_id, 0);
		CHECK_EQ(record.reason, n < 20 ? L4S_REASON_BASE :
		    L4S_REASON_STUDENT);
		CHECK_EQ(record.status, n < 20 ? 0 : L4S_STATUS_STUDENT);
		CHECK_EQ(record.qdelay_reference, n < 20 ? 15000 : 30000);
		CHECK_EQ(record.alpha, 160000ULL * (n < 20 ? 1 : 2) * 8192 /
		    1000000);
		CHECK_EQ(status(&r).steering, n >= 20);
		CHECK_EQ(status(&r).decisions, n / 20);
	}
	CHECK_EQ(set_points(&r).beta_uhz, 6400000);
	CHECK_EQ(set_points(&r).coupling_q8, 512);
	CHECK_EQ(set_points(&r).tupdate_ns, 16 * MS);
	CHECK_EQ(set_points(&r).l4s_threshold_ns, MS);
	router_destroy(&r);
}

/*
 * The configuration comes before the first record that it applies to, and a
 * summary has the set-points and the status at its end: the decision made from
 * it comes later.
 */
static void
messages_come_in_order(void)
{
	struct student_file f = doubles();
	struct router r = router_create(NULL, NULL, 1024);
	struct reader reader;
	struct l4s_summary s;
	union {
		struct l4s_header hdr;
		struct l4s_record record;
		struct l4s_config config;
	} m;
	uint32_t configured = 0;
	unsigned decisions = 0;
	size_t got;

	reader = reader_open(&r, PERIOD, 0);
	steer_with(&r, &f);
	run(&r, 3 * PERIOD + MS);
	for (;;) {
		CHECK_EQ(l4s_user_read(r.h, &m, sizeof(m.record), r.now, &got),
		    0);
		if (got == 0)
			break;
		if (m.hdr.type == L4S_RECORD_CONFIG)
			configured = m.config.target;
		if (m.hdr.type != L4S_RECORD_DECISION)
			continue;
		decisions++;
		CHECK_EQ(configured, m.hdr.time_ns < SEC + PERIOD ? 15000 :
		    30000);
		CHECK_EQ(m.record.queue_reason & L4S_REASON_MASK,
		    configured == 15000 ? L4S_REASON_BASE :
		    L4S_REASON_STUDENT);
		CHECK_EQ(m.record.status, configured == 15000 ? 0 :
		    L4S_STATUS_STUDENT);
	}
	CHECK_EQ(decisions, 3 * 20 + 1);
	CHECK(reader_next(&reader, &s, r.now));
	CHECK_EQ(s.hdr.time_ns, SEC + PERIOD);
	CHECK_EQ(s.status, 0);
	CHECK_EQ(s.target_ns, 15 * MS);
	CHECK(reader_next(&reader, &s, r.now));
	CHECK_EQ(s.status, L4S_STATUS_STUDENT);
	CHECK_EQ(s.target_ns, 30 * MS);
	CHECK_EQ(s.override_id, 0);
	l4s_user_close(reader.h, r.now);
	router_destroy(&r);
}

static int
send_steer(struct router *r, uint32_t factor, uint64_t life)
{
	struct l4s_override o = router_override(r, L4S_MODE_STEER, 0, 0, life);

	o.steer_set = L4S_STEER_TARGET;
	o.target = factor;
	return (router_send(r, &o));
}

/* It resumes when the override expires, is replaced or is cancelled. */
static void
a_steer_override_takes_precedence(void)
{
	struct router r = steered(NULL, NULL);
	struct l4s_stats s;

	EXPECT(30 * MS, L4S_REASON_STUDENT);
	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, 50 * MS), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	CHECK_EQ(target(&r), 7500 * US);
	CHECK_EQ(set_points(&r).alpha_uhz, 160000);
	CHECK_EQ(status(&r).steering, 0);
	/* Its decisions continue meanwhile. */
	run(&r, 50 * MS);
	CHECK_EQ(status(&r).decisions, 3);
	CHECK_EQ(target(&r), 7500 * US);
	/* Expired. */
	CHECK_EQ(pass(&r), L4S_REASON_STUDENT);
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	CHECK_EQ(set_points(&r).alpha_uhz, 320000);

	/* Replaced by a steer, and by a hold. */
	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, SEC), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	CHECK_EQ(send_steer(&r, 2 * L4S_FACTOR_ONE / 3, SEC), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	CHECK_NEAR(target(&r) / 1e6, 10, 0.001);
	CHECK_EQ(router_hold(&r, L4S_ACTION_ENQUEUE, 1, SEC), 0);
	CHECK_EQ(pass(&r), L4S_REASON_HOLD);
	EXPECT(30 * MS, L4S_REASON_STUDENT);

	/* Cancelled: the controller leaves. */
	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, SEC), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	l4s_user_close(r.h, r.now);
	r.h = l4s_user_open(r.u);
	CHECK_EQ(pass(&r), L4S_REASON_STUDENT);
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	s = router_stats(&r);
	CHECK_EQ(s.overrides_applied, 5);
	CHECK_EQ(s.overrides_received, 5);
	router_destroy(&r);
}

/* Switched off while an override steers; and on, while one does. */
static void
switching_does_not_disturb_an_override(void)
{
	struct l4s_student_switch off = { .version = L4S_ABI_VERSION,
	    .length = sizeof(off) };
	struct student_file f = doubles();
	struct router r = steered(NULL, NULL);

	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, SEC), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_STUDENT, &off, sizeof(off),
	    r.now), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	EXPECT(7500 * US, L4S_REASON_STEER);
	steer_with(&r, &f);
	run(&r, 2 * PERIOD);
	EXPECT(7500 * US, L4S_REASON_STEER);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_STUDENT, &off, sizeof(off),
	    r.now), 0);
	run(&r, SEC);
	EXPECT(15 * MS, L4S_REASON_BASE);
	router_destroy(&r);
}

/* The controller misses its deadline: its overrides end, the student steers. */
static void
it_resumes_when_the_watchdog_fires(void)
{
	struct l4s_limits limits;
	struct l4s_record_v1 record;
	struct router r;

	l4s_user_limits_default(&limits);
	limits.watchdog_ns = 30 * MS;
	r = steered(NULL, &limits);
	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, SEC), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	run(&r, 30 * MS);
	EXPECT(7500 * US, L4S_REASON_STEER);
	r.now += MS;
	router_pass(&r, L4S_ECN_ECT0, &record);
	CHECK_EQ(record.reason, L4S_REASON_STUDENT);
	CHECK_EQ(record.status, L4S_STATUS_STUDENT | L4S_STATUS_WATCHDOG);
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	CHECK_EQ(router_stats(&r).watchdog_misses, 1);
	router_destroy(&r);
}

/* `once' and `hold' act in addition; the status stays. */
static void
actions_come_in_addition(void)
{
	struct router r = steered(NULL, NULL);
	struct l4s_record_v1 record;
	struct l4s_override o;

	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	router_pass(&r, L4S_ECN_ECT0, &record);
	CHECK_EQ(record.reason, L4S_REASON_ONCE);
	CHECK_EQ(record.dequeue_action, L4S_ACTION_MARK);
	CHECK_EQ(record.status, L4S_STATUS_STUDENT);
	CHECK_EQ(record.qdelay_reference, 30000);
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	/* A refused one, and one of the other queue. */
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	router_pass(&r, L4S_ECN_NOT_ECT, &record);
	CHECK_EQ(record.reason, L4S_REASON_NOT_ECT);
	CHECK_EQ(record.status, L4S_STATUS_STUDENT);
	o = router_override(&r, L4S_MODE_HOLD, L4S_ACTION_MARK, 2, SEC);
	o.queue = L4S_QUEUE_L4S;
	CHECK_EQ(router_send(&r, &o), 0);
	router_pass(&r, L4S_ECN_ECT0, &record);
	CHECK_EQ(record.reason, L4S_REASON_STUDENT);
	CHECK_EQ(record.override_id, 0);
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(record.reason, L4S_REASON_HOLD);
	CHECK_EQ(status(&r).steering, 1);
	router_destroy(&r);
}

/* Without packets, its set-points end after L4S_STUDENT_LIFE periods. */
static void
set_points_expire_in_silence(void)
{
	struct l4s_limits limits;
	struct router r = steered(NULL, NULL);

	/* The latest decision was at SEC + PERIOD. */
	CHECK_EQ(status(&r).decisions, 1);
	r.now = SEC + PERIOD + L4S_STUDENT_LIFE * PERIOD;
	/* They have expired, but this packet also ends a period. */
	CHECK_EQ(pass(&r), L4S_REASON_STUDENT);
	CHECK_EQ(status(&r).decisions, 2);
	/* A limit on lifetimes applies. */
	l4s_user_limits_default(&limits);
	limits.max_ttl_ns = 5 * MS;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &limits,
	    sizeof(limits), r.now), 0);
	run(&r, PERIOD);
	CHECK_EQ(pass(&r), L4S_REASON_STUDENT);
	CHECK_EQ(status(&r).decisions, 3);
	r.now += 5 * MS - 1;
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	r.now++;
	CHECK_EQ(pass(&r), L4S_REASON_BASE);
	EXPECT(15 * MS, L4S_REASON_BASE);
	CHECK_EQ(status(&r).steering, 0);
	router_destroy(&r);
}

/*
 * p' after a pause with a full queue, in which set-points expire.  Those of an
 * override with the same factors and expiry are the reference.
 */
static uint32_t
probability_after_a_pause(bool student)
{
	const uint64_t begin = SEC + PERIOD;
	struct student_file f = student_constant(PERIOD, 30 * MS, 32000,
	    640000, 512);
	struct l4s_user_packet out;
	struct l4s_params params;
	struct l4s_override o;
	struct l4s_limits limits;
	struct router r;
	uint32_t p;

	l4s_user_params_default(&params);
	params.alpha_uhz = 16000;
	params.beta_uhz = 320000;
	l4s_user_limits_default(&limits);
	limits.ceiling_ns = 10 * SEC;
	r = router_create(&params, &limits, 1024);
	if (student)
		steer_with(&r, &f);
	run(&r, PERIOD);
	if (student)
		/* It does not steer, and expires later. */
		o = router_override(&r, L4S_MODE_HOLD, 0, 100, 200 * MS);
	else {
		o = router_override(&r, L4S_MODE_STEER, 0, 0,
		    L4S_STUDENT_LIFE * PERIOD);
		o.steer_set = L4S_STEER_TARGET | L4S_STEER_ALPHA |
		    L4S_STEER_BETA;
		o.target = o.alpha = o.beta = 2 * L4S_FACTOR_ONE;
	}
	CHECK_EQ(router_send(&r, &o), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(target(&r), 30 * MS);
	r.now = begin + 250 * MS;
	CHECK_EQ(router_put(&r, L4S_ECN_NOT_ECT), 0);
	p = router_queues(&r).base_probability;
	while (l4s_user_dequeue(r.u, r.now, &out) != 0)
		;
	router_destroy(&r);
	return (p);
}

static void
expiry_in_a_pause_comes_in_order(void)
{
	uint32_t p = probability_after_a_pause(true);

	CHECK(p > 0 && p < L4S_PROB_ONE);
	CHECK_EQ(p, probability_after_a_pause(false));
}

/* Above the ceiling plain DualPI2 decides. */
static void
it_stops_above_the_ceiling(void)
{
	struct l4s_limits limits;
	struct l4s_record_v1 record;
	struct l4s_user_packet out;
	struct router r;

	l4s_user_limits_default(&limits);
	limits.ceiling_ns = 3 * MS;
	r = steered(NULL, &limits);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 3 * MS;
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_STUDENT);
	CHECK_EQ(target(&r), 30 * MS);
	r.now += 1;
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_BASE);
	CHECK_EQ(target(&r), 15 * MS);
	CHECK_EQ(status(&r).steering, 0);
	router_pass(&r, L4S_ECN_ECT0, &record);
	CHECK_EQ(record.reason, L4S_REASON_STUDENT);
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	/* With a steer override, too: after it, the student resumes. */
	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, 10 * MS), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	r.now += 10 * MS;
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.reason, L4S_REASON_BASE);
	CHECK_EQ(pass(&r), L4S_REASON_STUDENT);
	router_destroy(&r);
}

static void
set_params(struct router *r, const struct l4s_params *p)
{
	CHECK_EQ(l4s_user_request(r->h, L4S_OP_SET_PARAMS, (void *)p,
	    sizeof(*p), r->now), 0);
}

/* Its factors apply to new parameters, until its next decision. */
static void
parameters_change_while_it_steers(void)
{
	struct router r = steered(NULL, NULL);
	struct l4s_params p;

	l4s_user_params_default(&p);
	p.target_ns = 5 * MS;
	p.alpha_uhz = 0;
	set_params(&r, &p);
	CHECK_EQ(pass(&r), L4S_REASON_STUDENT);
	EXPECT(10 * MS, L4S_REASON_STUDENT);
	CHECK_EQ(set_points(&r).alpha_uhz, 0);
	run(&r, PERIOD);
	/* 30 ms are six times 5 ms: beyond the limit. */
	EXPECT(20 * MS, L4S_REASON_STUDENT);
	CHECK_EQ(set_points(&r).alpha_uhz, 0);
	CHECK_EQ(set_points(&r).beta_uhz, 6400000);
	router_destroy(&r);
}

/* Set-points outside new limits end; the next decision is within them. */
static void
limits_change_while_it_steers(void)
{
	struct router r = steered(NULL, NULL);
	struct l4s_limits l;

	l4s_user_limits_default(&l);
	l.factor_max = 3 * L4S_FACTOR_ONE / 2;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &l, sizeof(l),
	    r.now), 0);
	CHECK_EQ(pass(&r), L4S_REASON_BASE);
	EXPECT(15 * MS, L4S_REASON_BASE);
	CHECK_EQ(status(&r).steering, 0);
	run(&r, PERIOD);
	EXPECT(22500 * US, L4S_REASON_STUDENT);
	/* Wider limits do not end it. */
	l.factor_max = 4 * L4S_FACTOR_ONE;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &l, sizeof(l),
	    r.now), 0);
	EXPECT(22500 * US, L4S_REASON_STUDENT);
	run(&r, PERIOD);
	EXPECT(30 * MS, L4S_REASON_STUDENT);
	/* While an override steers, its end does not bring them back. */
	CHECK_EQ(send_steer(&r, L4S_FACTOR_ONE / 2, 5 * MS), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	l.factor_max = L4S_FACTOR_ONE;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &l, sizeof(l),
	    r.now), 0);
	CHECK_EQ(pass(&r), L4S_REASON_STEER);
	r.now += 5 * MS;
	CHECK_EQ(pass(&r), L4S_REASON_BASE);
	EXPECT(15 * MS, L4S_REASON_BASE);
	router_destroy(&r);
}

const struct test student_steer_tests[] = {
	TEST(steers_after_the_first_period),
	TEST(messages_come_in_order),
	TEST(a_steer_override_takes_precedence),
	TEST(switching_does_not_disturb_an_override),
	TEST(it_resumes_when_the_watchdog_fires),
	TEST(actions_come_in_addition),
	TEST(set_points_expire_in_silence),
	TEST(expiry_in_a_pause_comes_in_order),
	TEST(it_stops_above_the_ceiling),
	TEST(parameters_change_while_it_steers),
	TEST(limits_change_while_it_steers),
	TEST_END
};
