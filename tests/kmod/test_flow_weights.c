/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Flow weights: the hash, rates, weights, and their effect on signals. */

#include "l4s_user.h"
#include "queue.h"
#include "router.h"

static const struct l4s_siphash_key key = { 0x0706050403020100,
    0x0f0e0d0c0b0a0908 };

/* The bytes 0 to length - 1 as words. */
static unsigned
message(uint64_t words[8], unsigned length)
{
	uint8_t bytes[64] = { 0 };
	unsigned i;

	for (i = 0; i < length; i++)
		bytes[i] = (uint8_t)i;
	memcpy(words, bytes, sizeof(bytes));
	words[length / 8] |= (uint64_t)(length & 255) << 56;
	return (length / 8 + 1);
}

/*
 * SipHash-2-4 of the paper's appendix A and of its authors' first vector.
 * SipHash-1-3 under the key 0 as in CPython 3.11:
 *	PYTHONHASHSEED=0 python3 -c 'print(hex(hash(bytes(range(13))) % 2**64))'
 */
static void
siphash_vectors(void)
{
	static const struct l4s_siphash_key zero;
	uint64_t words[8];
	unsigned n;

	n = message(words, 15);
	CHECK(l4s_siphash(&key, words, n, 2, 4) == 0xa129ca6149be45e5);
	n = message(words, 0);
	CHECK(l4s_siphash(&key, words, n, 2, 4) == 0x726fdb47dd0e0e31);
	n = message(words, 4);
	CHECK(l4s_siphash13(&zero, words, n) == 0x7cc43f98813e4dbd);
	n = message(words, 13);
	CHECK(l4s_siphash13(&zero, words, n) == 0xa0cf3211850f8e0d);
	n = message(words, 37);
	CHECK(l4s_siphash13(&zero, words, n) == 0x422a9751192ff266);
	CHECK(l4s_siphash13(&key, words, n) != 0x422a9751192ff266);
}

/*
 * The assignment to buckets depends on the key, and buckets are used evenly.
 */
static void
buckets_are_keyed(void)
{
	static unsigned count[FLOW_BUCKETS];
	const struct l4s_siphash_key other = { key.k0, key.k1 ^ 1 };
	l4s_pkt_t pkt;
	double chi = 0, e = 64;
	unsigned i, same = 0;

	for (pkt.flow = 0; pkt.flow < 64 * FLOW_BUCKETS; pkt.flow++) {
		i = l4s_pkt_hash(&pkt, &key) % FLOW_BUCKETS;
		count[i]++;
		same += i == l4s_pkt_hash(&pkt, &other) % FLOW_BUCKETS;
	}
	for (i = 0; i < FLOW_BUCKETS; i++)
		chi += (count[i] - e) * (count[i] - e) / e;
	/* 1023 degrees of freedom, five standard deviations. */
	CHECK_NEAR(chi, FLOW_BUCKETS - 1, 5 * sqrt(2 * FLOW_BUCKETS));
	CHECK_NEAR(same, 64, 5 * sqrt(64));
	pkt.flow = L4S_PKT_NO_FLOW;
	CHECK_EQ(l4s_pkt_hash(&pkt, &key), 0);
}

static union l4s_flow_table table;

static void
begin(struct l4s_flow_weights *w, uint64_t now)
{
	w->table = &table;
	l4s_flow_weights_start(w, now);
}

/* Adds bytes[i] to bucket i, and updates after the given number of ticks. */
static void
tick(struct l4s_flow_weights *w, const uint32_t *bytes, unsigned n,
    unsigned ticks)
{
	uint64_t now = w->tick_ns + ticks * FLOW_TICK_NS;
	unsigned i;

	for (i = 0; i < n; i++)
		if (bytes[i] != 0)
			CHECK_EQ(l4s_flow_weights_arrived(w,
			    FLOW_BUCKETS + i, bytes[i]), i);
	do
		l4s_flow_weights_update(w, now);
	while (w->due_ns == 0);
	CHECK(w->due_ns >= now + FLOW_TICK_NS);
	CHECK(w->due_ns <= now + FLOW_TICKS_MAX * FLOW_TICK_NS);
}

