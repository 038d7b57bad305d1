/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Flow weights: rates, the mean and weights stay within their bounds, no
 * product overflows, and a weighted probability is at most one.
 */

#include "proofs.h"
#include "../../kmod/pi2.c"
#include "../../kmod/dualpi2.c"
#include "../../kmod/flow_weights.c"

/*
 * After any update, a rate is at most the maximum, and at least the bytes up to
 * there.
 */
void
rates(void)
{
	uint32_t rate = nondet_u32(), bytes = nondet_u32();
	uint32_t decay = nondet_u32(), after;

	__CPROVER_assume(rate <= FLOW_RATE_MAX && decay <= FLOW_DECAY);
	after = flow_rate(rate, decay, bytes);
	assert(after <= FLOW_RATE_MAX);
	assert(after >= bytes || after == FLOW_RATE_MAX);
	assert(flow_rate(rate, 0, bytes) <= bytes);
}

/*
 * For any sums that rates can have, sum(r^2) <= FLOW_RATE_MAX sum(r), the mean
 * fits in 32 bits, and there is no division by 0.
 */
void
mean(void)
{
	uint64_t sum = nondet_u64();
	unsigned __int128 squares = (unsigned __int128)sum * FLOW_RATE_MAX -
	    nondet_u64();
	unsigned halved = 0;

	__CPROVER_assume(sum <= (uint64_t)FLOW_BUCKETS * FLOW_RATE_MAX);
	__CPROVER_assume(squares <= (unsigned __int128)sum * FLOW_RATE_MAX);
	for (; squares >> 64 != 0; halved++) {
		squares >>= 1;
		sum >>= 1;
	}
	assert(halved <= 10);
	assert(halved == 0 || sum >= (uint64_t)1 << 22);
	/* The quotient is below 2^32. */
	assert(sum == 0 || squares < (unsigned __int128)sum << 32);
}

/* Any rate, and means of three bits times a power of two. */
void
weight(void)
{
	uint32_t mean = (uint32_t)(nondet_u8() & 7) << (nondet_u8() % 29);
	uint64_t rate = (uint64_t)nondet_u32() + nondet_u32();
	uint16_t f;

	__CPROVER_assume(mean != 0);
	f = flow_weight(rate, mean,
	    ((uint64_t)1 << (FLOW_WEIGHT_SHIFT + 32)) / mean);
	assert(f >= FLOW_WEIGHT_MIN && f <= FLOW_WEIGHT_MAX);
}

/*
 * Any probability and any weight give a probability, which is not reduced by
 * weights of one or more; overload relies on this.
 */
void
weighted(void)
{
	uint32_t p = nondet_u32(), f = nondet_u32(), once, twice;

	__CPROVER_assume(p <= DUALPI2_ONE);
	__CPROVER_assume(f >= FLOW_WEIGHT_MIN && f <= FLOW_WEIGHT_MAX);
	once = dualpi2_weighted(p, f, FLOW_WEIGHT_SHIFT);
	twice = dualpi2_weighted(p, f * f, 2 * FLOW_WEIGHT_SHIFT);
	assert(once <= DUALPI2_ONE && twice <= DUALPI2_ONE);
	if (f >= FLOW_WEIGHT_ONE)
		assert(once >= p && twice >= p);
	if (f == FLOW_WEIGHT_ONE)
		assert(once == p && twice == p);
}
