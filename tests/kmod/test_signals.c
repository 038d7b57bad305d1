/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The signals of both queues: rates, overload, the native AQM, exemptions. */

#include "queue.h"

static struct l4s_pkt_user packets[PACKETS];

/* Long-run rates of verdicts in one queue, the queue held at two packets. */
static void
rates(struct dualpi2 *d, uint8_t ecn, unsigned n, unsigned *marks,
    unsigned *drops)
{
	struct dualpi2_verdict v;
	unsigned i, next = 0;

	*marks = *drops = 0;
	while (dualpi2_flush(d, 0) != NULL || dualpi2_flush(d, 1) != NULL)
		;
	d->next_update = UINT64_MAX;		/* p' stays */
	put(d, &packets[next++], ecn, 1000, 1);
	for (i = 0; i < n; i++) {
		put(d, &packets[next], ecn, 1000, 1);
		next = (next + 1) % 4;
		CHECK(dualpi2_pick(d, 1, &v));
		*marks += v.action == L4S_ACTION_MARK;
		*drops += v.action == L4S_ACTION_DROP;
	}
}

/* Five standard deviations of a count of n packets with likelihood p. */
static double
spread(unsigned n, double p)
{
	double half = p < 0.5 ? 0.5 : 1 - p;

	/* Each of n p thresholds has the variance half^2 / 3; and the ends. */
	return (5 * sqrt(n * p * half * half / 3) + 2);
}

static void
recur_rates(void)
{
	static const double p[] = { 0, 1e-4, 0.001, 0.01, 0.1, 1.0 / 3, 0.45,
	    0.49 };
	struct dualpi2 d;
	unsigned marks, drops;
	size_t i;

	for (i = 0; i < nitems(p); i++) {
		start(&d, NULL);
		set_p(&d, p[i]);
		rates(&d, L4S_ECN_ECT1, 200000, &marks, &drops);
		CHECK_NEAR(marks, 200000 * 2 * p[i], spread(200000, 2 * p[i]));
		CHECK_EQ(drops, 0);
		rates(&d, L4S_ECN_ECT0, 200000, &marks, &drops);
		CHECK_NEAR(marks, 200000 * p[i] * p[i],
		    spread(200000, p[i] * p[i]));
		CHECK_EQ(drops, 0);
		rates(&d, L4S_ECN_NOT_ECT, 200000, &marks, &drops);
		CHECK_NEAR(drops, 200000 * p[i] * p[i],
		    spread(200000, p[i] * p[i]));
		CHECK_EQ(marks, 0);
	}
}

/*
 * Signals are even: the distance between two is from 1/2 to 3/2 of the mean
 * interval, plus one packet if an interval's end falls between packets.  A high
 * No signals are owed when p falls.
 */
static void
recur_is_even(void)
{
	static const double p[] = { 0.01, 0.1, 0.25, 0.6, 0.9, 0.999 };
	struct l4s_params params;
	struct dualpi2_verdict v;
	struct dualpi2 d;
	unsigned i, n, gap, next, after;

	l4s_params_default(&params);
	params.coupling_q8 = 256;
	for (i = 0; i < nitems(p); i++) {
		start(&d, &params);
		set_p(&d, p[i]);
		d.next_update = UINT64_MAX;
		put(&d, &packets[0], L4S_ECN_ECT1, 1000, 1);
		for (n = gap = after = 0, next = 1; n < 10049; n++) {
			if (n == 10000) {
				set_p(&d, 0.01);
				d.next_update = UINT64_MAX;
			}
			put(&d, &packets[next], L4S_ECN_ECT1, 1000, 1);
			next = (next + 1) % 4;
			CHECK(dualpi2_pick(&d, 1, &v));
			gap++;
			if (v.action != L4S_ACTION_MARK)
				continue;
			if (n < 10000)
				CHECK(gap <= 1.5 / p[i] + 1 && gap >=
				    (p[i] < 0.5 ? 0.5 / p[i] - 1 : 1));
			else
				after++;
			gap = 0;
		}
		CHECK(after <= 1);
	}
}

/*
 * Equal streams that arrive in a fixed order get equal shares of the signals
 * for any p; with recur(), all might go to one.
 */
