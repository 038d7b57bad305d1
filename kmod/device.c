/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See device.h. */

#include "device.h"
#include "stats.h"

static uint32_t	device_next_instance(struct l4s_device *, uint32_t sched);
static int	device_select(struct l4s_device *, uint32_t sched,
		    uint32_t instance, struct l4s_instance **);
static void	device_wake(struct l4s_ring *, void *);

void
l4s_device_init(struct l4s_device *dev, struct l4s_ring *rings,
    const struct l4s_params *params, const struct l4s_limits *limits)
{
	unsigned i;

	memset(dev, 0, sizeof(*dev));
	l4s_lock_init(&dev->lock, "l4s device");
	l4s_lock_init(&dev->wake_lock, "l4s wake");
	l4s_lock_init(&dev->events.lock, "l4s events");
	dev->rings = rings;
	dev->params = *params;
	dev->limits = *limits;
	for (i = 0; rings != NULL && i < L4S_RINGS; i++) {
		rings[i].wake = device_wake;
		rings[i].wake_arg = dev;
		rings[i].events = &dev->events.lock;
	}
}

void
l4s_device_destroy(struct l4s_device *dev)
{
	L4S_ASSERT(dev->instances == NULL && dev->waiters == NULL);
	l4s_free(dev->student);
	l4s_lock_destroy(&dev->events.lock);
	l4s_lock_destroy(&dev->wake_lock);
	l4s_lock_destroy(&dev->lock);
}

int
l4s_device_attach(struct l4s_device *dev, struct l4s_instance *inst)
{
	union l4s_flow_table *tables = NULL;
	struct l4s_student_slot *slots = NULL;

	l4s_lock(&dev->lock);
	if ((dev->params.flow_weights != 0 && !l4s_flow_tables_add(&tables)) ||
	    (dev->student_on && !l4s_student_slots_add(&slots, dev->student))) {
		l4s_unlock(&dev->lock);
		l4s_flow_tables_free(tables);
		return (L4S_ENOMEM);
	}
	inst->instance = device_next_instance(dev, inst->sched);
	inst->device_events = &dev->events;
	inst->next = dev->instances;
	dev->instances = inst;
	/* The packet path reads the number with these, for its records. */
	l4s_instance_post_params(inst, &dev->params, &tables);
	l4s_instance_post_limits(inst, &dev->limits);
	l4s_instance_post_summaries(inst, &dev->bounds);
	l4s_instance_post_student(inst, &slots, l4s_device_budget(dev));
	l4s_instance_post_events(inst);
	l4s_instance_post_keyframe(inst);
	l4s_unlock(&dev->lock);
	return (0);
}

/*
 * Returns an unused number.  After all 2^32 were used, it is unique among the
 * current instances of this scheduler; the search takes at most one iteration
 * more than there are instances.
 */
static uint32_t
device_next_instance(struct l4s_device *dev, uint32_t sched)
{
	uint32_t instance;

	do
		instance = (uint32_t)dev->joined++;
	while (__predict_false(dev->joined > (uint64_t)UINT32_MAX + 1) &&
	    l4s_device_find(dev, sched, instance) != NULL);
	return (instance);
}

void
l4s_device_detach(struct l4s_device *dev, struct l4s_instance *inst,
    uint64_t now)
{
	struct l4s_instance **link;

	l4s_instance_close(inst, now);
	l4s_lock(&dev->lock);
	for (link = &dev->instances; *link != inst; link = &(*link)->next)
		L4S_ASSERT(*link != NULL);
	*link = inst->next;
	/* Submitted since the instance was closed; no more can follow. */
	l4s_instance_release(inst);
	l4s_stats_add(&dev->gone, inst);
	l4s_queues_add(&dev->gone_queues, inst, now);
	dev->student_decisions += L4S_LOAD(&inst->student_decisions);
	dev->gone_queues.base_probability = 0;
	dev->gone_queues.classic_probability = 0;
	dev->gone_queues.coupled_probability = 0;
	l4s_instance_write_events(inst, now);
	l4s_unlock(&dev->lock);
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
	error = l4s_device_store_params(dev, params, now);
	l4s_unlock(&dev->lock);
	return (error);
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
	l4s_device_store_limits(dev, limits, now);
	l4s_unlock(&dev->lock);
	return (0);
}

