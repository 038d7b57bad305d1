/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The core alone: arithmetic against doubles, and what RFC 9332 promises. */

#include "dualpi2.h"
#include "params.h"
#include "test.h"

#define	PACKETS	4096

static struct l4s_pkt_user packets[PACKETS];

static void
start(struct dualpi2 *d, const struct l4s_params *params)
{
	struct l4s_params defaults;

	l4s_params_default(&defaults);
	dualpi2_init(d, params != NULL ? params : &defaults, 1);
}

/* Sets p' and what follows from it. */
static void
set_p(struct dualpi2 *d, double p)
{
	struct l4s_params params = d->params;

	d->p = (int64_t)ldexp(p, DUALPI2_P_SHIFT);
	dualpi2_configure(d, &params);
}

static void
put(struct dualpi2 *d, struct l4s_pkt_user *p, uint8_t ecn, uint32_t length,
    uint64_t now)
{
	p->ecn = ecn;
	p->length = length;
	dualpi2_advance(d, now);
	CHECK(dualpi2_enqueue(d, p, dualpi2_classify(d, ecn), length, now));
}

static double
q31(uint32_t p)
{
	return (ldexp(p, -31));
}

/*
 * The controller as a timer would run it, in doubles: one step each tupdate,
 * with the queues as they stood since the last packet.
 */
struct reference {
	double		p;
	double		previous;
	uint64_t	next;
};

static void
reference_advance(struct reference *r, const struct dualpi2 *d, uint64_t now)
{
	const struct l4s_params *c = &d->params;
	double delay, other;

	while (r->next <= now) {
		delay = dualpi2_head_delay(d, 0, r->next) * 1e-9;
		other = dualpi2_head_delay(d, 1, r->next) * 1e-9;
		if (other > delay)
			delay = other;
		r->p += c->alpha_uhz * 1e-6 * (delay - c->target_ns * 1e-9) +
		    c->beta_uhz * 1e-6 * (delay - r->previous);
		if (r->p < 0)
			r->p = 0;
		if (r->p > 1)
			r->p = 1;
		r->previous = delay;
		r->next += c->tupdate_ns;
	}
}

/*
 * Random packets with pauses of any length, some of them with packets in the
 * queue: the lazy updates must agree with the timer's.  The tolerance is what
 * truncation of the gains (1e-8 of a step) may add up to.
 */
static void
pi_matches_doubles(void)
{
	static const uint64_t pause[] = { 10 * US, 300 * US, 3 * MS, 100 * MS,
	    5 * SEC };
	struct l4s_params params;
	struct dualpi2_verdict v;
	struct reference r;
	struct dualpi2 d;
	uint64_t random, now, high = 0, low = 0;
	unsigned seed, i, next;

	for (seed = 1; seed <= 40; seed++) {
		random = seed;
		l4s_params_default(&params);
		if (seed % 3 == 1)
			l4s_params_tuned(&params);
		if (seed % 3 == 2)
			params.tupdate_ns = 100 * US;
		start(&d, &params);
		now = test_below(&random, 1000000);
		dualpi2_advance(&d, now);
		r = (struct reference){ .next = now + params.tupdate_ns };
		next = 0;
		for (i = 0; i < 3000; i++) {
			now += test_random(&random) %
			    pause[test_below(&random, i % 16 == 0 ? 5 : 3)];
			reference_advance(&r, &d, now);
			dualpi2_advance(&d, now);
			CHECK_NEAR(q31(d.p_base), r.p, 2e-6);
			if (r.p > 0.999)
				high++;
			if (r.p < 0.001)
				low++;
			if (test_below(&random, 100) < 50 + i / 100 % 2 * 5 &&
			    dualpi2_backlog(&d) < PACKETS - 1) {
				put(&d, &packets[next], test_below(&random, 4),
				    1500, now);
				next = (next + 1) % PACKETS;
			} else
				(void)dualpi2_pick(&d, now, &v);
		}
	}
	/* The runs went to both ends, where the clamps are. */
	CHECK(high > 100);
	CHECK(low > 100);
}