static void
recur_does_not_lock(void)
{
	struct dualpi2_verdict v;
	struct dualpi2 d;
	unsigned signals[8], streams, k, n, next, total;

	for (streams = 2; streams <= 8; streams++)
		for (k = 1; k <= 24; k++) {
			start(&d, NULL);
			/* p_C = k / 100: 1/4, 1/5, 1/6, ... among them. */
			set_p(&d, sqrt(k / 100.0));
			d.next_update = UINT64_MAX;
			memset(signals, 0, sizeof(signals));
			put(&d, &packets[0], L4S_ECN_NOT_ECT, 1500, 1);
			for (n = total = 0, next = 1; n < 80000; n++) {
				put(&d, &packets[next], L4S_ECN_NOT_ECT, 1500,
				    1);
				next = (next + 1) % 4;
				CHECK(dualpi2_pick(&d, 1, &v));
				if (v.action == L4S_ACTION_DROP) {
					signals[n % streams]++;
					total++;
				}
			}
			/* Independent signals would be within this. */
			for (n = 0; n < streams; n++)
				CHECK_NEAR(signals[n], total / (double)streams,
				    4 * sqrt(total / (double)streams));
		}
}

static void
random_rates(void)
{
	static const double p[] = { 0, 0.001, 0.01, 0.2, 0.49 };
	struct l4s_params params;
	struct dualpi2 d;
	unsigned marks, drops;
	double want;
	size_t i;

	l4s_params_default(&params);
	params.dither = L4S_DITHER_RANDOM;
	for (i = 0; i < nitems(p); i++) {
		start(&d, &params);
		set_p(&d, p[i]);
		rates(&d, L4S_ECN_ECT1, 50000, &marks, &drops);
		want = 2 * p[i];
		/* Five standard deviations; the seed is fixed. */
		CHECK_NEAR(marks, 50000 * want,
		    5 * sqrt(50000 * want * (1 - want)));
	}
	/* The sequence depends only on the seed. */
	start(&d, &params);
	set_p(&d, 0.2);
	rates(&d, L4S_ECN_ECT1, 1000, &marks, &drops);
	dualpi2_init(&d, &params, 1);
	set_p(&d, 0.2);
	rates(&d, L4S_ECN_ECT1, 1000, &drops, &drops);
	dualpi2_init(&d, &params, 1);
	set_p(&d, 0.2);
	{
		unsigned again, none;

		rates(&d, L4S_ECN_ECT1, 1000, &again, &none);
		CHECK_EQ(again, marks);
		CHECK_EQ(none, 0);
	}
}

/* RFC 9332, appendix A.2: L4S dropped with p_C and all others marked. */
static void
overload(void)
{
	struct dualpi2 d;
	unsigned marks, drops;

	start(&d, NULL);
	set_p(&d, 0.6);
	CHECK(d.overload);
	rates(&d, L4S_ECN_ECT1, 10000, &marks, &drops);
	CHECK_NEAR(drops, 3600, spread(10000, 0.36));
	CHECK_EQ(marks + drops, 10000);
	rates(&d, L4S_ECN_ECT0, 10000, &marks, &drops);
	CHECK_NEAR(drops, 3600, spread(10000, 0.36));
	CHECK_EQ(marks, 0);
	set_p(&d, 1);
	rates(&d, L4S_ECN_ECT1, 100, &marks, &drops);
	CHECK_EQ(drops, 100);
}

/* The verdict at a fixed p' on a packet with `behind' more in the other queue. */
static struct dualpi2_verdict
verdict_on(const struct l4s_params *params, double p, uint8_t ecn, bool fixed,
    unsigned behind)
{
	struct dualpi2_verdict v;
	struct dualpi2 d;

	start(&d, params);
	set_p(&d, p);
	d.next_update = UINT64_MAX;
	packets[0].fixed = fixed;
	put(&d, &packets[0], ecn, 1500, 1);
	if (behind != 0)
		put(&d, &packets[1], ecn ^ 1, 1500, 1);
	/* Whichever queue it is in, it is that queue's turn. */
	d.credit = dualpi2_classify(&d, ecn) == L4S_QUEUE_CLASSIC ? 1 : 0;
	CHECK(dualpi2_pick(&d, 1, &v));
	CHECK(v.pkt == &packets[0]);
	packets[0].fixed = false;
	return (v);
}

/*
 * A packet that leaves both queues empty is never dropped; it is marked if
 * possible.  One packet behind it, in either queue, ends this.
 */
