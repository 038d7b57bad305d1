/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Parameters and limits: ranges, set-points from round-trip times, steering. */

#include "queue.h"

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

static void
steer_shifts_setpoints(void)
{
	struct l4s_override o = {
		.target = 32768, .threshold = 131072, .coupling = 98304,
		.alpha = 262144, .beta = 131072, .tupdate = 16384,
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
	CHECK_EQ(d.set.beta_uhz, 6400000);
	CHECK_EQ(d.set.tupdate_ns, 4 * MS);
	CHECK_NEAR(q31(d.p_coupled), 0.75, 1e-9);
	dualpi2_steer(&d, &o, L4S_STEER_TARGET);
	CHECK_EQ(d.set.coupling_q8, 512);
	dualpi2_steer(&d, NULL, 0);
	CHECK_EQ(d.set.target_ns, 15 * MS);
	CHECK_EQ(d.p, p);

	/* A lower coupling does not delay overload. */
	set_p(&d, 0.5);
	o.coupling = 32768;
	dualpi2_steer(&d, &o, L4S_STEER_COUPLING);
	CHECK_EQ(d.set.coupling_q8, 256);
	CHECK(d.overload);
	/* The parameters' ranges apply to shifted values too. */
	o.target = L4S_FACTOR_CAP;
	o.alpha = o.beta = o.tupdate = L4S_FACTOR_CAP;
	dualpi2_steer(&d, &o, L4S_STEER_ALL);
	CHECK_EQ(d.set.target_ns, 15 * MS * 256);
	CHECK_EQ(d.set.alpha_uhz, 160000U * 256);
	CHECK_EQ(d.set.beta_uhz, 3200000U * 256);
	CHECK_EQ(d.set.tupdate_ns, SEC);
	o.tupdate = 1;
	dualpi2_steer(&d, &o, L4S_STEER_TUPDATE);
	CHECK_EQ(d.set.tupdate_ns, 100 * US);
}

/*
 * A new period counts from the next update: none is skipped or repeated.
 * A single check afterwards gives the same result as continuous checks.
 */
static void
period_is_steered(void)
{
	struct l4s_override o = {
		.tupdate = L4S_FACTOR_ONE / 4,
	};
	struct dualpi2 often, once;
	uint64_t now = SEC, due;
	unsigned updates = 0;

	start(&often, NULL);
	dualpi2_advance(&often, now);
	CHECK_EQ(often.next_update, now + 16 * MS);
	set_p(&often, 0.5);
	once = often;
	dualpi2_steer(&often, &o, L4S_STEER_TUPDATE);
	dualpi2_steer(&once, &o, L4S_STEER_TUPDATE);
	CHECK_EQ(often.next_update, now + 16 * MS);
	for (due = often.next_update; now < SEC + 100 * MS; now += MS) {
		dualpi2_advance(&often, now);
		if (often.next_update == due)
			continue;
		CHECK_EQ(often.next_update, due + 4 * MS);
		due = often.next_update;
		updates++;
	}
	CHECK_EQ(updates, 1 + (99 - 16) / 4);
	dualpi2_advance(&once, now - MS);
	CHECK_EQ(once.next_update, often.next_update);
	CHECK(once.p < (int64_t)ldexp(0.5, DUALPI2_P_SHIFT));
	CHECK_NEAR(ldexp((double)once.p, -DUALPI2_P_SHIFT),
	    ldexp((double)often.p, -DUALPI2_P_SHIFT), 1e-9);
	/* Back to the longer period, again counted from the next update. */
	dualpi2_steer(&often, NULL, 0);
	CHECK_EQ(often.next_update, due);
	dualpi2_advance(&often, due);
	CHECK_EQ(often.next_update, due + 16 * MS);
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
	OK(flow_weights, 1);
	BAD(flow_weights, 2, L4S_EINVAL);
	BAD(pad[4], 1, L4S_EINVAL);
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
	BAD(mark_share, L4S_FACTOR_ONE + 1, L4S_EINVAL);
	BAD(pad, 1, L4S_EINVAL);
	BAD(factor_min, 0, L4S_EINVAL);
	BAD(factor_min, L4S_FACTOR_ONE + 1, L4S_EINVAL);
	BAD(factor_max, L4S_FACTOR_ONE - 1, L4S_EINVAL);
	BAD(factor_max, L4S_FACTOR_CAP + 1, L4S_EINVAL);
	BAD(gain_min, 0, L4S_EINVAL);
	BAD(gain_min, L4S_FACTOR_ONE + 1, L4S_EINVAL);
	BAD(gain_max, L4S_FACTOR_ONE - 1, L4S_EINVAL);
	BAD(gain_max, L4S_FACTOR_CAP + 1, L4S_EINVAL);
#undef BAD
}

const struct test params_tests[] = {
	TEST(rtt_helper),
	TEST(steer_shifts_setpoints),
	TEST(period_is_steered),
	TEST(parameter_ranges),
	TEST_END
};
