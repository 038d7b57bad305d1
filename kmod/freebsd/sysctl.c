/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * sysctl(8):
 *
 *	net.inet.ip.dummynet.dualpi2	the queue's parameters
 *	net.inet.l4sllm			settings for the daemon, state
 *	net.inet.l4sllm.limits		bounds of every override
 *	net.inet.l4sllm.stats		counters, over the vnet's instances
 *
 * All are per vnet.  A row of a table is a member of one of the interface's
 * structs with the factor from the sysctl's unit to the member's; ranges are
 * those checked by l4s_params_check() and l4s_limits_check(); other values
 * return EINVAL.
 */

#include "vnet.h"

#include <sys/socket.h>
#include <sys/sysctl.h>

#include <net/if.h>
#include <net/vnet.h>

SYSCTL_DECL(_net_inet);
SYSCTL_DECL(_net_inet_ip);
SYSCTL_DECL(_net_inet_ip_dummynet);
SYSCTL_NODE(_net_inet, OID_AUTO, l4sllm, CTLFLAG_RW | CTLFLAG_MPSAFE, NULL,
    "Overrides for DualPI2");
SYSCTL_NODE(_net_inet_l4sllm, OID_AUTO, limits,
    CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, "Limits that no override crosses");
SYSCTL_NODE(_net_inet_l4sllm, OID_AUTO, stats,
    CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, "Counters, over all instances");
SYSCTL_NODE(_net_inet_l4sllm_stats, OID_AUTO, classic,
    CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, "The classic queues");
SYSCTL_NODE(_net_inet_l4sllm_stats, OID_AUTO, l4s,
    CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, "The L4S queues");
SYSCTL_NODE(_net_inet_ip_dummynet, OID_AUTO, dualpi2,
    CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, "DualPI2 (RFC 9332)");

/* The state in one word: the first that applies. */
static int
sysctl_state(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	struct l4s_stats stats;
	bool controlled, instances;
	const char *state;
	int error;

	error = l4s_vnet_stats(&stats);
	if (error != 0)
		return (error);
	l4s_lock(&v->device.lock);
	controlled = v->device.controller != NULL;
	instances = v->device.instances != NULL;
	l4s_unlock(&v->device.lock);
	if (!instances)
		state = "idle";
	else if (!controlled)
		state = "base";
	else if (stats.watchdog_active != 0)
		state = "watchdog";
	else
		state = "controlled";
	return (sysctl_handle_string(oidp, __DECONST(char *, state),
	    strlen(state) + 1, req));
}
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, state,
    CTLTYPE_STRING | CTLFLAG_RD | CTLFLAG_VNET | CTLFLAG_MPSAFE, NULL, 0,
    sysctl_state, "A",
    "idle (no instance), base (no controller), watchdog (deadline missed) "
    "or controlled");

static const u_int abi_version = L4S_ABI_VERSION;
static const u_int abi_version_min = L4S_ABI_VERSION_MIN;
SYSCTL_UINT(_net_inet_l4sllm, OID_AUTO, abi_version, CTLFLAG_RD,
    __DECONST(u_int *, &abi_version), 0,
    "Newest version of the device interface accepted");
SYSCTL_UINT(_net_inet_l4sllm, OID_AUTO, abi_version_min, CTLFLAG_RD,
    __DECONST(u_int *, &abi_version_min), 0,
    "Oldest version of the device interface accepted");
SYSCTL_STRING(_net_inet_l4sllm, OID_AUTO, release, CTLFLAG_RD,
    __DECONST(char *, L4S_RELEASE), 0, "Release of dualpi2_llm");

/* Notifies the daemon, which reads the sysctls on this event. */
static void
sysctl_announce(struct l4s_vnet *v)
{
	struct l4s_params params;

	mtx_lock(&l4s_global);
	l4s_device_params(&v->device, &params);
	(void)l4s_device_set_params(&v->device, &params, l4s_now());
	mtx_unlock(&l4s_global);
}

/* Enables or disables the student, with the idle budget of the sysctl. */
static int
sysctl_switch_student(struct l4s_vnet *v, bool on)
{
	struct l4s_student_switch s = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(s),
		.on = on,
	};
	int error;

	mtx_lock(&l4s_global);
	s.idle_budget = v->advice.idle_budget;
	l4s_lock(&v->device.lock);
	error = l4s_device_switch_student(&v->device, &s, l4s_now());
	l4s_unlock(&v->device.lock);
	mtx_unlock(&l4s_global);
	return (l4s_errno(error));
}

static int
sysctl_student(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	u_int value;
	int error;

	if (v == NULL)
		return (ENXIO);
	l4s_lock(&v->device.lock);
	value = v->device.student_on;
	l4s_unlock(&v->device.lock);
	error = sysctl_handle_int(oidp, &value, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	return (value > 1 ? EINVAL : sysctl_switch_student(v, value != 0));
}
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, student,
    CTLTYPE_UINT | CTLFLAG_RW | CTLFLAG_VNET | CTLFLAG_MPSAFE, NULL, 0,
    sysctl_student, "IU",
    "Whether the loaded student steers; ENOENT if none is loaded");

static int
sysctl_student_name(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	struct l4s_student_status status;

	if (v == NULL)
		return (ENXIO);
	l4s_lock(&v->device.lock);
	l4s_device_student(&v->device, &status);
	l4s_unlock(&v->device.lock);
	return (sysctl_handle_string(oidp, status.student.name,
	    strlen(status.student.name) + 1, req));
}
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, student_name,
    CTLTYPE_STRING | CTLFLAG_RD | CTLFLAG_VNET | CTLFLAG_MPSAFE, NULL, 0,
    sysctl_student_name, "A", "Name of the loaded student");