static void
last_packet_stays(void)
{
	static const struct {
		uint8_t	ecn;
		bool	fixed;
		uint8_t	ecn_on, action, cause;
	} cases[] = {
		{ L4S_ECN_NOT_ECT, false, 1, L4S_ACTION_ENQUEUE,
		    DUALPI2_CLASSIC },
		{ L4S_ECN_ECT0, false, 1, L4S_ACTION_MARK, DUALPI2_CLASSIC },
		{ L4S_ECN_ECT0, true, 1, L4S_ACTION_ENQUEUE, DUALPI2_CLASSIC },
		{ L4S_ECN_ECT0, false, 0, L4S_ACTION_ENQUEUE,
		    DUALPI2_CLASSIC },
		{ L4S_ECN_ECT1, false, 1, L4S_ACTION_MARK, DUALPI2_COUPLED },
		{ L4S_ECN_CE, true, 1, L4S_ACTION_ENQUEUE, DUALPI2_COUPLED },
	};
	struct l4s_params params;
	struct dualpi2_verdict v;
	size_t i;

	for (i = 0; i < nitems(cases); i++) {
		l4s_params_default(&params);
		params.ecn = cases[i].ecn_on;
		v = verdict_on(&params, 1, cases[i].ecn, cases[i].fixed, 0);
		CHECK_EQ(v.action, cases[i].action);
		CHECK_EQ(v.cause, cases[i].cause);
		v = verdict_on(&params, 1, cases[i].ecn, cases[i].fixed, 1);
		CHECK_EQ(v.action, L4S_ACTION_DROP);
	}
}

static void
ecn_off_drops(void)
{
	struct l4s_params params;
	struct dualpi2 d;
	unsigned marks, drops;

	l4s_params_default(&params);
	params.ecn = 0;
	start(&d, &params);
	set_p(&d, 0.1);
	rates(&d, L4S_ECN_ECT0, 10000, &marks, &drops);
	CHECK_EQ(marks, 0);
	CHECK_NEAR(drops, 100, spread(10000, 0.01));
	rates(&d, L4S_ECN_ECT1, 10000, &marks, &drops);
	CHECK_EQ(marks, 0);
	CHECK_NEAR(drops, 2000, spread(10000, 0.2));
}

static void
ecn_threshold(void)
{
	struct l4s_params params;
	struct dualpi2 d;
	unsigned marks, drops;

	l4s_params_paper(&params);
	params.max_burst_ns = 0;
	start(&d, &params);
	set_p(&d, 0.3);				/* p_C = 0.09 */
	rates(&d, L4S_ECN_ECT0, 1000, &marks, &drops);
	CHECK_NEAR(marks, 90, spread(1000, 0.09));
	CHECK_EQ(drops, 0);
	set_p(&d, 0.35);			/* p_C = 0.1225 > 0.1 */
	rates(&d, L4S_ECN_ECT0, 1000, &marks, &drops);
	CHECK_EQ(marks, 0);
	CHECK_NEAR(drops, 122.5, spread(1000, 0.1225));
}

/*
 * The verdict of the native AQM on the last of `ahead' + 1 packets that arrived
 * together, after a sojourn time of `sojourn'.
 */
static struct dualpi2_verdict
native_verdict(const struct l4s_params *params, uint64_t sojourn,
    unsigned ahead)
{
	struct dualpi2_verdict v;
	struct dualpi2 d;
	unsigned i;

	start(&d, params);
	for (i = 0; i <= ahead; i++)
		put(&d, &packets[i], L4S_ECN_ECT1, 1500, 1);
	d.next_update = UINT64_MAX;
	for (i = 0; i < ahead; i++)
		(void)dualpi2_flush(&d, L4S_QUEUE_L4S);
	CHECK(dualpi2_pick(&d, 1 + sojourn, &v));
	CHECK_EQ(v.sojourn_ns, sojourn);
	return (v);
}

