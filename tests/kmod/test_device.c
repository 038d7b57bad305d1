/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The device protocol, and callers that violate it. */

#include "router.h"

static void
creation(void)
{
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_user *u;
	int error;

	CHECK(l4s_user_create(NULL, NULL, 17, 1, &error) == NULL);
	CHECK_EQ(error, L4S_EINVAL);
	l4s_user_params_default(&params);
	params.target_ns = 0;
	CHECK(l4s_user_create(&params, NULL, 0, 1, &error) == NULL);
	CHECK_EQ(error, L4S_EINVAL);
	l4s_user_limits_default(&limits);
	limits.version = 9;
	CHECK(l4s_user_create(NULL, &limits, 0, 1, &error) == NULL);
	CHECK_EQ(error, L4S_EPROTO);
	u = l4s_user_create(NULL, NULL, 0, 0, &error);
	CHECK(u != NULL);
	CHECK_EQ(error, 0);
	l4s_user_destroy(u);
	l4s_user_destroy(NULL);
}

static unsigned allocations, failing;	/* failing: which one, from 1; 0: none */

static void *
failing_malloc(size_t size)
{
	return (++allocations == failing ? NULL : malloc(size));
}

/*
 * Each allocation in a router's life fails once.  A failure is an error, or a
 * drop that is counted and reported, and nothing leaks (ASan).
 */
static void
short_of_memory(void)
{
	enum { PACKETS = 600 };
	struct l4s_user_packet out;
	struct l4s_user_handle *h;
	struct l4s_user *u;
	struct l4s_stats s;
	unsigned i, drops, got;
	int error;

	l4s_user_set_malloc(failing_malloc);
	failing = 0;
	do {
		failing++;
		allocations = 0;
		error = 0;
		u = l4s_user_create(NULL, NULL, 1024, 1, &error);
		CHECK_EQ(u == NULL, failing <= 2);
		if (u == NULL) {
			CHECK_EQ(error, L4S_ENOMEM);
			continue;
		}
		h = l4s_user_open(u);
		CHECK_EQ(h == NULL, failing == 3);
		for (i = drops = 0; i < PACKETS; i++)
			if (l4s_user_enqueue(u, i, 100, i & 3, 0, SEC) != 0) {
				CHECK_EQ(l4s_user_drops(u, &out, 1), 1);
				CHECK_EQ(out.cookie, i);
				CHECK_EQ(out.ecn, i & 3);
				CHECK_EQ(out.action, L4S_ACTION_DROP);
				CHECK_EQ(out.reason, L4S_REASON_TAIL);
				drops++;
			}
		CHECK_EQ(drops, failing >= 4 && failing <= allocations);
		if (h != NULL) {
			s = handle_stats(h, SEC);
			CHECK_EQ(s.packets_in, PACKETS);
			CHECK_EQ(s.bytes_in, PACKETS * 100);
			CHECK_EQ(s.drops_tail, drops);
			/* With a keyframe. */
			CHECK_EQ(s.records_written, drops + 4);
		}
		for (got = 0; l4s_user_dequeue(u, SEC, &out) != 0; got++)
			;
		CHECK_EQ(got, PACKETS - drops);
		l4s_user_close(h, SEC);
		l4s_user_destroy(u);
	} while (failing <= allocations);
	CHECK_EQ(failing, 7);	/* 2 of the router, 1 handle, 3 of packets */

	/*
	 * All allocations fail after the first packet, and no caller takes the
	 * drops.
	 */
	failing = 0;
	u = l4s_user_create(NULL, NULL, 0, 1, &error);
	CHECK(u != NULL);
	for (i = 0; i < 3; i++) {
		failing = allocations + 1;
		CHECK_EQ(l4s_user_enqueue(u, i, 100, 0, 0, SEC), 1);
	}
	l4s_user_stats(u, &s);
	CHECK_EQ(s.drops_tail, 3);
	CHECK_EQ(s.queued, 0);
	CHECK_EQ(l4s_user_drops(u, &out, 1), 1);
	CHECK_EQ(out.cookie, 0);
	CHECK_EQ(l4s_user_drops(u, &out, 1), 0);
	l4s_user_destroy(u);
	failing = 0;
	l4s_user_set_malloc(NULL);
}

