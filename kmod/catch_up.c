/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Work of the packet path between packets: takes requests left by the device,
 * ends expired overrides, follows the controller, the ceiling, overload and
 * idle time, and ends summaries.  See instance.h.
 *
 * Compiled with packet_path.c: queue_unit.c.
 */

#include "instance.h"

static L4S_SLOW void instance_look(struct l4s_instance *, uint64_t now);
static void	instance_look_later(struct l4s_instance *);
static uint64_t	instance_below_ceiling_until(const struct l4s_instance *);
static void	instance_collect(struct l4s_instance *, uint64_t now);
static bool	instance_expire(struct l4s_instance *, uint64_t now);
static bool	instance_above_ceiling(const struct l4s_instance *,
		    uint64_t now);
static L4S_SLOW void instance_follow_ceiling(struct l4s_instance *,
		    uint64_t now);
static inline uint8_t instance_ceiling_status(bool above);
static L4S_SLOW void instance_summarize(struct l4s_instance *, uint64_t now);
static void	instance_take_bounds(struct l4s_instance *, uint64_t now);
static bool	instance_take_student(struct l4s_instance *);
static void	instance_ask_student(struct l4s_instance *, uint64_t now);
static void	instance_reconfigure(struct l4s_instance *);
static void	instance_take_params(struct l4s_instance *, uint64_t now);
static void	instance_weigh_flows(struct l4s_instance *, uint64_t now);
static L4S_SLOW void instance_write_context(struct l4s_instance *,
		    uint64_t now);
static void	instance_write_keyframe(struct l4s_instance *, uint64_t now);
static L4S_SLOW void instance_overload(struct l4s_instance *, uint64_t at,
		    uint64_t now);
static void	instance_end_overload(struct l4s_instance *, uint64_t now);
static void	instance_event(struct l4s_instance *, uint32_t code,
		    uint64_t value, uint64_t now);

/*
 * Runs the controller up to `at' and updates the overload state.  Messages are
 * stamped `now', when they are written, because other instances may have
 * written since `at'.
 */
static inline void
instance_advance(struct l4s_instance *inst, uint64_t at, uint64_t now)
{
	struct dualpi2 *d = &inst->queue;
	uint64_t due = d->next_update;
	uint32_t p = d->p_base;

	if (__predict_true(at < due))
		return;
	dualpi2_update(d, at);
	instance_overload(inst, at, now);
	instance_write_context(inst, now);
	/* The first packet runs no update. */
	if (inst->fold.on && due != 0)
		l4s_fold_updated(&inst->fold,
		    (d->next_update - due) / d->set.tupdate_ns, p,
		    d->p_base);
}

/*
 * Advances the instance to `now'.  Returns the time to use, which is
 * monotonic.
 */
static inline uint64_t
instance_catch_up(struct l4s_instance *inst, uint64_t now)
{
	if (__predict_false(now < inst->now))
		now = inst->now;
	if (__predict_false(now >= L4S_LOAD(&inst->overrides.look_ns)))
		instance_look(inst, now);
	inst->now = now;
	return (now);
}

/* Handles pending requests and all work that is due. */
static void
instance_look(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;

	if (L4S_LOAD_ACQ(&o->pending) != 0 || now >= o->due)
		instance_collect(inst, now);
	inst->now = now;
	instance_advance(inst, now, now);
	if (now >= inst->fold.due_ns && l4s_fold_due(&inst->fold, now))
		instance_summarize(inst, now);
	if (now >= instance_below_ceiling_until(inst))
		l4s_override_watch_ceiling(o);
	instance_look_later(inst);
}

/*
 * Until this time, neither queue's delay can exceed the ceiling: heads are only
 * followed by later packets.
 */