static void
native_step(void)
{
	struct l4s_params params;
	struct dualpi2_verdict v;

	v = native_verdict(NULL, 1 * MS, 2);
	CHECK_EQ(v.action, L4S_ACTION_ENQUEUE);
	v = native_verdict(NULL, 1 * MS + 1, 2);
	CHECK_EQ(v.action, L4S_ACTION_MARK);
	CHECK_EQ(v.cause, DUALPI2_NATIVE);
	/* A packet that found another one queued, now alone. */
	v = native_verdict(NULL, 100 * MS, 1);
	CHECK_EQ(v.action, L4S_ACTION_MARK);
	/* A packet that found none, and waited for the link's own time. */
	v = native_verdict(NULL, 3 * MS, 0);
	CHECK_EQ(v.action, L4S_ACTION_ENQUEUE);
	/* Th_len = 0, Linux's default, marks that one too. */
	l4s_params_default(&params);
	params.l4s_min_packets = 0;
	v = native_verdict(&params, 100 * MS, 0);
	CHECK_EQ(v.action, L4S_ACTION_MARK);
	params.l4s_min_packets = 3;
	v = native_verdict(&params, 100 * MS, 2);
	CHECK_EQ(v.action, L4S_ACTION_ENQUEUE);
	v = native_verdict(&params, 100 * MS, 3);
	CHECK_EQ(v.action, L4S_ACTION_MARK);
}

/*
 * A burst of six at 8 Mbit/s, where a packet takes 1.5 ms: all except the first
 * waited for longer than the threshold, including the last ones.
 */
static void
native_burst(void)
{
	struct dualpi2_verdict v;
	struct dualpi2 d;
	char actions[7] = "";
	unsigned i;

	start(&d, NULL);
	for (i = 0; i < 6; i++)
		put(&d, &packets[i], L4S_ECN_ECT1, 1500, 1);
	for (i = 0; i < 6; i++) {
		CHECK(dualpi2_pick(&d, 1 + i * 1500 * US, &v));
		actions[i] = ".DM"[v.action];
	}
	CHECK(strcmp(actions, ".MMMMM") == 0);
}

static void
native_ramp(void)
{
	struct l4s_params params;
	struct dualpi2_verdict v;

	l4s_params_default(&params);
	params.laqm = L4S_LAQM_RAMP;
	params.l4s_threshold_ns = 800 * US;
	params.l4s_range_ns = 400 * US;
	v = native_verdict(&params, 800 * US, 2);
	CHECK_EQ(v.probability, 0);
	v = native_verdict(&params, 900 * US, 2);
	CHECK_NEAR(q31(v.probability), 0.25, 1e-9);
	v = native_verdict(&params, 1199999, 2);
	CHECK_NEAR(q31(v.probability), 399999.0 / 400000, 1e-9);
	v = native_verdict(&params, 1200 * US, 2);
	CHECK_EQ(v.probability, L4S_PROB_ONE);
	CHECK_EQ(v.action, L4S_ACTION_MARK);
	v = native_verdict(&params, 1200 * US, 0);
	CHECK_EQ(v.probability, 0);
}

static void
classify(void)
{
	static const unsigned marked[] = { 44, 45, 46 };
	struct l4s_params params;
	struct dualpi2 d;
	unsigned dscp, ecn, i, want;

	/* By ECN alone, whatever the DSCP is. */
	l4s_params_default(&params);
	start(&d, &params);
	for (dscp = 0; dscp < 64; dscp++)
		for (ecn = 0; ecn < 4; ecn++)
			CHECK_EQ(dualpi2_classify(&d, dscp << 2 | ecn),
			    ecn & 1);
	/* ECT(0) as well. */
	params.l4s_ecn = L4S_ECN_MASK_ANY;
	start(&d, &params);
	for (ecn = 0; ecn < 4; ecn++)
		CHECK_EQ(dualpi2_classify(&d, ecn), ecn != 0);
	/* By EF, VA and NQB as well. */
	params.l4s_ecn = L4S_ECN_MASK_L4S;
	params.l4s_dscp = L4S_DSCP_EF | L4S_DSCP_VA | L4S_DSCP_NQB;
	start(&d, &params);
	for (dscp = 0; dscp < 64; dscp++)
		for (ecn = 0; ecn < 4; ecn++) {
			want = ecn & 1;
			for (i = 0; i < nitems(marked); i++)
				if (dscp == marked[i])
					want = L4S_QUEUE_L4S;
			CHECK_EQ(dualpi2_classify(&d, dscp << 2 | ecn), want);
		}
}

/*
 * A packet in the L4S queue because of its DSCP gets classic signals: with p_C,
 * a mark if possible, and none by the threshold.  With a mask that includes
 * ECT(0), that codepoint gets L4S signals.
 */
