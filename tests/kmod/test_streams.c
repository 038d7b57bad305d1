/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Streams of summaries and of records: each event once, in time order. */

#include "summaries.h"

/* Both streams: in time order, each event once. */
static void
both_streams(void)
{
	struct router r = router_create(NULL, NULL, 1 << 10);
	struct l4s_user_handle *handles[3];
	static const uint32_t streams[3] = { L4S_STREAM_RECORDS,
	    L4S_STREAM_SUMMARIES, L4S_STREAM_ALL };
	unsigned counts[3][16] = { { 0 } }, i, k;
	uint64_t random = 6, last[3] = { 0, 0, 0 }, deadline;
	uint8_t buf[1500];
	struct l4s_header hdr;
	size_t got, at;

	for (k = 0; k < 3; k++) {
		handles[k] = l4s_user_open(r.u);
		set_interval(handles[k], streams[k],
		    streams[k] & L4S_STREAM_SUMMARIES ? 5 * MS : 0, 0, r.now);
	}
	for (i = 0; i < 20000; i++) {
		any_step(&r, &random);
		k = test_below(&random, 3);
		CHECK_EQ(l4s_user_read(handles[k], buf,
		    streams[k] == L4S_STREAM_RECORDS ? L4S_RECORD_SIZE - 1 :
		    sizeof(struct l4s_summary) - 1, r.now, &got), L4S_EINVAL);
		/* Readable means that there is something to read. */
		if (l4s_user_ready(handles[k], r.now, &deadline) == 1 &&
		    streams[k] != L4S_STREAM_RECORDS) {
			CHECK_EQ(l4s_user_read(handles[k], buf, 512, r.now,
			    &got), 0);
			CHECK(got != 0);
		} else
			CHECK_EQ(l4s_user_read(handles[k], buf, sizeof(buf),
			    r.now, &got), 0);
		for (at = 0; at < got; at += hdr.length) {
			memcpy(&hdr, buf + at, sizeof(hdr));
			CHECK(hdr.time_ns >= last[k]);
			last[k] = hdr.time_ns;
			counts[k][hdr.type & 15]++;
			CHECK_EQ(hdr.length, hdr.type == L4S_RECORD_SUMMARY ?
			    sizeof(struct l4s_summary) : L4S_RECORD_SIZE);
		}
		/* None may be lapped, because there are few reads above. */
		if (i % 100 == 0)
			for (k = 0; k < 3; k++)
				do {
					CHECK_EQ(l4s_user_read(handles[k], buf,
					    sizeof(buf), r.now, &got), 0);
					for (at = 0; at < got;
					    at += hdr.length) {
						memcpy(&hdr, buf + at,
						    sizeof(hdr));
						CHECK(hdr.time_ns >= last[k]);
						last[k] = hdr.time_ns;
						counts[k][hdr.type & 15]++;
					}
				} while (got != 0);
	}
	for (k = 0; k < 3; k++)
		do {
			CHECK_EQ(l4s_user_read(handles[k], buf, sizeof(buf),
			    r.now, &got), 0);
			for (at = 0; at < got; at += hdr.length) {
				memcpy(&hdr, buf + at, sizeof(hdr));
				counts[k][hdr.type & 15]++;
			}
		} while (got != 0);
	CHECK(counts[0][L4S_RECORD_EVENT] > 10);
	CHECK_EQ(counts[1][L4S_RECORD_EVENT], counts[0][L4S_RECORD_EVENT]);
	CHECK_EQ(counts[2][L4S_RECORD_EVENT], counts[0][L4S_RECORD_EVENT]);
	CHECK(counts[0][L4S_RECORD_DECISION] > 5000);
	CHECK_EQ(counts[1][L4S_RECORD_DECISION], 0);
	CHECK_EQ(counts[2][L4S_RECORD_DECISION],
	    counts[0][L4S_RECORD_DECISION]);
	CHECK(counts[1][L4S_RECORD_SUMMARY] > 500);
	CHECK_EQ(counts[0][L4S_RECORD_SUMMARY], 0);
	CHECK_EQ(counts[2][L4S_RECORD_SUMMARY], counts[1][L4S_RECORD_SUMMARY]);
	for (k = 0; k < 3; k++)
		l4s_user_close(handles[k], r.now);
	any_drain(&r);
	router_destroy(&r);
}

