/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * DualPI2's controller: set-points, p' and derived values (RFC 9332, appendix
 * A.1), with RFC 8033's burst allowance.  See dualpi2.h.
 */

#include "dualpi2.h"

/*
 * Products of extreme gains (below 2^39) and times exceed 64 bits: products and
 * sums are 128 bits wide, and are clamped before further use to values that
 * still move p' over its whole range.
 */
typedef __int128 int128;
#define	CUT		((int64_t)1 << 60)

static int64_t	dualpi2_cut(int128);
static void	dualpi2_add(struct dualpi2 *, int128);
static void	dualpi2_missed(struct dualpi2 *, uint64_t, uint64_t, bool);
static void	dualpi2_derive(struct dualpi2 *);

/*
 * value <= 2^33 (5 s in ns) and factor <= L4S_FACTOR_CAP = 2^24, so the product
 * is below 2^57.  The result stays in the parameter's range.
 */
static uint64_t
dualpi2_shift(uint64_t value, bool set, uint32_t factor, uint64_t min,
    uint64_t max)
{
	if (!set)
		return (value);
	value = value * factor / L4S_FACTOR_ONE;
	return (value < min ? min : value > max ? max : value);
}

void
dualpi2_steer(struct dualpi2 *d, const struct l4s_override *o, uint8_t set)
{
	const struct l4s_params *p = &d->params;
	struct dualpi2_setpoints *s = &d->set;

	L4S_ASSERT(set == 0 || o != NULL);
	s->target_ns = dualpi2_shift(p->target_ns, set & L4S_STEER_TARGET,
	    set != 0 ? o->target : 0, L4S_NS_PER_US, 5 * L4S_NS_PER_S);
	s->threshold_ns = dualpi2_shift(p->l4s_threshold_ns,
	    set & L4S_STEER_THRESHOLD, set != 0 ? o->threshold : 0, 0,
	    L4S_NS_PER_S);
	s->coupling_q8 = dualpi2_shift(p->coupling_q8,
	    set & L4S_STEER_COUPLING, set != 0 ? o->coupling : 0, 256, 65535);
	s->alpha_uhz = dualpi2_shift(p->alpha_uhz, set & L4S_STEER_ALPHA,
	    set != 0 ? o->alpha : 0, 0, UINT32_MAX);
	s->beta_uhz = dualpi2_shift(p->beta_uhz, set & L4S_STEER_BETA,
	    set != 0 ? o->beta : 0, 0, UINT32_MAX);
	s->tupdate_ns = dualpi2_shift(p->tupdate_ns, set & L4S_STEER_TUPDATE,
	    set != 0 ? o->tupdate : 0, 100 * L4S_NS_PER_US, L4S_NS_PER_S);

	/*
	 * 1e-6 Hz * 1 ns in Q56: 2^56 / 1e15 = 72.057594.  The product is at
	 * most 2^32 * 72057594 < 2^59; the gain at most 2^39.
	 */
	d->alpha = (int64_t)((uint64_t)s->alpha_uhz * 72057594 / 1000000);
	d->beta = (int64_t)((uint64_t)s->beta_uhz * 72057594 / 1000000);
	/*
	 * Overflow: p' stops where the L4S queue is always marked, according to
	 * the greater coupling, and classic drops stay below 1 / k^2.
	 */
	d->p_max = DUALPI2_P_ONE;
	if (p->overflow != 0)
		d->p_max = DUALPI2_P_ONE / (int64_t)(s->coupling_q8 >
		    p->coupling_q8 ? s->coupling_q8 : p->coupling_q8) * 256;
	if (d->p > d->p_max)
		d->p = d->p_max;
	dualpi2_derive(d);
}

/*
 * Recomputes the values derived from p'.  Overload is determined with the
 * greater of the steered and the configured coupling: steering can make it
 * begin earlier, never later (limits of the override).
 */
static void
dualpi2_derive(struct dualpi2 *d)
{
	uint64_t p = (uint64_t)d->p >> (DUALPI2_P_SHIFT - 31);
	uint64_t k = d->set.coupling_q8, coupled, guard;
	unsigned i;

	L4S_STORE(&d->p_base, p < L4S_PROB_ONE ? (uint32_t)p : L4S_PROB_ONE);
	L4S_STORE(&d->p_classic, (uint32_t)((p * p) >> 31));
	coupled = (p * k) >> 8;			/* < 2^31 * 2^16 */
	L4S_STORE(&d->p_coupled,
	    coupled < DUALPI2_ONE ? (uint32_t)coupled : DUALPI2_ONE);
	if (k < d->params.coupling_q8)
		k = d->params.coupling_q8;
	guard = (p * k) >> 8;
	/*
	 * Weights below one are not used where p' can no longer rise to
	 * compensate them: as k p' rises from 0.5 to 1, so does the minimum
	 * weight.
	 */
	d->weight_min = FLOW_WEIGHT_MIN;
	if (guard > DUALPI2_ONE / 2)
		d->weight_min = guard >= DUALPI2_ONE ? FLOW_WEIGHT_ONE :
		    (uint32_t)((guard >> (31 - FLOW_WEIGHT_SHIFT)) + 1);
	d->overload = guard >= DUALPI2_ONE && d->params.overflow == 0;
	/*
	 * During the burst allowance the controller is ignored (RFC 8033, 4.4).
	 */
	d->heard_classic = d->burst_ns != 0 && !d->overload ? 0 : d->p_classic;
	d->heard_coupled = d->burst_ns != 0 ? 0 : d->p_coupled;
	d->plain_ecn = d->overload ? 0 : d->params.l4s_ecn;
	d->status = (d->overload ? L4S_STATUS_OVERLOAD : 0) |
	    (d->burst_ns != 0 ? L4S_STATUS_BURST : 0);
	for (i = 0; i < nitems(d->queue); i++)
		d->queue[i].status = d->status |
		    (d->queue[i].status & L4S_STATUS_MEASURING);
	d->previous_us = dualpi2_us(d->previous_ns);
	d->burst_us = dualpi2_us(d->burst_ns);
}