static double
weight(uint16_t bucket)
{
	return ((double)l4s_flow_weight(&table, bucket) / FLOW_WEIGHT_ONE);
}

/* r, mu and f of three flows, computed by hand, over several updates. */
static void
weights_by_hand(void)
{
	static struct l4s_flow_weights w;
	static const uint32_t first[] = { 3000, 1500, 2250 };
	static const uint32_t second[] = { 0, 6000, 1500 };
	const double d = exp(-0.04);
	double r[3], mean;

	begin(&w, SEC);
	CHECK_EQ(w.due_ns, SEC + 4 * MS);
	CHECK_NEAR(weight(0), 1, 0);
	tick(&w, first, 3, 1);
	/* (9 + 2.25 + 5.0625) / 6.75 * 1000 = 2416.67 */
	CHECK_EQ(w.mean, 2416);
	CHECK_NEAR(weight(0), 3000 / 2416.67, 1e-3);
	CHECK_NEAR(weight(1), 1500 / 2416.67, 1e-3);
	CHECK_NEAR(weight(2), 2250 / 2416.67, 1e-3);
	tick(&w, second, 3, 1);
	r[0] = 3000 * d;
	r[1] = 1500 * d + 6000;
	r[2] = 2250 * d + 1500;
	mean = (r[0] * r[0] + r[1] * r[1] + r[2] * r[2]) /
	    (r[0] + r[1] + r[2]);
	CHECK_NEAR(w.mean, mean, 2);
	CHECK_NEAR(weight(0), r[0] / mean, 1e-3);
	CHECK_NEAR(weight(1), r[1] / mean, 1e-3);
	CHECK_NEAR(weight(2), r[2] / mean, 1e-3);
	/*
	 * Ten ticks later without packets: all rates are lower, and f is
	 * unchanged.
	 */
	tick(&w, second, 0, 10);
	CHECK_NEAR(w.mean, mean * exp(-0.4), 2);
	CHECK_NEAR(weight(1), r[1] / mean, 1e-3);
}

/*
 * A new flow has weight one, and its actual weight as its rate becomes known:
 * half of the way after 69 ms.
 */
static void
new_flows_are_average(void)
{
	static struct l4s_flow_weights w;
	static const uint32_t old[] = { 1000, 1000, 1000 };
	static const uint32_t both[] = { 1000, 1000, 1000, 250, 4000 };
	unsigned i;

	begin(&w, SEC);
	for (i = 0; i < 200; i++)
		tick(&w, old, 3, 1);
	CHECK_EQ(l4s_flow_weights_arrived(&w, FLOW_BUCKETS + 4, 1), 4);
	CHECK_NEAR(weight(4), 1, 1e-3);
	for (i = 1; i <= 200; i++) {
		tick(&w, both, 5, 1);
		if (i == 1)
			CHECK_NEAR(weight(3), 1, 0.1);
		if (i == 17)
			CHECK_NEAR(weight(3), (250 / 1000.0 + 1) / 2 *
			    25503 / w.mean, 0.05);
	}
	/* mu = (3 + 0.0625 + 16) / 7.25 */
	CHECK_NEAR(weight(0), 1 / 2.629, 0.125);
	CHECK_NEAR(weight(3), 0.5, 0);
	CHECK_NEAR(weight(4), 4 / 2.629, 0.01);
}

/*
 * A flow that changes its port every 20 ms has weight one, not 0.5 like a slow
 * flow: it gets three quarters of the signals for its rate.
 */
static void
port_hops_give_no_advantage(void)
{
	static struct l4s_flow_weights w;
	static uint32_t bytes[FLOW_BUCKETS];
	unsigned i, port = 3;
	double sum = 0;

	begin(&w, SEC);
	for (i = 0; i < 2000; i++) {
		bytes[0] = bytes[1] = bytes[2] = 10000;
		bytes[port] = 0;
		port = 3 + i / 5 % 900;
		bytes[port] = 10000;
		tick(&w, bytes, FLOW_BUCKETS, 1);
		if (i >= 1000)
			sum += weight(port) / 1000;
	}
	CHECK_NEAR(sum, 1, 0.1);
	CHECK_NEAR(weight(0), 1.3, 0.1);
}

