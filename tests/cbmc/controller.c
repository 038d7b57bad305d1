/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The controller in fixed point: with all parameters and factors that pass
 * their checks and all states within its invariants, nothing overflows and the
 * probabilities stay in range.
 */

#include "proofs.h"
#include "../../kmod/override.c"
#include "../../kmod/pi2.c"
#include "../../kmod/dualpi2.c"
#include "../../kmod/params.c"

/* A controller in any state between two packets. */
static void
any_state(struct dualpi2 *d)
{
	memset(d, 0, sizeof(*d));
	d->params = checked_params();
	d->p = (int64_t)nondet_u64();
	d->p_max = (int64_t)nondet_u64();
	__CPROVER_assume(d->p_max >= 0 && d->p_max <= DUALPI2_P_ONE);
	__CPROVER_assume(d->p >= 0 && d->p <= d->p_max);
	d->previous_ns = any_time();
	d->burst_ns = nondet_u64();
	__CPROVER_assume(d->burst_ns <= d->params.max_burst_ns);
}

/* Set-points with any accepted factors are within their ranges. */
void
steer(void)
{
	struct l4s_limits limits = checked_limits();
	struct l4s_override o = nondet_override();
	struct dualpi2 d;

	any_state(&d);
	__CPROVER_assume(o.mode == L4S_MODE_STEER &&
	    l4s_override_check(&o, &limits, any_time()) == 0);
	dualpi2_steer(&d, &o, o.steer_set);
	assert(d.set.target_ns >= L4S_NS_PER_US &&
	    d.set.target_ns <= 5 * L4S_NS_PER_S);
	assert(d.set.tupdate_ns >= 100 * L4S_NS_PER_US &&
	    d.set.tupdate_ns <= L4S_NS_PER_S);
	assert(d.set.threshold_ns <= L4S_NS_PER_S);
	assert(d.set.coupling_q8 >= 256 && d.set.coupling_q8 <= 65535);
	assert((o.steer_set & L4S_STEER_TUPDATE) != 0 ||
	    d.set.tupdate_ns == d.params.tupdate_ns);
	assert((o.steer_set & L4S_STEER_ALPHA) != 0 ||
	    d.set.alpha_uhz == d.params.alpha_uhz);
	assert((o.steer_set & L4S_STEER_BETA) != 0 ||
	    d.set.beta_uhz == d.params.beta_uhz);
	assert(d.alpha >= 0 && d.alpha < (int64_t)1 << 39);
	assert(d.beta >= 0 && d.beta < (int64_t)1 << 39);
	assert(d.p_max > 0 && d.p_max <= DUALPI2_P_ONE);
	assert(d.p >= 0 && d.p <= d.p_max);
}

/*
 * Values derived from p': probabilities, and overload no later than without
 * steering, unless packets are delayed instead.
 */
void
probabilities(void)
{
	struct dualpi2 d;

	any_state(&d);
	/* In steps for which the squares of a bit-blasted p' are feasible. */
	__CPROVER_assume((d.p & (((int64_t)1 << 49) - 1)) == 0);
	d.params.coupling_q8 = 256 * (1 + (nondet_u8() & 7));
	d.set.coupling_q8 = 256 * (1 + (nondet_u8() & 7));
	dualpi2_derive(&d);
	assert(d.p_base <= L4S_PROB_ONE);
	assert(d.p_classic <= DUALPI2_ONE);
	assert(d.p_coupled <= DUALPI2_ONE);
	assert(d.weight_min >= FLOW_WEIGHT_MIN &&
	    d.weight_min <= FLOW_WEIGHT_ONE);
	assert(!d.overload || d.weight_min == FLOW_WEIGHT_ONE);
	if (d.params.overflow != 0)
		assert(!d.overload);
	else if (d.p_coupled == DUALPI2_ONE)
		assert(d.overload);
}

/* One step: p' stays a probability, whatever is added. */
void
step(void)
{
	struct dualpi2 d;
	__int128 delta = (__int128)(int64_t)nondet_u64() *
	    ((__int128)1 << 40);

	any_state(&d);
	dualpi2_add(&d, delta);
	assert(d.p >= 0 && d.p <= d.p_max);
}

/* The L4S queue's own marking, at any delay. */
void
marking(void)
{
	struct dualpi2 d;
	uint32_t p;

	any_state(&d);
	d.set.threshold_ns = nondet_u64();
	__CPROVER_assume(d.set.threshold_ns <= L4S_NS_PER_S);
	/* Divisions are expensive to prove: ramps of powers of two. */
	d.params.l4s_range_ns = (uint64_t)1 << (nondet_u8() & 15);
	p = dualpi2_native(&d, any_time());
	assert(p <= DUALPI2_ONE);
}

/*
 * Signals: the accumulated value stays below the threshold between packets, the
 * threshold is within [1/2, 3/2), and p = 1 always signals.
 */
void
dither(void)
{
	struct dualpi2 d;
	struct dualpi2_queue q = { 0 };
	uint32_t p = nondet_u32();

	any_state(&d);
	d.params.dither = L4S_DITHER_RECUR;
	d.random = nondet_u64();
	q.accumulated = nondet_u64();
	q.threshold = nondet_u32();
	__CPROVER_assume(q.threshold >= DUALPI2_ONE / 2 &&
	    q.threshold <= DUALPI2_ONE + DUALPI2_ONE / 2);
	__CPROVER_assume(q.accumulated < q.threshold && p <= DUALPI2_ONE);
	dualpi2_set_silent(&d, &q);
	if (!dualpi2_dither(&d, &q, p))
		assert(p < DUALPI2_ONE);
	assert(q.accumulated < q.threshold);
	assert(q.threshold >= DUALPI2_ONE / 2 &&
	    q.threshold <= DUALPI2_ONE + DUALPI2_ONE / 2);
}
