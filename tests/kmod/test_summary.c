/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Summaries: their sums, and merging them. */

#include "summaries.h"

/*
 * The same traffic twice, in one summary and in many with random boundaries:
 * merged, they are equal.
 */
static void
merging_equals_folding(void)
{
	struct l4s_summary sums[2];
	struct reader reader;
	uint64_t seed, random, boundaries, tail = 0;
	unsigned i, many;
	struct router r;

	for (seed = 1; seed <= 12; seed++) {
		for (many = 0; many < 2; many++) {
			r = router_create(NULL, NULL, 1 << 12);
			reader = reader_open(&r, 60 * SEC, 0);
			random = boundaries = seed;
			for (i = 0; i < 6000; i++) {
				any_step(&r, &random);
				if (many && test_below(&boundaries, 40) == 0)
					set_interval(reader.h,
					    L4S_STREAM_SUMMARIES, MS +
					    test_below(&boundaries, SEC),
					    1 + test_below(&boundaries, 300),
					    r.now);
				if (many)
					reader_drain(&reader, r.now);
			}
			any_drain(&r);
			reader_finish(&r, &reader);
			CHECK(many ? reader.n > 50 : reader.n == 1);
			CHECK_EQ(reader.lost, 0);
			sums[many] = reader.sum;
			sums[many].hdr.seq = 0;
			router_destroy(&r);
		}
		CHECK(memcmp(&sums[0], &sums[1], sizeof(sums[0])) == 0);
		CHECK(sums[0].idle_ns > 0);
		CHECK(sums[0].p_variation > 0);
		CHECK(sums[0].rate_windows > 0);
		CHECK(sums[0].queue[0].marks_override > 0);
		tail += sums[0].queue[0].drops_tail;
	}
	CHECK(tail > 0);
}

/* Differences of both requests' counts between two times. */
struct counts {
	struct l4s_stats s;
	struct l4s_queues q;
};

static struct counts
counts_of(struct router *r)
{
	struct counts c = { .q = router_queues(r), .s = router_stats(r) };

	return (c);
}

static void
sums_are_counters(void)
{
	struct counts before, after;
	const struct l4s_queue_stats *b, *a;
	const struct l4s_queue_summary *q;
	struct l4s_params params;
	struct reader reader;
	uint64_t random = 3;
	unsigned i;
	struct router r;

	l4s_user_params_default(&params);
	params.overflow = 0;
	r = router_create(&params, NULL, 1 << 12);
	for (i = 0; i < 3000; i++)
		any_step(&r, &random);
	reader = reader_open(&r, 7 * MS, 0);
	before = counts_of(&r);
	for (i = 0; i < 30000; i++) {
		any_step(&r, &random);
		reader_drain(&reader, r.now);
	}
	any_drain(&r);
	reader_finish(&r, &reader);
	after = counts_of(&r);
	for (i = 0; i < 2; i++) {
		b = &before.q.queue[i];
		a = &after.q.queue[i];
		q = &reader.sum.queue[i];
		CHECK_EQ(q->arrived, a->packets_in - b->packets_in);
		CHECK_EQ(q->arrived_bytes, a->bytes_in - b->bytes_in);
		CHECK_EQ(q->forwarded, a->forwarded - b->forwarded);
		CHECK_EQ(q->forwarded_bytes,
		    a->forwarded_bytes - b->forwarded_bytes);
		CHECK_EQ(q->marks_aqm + q->marks_native + q->marks_override,
		    a->marked - b->marked);
		CHECK_EQ(q->drops_aqm + q->drops_override, a->drops_ecn +
		    a->drops_not_ect - b->drops_ecn - b->drops_not_ect);
		CHECK_EQ(q->drops_tail, a->drops_tail - b->drops_tail);
		CHECK_EQ(q->drops_flush, 0);
		CHECK_EQ(q->sojourn_sum_ns, a->delay_sum_ns - b->delay_sum_ns);
		CHECK(q->sojourn_max_ns <= a->delay_max_ns);
		CHECK(q->sojourn_min_ns <= q->sojourn_max_ns);
		CHECK(q->backlog_max <= a->queued_max);
		CHECK_EQ(q->backlog, 0);
		CHECK_EQ(q->backlog_bytes, 0);
	}
	q = reader.sum.queue;
	CHECK_EQ(q[0].marks_aqm + q[1].marks_aqm,
	    after.s.marks_classic - before.s.marks_classic +
	    after.s.marks_coupled - before.s.marks_coupled);
	CHECK_EQ(q[0].marks_native, 0);
	CHECK_EQ(q[1].marks_native,
	    after.s.marks_native - before.s.marks_native);
	CHECK_EQ(q[0].marks_override + q[1].marks_override,
	    after.s.marks_override - before.s.marks_override);
	CHECK_EQ(q[0].drops_aqm + q[1].drops_aqm,
	    after.s.drops_base - before.s.drops_base);
	CHECK_EQ(q[0].drops_override + q[1].drops_override,
	    after.s.drops_override - before.s.drops_override);
	CHECK_EQ(reader.sum.overload_ns,
	    after.q.overload_ns - before.q.overload_ns);
	CHECK_EQ(reader.sum.p_end, after.q.base_probability);
	CHECK(after.s.drops_override > before.s.drops_override);
	router_destroy(&r);
}

