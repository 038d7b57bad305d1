/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * net.inet.ip.dummynet.dualpi2 and net.inet.l4sllm.limits: see sysctl.c.
 */

#include "params.h"
#include "vnet.h"

#include <sys/socket.h>
#include <sys/sysctl.h>

#include <net/if.h>
#include <net/vnet.h>

SYSCTL_DECL(_net_inet_l4sllm_limits);
SYSCTL_DECL(_net_inet_ip_dummynet_dualpi2);

struct field {
	uint16_t	offset;
	uint8_t		size;		/* 1, 4 or 8 bytes */
	uint32_t	scale;		/* member's unit = value * scale */
};

#define	FIELD(type, member, factor)					\
	{ offsetof(struct type, member),				\
	    sizeof(((struct type *)0)->member), (factor) }

/* If a handler's first argument is NULL, the second is an index. */
#define	ROW_FLAGS	(CTLTYPE_U64 | CTLFLAG_VNET | CTLFLAG_MPSAFE)

static uint64_t
field_get(const void *base, const struct field *f)
{
	const uint8_t *p = (const uint8_t *)base + f->offset;
	uint32_t v32;
	uint64_t v64;

	switch (f->size) {
	case 1:
		return (*p / f->scale);
	case 4:
		memcpy(&v32, p, sizeof(v32));
		return (v32 / f->scale);
	default:
		memcpy(&v64, p, sizeof(v64));
		return (v64 / f->scale);
	}
}

static int
field_set(void *base, const struct field *f, uint64_t value)
{
	uint8_t *p = (uint8_t *)base + f->offset;
	uint64_t max = f->size == 8 ? UINT64_MAX : (1ULL << (8 * f->size)) - 1;
	uint32_t v32;

	if (value > max / f->scale)
		return (EINVAL);
	value *= f->scale;
	switch (f->size) {
	case 1:
		*p = (uint8_t)value;
		break;
	case 4:
		v32 = (uint32_t)value;
		memcpy(p, &v32, sizeof(v32));
		break;
	default:
		memcpy(p, &value, sizeof(value));
		break;
	}
	return (0);
}

/*
 * Parameters
 */

enum {
	PARAM_TARGET, PARAM_TUPDATE, PARAM_L4S_THRESHOLD, PARAM_L4S_RANGE,
	PARAM_MAX_BURST, PARAM_ALPHA, PARAM_BETA, PARAM_COUPLING,
	PARAM_L4S_MIN_PACKETS, PARAM_LIMIT, PARAM_LIMIT_BYTES,
	PARAM_MAX_ECNTH, PARAM_CLASSIC_WEIGHT, PARAM_DITHER, PARAM_LAQM,
	PARAM_ECN, PARAM_L4S_ECN, PARAM_L4S_DSCP, PARAM_OVERFLOW,
	PARAM_FLOW_WEIGHTS
};

static const struct field params_fields[] = {
	[PARAM_TARGET] = FIELD(l4s_params, target_ns, 1000),
	[PARAM_TUPDATE] = FIELD(l4s_params, tupdate_ns, 1000),
	[PARAM_L4S_THRESHOLD] = FIELD(l4s_params, l4s_threshold_ns, 1000),
	[PARAM_L4S_RANGE] = FIELD(l4s_params, l4s_range_ns, 1000),
	[PARAM_MAX_BURST] = FIELD(l4s_params, max_burst_ns, 1000),
	[PARAM_ALPHA] = FIELD(l4s_params, alpha_uhz, 1),
	[PARAM_BETA] = FIELD(l4s_params, beta_uhz, 1),
	[PARAM_COUPLING] = FIELD(l4s_params, coupling_q8, 1),
	[PARAM_L4S_MIN_PACKETS] = FIELD(l4s_params, l4s_min_packets, 1),
	[PARAM_LIMIT] = FIELD(l4s_params, limit_packets, 1),
	[PARAM_LIMIT_BYTES] = FIELD(l4s_params, limit_bytes, 1),
	[PARAM_MAX_ECNTH] = FIELD(l4s_params, max_ecnth, 1),
	[PARAM_CLASSIC_WEIGHT] = FIELD(l4s_params, classic_weight, 1),
	[PARAM_DITHER] = FIELD(l4s_params, dither, 1),
	[PARAM_LAQM] = FIELD(l4s_params, laqm, 1),
	[PARAM_ECN] = FIELD(l4s_params, ecn, 1),
	[PARAM_L4S_ECN] = FIELD(l4s_params, l4s_ecn, 1),
	[PARAM_L4S_DSCP] = FIELD(l4s_params, l4s_dscp, 1),
	[PARAM_OVERFLOW] = FIELD(l4s_params, overflow, 1),
	[PARAM_FLOW_WEIGHTS] = FIELD(l4s_params, flow_weights, 1),
};

