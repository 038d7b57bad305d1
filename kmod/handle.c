/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See handle.h. */

#include "handle.h"

static int	handle_answer(struct l4s_handle *, uint32_t op, void *buf,
		    uint64_t now);
static int	handle_take_control(struct l4s_handle *, uint64_t now);
static int	handle_send_override(struct l4s_handle *,
		    const struct l4s_override *, uint64_t now);
static int	handle_stats(struct l4s_handle *, struct l4s_stats *);

int
l4s_handle_open(struct l4s_device *dev, struct l4s_handle *h, bool privileged)
{
	static const struct l4s_interval interval = {
		.records = 1,
		.streams = L4S_STREAM_RECORDS,
	};

	memset(h, 0, sizeof(*h));
	h->device = dev;
	h->privileged = privileged;
	l4s_waiter_disarm(&h->waiter);

	l4s_lock(&dev->lock);
	if (dev->nwaiters == L4S_HANDLES_MAX) {
		l4s_unlock(&dev->lock);
		return (L4S_ENOMEM);
	}
	dev->nwaiters++;
	l4s_handle_subscribe(h, interval.streams, 0);
	h->interval = interval;
	l4s_lock(&dev->wake_lock);
	h->waiter.next = dev->waiters;
	dev->waiters = &h->waiter;
	l4s_unlock(&dev->wake_lock);
	l4s_unlock(&dev->lock);
	return (0);
}

void
l4s_handle_close(struct l4s_handle *h, uint64_t now)
{
	struct l4s_device *dev = h->device;
	struct l4s_waiter **link;
	struct l4s_instance *inst;

	l4s_lock(&dev->lock);
	if (dev->controller == h) {
		dev->controller = NULL;
		for (inst = dev->instances; inst != NULL; inst = inst->next)
			l4s_instance_release(inst);
		l4s_device_post(dev, L4S_EVENT_CONTROL_CLOSE, now);
	}
	l4s_lock(&dev->wake_lock);
	for (link = &dev->waiters; *link != &h->waiter; link = &(*link)->next)
		L4S_ASSERT(*link != NULL);
	*link = h->waiter.next;
	l4s_unlock(&dev->wake_lock);
	dev->nwaiters--;
	l4s_handle_subscribe(h, 0, now);
	l4s_device_store_summaries(dev);
	l4s_unlock(&dev->lock);
}

/* The size of a request's struct; SIZE_MAX: no such request. */
static size_t
handle_request_size(uint32_t op)
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
	case L4S_OP_QUEUES:
		return (sizeof(struct l4s_queues));
	case L4S_OP_GET_PARAMS:
	case L4S_OP_SET_PARAMS:
		return (sizeof(struct l4s_params));
	case L4S_OP_GET_LIMITS:
	case L4S_OP_SET_LIMITS:
		return (sizeof(struct l4s_limits));
	case L4S_OP_SET_STUDENT:
		return (sizeof(struct l4s_student_switch));
	case L4S_OP_GET_STUDENT:
		return (sizeof(struct l4s_student_status));
	default:
		return (SIZE_MAX);
	}
}

int
l4s_handle_request(struct l4s_handle *h, uint32_t op, void *buf, size_t size,
    uint64_t now)
{
	struct l4s_device *dev = h->device;
	size_t want = handle_request_size(op);
	int error;

	if (want == SIZE_MAX && op != L4S_OP_LOAD_STUDENT)
		return (L4S_ENOTTY);
	l4s_lock(&dev->lock);
	l4s_device_watch(dev, now);
	if (op == L4S_OP_LOAD_STUDENT)
		error = !h->privileged ? L4S_EPERM :
		    l4s_device_load_student(dev, buf, size, now);
	else if (size != want) {
		if (op == L4S_OP_OVERRIDE)
			dev->invalid++;
		error = L4S_EPROTO;
	} else
		error = handle_answer(h, op, buf, now);
	l4s_unlock(&dev->lock);
	return (error);
}

static bool
handle_interval_ok(const struct l4s_interval *i)
{
	bool summaries = (i->streams & L4S_STREAM_SUMMARIES) != 0;

	if (i->records < 1 || i->records > 65536 || i->pad != 0 ||
	    i->streams == 0 || (i->streams & ~L4S_STREAM_ALL) != 0)
		return (false);
	if (!summaries)
		return (i->summary_ns == 0 && i->summary_decisions == 0);
	return ((i->summary_ns != 0 || i->summary_decisions != 0) &&
	    (i->summary_ns == 0 || (i->summary_ns >= L4S_NS_PER_MS &&
	    i->summary_ns <= 60 * L4S_NS_PER_S)) &&
	    i->summary_decisions <= 1U << 30);
}

