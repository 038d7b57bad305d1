/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* From summaries to the inputs of a student. */

#include "student_file.h"
#include "summary.h"

#define	PERIOD		(250 * MS)
#define	BUDGET		5000

/* A busy summary of `ns' that follows `begin'. */
static struct l4s_summary
busy(uint64_t begin, uint64_t ns)
{
	struct l4s_summary s = {
		.hdr = { .time_ns = begin + ns },
		.begin_ns = begin,
		.target_ns = 15 * MS,
		.beta_uhz = 3200000,
		.p_max = 1 << 20,
	};

	s.queue[L4S_QUEUE_CLASSIC].forwarded = ns / MS;
	s.queue[L4S_QUEUE_CLASSIC].forwarded_bytes = ns / MS * 1000;
	return (s);
}

static double
signal(const struct l4s_student_state *s, uint8_t number, uint8_t scale)
{
	return (l4s_student_signal(s, number, scale) / 65536.0);
}

/* Adds a summary that must complete a period. */
static void
add(struct l4s_student_state *s, const struct l4s_summary *summary)
{
	CHECK(l4s_student_add(s, summary, PERIOD, BUDGET));
}

static void
signals_of_a_period(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x = busy(SEC, 500 * MS);
	struct l4s_queue_summary *c = &x.queue[L4S_QUEUE_CLASSIC];
	struct l4s_queue_summary *l = &x.queue[L4S_QUEUE_L4S];
	uint8_t scale;

	x.idle_ns = 5 * MS;
	x.updates = 8;
	x.p_sum = 8ULL << 21;
	x.p_max = 3 << 21;
	x.p_variation = 7ULL << 21;
	x.rate_windows = 2;
	x.rate_log_sum = 2 * (20 << 16) + (1 << 16);	/* 20, 21 */
	x.rate_log_sq = (400 + 441) << 16;
	c->forwarded = 300;
	c->forwarded_bytes = 300000;
	c->sojourn_sum_ns = 300 * 3 * MS;
	/* 2 and 4 ms: a variance of 1 ms^2, in 2^10 ns. */
	c->sojourn_sq = 150ULL * (1953 * 1953 + 3906 * 3906);
	c->sojourn_max_ns = 7 * MS;
	c->marks_aqm = 10;
	c->drops_aqm = 4;
	c->drops_tail = 1;
	c->drops_flush = 2;
	c->flows[0] = 7;
	c->flows[3] = 1ULL << 63;
	l->forwarded = 100;
	l->forwarded_bytes = 100000;
	l->sojourn_sum_ns = 100 * MS / 4;
	l->marks_native = 50;
	l->marks_override = 1;
	l->flows[1] = 1;
	add(&s, &x);
	/* The first period sets the means, too. */
	for (scale = 0; scale < L4S_STUDENT_SCALES; scale++) {
		CHECK_NEAR(signal(&s, L4S_SIGNAL_IDLE, scale), log2(11),
		    0.002);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_P_MEAN, scale),
		    log2((1 << 21) + 1024), 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_P_MAX, scale),
		    log2((3 << 21) + 1024), 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_P_RIPPLE, scale),
		    log2(7.0 * 16 / 500), 2e-3);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_CHANGE, scale),
		    log2((7 << 21) / 3200000.0 / 8), 2e-3);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, scale), 2, 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY_SD, scale), 0.5, 0.01);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY_MAX, scale), 3, 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_L4S_DELAY, scale), log2(3),
		    2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_MARKS, scale), log2(31),
		    2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_L4S_MARKS, scale), log2(103),
		    2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_DROPS, scale), log2(15),
		    2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_L4S_SHARE, scale), 0.25,
		    1e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_RATE, scale),
		    log2(400000 / 0.495), 3e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_VOLATILITY, scale),
		    log2(1 + 0.25 * 1024) / 2, 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_RATE_CHANGE, scale), 0, 0);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_FLOWS, scale), log2(6), 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_PACKETS, scale), log2(601),
		    2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_AGE, scale), 0.5, 1e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_TARGET, scale),
		    log2(15000001), 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_BETA, scale), log2(3200001),
		    2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_BUDGET, scale), log2(5001),
		    2e-4);
	}
	/* 1 % more: the change counts from there. */
	x.begin_ns = x.hdr.time_ns;
	x.hdr.time_ns += 500 * MS;
	x.rate_log_sum += 2 * 655;
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_RATE_CHANGE, 0), 1, 2e-4);
}