/*
 * Reads one message of `type' or none: its code or the number lost, otherwise
 * 0.
 */
static uint64_t
next_of(struct l4s_user_handle *h, uint8_t type, uint64_t now)
{
	union {
		struct l4s_header hdr;
		struct l4s_event event;
		struct l4s_loss loss;
		struct l4s_summary summary;
	} m;
	size_t got;

	/* One message: a buffer for the largest of the streams' messages. */
	do
		if (l4s_user_read(h, &m, L4S_RECORD_SIZE, now, &got) != 0)
			CHECK_EQ(l4s_user_read(h, &m, sizeof(m), now, &got), 0);
	while (got != 0 && m.hdr.type != type);
	return (got == 0 ? 0 : type == L4S_RECORD_EVENT ? m.event.code :
	    m.loss.lost);
}

/* A new event, and a packet with which it is written. */
static void
make_event(struct router *r, unsigned i)
{
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_user_packet out;

	l4s_user_params_default(&params);
	l4s_user_limits_default(&limits);
	CHECK_EQ(i % 2 == 0 ? l4s_user_request(r->h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r->now) : l4s_user_request(r->h,
	    L4S_OP_SET_LIMITS, &limits, sizeof(limits), r->now), 0);
	r->now += MS;
	CHECK_EQ(router_put(r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
}

/*
 * A reader that changes its streams in any way, before or after reading pending
 * messages, gets each event once.
 */
static void
events_outlive_streams(void)
{
	struct router r = router_create(NULL, NULL, 1 << 10);
	struct l4s_user_handle *h = l4s_user_open(r.u);
	uint32_t expect[16], streams;
	uint64_t random = 8, code, events = 0, deadline;
	unsigned i, waiting = 0, n, turn;

	make_event(&r, 0);
	while (next_of(h, L4S_RECORD_EVENT, r.now) != 0)
		;
	for (turn = 0; turn < 2000; turn++) {
		n = test_below(&random, 4);
		for (i = 0; i < n && waiting < nitems(expect); i++) {
			make_event(&r, i);
			expect[waiting++] = i % 2 == 0 ? L4S_EVENT_PARAMS :
			    L4S_EVENT_LIMITS;
		}
		streams = 1 + (uint32_t)test_below(&random, 3);
		set_interval(h, streams, (streams & L4S_STREAM_SUMMARIES) != 0 ?
		    5 * MS : 0, 0, r.now);
		if (waiting != 0)
			CHECK_EQ(l4s_user_ready(h, r.now, &deadline), 1);
		n = test_below(&random, 2) == 0 ? waiting :
		    test_below(&random, waiting + 1);
		for (i = 0; i < n; i++) {
			code = next_of(h, L4S_RECORD_EVENT, r.now);
			CHECK_EQ(code, expect[i]);
			events++;
		}
		waiting -= n;
		memmove(expect, expect + n, waiting * sizeof(expect[0]));
		if (waiting == 0)
			CHECK_EQ(next_of(h, L4S_RECORD_EVENT, r.now), 0);
	}
	CHECK(events > 2000);
	l4s_user_close(h, r.now);
	router_destroy(&r);
}

/* A reader that leaves a stream before reading a loss there gets it. */
static void
losses_outlive_streams(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_handle *h = l4s_user_open(r.u);
	struct l4s_user_packet out;
	struct l4s_loss loss;
	struct l4s_stats s;
	size_t got;
	unsigned i;

	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	s = handle_stats(h, r.now);
	CHECK(s.records_lost > 20);
	set_interval(h, L4S_STREAM_SUMMARIES, 5 * MS, 0, r.now);
	/* Later messages do not increase them. */
	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), s.records_lost);
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), 0);
	l4s_user_close(h, r.now);

	/*
	 * More events than are kept: a loss in each stream counts the others.
	 */
	h = l4s_user_open(r.u);
	make_event(&r, 0);
	for (i = 0; i < 9; i++) {
		make_event(&r, i);
		make_event(&r, i);
		make_event(&r, i);
		set_interval(h, i % 2 == 0 ? L4S_STREAM_SUMMARIES :
		    L4S_STREAM_RECORDS, i % 2 == 0 ? 5 * MS : 0, 0, r.now);
	}
	for (i = 0; i < 15; i++)
		CHECK(next_of(h, L4S_RECORD_EVENT, r.now) != 0);
	/* Of 28, these were not kept; the first of them is in the records. */
	set_interval(h, L4S_STREAM_RECORDS, 0, 0, r.now);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(l4s_user_read(h, &loss, sizeof(loss), r.now, &got), 0);
		CHECK_EQ(got, sizeof(loss));
		CHECK_EQ(loss.hdr.type, L4S_RECORD_LOSS);
		CHECK_EQ(loss.stream, i == 0 ? L4S_STREAM_RECORDS :
		    L4S_STREAM_SUMMARIES);
		CHECK_EQ(loss.lost, i == 0 ? 7 : 6);
	}
	CHECK_EQ(next_of(h, L4S_RECORD_EVENT, r.now), 0);
	l4s_user_close(h, r.now);
	router_destroy(&r);
}

