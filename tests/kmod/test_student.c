/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The student's arithmetic and its network. */

#include "override.h"
#include "params.h"
#include "student_file.h"

static double
q16(int64_t x)
{
	return ((double)x / 65536);
}

static void
check_log2(uint64_t x)
{
	CHECK_NEAR(q16(l4s_fixed_log2(x)), log2((double)x), 7e-5);
}

/* Around the edge of each entry of the table, for each power of two. */
static void
logarithms_match_libm(void)
{
	uint64_t edge, x, random = 1;
	int32_t before = 0;
	unsigned i, log;

	for (log = 0; log < 64; log++) {
		CHECK_EQ(l4s_fixed_log2(1ULL << log), (int64_t)log << 16);
		for (i = 0; i < 64; i++) {
			edge = (1ULL << log) + (log >= 6 ?
			    (uint64_t)i << (log - 6) : i >> (6 - log));
			for (x = edge - (edge > 1); x <= edge + 1 && x != 0;
			    x++)
				check_log2(x);
		}
	}
	check_log2(UINT64_MAX);
	for (i = 0; i < 100000; i++) {
		x = test_random(&random) >> test_below(&random, 64);
		check_log2(x | 1);
	}
	for (x = 1; x < 1 << 17; x++) {
		CHECK(l4s_fixed_log2(x) >= before);
		before = l4s_fixed_log2(x);
	}
	for (log = 17; log < 64; log++)
		for (i = 0; i < 1 << 12; i++) {
			x = (1ULL << log) + ((uint64_t)i << (log - 12));
			CHECK(l4s_fixed_log2(x) >= before);
			before = l4s_fixed_log2(x);
		}
}

/* Each argument within the range. */
static void
powers_match_libm(void)
{
	uint32_t before = 0, value;
	double exact;
	int32_t x;

	for (x = -FIXED_EXP2_MAX; x <= FIXED_EXP2_MAX; x++) {
		value = l4s_fixed_exp2(x);
		exact = exp2(q16(x)) * 65536;
		/* The error is truncated, too. */
		if (!(fabs(value - exact) <= 2e-5 * exact + 1))
			test_failed(__FILE__, __LINE__, "2^%.9g is %.9g, "
			    "not %.9g", q16(x), value / 65536.0,
			    exact / 65536);
		CHECK(value >= before);
		before = value;
	}
	for (x = -14; x <= 14; x++)
		CHECK_EQ(l4s_fixed_exp2(x * 65536),
		    x < 0 ? 65536 >> -x : 65536LL << x);
	CHECK_EQ(l4s_fixed_exp2(INT32_MAX), 1 << 30);
	CHECK_EQ(l4s_fixed_exp2(FIXED_EXP2_MAX + 1), 1 << 30);
	CHECK_EQ(l4s_fixed_exp2(-FIXED_EXP2_MAX - 1), 4);
	CHECK_EQ(l4s_fixed_exp2(INT32_MIN), 4);
}

/* Each argument up to where the table ends, and beyond. */
static void
tanh_matches_libm(void)
{
	int16_t before = 0;
	int32_t x;

	CHECK_EQ(l4s_fixed_tanh(0), 0);
	for (x = 0; x <= 5 << 12; x++) {
		CHECK_NEAR(l4s_fixed_tanh(x) / 4096.0, tanh(x / 4096.0), 7e-4);
		CHECK_EQ(l4s_fixed_tanh(-x), -l4s_fixed_tanh(x));
		CHECK(l4s_fixed_tanh(x) >= before);
		before = l4s_fixed_tanh(x);
	}
	CHECK_EQ(l4s_fixed_tanh(FIXED_TANH_END), 4093);
	CHECK_EQ(l4s_fixed_tanh(INT32_MAX), 4093);
	CHECK_EQ(l4s_fixed_tanh(INT32_MIN), -4093);
	CHECK_EQ(l4s_fixed_tanh(-INT32_MAX), -4093);
}

