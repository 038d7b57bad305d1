/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See l4s_user.h. */

#include <stdlib.h>

#include "../handle.h"
#include "l4s_user.h"

/* Packets are allocated this many at a time and freed at the end. */
#define	POOL_CHUNK	256

struct chunk {
	struct chunk	*next;
	l4s_pkt_t	packets[POOL_CHUNK];
};

struct l4s_user {
	struct l4s_instance instance;
	struct l4s_device device;
	struct l4s_ring	rings[L4S_RINGS];
	struct l4s_pkt_sink drops;
	l4s_pkt_t	*free;
	l4s_pkt_t	last;		/* to be dropped, if there are */
	bool		last_used;	/* no others */
	struct chunk	*chunks;
	void		*memory;	/* of the rings */
};

struct l4s_user_handle {
	struct l4s_handle handle;
};

#define	CACHE_LINE	64

/* The only instance, number 0, belongs to `ipfw sched 1'. */
#define	SCHED_NUMBER	1

static void *(*user_allocate)(size_t) = malloc;

void *
l4s_alloc(size_t size)
{
	return (user_allocate(size));
}

void
l4s_free(void *p)
{
	free(p);
}

static l4s_pkt_t *user_take_packet(struct l4s_user *);
static void	user_give_packet(struct l4s_user *, l4s_pkt_t *);
static int	user_refuse(struct l4s_user *, uint64_t cookie, uint32_t length,
		    uint8_t ecn, uint8_t dscp, uint64_t now_ns);
static void	user_fill(l4s_pkt_t *, uint64_t cookie, uint32_t length,
		    uint8_t ecn, uint8_t dscp);
static void	user_report(const l4s_pkt_t *, struct l4s_user_packet *);

struct l4s_user *
l4s_user_create(const struct l4s_params *params,
    const struct l4s_limits *limits, uint32_t ring_records, uint64_t seed,
    int *error)
{
	struct l4s_params default_params;
	struct l4s_limits default_limits;
	/* The kernel's is random; here runs must be reproducible. */
	const struct l4s_siphash_key key = { seed, ~seed };
	struct l4s_user *u;

	l4s_params_default(&default_params);
	l4s_limits_default(&default_limits);
	if (params == NULL)
		params = &default_params;
	if (limits == NULL)
		limits = &default_limits;
	*error = l4s_params_check(params);
	if (*error == 0)
		*error = l4s_limits_check(limits);
	if (*error == 0 && ring_records != 0 &&
	    !l4s_ring_capacity_ok(ring_records))
		*error = L4S_EINVAL;
	if (*error != 0)
		return (NULL);

	u = user_allocate(sizeof(*u));
	if (u == NULL)
		goto nomem;
	memset(u, 0, sizeof(*u));
	u->drops.tail = &u->drops.head;
	if (ring_records != 0) {
		u->memory = user_allocate(L4S_RINGS_BYTES(ring_records) +
		    CACHE_LINE);
		if (u->memory == NULL)
			goto nomem;
		/* A record occupies one cache line, as in the kernel. */
		l4s_rings_init(u->rings, (uint64_t *)(((uintptr_t)u->memory +
		    CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1)),
		    ring_records);
	}
	l4s_device_init(&u->device, ring_records != 0 ? u->rings : NULL,
	    params, limits);
	l4s_instance_init(&u->instance, SCHED_NUMBER, params, limits,
	    u->device.rings, &u->drops, seed, &key);
	if (l4s_device_attach(&u->device, &u->instance) == 0)
		return (u);
	l4s_instance_destroy(&u->instance);
	l4s_device_destroy(&u->device);
nomem:
	if (u != NULL)
		free(u->memory);
	free(u);
	*error = L4S_ENOMEM;
	return (NULL);
}

void
l4s_user_destroy(struct l4s_user *u)
{
	struct chunk *chunk;

	if (u == NULL)
		return;
	l4s_device_detach(&u->device, &u->instance, u->instance.now);
	l4s_instance_destroy(&u->instance);
	l4s_device_destroy(&u->device);
	while ((chunk = u->chunks) != NULL) {
		u->chunks = chunk->next;
		free(chunk);
	}
	free(u->memory);
	free(u);
}

