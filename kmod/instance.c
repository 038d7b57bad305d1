/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See instance.h. */

#include "instance.h"

static L4S_SLOW void instance_look(struct l4s_instance *, uint64_t now);
static void	instance_look_later(struct l4s_instance *);
static uint64_t	instance_below_ceiling_until(const struct l4s_instance *);
static void	instance_collect(struct l4s_instance *, uint64_t now);
static bool	instance_above_ceiling(const struct l4s_instance *,
		    uint64_t now);
static L4S_SLOW void instance_follow_ceiling(struct l4s_instance *,
		    uint64_t now);
static inline uint8_t instance_status(const struct l4s_overrides *,
		    bool above);
static L4S_SLOW void instance_summarize(struct l4s_instance *, uint64_t now);
static void	instance_take_bounds(struct l4s_instance *, uint64_t now);
static void	instance_write_events(struct l4s_instance *, uint64_t now);
static void	instance_reconfigure(struct l4s_instance *);
static void	instance_take_params(struct l4s_instance *, uint64_t now);
static void	instance_weigh_flows(struct l4s_instance *, uint64_t now);
static void	instance_free_table(union l4s_flow_table *);
static L4S_SLOW void instance_write_context(struct l4s_instance *,
		    uint64_t now);
static void	instance_write_keyframe(struct l4s_instance *, uint64_t now);
static L4S_SLOW bool instance_put_after_look(struct l4s_instance *,
		    l4s_pkt_t *, uint64_t now);
static L4S_SLOW bool instance_put_weighed(struct l4s_instance *, l4s_pkt_t *,
		    uint64_t now);
static L4S_SLOW bool instance_tail_drop(struct l4s_instance *, l4s_pkt_t *,
		    uint8_t queue, uint8_t ecn, uint32_t length, uint64_t now);
static void	instance_drop(struct l4s_instance *, struct dualpi2_verdict *,
		    uint8_t reason, uint64_t delay, uint64_t now);
static void	instance_override(struct l4s_instance *,
		    const struct dualpi2_verdict *, struct l4s_decision *,
		    uint64_t now);
static void	instance_discard(struct l4s_instance *,
		    const struct dualpi2_verdict *, struct l4s_decision *,
		    uint64_t now);
static L4S_SLOW l4s_pkt_t *instance_sent(struct l4s_instance *, l4s_pkt_t *,
		    uint64_t now);
static L4S_SLOW l4s_pkt_t *instance_decide(struct l4s_instance *,
		    uint64_t now);
static L4S_SLOW l4s_pkt_t *instance_take_after_look(struct l4s_instance *,
		    uint64_t now);
static inline void instance_empty(struct l4s_instance *, uint64_t now);
static bool	instance_take(struct l4s_instance *, struct dualpi2_verdict *);
static L4S_SLOW void instance_overload(struct l4s_instance *, uint64_t at,
		    uint64_t now);
static void	instance_end_overload(struct l4s_instance *, uint64_t now);
static void	instance_event(struct l4s_instance *, uint32_t code,
		    uint64_t value, uint64_t now);

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
	instance_free_table(inst->weights.table);
	instance_free_table(inst->posted_table);
}

/* Whether an override, not DualPI2, chose the action. */
static inline bool
instance_overridden(const struct l4s_decision *x)
{
	return (x->reason == L4S_REASON_ONCE || x->reason == L4S_REASON_HOLD);
}

/*
 * Runs the controller up to `at', and sees what it does to overload.  Messages
 * of it have the time `now', at which they are written: other instances may
 * have written since `at'.
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
	/* The first packet makes none. */
	if (inst->fold.on && due != 0)
		l4s_fold_updated(&inst->fold,
		    (d->next_update - due) / d->set.tupdate_ns, p,
		    d->p_base);
}

/* Brings the instance up to `now'; returns the time that is in force. */
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

/* Something is pending, or one of the times below has come. */
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
	if (o->steering && now >= instance_below_ceiling_until(inst))
		o->watching = true;
	instance_look_later(inst);
}

