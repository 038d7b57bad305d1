/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The device of each vnet, and the descriptors that keep a device while its
 * vnet is being destroyed.
 */

#include "vnet.h"

#include <sys/socket.h>
#include <sys/sysctl.h>

#include <net/if.h>
#include <net/vnet.h>

MALLOC_DEFINE(M_L4SLLM, "l4sllm", "dualpi2_llm");

/*
 * Records that a reader may fall behind: 85 ms at 1 Gbit/s with full-size
 * packets.
 */
#define	RING_DEFAULT		8192

/*
 * Initialised before dummynet, so destroyed after it: by then dummynet has
 * freed the vnet's instances.
 */
#define	L4S_VNET_ORDER		(SI_ORDER_ANY - 256)

struct mtx l4s_global;
MTX_SYSINIT(l4s_global, &l4s_global, "l4s global", MTX_DEF);

static bool	vnet_closed;		/* (g) no descriptor is counted in */
static u_int	vnet_descriptors;	/* (g) of all vnets */
static u_int	vnet_ring_records = RING_DEFAULT;

VNET_DEFINE_STATIC(struct l4s_vnet *, l4s_vnet);
#define	V_l4s_vnet		VNET(l4s_vnet)

SYSCTL_DECL(_net_inet_l4sllm);
SYSCTL_UINT(_net_inet_l4sllm, OID_AUTO, ring, CTLFLAG_RDTUN,
    &vnet_ring_records, 0,
    "Records kept for a reader that is behind, a power of two, 16 to 2^20");

struct l4s_vnet *
l4s_vnet_current(void)
{
	return (V_l4s_vnet);
}

int
l4s_vnet_stats(struct l4s_stats *stats)
{
	struct l4s_vnet *v = l4s_vnet_current();

	if (v == NULL)
		return (ENXIO);
	memset(stats, 0, sizeof(*stats));
	stats->version = L4S_ABI_VERSION;
	stats->length = sizeof(*stats);
	return (l4s_device_stats(&v->device, stats, l4s_now()) != 0 ?
	    EINVAL : 0);
}

int
l4s_vnet_queues(struct l4s_queues *queues)
{
	struct l4s_vnet *v = l4s_vnet_current();

	if (v == NULL)
		return (ENXIO);
	memset(queues, 0, sizeof(*queues));
	queues->version = L4S_ABI_VERSION;
	queues->length = sizeof(*queues);
	return (l4s_device_queues(&v->device, queues, l4s_now()) != 0 ?
	    EINVAL : 0);
}

struct l4s_vnet *
l4s_vnet_hold(void)
{
	struct l4s_vnet *v = NULL;

	mtx_lock(&l4s_global);
	if (!vnet_closed && V_l4s_vnet != NULL) {
		v = V_l4s_vnet;
		v->references++;
		vnet_descriptors++;
	}
	mtx_unlock(&l4s_global);
	return (v);
}

/* Called when the last reference is released. */
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
	/* Done last, because this keeps the module loaded. */
	mtx_lock(&l4s_global);
	vnet_descriptors--;
	mtx_unlock(&l4s_global);
}

void
l4s_vnet_watch(struct l4s_vnet *v, struct l4s_vnet_watch *w)
{
	mtx_lock(&l4s_global);
	LIST_INSERT_HEAD(&v->watches, w, link);
	if (v->gone)
		w->gone(w);
	mtx_unlock(&l4s_global);
}

void
l4s_vnet_unwatch(struct l4s_vnet_watch *w)
{
	mtx_lock(&l4s_global);
	LIST_REMOVE(w, link);
	mtx_unlock(&l4s_global);
}

bool
l4s_vnet_in_use(void)
{
	bool busy;

	mtx_lock(&l4s_global);
	busy = vnet_descriptors != 0;
	mtx_unlock(&l4s_global);
	return (busy);
}

bool
l4s_vnet_close(void)
{
	bool busy;

	mtx_lock(&l4s_global);
	busy = vnet_descriptors != 0;
	if (!busy)
		vnet_closed = true;
	mtx_unlock(&l4s_global);
	return (!busy);
}

void
l4s_vnet_reopen(void)
{
	mtx_lock(&l4s_global);
	vnet_closed = false;
	mtx_unlock(&l4s_global);
}

int
l4s_errno(int error)
{
	switch (error) {
	case 0:
		return (0);
	case L4S_EPERM:
		return (EPERM);
	case L4S_ENOENT:
		return (ENOENT);
	case L4S_EBUSY:
		return (EBUSY);
	case L4S_EPROTO:
		return (EPROTO);
	case L4S_ERANGE:
		return (ERANGE);
	case L4S_ENOTTY:
		return (ENOTTY);
	case L4S_ENOMEM:
		return (ENOMEM);
	default:
		return (EINVAL);
	}
}

/*
 * Called with locks held.  A request must not wait either, because masks can
 * create an instance for each address.
 */
void *
l4s_alloc(size_t size)
{
	return (malloc(size, M_L4SLLM, M_NOWAIT));
}

void
l4s_free(void *p)
{
	free(p, M_L4SLLM);
}

static void
vnet_init(const void *unused __unused)
{
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_vnet *v;

	if (!l4s_ring_capacity_ok(vnet_ring_records)) {
		printf("dualpi2_llm: net.inet.l4sllm.ring=%u is not a power "
		    "of two from %u to %u; using %u\n", vnet_ring_records,
		    L4S_RING_MIN, L4S_RING_MAX, RING_DEFAULT);
		vnet_ring_records = RING_DEFAULT;
	}
	v = malloc(sizeof(*v), M_L4SLLM, M_WAITOK | M_ZERO);
	v->words = malloc(L4S_RINGS_BYTES(vnet_ring_records), M_L4SLLM,
	    M_WAITOK | M_ZERO);
	LIST_INIT(&v->watches);
	v->references = 1;
	l4s_rings_init(v->rings, v->words, vnet_ring_records);
	l4s_params_default(&params);
	l4s_limits_default(&limits);
	l4s_device_init(&v->device, v->rings, &params, &limits);
	V_l4s_vnet = v;
}
VNET_SYSINIT(l4s_vnet_init, SI_SUB_PROTO_FIREWALL, L4S_VNET_ORDER, vnet_init,
    NULL);

static void
vnet_uninit(const void *unused __unused)
{
	struct l4s_vnet *v = V_l4s_vnet;
	struct l4s_vnet_watch *w;
	bool last;

	mtx_lock(&l4s_global);
	V_l4s_vnet = NULL;
	v->gone = true;
	LIST_FOREACH(w, &v->watches, link)
		w->gone(w);
	last = --v->references == 0;
	mtx_unlock(&l4s_global);
	if (last)
		vnet_free(v);
}
VNET_SYSUNINIT(l4s_vnet_uninit, SI_SUB_PROTO_FIREWALL, L4S_VNET_ORDER,
    vnet_uninit, NULL);