/* A pause of any length costs the same, and ends in the same place. */
static void
pi_long_pause(void)
{
	struct dualpi2 d;
	uint64_t now = 1;

	start(&d, NULL);
	dualpi2_advance(&d, now);
	set_p(&d, 0.5);
	now += 3600 * SEC;
	dualpi2_advance(&d, now);
	CHECK_EQ(d.p, 0);
	CHECK(d.next_update > now && d.next_update <= now + 16 * MS);

	put(&d, &packets[0], L4S_ECN_ECT0, 1500, now);
	now += (uint64_t)1 << 62;
	dualpi2_advance(&d, now);
	CHECK_EQ(d.p, DUALPI2_P_ONE);
	CHECK(d.overload);
	CHECK(d.next_update > now && d.next_update <= now + 16 * MS);
}

static void
gains_at_their_ends(void)
{
	struct l4s_params params;
	struct dualpi2 d;
	uint64_t now;

	l4s_params_default(&params);
	params.alpha_uhz = params.beta_uhz = UINT32_MAX;
	params.tupdate_ns = SEC;
	start(&d, &params);
	dualpi2_advance(&d, 1);
	put(&d, &packets[0], L4S_ECN_ECT0, 1500, 2);
	for (now = SEC; now < ((uint64_t)1 << 62); now *= 3)
		dualpi2_advance(&d, now);
	CHECK_EQ(d.p, DUALPI2_P_ONE);

	/* The least gain still moves p' in one step: 1e-6 Hz * 1 s = 1e-6. */
	params.alpha_uhz = 1;
	params.beta_uhz = 0;
	params.target_ns = 1 * US;
	start(&d, &params);
	dualpi2_advance(&d, 1);
	put(&d, &packets[0], L4S_ECN_ECT0, 1500, 1);
	dualpi2_advance(&d, 1 + SEC);
	CHECK_NEAR(ldexp((double)d.p, -DUALPI2_P_SHIFT), 1e-6, 1e-8);
}

static void
coupling(void)
{
	static const double p[] = { 0, 1e-6, 1e-3, 0.1, 0.25, 0.4999, 0.5, 1 };
	static const uint32_t k[] = { 256, 384, 512, 1024, 65535 };
	struct l4s_params params;
	struct dualpi2 d;
	double want;
	size_t i, j;

	l4s_params_default(&params);
	for (j = 0; j < nitems(k); j++) {
		params.coupling_q8 = k[j];
		start(&d, &params);
		for (i = 0; i < nitems(p); i++) {
			set_p(&d, p[i]);
			CHECK_NEAR(q31(d.p_classic), p[i] * p[i], 1e-9);
			want = p[i] * k[j] / 256.0;
			CHECK_NEAR(q31(d.p_coupled), want < 1 ? want : 1,
			    k[j] / 256.0 * 1e-9);
			CHECK_EQ(d.overload, want >= 1);
		}
	}
}

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
 * Signals are even: between two of them lie from 1/2 to 3/2 of the mean
 * interval, and a packet more where an interval's end falls between packets.
 * And a high p leaves no signals owed when it falls.
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
 * Equal streams that arrive in a fixed order get equal shares of the signals,
 * whatever p is: of recur()'s, all might go to one.
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
	/* Another seed, another sequence; the same seed, the same one. */
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

/* RFC 9332, appendix A.2: L4S dropped by p_C and the rest all marked. */
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
	/* Whichever queue it is in, it is that one's turn. */
	d.credit = dualpi2_classify(&d, ecn) == L4S_QUEUE_CLASSIC ? 1 : 0;
	CHECK(dualpi2_pick(&d, 1, &v));
	CHECK(v.pkt == &packets[0]);
	packets[0].fixed = false;
	return (v);
}