static int
sysctl_student_decisions(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	struct l4s_student_status status;

	if (v == NULL)
		return (ENXIO);
	l4s_lock(&v->device.lock);
	l4s_device_student(&v->device, &status);
	l4s_unlock(&v->device.lock);
	return (sysctl_handle_64(oidp, &status.decisions, 0, req));
}
SYSCTL_PROC(_net_inet_l4sllm_stats, OID_AUTO, student_decisions,
    CTLTYPE_U64 | CTLFLAG_RD | CTLFLAG_VNET | CTLFLAG_MPSAFE, NULL, 0,
    sysctl_student_decisions, "QU", "Decisions of students");

/* The numbers of struct l4s_advice, by arg2: ranges, next to 0. */
static const struct advice {
	size_t		offset;
	uint32_t	least;
	uint32_t	most;
} advices[] = {
	{ offsetof(struct l4s_advice, interval), 1, 65536 },
	{ offsetof(struct l4s_advice, hold), 1, 65536 },
	{ offsetof(struct l4s_advice, period), 1, 60000 },
	{ offsetof(struct l4s_advice, idle_budget), 1000, 20000 },
};
#define	ADVICE_IDLE_BUDGET	3

static int
sysctl_advice(SYSCTL_HANDLER_ARGS)
{
	struct l4s_vnet *v = l4s_vnet_current();
	uint32_t *field, value;
	int error;

	if (v == NULL)
		return (ENXIO);
	field = (uint32_t *)(void *)((char *)&v->advice +
	    advices[arg2].offset);
	mtx_lock(&l4s_global);
	value = *field;
	mtx_unlock(&l4s_global);
	error = sysctl_handle_int(oidp, &value, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	if (value != 0 &&
	    (value < advices[arg2].least || value > advices[arg2].most))
		return (EINVAL);
	mtx_lock(&l4s_global);
	*field = value;
	mtx_unlock(&l4s_global);
	sysctl_announce(v);
	return (arg2 != ADVICE_IDLE_BUDGET ? 0 :
	    sysctl_switch_student(v, v->device.student_on));
}
#define	ADVICE_FLAGS	(CTLFLAG_RW | CTLFLAG_VNET | CTLFLAG_MPSAFE |	\
			    CTLFLAG_CAPRD)
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, interval, CTLTYPE_UINT | ADVICE_FLAGS,
    NULL, 0, sysctl_advice, "IU",
    "Packets between two decisions of the daemon, to 65536; 0: its "
    "configuration's");
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, period, CTLTYPE_UINT | ADVICE_FLAGS,
    NULL, 2, sysctl_advice, "IU",
    "Milliseconds between two decisions of the daemon's adaptive rule, to "
    "60000; 0: its configuration's");
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, idle_budget,
    CTLTYPE_UINT | ADVICE_FLAGS, NULL, ADVICE_IDLE_BUDGET, sysctl_advice,
    "IU",
    "Millionths of the link's time that may be idle, 1000 to 20000; 0: those "
    "of the daemon's configuration and of the student");
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, hold, CTLTYPE_UINT | ADVICE_FLAGS,
    NULL, 1, sysctl_advice, "IU",
    "Packets that a decision holds in mode hold, to 65536; 0: the daemon's "
    "configuration's");

static const char *const modes[] = {
	[0] = "config",
	[L4S_MODE_ONCE] = "once",
	[L4S_MODE_HOLD] = "hold",
	[L4S_MODE_STEER] = "steer",
};
static const char *const engines[] = { "config", "adaptive" };

/* The words of struct l4s_advice, by arg2. */
static const struct advised_word {
	size_t		offset;
	const char *const *words;
	uint32_t	count;
} advised_words[] = {
	{ offsetof(struct l4s_advice, mode), modes, nitems(modes) },
	{ offsetof(struct l4s_advice, engine), engines, nitems(engines) },
};

static int
sysctl_word(SYSCTL_HANDLER_ARGS)
{
	const struct advised_word *w = &advised_words[arg2];
	struct l4s_vnet *v = l4s_vnet_current();
	uint32_t *field, value;
	char word[16];
	int error;

	if (v == NULL)
		return (ENXIO);
	field = (uint32_t *)(void *)((char *)&v->advice + w->offset);
	mtx_lock(&l4s_global);
	value = *field;
	mtx_unlock(&l4s_global);
	strlcpy(word, w->words[value], sizeof(word));
	error = sysctl_handle_string(oidp, word, sizeof(word), req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	for (value = 0; value < w->count; value++)
		if (strcmp(word, w->words[value]) == 0) {
			mtx_lock(&l4s_global);
			*field = value;
			mtx_unlock(&l4s_global);
			sysctl_announce(v);
			return (0);
		}
	return (EINVAL);
}
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, mode, CTLTYPE_STRING | ADVICE_FLAGS,
    NULL, 0, sysctl_word, "A",
    "Override mode: once, hold, steer, or config (the daemon's)");
SYSCTL_PROC(_net_inet_l4sllm, OID_AUTO, engine, CTLTYPE_STRING | ADVICE_FLAGS,
    NULL, 1, sysctl_word, "A",
    "Engine: adaptive (the adaptive rule), or config (that of the daemon's "
    "configuration)");