/*
 * A rate decays with 100 ms, in any number of updates, and is then forgotten.
 */
static void
rates_decay(void)
{
	static struct l4s_flow_weights w;
	static const uint32_t bytes[] = { 1000000 };
	unsigned i;

	begin(&w, SEC);
	tick(&w, bytes, 1, 1);
	CHECK_EQ(table.buckets[0].rate, 1000000);
	for (i = 0; i < 25; i++)
		tick(&w, bytes, 0, 1);
	CHECK_NEAR(table.buckets[0].rate, 1000000 * exp(-1), 26);
	begin(&w, SEC);
	tick(&w, bytes, 1, 1);
	tick(&w, bytes, 0, 25);
	CHECK_NEAR(table.buckets[0].rate, 1000000 * exp(-1), 2);
	/* A steady flow: bytes per tick times 1 / (1 - d). */
	for (i = 0; i < 400; i++)
		tick(&w, bytes, 1, 1);
	CHECK_NEAR(table.buckets[0].rate, 1e6 / (1 - exp(-0.04)), 30);
	tick(&w, bytes, 0, 400);
	CHECK_EQ(table.buckets[0].rate, 0);
	CHECK_EQ(table.buckets[0].next, FLOW_INACTIVE);
	CHECK_EQ(w.first, FLOW_LAST);
	CHECK_EQ(w.mean, 0);
	CHECK_NEAR(weight(0), 1, 0);
	/* A year later. */
	tick(&w, bytes, 1, 1000000000);
	CHECK_EQ(table.buckets[0].rate, 1000000);
	CHECK_NEAR(weight(0), 1, 0);
}

/* From 0.5 to two, for any rates; the maximum does not overflow. */
static void
weights_are_clamped(void)
{
	static struct l4s_flow_weights w;
	static uint32_t bytes[101];
	unsigned i;

	begin(&w, SEC);
	for (i = 0; i < 100; i++)
		bytes[i] = 1000;
	bytes[100] = 4000;
	tick(&w, bytes, 101, 1);
	/* mu is (100 + 16) / 104 of 1000. */
	CHECK_NEAR(weight(0), 1000 / 1115.38, 1e-3);
	CHECK_NEAR(weight(100), 2, 0);
	bytes[100] = 4000000;
	tick(&w, bytes, 101, 1);
	CHECK_NEAR(weight(0), 0.5, 0);
	/* 4003843 / ((4003843^2 + 100 1961^2) / 4199923) */
	CHECK_NEAR(weight(100), 1.0490, 1e-3);
	for (i = 0; i < 400; i++) {
		bytes[0] = 1U << 27;
		bytes[1] = 1U << 26;
		tick(&w, bytes, 2, 1);
		CHECK(table.buckets[0].rate <= FLOW_RATE_MAX);
	}
	CHECK_NEAR(table.buckets[0].rate, FLOW_RATE_MAX, 1e6);
	CHECK_NEAR(weight(0), 1.2, 1e-3);
	CHECK_NEAR(weight(1), 0.6, 1e-3);
	bytes[0] = UINT32_MAX;
	tick(&w, bytes, 2, 1);
	CHECK_EQ(table.buckets[0].rate, FLOW_RATE_MAX);
}

/*
 * A call visits FLOW_SLICE buckets, the rest wait, and the next update accounts
 * for the time: rates equal those of the same number of short updates.
 */