/*
 * A packet that leaves both queues empty is never dropped: it is marked if it
 * can be.  One packet behind it, in either queue, ends this.
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
 * together, after it waited for `sojourn'.
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
	/* One that found another waiting, alone by now. */
	v = native_verdict(NULL, 100 * MS, 1);
	CHECK_EQ(v.action, L4S_ACTION_MARK);
	/* One that found none, and waited for the link's own time. */
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
 * A burst of six at 8 Mbit/s, where a packet lasts 1.5 ms: all but the first
 * waited for longer than the threshold, the last ones no less than others.
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
	CHECK_EQ(v.probability, DUALPI2_ONE);
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
 * A packet that its DSCP brought into the L4S queue gets classic signals: by
 * p_C, a mark if it can carry one, and none by the threshold.  With a mask
 * that has ECT(0), that codepoint gets L4S's.
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
			/* Not by the threshold, however long it waited. */
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
 * Overflow: an overloaded queue marks every packet that can be marked and
 * drops only those that cannot, at 1 / k^2; p' goes no further.
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
	/* On again: the same p' is overload. */
	params.overflow = 0;
	dualpi2_configure(&d, &params);
	set_p(&d, 0.6);
	CHECK(d.overload);
	params.overflow = 1;
	dualpi2_configure(&d, &params);
	CHECK(!d.overload);
	CHECK_NEAR(q31(d.p_base), 0.5, 1e-6);
}

/* RFC 9332, figure 2, as tc-dualpi2(8) fills it in. */
static void
rtt_helper(void)
{
	static const struct {
		uint64_t	typical_ms, max_ms;
		double		target_ms, tupdate_ms, alpha, beta;
	} cases[] = {
		{ 15, 100, 15, 15, 0.15, 3 },	/* the RFC's defaults */
		{ 16, 100, 16, 16, 0.16, 3 },
		{ 50, 100, 50, 33.333, 0.33333, 3 },
		{ 0, 60, 10, 10, 0.277778, 5 },
		{ 5, 0, 5, 5, 0.555556, 10 },
		{ 1000, 10000, 1000, 1000, 0.001, 0.03 },
	};
	static const struct {
		uint64_t	typical_ns, max_ns;
	} bad[] = {
		{ 0, 0 }, { 99 * US, 0 }, { SEC + 1, 0 }, { 0, 10 * SEC + 1 },
		{ 20 * MS, 10 * MS }, { 200 * US, 200 * US },
		{ UINT64_MAX, UINT64_MAX },
	};
	struct l4s_params p, before;
	size_t i;

	for (i = 0; i < nitems(cases); i++) {
		l4s_params_default(&p);
		CHECK_EQ(l4s_params_rtt(&p, cases[i].typical_ms * MS,
		    cases[i].max_ms * MS), 0);
		CHECK_EQ(l4s_params_check(&p), 0);
		CHECK_NEAR(p.target_ns * 1e-6, cases[i].target_ms, 1e-3);
		CHECK_NEAR(p.tupdate_ns * 1e-6, cases[i].tupdate_ms, 1e-3);
		CHECK_NEAR(p.alpha_uhz * 1e-6, cases[i].alpha, 1e-5);
		CHECK_NEAR(p.beta_uhz * 1e-6, cases[i].beta, 1e-5);
	}
	CHECK_EQ(l4s_params_rtt(&p, 100 * US, 10 * SEC), 0);
	CHECK_EQ(p.alpha_uhz, 1);		/* 0.1, but never 0 */
	l4s_params_default(&before);
	for (i = 0; i < nitems(bad); i++) {
		p = before;
		CHECK_EQ(l4s_params_rtt(&p, bad[i].typical_ns, bad[i].max_ns),
		    L4S_EINVAL);
		CHECK_EQ(memcmp(&p, &before, sizeof(p)), 0);
	}
}

/*
 * Classic's share of the bytes sent while both queues are busy, with packets
 * of size[0] bytes in Classic, Not-ECT, and of size[1] bytes in L4S, at a
 * fixed p'.
 */
static double
classic_share(unsigned weight, const uint32_t size[2], double p)
{
	struct l4s_params params;
	struct dualpi2_verdict v;
	struct dualpi2 d;
	uint64_t bytes[2] = { 0, 0 };
	unsigned n;

	l4s_params_default(&params);
	params.classic_weight = weight;
	start(&d, &params);
	set_p(&d, p);
	d.next_update = UINT64_MAX;		/* p' stays */
	for (n = 0; n < 4; n++)
		put(&d, &packets[n], n & 1, size[n & 1], 1);
	while (bytes[0] + bytes[1] < 15000000) {
		CHECK(dualpi2_pick(&d, 1, &v));
		if (v.action != L4S_ACTION_DROP) {
			dualpi2_charge(&d, &v);
			bytes[v.queue] += v.length;
		}
		put(&d, v.pkt, v.queue, v.length, 1);
	}
	return ((double)bytes[0] / (bytes[0] + bytes[1]));
}