static void
versions(void)
{
	static const struct {
		uint16_t min, max;
		int error;
	} cases[] = {
		{ L4S_ABI_VERSION, L4S_ABI_VERSION, 0 }, { 0, 9, 0 },
		{ L4S_ABI_VERSION + 1, 9, L4S_EPROTO },
		{ 0, L4S_ABI_VERSION_MIN - 1, L4S_EPROTO },
		{ 9, 0, L4S_EPROTO },
	};
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_version v;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&v, 0xff, sizeof(v));
		v.min = cases[i].min;
		v.max = cases[i].max;
		CHECK_EQ(l4s_user_request(r.h, L4S_OP_VERSION, &v, sizeof(v),
		    r.now), cases[i].error);
		CHECK_EQ(v.min, L4S_ABI_VERSION_MIN);
		CHECK_EQ(v.max, L4S_ABI_VERSION);
		CHECK_EQ(v.record_size, L4S_RECORD_SIZE);
		CHECK(memchr(v.module, 0, sizeof(v.module)) != NULL);
		CHECK(v.module[0] != 0);
	}
	router_destroy(&r);
}

/* Every request number with every size up to beyond the maximum. */
static void
sizes_and_numbers(void)
{
	static const size_t size[] = {
		[L4S_OP_VERSION] = sizeof(struct l4s_version),
		[L4S_OP_CONTROL] = 0,
		[L4S_OP_INTERVAL] = sizeof(struct l4s_interval),
		[L4S_OP_OVERRIDE] = sizeof(struct l4s_override),
		[L4S_OP_STATS] = sizeof(struct l4s_stats),
		[L4S_OP_GET_PARAMS] = sizeof(struct l4s_params),
		[L4S_OP_SET_PARAMS] = sizeof(struct l4s_params),
		[L4S_OP_GET_LIMITS] = sizeof(struct l4s_limits),
		[L4S_OP_SET_LIMITS] = sizeof(struct l4s_limits),
		[L4S_OP_QUEUES] = sizeof(struct l4s_queues),
		[L4S_OP_SET_STUDENT] = sizeof(struct l4s_student_switch),
		[L4S_OP_GET_STUDENT] = sizeof(struct l4s_student_status),
	};
	struct router r = router_create(NULL, NULL, 16);
	uint32_t op;
	uint8_t *buf;
	size_t n;
	int error;

	for (op = 0; op <= 80; op++)
		for (n = 0; n <= 1000; n++) {
			/*
			 * Exactly n bytes, so that out-of-bounds accesses are
			 * detected.
			 */
			buf = calloc(1, n + 1);
			error = l4s_user_request(r.h, op, buf, n, r.now);
			if (op < 1 || op > L4S_OP_GET_STUDENT)
				CHECK_EQ(error, L4S_ENOTTY);
			else if (n != size[op])
				CHECK_EQ(error, L4S_EPROTO);
			else if (op == L4S_OP_GET_PARAMS ||
			    op == L4S_OP_GET_LIMITS || op == L4S_OP_CONTROL ||
			    op == L4S_OP_GET_STUDENT ||
			    op == L4S_OP_LOAD_STUDENT)	/* unloads */
				CHECK_EQ(error, 0);
			else	/* all zeros: no version, or out of range */
				CHECK(error == L4S_EPROTO ||
				    error == L4S_EINVAL);
			free(buf);
		}
	CHECK_EQ(l4s_user_request(r.h, UINT32_MAX, NULL, 0, r.now),
	    L4S_ENOTTY);
	router_destroy(&r);
}