static void
updates_are_bounded(void)
{
	static struct l4s_flow_weights w;
	uint64_t now = SEC + FLOW_TICK_NS;
	unsigned i, calls, fresh;

	begin(&w, SEC);
	for (i = 0; i < FLOW_BUCKETS; i++)
		(void)l4s_flow_weights_arrived(&w, FLOW_BUCKETS + i, 1000);
	for (calls = 1;; calls++) {
		l4s_flow_weights_update(&w, now);
		for (fresh = i = 0; i < FLOW_BUCKETS; i++)
			fresh += table.buckets[i].rate != 0;
		CHECK_EQ(fresh, calls * FLOW_SLICE < FLOW_BUCKETS ?
		    calls * FLOW_SLICE : FLOW_BUCKETS);
		/*
		 * Flows not reached yet have weight one, as do all flows
		 * without mu.
		 */
		CHECK_NEAR(weight(calls % FLOW_BUCKETS), 1, 0);
		if (w.due_ns != 0)
			break;
		now += MS;
	}
	/* Twice each; the last call finds that none are left. */
	CHECK_EQ(calls, 2 * FLOW_BUCKETS / FLOW_SLICE + 1);
	CHECK_EQ(w.mean, 1000);
	/* It was due at 4 ms and ended at 68: the next one counts from 4. */
	CHECK_EQ(w.due_ns, SEC + 9 * FLOW_TICK_NS);
	now = SEC + 9 * FLOW_TICK_NS;
	for (l4s_flow_weights_update(&w, now); w.due_ns == 0;)
		l4s_flow_weights_update(&w, now);
	CHECK_NEAR(table.buckets[7].rate, 1000 * exp(-0.32), 2);
	CHECK_EQ(w.due_ns, SEC + 17 * FLOW_TICK_NS);
}

/*
 * An update of n flows is followed by the next after 4 ms more for each 32 of
 * them, at most 32 ms, with the same rates as if it ran every 4 ms.
 */
static void
many_flows_are_updated_less_often(void)
{
	static const struct {
		unsigned	flows, ticks;
	} cases[] = {
		{ 1, 1 }, { 31, 1 }, { 32, 2 }, { 63, 2 }, { 64, 3 },
		{ 200, 7 }, { 224, 8 }, { FLOW_BUCKETS, 8 },
	};
	static struct l4s_flow_weights w;
	static uint32_t bytes[FLOW_BUCKETS];
	unsigned c, i, ticks;

	for (c = 0; c < nitems(cases); c++) {
		begin(&w, SEC);
		ticks = cases[c].ticks;
		for (i = 0; i < cases[c].flows; i++)
			bytes[i] = 1000 * ticks;
		for (i = 0; i < 2000 / ticks; i++) {
			tick(&w, bytes, cases[c].flows, ticks);
			CHECK_EQ(w.due_ns, w.tick_ns + ticks * FLOW_TICK_NS);
		}
		/* 250 kB/s for 100 ms, at the end of an update's time. */
		CHECK_NEAR(w.mean, 1000 * ticks / (1 - exp(-0.04 * ticks)),
		    2 + 26 / ticks);
		CHECK_NEAR(weight(cases[c].flows - 1), 1, 1e-3);
	}
	/* Removed flows do not count. */
	tick(&w, bytes, 0, 1000);
	tick(&w, bytes, 1, 1);
	CHECK_EQ(w.due_ns, w.tick_ns + FLOW_TICK_NS);
}

/* A queue with flows 0, 1, ... of these rates. */
static void
weighted_queue(struct dualpi2 *d, struct l4s_flow_weights *w,
    const uint32_t *rates, unsigned n, double p)
{
	start(d, NULL);
	d->next_update = UINT64_MAX;		/* p' stays */
	begin(w, 0);
	tick(w, rates, n, 1);
	d->flows = w->table;
	set_p(d, p);
}

static struct l4s_pkt_user packets[4];

/*
 * The verdict on a packet of a bucket, with a packet of the other queue behind
 * it.
 */
static struct dualpi2_verdict
verdict_on(struct dualpi2 *d, uint16_t bucket, uint8_t ecn, uint64_t sojourn)
{
	struct dualpi2_verdict v;

	while (dualpi2_flush(d, 0) != NULL || dualpi2_flush(d, 1) != NULL)
		;
	l4s_pkt_set_bucket(&packets[0], bucket);
	l4s_pkt_set_bucket(&packets[1], FLOW_NONE);
	l4s_pkt_set_bucket(&packets[2], FLOW_NONE);
	put(d, &packets[1], ecn, 1500, 1);
	put(d, &packets[0], ecn, 1500, 1);
	put(d, &packets[2], ecn, 1500, 1);
	CHECK(dualpi2_pick(d, 1, &v));
	CHECK_EQ(v.weight, L4S_WEIGHT_ONE);
	CHECK(dualpi2_pick(d, 1 + sojourn, &v));
	CHECK(v.pkt == &packets[0]);
	return (v);
}