/*
 * Both queues busy: Classic gets its weight of the bytes sent, whatever the
 * sizes and whatever is dropped, in overload too.
 */
static void
wrr_shares(void)
{
	static const unsigned weight[] = { 0, 1, 10, 33, 50, 90, 100 };
	static const uint32_t size[][2] = { { 1500, 1500 }, { 100, 1500 },
	    { 1500, 100 }, { 65535, 40 } };
	static const double p[] = { 0, 0.1, 0.3, 0.49, 0.7 };
	size_t i, j, k;

	for (i = 0; i < nitems(weight); i++)
		for (j = 0; j < nitems(size); j++)
			for (k = 0; k < nitems(p); k++)
				CHECK_NEAR(classic_share(weight[i], size[j],
				    p[k]), weight[i] / 100.0, 0.004);
}

/* L4S first when both fill at once; Classic alone is not held back. */
static void
wrr_turns(void)
{
	struct dualpi2_verdict v;
	struct dualpi2 d;
	unsigned n;

	start(&d, NULL);
	put(&d, &packets[0], L4S_ECN_ECT0, 1500, 1);
	put(&d, &packets[1], L4S_ECN_ECT1, 1500, 1);
	CHECK(dualpi2_pick(&d, 1, &v));
	CHECK_EQ(v.queue, L4S_QUEUE_L4S);
	CHECK(dualpi2_pick(&d, 1, &v));
	CHECK_EQ(v.queue, L4S_QUEUE_CLASSIC);
	CHECK(!dualpi2_pick(&d, 1, &v));
	for (n = 0; n < 100; n++)
		put(&d, &packets[n], L4S_ECN_ECT0, 1500, 1);
	for (n = 0; n < 100; n++) {
		CHECK(dualpi2_pick(&d, 1, &v));
		CHECK(v.pkt == &packets[n]);
	}
}

/* RFC 8033, 4.4: nothing is heard of the controller while a burst lasts. */
static void
burst_allowance(void)
{
	struct l4s_params params;
	struct dualpi2_verdict v;
	struct dualpi2 d;
	uint64_t now = 1;
	unsigned n, early = 0, late = 0;

	l4s_params_paper(&params);
	params.max_ecnth = 0;
	start(&d, &params);
	dualpi2_advance(&d, now);
	for (n = 0; n < 50; n++)
		put(&d, &packets[n], L4S_ECN_ECT0, 1500, now);
	for (n = 0; n < 600; n++) {
		now += MS;
		dualpi2_advance(&d, now);
		CHECK(dualpi2_pick(&d, now, &v));
		if (now < 150 * MS)
			early += v.action != L4S_ACTION_ENQUEUE;
		else
			late += v.action != L4S_ACTION_ENQUEUE;
		put(&d, v.pkt, L4S_ECN_ECT0, 1500, now);
	}
	CHECK_EQ(early, 0);
	CHECK(late > 0);
	CHECK_EQ(d.burst_ns, 0);
	/* Renewed once p' is 0 and the queue was short at two updates. */
	while (dualpi2_pick(&d, now, &v))
		;
	dualpi2_advance(&d, now + 10 * SEC);
	dualpi2_advance(&d, now + 11 * SEC);
	CHECK_EQ(d.burst_ns, params.max_burst_ns);
}

static void
departure_rate(void)
{
	struct dualpi2_verdict v;
	struct dualpi2 d;
	uint64_t now = 1;
	unsigned n;

	start(&d, NULL);
	for (n = 0; n < 100; n++)
		put(&d, &packets[n], L4S_ECN_ECT0, 1000, now);
	d.next_update = UINT64_MAX;
	for (n = 0; n < 80; n++) {
		now += 1 * MS;			/* 8 Mbit/s */
		CHECK(dualpi2_pick(&d, now, &v));
	}
	/* 17 packets are the first to make a sample of 16384 bytes. */
	CHECK_EQ(d.queue[0].sample_us, 17000);
	while (dualpi2_pick(&d, now += MS, &v))
		;
	CHECK_EQ(d.queue[0].sampling, 0);
	CHECK_EQ(d.queue[0].sample_start, 0);
}

