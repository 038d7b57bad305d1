/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See device.h. */

#include "device.h"

static uint32_t	next_instance(struct l4s_device *, uint32_t number);
static void	hand_on(struct l4s_device *, struct l4s_sched *,
		    uint64_t now);
static void	post(struct l4s_device *, uint32_t code, uint64_t now);
static struct l4s_sched *find(struct l4s_device *, uint32_t, uint32_t);
static int	request(struct l4s_handle *, uint32_t op, void *buf,
		    uint64_t now);
static int	take_control(struct l4s_handle *, uint64_t now);
static int	send_override(struct l4s_handle *, const struct l4s_override *,
		    uint64_t now);
static void	store_params(struct l4s_device *, const struct l4s_params *,
		    uint64_t now);
static void	store_limits(struct l4s_device *, const struct l4s_limits *,
		    uint64_t now);
static int	sum_stats(struct l4s_device *, const struct l4s_handle *,
		    struct l4s_stats *);

void
l4s_device_init(struct l4s_device *dev, struct l4s_ring *ring,
    const struct l4s_params *params, const struct l4s_limits *limits)
{
	memset(dev, 0, sizeof(*dev));
	l4s_lock_init(&dev->lock, "l4s device");
	l4s_lock_init(&dev->wake_lock, "l4s wake");
	dev->ring = ring;
	dev->params = *params;
	dev->limits = *limits;
	if (ring != NULL) {
		ring->wake = l4s_device_wake;
		ring->wake_arg = dev;
	}
}

void
l4s_device_destroy(struct l4s_device *dev)
{
	L4S_ASSERT(dev->scheds == NULL && dev->handles == NULL);
	l4s_lock_destroy(&dev->wake_lock);
	l4s_lock_destroy(&dev->lock);
}

void
l4s_device_attach(struct l4s_device *dev, struct l4s_sched *s)
{
	l4s_lock(&dev->lock);
	s->instance = next_instance(dev, s->number);
	s->next = dev->scheds;
	dev->scheds = s;
	/* With these the packet path takes the number up, for its records. */
	l4s_sched_post_params(s, &dev->params);
	l4s_sched_post_limits(s, &dev->limits);
	l4s_unlock(&dev->lock);
}

/*
 * A number that no instance had, or after all were had, none of this scheduler
 * has: as many turns as there are instances, and one.  Device lock held.
 */
static uint32_t
next_instance(struct l4s_device *dev, uint32_t number)
{
	uint32_t instance;

	do
		instance = (uint32_t)dev->joined++;
	while (__predict_false(dev->joined > (uint64_t)UINT32_MAX + 1) &&
	    find(dev, number, instance) != NULL);
	return (instance);
}

void
l4s_device_detach(struct l4s_device *dev, struct l4s_sched *s, uint64_t now)
{
	struct l4s_sched **link;

	l4s_lock(&dev->lock);
	for (link = &dev->scheds; *link != s; link = &(*link)->next)
		L4S_ASSERT(*link != NULL);
	*link = s->next;
	hand_on(dev, s, now);
	l4s_unlock(&dev->lock);
}

/*
 * What an instance that left was to tell with its next packet, another tells
 * with its own; after the last one it is written here, as post() does.
 * Device lock held.
 */
static void
hand_on(struct l4s_device *dev, struct l4s_sched *s, uint64_t now)
{
	struct l4s_event_post events[L4S_EVENTS_WAITING];
	unsigned i, n = l4s_sched_take_events(s, events);

	if (dev->scheds != NULL) {
		for (i = 0; i < n; i++)
			l4s_sched_post_event(dev->scheds, events[i].sched,
			    events[i].instance, events[i].code,
			    events[i].value);
	} else if (n != 0 && dev->ring != NULL) {
		for (i = 0; i < n; i++)
			l4s_event_write(dev->ring, events[i].sched,
			    events[i].instance, events[i].code,
			    events[i].value, now);
		l4s_ring_notify(dev->ring);
	}
}

void
l4s_device_params(struct l4s_device *dev, struct l4s_params *params)
{
	l4s_lock(&dev->lock);
	*params = dev->params;
	l4s_unlock(&dev->lock);
}

int
l4s_device_set_params(struct l4s_device *dev, const struct l4s_params *params,
    uint64_t now)
{
	int error = l4s_params_check(params);

	if (error != 0)
		return (error);
	l4s_lock(&dev->lock);
	store_params(dev, params, now);
	l4s_unlock(&dev->lock);
	return (0);
}

void
l4s_device_limits(struct l4s_device *dev, struct l4s_limits *limits)
{
	l4s_lock(&dev->lock);
	*limits = dev->limits;
	l4s_unlock(&dev->lock);
}

int
l4s_device_set_limits(struct l4s_device *dev, const struct l4s_limits *limits,
    uint64_t now)
{
	int error = l4s_limits_check(limits);

	if (error != 0)
		return (error);
	l4s_lock(&dev->lock);
	store_limits(dev, limits, now);
	l4s_unlock(&dev->lock);
	return (0);
}