static int
sysctl_params(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	const struct field *f = &params_fields[arg2];
	struct l4s_params params;
	uint64_t value;
	int error;

	if (v == NULL)
		return (ENXIO);
	l4s_device_params(&v->device, &params);
	value = field_get(&params, f);
	error = sysctl_handle_64(oidp, &value, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	/*
	 * Serialised, so that concurrent writers of different members lose
	 * nothing.
	 */
	mtx_lock(&l4s_global);
	l4s_device_params(&v->device, &params);
	error = field_set(&params, f, value);
	if (error == 0)
		error = l4s_errno(l4s_device_set_params(&v->device, &params,
		    l4s_now()));
	mtx_unlock(&l4s_global);
	return (error);
}

#define	PARAM(name, index, description)					\
	SYSCTL_PROC(_net_inet_ip_dummynet_dualpi2, OID_AUTO, name,	\
	    ROW_FLAGS | CTLFLAG_RW, NULL, index, sysctl_params, "QU",	\
	    description)

PARAM(target, PARAM_TARGET, "Target queue delay (us), 1 to 5000000");
PARAM(tupdate, PARAM_TUPDATE,
    "Time between two controller updates (us), 100 to 1000000");
PARAM(l4s_threshold, PARAM_L4S_THRESHOLD,
    "Queue delay above which L4S packets are marked (us), 0 to 1000000");
PARAM(l4s_range, PARAM_L4S_RANGE,
    "Ramp of the L4S marking above its threshold (us), 1 to 1000000");
PARAM(max_burst, PARAM_MAX_BURST,
    "Burst allowance of RFC 8033 (us), 0 is off, to 10000000");
PARAM(alpha, PARAM_ALPHA, "Integral gain (1/1000000 Hz)");
PARAM(beta, PARAM_BETA, "Proportional gain (1/1000000 Hz)");
PARAM(coupling, PARAM_COUPLING,
    "Coupling factor k between the queues (1/256), 256 to 65535");
PARAM(l4s_min_packets, PARAM_L4S_MIN_PACKETS,
    "Queued L4S packets on arrival for a native mark");
PARAM(limit, PARAM_LIMIT, "Packets in both queues, 1 to 1048576");
PARAM(limit_bytes, PARAM_LIMIT_BYTES,
    "Bytes in both queues, 1500 or more, 0 for no limit");
PARAM(max_ecnth, PARAM_MAX_ECNTH,
    "Drop ECT(0) above this probability (1/2147483647), 0 is off");
PARAM(classic_weight, PARAM_CLASSIC_WEIGHT,
    "Classic queue's share of the link if both are busy (percent), 0 to 100");
PARAM(dither, PARAM_DITHER, "Pattern of signals: 0 even, 1 independent");
PARAM(laqm, PARAM_LAQM, "Native L4S marking: 0 step, 1 ramp");
PARAM(ecn, PARAM_ECN, "Mark ECN-capable packets (1) or drop them (0)");
PARAM(l4s_ecn, PARAM_L4S_ECN,
    "ECN codepoints for the L4S queue: 1 ECT(1) and CE, 3 ECT(0) too");
PARAM(l4s_dscp, PARAM_L4S_DSCP,
    "Additional DSCPs for the L4S queue, sum of 2^DSCP, 0 for none");
PARAM(overflow, PARAM_OVERFLOW,
    "In overload, delay ECN-capable packets (1) or drop them (0)");
PARAM(flow_weights, PARAM_FLOW_WEIGHTS,
    "Weight signals by flow rates (1), or treat all packets alike (0)");

/*
 * Derives target, tupdate and gains from the round-trip times.  If one of them
 * is 0, it is derived from the other; if both are 0, the parameters do not
 * change.
 */
static int
sysctl_rtt(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	struct l4s_params params;
	uint64_t value, us[2];
	int error;

	if (v == NULL)
		return (ENXIO);
	mtx_lock(&l4s_global);
	value = v->rtt_us[arg2];
	mtx_unlock(&l4s_global);
	error = sysctl_handle_64(oidp, &value, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	if (value > 10000000)
		return (EINVAL);
	mtx_lock(&l4s_global);
	us[0] = v->rtt_us[0];
	us[1] = v->rtt_us[1];
	us[arg2] = value;
	if (us[0] != 0 || us[1] != 0) {
		l4s_device_params(&v->device, &params);
		error = l4s_params_rtt(&params, us[0] * 1000, us[1] * 1000);
		if (error == 0)
			error = l4s_device_set_params(&v->device, &params,
			    l4s_now());
		error = l4s_errno(error);
	}
	if (error == 0)
		v->rtt_us[arg2] = value;
	mtx_unlock(&l4s_global);
	return (error);
}

#define	RTT(name, index, description)					\
	SYSCTL_PROC(_net_inet_ip_dummynet_dualpi2, OID_AUTO, name,	\
	    ROW_FLAGS | CTLFLAG_RW, NULL, index, sysctl_rtt, "QU",	\
	    description)

RTT(typical_rtt, 0,
    "Typical RTT (us), 100 to 1000000: sets target, tupdate and gains");
RTT(max_rtt, 1,
    "Longest RTT (us), 300 to 10000000: sets target, tupdate and gains");

/* Named sets; reads as the current set, or "custom". */
static const struct {
	const char	*name;
	void		(*fill)(struct l4s_params *);
} profiles[] = {
	{ "default", l4s_params_default },
	{ "tuned", l4s_params_tuned },
	{ "paper", l4s_params_paper },
};

static int
sysctl_profile(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	struct l4s_params now, named;
	char name[16] = "custom";
	size_t i;
	int error;

	if (v == NULL)
		return (ENXIO);
	l4s_device_params(&v->device, &now);
	for (i = 0; i < nitems(profiles); i++) {
		profiles[i].fill(&named);
		if (memcmp(&now, &named, sizeof(now)) == 0)
			strlcpy(name, profiles[i].name, sizeof(name));
	}
	error = sysctl_handle_string(oidp, name, sizeof(name), req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	for (i = 0; i < nitems(profiles); i++)
		if (strcmp(name, profiles[i].name) == 0) {
			profiles[i].fill(&named);
			mtx_lock(&l4s_global);
			v->rtt_us[0] = v->rtt_us[1] = 0;
			error = l4s_errno(l4s_device_set_params(&v->device,
			    &named, l4s_now()));
			mtx_unlock(&l4s_global);
			return (error);
		}
	return (EINVAL);
}
SYSCTL_PROC(_net_inet_ip_dummynet_dualpi2, OID_AUTO, profile,
    CTLTYPE_STRING | CTLFLAG_RW | CTLFLAG_VNET | CTLFLAG_MPSAFE, NULL, 0,
    sysctl_profile, "A",
    "Set all parameters: default (RFC 9332), tuned or paper");

/*
 * Limits
 */

enum {
	LIMIT_CEILING, LIMIT_MAX_TTL, LIMIT_WATCHDOG, LIMIT_MAX_HOLD,
	LIMIT_DROP_SHARE, LIMIT_MARK_SHARE, LIMIT_FACTOR_MIN,
	LIMIT_FACTOR_MAX, LIMIT_GAIN_MIN, LIMIT_GAIN_MAX
};

static const struct field limits_fields[] = {
	[LIMIT_CEILING] = FIELD(l4s_limits, ceiling_ns, 1000),
	[LIMIT_MAX_TTL] = FIELD(l4s_limits, max_ttl_ns, 1000),
	[LIMIT_WATCHDOG] = FIELD(l4s_limits, watchdog_ns, 1000),
	[LIMIT_MAX_HOLD] = FIELD(l4s_limits, max_hold, 1),
	[LIMIT_DROP_SHARE] = FIELD(l4s_limits, drop_share, 1),
	[LIMIT_MARK_SHARE] = FIELD(l4s_limits, mark_share, 1),
	[LIMIT_FACTOR_MIN] = FIELD(l4s_limits, factor_min, 1),
	[LIMIT_FACTOR_MAX] = FIELD(l4s_limits, factor_max, 1),
	[LIMIT_GAIN_MIN] = FIELD(l4s_limits, gain_min, 1),
	[LIMIT_GAIN_MAX] = FIELD(l4s_limits, gain_max, 1),
};

static int
sysctl_limits(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	const struct field *f = &limits_fields[arg2];
	struct l4s_limits limits;
	uint64_t value;
	int error;

	if (v == NULL)
		return (ENXIO);
	l4s_device_limits(&v->device, &limits);
	value = field_get(&limits, f);
	error = sysctl_handle_64(oidp, &value, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	/*
	 * Serialised, so that concurrent writers of different members lose
	 * nothing.
	 */
	mtx_lock(&l4s_global);
	l4s_device_limits(&v->device, &limits);
	error = field_set(&limits, f, value);
	if (error == 0 &&
	    l4s_device_set_limits(&v->device, &limits, l4s_now()) != 0)
		error = EINVAL;
	mtx_unlock(&l4s_global);
	return (error);
}

#define	LIMIT(name, index, description)					\
	SYSCTL_PROC(_net_inet_l4sllm_limits, OID_AUTO, name,		\
	    ROW_FLAGS | CTLFLAG_RW, NULL, index, sysctl_limits, "QU",	\
	    description)

LIMIT(ceiling, LIMIT_CEILING,
    "Queue delay above which plain DualPI2 decides (us)");
LIMIT(max_ttl, LIMIT_MAX_TTL, "Maximum lifetime of an override (us)");
LIMIT(watchdog, LIMIT_WATCHDOG,
    "Maximum time without an override (us), 0 is off");
LIMIT(max_hold, LIMIT_MAX_HOLD, "Maximum packets of a hold override");
LIMIT(drop_share, LIMIT_DROP_SHARE,
    "Maximum share of packets dropped by overrides (1/65536)");
LIMIT(mark_share, LIMIT_MARK_SHARE,
    "Maximum share of packets that overrides mark beyond DualPI2 (1/65536)");
LIMIT(factor_min, LIMIT_FACTOR_MIN,
    "Minimum factor on a set-point other than a gain (1/65536)");
LIMIT(factor_max, LIMIT_FACTOR_MAX,
    "Maximum factor on a set-point other than a gain (1/65536)");
LIMIT(gain_min, LIMIT_GAIN_MIN,
    "Minimum factor on alpha and beta (1/65536)");
LIMIT(gain_max, LIMIT_GAIN_MAX,
    "Maximum factor on alpha and beta (1/65536)");