/* One unit a layer, by hand; the second input is clipped. */
static struct student_file
by_hand(void)
{
	struct student_file f = student_constant(250 * MS, 30 * MS, 640000,
	    1600000, 512);
	static const int8_t weights[] = { 64, -1, 100, 10, 0, -20, 0 };

	f.h.inputs = 2;
	f.inputs[0] = (struct l4s_student_input){ L4S_SIGNAL_RATE, 0, 0,
	    18 << 16, 1024 };
	f.inputs[1] = (struct l4s_student_input){ L4S_SIGNAL_DELAY, 2, 0,
	    -(1 << 16), L4S_STUDENT_GAIN_MAX };
	memcpy(f.weights, weights, sizeof(weights));
	/* x = 2048, 4095: the sum is 126977, scaled 3968. */
	f.units[0] = (struct l4s_student_unit){ 1 << 19, 4096 - 3968 };
	/* h = 3119: the sum is 311900, scaled 19493. */
	f.units[1] = (struct l4s_student_unit){ 1 << 20, 4096 - 19493 };
	f.units[2].scale = 1 << 24;
	f.units[2].bias -= 31190;
	/* -62380 / 8, rounded down: -7798. */
	f.units[4].scale = 1 << 21;
	f.units[4].bias += 7798;
	return (f);
}

static void
load_file(const struct student_file *f, struct l4s_student_net *net)
{
	uint8_t bytes[L4S_STUDENT_BYTES];

	CHECK_EQ(l4s_student_load(net, bytes, student_pack(f, bytes)), 0);
}

static struct l4s_override
decide(const struct student_file *f, const struct l4s_student_state *s,
    const struct l4s_params *params)
{
	static struct l4s_student_net net;
	struct l4s_limits limits;
	struct l4s_override o;

	load_file(f, &net);
	l4s_limits_default(&limits);
	l4s_student_decide(&net, s, params, &limits, &o);
	o.expires_ns = SEC;
	o.id = 1;
	CHECK_EQ(l4s_override_check(&o, &limits, 0), 0);
	return (o);
}

static void
a_network_by_hand(void)
{
	static struct l4s_student_state s;
	struct student_file f = by_hand();
	struct l4s_params params;
	struct l4s_override o;

	s.latest[L4S_SIGNAL_RATE] = 20 << 16;
	s.means[L4S_SIGNAL_DELAY][1] = 1 << 20;
	l4s_params_default(&params);
	o = decide(&f, &s, &params);
	CHECK_EQ(o.target, 2 * L4S_FACTOR_ONE);
	CHECK_EQ(o.alpha, 4 * L4S_FACTOR_ONE);
	CHECK_EQ(o.beta, L4S_FACTOR_ONE / 2);
	CHECK_EQ(o.coupling, L4S_FACTOR_ONE);
	CHECK_EQ(o.tupdate, L4S_FACTOR_ONE);
	CHECK_EQ(o.threshold, 0);
	CHECK_EQ(o.steer_set, L4S_STEER_ALL & ~L4S_STEER_THRESHOLD);
	/* With the first unit's sign reversed: h = -3119 in the second. */
	f.units[1].bias = -4096 - 19493;
	f.units[2].bias += 2 * 31190;
	/* 62380 / 8 is rounded down as well: 7797. */
	f.units[4].bias -= 7798 + 7797;
	o = decide(&f, &s, &params);
	CHECK_EQ(o.target, 2 * L4S_FACTOR_ONE);
	CHECK_EQ(o.beta, L4S_FACTOR_ONE / 2);
	/* The input is clipped at the other end. */
	s.means[L4S_SIGNAL_DELAY][1] = -(64LL << 24);
	f.units[0].bias = 4096 - (131072 + 4095) / 32;
	o = decide(&f, &s, &params);
	CHECK_EQ(o.target, 2 * L4S_FACTOR_ONE);
}

