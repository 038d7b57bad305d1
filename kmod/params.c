/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

#include "params.h"

/*
 * RFC 9332 derives its gains from a target RTT: with RTT_max = 100 ms and
 * Tupdate = 16 ms, alpha = 0.1 * Tupdate / RTT_max^2 = 0.16 Hz and
 * beta = 0.3 / RTT_max = 3 Hz (appendix A.1); Linux's sch_dualpi2 rounds beta
 * to 3.2 Hz and steps at 1 ms, and users compare with it.
 */
void
l4s_params_default(struct l4s_params *p)
{
	*p = (struct l4s_params){
		.version = L4S_ABI_VERSION,
		.length = sizeof(*p),
		.target_ns = 15 * L4S_NS_PER_MS,
		.tupdate_ns = 16 * L4S_NS_PER_MS,
		.l4s_threshold_ns = 1 * L4S_NS_PER_MS,
		.l4s_range_ns = 400 * L4S_NS_PER_US,
		.alpha_uhz = 160000,
		.beta_uhz = 3200000,
		.coupling_q8 = 512,
		.l4s_min_packets = 1,
		.limit_packets = 10000,
		.classic_weight = 10,
		.dither = L4S_DITHER_RECUR,
		.laqm = L4S_LAQM_STEP,
		.ecn = 1,
		.l4s_ecn = L4S_ECN_MASK_L4S,
	};
}

void
l4s_params_tuned(struct l4s_params *p)
{
	l4s_params_default(p);
	p->target_ns = 10 * L4S_NS_PER_MS;
	p->alpha_uhz *= 4;
	p->beta_uhz *= 4;
}

void
l4s_params_paper(struct l4s_params *p)
{
	l4s_params_default(p);
	p->tupdate_ns = 15 * L4S_NS_PER_MS;
	p->max_burst_ns = 150 * L4S_NS_PER_MS;
	p->alpha_uhz = 125000;
	p->beta_uhz = 1250000;
	p->max_ecnth = L4S_PROB_ONE / 10;
}

/*
 * RFC 9332, figure 2, lines 12 to 14, with the typical round-trip time as the
 * target, and six times that as the maximum, as in tc-dualpi2(8).  In
 * microseconds, so that 64 bits suffice: alpha in 1e-6 Hz is 1e11 tupdate /
 * max^2, below 1e17 before the division.
 */
int
l4s_params_rtt(struct l4s_params *p, uint64_t typical_ns, uint64_t max_ns)
{
	uint64_t typical, max, tupdate;

	if (typical_ns > L4S_NS_PER_S || max_ns > 10 * L4S_NS_PER_S)
		return (L4S_EINVAL);
	typical = typical_ns / L4S_NS_PER_US;
	max = max_ns / L4S_NS_PER_US;
	if (typical == 0)
		typical = max / 6;
	if (max == 0)
		max = typical * 6;
	tupdate = typical < max / 3 ? typical : max / 3;
	if (typical < 100 || typical > 1000000 || typical > max ||
	    max > 10000000 || tupdate < 100)
		return (L4S_EINVAL);
	p->target_ns = typical * L4S_NS_PER_US;
	p->tupdate_ns = tupdate * L4S_NS_PER_US;
	p->alpha_uhz = (uint32_t)((100000000000ULL * tupdate +
	    max * max / 2) / (max * max));
	if (p->alpha_uhz == 0)		/* without it no target can be kept */
		p->alpha_uhz = 1;
	p->beta_uhz = (uint32_t)((300000000000ULL + max / 2) / max);
	return (0);
}

int
l4s_params_check(const struct l4s_params *p)
{
	static const uint8_t zero[sizeof(p->pad)];

	if (p->version != L4S_ABI_VERSION || p->length != sizeof(*p))
		return (L4S_EPROTO);
	if (p->pad0 != 0 ||
	    p->target_ns < L4S_NS_PER_US || p->target_ns > 5 * L4S_NS_PER_S ||
	    p->tupdate_ns < 100 * L4S_NS_PER_US ||
	    p->tupdate_ns > L4S_NS_PER_S ||
	    p->l4s_threshold_ns > L4S_NS_PER_S ||
	    p->l4s_range_ns < 1 || p->l4s_range_ns > L4S_NS_PER_S ||
	    p->max_burst_ns > 10 * L4S_NS_PER_S ||
	    p->coupling_q8 < 256 || p->coupling_q8 > 65535 ||
	    p->limit_packets < 1 || p->limit_packets > 1048576 ||
	    (p->limit_bytes != 0 && p->limit_bytes < L4S_MTU) ||
	    p->max_ecnth > L4S_PROB_ONE ||
	    p->classic_weight > 100 ||
	    p->dither > L4S_DITHER_RANDOM ||
	    p->laqm > L4S_LAQM_RAMP ||
	    p->ecn > 1 ||
	    (p->l4s_ecn != L4S_ECN_MASK_L4S &&
	    p->l4s_ecn != L4S_ECN_MASK_ANY) ||
	    p->overflow > 1 || p->flow_weights > 1 ||
	    memcmp(p->pad, zero, sizeof(zero)) != 0)
		return (L4S_EINVAL);
	return (0);
}

void
l4s_limits_default(struct l4s_limits *l)
{
	*l = (struct l4s_limits){
		.version = L4S_ABI_VERSION,
		.length = sizeof(*l),
		.ceiling_ns = 250 * L4S_NS_PER_MS,
		.max_ttl_ns = 30 * L4S_NS_PER_S,
		.watchdog_ns = 0,
		.max_hold = 1000,
		.drop_share = L4S_FACTOR_ONE / 16,
		.mark_share = L4S_FACTOR_ONE / 16384,
		.factor_min = (L4S_FACTOR_ONE + 5) / 10,
		.factor_max = L4S_FACTOR_ONE * 4,
		.gain_min = (L4S_FACTOR_ONE + 10) / 20,
		.gain_max = L4S_FACTOR_ONE * 20,
	};
}

/* A range of factors: it contains 1, and ends below L4S_FACTOR_CAP. */
static bool
params_range_ok(uint32_t least, uint32_t greatest)
{
	return (least >= 1 && least <= L4S_FACTOR_ONE &&
	    greatest >= L4S_FACTOR_ONE && greatest <= L4S_FACTOR_CAP);
}

int
l4s_limits_check(const struct l4s_limits *l)
{
	if (l->version != L4S_ABI_VERSION || l->length != sizeof(*l))
		return (L4S_EPROTO);
	if (l->pad0 != 0 || l->pad != 0 || l->max_hold < 1 ||
	    l->drop_share > L4S_FACTOR_ONE ||
	    l->mark_share > L4S_FACTOR_ONE ||
	    !params_range_ok(l->factor_min, l->factor_max) ||
	    !params_range_ok(l->gain_min, l->gain_max))
		return (L4S_EINVAL);
	return (0);
}