/* p_C = (f p')^2 and p_CL = f k p', at most one; the step at 1 ms / f. */
static void
probabilities_are_weighted(void)
{
	static const uint32_t rates[] = { 3000, 1500, 2250, 9 };
	static const double f[] = { 3000 / 2416.67, 1500 / 2416.67,
	    2250 / 2416.67 };
	static struct l4s_flow_weights w;
	struct dualpi2_verdict v;
	struct dualpi2 d;
	unsigned i;

	weighted_queue(&d, &w, rates, 3, 0.2);
	for (i = 0; i < 3; i++) {
		v = verdict_on(&d, i, L4S_ECN_ECT0, 0);
		CHECK_NEAR(q31(v.probability), 0.04 * f[i] * f[i], 1e-4);
		CHECK_NEAR(v.weight, 64 * f[i], 1);
		v = verdict_on(&d, i, L4S_ECN_ECT1, 0);
		CHECK_NEAR(q31(v.probability), 0.4 * f[i], 1e-3);
		CHECK_NEAR(v.weight, 64 * f[i], 1);
		v = verdict_on(&d, i, L4S_ECN_ECT1, 0.99 * MS / f[i]);
		CHECK_NEAR(q31(v.probability), 0.4 * f[i], 1e-3);
		v = verdict_on(&d, i, L4S_ECN_ECT1, 1.01 * MS / f[i]);
		CHECK_EQ(v.probability, L4S_PROB_ONE);
		CHECK_EQ(v.cause, DUALPI2_NATIVE);
	}
	/* Nothing overflows: a year. */
	v = verdict_on(&d, 1, L4S_ECN_ECT1, SEC * 86400 * 365);
	CHECK_EQ(v.probability, L4S_PROB_ONE);
	/* A packet of no flow, of an unknown one, an early one. */
	CHECK_NEAR(q31(verdict_on(&d, FLOW_NONE, 0, 0).probability), 0.04,
	    1e-9);
	CHECK_NEAR(q31(verdict_on(&d, 999, 0, 0).probability), 0.04, 1e-9);
	d.flows_since = 1;
	CHECK_NEAR(q31(verdict_on(&d, 0, 0, 0).probability), 0.04, 1e-9);
	d.flows_since = 0;
	/* The maximum is one; without weights none is recorded. */
	set_p(&d, 0.49);
	CHECK_EQ(verdict_on(&d, 0, L4S_ECN_ECT1, 0).probability, L4S_PROB_ONE);
	d.flows = NULL;
	while (dualpi2_flush(&d, 0) != NULL || dualpi2_flush(&d, 1) != NULL)
		;
	put(&d, &packets[0], L4S_ECN_ECT1, 1500, 1);
	CHECK(dualpi2_pick(&d, 1, &v));
	CHECK_NEAR(q31(v.probability), 0.98, 1e-9);
	CHECK_EQ(v.weight, 0);
}

/*
 * As k p' rises from 0.5 to one, so does the minimum weight, so that overload
 * drops no packet with less than p_C, in either queue, and a fast flow's with
 * more.  This also holds at the maximum of p' when packets are delayed instead.
 */