static uint64_t
instance_below_ceiling_until(const struct l4s_instance *inst)
{
	const struct dualpi2_queue *q = inst->queue.queue;
	uint64_t oldest = inst->now, ceiling = inst->overrides.bounds.ceiling_ns;
	unsigned i;

	for (i = 0; i < nitems(inst->queue.queue); i++)
		if (q[i].backlog != 0 && q[i].head_ns < oldest)
			oldest = q[i].head_ns;
	return (ceiling < L4S_NEVER - oldest ? oldest + ceiling : L4S_NEVER);
}

/* Must be called when one of these times may have become earlier. */
static void
instance_look_later(struct l4s_instance *inst)
{
	uint64_t when = instance_below_ceiling_until(inst);

	if (inst->queue.next_update < when)
		when = inst->queue.next_update;
	if (inst->overrides.due < when)
		when = inst->overrides.due;
	if (inst->fold.due_ns < when)
		when = inst->fold.due_ns;
	l4s_overrides_look_at(&inst->overrides, when);
}

/* Ends a summary: writes it, and passes it to the student. */
static void
instance_summarize(struct l4s_instance *inst, uint64_t now)
{
	const struct l4s_overrides *o = &inst->overrides;
	struct l4s_student_slot *student = inst->student;
	const struct l4s_summary *summary;
	const struct l4s_fold_end end = {
		.override_id = o->active ? o->current.id : 0,
		.status = o->status |
		    instance_ceiling_status(instance_above_ceiling(inst, now)),
	};

	summary = l4s_fold_end(&inst->fold, &inst->queue, &inst->counters,
	    &end, inst->sched, inst->instance, now);
	if (inst->rings != NULL)
		l4s_fold_write(&inst->fold, &inst->rings[L4S_RING_SUMMARIES]);
	if (student != NULL && l4s_student_add(&student->state, summary,
	    student->net.header.period_ns, inst->idle_budget))
		instance_ask_student(inst, now);
	l4s_fold_next(&inst->fold, &inst->queue, &inst->counters, now);
	instance_look_later(inst);
}

/* A period of the student ended. */
static void
instance_ask_student(struct l4s_instance *inst, uint64_t now)
{
	const struct l4s_limits *limits = &inst->overrides.bounds;
	struct l4s_student_slot *student = inst->student;
	uint64_t life = L4S_STUDENT_LIFE * student->net.header.period_ns;

	if (life > limits->max_ttl_ns)
		life = limits->max_ttl_ns;
	l4s_student_decide(&student->net, &student->state,
	    &inst->queue.params, limits, &student->decision);
	student->decision.expires_ns = now + life;
	L4S_COUNT(&inst->student_decisions, 1);
	if (l4s_override_student(&inst->overrides, &inst->queue,
	    &student->decision)) {
		instance_reconfigure(inst);
		instance_write_context(inst, now);
	}
}

/*
 * Handles events in the order in which they happened: first expiry at its own
 * time, then the device's requests, which take effect now.
 */
static void
instance_collect(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;
	struct dualpi2 *d = &inst->queue;
	uint32_t pending;
	bool changed = instance_expire(inst, now);

	if (now >= o->due)
		l4s_instance_watch(inst, now);
	pending = L4S_LOAD_ACQ(&o->pending);
	if (pending != 0) {
		instance_advance(inst, now, now);
		if (l4s_override_collect(o, d, pending,
		    inst->counters.decisions, now))
			changed = true;
		if ((pending & L4S_PENDING_PARAMS) != 0) {
			instance_take_params(inst, now);
			l4s_override_resume(o, d);
			changed = true;
		}
		if ((pending & L4S_PENDING_STUDENT) != 0 &&
		    instance_take_student(inst))
			changed = true;
		if ((pending & L4S_PENDING_SUMMARIES) != 0)
			instance_take_bounds(inst, now);
		if ((pending & L4S_PENDING_EVENTS) != 0)
			l4s_instance_write_events(inst, now);
	}
	if (changed)
		instance_reconfigure(inst);
	if ((pending & L4S_PENDING_KEYFRAME) != 0)
		instance_write_keyframe(inst, now);
	else
		instance_write_context(inst, now);
}