/*
 * The delay of neither queue passes the ceiling before this: heads are only
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

/* To be called when one of these times may have become an earlier one. */
static void
instance_look_later(struct l4s_instance *inst)
{
	uint64_t when = inst->queue.next_update, until;

	if (inst->overrides.steering) {
		until = instance_below_ceiling_until(inst);
		if (until < when)
			when = until;
	}
	if (inst->overrides.due < when)
		when = inst->overrides.due;
	if (inst->fold.due_ns < when)
		when = inst->fold.due_ns;
	l4s_overrides_look_at(&inst->overrides, when);
}

/* Ends a summary. */
static void
instance_summarize(struct l4s_instance *inst, uint64_t now)
{
	const struct l4s_overrides *o = &inst->overrides;
	const struct l4s_fold_end end = {
		.override_id = o->active ? o->current.id : 0,
		.status = instance_status(o, instance_above_ceiling(inst, now)),
	};

	if (inst->rings != NULL)
		l4s_fold_close(&inst->fold, &inst->rings[L4S_RING_SUMMARIES],
		    &inst->queue, &inst->counters, &end, inst->sched, inst->instance,
		    now);
	instance_look_later(inst);
}

/*
 * In the order in which things happened: expiry at its own time, with the
 * controller run up to there under the shifted set-points; then what was
 * left by the device, from now on.
 */
static void
instance_collect(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;
	struct dualpi2 *d = &inst->queue;
	uint32_t pending;
	bool changed = false;

	if (o->active && now >= o->current.expires_ns) {
		if (o->current.expires_ns > inst->now)
			instance_advance(inst, o->current.expires_ns, now);
		changed = l4s_override_expire(o, d, now);
	}
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
			if (o->steering)
				dualpi2_steer(d, &o->current,
				    o->current.steer_set);
			changed = true;
		}
		if ((pending & L4S_PENDING_SUMMARIES) != 0)
			instance_take_bounds(inst, now);
		if ((pending & L4S_PENDING_EVENTS) != 0)
			instance_write_events(inst, now);
	}
	if (changed)
		instance_reconfigure(inst);
	if ((pending & L4S_PENDING_KEYFRAME) != 0)
		instance_write_keyframe(inst, now);
	else
		instance_write_context(inst, now);
}

/* Puts the bounds of summaries that were posted into force. */
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

static void
instance_reconfigure(struct l4s_instance *inst)
{
	l4s_record_configure(&inst->config, &inst->queue, inst->sched,
	    inst->instance);
}

/* Puts the parameters that were posted into force. */
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
	instance_free_table(unused);
}