/* A reader that adds the other stream gets a loss once. */
static void
a_loss_is_read_once(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_handle *h = l4s_user_open(r.u);
	struct l4s_user_packet out;
	uint64_t lost;
	unsigned i;

	set_interval(h, L4S_STREAM_SUMMARIES, 0, 64, r.now);
	for (i = 0; i < 40 * 64; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	lost = handle_stats(h, r.now).records_lost;
	CHECK(lost > 20);
	set_interval(h, L4S_STREAM_ALL, 0, 64, r.now);
	CHECK_EQ(handle_stats(h, r.now).records_lost, lost);
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), lost);
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), 0);
	CHECK_EQ(handle_stats(h, r.now).records_lost, lost);
	l4s_user_close(h, r.now);
	router_destroy(&r);
}

/* A loss names its stream. */
static void
lapped(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_packet out;
	struct l4s_summary s;
	struct l4s_loss loss;
	size_t got;
	unsigned i;

	set_interval(r.h, L4S_STREAM_SUMMARIES, 0, 1, r.now);
	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now++, &out), 1);
	}
	CHECK_EQ(l4s_user_read(r.h, &s, sizeof(s), r.now, &got), 0);
	CHECK_EQ(got, sizeof(loss));
	memcpy(&loss, &s, sizeof(loss));
	CHECK_EQ(loss.hdr.type, L4S_RECORD_LOSS);
	CHECK_EQ(loss.stream, L4S_STREAM_SUMMARIES);
	/* 41 with the event of control, 15 in the ring. */
	CHECK_EQ(loss.lost, 26);
	for (i = 26; i < 41; i++) {
		CHECK_EQ(l4s_user_read(r.h, &s, sizeof(s), r.now, &got), 0);
		CHECK_EQ(got, sizeof(s));
		CHECK_EQ(s.hdr.type, L4S_RECORD_SUMMARY);
		CHECK_EQ(s.hdr.seq, i);
		CHECK_EQ(s.decisions, 1);
	}
	CHECK_EQ(router_stats(&r).records_lost, 26);
	router_destroy(&r);
}

/* Passes a packet every 100 us for `ms' milliseconds. */
static void
steady(struct router *r, unsigned ms)
{
	struct l4s_user_packet out;
	unsigned i;

	for (i = 0; i < 10 * ms; i++) {
		r->now += 100 * US;
		CHECK_EQ(router_put(r, L4S_ECN_ECT1), 0);
		CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
		CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 0);
	}
}