int
l4s_device_stats(struct l4s_device *dev, struct l4s_stats *stats, uint64_t now)
{
	int error;

	l4s_lock(&dev->lock);
	l4s_device_watch(dev, now);
	error = l4s_device_sum(dev, stats);
	l4s_unlock(&dev->lock);
	return (error);
}

int
l4s_device_queues(struct l4s_device *dev, struct l4s_queues *queues,
    uint64_t now)
{
	int error;

	l4s_lock(&dev->lock);
	error = l4s_device_sum_queues(dev, queues, now);
	l4s_unlock(&dev->lock);
	return (error);
}

void
l4s_device_watch(struct l4s_device *dev, uint64_t now)
{
	struct l4s_instance *inst;

	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_watch(inst, now);
}

void
l4s_device_post(struct l4s_device *dev, uint32_t code, uint64_t now)
{
	l4s_device_post_value(dev, code, 0, now);
}

void
l4s_device_post_value(struct l4s_device *dev, uint32_t code, uint64_t value,
    uint64_t now)
{
	struct l4s_events *e = &dev->events;
	struct l4s_event_post *waiting;
	struct l4s_instance *inst;

	if (dev->instances == NULL) {
		l4s_event_write(dev->rings, 0, 0, code, value, now);
		return;
	}
	l4s_lock(&e->lock);
	if (e->n < nitems(e->waiting))
		e->n++;
	waiting = &e->waiting[e->n - 1];
	waiting->order = e->posted++;
	waiting->code = code;
	waiting->value = value;
	l4s_unlock(&e->lock);
	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_events(inst);
}

void
l4s_device_post_keyframes(struct l4s_device *dev)
{
	struct l4s_instance *inst;

	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_keyframe(inst);
}

struct l4s_instance *
l4s_device_find(struct l4s_device *dev, uint32_t sched, uint32_t instance)
{
	struct l4s_instance *inst;

	for (inst = dev->instances; inst != NULL; inst = inst->next)
		if (inst->sched == sched && inst->instance == instance)
			break;
	return (inst);
}

int
l4s_device_store_params(struct l4s_device *dev, const struct l4s_params *params,
    uint64_t now)
{
	union l4s_flow_table *tables = NULL;
	struct l4s_instance *inst;

	/* All instances have the device's parameters. */
	if (params->flow_weights > dev->params.flow_weights)
		for (inst = dev->instances; inst != NULL; inst = inst->next)
			if (!l4s_flow_tables_add(&tables)) {
				l4s_flow_tables_free(tables);
				return (L4S_ENOMEM);
			}
	dev->params = *params;
	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_params(inst, params, &tables);
	/*
	 * Tables of instances whose packet path has not yet seen that weights
	 * were disabled.
	 */
	l4s_flow_tables_free(tables);
	l4s_device_post(dev, L4S_EVENT_PARAMS, now);
	return (0);
}

void
l4s_device_store_limits(struct l4s_device *dev, const struct l4s_limits *limits,
    uint64_t now)
{
	struct l4s_instance *inst;

	dev->limits = *limits;
	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_limits(inst, limits);
	l4s_device_post(dev, L4S_EVENT_LIMITS, now);
}

void
l4s_device_store_summaries(struct l4s_device *dev)
{
	struct l4s_summary_bounds least = {
		.ns = dev->student_on ? dev->student->header.period_ns : 0,
	};
	const struct l4s_waiter *w;
	struct l4s_instance *inst;

	for (w = dev->waiters; w != NULL; w = w->next) {
		if (w->bounds.ns != 0 &&
		    (least.ns == 0 || w->bounds.ns < least.ns))
			least.ns = w->bounds.ns;
		if (w->bounds.decisions != 0 && (least.decisions == 0 ||
		    w->bounds.decisions < least.decisions))
			least.decisions = w->bounds.decisions;
	}
	if (least.ns == dev->bounds.ns &&
	    least.decisions == dev->bounds.decisions)
		return;
	dev->bounds = least;
	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_summaries(inst, &least);
}

