/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The student: for every file that is accepted and any state, sums of products do
 * not overflow, tables are not read out of bounds, and factors are within the
 * limits.  Sums are proved by induction over their products.
 */

#include "proofs.h"
#include "../../kmod/fixed.c"
#include "../../kmod/params.c"
#include "../../kmod/student.c"

int8_t		nondet_i8(void);
int32_t		nondet_i32(void);

/* After n products a sum is at most n 127 2^12 in size. */
void
products(void)
{
	uint32_t n = nondet_u32();
	int32_t sum = nondet_i32(), x = nondet_i32();
	int8_t weight = nondet_i8();
	int32_t most = 127 * 4096;

	__CPROVER_assume(n < L4S_STUDENT_INPUTS);
	__CPROVER_assume(sum >= -(int32_t)n * most && sum <= (int32_t)n * most);
	__CPROVER_assume(x >= -4096 && x <= 4096 && weight != INT8_MIN);
	sum = student_product(sum, weight, x);
	assert(sum >= -((int32_t)n + 1) * most && sum <= ((int32_t)n + 1) * most);
	assert(sum > -(1 << 26) && sum < 1 << 26);
}

/* A unit's result, for any accepted scale and bias. */
void
unit(void)
{
	struct l4s_student_unit u;
	int32_t sum = nondet_i32(), y;

	u.scale = nondet_i32();
	u.bias = nondet_i32();
	__CPROVER_assume(student_unit_ok(&u));
	__CPROVER_assume(sum > -(1 << 26) && sum < 1 << 26);
	y = student_unit(&u, sum);
	assert(y > -(1 << 30) && y < 1 << 30);
}

/* An input, for any signal and any accepted mean and gain. */
void
input(void)
{
	struct l4s_student_input in;
	int32_t x;

	in.signal = nondet_u8();
	in.scale = nondet_u8();
	in.pad = 0;
	in.mean = nondet_i32();
	in.gain = nondet_i32();
	__CPROVER_assume(student_input_ok(&in));
	x = student_input(&in, nondet_i32());
	assert(x >= -L4S_STUDENT_CLIP && x <= L4S_STUDENT_CLIP);
}

void
tanh_table(void)
{
	int32_t y = l4s_fixed_tanh(nondet_i32());

	assert(y >= -4096 && y <= 4096);
}

void
log2_table(void)
{
	uint64_t x = nondet_u64();
	int32_t log;

	__CPROVER_assume(x != 0);
	log = l4s_fixed_log2(x);
	assert(log >= 0 && log < 64 << 16);
}

/* Any logarithm gives a factor within the limits, and none of a base of 0. */
void
factor(void)
{
	struct l4s_limits limits = checked_limits();
	uint64_t base = nondet_u64();
	int32_t log = nondet_i32();
	uint32_t f;

	__CPROVER_assume(log >= 0 && log <= L4S_STUDENT_OUT_MAX);
	f = student_factor(log, base, limits.factor_min, limits.factor_max);
	assert(base == 0 ? f == 0 :
	    f >= limits.factor_min && f <= limits.factor_max);
	f = student_factor(log, base, limits.gain_min, limits.gain_max);
	assert(base == 0 ? f == 0 :
	    f >= limits.gain_min && f <= limits.gain_max);
}

/* An accepted output is a logarithm that student_factor() allows. */
void
output(void)
{
	struct l4s_student h;
	unsigned i = nondet_u32();
	int32_t y;

	__CPROVER_assume(i < L4S_STUDENT_OUTPUTS && student_outputs_ok(&h));
	y = student_output(&h, i, nondet_i32());
	assert(y >= 0 && y <= L4S_STUDENT_OUT_MAX);
	assert(y >= h.min[i] && y <= h.max[i]);
}

/* The length of any accepted header is that of its parts, and bounded. */
void
length(void)
{
	struct l4s_student h;

	__CPROVER_assume(student_header_ok(&h));
	assert(student_units(&h) <= L4S_STUDENT_UNITS);
	assert(student_length(&h) <= L4S_STUDENT_BYTES);
	assert(L4S_STUDENT_BYTES <= 16384);
}