int
l4s_device_stats(struct l4s_device *dev, const struct l4s_handle *h,
    struct l4s_stats *stats, uint64_t now)
{
	int error;

	l4s_lock(&dev->lock);
	l4s_device_watch(dev, now);
	error = sum_stats(dev, h, stats);
	l4s_unlock(&dev->lock);
	return (error);
}

int
l4s_handle_open(struct l4s_device *dev, struct l4s_handle *h, bool privileged)
{
	memset(h, 0, sizeof(*h));
	h->device = dev;
	h->privileged = privileged;
	h->interval.records = 1;
	h->wake_at = UINT64_MAX;

	l4s_lock(&dev->lock);
	if (dev->nhandles == L4S_HANDLES_MAX) {
		l4s_unlock(&dev->lock);
		return (L4S_ENOMEM);
	}
	dev->nhandles++;
	if (dev->ring != NULL)
		l4s_cursor_init(&h->cursor, dev->ring);
	l4s_lock(&dev->wake_lock);
	h->next = dev->handles;
	dev->handles = h;
	l4s_unlock(&dev->wake_lock);
	l4s_unlock(&dev->lock);
	return (0);
}

void
l4s_handle_close(struct l4s_handle *h, uint64_t now)
{
	struct l4s_device *dev = h->device;
	struct l4s_handle **link;
	struct l4s_sched *s;

	l4s_lock(&dev->lock);
	if (dev->controller == h) {
		dev->controller = NULL;
		for (s = dev->scheds; s != NULL; s = s->next)
			l4s_sched_release(s);
		post(dev, L4S_EVENT_CONTROL_CLOSE, now);
	}
	l4s_lock(&dev->wake_lock);
	for (link = &dev->handles; *link != h; link = &(*link)->next)
		L4S_ASSERT(*link != NULL);
	*link = h->next;
	l4s_unlock(&dev->wake_lock);
	dev->nhandles--;
	l4s_unlock(&dev->lock);
}

/* Whether a controller missed its deadline is asked here when no packet does. */
void
l4s_device_watch(struct l4s_device *dev, uint64_t now)
{
	struct l4s_sched *s;

	for (s = dev->scheds; s != NULL; s = s->next)
		l4s_sched_watch(s, now);
}

/* An event of the device as a whole.  Device lock held. */
static void
post(struct l4s_device *dev, uint32_t code, uint64_t now)
{
	if (dev->scheds != NULL)
		l4s_sched_post_event(dev->scheds, 0, 0, code, 0);
	else if (dev->ring != NULL) {
		l4s_event_write(dev->ring, 0, 0, code, 0, now);
		l4s_ring_notify(dev->ring);
	}
}

static struct l4s_sched *
find(struct l4s_device *dev, uint32_t number, uint32_t instance)
{
	struct l4s_sched *s;

	for (s = dev->scheds; s != NULL; s = s->next)
		if (s->number == number && s->instance == instance)
			break;
	return (s);
}

/* The one size that a request's struct has; SIZE_MAX: no such request. */
static size_t
request_size(uint32_t op)
{
	switch (op) {
	case L4S_OP_VERSION:
		return (sizeof(struct l4s_version));
	case L4S_OP_CONTROL:
		return (0);
	case L4S_OP_INTERVAL:
		return (sizeof(struct l4s_interval));
	case L4S_OP_OVERRIDE:
		return (sizeof(struct l4s_override));
	case L4S_OP_STATS:
		return (sizeof(struct l4s_stats));
	case L4S_OP_GET_PARAMS:
	case L4S_OP_SET_PARAMS:
		return (sizeof(struct l4s_params));
	case L4S_OP_GET_LIMITS:
	case L4S_OP_SET_LIMITS:
		return (sizeof(struct l4s_limits));
	default:
		return (SIZE_MAX);
	}
}

int
l4s_handle_request(struct l4s_handle *h, uint32_t op, void *buf, size_t size,
    uint64_t now)
{
	struct l4s_device *dev = h->device;
	size_t want = request_size(op);
	int error;

	if (want == SIZE_MAX)
		return (L4S_ENOTTY);
	l4s_lock(&dev->lock);
	l4s_device_watch(dev, now);
	if (size != want) {
		if (op == L4S_OP_OVERRIDE)
			dev->invalid++;
		error = L4S_EPROTO;
	} else
		error = request(h, op, buf, now);
	l4s_unlock(&dev->lock);
	return (error);
}