/* The shortest interval requested by readers; and again without that reader. */
static void
two_readers(void)
{
	struct router r = router_create(NULL, NULL, 1 << 10);
	struct reader slow = reader_open(&r, 100 * MS, 0);
	struct reader fast = reader_open(&r, 10 * MS, 0);
	struct l4s_summary s;

	steady(&r, 205);
	reader_drain(&slow, r.now);
	reader_drain(&fast, r.now);
	CHECK_EQ(slow.n, 20);
	CHECK_EQ(fast.n, 20);
	CHECK_EQ(slow.sum.decisions, 2000);
	/* By decisions too: each has its own bound. */
	set_interval(slow.h, L4S_STREAM_SUMMARIES, 0, 7, r.now);
	steady(&r, 7);
	CHECK(reader_next(&slow, &s, r.now));	/* began before */
	CHECK(reader_next(&slow, &s, r.now));
	CHECK_EQ(s.decisions, 7);
	reader_drain(&slow, r.now);
	set_interval(slow.h, L4S_STREAM_SUMMARIES, 100 * MS, 0, r.now);
	l4s_user_close(fast.h, r.now);
	steady(&r, 205);
	CHECK(reader_next(&slow, &s, r.now));
	CHECK_EQ(s.hdr.time_ns - s.begin_ns, 100 * MS);
	CHECK(reader_next(&slow, &s, r.now));
	CHECK_EQ(s.hdr.time_ns - s.begin_ns, 100 * MS);
	CHECK_EQ(s.decisions, 1000);
	CHECK_EQ(s.idle_ns, 100 * MS);
	l4s_user_close(slow.h, r.now);
	router_destroy(&r);
}

/* A stream without readers is not written; a new reader starts it. */
static void
written_for_readers(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_user_packet out;
	struct reader reader;
	struct l4s_record record;
	struct l4s_summary s;
	size_t got;

	steady(&r, 10);			/* records */
	reader = reader_open(&r, MS, 0);
	set_interval(r.h, L4S_STREAM_SUMMARIES, MS, 0, r.now);
	steady(&r, 3);			/* summaries */
	CHECK(reader_next(&reader, &s, r.now));
	CHECK_EQ(s.hdr.seq, 0);
	CHECK_EQ(s.begin_ns, SEC + 10 * MS + 100 * US);
	reader_drain(&reader, r.now);
	l4s_user_close(reader.h, r.now);
	set_interval(r.h, L4S_STREAM_RECORDS, 0, 0, r.now);
	CHECK_EQ(router_put(&r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	/* The event of control, a keyframe and 100 records; 63 waited. */
	CHECK_EQ(next_of(r.h, L4S_RECORD_LOSS, r.now), 105 - 63);
	CHECK_EQ(l4s_user_read(r.h, &record, sizeof(record), r.now, &got), 0);
	CHECK_EQ(got, sizeof(record));
	CHECK_EQ(record.hdr.type, L4S_RECORD_CONFIG);
	CHECK_EQ(record.hdr.seq, 105);
	CHECK_EQ(router_stats(&r).records_written, 105 - 63 + 5);
	steady(&r, 3);
	reader = reader_open(&r, MS, 0);
	steady(&r, 2);
	CHECK(reader_next(&reader, &s, r.now));
	CHECK_EQ(s.hdr.seq, 2);		/* none while they had no reader */
	l4s_user_close(reader.h, r.now);
	router_destroy(&r);
}

static void
intervals_are_checked(void)
{
	static const struct l4s_interval bad[] = {
		{ 1, L4S_STREAM_SUMMARIES, 0, 0, 0, 0 },
		{ 1, L4S_STREAM_RECORDS, 0, MS, 0, 0 },
		{ 1, L4S_STREAM_RECORDS, 0, 0, 5, 0 },
		{ 1, L4S_STREAM_ALL, 0, MS - 1, 0, 0 },
		{ 1, L4S_STREAM_ALL, 0, 60 * SEC + 1, 0, 0 },
		{ 1, L4S_STREAM_ALL, 0, MS, (1U << 30) + 1, 0 },
		{ 1, L4S_STREAM_ALL | 4, 0, MS, 0, 0 },
		{ 1, 0, 0, 0, 0, 0 },
	};
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_interval interval;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		interval = bad[i];
		CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
		    sizeof(interval), r.now), L4S_EINVAL);
	}
	router_destroy(&r);
}

const struct test streams_tests[] = {
	TEST(both_streams),
	TEST(lapped),
	TEST(events_outlive_streams),
	TEST(losses_outlive_streams),
	TEST(a_loss_is_read_once),
	TEST(two_readers),
	TEST(written_for_readers),
	TEST(intervals_are_checked),
	TEST_END
};