/*
 * Ends an override and a decision of the student that expired, the earlier one
 * first, each after running the controller up to then with the set-points in
 * force.  Returns true if set-points changed.
 */
static bool
instance_expire(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;
	struct dualpi2 *d = &inst->queue;
	uint64_t override, student, at;
	bool changed = false;

	for (;;) {
		override = o->active ? o->current.expires_ns : L4S_NEVER;
		student = o->student != NULL ? o->student->expires_ns :
		    L4S_NEVER;
		at = override < student ? override : student;
		if (at > now || at == L4S_NEVER)
			return (changed);
		if (at > inst->now)
			instance_advance(inst, at, now);
		if (at == override ? l4s_override_expire(o, d, at) :
		    l4s_override_expire_student(o, d, at))
			changed = true;
	}
}

/* Applies the posted bounds of summaries. */
static void
instance_take_bounds(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;
	struct l4s_summary_bounds bounds;

	l4s_lock(&o->lock);
	bounds = inst->posted_bounds;
	l4s_unlock(&o->lock);
	l4s_fold_configure(&inst->fold, &bounds, &inst->queue,
	    &inst->counters, now);
}

/* Takes the posted student.  Returns true if set-points changed. */
static bool
instance_take_student(struct l4s_instance *inst)
{
	struct l4s_overrides *o = &inst->overrides;
	struct l4s_student_slot *unused = NULL;
	bool replaced, changed;

	l4s_lock(&o->lock);
	inst->idle_budget = inst->posted_budget;
	replaced = inst->student_posted;
	if (replaced) {
		unused = inst->student;
		inst->student = inst->posted_student;
		inst->posted_student = NULL;
		inst->student_posted = false;
	}
	l4s_unlock(&o->lock);
	changed = replaced && l4s_override_student(o, &inst->queue, NULL);
	l4s_free(unused);
	return (changed);
}

static void
instance_reconfigure(struct l4s_instance *inst)
{
	l4s_record_configure(&inst->config, &inst->queue, inst->sched,
	    inst->instance);
}

/* Applies the posted parameters. */
static void
instance_take_params(struct l4s_instance *inst, uint64_t now)
{
	union l4s_flow_table *unused = NULL;
	struct l4s_params params;

	l4s_lock(&inst->overrides.lock);
	params = inst->posted;
	if (params.flow_weights == 0) {
		unused = inst->weights.table;
		inst->weights.table = NULL;
	} else if (inst->weights.table == NULL) {
		inst->weights.table = inst->posted_table;
		inst->posted_table = NULL;
	}
	l4s_unlock(&inst->overrides.lock);
	dualpi2_configure(&inst->queue, &params);
	instance_weigh_flows(inst, now);
	l4s_free(unused);
}

/* Starts or stops weighting flows, depending on whether there is a table. */
static void
instance_weigh_flows(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_flow_weights *w = &inst->weights;
	struct dualpi2 *d = &inst->queue;

	if (w->table != NULL && d->flows == NULL) {
		l4s_flow_weights_start(w, now);
		d->flows_since = now;
	}
	d->flows = w->table;
}

static void
instance_write_keyframe(struct l4s_instance *inst, uint64_t now)
{
	if (l4s_ring_wanted(inst->rings))
		l4s_record_keyframe(inst->rings, &inst->told, &inst->queue,
		    &inst->config, inst->overrides.current.id, now);
}

static void
instance_write_context(struct l4s_instance *inst, uint64_t now)
{
	if (l4s_ring_wanted(inst->rings))
		l4s_record_context(inst->rings, &inst->told, &inst->queue,
		    &inst->config, inst->overrides.current.id, now);
}