/* Factors are relative to the parameters' own values. */
static void
factors_depend_on_the_parameters(void)
{
	static const struct l4s_student_state s;
	struct student_file f = student_constant(250 * MS, 30 * MS, 640000,
	    1600000, 512);
	struct l4s_params params;
	struct l4s_override o;

	l4s_params_default(&params);
	params.target_ns = 60 * MS;
	params.alpha_uhz = 0;
	params.beta_uhz = 1;		/* beyond the limit */
	params.coupling_q8 = 256;
	params.tupdate_ns = 64 * MS;
	o = decide(&f, &s, &params);
	CHECK_EQ(o.target, L4S_FACTOR_ONE / 2);
	CHECK_EQ(o.alpha, 0);
	CHECK_EQ(o.beta, 20 * L4S_FACTOR_ONE);
	CHECK_EQ(o.coupling, 2 * L4S_FACTOR_ONE);
	CHECK_EQ(o.tupdate, L4S_FACTOR_ONE / 4);
	CHECK_EQ(o.steer_set, L4S_STEER_TARGET | L4S_STEER_COUPLING |
	    L4S_STEER_TUPDATE | L4S_STEER_BETA);
}

static void
outputs_stay_within_min_and_max(void)
{
	static const struct l4s_student_state s;
	struct student_file f = student_constant(250 * MS, 30 * MS, 160000,
	    3200000, 512);
	struct l4s_params params;

	l4s_params_default(&params);
	f.h.max[0] = l4s_fixed_log2(15 * MS);
	f.h.min[1] = l4s_fixed_log2(320000);
	CHECK_EQ(decide(&f, &s, &params).target, L4S_FACTOR_ONE);
	CHECK_EQ(decide(&f, &s, &params).alpha, 2 * L4S_FACTOR_ONE);
}

/* The controller's period depends on the target. */
static void
slow_targets_have_their_own_period(void)
{
	static const struct l4s_student_state s;
	struct student_file f = student_constant(250 * MS, 30 * MS, 160000,
	    3200000, 512);
	struct l4s_params params;

	l4s_params_default(&params);
	f.h.tupdate_ns = 4 * MS;
	f.h.slow_tupdate_ns = 32 * MS;
	f.h.slow_from = l4s_fixed_log2(30 * MS);
	CHECK_EQ(decide(&f, &s, &params).tupdate, 2 * L4S_FACTOR_ONE);
	f.h.slow_from++;
	CHECK_EQ(decide(&f, &s, &params).tupdate, L4S_FACTOR_ONE / 4);
	/* Within the limits of factors. */
	f.h.tupdate_ns = 100 * US;
	CHECK_EQ(decide(&f, &s, &params).tupdate, (L4S_FACTOR_ONE + 5) / 10);
	f.h.tupdate_ns = SEC;
	CHECK_EQ(decide(&f, &s, &params).tupdate, 4 * L4S_FACTOR_ONE);
}

/* Products of extremes do not overflow (UBSan), in every direction. */
static void
extreme_networks_stay_within_limits(void)
{
	static struct l4s_student_state s;
	struct student_file f;
	struct l4s_params params;
	uint64_t random = 5;
	unsigned i, n;

	l4s_params_default(&params);
	for (n = 0; n < 100; n++) {
		f = student_random(&random, L4S_STUDENT_HIDDEN);
		for (i = 0; i < student_file_weights(&f); i++)
			f.weights[i] = (n & 1) != 0 ? 127 : -127;
		for (i = 0; i < student_file_units(&f); i++)
			f.units[i].scale = L4S_STUDENT_SCALE_MAX;
		for (i = 0; i < L4S_SIGNALS; i++)
			s.latest[i] = (n & 2) != 0 ? 63 << 16 : -(64 << 16);
		params.target_ns = (n & 4) != 0 ? US : 5 * SEC;
		params.tupdate_ns = (n & 8) != 0 ? 100 * US : SEC;
		params.alpha_uhz = (n & 16) != 0 ? 1 : UINT32_MAX;
		(void)decide(&f, &s, &params);
	}
}

const struct test student_tests[] = {
	TEST(logarithms_match_libm),
	TEST(powers_match_libm),
	TEST(tanh_matches_libm),
	TEST(a_network_by_hand),
	TEST(factors_depend_on_the_parameters),
	TEST(outputs_stay_within_min_and_max),
	TEST(slow_targets_have_their_own_period),
	TEST(extreme_networks_stay_within_limits),
	TEST_END
};