static void
unaligned_buffers(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_override o = router_override(&r, L4S_MODE_ONCE,
	    L4S_ACTION_MARK, 1, SEC);
	uint8_t buf[2 * L4S_RECORD_SIZE + 1];
	struct l4s_params params;
	size_t got;

	memcpy(buf + 1, &o, sizeof(o));
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_OVERRIDE, buf + 1, sizeof(o),
	    r.now), 0);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_GET_PARAMS, buf + 1,
	    sizeof(params), r.now), 0);
	CHECK_EQ(router_put(&r, 0), 0);
	CHECK_EQ(l4s_user_read(r.h, buf + 1, sizeof(buf) - 1, r.now, &got), 0);
	CHECK_EQ(got, 2 * L4S_RECORD_SIZE);
	router_destroy(&r);
}

static void
control_and_observers(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_user_handle *observer = l4s_user_open(r.u);
	struct l4s_override o = router_override(&r, L4S_MODE_ONCE,
	    L4S_ACTION_MARK, 1, SEC);
	struct l4s_params params;
	struct l4s_record a, b;
	struct l4s_user_packet out;
	size_t got;

	CHECK_EQ(l4s_user_request(r.h, L4S_OP_CONTROL, NULL, 0, r.now), 0);
	CHECK_EQ(l4s_user_request(observer, L4S_OP_CONTROL, NULL, 0, r.now),
	    L4S_EBUSY);
	CHECK_EQ(l4s_user_request(observer, L4S_OP_OVERRIDE, &o, sizeof(o),
	    r.now), L4S_EPERM);
	l4s_user_params_tuned(&params);
	CHECK_EQ(l4s_user_request(observer, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r.now), L4S_EPERM);
	/* Both read the whole stream. */
	CHECK_EQ(router_put(&r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	do {
		CHECK_EQ(l4s_user_read(r.h, &a, sizeof(a), r.now, &got), 0);
		CHECK_EQ(got, sizeof(a));
		CHECK_EQ(l4s_user_read(observer, &b, sizeof(b), r.now, &got),
		    0);
		CHECK_EQ(got, sizeof(b));
		CHECK_EQ(memcmp(&a, &b, sizeof(a)), 0);
	} while (a.hdr.type != L4S_RECORD_DECISION && got != 0);
	/*
	 * After closing it, the controller remains; closing the controller
	 * frees control.
	 */
	l4s_user_close(observer, r.now);
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	observer = l4s_user_open(r.u);
	l4s_user_close(r.h, r.now);
	r.h = observer;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_CONTROL, NULL, 0, r.now), 0);
	o.sched = 2;
	CHECK_EQ(router_send(&r, &o), L4S_ENOENT);
	o.sched = 1;
	o.instance = 1;
	CHECK_EQ(router_send(&r, &o), L4S_ENOENT);
	o.instance = 0;
	CHECK_EQ(router_send(&r, &o), 0);
	router_destroy(&r);
}

static void
too_many_descriptors(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_handle *h[300];
	unsigned n = 0, i;

	while (n < 300 && (h[n] = l4s_user_open(r.u)) != NULL)
		n++;
	CHECK_EQ(n, 255);
	for (i = 0; i < n; i++)
		l4s_user_close(h[i], r.now);
	h[0] = l4s_user_open(r.u);
	CHECK(h[0] != NULL);
	l4s_user_close(h[0], r.now);
	router_destroy(&r);
}

static void
parameters_while_queued(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_params params, back;
	struct l4s_record_v1 record;
	unsigned i;

	for (i = 0; i < 10; i++)
		CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	l4s_user_params_paper(&params);
	params.limit_packets = 1;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r.now), 0);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_GET_PARAMS, &back,
	    sizeof(back), r.now), 0);
	CHECK_EQ(memcmp(&params, &back, sizeof(params)), 0);
	params.coupling_q8 = 1;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r.now), L4S_EINVAL);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 1);
	for (i = 0; i < 10; i++) {
		struct l4s_user_packet out;

		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	router_pass(&r, L4S_ECN_ECT0, &record);
	CHECK_EQ(record.tupdate, 15000);
	CHECK_EQ(record.max_burst, 150000);
	router_destroy(&r);
}

static unsigned woken;