static void
limits(void)
{
	struct l4s_params params;
	struct dualpi2 d;
	unsigned n;

	l4s_params_default(&params);
	params.limit_packets = 10;
	start(&d, &params);
	for (n = 0; n < 10; n++)
		put(&d, &packets[n], n & 3, 1500, 1);
	CHECK(!dualpi2_enqueue(&d, &packets[10], 1, 1, 1));
	/* A lower limit takes nothing away, it lets nothing in. */
	params.limit_packets = 5;
	dualpi2_configure(&d, &params);
	CHECK_EQ(dualpi2_backlog(&d), 10);
	while (dualpi2_backlog(&d) > 4)
		if (dualpi2_flush(&d, 0) == NULL)
			(void)dualpi2_flush(&d, 1);
	CHECK(dualpi2_enqueue(&d, &packets[12], 1, 1, 1));
	CHECK(!dualpi2_enqueue(&d, &packets[13], 1, 1, 1));
}

/*
 * The limit in bytes keeps room for a full-size packet: where one of these is
 * dropped, so is a small one.  Larger ones are held to their own size.
 */
static void
byte_limit(void)
{
	struct l4s_params params;
	struct dualpi2 d;
	unsigned n;

	l4s_params_default(&params);
	params.limit_bytes = 12000;
	start(&d, &params);
	for (n = 0; n < 7; n++)
		put(&d, &packets[n], n & 3, 1500, 1);
	CHECK(!dualpi2_enqueue(&d, &packets[7], 0, 1501, 1));
	put(&d, &packets[7], 0, 1, 1);		/* 1500 were left */
	CHECK(!dualpi2_enqueue(&d, &packets[8], 0, 1500, 1));
	CHECK(!dualpi2_enqueue(&d, &packets[8], 1, 40, 1));
	CHECK(dualpi2_flush(&d, 0) != NULL);
	put(&d, &packets[8], 1, 40, 1);
	CHECK(d.queue[0].bytes + d.queue[1].bytes <= 12000);
}

static void
steer_shifts_setpoints(void)
{
	struct l4s_override o = {
		.target = 32768, .threshold = 131072, .coupling = 98304,
		.gain = 262144,
	};
	struct dualpi2 d;
	int64_t p;

	start(&d, NULL);
	set_p(&d, 0.25);
	p = d.p;
	dualpi2_steer(&d, &o, L4S_STEER_ALL);
	CHECK_EQ(d.set.target_ns, 7500000);
	CHECK_EQ(d.set.threshold_ns, 2 * MS);
	CHECK_EQ(d.set.coupling_q8, 768);
	CHECK_EQ(d.set.alpha_uhz, 640000);
	CHECK_EQ(d.set.beta_uhz, 12800000);
	CHECK_NEAR(q31(d.p_coupled), 0.75, 1e-9);
	dualpi2_steer(&d, &o, L4S_STEER_TARGET);
	CHECK_EQ(d.set.coupling_q8, 512);
	dualpi2_steer(&d, NULL, 0);
	CHECK_EQ(d.set.target_ns, 15 * MS);
	CHECK_EQ(d.p, p);

	/* A lower coupling does not put overload off. */
	set_p(&d, 0.5);
	o.coupling = 32768;
	dualpi2_steer(&d, &o, L4S_STEER_COUPLING);
	CHECK_EQ(d.set.coupling_q8, 256);
	CHECK(d.overload);
	/* The parameters' own ranges hold for shifted values too. */
	o.target = L4S_FACTOR_CAP;
	o.gain = L4S_FACTOR_CAP;
	dualpi2_steer(&d, &o, L4S_STEER_ALL);
	CHECK_EQ(d.set.target_ns, 15 * MS * 256);
	CHECK_EQ(d.set.alpha_uhz, 160000U * 256);
	CHECK_EQ(d.set.beta_uhz, 3200000U * 256);
}

