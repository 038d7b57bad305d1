/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Loading, unloading, and vnets coming and going.
 *
 * The module stays loaded while a scheduler entry, an instance or a
 * descriptor lives: MOD_QUIESCE and MOD_UNLOAD answer EBUSY.
 */

#include "l4s_freebsd.h"
#include "dn_shim.h"

#include <sys/module.h>

MALLOC_DEFINE(M_L4SLLM, "l4sllm", "dualpi2_llm");

/* Records that a reader may be behind: 85 ms at 1 Gbit/s of full packets. */
#define	RING_DEFAULT		8192

/*
 * Before dummynet in the order of vnets, so after it when they go: by then
 * dummynet has freed the vnet's instances.
 */
#define	L4S_VNET_ORDER		(SI_ORDER_ANY - 256)

struct mtx l4s_global;
MTX_SYSINIT(l4s_global, &l4s_global, "l4s global", MTX_DEF);

struct taskqueue *l4s_taskqueue;
static bool	loaded;			/* load() succeeded */
static bool	unloading;		/* (g) */
static u_int	opens;			/* (g) descriptors, of all vnets */
static u_int	ring_records = RING_DEFAULT;

VNET_DEFINE_STATIC(struct l4s_vnet *, l4s_vnet);
#define	V_l4s_vnet		VNET(l4s_vnet)

SYSCTL_DECL(_net_inet_l4sllm);
SYSCTL_UINT(_net_inet_l4sllm, OID_AUTO, ring, CTLFLAG_RDTUN, &ring_records, 0,
    "Records kept for a reader that is behind, a power of two, 16 to 2^20");

struct l4s_vnet *
l4s_vnet_current(void)
{
	return (V_l4s_vnet);
}

struct l4s_vnet *
l4s_vnet_hold(void)
{
	struct l4s_vnet *v = NULL;

	mtx_lock(&l4s_global);
	if (!unloading && V_l4s_vnet != NULL) {
		v = V_l4s_vnet;
		v->references++;
		opens++;
	}
	mtx_unlock(&l4s_global);
	return (v);
}

/* Once the last reference is gone. */
static void
vnet_free(struct l4s_vnet *v)
{
	l4s_device_destroy(&v->device);
	free(v->words, M_L4SLLM);
	free(v, M_L4SLLM);
}

void
l4s_vnet_release(struct l4s_vnet *v)
{
	bool last;

	mtx_lock(&l4s_global);
	last = --v->references == 0;
	mtx_unlock(&l4s_global);
	if (last)
		vnet_free(v);
	/* The last thing: it is what holds the module. */
	mtx_lock(&l4s_global);
	opens--;
	mtx_unlock(&l4s_global);
}

static void
vnet_init(const void *unused __unused)
{
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_vnet *v;

	if (!l4s_ring_capacity_ok(ring_records)) {
		printf("dualpi2_llm: net.inet.l4sllm.ring=%u is not a power "
		    "of two from %u to %u; using %u\n", ring_records,
		    L4S_RING_MIN, L4S_RING_MAX, RING_DEFAULT);
		ring_records = RING_DEFAULT;
	}
	v = malloc(sizeof(*v), M_L4SLLM, M_WAITOK | M_ZERO);
	v->words = malloc(L4S_RING_BYTES(ring_records), M_L4SLLM,
	    M_WAITOK | M_ZERO);
	LIST_INIT(&v->opens);
	v->references = 1;
	l4s_ring_init(&v->ring, v->words, ring_records);
	l4s_params_default(&params);
	l4s_limits_default(&limits);
	l4s_device_init(&v->device, &v->ring, &params, &limits);
	V_l4s_vnet = v;
}
VNET_SYSINIT(l4s_vnet_init, SI_SUB_PROTO_FIREWALL, L4S_VNET_ORDER, vnet_init,
    NULL);

static void
vnet_uninit(const void *unused __unused)
{
	struct l4s_vnet *v = V_l4s_vnet;
	bool last;

	mtx_lock(&l4s_global);
	V_l4s_vnet = NULL;
	l4s_cdev_revoke(v);
	last = --v->references == 0;
	mtx_unlock(&l4s_global);
	if (last)
		vnet_free(v);
}
VNET_SYSUNINIT(l4s_vnet_uninit, SI_SUB_PROTO_FIREWALL, L4S_VNET_ORDER,
    vnet_uninit, NULL);

static int
load(module_t mod)
{
	int error;

	l4s_taskqueue = taskqueue_create_fast("l4sllm", M_WAITOK,
	    taskqueue_thread_enqueue, &l4s_taskqueue);
	error = taskqueue_start_threads(&l4s_taskqueue, 1, PI_NET, "l4sllm");
	if (error != 0)
		goto free_queue;
	error = l4s_cdev_create();
	if (error != 0)
		goto free_queue;
	/* dummynet answers 1 when the name is taken. */
	if (dn_sched_modevent(mod, MOD_LOAD, &l4s_dualpi2_alg) != 0) {
		error = EEXIST;
		goto destroy;
	}
	loaded = true;
	return (0);
destroy:
	mtx_lock(&l4s_global);
	unloading = true;
	mtx_unlock(&l4s_global);
	l4s_cdev_destroy();
free_queue:
	taskqueue_free(l4s_taskqueue);
	return (error);
}

static bool
in_use(void)
{
	mtx_assert(&l4s_global, MA_OWNED);
	return (opens != 0 ||
	    atomic_load_int(&l4s_dualpi2_alg.ref_count) != 0);
}

/* The kernel calls this after a MOD_LOAD that failed, too. */
static int
unload(module_t mod)
{
	int error;

	if (!loaded)
		return (0);
	mtx_lock(&l4s_global);
	if (in_use()) {
		mtx_unlock(&l4s_global);
		return (EBUSY);
	}
	unloading = true;
	mtx_unlock(&l4s_global);

	error = dn_sched_modevent(mod, MOD_UNLOAD, &l4s_dualpi2_alg);
	/*
	 * A configuration that found the scheduler before it was taken off
	 * dummynet's list may have counted itself in since; dummynet waited
	 * for it after it had looked at the count.
	 */
	if (error == 0 &&
	    atomic_load_int(&l4s_dualpi2_alg.ref_count) != 0) {
		(void)dn_sched_modevent(mod, MOD_LOAD, &l4s_dualpi2_alg);
		error = EBUSY;
	}
	if (error != 0) {
		mtx_lock(&l4s_global);
		unloading = false;
		mtx_unlock(&l4s_global);
		return (error);
	}
	l4s_cdev_destroy();
	taskqueue_free(l4s_taskqueue);
	loaded = false;
	return (0);
}

static int
quiesce(void)
{
	bool busy;

	mtx_lock(&l4s_global);
	busy = in_use();
	mtx_unlock(&l4s_global);
	return (busy ? EBUSY : 0);
}

static int
modevent(module_t mod, int event, void *arg __unused)
{
	switch (event) {
	case MOD_LOAD:
		return (load(mod));
	case MOD_QUIESCE:
		return (quiesce());
	case MOD_UNLOAD:
		return (unload(mod));
	case MOD_SHUTDOWN:
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t dualpi2_llm_mod = {
	"dualpi2_llm", modevent, NULL
};
DECLARE_MODULE(dualpi2_llm, dualpi2_llm_mod, SI_SUB_PROTO_FIREWALL,
    SI_ORDER_ANY);
MODULE_DEPEND(dualpi2_llm, dummynet, 3, 3, 3);
MODULE_VERSION(dualpi2_llm, 1);