/* Flows get weights, or lose them, with their table. */
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
instance_free_table(union l4s_flow_table *t)
{
	if (t != NULL)
		t->next = NULL;
	l4s_flow_tables_free(t);
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

static void
instance_write_events(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_event_post events[L4S_EVENTS_WAITING];
	unsigned i, n = l4s_instance_take_events(inst, events);

	for (i = 0; i < n; i++)
		l4s_event_write(inst->rings, events[i].sched,
		    events[i].instance, events[i].code, events[i].value, now);
}

/* Plain DualPI2 decides while either queue's delay is above the ceiling. */
static bool
instance_above_ceiling(const struct l4s_instance *inst, uint64_t now)
{
	uint64_t c = dualpi2_head_delay(&inst->queue, L4S_QUEUE_CLASSIC, now);
	uint64_t l = dualpi2_head_delay(&inst->queue, L4S_QUEUE_L4S, now);

	return ((c > l ? c : l) > inst->overrides.bounds.ceiling_ns);
}

/* The same before this packet was taken. */
static inline bool
instance_was_above_ceiling(const struct l4s_instance *inst,
    const struct dualpi2_verdict *v, uint64_t now)
{
	uint64_t ceiling = inst->overrides.bounds.ceiling_ns;

	return (v->sojourn_ns > ceiling ||
	    dualpi2_head_delay(&inst->queue, !v->queue, now) > ceiling);
}

/* Set-points are shifted below the ceiling only. */
static void
instance_follow_ceiling(struct l4s_instance *inst, uint64_t now)
{
	if (l4s_override_ceiling(&inst->overrides, &inst->queue,
	    instance_above_ceiling(inst, now))) {
		instance_reconfigure(inst);
		instance_write_context(inst, now);
	}
	if (inst->overrides.steering)
		instance_look_later(inst);
}

static inline uint8_t
instance_status(const struct l4s_overrides *o, bool above)
{
	return (o->status | (above ? L4S_STATUS_CEILING : 0));
}

/* Counts a packet in, at a time that is in force. */
static inline void
instance_arrive(struct dualpi2_queue *q, uint32_t length)
{
	L4S_COUNT(&q->total_packets, 1);
	L4S_COUNT(&q->total_bytes, length);
}

static inline uint64_t
instance_catch_up_and_follow(struct l4s_instance *inst, uint64_t now)
{
	now = instance_catch_up(inst, now);
	if (__predict_false(inst->overrides.watching))
		instance_follow_ceiling(inst, now);
	return (now);
}

/* Counts a packet for its flow's weight; the hash of its flow. */
static inline uint64_t
instance_weigh(struct l4s_instance *inst, l4s_pkt_t *pkt)
{
	struct l4s_flow_weights *w = &inst->weights;
	uint64_t hash = l4s_pkt_hash(pkt, &w->key);

	l4s_pkt_set_bucket(pkt,
	    l4s_flow_weights_arrived(w, hash, l4s_pkt_length(pkt)));
	return (hash);
}

/* Counts the flow for the summary, by the same hash. */
static inline void
instance_fold_flow(struct l4s_instance *inst, uint8_t queue, uint64_t hash)
{
	if (inst->fold.on)
		l4s_fold_flow(&inst->fold, queue, (uint32_t)(hash >> 32));
}

static inline bool
instance_put(struct l4s_instance *inst, l4s_pkt_t *pkt, uint8_t queue,
    uint8_t ds, uint32_t length, uint64_t now)
{
	struct dualpi2_queue *q = &inst->queue.queue[queue];

	instance_arrive(q, length);
	if (__predict_false(!dualpi2_enqueue(&inst->queue, pkt, queue, length,
	    now)))
		return (instance_tail_drop(inst, pkt, queue, ds & L4S_ECN_CE,
		    length, now));
	l4s_fold_busy(&inst->fold, now);
	l4s_count_backlog(&inst->counters.queue[queue],
	    &inst->fold.queue[queue].backlog_max, q->backlog);
	return (true);
}

/* The same, and what a packet between two looks has nothing of. */
static bool
instance_put_after_look(struct l4s_instance *inst, l4s_pkt_t *pkt,
    uint64_t now)
{
	uint32_t length = l4s_pkt_length(pkt);
	uint8_t ds = l4s_pkt_ds(pkt), queue;

	now = instance_catch_up_and_follow(inst, now);
	queue = dualpi2_classify(&inst->queue, ds);
	if (inst->queue.flows != NULL) {
		instance_fold_flow(inst, queue, instance_weigh(inst, pkt));
		if (now >= inst->weights.due_ns)
			l4s_flow_weights_update(&inst->weights, now);
	} else if (inst->fold.on)
		l4s_fold_flow(&inst->fold, queue, l4s_pkt_flow(pkt));
	return (instance_put(inst, pkt, queue, ds, length, now));
}

/* All calls that are not inlined are tail calls: no register is saved. */
L4S_HOT bool
l4s_instance_enqueue(struct l4s_instance *inst, l4s_pkt_t *pkt, uint64_t now)
{
	uint32_t length;
	uint8_t ds;

	if (__predict_false(now < inst->now ||
	    now >= L4S_LOAD(&inst->overrides.look_ns) ||
	    inst->overrides.watching))
		return (instance_put_after_look(inst, pkt, now));
	inst->now = now;
	if (__predict_false(inst->queue.flows != NULL))
		return (instance_put_weighed(inst, pkt, now));
	length = l4s_pkt_length(pkt);
	ds = l4s_pkt_ds(pkt);
	if (dualpi2_classify(&inst->queue, ds) == L4S_QUEUE_L4S) {
		if (__predict_true(inst->fold.on))
			l4s_fold_flow(&inst->fold, L4S_QUEUE_L4S,
			    l4s_pkt_flow(pkt));
		return (instance_put(inst, pkt, L4S_QUEUE_L4S, ds, length,
		    now));
	}
	if (__predict_true(inst->fold.on))
		l4s_fold_flow(&inst->fold, L4S_QUEUE_CLASSIC,
		    l4s_pkt_flow(pkt));
	return (instance_put(inst, pkt, L4S_QUEUE_CLASSIC, ds, length, now));
}

/* The same with weights of flows. */
static L4S_HOT bool
instance_put_weighed(struct l4s_instance *inst, l4s_pkt_t *pkt, uint64_t now)
{
	uint32_t length;
	uint64_t hash;
	uint8_t ds;

	if (__predict_false(now >= inst->weights.due_ns))
		return (instance_put_after_look(inst, pkt, now));
	hash = instance_weigh(inst, pkt);
	length = l4s_pkt_length(pkt);
	ds = l4s_pkt_ds(pkt);
	if (dualpi2_classify(&inst->queue, ds) == L4S_QUEUE_L4S) {
		instance_fold_flow(inst, L4S_QUEUE_L4S, hash);
		return (instance_put(inst, pkt, L4S_QUEUE_L4S, ds, length,
		    now));
	}
	instance_fold_flow(inst, L4S_QUEUE_CLASSIC, hash);
	return (instance_put(inst, pkt, L4S_QUEUE_CLASSIC, ds, length, now));
}

void
l4s_instance_refuse(struct l4s_instance *inst, l4s_pkt_t *pkt, uint8_t ds,
    uint32_t length, uint64_t now)
{
	uint8_t queue;

	now = instance_catch_up_and_follow(inst, now);
	queue = dualpi2_classify(&inst->queue, ds);
	instance_arrive(&inst->queue.queue[queue], length);
	(void)instance_tail_drop(inst, pkt, queue, ds & L4S_ECN_CE, length,
	    now);
}

/* Returns false. */
static bool
instance_tail_drop(struct l4s_instance *inst, l4s_pkt_t *pkt, uint8_t queue,
    uint8_t ecn, uint32_t length, uint64_t now)
{
	struct dualpi2_verdict v = {
		.pkt = pkt,
		.length = length,
		.queue = queue,
		.ecn = ecn,
	};

	L4S_COUNT(&inst->queue.queue[queue].total_drops, 1);
	L4S_COUNT(&inst->counters.queue[queue].drops_tail, 1);
	instance_drop(inst, &v, L4S_REASON_TAIL,
	    dualpi2_head_delay(&inst->queue, queue, now), now);
	return (false);
}

/* Whether somebody sees the records. */
static inline bool
instance_recording(const struct l4s_instance *inst)
{
#ifdef L4S_RECORD_TAP
	if (inst->tap != NULL)
		return (true);
#endif
	return (l4s_ring_wanted(inst->rings));
}

/* True when l4s_ring_notify() is to be called. */
static inline bool
instance_record(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    const struct l4s_decision *x, uint64_t delay, uint64_t now)
{
	struct l4s_ring *r = inst->rings;

#ifdef L4S_RECORD_TAP
	if (inst->tap != NULL) {
		struct l4s_record_v1 reference;

		l4s_record_reference(&reference, &inst->config, &inst->queue,
		    v, x, delay, now);
		if (r != NULL)
			reference.hdr.seq = l4s_ring_head(r);
		inst->tap(inst->tap_arg, &reference);
	}
	if (!l4s_ring_wanted(r))
		return (false);
#endif
	l4s_record_write(r, inst->instance, &inst->queue, v, x, delay, now);
	return (l4s_ring_watched(r));
}

/* The same for a decision at dequeue. */
static inline bool
instance_record_decision(struct l4s_instance *inst,
    const struct dualpi2_verdict *v, struct l4s_decision *x, uint64_t now)
{
	x->status = inst->overrides.status;
	if (__predict_false(instance_was_above_ceiling(inst, v, now)))
		x->status |= L4S_STATUS_CEILING;
	return (instance_record(inst, v, x, v->sojourn_ns, now));
}

/* Drops a packet that DualPI2 was not asked about. */
static void
instance_drop(struct l4s_instance *inst, struct dualpi2_verdict *v,
    uint8_t reason, uint64_t delay, uint64_t now)
{
	const struct l4s_overrides *o = &inst->overrides;
	struct l4s_decision x = {
		.action = L4S_ACTION_DROP,
		.reason = reason,
		.status = instance_status(o, delay > o->bounds.ceiling_ns),
	};

	v->action = L4S_ACTION_DROP;
	v->weight = 0;
	v->probability = v->queue == L4S_QUEUE_L4S ? inst->queue.p_coupled :
	    inst->queue.p_classic;
	L4S_COUNT(&inst->counters.queue[v->queue].dropped_bytes, v->length);
	if (instance_recording(inst) &&
	    instance_record(inst, v, &x, delay, now))
		l4s_ring_notify(inst->rings);
	if (v->pkt == NULL)
		return;
	l4s_pkt_decided(v->pkt, v->queue, x.action, reason, v->sojourn_ns);
	l4s_pkt_drop(v->pkt, inst->sink);
}

/* DualPI2's own decision, with set-points that may be shifted. */
static inline struct l4s_decision
instance_base(const struct l4s_overrides *o, uint8_t action)
{
	return ((struct l4s_decision){
		.override_id = o->steering ? o->current.id : 0,
		.action = action,
		.reason = o->reason,
	});
}

/* The decision while an override is active. */
static void
instance_override(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    struct l4s_decision *x, uint64_t now)
{
	l4s_override_decide(&inst->overrides, &inst->queue, v,
	    instance_was_above_ceiling(inst, v, now),
	    inst->counters.decisions, x);
	if (instance_overridden(x))
		L4S_COUNT(&inst->counters.overridden, 1);
	else if (x->reason > L4S_REASON_TAIL)
		L4S_COUNT(&inst->counters.refused[x->reason], 1);
}

/* Drops a packet by decision. */
static void
instance_discard(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    struct l4s_decision *x, uint64_t now)
{
	struct l4s_queue_counters *q = &inst->counters.queue[v->queue];

	L4S_COUNT(&inst->queue.queue[v->queue].total_drops, 1);
	L4S_COUNT(&q->dropped_bytes, v->length);
	L4S_COUNT(v->ecn != L4S_ECN_NOT_ECT ? &q->drops_ecn :
	    &q->drops_not_ect, 1);
	L4S_COUNT(instance_overridden(x) ? &q->drops_override :
	    &q->drops_base, 1);
	if (instance_recording(inst) &&
	    instance_record_decision(inst, v, x, now))
		l4s_ring_notify(inst->rings);
	l4s_pkt_decided(v->pkt, v->queue, x->action, x->reason,
	    v->sojourn_ns);
	l4s_pkt_drop(v->pkt, inst->sink);
	if (inst->counters.decisions >= inst->fold.end_decisions)
		instance_summarize(inst, now);
}

static inline void
instance_count_mark(struct l4s_queue_counters *q,
    const struct dualpi2_verdict *v, const struct l4s_decision *x)
{
	L4S_COUNT(&q->marked, 1);
	L4S_COUNT(&q->marked_bytes, v->length);
	if (instance_overridden(x))
		L4S_COUNT(&q->marks_override, 1);
	else if (v->cause == DUALPI2_NATIVE)
		L4S_COUNT(&q->marks_native, 1);
	else if (v->cause == DUALPI2_COUPLED)
		L4S_COUNT(&q->marks_coupled, 1);
	else
		L4S_COUNT(&q->marks_classic, 1);
}

/* Sends a packet, marked or not. */
static L4S_INLINE l4s_pkt_t *
instance_forward(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    struct l4s_decision *x, uint64_t now)
{
	struct l4s_queue_counters *q = &inst->counters.queue[v->queue];
	bool more = false;

	l4s_count_forwarded(q, &inst->fold.queue[v->queue].sojourn_max_ns,
	    v->length, v->sojourn_ns);
	if (x->action == L4S_ACTION_MARK)
		instance_count_mark(q, v, x);
	if (instance_recording(inst))
		more = instance_record_decision(inst, v, x, now);
	if (x->action == L4S_ACTION_MARK)
		l4s_pkt_mark(v->pkt);
	l4s_pkt_decided(v->pkt, v->queue, x->action, x->reason,
	    v->sojourn_ns);
	dualpi2_charge(&inst->queue, v);
	if (__predict_true(inst->fold.on) &&
	    l4s_fold_forwarded(&inst->fold, v->queue, v->sojourn_ns) &&
	    l4s_fold_look(&inst->fold, v->queue, v->sojourn_ns,
	    inst->counters.decisions))
		more = true;
	if (__predict_false(more))
		return (instance_sent(inst, v->pkt, now));
	return (v->pkt);
}

/* A packet is sent for which readers may wait, or which may end an interval. */
static l4s_pkt_t *
instance_sent(struct l4s_instance *inst, l4s_pkt_t *pkt, uint64_t now)
{
	uint64_t due = inst->fold.due_ns;

	if (l4s_ring_wanted(inst->rings))
		l4s_ring_notify(inst->rings);
	if (!inst->fold.on ||
	    inst->counters.decisions < inst->fold.due_decisions)
		return (pkt);
	if (l4s_fold_departed(&inst->fold, &inst->counters,
	    l4s_pkt_length(pkt), now))
		instance_summarize(inst, now);
	else if (inst->fold.due_ns < due)
		instance_look_later(inst);
	return (pkt);
}

/* Takes the next packet and its verdict; false if there is none. */
static bool
instance_pick(struct l4s_instance *inst, uint64_t now)
{
	if (inst->overrides.watching)
		instance_follow_ceiling(inst, now);
	if (!dualpi2_pick(&inst->queue, now, &inst->verdict)) {
		instance_empty(inst, now);
		return (false);
	}
	inst->counters.decisions++;
	return (true);
}

/*
 * Does what is decided on the packet of inst->verdict, and while that is a drop
 * on the next ones.
 */
static l4s_pkt_t *
instance_decide(struct l4s_instance *inst, uint64_t now)
{
	struct dualpi2_verdict *v = &inst->verdict;
	struct l4s_decision x;

	do {
		x = instance_base(&inst->overrides, v->action);
		if (inst->overrides.watching)
			instance_override(inst, v, &x, now);
		if (x.action != L4S_ACTION_DROP)
			return (instance_forward(inst, v, &x, now));
		instance_discard(inst, v, &x, now);
	} while (instance_pick(inst, now));
	return (NULL);
}

/*
 * Sends the head of a queue if it has no signal and no override is asked about
 * it.
 */
static L4S_INLINE l4s_pkt_t *
instance_serve(struct l4s_instance *inst, uint8_t queue, int32_t credit,
    uint64_t now)
{
	struct l4s_decision x = instance_base(&inst->overrides,
	    L4S_ACTION_ENQUEUE);
	struct dualpi2_verdict v;

	dualpi2_pick_from(&inst->queue, queue, now, &v);
	v.credit = credit;
	inst->counters.decisions++;
	if (__predict_false(v.action != L4S_ACTION_ENQUEUE)) {
		inst->verdict = v;
		return (instance_decide(inst, now));
	}
	return (instance_forward(inst, &v, &x, now));
}

static l4s_pkt_t *
instance_take_after_look(struct l4s_instance *inst, uint64_t now)
{
	now = instance_catch_up(inst, now);
	return (instance_pick(inst, now) ? instance_decide(inst, now) : NULL);
}

/* As l4s_instance_enqueue(). */
L4S_HOT l4s_pkt_t *
l4s_instance_dequeue(struct l4s_instance *inst, uint64_t now)
{
	int32_t credit;

	if (__predict_false(now < inst->now ||
	    now >= L4S_LOAD(&inst->overrides.look_ns) ||
	    inst->overrides.watching))
		return (instance_take_after_look(inst, now));
	inst->now = now;
	if (dualpi2_backlog(&inst->queue) == 0) {
		instance_empty(inst, now);
		return (NULL);
	}
	return (dualpi2_choose(&inst->queue, &credit) == L4S_QUEUE_L4S ?
	    instance_serve(inst, L4S_QUEUE_L4S, credit, now) :
	    instance_serve(inst, L4S_QUEUE_CLASSIC, credit, now));
}

/* A dequeue that finds nothing: the link is idle. */
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

void
l4s_instance_flush(struct l4s_instance *inst, uint64_t now)
{
	struct dualpi2_verdict v;

	if (now > inst->now)
		inst->now = now;
	/* For a reader that came after the last packet. */
	if ((L4S_LOAD_ACQ(&inst->overrides.pending) &
	    L4S_PENDING_KEYFRAME) != 0)
		instance_write_keyframe(inst, inst->now);
	for (v.queue = 0; v.queue < 2; v.queue++)
		while (instance_take(inst, &v)) {
			L4S_COUNT(&inst->queue.queue[v.queue].total_drops, 1);
			L4S_COUNT(&inst->counters.queue[v.queue].drops_flush,
			    1);
			instance_drop(inst, &v, L4S_REASON_FLUSH, v.sojourn_ns,
			    inst->now);
		}
}

/* Takes the head of v->queue; false when there is none. */
static bool
instance_take(struct l4s_instance *inst, struct dualpi2_verdict *v)
{
	v->sojourn_ns = dualpi2_head_delay(&inst->queue, v->queue, inst->now);
	v->pkt = dualpi2_flush(&inst->queue, v->queue);
	if (v->pkt == NULL)
		return (false);
	v->length = l4s_pkt_length(v->pkt);
	v->ecn = l4s_pkt_ecn(v->pkt);
	return (true);
}

void
l4s_instance_close(struct l4s_instance *inst, uint64_t now)
{
	if (now > inst->now)
		inst->now = now;
	/* For readers of summaries that came after the last packet. */
	if ((L4S_LOAD_ACQ(&inst->overrides.pending) &
	    L4S_PENDING_SUMMARIES) != 0)
		instance_take_bounds(inst, inst->now);
	l4s_instance_flush(inst, now);
	l4s_instance_release(inst);
	if (inst->overload.reported)
		instance_end_overload(inst, inst->now);
	if (inst->fold.on)
		instance_summarize(inst, inst->now);
}

/*
 * Follows the queue into overload and out of it, at each update of p'.  Time
 * between two updates counts as spent in overload when both found it.
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

/* Tells the packet path that something was left for it.  Locked. */
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
	instance_free_table(unused);
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
l4s_instance_post_event(struct l4s_instance *inst, uint32_t sched,
    uint32_t instance, uint32_t code, uint64_t value)
{
	struct l4s_event_post *e;

	l4s_lock(&inst->overrides.lock);
	if (inst->nevents < L4S_EVENTS_WAITING)
		inst->nevents++;
	e = &inst->events[inst->nevents - 1];
	e->sched = sched;
	e->instance = instance;
	e->code = code;
	e->value = value;
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

unsigned
l4s_instance_take_events(struct l4s_instance *inst,
    struct l4s_event_post events[L4S_EVENTS_WAITING])
{
	unsigned n;

	l4s_lock(&inst->overrides.lock);
	n = inst->nevents;
	memcpy(events, inst->events, n * sizeof(events[0]));
	inst->nevents = 0;
	l4s_unlock(&inst->overrides.lock);
	return (n);
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
		l4s_instance_post_event(inst, inst->sched, inst->instance,
		    L4S_EVENT_RECOVERED, 0);
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
		l4s_instance_post_event(inst, inst->sched, inst->instance,
		    L4S_EVENT_WATCHDOG, misses);
}