static void
parameter_ranges(void)
{
	struct l4s_params good, p;
	struct l4s_limits lgood, l;

#define	BAD(field, value, error) do {					\
	p = good;							\
	p.field = (value);						\
	CHECK_EQ(l4s_params_check(&p), (error));			\
} while (0)
#define	OK(field, value)	BAD(field, value, 0)
	l4s_params_tuned(&good);
	CHECK_EQ(l4s_params_check(&good), 0);
	l4s_params_paper(&good);
	CHECK_EQ(l4s_params_check(&good), 0);
	l4s_params_default(&good);
	CHECK_EQ(l4s_params_check(&good), 0);
	BAD(version, 0, L4S_EPROTO);
	BAD(length, sizeof(p) + 1, L4S_EPROTO);
	BAD(pad0, 1, L4S_EINVAL);
	BAD(target_ns, 999, L4S_EINVAL);
	OK(target_ns, 1000);
	OK(target_ns, 5 * SEC);
	BAD(target_ns, 5 * SEC + 1, L4S_EINVAL);
	BAD(tupdate_ns, 100 * US - 1, L4S_EINVAL);
	BAD(tupdate_ns, SEC + 1, L4S_EINVAL);
	OK(l4s_threshold_ns, 0);
	BAD(l4s_threshold_ns, SEC + 1, L4S_EINVAL);
	BAD(l4s_range_ns, 0, L4S_EINVAL);
	BAD(l4s_range_ns, SEC + 1, L4S_EINVAL);
	BAD(max_burst_ns, 10 * SEC + 1, L4S_EINVAL);
	BAD(coupling_q8, 255, L4S_EINVAL);
	BAD(coupling_q8, 65536, L4S_EINVAL);
	BAD(limit_packets, 0, L4S_EINVAL);
	BAD(limit_packets, 1048577, L4S_EINVAL);
	BAD(max_ecnth, L4S_PROB_ONE + 1, L4S_EINVAL);
	OK(classic_weight, 0);
	OK(classic_weight, 100);
	BAD(classic_weight, 101, L4S_EINVAL);
	OK(limit_bytes, 0);
	BAD(limit_bytes, 1499, L4S_EINVAL);
	OK(limit_bytes, 1500);
	BAD(dither, 2, L4S_EINVAL);
	BAD(laqm, 2, L4S_EINVAL);
	BAD(ecn, 2, L4S_EINVAL);
	OK(l4s_ecn, 3);
	BAD(l4s_ecn, 0, L4S_EINVAL);
	BAD(l4s_ecn, 2, L4S_EINVAL);
	BAD(l4s_ecn, 4, L4S_EINVAL);
	OK(l4s_dscp, UINT64_MAX);
	OK(overflow, 1);
	BAD(overflow, 2, L4S_EINVAL);
	BAD(pad[5], 1, L4S_EINVAL);
#undef OK
#undef BAD
#define	BAD(field, value, error) do {					\
	l = lgood;							\
	l.field = (value);						\
	CHECK_EQ(l4s_limits_check(&l), (error));			\
} while (0)
	l4s_limits_default(&lgood);
	CHECK_EQ(l4s_limits_check(&lgood), 0);
	BAD(version, L4S_ABI_VERSION + 1, L4S_EPROTO);
	BAD(length, 0, L4S_EPROTO);
	BAD(pad0, 1, L4S_EINVAL);
	BAD(drop_share, L4S_FACTOR_ONE + 1, L4S_EINVAL);
	BAD(factor_min, 0, L4S_EINVAL);
	BAD(factor_min, L4S_FACTOR_ONE + 1, L4S_EINVAL);
	BAD(factor_max, L4S_FACTOR_ONE - 1, L4S_EINVAL);
	BAD(factor_max, L4S_FACTOR_CAP + 1, L4S_EINVAL);
#undef BAD
}

const struct test dualpi2_tests[] = {
	TEST(pi_matches_doubles),
	TEST(pi_long_pause),
	TEST(gains_at_their_ends),
	TEST(coupling),
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
	TEST(rtt_helper),
	TEST(wrr_shares),
	TEST(wrr_turns),
	TEST(burst_allowance),
	TEST(departure_rate),
	TEST(limits),
	TEST(byte_limit),
	TEST(steer_shifts_setpoints),
	TEST(parameter_ranges),
	TEST_END
};