static void
others_in_the_l4s_queue(void)
{
	struct l4s_params params;
	struct dualpi2_verdict v;
	struct dualpi2 d;
	unsigned ecn, i, n, next, signals, any;

	l4s_params_default(&params);
	params.l4s_dscp = L4S_DSCP_NQB;
	for (any = 0; any < 2; any++)
		for (ecn = L4S_ECN_NOT_ECT; ecn <= L4S_ECN_ECT0; ecn += 2) {
			params.l4s_ecn = any != 0 ? L4S_ECN_MASK_ANY :
			    L4S_ECN_MASK_L4S;
			start(&d, &params);
			set_p(&d, 0.3);
			d.next_update = UINT64_MAX;
			for (i = 0; i < 4; i++) {
				packets[i].dscp = 45;
				packets[i].ecn = ecn;
				packets[i].length = 200;
			}
			CHECK(dualpi2_enqueue(&d, &packets[0], 1, 200, 1));
			for (n = signals = 0, next = 1; n < 10000; n++) {
				CHECK(dualpi2_enqueue(&d, &packets[next], 1,
				    200, 1));
				next = (next + 1) % 4;
				CHECK(dualpi2_pick(&d, 1, &v));
				CHECK_EQ(v.queue, L4S_QUEUE_L4S);
				if (v.action == L4S_ACTION_ENQUEUE)
					continue;
				signals++;
				CHECK_EQ(v.action, ecn == L4S_ECN_NOT_ECT ?
				    L4S_ACTION_DROP : L4S_ACTION_MARK);
			}
			if (any != 0 && ecn == L4S_ECN_ECT0)
				CHECK_NEAR(signals, 6000, spread(10000, 0.6));
			else
				CHECK_NEAR(signals, 900, spread(10000, 0.09));
			/* Not by the threshold, for any waiting time. */
			set_p(&d, 0);
			d.next_update = UINT64_MAX;
			CHECK(dualpi2_pick(&d, 2, &v));
			for (n = 0; n < 2; n++)
				CHECK(dualpi2_enqueue(&d, &packets[n], 1, 200,
				    2));
			(void)dualpi2_flush(&d, 1);
			CHECK(dualpi2_pick(&d, 2 + 5 * MS, &v));
			CHECK_EQ(v.action, any != 0 && ecn == L4S_ECN_ECT0 ?
			    L4S_ACTION_MARK : L4S_ACTION_ENQUEUE);
			for (i = 0; i < 4; i++)
				packets[i].dscp = 0;
		}
}

/*
 * Overflow: an overloaded queue marks every packet that can be marked and drops
 * only others, with 1 / k^2; p' does not rise further.
 */
static void
overflow(void)
{
	struct l4s_params params;
	struct dualpi2 d;
	unsigned marks, drops;
	uint64_t now;

	l4s_params_default(&params);
	params.overflow = 1;
	start(&d, &params);
	put(&d, &packets[0], L4S_ECN_ECT1, 1500, 1);
	for (now = 1; now < 60 * SEC; now += SEC)
		dualpi2_advance(&d, now);
	CHECK_NEAR(q31(d.p_base), 0.5, 1e-6);
	CHECK(!d.overload);
	rates(&d, L4S_ECN_ECT1, 10000, &marks, &drops);
	CHECK(marks >= 9999);
	CHECK_EQ(drops, 0);
	rates(&d, L4S_ECN_ECT0, 10000, &marks, &drops);
	CHECK_NEAR(marks, 2500, spread(10000, 0.25));
	CHECK_EQ(drops, 0);
	rates(&d, L4S_ECN_NOT_ECT, 10000, &marks, &drops);
	CHECK_NEAR(drops, 2500, spread(10000, 0.25));
	/* Enabled again: the same p' is overload. */
	params.overflow = 0;
	dualpi2_configure(&d, &params);
	set_p(&d, 0.6);
	CHECK(d.overload);
	params.overflow = 1;
	dualpi2_configure(&d, &params);
	CHECK(!d.overload);
	CHECK_NEAR(q31(d.p_base), 0.5, 1e-6);
}

const struct test signals_tests[] = {
	TEST(recur_rates),
	TEST(recur_is_even),
	TEST(recur_does_not_lock),
	TEST(random_rates),
	TEST(overload),
	TEST(last_packet_stays),
	TEST(ecn_off_drops),
	TEST(ecn_threshold),
	TEST(native_step),
	TEST(native_burst),
	TEST(native_ramp),
	TEST(classify),
	TEST(others_in_the_l4s_queue),
	TEST(overflow),
	TEST_END
};
