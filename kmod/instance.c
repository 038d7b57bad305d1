/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Lifetime of an instance, and the device's side of it.  See instance.h.
 */

#include "instance.h"

void
l4s_instance_init(struct l4s_instance *inst, uint32_t sched,
    const struct l4s_params *params, const struct l4s_limits *limits,
    struct l4s_ring *rings, struct l4s_pkt_sink *sink, uint64_t seed,
    const struct l4s_siphash_key *key)
{
	memset(inst, 0, sizeof(*inst));
	inst->sched = sched;
	inst->rings = rings;
	inst->sink = sink;
	dualpi2_init(&inst->queue, params, seed);
	l4s_overrides_init(&inst->overrides, limits);
	l4s_fold_init(&inst->fold);
	inst->weights.key = *key;
}

void
l4s_instance_destroy(struct l4s_instance *inst)
{
	L4S_ASSERT(dualpi2_backlog(&inst->queue) == 0);
	l4s_overrides_destroy(&inst->overrides);
	l4s_free(inst->weights.table);
	l4s_free(inst->posted_table);
	l4s_free(inst->student);
	l4s_free(inst->posted_student);
}

/* Signals the packet path that there is work for it.  Locked. */
static void
instance_pend(struct l4s_instance *inst, uint32_t what)
{
	struct l4s_overrides *o = &inst->overrides;

	l4s_overrides_pend(o, o->pending | what);
}

void
l4s_instance_post_params(struct l4s_instance *inst,
    const struct l4s_params *params, union l4s_flow_table **tables)
{
	union l4s_flow_table *unused = NULL;

	l4s_lock(&inst->overrides.lock);
	inst->posted = *params;
	if (params->flow_weights == 0) {
		unused = inst->posted_table;
		inst->posted_table = NULL;
	} else if (inst->weights.table == NULL && inst->posted_table == NULL) {
		L4S_ASSERT(*tables != NULL);
		inst->posted_table = *tables;
		*tables = (*tables)->next;
	}
	instance_pend(inst, L4S_PENDING_PARAMS);
	l4s_unlock(&inst->overrides.lock);
	l4s_free(unused);
}

void
l4s_instance_post_limits(struct l4s_instance *inst,
    const struct l4s_limits *limits)
{
	l4s_lock(&inst->overrides.lock);
	inst->overrides.limits = *limits;
	instance_pend(inst, L4S_PENDING_LIMITS);
	l4s_unlock(&inst->overrides.lock);
}

void
l4s_instance_post_summaries(struct l4s_instance *inst,
    const struct l4s_summary_bounds *bounds)
{
	l4s_lock(&inst->overrides.lock);
	inst->posted_bounds = *bounds;
	instance_pend(inst, L4S_PENDING_SUMMARIES);
	l4s_unlock(&inst->overrides.lock);
}

void
l4s_instance_post_student(struct l4s_instance *inst,
    struct l4s_student_slot **slots, uint32_t idle_budget)
{
	struct l4s_student_slot *unused, *slot = *slots;

	if (slot != NULL)
		*slots = slot->next;
	l4s_lock(&inst->overrides.lock);
	unused = inst->posted_student;
	inst->posted_student = slot;
	inst->student_posted = true;
	inst->posted_budget = idle_budget;
	instance_pend(inst, L4S_PENDING_STUDENT);
	l4s_unlock(&inst->overrides.lock);
	l4s_free(unused);
}

void
l4s_instance_post_budget(struct l4s_instance *inst, uint32_t idle_budget)
{
	l4s_lock(&inst->overrides.lock);
	inst->posted_budget = idle_budget;
	instance_pend(inst, L4S_PENDING_STUDENT);
	l4s_unlock(&inst->overrides.lock);
}

void
l4s_instance_post_event(struct l4s_instance *inst, uint32_t code,
    uint64_t value)
{
	struct l4s_event_post *e;

	l4s_lock(&inst->overrides.lock);
	if (inst->nevents < nitems(inst->events))
		inst->nevents++;
	e = &inst->events[inst->nevents - 1];
	l4s_lock(&inst->device_events->lock);
	e->order = inst->device_events->posted++;
	l4s_unlock(&inst->device_events->lock);
	e->code = code;
	e->value = value;
	instance_pend(inst, L4S_PENDING_EVENTS);
	l4s_unlock(&inst->overrides.lock);
}

void
l4s_instance_post_events(struct l4s_instance *inst)
{
	l4s_lock(&inst->overrides.lock);
	instance_pend(inst, L4S_PENDING_EVENTS);
	l4s_unlock(&inst->overrides.lock);
}

void
l4s_instance_post_keyframe(struct l4s_instance *inst)
{
	l4s_lock(&inst->overrides.lock);
	instance_pend(inst, L4S_PENDING_KEYFRAME);
	l4s_unlock(&inst->overrides.lock);
}

int
l4s_instance_submit(struct l4s_instance *inst, const struct l4s_override *o,
    uint64_t now)
{
	bool recovered;
	int error;

	l4s_instance_watch(inst, now);
	error = l4s_override_submit(&inst->overrides, o, now, &recovered);
	if (recovered)
		l4s_instance_post_event(inst, L4S_EVENT_RECOVERED, 0);
	return (error);
}

void
l4s_instance_release(struct l4s_instance *inst)
{
	l4s_overrides_release(&inst->overrides);
}

void
l4s_instance_watch(struct l4s_instance *inst, uint64_t now)
{
	uint64_t misses;

	if (l4s_overrides_watch(&inst->overrides, now, &misses))
		l4s_instance_post_event(inst, L4S_EVENT_WATCHDOG, misses);
}