/*
 * Grows the pool when it is empty: the only allocation of the packet path.  The
 * kernel's packets bring their own memory.
 */
static l4s_pkt_t *
user_take_packet(struct l4s_user *u)
{
	l4s_pkt_t *p;
	struct chunk *chunk;
	unsigned i;

	if (u->free == NULL) {
		chunk = user_allocate(sizeof(*chunk));
		if (chunk == NULL)
			return (NULL);
		chunk->next = u->chunks;
		u->chunks = chunk;
		for (i = 0; i < POOL_CHUNK; i++) {
			chunk->packets[i].next = u->free;
			u->free = &chunk->packets[i];
		}
	}
	p = u->free;
	u->free = p->next;
	return (p);
}

static void
user_give_packet(struct l4s_user *u, l4s_pkt_t *p)
{
	if (__predict_false(p == &u->last)) {
		u->last_used = false;
		return;
	}
	p->next = u->free;
	u->free = p;
}

int
l4s_user_enqueue(struct l4s_user *u, uint64_t cookie, uint32_t length,
    uint8_t ecn, uint32_t flow, uint64_t now_ns)
{
	return (l4s_user_enqueue_dscp(u, cookie, length, ecn, 0, flow,
	    now_ns));
}

int
l4s_user_enqueue_dscp(struct l4s_user *u, uint64_t cookie, uint32_t length,
    uint8_t ecn, uint8_t dscp, uint32_t flow, uint64_t now_ns)
{
	l4s_pkt_t *p = user_take_packet(u);

	if (__predict_false(p == NULL))
		return (user_refuse(u, cookie, length, ecn, dscp, now_ns));
	user_fill(p, cookie, length, ecn, dscp);
	p->flow = flow;
	return (l4s_instance_enqueue(&u->instance, p, now_ns) ? 0 : 1);
}

static int
user_refuse(struct l4s_user *u, uint64_t cookie, uint32_t length, uint8_t ecn,
    uint8_t dscp, uint64_t now_ns)
{
	l4s_pkt_t *p = NULL;

	if (!u->last_used) {
		u->last_used = true;
		p = &u->last;
		user_fill(p, cookie, length, ecn, dscp);
	}
	l4s_instance_refuse(&u->instance, p,
	    (uint8_t)(dscp << 2 | (ecn & 3)), length, now_ns);
	return (1);
}

static void
user_fill(l4s_pkt_t *p, uint64_t cookie, uint32_t length, uint8_t ecn,
    uint8_t dscp)
{
	p->cookie = cookie;
	p->length = length;
	p->ecn = ecn & 3;
	p->dscp = dscp & 63;
	p->fixed = (ecn & L4S_USER_ECN_FIXED) != 0;
}

int
l4s_user_dequeue(struct l4s_user *u, uint64_t now_ns,
    struct l4s_user_packet *out)
{
	l4s_pkt_t *p = l4s_instance_dequeue(&u->instance, now_ns);

	if (p == NULL)
		return (0);
	user_report(p, out);
	user_give_packet(u, p);
	return (1);
}

void
l4s_user_idle(struct l4s_user *u, uint64_t since_ns)
{
	l4s_instance_idle(&u->instance, since_ns);
}

void
l4s_user_stall(struct l4s_user *u, uint64_t since_ns)
{
	l4s_instance_stall(&u->instance, since_ns);
}

static void
user_report(const l4s_pkt_t *p, struct l4s_user_packet *out)
{
	out->cookie = p->cookie;
	out->sojourn_ns = p->sojourn_ns;
	out->length = p->length;
	out->ecn = p->ecn;
	out->queue = p->queue;
	out->action = p->action;
	out->reason = p->reason;
}

size_t
l4s_user_drops(struct l4s_user *u, struct l4s_user_packet *out, size_t max)
{
	l4s_pkt_t *p;
	size_t n;

	for (n = 0; n < max && (p = u->drops.head) != NULL; n++) {
		u->drops.head = p->next;
		user_report(p, &out[n]);
		user_give_packet(u, p);
	}
	if (u->drops.head == NULL)
		u->drops.tail = &u->drops.head;
	return (n);
}