/* Values that a period does not have keep the previous ones. */
static void
missing_values_keep_the_previous_ones(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x = busy(SEC, 500 * MS);
	double rate, share;

	x.rate_windows = 1;
	x.rate_log_sum = 20 << 16;
	x.rate_log_sq = 401 << 16;
	x.queue[L4S_QUEUE_L4S].forwarded_bytes = 500000;
	add(&s, &x);
	rate = signal(&s, L4S_SIGNAL_RATE, 0);
	share = signal(&s, L4S_SIGNAL_L4S_SHARE, 0);
	CHECK_NEAR(share, 0.5, 1e-4);
	CHECK(signal(&s, L4S_SIGNAL_VOLATILITY, 0) > 1);
	x = busy(2 * SEC, 500 * MS);
	memset(x.queue, 0, sizeof(x.queue));
	x.idle_ns = 500 * MS;
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_RATE, 0), rate, 0);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_L4S_SHARE, 0), share, 0);
	CHECK(signal(&s, L4S_SIGNAL_VOLATILITY, 0) > 1);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_IDLE, 0), log2(1001), 0.002);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, 0), 0, 0);
}

/* Means approach a new value by 1/4, 1/16 and 1/64 of the difference. */
static void
means_decay(void)
{
	static const uint8_t shift[] = { 2, 4, 6 };
	static struct l4s_student_state s;
	struct l4s_summary x = busy(SEC, PERIOD);
	unsigned n, k;

	x.queue[0].sojourn_sum_ns = 0;
	add(&s, &x);
	for (n = 1; n <= 200; n++) {
		x = busy(SEC + n * PERIOD, PERIOD);
		x.queue[0].sojourn_sum_ns = x.queue[0].forwarded * 15 * MS;
		add(&s, &x);
		for (k = 0; k < nitems(shift); k++)
			CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, 1 + k),
			    4 * (1 - pow(1 - ldexp(1, -shift[k]), n)), 1e-3);
	}
	/* A long period counts as several: the power of two below. */
	x = busy(SEC + n * PERIOD, 31 * PERIOD);
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, 1), 0, 1e-3);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, 2), 0, 1e-3);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, 3),
	    3 * (1 - pow(1 - ldexp(1, -6), 200)), 0.01);
	/* A month leaves nothing. */
	x = busy(100 * SEC, 30 * 86400 * SEC);
	x.idle_ns = 30 * 86400 * SEC;
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY, 3), 0, 1e-3);
}

/* Of linear signals, the mean is that of the rate, not of its logarithm. */
static void
means_of_counts_are_linear(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x = busy(SEC, PERIOD);

	add(&s, &x);
	x = busy(SEC + PERIOD, PERIOD);
	x.queue[0].marks_aqm = 1000;		/* 4000/s */
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_MARKS, 0), log2(4001), 2e-4);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_MARKS, 1), log2(1001), 2e-4);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_MARKS, 2), log2(251), 1e-3);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_MARKS, 3), log2(63.5), 2e-3);
}

/* None is known before eight half seconds have passed. */
static void
long_lived_flows_send_in_each_half_second(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x;
	unsigned n;

	for (n = 0; n < 40; n++) {
		x = busy(SEC + n * PERIOD, PERIOD);
		/* One always, one in each half second, one in most. */
		x.queue[0].flows[0] = 1 | (n % 2 == 0 ? 2 : 0) |
		    (n % 16 >= 2 ? 4 : 0);
		/* Another flow in each. */
		x.queue[0].flows[1] = 1ULL << n;
		x.queue[1].flows[2] = 1;
		add(&s, &x);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_LONG, 0),
		    n < 15 ? 0 : log2(3), 2e-4);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_L4S_LONG, 0),
		    n < 15 ? 0 : 1, 0);
	}
}

/* The age grows to 8 s and begins again after a silence of 4 s. */
static void
the_age_begins_after_a_silence(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x;
	uint64_t at = SEC;
	unsigned n;

	for (n = 1; n <= 40; n++, at += PERIOD) {
		x = busy(at, PERIOD);
		add(&s, &x);
		CHECK_NEAR(signal(&s, L4S_SIGNAL_AGE, 0),
		    n < 32 ? n * 0.25 : 8, 1e-4);
	}
	/* Idle for less: at the end of one period and in the next. */
	x = busy(at, 2 * SEC);
	x.idle_ns = 2 * SEC - 1;
	add(&s, &x);
	x = busy(at + 2 * SEC, SEC);
	memset(x.queue, 0, sizeof(x.queue));
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_AGE, 0), 8, 0);
	x.begin_ns = x.hdr.time_ns;
	x.hdr.time_ns += SEC + 1;
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_AGE, 0), 0, 0);
	x = busy(x.hdr.time_ns, PERIOD);
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_AGE, 0), 0.25, 1e-4);
	/* One long summary is enough. */
	x = busy(x.hdr.time_ns, 5 * SEC);
	x.idle_ns = 4 * SEC;
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_AGE, 0), 0, 0);
}