int
l4s_device_sum(struct l4s_device *dev, struct l4s_stats *stats)
{
	struct l4s_instance *inst = NULL;
	uint32_t sched = stats->sched, instance = stats->instance;
	int error;

	if (stats->version != L4S_ABI_VERSION ||
	    stats->length != sizeof(*stats))
		return (L4S_EPROTO);
	if (stats->pad0 != 0)
		return (L4S_EINVAL);
	error = device_select(dev, sched, instance, &inst);
	if (error != 0)
		return (error);

	if (inst != NULL) {
		memset(stats, 0, sizeof(*stats));
		l4s_stats_add(stats, inst);
	} else {
		*stats = dev->gone;
		for (inst = dev->instances; inst != NULL; inst = inst->next)
			l4s_stats_add(stats, inst);
		stats->refused_invalid += dev->invalid;
	}
	stats->version = L4S_ABI_VERSION;
	stats->length = sizeof(*stats);
	stats->sched = sched;
	stats->instance = instance;
	return (0);
}

int
l4s_device_sum_queues(struct l4s_device *dev, struct l4s_queues *queues,
    uint64_t now)
{
	struct l4s_instance *inst = NULL;
	uint32_t sched = queues->sched, instance = queues->instance;
	int error;

	if (queues->version != L4S_ABI_VERSION ||
	    queues->length != sizeof(*queues))
		return (L4S_EPROTO);
	if (queues->pad0 != 0)
		return (L4S_EINVAL);
	error = device_select(dev, sched, instance, &inst);
	if (error != 0)
		return (error);

	if (inst != NULL) {
		memset(queues, 0, sizeof(*queues));
		l4s_queues_add(queues, inst, now);
		queues->credit = L4S_LOAD(&inst->queue.credit);
	} else {
		*queues = dev->gone_queues;
		for (inst = dev->instances; inst != NULL; inst = inst->next)
			l4s_queues_add(queues, inst, now);
		inst = dev->instances;
		if (inst != NULL && inst->next == NULL)
			queues->credit = L4S_LOAD(&inst->queue.credit);
	}
	queues->version = L4S_ABI_VERSION;
	queues->length = sizeof(*queues);
	queues->sched = sched;
	queues->instance = instance;
	return (0);
}

/* The instance named by a request; NULL with sched 0, for all. */
static int
device_select(struct l4s_device *dev, uint32_t sched, uint32_t instance,
    struct l4s_instance **inst)
{
	if (sched == 0)
		return (instance == 0 ? 0 : L4S_EINVAL);
	*inst = l4s_device_find(dev, sched, instance);
	return (*inst != NULL ? 0 : L4S_ENOENT);
}

void
l4s_device_publish(struct l4s_device *dev)
{
	struct l4s_waiter *w;
	uint64_t least;
	unsigned i;

	for (i = 0; i < L4S_RINGS; i++) {
		least = UINT64_MAX;
		for (w = dev->waiters; w != NULL; w = w->next)
			if (w->at[i] < least)
				least = w->at[i];
		L4S_STORE(&dev->rings[i].wake_at, least);
	}
}

void
l4s_waiter_disarm(struct l4s_waiter *w)
{
	unsigned i;

	for (i = 0; i < L4S_RINGS; i++)
		w->at[i] = UINT64_MAX;
}

/*
 * The wake callback of a ring, from the packet path; at most L4S_HANDLES_MAX
 * iterations.
 */
static void
device_wake(struct l4s_ring *r, void *arg)
{
	struct l4s_device *dev = arg;
	struct l4s_waiter *w;
	uint64_t head = l4s_ring_head(r);
	size_t i = (size_t)(r - dev->rings);

	l4s_lock(&dev->wake_lock);
	for (w = dev->waiters; w != NULL; w = w->next)
		if (w->at[i] <= head) {
			l4s_waiter_disarm(w);
			w->wake(w->arg);
		}
	l4s_device_publish(dev);
	l4s_unlock(&dev->wake_lock);
}