/* An observer must not shorten all readers' summaries to single packets. */
static bool
handle_may_ask(const struct l4s_handle *h, const struct l4s_interval *i)
{
	return (h->privileged || h->device->controller == h ||
	    i->summary_decisions == 0 ||
	    i->summary_decisions >= L4S_OBSERVER_DECISIONS);
}

/* buf holds the request's struct and may be unaligned.  Device lock held. */
static int
handle_answer(struct l4s_handle *h, uint32_t op, void *buf, uint64_t now)
{
	struct l4s_device *dev = h->device;
	union {
		struct l4s_version version;
		struct l4s_interval interval;
		struct l4s_override override;
		struct l4s_stats stats;
		struct l4s_queues queues;
		struct l4s_params params;
		struct l4s_limits limits;
		struct l4s_student_switch student;
		struct l4s_student_status status;
	} u;
	int error;

	memset(&u, 0, sizeof(u));
	if (op != L4S_OP_CONTROL)
		memcpy(&u, buf, handle_request_size(op));
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
		return (handle_take_control(h, now));
	case L4S_OP_INTERVAL:
		if (!handle_interval_ok(&u.interval))
			return (L4S_EINVAL);
		if (!handle_may_ask(h, &u.interval))
			return (L4S_EPERM);
		l4s_handle_subscribe(h, u.interval.streams, now);
		h->interval = u.interval;
		h->waiter.bounds.ns = u.interval.summary_ns;
		h->waiter.bounds.decisions = u.interval.summary_decisions;
		l4s_device_store_summaries(dev);
		if (dev->rings != NULL)
			l4s_handle_rearm(h);
		return (0);
	case L4S_OP_OVERRIDE:
		return (handle_send_override(h, &u.override, now));
	case L4S_OP_STATS:
		error = handle_stats(h, &u.stats);
		if (error == 0)
			memcpy(buf, &u.stats, sizeof(u.stats));
		return (error);
	case L4S_OP_QUEUES:
		error = l4s_device_sum_queues(dev, &u.queues, now);
		if (error == 0)
			memcpy(buf, &u.queues, sizeof(u.queues));
		return (error);
	case L4S_OP_GET_PARAMS:
		memcpy(buf, &dev->params, sizeof(dev->params));
		return (0);
	case L4S_OP_SET_PARAMS:
		if (dev->controller != h)
			return (L4S_EPERM);
		error = l4s_params_check(&u.params);
		if (error == 0)
			error = l4s_device_store_params(dev, &u.params, now);
		return (error);
	case L4S_OP_GET_LIMITS:
		memcpy(buf, &dev->limits, sizeof(dev->limits));
		return (0);
	case L4S_OP_SET_LIMITS:
		if (!h->privileged)
			return (L4S_EPERM);
		error = l4s_limits_check(&u.limits);
		if (error == 0)
			l4s_device_store_limits(dev, &u.limits, now);
		return (error);
	case L4S_OP_SET_STUDENT:
		if (!h->privileged)
			return (L4S_EPERM);
		return (l4s_device_switch_student(dev, &u.student, now));
	case L4S_OP_GET_STUDENT:
		l4s_device_student(dev, &u.status);
		memcpy(buf, &u.status, sizeof(u.status));
		return (0);
	default:
		return (L4S_ENOTTY);
	}
}

static int
handle_take_control(struct l4s_handle *h, uint64_t now)
{
	struct l4s_device *dev = h->device;

	if (dev->controller == h)
		return (0);
	if (dev->controller != NULL)
		return (L4S_EBUSY);
	dev->controller = h;
	l4s_device_post(dev, L4S_EVENT_CONTROL_OPEN, now);
	return (0);
}

static int
handle_send_override(struct l4s_handle *h, const struct l4s_override *o,
    uint64_t now)
{
	struct l4s_device *dev = h->device;
	struct l4s_instance *inst;
	int error;

	if (dev->controller != h)
		error = L4S_EPERM;
	else if (o->version != L4S_ABI_VERSION || o->length != sizeof(*o))
		error = L4S_EPROTO;
	else {
		inst = l4s_device_find(dev, o->sched, o->instance);
		if (inst != NULL)
			return (l4s_instance_submit(inst, o, now));
		error = L4S_ENOENT;
	}
	dev->invalid++;
	return (error);
}

/* The counts of instances, and of messages as seen by this descriptor. */
static int
handle_stats(struct l4s_handle *h, struct l4s_stats *stats)
{
	int error = l4s_device_sum(h->device, stats);

	if (error == 0)
		l4s_handle_account(h, stats);
	return (error);
}