static void
overload_is_not_weighted_down(void)
{
	/* Ten slow flows, and a fast one with nearly all of the link. */
	static const uint32_t rates[] = { 100, 100, 100, 100, 100, 100, 100,
	    100, 100, 100, 90000 };
	static const struct {
		double	p;		/* k = 2 */
		double	least;
	} cases[] = {
		{ 0.05, 0.5 }, { 0.25, 0.5 }, { 0.3, 0.6 }, { 0.4, 0.8 },
		{ 0.5, 1 }, { 0.7, 1 }, { 1, 1 },
	};
	static struct l4s_flow_weights w;
	struct dualpi2_verdict v;
	struct l4s_params params;
	struct dualpi2 d;
	unsigned i;
	double p;

	weighted_queue(&d, &w, rates, 11, 0);
	CHECK_NEAR(weight(0), 0.5, 0);
	for (i = 0; i < nitems(cases); i++) {
		p = cases[i].p;
		set_p(&d, p);
		CHECK_NEAR((double)d.weight_min / FLOW_WEIGHT_ONE,
		    cases[i].least, 1e-4);
		v = verdict_on(&d, 0, L4S_ECN_ECT0, 0);
		CHECK_NEAR(q31(v.probability),
		    p * p * cases[i].least * cases[i].least, 1e-4);
		v = verdict_on(&d, 0, L4S_ECN_ECT1, 0);
		CHECK_NEAR(q31(v.probability),
		    fmin(1, 2 * p * cases[i].least), 1e-4);
	}
	set_p(&d, 1);
	CHECK(d.overload);
	for (i = 0; i < 11; i++) {
		v = verdict_on(&d, i, L4S_ECN_ECT1, 0);
		CHECK_EQ(v.action, L4S_ACTION_DROP);
		v = verdict_on(&d, i, L4S_ECN_NOT_ECT, 0);
		CHECK_EQ(v.action, L4S_ACTION_DROP);
	}
	/* Steering to a lower coupling does not lower the minimum weight. */
	set_p(&d, 0.5);
	dualpi2_steer(&d, &(struct l4s_override){ .coupling = 32768 },
	    L4S_STEER_COUPLING);
	CHECK_EQ(d.weight_min, FLOW_WEIGHT_ONE);
	params = d.params;
	params.overflow = 1;
	dualpi2_configure(&d, &params);
	set_p(&d, 1);
	CHECK(!d.overload);
	CHECK_NEAR((double)d.p, (double)DUALPI2_P_ONE / 2, 256);
	CHECK_EQ(d.weight_min, FLOW_WEIGHT_ONE);
}

/* One packet of a flow of 1000 bytes. */
static void
send(struct router *r, uint8_t ecn, uint32_t flow)
{
	(void)l4s_user_enqueue(r->u, r->cookie++, 1000, ecn, flow, r->now);
}

/* Reads the records; returns the weight and flow of the next one, or false. */
static bool
next_record(struct router *r, struct l4s_record *record)
{
	uint8_t bytes[L4S_RECORD_SIZE];
	size_t got;

	for (;;) {
		CHECK_EQ(l4s_user_read(r->h, bytes, sizeof(bytes), r->now,
		    &got), 0);
		if (got == 0)
			return (false);
		memcpy(record, bytes, sizeof(*record));
		if (record->hdr.type == L4S_RECORD_DECISION)
			return (true);
	}
}

/*
 * Two flows with 4 packets and 1 packet per millisecond, and one that cannot be
 * classified; the weights in the records.  Enabled, disabled and enabled again
 * while packets are queued.
 */