/* Writes the instance's events and the device's in the order of posting. */
void
l4s_instance_write_events(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_event_post own[L4S_INSTANCE_EVENTS], all[L4S_DEVICE_EVENTS];
	struct l4s_events *e = inst->device_events;
	unsigned i = 0, k = 0, nown, nall;

	l4s_lock(&inst->overrides.lock);
	nown = inst->nevents;
	memcpy(own, inst->events, nown * sizeof(own[0]));
	inst->nevents = 0;
	l4s_unlock(&inst->overrides.lock);
	l4s_lock(&e->lock);
	nall = e->n;
	memcpy(all, e->waiting, nall * sizeof(all[0]));
	e->n = 0;
	l4s_unlock(&e->lock);
	while (i < nown || k < nall)
		if (k == nall || (i < nown && own[i].order < all[k].order)) {
			instance_event(inst, own[i].code, own[i].value, now);
			i++;
		} else {
			l4s_event_write(inst->rings, 0, 0, all[k].code,
			    all[k].value, now);
			k++;
		}
}

/* Plain DualPI2 decides while either queue's delay is above the ceiling. */
static bool
instance_above_ceiling(const struct l4s_instance *inst, uint64_t now)
{
	uint64_t c = dualpi2_head_delay(&inst->queue, L4S_QUEUE_CLASSIC, now);
	uint64_t l = dualpi2_head_delay(&inst->queue, L4S_QUEUE_L4S, now);

	return ((c > l ? c : l) > inst->overrides.bounds.ceiling_ns);
}

/*
 * Set-points are steered only below the ceiling, where packets need no check.
 */
static void
instance_follow_ceiling(struct l4s_instance *inst, uint64_t now)
{
	if (l4s_override_ceiling(&inst->overrides, &inst->queue,
	    instance_above_ceiling(inst, now))) {
		instance_reconfigure(inst);
		instance_write_context(inst, now);
	}
	if (!inst->overrides.above)
		instance_look_later(inst);
}

static inline uint8_t
instance_ceiling_status(bool above)
{
	return (above ? L4S_STATUS_CEILING : 0);
}

/*
 * Tracks entering and leaving overload, at each update of p'.  Time between two
 * updates counts as spent in overload if both found it.
 */
static void
instance_overload(struct l4s_instance *inst, uint64_t at, uint64_t now)
{
	struct l4s_overload *o = &inst->overload;
	struct l4s_counters *c = &inst->counters;
	bool in = inst->queue.overload;

	if (o->in && in) {
		o->lasted_ns += at - o->seen_ns;
		L4S_COUNT(&c->overload_ns, at - o->seen_ns);
	}
	o->seen_ns = at;
	if (in && !o->reported) {
		o->reported = true;
		o->lasted_ns = 0;
		L4S_COUNT(&c->overloads, 1);
		instance_event(inst, L4S_EVENT_OVERLOAD, 0, now);
	}
	if (in != o->in) {
		o->in = in;
		o->left_ns = at;
		L4S_STORE(&c->overload, in ? 1 : 0);
	}
	if (o->reported && !in && at - o->left_ns >= L4S_OVERLOAD_QUIET_NS)
		instance_end_overload(inst, now);
}

static void
instance_end_overload(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overload *o = &inst->overload;

	o->reported = o->in = false;
	L4S_STORE(&inst->counters.overload, 0);
	instance_event(inst, L4S_EVENT_OVERLOAD_END, o->lasted_ns, now);
}

static void
instance_event(struct l4s_instance *inst, uint32_t code, uint64_t value,
    uint64_t now)
{
	l4s_event_write(inst->rings, inst->sched, inst->instance, code, value,
	    now);
}

/* A dequeue found no packet, so the link is idle. */
static inline void
instance_empty(struct l4s_instance *inst, uint64_t now)
{
	if (inst->fold.idle_since == L4S_NEVER)
		l4s_fold_idle(&inst->fold, now);
}

void
l4s_instance_idle(struct l4s_instance *inst, uint64_t since)
{
	if (dualpi2_backlog(&inst->queue) == 0)
		l4s_fold_idle(&inst->fold, since);
}

void
l4s_instance_stall(struct l4s_instance *inst, uint64_t since)
{
	struct l4s_fold *f = &inst->fold;

	l4s_fold_busy(f, since > f->idle_least ? since : f->idle_least);
}
