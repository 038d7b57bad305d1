/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The controller, the scheduler and the limits: arithmetic against doubles. */

#include "queue.h"

static struct l4s_pkt_user packets[PACKETS];

/*
 * The controller as run by a timer, in doubles: one step each tupdate, with the
 * queues unchanged since the last packet.
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
 * Random packets with pauses of any length, some with packets in the queue: the
 * lazy updates must agree with the timer's.  The tolerance is the accumulated
 * truncation of the gains (1e-8 of a step).
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
			    dualpi2_packets(dualpi2_backlog(&d)) < PACKETS - 1) {
				put(&d, &packets[next], test_below(&random, 4),
				    1500, now);
				next = (next + 1) % PACKETS;
			} else
				(void)dualpi2_pick(&d, now, &v);
		}
	}
	/* The runs reached both ends, where the clamps are. */
	CHECK(high > 100);
	CHECK(low > 100);
}

/* A pause of any length costs the same, and gives the same result. */
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

	/* The minimum gain still moves p' in one step: 1e-6 Hz * 1 s = 1e-6. */
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
 * With both queues busy, Classic's share of the bytes sent is its weight, for
 * any packet sizes and drops, in overload too.
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

/*
 * L4S is served first when both queues fill at once.  Classic is not held back
 * when it is the only one.
 */
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

/* RFC 8033, 4.4: the controller is ignored during a burst. */
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
	CHECK_EQ(d.queue[0].status & L4S_STATUS_MEASURING, 0);
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
	/* A lower limit does not drop queued packets, but admits no more. */
	params.limit_packets = 5;
	dualpi2_configure(&d, &params);
	CHECK_EQ(dualpi2_packets(dualpi2_backlog(&d)), 10);
	while (dualpi2_packets(dualpi2_backlog(&d)) > 4)
		if (dualpi2_flush(&d, 0) == NULL)
			(void)dualpi2_flush(&d, 1);
	CHECK(dualpi2_enqueue(&d, &packets[12], 1, 1, 1));
	CHECK(!dualpi2_enqueue(&d, &packets[13], 1, 1, 1));
}

/*
 * The byte limit reserves space for a full-size packet: if one of these is
 * dropped, so is a small one.  Larger ones are checked with their own size.
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
	CHECK(dualpi2_bytes(dualpi2_backlog(&d)) <= 12000);
}

const struct test dualpi2_tests[] = {
	TEST(pi_matches_doubles),
	TEST(pi_long_pause),
	TEST(gains_at_their_ends),
	TEST(coupling),
	TEST(wrr_shares),
	TEST(wrr_turns),
	TEST(burst_allowance),
	TEST(departure_rate),
	TEST(limits),
	TEST(byte_limit),
	TEST_END
};