/* buf holds the request's struct, perhaps unaligned.  Device lock held. */
static int
request(struct l4s_handle *h, uint32_t op, void *buf, uint64_t now)
{
	struct l4s_device *dev = h->device;
	union {
		struct l4s_version version;
		struct l4s_interval interval;
		struct l4s_override override;
		struct l4s_stats stats;
		struct l4s_params params;
		struct l4s_limits limits;
	} u;
	int error;

	memset(&u, 0, sizeof(u));
	if (op != L4S_OP_CONTROL)
		memcpy(&u, buf, request_size(op));
	switch (op) {
	case L4S_OP_VERSION:
		error = u.version.min > L4S_ABI_VERSION ||
		    u.version.max < L4S_ABI_VERSION_MIN ||
		    u.version.min > u.version.max ? L4S_EPROTO : 0;
		memset(&u, 0, sizeof(u));
		u.version.min = L4S_ABI_VERSION_MIN;
		u.version.max = L4S_ABI_VERSION;
		u.version.record_size = L4S_RECORD_SIZE;
		memcpy(u.version.module, L4S_RELEASE, sizeof(L4S_RELEASE));
		memcpy(buf, &u.version, sizeof(u.version));
		return (error);
	case L4S_OP_CONTROL:
		return (take_control(h, now));
	case L4S_OP_INTERVAL:
		if (u.interval.records < 1 || u.interval.records > 65536 ||
		    u.interval.pad != 0)
			return (L4S_EINVAL);
		h->interval = u.interval;
		if (dev->ring != NULL)
			l4s_handle_rearm(h);
		return (0);
	case L4S_OP_OVERRIDE:
		return (send_override(h, &u.override, now));
	case L4S_OP_STATS:
		error = sum_stats(dev, h, &u.stats);
		if (error == 0)
			memcpy(buf, &u.stats, sizeof(u.stats));
		return (error);
	case L4S_OP_GET_PARAMS:
		memcpy(buf, &dev->params, sizeof(dev->params));
		return (0);
	case L4S_OP_SET_PARAMS:
		if (dev->controller != h)
			return (L4S_EPERM);
		error = l4s_params_check(&u.params);
		if (error == 0)
			store_params(dev, &u.params, now);
		return (error);
	case L4S_OP_GET_LIMITS:
		memcpy(buf, &dev->limits, sizeof(dev->limits));
		return (0);
	case L4S_OP_SET_LIMITS:
		if (!h->privileged)
			return (L4S_EPERM);
		error = l4s_limits_check(&u.limits);
		if (error == 0)
			store_limits(dev, &u.limits, now);
		return (error);
	default:
		return (L4S_ENOTTY);
	}
}

static int
take_control(struct l4s_handle *h, uint64_t now)
{
	struct l4s_device *dev = h->device;

	if (dev->controller == h)
		return (0);
	if (dev->controller != NULL)
		return (L4S_EBUSY);
	dev->controller = h;
	post(dev, L4S_EVENT_CONTROL_OPEN, now);
	return (0);
}

static int
send_override(struct l4s_handle *h, const struct l4s_override *o,
    uint64_t now)
{
	struct l4s_device *dev = h->device;
	struct l4s_sched *s;
	int error;

	if (dev->controller != h)
		error = L4S_EPERM;
	else if (o->version != L4S_ABI_VERSION || o->length != sizeof(*o))
		error = L4S_EPROTO;
	else {
		s = find(dev, o->sched, o->instance);
		if (s != NULL)
			return (l4s_sched_submit(s, o, now));
		error = L4S_ENOENT;
	}
	dev->invalid++;
	return (error);
}

static void
store_params(struct l4s_device *dev, const struct l4s_params *params,
    uint64_t now)
{
	struct l4s_sched *s;

	dev->params = *params;
	for (s = dev->scheds; s != NULL; s = s->next)
		l4s_sched_post_params(s, params);
	post(dev, L4S_EVENT_PARAMS, now);
}

static void
store_limits(struct l4s_device *dev, const struct l4s_limits *limits,
    uint64_t now)
{
	struct l4s_sched *s;

	dev->limits = *limits;
	for (s = dev->scheds; s != NULL; s = s->next)
		l4s_sched_post_limits(s, limits);
	post(dev, L4S_EVENT_LIMITS, now);
}

/* Device lock held, or nobody else there. */
static int
sum_stats(struct l4s_device *dev, const struct l4s_handle *h,
    struct l4s_stats *stats)
{
	struct l4s_cursor_account account;
	struct l4s_sched *s;
	uint32_t number = stats->sched, instance = stats->instance;

	if (stats->version != L4S_ABI_VERSION ||
	    stats->length != sizeof(*stats))
		return (L4S_EPROTO);
	if (stats->pad0 != 0 || (number == 0 && instance != 0))
		return (L4S_EINVAL);
	s = NULL;
	if (number != 0 && (s = find(dev, number, instance)) == NULL)
		return (L4S_ENOENT);

	memset(stats, 0, sizeof(*stats));
	stats->version = L4S_ABI_VERSION;
	stats->length = sizeof(*stats);
	stats->sched = number;
	stats->instance = instance;
	if (number != 0)
		l4s_sched_stats(s, stats);
	else {
		for (s = dev->scheds; s != NULL; s = s->next)
			l4s_sched_stats(s, stats);
		stats->refused_invalid += dev->invalid;
	}
	if (h != NULL && dev->ring != NULL) {
		l4s_cursor_account(&h->cursor, dev->ring, &account);
		stats->records_written = account.written;
		stats->records_read = account.read;
		stats->records_lost = account.lost;
		stats->records_waiting = account.waiting;
	}
	return (0);
}