static void
wake(void *arg)
{
	CHECK(arg == &woken);
	woken++;
}

static void
interval_and_wake(void)
{
	struct router r = router_create(NULL, NULL, 32);
	struct l4s_interval interval = { .records = 10, .streams = L4S_STREAM_RECORDS };
	struct l4s_record_v1 record;
	uint64_t deadline;
	unsigned i;

	router_pass(&r, 0, &record);		/* consume the first messages */
	woken = 0;
	l4s_user_on_ready(r.h, wake, &woken);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), 0);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
	CHECK_EQ(deadline, UINT64_MAX);
	for (i = 0; i < 10; i++) {
		struct l4s_user_packet out;

		CHECK_EQ(woken, 0);
		CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(woken, 1);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 1);

	/* After reading one, nine are left; one more wakes again. */
	CHECK_EQ(router_read(&r, &record), L4S_RECORD_DECISION);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
	CHECK_EQ(router_put(&r, 0), 0);
	{
		struct l4s_user_packet out;

		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(woken, 2);
	while (router_read(&r, &record) != 0)
		;

	/* By time: the first record starts the clock. */
	interval.max_wait_ns = 5 * MS;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), 0);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
	CHECK_EQ(deadline, UINT64_MAX);
	r.now += 3 * MS;
	CHECK_EQ(router_put(&r, 0), 0);
	{
		struct l4s_user_packet out;

		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(woken, 3);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
	CHECK_EQ(deadline, r.now + 5 * MS);
	CHECK_EQ(l4s_user_ready(r.h, r.now + 5 * MS - 1, &deadline), 0);
	CHECK_EQ(l4s_user_ready(r.h, r.now + 5 * MS, &deadline), 1);

	/* More than fit in the ring: lost messages count. */
	interval = (struct l4s_interval){ .records = 100, .streams = L4S_STREAM_RECORDS };
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), 0);
	for (i = 0; i < 99; i++) {
		struct l4s_user_packet out;

		CHECK_EQ(router_put(&r, 0), 0);
		(void)l4s_user_dequeue(r.u, r.now, &out);
	}
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 1);
	CHECK_EQ(woken, 4);

	interval.records = 0;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), L4S_EINVAL);
	interval.records = 65537;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), L4S_EINVAL);
	interval.records = 1;
	interval.pad = 1;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), L4S_EINVAL);
	router_destroy(&r);
}

static void
reads(void)
{
	struct router r = router_create(NULL, NULL, 16);
	uint8_t buf[7 * L4S_RECORD_SIZE];
	struct l4s_user_packet out;
	struct l4s_stats s;
	size_t got, n, total = 0;
	unsigned i;

	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(l4s_user_read(r.h, buf, L4S_RECORD_SIZE - 1, r.now, &got),
	    L4S_EINVAL);
	CHECK_EQ(got, 0);
	for (n = L4S_RECORD_SIZE; n <= sizeof(buf); n += 50) {
		CHECK_EQ(l4s_user_read(r.h, buf, n, r.now, &got), 0);
		CHECK(got <= n);
		CHECK_EQ(got % L4S_RECORD_SIZE, 0);
		total += got / L4S_RECORD_SIZE;
	}
	/* An event, context, 40 records: 15 left, one loss. */
	CHECK_EQ(total, 16);
	s = router_stats(&r);
	CHECK_EQ(s.records_written, 45);
	CHECK_EQ(s.records_read, 15);
	CHECK_EQ(s.records_lost, 30);
	CHECK_EQ(s.records_waiting, 0);
	router_destroy(&r);
}