void
l4s_user_stats(struct l4s_user *u, struct l4s_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->version = L4S_ABI_VERSION;
	out->length = sizeof(*out);
	(void)l4s_device_stats(&u->device, out, u->instance.now);
}

void
l4s_user_backlog(const struct l4s_user *u, uint8_t queue, uint32_t *packets,
    uint32_t *bytes)
{
	const struct dualpi2 *d = &u->instance.queue;
	uint64_t backlog = queue < L4S_QUEUE_ANY ? d->queue[queue].backlog :
	    dualpi2_backlog(d);

	*packets = dualpi2_packets(backlog);
	*bytes = dualpi2_bytes(backlog);
}

void
l4s_user_set_points(const struct l4s_user *u, struct l4s_params *out)
{
	const struct dualpi2_setpoints *s = &u->instance.queue.set;

	*out = u->instance.queue.params;
	out->target_ns = s->target_ns;
	out->tupdate_ns = s->tupdate_ns;
	out->l4s_threshold_ns = s->threshold_ns;
	out->coupling_q8 = s->coupling_q8;
	out->alpha_uhz = s->alpha_uhz;
	out->beta_uhz = s->beta_uhz;
}

int
l4s_user_latest_override(const struct l4s_user *u, struct l4s_override *out)
{
	*out = u->instance.overrides.current;
	return (u->instance.overrides.active ? 1 : 0);
}

struct l4s_user_handle *
l4s_user_open(struct l4s_user *u)
{
	struct l4s_user_handle *h = user_allocate(sizeof(*h));

	if (h != NULL && l4s_handle_open(&u->device, &h->handle, true) != 0) {
		free(h);
		h = NULL;
	}
	return (h);
}

void
l4s_user_close(struct l4s_user_handle *h, uint64_t now_ns)
{
	if (h == NULL)
		return;
	l4s_handle_close(&h->handle, now_ns);
	free(h);
}

int
l4s_user_read(struct l4s_user_handle *h, void *buf, size_t size,
    uint64_t now_ns, size_t *got)
{
	return (l4s_handle_read(&h->handle, buf, size, now_ns, got));
}

uint64_t
l4s_user_unread(const struct l4s_user_handle *h)
{
	return (l4s_handle_unread(&h->handle));
}

int
l4s_user_request(struct l4s_user_handle *h, uint32_t op, void *buf,
    size_t size, uint64_t now_ns)
{
	return (l4s_handle_request(&h->handle, op, buf, size, now_ns));
}

int
l4s_user_ready(struct l4s_user_handle *h, uint64_t now_ns,
    uint64_t *deadline_ns)
{
	return (l4s_handle_ready(&h->handle, now_ns, deadline_ns) ? 1 : 0);
}

void
l4s_user_on_ready(struct l4s_user_handle *h, void (*wake)(void *), void *arg)
{
	l4s_handle_on_ready(&h->handle, wake, arg);
}

void
l4s_user_flush(struct l4s_user *u)
{
	l4s_instance_flush(&u->instance, u->instance.now);
}

#ifdef L4S_RECORD_TAP
void
l4s_user_tap(struct l4s_user *u,
    void (*tap)(void *, const struct l4s_record_v1 *), void *arg)
{
	u->instance.tap_arg = arg;
	u->instance.tap = tap;
}
#endif

void
l4s_user_set_malloc(void *(*function)(size_t))
{
	user_allocate = function != NULL ? function : malloc;
}

void
l4s_user_params_default(struct l4s_params *p)
{
	l4s_params_default(p);
}

void
l4s_user_params_tuned(struct l4s_params *p)
{
	l4s_params_tuned(p);
}

void
l4s_user_params_paper(struct l4s_params *p)
{
	l4s_params_paper(p);
}

int
l4s_user_params_rtt(struct l4s_params *p, uint64_t typical_ns,
    uint64_t max_ns)
{
	return (l4s_params_rtt(p, typical_ns, max_ns));
}

void
l4s_user_limits_default(struct l4s_limits *l)
{
	l4s_limits_default(l);
}