/* Fills in every field with random bits, small numbers and extremes. */
static struct l4s_summary
any_summary(uint64_t *random, uint64_t begin)
{
	struct l4s_summary s;
	uint64_t word;
	size_t i;

	for (i = 0; i < sizeof(s); i += sizeof(word)) {
		switch (test_below(random, 4)) {
		case 0:
			word = 0;
			break;
		case 1:
			word = UINT64_MAX;
			break;
		default:
			word = test_random(random) >> test_below(random, 64);
			break;
		}
		memcpy((uint8_t *)&s + i, &word, sizeof(word));
	}
	s.begin_ns = begin;
	s.hdr.time_ns = begin + ((1ULL + test_below(random, SEC)) <<
	    test_below(random, 20));
	return (s);
}

static int
compare_signals(const struct l4s_student_state *a,
    const struct l4s_student_state *b)
{
	return (memcmp(a->latest, b->latest, sizeof(a->latest)) != 0 ||
	    memcmp(a->means, b->means, sizeof(a->means)) != 0);
}

/*
 * Sums of counters that are not those of a queue saturate or wrap: no overflow
 * (UBSan), and each signal within its range.
 */
static void
any_summary_gives_signals_within_range(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x;
	uint64_t random = 11;
	unsigned n, i, scale;
	int32_t value;

	for (n = 0; n < 20000; n++) {
		if (n % 100 == 0)
			memset(&s, 0, sizeof(s));
		x = any_summary(&random, n % 100 == 0 ? SEC :
		    s.period.hdr.time_ns);
		(void)l4s_student_add(&s, &x, PERIOD, BUDGET);
		for (i = 0; i < L4S_SIGNALS; i++)
			for (scale = 0; scale < L4S_STUDENT_SCALES; scale++) {
				value = l4s_student_signal(&s, i, scale);
				CHECK(value >= -(128 << 16) &&
				    value <= 128 << 16);
			}
	}
}

/* Counts beyond their maximum are that; so is a share of all. */
static void
counts_saturate(void)
{
	static struct l4s_student_state s;
	struct l4s_summary x = busy(SEC, PERIOD);

	x.queue[0].forwarded = UINT64_MAX;
	x.queue[0].marks_aqm = UINT64_MAX / 2;
	x.queue[0].sojourn_sum_ns = UINT64_MAX;
	x.queue[0].sojourn_sq = UINT64_MAX;
	x.queue[0].sojourn_max_ns = UINT64_MAX;
	x.idle_ns = UINT64_MAX;
	x.p_sum = x.p_variation = UINT64_MAX;
	x.updates = 1;
	add(&s, &x);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_PACKETS, 0), 23, 1e-4);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_MARKS, 0), 23, 1e-4);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_IDLE, 0), log2(1001), 0.002);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_P_MEAN, 0), 31, 1e-4);
	CHECK_NEAR(signal(&s, L4S_SIGNAL_DELAY_MAX, 0), log2(18446744073710.0),
	    1e-3);
}

/*
 * Periods made of shorter summaries equal those of one summary each, with the
 * same ends.
 */
static void
shorter_summaries_make_the_same_periods(void)
{
	static struct l4s_student_state whole, parts;
	struct l4s_summary sum, part;
	uint64_t random = 7, at = SEC;
	unsigned n, k, pieces;

	for (n = 0; n < 500; n++) {
		pieces = 1 + test_below(&random, 6);
		for (k = 0; k < pieces; k++, at += PERIOD / pieces + 1) {
			part = any_summary(&random, at);
			part.hdr.time_ns = at + PERIOD / pieces + 1;
			CHECK_EQ(l4s_student_add(&parts, &part, PERIOD,
			    BUDGET), k == pieces - 1);
			if (k == 0)
				sum = part;
			else
				l4s_summary_merge(&sum, &part);
		}
		add(&whole, &sum);
		CHECK(compare_signals(&whole, &parts) == 0);
	}
}

const struct test student_signals_tests[] = {
	TEST(signals_of_a_period),
	TEST(missing_values_keep_the_previous_ones),
	TEST(means_decay),
	TEST(means_of_counts_are_linear),
	TEST(long_lived_flows_send_in_each_half_second),
	TEST(the_age_begins_after_a_silence),
	TEST(any_summary_gives_signals_within_range),
	TEST(counts_saturate),
	TEST(shorter_summaries_make_the_same_periods),
	TEST_END
};