static void
records_carry_weights(void)
{
	struct l4s_user_packet out;
	struct l4s_record record;
	struct l4s_params params;
	struct router r;
	unsigned i, n, on, seen;

	l4s_user_params_default(&params);
	r = router_create(&params, NULL, 1 << 14);
	for (on = 0; on < 4; on++) {
		params.flow_weights = on & 1;
		CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_PARAMS, &params,
		    sizeof(params), r.now), 0);
		for (i = 0; i < 2000; i++) {
			r.now += MS;
			for (n = 0; n < 4; n++)
				send(&r, L4S_ECN_ECT0, 1);
			send(&r, L4S_ECN_ECT0, 2);
			send(&r, L4S_ECN_ECT0, L4S_USER_NO_FLOW);
			for (n = 0; n < 6; n++)
				CHECK(l4s_user_dequeue(r.u, r.now, &out));
		}
		/* mu = (16 + 1) / 5, so 4 / mu = 1.176 and 1 / mu = 0.294. */
		for (seen = 0, i = 0; next_record(&r, &record); i++) {
			if (on % 2 == 0)
				CHECK_EQ(record.weight, 0);
			else if (i % 6 == 5)
				CHECK_EQ(record.weight, L4S_WEIGHT_ONE);
			else if (i > 600) {
				CHECK_NEAR(record.weight,
				    i % 6 == 4 ? L4S_WEIGHT_MIN :
				    1.176 * L4S_WEIGHT_ONE, 2);
				seen++;
			}
		}
		CHECK_EQ(i, 12000);
		CHECK(on % 2 == 0 || seen > 9000);
		/* These are queued during the switch. */
		r.now += MS;
		for (n = 0; n < 6; n++) {
			send(&r, L4S_ECN_ECT0, 1);
			CHECK(l4s_user_dequeue(r.u, r.now, &out));
			send(&r, L4S_ECN_ECT0, 1);
			while (next_record(&r, &record))
				;
		}
		params.flow_weights = ~on & 1;
		CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_PARAMS, &params,
		    sizeof(params), r.now), 0);
		r.now += MS;
		while (l4s_user_dequeue(r.u, r.now, &out) != 0)
			;
		while (next_record(&r, &record))
			CHECK_EQ(record.weight,
			    on % 2 == 0 ? L4S_WEIGHT_ONE : 0);
	}
	/* A tail drop and a packet dropped with its queue have no weight. */
	params.flow_weights = 1;
	params.limit_packets = 1;
	CHECK_EQ(l4s_user_request(r.h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r.now), 0);
	send(&r, L4S_ECN_ECT0, 1);
	send(&r, L4S_ECN_ECT0, 1);
	l4s_user_flush(r.u);
	for (i = 0; next_record(&r, &record); i++)
		CHECK_EQ(record.weight, 0);
	CHECK_EQ(i, 2);
	router_destroy(&r);
}

/*
 * A single flow has weight one: every verdict is the same as without weights.
 */
static void
one_flow_is_plain(void)
{
	struct l4s_user_packet a, b;
	struct l4s_params params;
	struct router off, on;
	uint64_t random = 5;
	unsigned i, n, marks = 0;

	l4s_user_params_default(&params);
	off = router_create(&params, NULL, 16);
	params.flow_weights = 1;
	on = router_create(&params, NULL, 16);
	for (i = 0; i < 50000; i++) {
		on.now = off.now += test_below(&random, 2 * MS);
		for (n = 1 + (i & 1); n != 0; n--) {
			send(&off, L4S_ECN_ECT0 >> (i & 1), 7);
			send(&on, L4S_ECN_ECT0 >> (i & 1), 7);
		}
		for (n = test_below(&random, 4); n != 0; n--) {
			CHECK_EQ(l4s_user_dequeue(off.u, off.now, &a),
			    l4s_user_dequeue(on.u, on.now, &b));
			CHECK_EQ(a.cookie, b.cookie);
			CHECK_EQ(a.action, b.action);
			marks += a.action == L4S_ACTION_MARK;
		}
		while (l4s_user_drops(off.u, &a, 1) != 0) {
			CHECK_EQ(l4s_user_drops(on.u, &b, 1), 1);
			CHECK_EQ(a.cookie, b.cookie);
		}
		CHECK_EQ(l4s_user_drops(on.u, &b, 1), 0);
	}
	CHECK(marks > 1000);
	router_destroy(&off);
	router_destroy(&on);
}

const struct test flow_weights_tests[] = {
	TEST(siphash_vectors),
	TEST(buckets_are_keyed),
	TEST(weights_by_hand),
	TEST(rates_decay),
	TEST(new_flows_are_average),
	TEST(port_hops_give_no_advantage),
	TEST(weights_are_clamped),
	TEST(updates_are_bounded),
	TEST(many_flows_are_updated_less_often),
	TEST(probabilities_are_weighted),
	TEST(overload_is_not_weighted_down),
	TEST(records_carry_weights),
	TEST(one_flow_is_plain),
	TEST_END
};