/* Without a ring there is no stream, and everything else works. */
static void
without_records(void)
{
	struct router r = router_create(NULL, NULL, 0);
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct l4s_stats s;
	uint64_t deadline;
	size_t got = 1;

	l4s_user_on_ready(r.h, wake, &woken);
	CHECK_EQ(router_once(&r, L4S_ACTION_MARK), 0);
	CHECK_EQ(router_put(&r, L4S_ECN_ECT0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	CHECK_EQ(out.action, L4S_ACTION_MARK);
	CHECK_EQ(out.ecn, L4S_ECN_CE);
	CHECK_EQ(l4s_user_read(r.h, &record, sizeof(record), r.now, &got), 0);
	CHECK_EQ(got, 0);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
	s = router_stats(&r);
	CHECK_EQ(s.records_written, 0);
	CHECK_EQ(s.overrides_applied, 1);
	router_destroy(&r);
}

/* Actions of the device appear in the stream, in order. */
static void
events_in_the_stream(void)
{
	static const uint32_t expect[] = { L4S_EVENT_CONTROL_OPEN,
	    L4S_EVENT_PARAMS, L4S_EVENT_LIMITS, L4S_EVENT_CONTROL_CLOSE };
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_user_handle *observer = l4s_user_open(r.u);
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_event e;
	size_t got;
	unsigned i;

	l4s_user_params_default(&params);
	l4s_user_limits_default(&limits);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r.now), 0);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_LIMITS, &limits,
	    sizeof(limits), r.now), 0);
	l4s_user_close(r.h, r.now);
	r.h = observer;
	CHECK_EQ(router_put(&r, 0), 0);
	for (i = 0; i < sizeof(expect) / sizeof(expect[0]); i++) {
		CHECK_EQ(l4s_user_read(r.h, &e, sizeof(e), r.now, &got), 0);
		CHECK_EQ(got, sizeof(e));
		CHECK_EQ(e.hdr.type, L4S_RECORD_EVENT);
		CHECK_EQ(e.code, expect[i]);
		CHECK_EQ(e.hdr.time_ns, r.now);
	}
	/* And the keyframe. */
	for (i = 0; i < 4; i++) {
		CHECK_EQ(l4s_user_read(r.h, &e, sizeof(e), r.now, &got), 0);
		CHECK_EQ(got, sizeof(e));
		CHECK(e.hdr.type >= L4S_RECORD_CONFIG);
	}
	CHECK_EQ(l4s_user_read(r.h, &e, sizeof(e), r.now, &got), 0);
	CHECK_EQ(got, 0);
	router_destroy(&r);
}

static void
time_does_not_go_back(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_user_packet out;

	CHECK_EQ(router_put(&r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, 5, &out), 1);
	CHECK_EQ(out.sojourn_ns, 0);
	r.now -= SEC / 2;
	CHECK_EQ(router_put(&r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, SEC + 7, &out), 1);
	CHECK_EQ(out.sojourn_ns, 7);
	router_destroy(&r);
}

/* A waiter for more messages than fit is woken when the ring is half full. */
static void
small_ring(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_interval interval = { .records = 100, .streams = L4S_STREAM_RECORDS };
	struct l4s_stats s;
	struct l4s_record_v1 record;
	uint64_t deadline;
	unsigned i;

	woken = 0;
	router_pass(&r, L4S_ECN_ECT1, &record);
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), r.now), 0);
	l4s_user_on_ready(r.h, wake, &woken);
	for (i = 0; i < 8; i++) {
		struct l4s_user_packet out;

		CHECK_EQ(woken, 0);
		CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 0);
		CHECK_EQ(router_put(&r, L4S_ECN_ECT1), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(woken, 1);
	CHECK_EQ(l4s_user_ready(r.h, r.now, &deadline), 1);
	s = handle_stats(r.h, r.now);
	CHECK_EQ(s.records_waiting, 8);
	CHECK_EQ(s.records_lost, 0);
	router_destroy(&r);
}

const struct test device_tests[] = {
	TEST(creation),
	TEST(short_of_memory),
	TEST(versions),
	TEST(sizes_and_numbers),
	TEST(unaligned_buffers),
	TEST(control_and_observers),
	TEST(too_many_descriptors),
	TEST(parameters_while_queued),
	TEST(interval_and_wake),
	TEST(reads),
	TEST(without_records),
	TEST(events_in_the_stream),
	TEST(small_ring),
	TEST(time_does_not_go_back),
	TEST_END
};