/*
 * Makes up the updates that were due since the last call, as a timer would have
 * run them.  Between two calls no packet arrived or left, so the head of the
 * older queue has aged linearly (or both are empty, and the delay is 0), and
 * update i of m is
 *
 *	delta_i = alpha (delay_0 + i T - target) + beta T
 *
 * which never decreases with i.  So p' first falls (perhaps to 0), then rises
 * (perhaps to 1): each part is a sum in closed form with one clamp at its end,
 * and one missed update costs as much as a million.  Only the first update
 * differs, because of its previous delay.
 */
void
dualpi2_update(struct dualpi2 *d, uint64_t now)
{
	uint64_t head, late, at, delay, period = d->set.tupdate_ns;
	bool empty;

	if (d->next_update == 0) {		/* the first packet */
		d->next_update = now + period;
		return;
	}
	at = d->next_update;
	late = (now - at) / period;		/* updates after the first */
	d->next_update = at + (late + 1) * period;

	empty = dualpi2_backlog(d) == 0;
	head = UINT64_MAX;
	if (d->queue[0].backlog != 0)
		head = d->queue[0].head_ns;
	if (d->queue[1].backlog != 0 && d->queue[1].head_ns < head)
		head = d->queue[1].head_ns;
	/* The enqueue of the head ran the updates until then. */
	L4S_ASSERT(empty || head <= at);
	delay = empty ? 0 : at - head;

	dualpi2_add(d, (int128)d->alpha *
	    ((int64_t)delay - (int64_t)d->set.target_ns) +
	    (int128)d->beta * ((int64_t)delay - (int64_t)d->previous_ns));
	if (late != 0) {
		dualpi2_missed(d, late, delay, empty);
		if (!empty)
			delay += late * period;
	}

	/*
	 * RFC 8033, section 4.4.  With several updates at once, the allowance
	 * may be renewed only at the last of them; by then it would be full
	 * anyway.
	 */
	if (d->params.max_burst_ns != 0) {
		uint64_t spent = (late + 1) * period;
		uint64_t half = d->set.target_ns / 2;

		d->burst_ns = d->burst_ns > spent ? d->burst_ns - spent : 0;
		if (d->p == 0 && delay < half && d->previous_ns < half)
			d->burst_ns = d->params.max_burst_ns;
	}
	d->previous_ns = delay;
	dualpi2_derive(d);
}

/*
 * The updates after the first: `late' of them, the first one period after
 * `delay' was measured.
 */
static void
dualpi2_missed(struct dualpi2 *d, uint64_t late, uint64_t delay, bool empty)
{
	int128 wide_first, wide_step = 0;
	int64_t first, step, m, falling;
	uint64_t period = d->set.tupdate_ns;
	unsigned shift = 0;

	/* 2^40 updates of 100 us are three years. */
	m = late < ((uint64_t)1 << 40) ? (int64_t)late : (int64_t)1 << 40;
	wide_first = (int128)d->alpha *
	    ((int64_t)delay - (int64_t)d->set.target_ns);
	if (!empty) {
		wide_step = (int128)d->alpha * (int64_t)period;
		wide_first += wide_step + (int128)d->beta * (int64_t)period;
	}
	/*
	 * wide_step < 2^39 * 2^30, and wide_first > -2^39 * 2^33: twelve bits
	 * less make both fit, and their ratio, which determines when p' turns,
	 * stays right.  A greater wide_first is past any turn.
	 */
	if (wide_step > CUT || wide_first < -(int128)CUT)
		shift = 12;
	first = dualpi2_cut(wide_first >> shift);
	step = (int64_t)(wide_step >> shift);

	/* Number of the m updates that decrease: first + i * step <= 0. */
	if (first > 0)
		falling = 0;
	else if (step == 0 || -first / step + 1 > m)
		falling = m;
	else
		falling = -first / step + 1;
	/* Each sum: the number of terms times the mean of first and last. */
	dualpi2_add(d, ((int128)falling *
	    ((int128)first * 2 + (int128)(falling - 1) * step) / 2) *
	    ((int128)1 << shift));
	if (falling < m) {
		first = dualpi2_cut(first + (int128)falling * step);
		m -= falling;
		dualpi2_add(d, (int128)m *
		    dualpi2_cut(first + (int128)(m - 1) * step / 2) *
		    ((int128)1 << shift));
	}
}

static int64_t
dualpi2_cut(int128 x)
{
	return (x > CUT ? CUT : x < -(int128)CUT ? -CUT : (int64_t)x);
}

/* Moves p' within the range of a probability. */
static void
dualpi2_add(struct dualpi2 *d, int128 delta)
{
	int64_t p = d->p + dualpi2_cut(delta);

	d->p = p < 0 ? 0 : p > d->p_max ? d->p_max : p;
}