/* Sums of squares, extremes and the queue at the end, of known packets. */
static void
folded_values(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct reader reader = reader_open(&r, 0, 3);
	const struct l4s_queue_summary *q = &reader.sum.queue[1];
	struct l4s_user_packet out;
	unsigned i;

	/* Sojourn times of 0, 100 and 200 us; a fourth packet stays. */
	for (i = 0; i < 4; i++)
		CHECK_EQ(l4s_user_enqueue(r.u, i, 700, L4S_ECN_ECT1, i, r.now),
		    0);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
		r.now += 100 * US;
	}
	reader_drain(&reader, r.now);
	CHECK_EQ(reader.n, 1);
	CHECK_EQ(reader.sum.begin_ns, SEC);
	CHECK_EQ(reader.sum.hdr.time_ns, SEC + 200 * US);
	CHECK_EQ(reader.sum.decisions, 3);
	CHECK_EQ(q->arrived, 4);
	CHECK_EQ(q->forwarded, 3);
	CHECK_EQ(q->forwarded_bytes, 2100);
	CHECK_EQ(q->sojourn_sum_ns, 300 * US);
	CHECK_EQ(q->sojourn_sq, (100 * US >> 10) * (100 * US >> 10) +
	    (200 * US >> 10) * (200 * US >> 10));
	CHECK_EQ(q->sojourn_min_ns, 0);
	CHECK_EQ(q->sojourn_max_ns, 200 * US);
	CHECK_EQ(q->backlog, 1);
	CHECK_EQ(q->backlog_bytes, 700);
	CHECK_EQ(q->backlog_max, 4);
	CHECK_EQ(reader.sum.queue[0].sojourn_min_ns, UINT64_MAX);
	CHECK_EQ(reader.sum.queue[0].sojourn_max_ns, 0);
	CHECK_EQ(reader.sum.queue[0].arrived, 0);
	CHECK_EQ(reader.sum.target_ns, 15 * MS);
	CHECK_EQ(reader.sum.l4s_threshold_ns, MS);
	CHECK_EQ(reader.sum.coupling_q8, 512);
	l4s_user_close(reader.h, r.now);
	any_drain(&r);
	router_destroy(&r);
}

static void
logarithms(void)
{
	uint64_t random = 2, x;
	unsigned i;

	CHECK_EQ(l4s_log2_q16(1), 0);
	CHECK_EQ(l4s_log2_q16(UINT64_MAX), (64 << 16) - 1);
	for (i = 0; i < 64; i++)
		CHECK_EQ(l4s_log2_q16(1ULL << i), i << 16);
	for (i = 0; i < 20000; i++) {
		x = test_random(&random) >> test_below(&random, 63) | 1;
		CHECK_NEAR(l4s_log2_q16(x) / 65536.0, log2((double)x),
		    1.0 / 32768);
	}
}

/*
 * Bits of each queue's bitmap: at most one per flow, and most flows have their
 * own.
 */
static void
flows(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct reader reader = reader_open(&r, 0, 1 << 30);
	unsigned bits[2] = { 0, 0 }, i, q;

	for (i = 0; i < 400; i++) {
		(void)l4s_user_enqueue(r.u, i, 100, L4S_ECN_ECT1, i % 40,
		    r.now);
		(void)l4s_user_enqueue(r.u, i, 100, L4S_ECN_ECT0, i % 5,
		    r.now);
	}
	any_drain(&r);
	reader_finish(&r, &reader);
	for (q = 0; q < 2; q++)
		for (i = 0; i < L4S_FLOW_BITS / 64; i++)
			bits[q] += (unsigned)__builtin_popcountll(
			    reader.sum.queue[q].flows[i]);
	CHECK(bits[0] == 5 || bits[0] == 6);	/* and reader_finish()'s */
	CHECK(bits[1] <= 40 && bits[1] >= 34);
	router_destroy(&r);
}

const struct test summary_tests[] = {
	TEST(merging_equals_folding),
	TEST(sums_are_counters),
	TEST(folded_values),
	TEST(logarithms),
	TEST(flows),
	TEST_END
};
