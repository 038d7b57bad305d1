/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The packet path of an instance.  See instance.h.
 *
 * Compiled with catch_up.c, whose functions it calls: queue_unit.c.
 */

#include "instance.h"

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
static L4S_SLOW l4s_pkt_t *instance_take_unweighed(struct l4s_instance *,
		    uint64_t now);
static L4S_SLOW l4s_pkt_t *instance_take_weighed(struct l4s_instance *,
		    uint64_t now);
static bool	instance_take(struct l4s_instance *, struct dualpi2_verdict *);

/* Whether an override, not DualPI2, chose the action. */
static inline bool
instance_overridden(const struct l4s_decision *x)
{
	return (x->reason == L4S_REASON_ONCE || x->reason == L4S_REASON_HOLD);
}

/* Whether a queue's delay was above the ceiling before this packet was taken. */
static inline bool
instance_was_above_ceiling(const struct l4s_instance *inst,
    const struct dualpi2_verdict *v, uint64_t now)
{
	uint64_t ceiling = inst->overrides.bounds.ceiling_ns;

	return (v->sojourn_ns > ceiling ||
	    dualpi2_head_delay(&inst->queue, !v->queue, now) > ceiling);
}

/*
 * Counts an arriving packet.  The instance must have caught up with its time.
 */
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

/* Counts a packet for its flow's weight.  Returns the hash of the flow. */
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

/* As above, for a packet that must look for due work first. */
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

/* Every call that is not inlined is a tail call, so no register is saved. */
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

/* As above, with flow weights. */
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
		.backlog = inst->queue.queue[queue].backlog,
	};

	L4S_COUNT(&inst->queue.queue[queue].total_drops, 1);
	L4S_COUNT(&inst->counters.queue[queue].drops_tail, 1);
	instance_drop(inst, &v, L4S_REASON_TAIL,
	    dualpi2_head_delay(&inst->queue, queue, now), now);
	return (false);
}

/* Whether there is a reader of records. */
static inline bool
instance_recording(const struct l4s_instance *inst)
{
#ifdef L4S_RECORD_TAP
	if (inst->tap != NULL)
		return (true);
#endif
	return (l4s_ring_wanted(inst->rings));
}

/* The decision of DualPI2 alone, at set-points that may be steered. */
static inline struct l4s_decision
instance_base(const struct l4s_overrides *o, uint8_t action)
{
	return ((struct l4s_decision){
		.override_id = o->steering ? o->current.id : 0,
		.action = action,
		.reason = o->reason,
	});
}

#ifdef L4S_RECORD_TAP
static void
instance_tap(const struct l4s_instance *inst, const struct dualpi2_verdict *v,
    const struct l4s_decision *x, uint64_t delay, uint64_t now)
{
	struct l4s_record_v1 reference;

	if (inst->tap == NULL)
		return;
	l4s_record_reference(&reference, &inst->config, &inst->queue, v, x,
	    delay, now);
	if (inst->rings != NULL)
		reference.hdr.seq = l4s_ring_head(inst->rings);
	inst->tap(inst->tap_arg, &reference);
}
#endif

/* Nonzero if l4s_ring_notify() must be called. */
static inline uint32_t
instance_write_record(struct l4s_instance *inst,
    const struct dualpi2_verdict *v, uint64_t decided, uint64_t delay,
    uint64_t now)
{
	struct l4s_ring *r = inst->rings;

#ifdef L4S_RECORD_TAP
	if (!l4s_ring_wanted(r))
		return (0);
#endif
	l4s_record_write(r, inst->instance, &inst->queue, v, decided, delay,
	    now);
	return (l4s_ring_watched(r));
}

/* Adds the overrides' status to x->status, which has the ceiling's. */
static inline uint32_t
instance_record(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    struct l4s_decision *x, uint64_t delay, uint64_t now)
{
	x->status |= inst->overrides.status;
#ifdef L4S_RECORD_TAP
	instance_tap(inst, v, x, delay, now);
#endif
	return (instance_write_record(inst, v,
	    l4s_record_decided(x, v->action), delay, now));
}

/* As above, for a packet that DualPI2 alone sends unchanged. */
static inline uint32_t
instance_record_plain(struct l4s_instance *inst,
    const struct dualpi2_verdict *v, uint64_t now)
{
#ifdef L4S_RECORD_TAP
	struct l4s_decision x = instance_base(&inst->overrides,
	    L4S_ACTION_ENQUEUE);

	x.status = inst->overrides.status;
	L4S_ASSERT(!instance_was_above_ceiling(inst, v, now));
	L4S_ASSERT(l4s_record_decided(&x, v->action) == inst->overrides.plain);
	instance_tap(inst, v, &x, v->sojourn_ns, now);
#endif
	return (instance_write_record(inst, v, inst->overrides.plain,
	    v->sojourn_ns, now));
}

/* Drops a packet without a decision: a tail drop or a flush. */
static void
instance_drop(struct l4s_instance *inst, struct dualpi2_verdict *v,
    uint8_t reason, uint64_t delay, uint64_t now)
{
	const struct l4s_overrides *o = &inst->overrides;
	struct l4s_decision x = {
		.action = L4S_ACTION_DROP,
		.reason = reason,
		.status = instance_ceiling_status(delay > o->bounds.ceiling_ns),
	};

	v->action = L4S_ACTION_DROP;
	v->weight = 0;
	v->probability = dualpi2_q31(v->queue == L4S_QUEUE_L4S ?
	    inst->queue.p_coupled : inst->queue.p_classic);
	L4S_COUNT(&inst->counters.queue[v->queue].dropped_bytes, v->length);
	if (instance_recording(inst) &&
	    instance_record(inst, v, &x, delay, now))
		l4s_ring_notify(inst->rings);
	if (v->pkt == NULL)
		return;
	l4s_pkt_decided(v->pkt, v->queue, x.action, reason, v->sojourn_ns);
	l4s_pkt_drop(v->pkt, inst->sink);
}

/* The decision while an override is active, or above the ceiling. */
static void
instance_override(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    struct l4s_decision *x, uint64_t now)
{
	bool above = instance_was_above_ceiling(inst, v, now);

	l4s_override_decide(&inst->overrides, &inst->queue, v, above,
	    inst->counters.decisions, x);
	x->status = instance_ceiling_status(above);
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
	    instance_record(inst, v, x, v->sojourn_ns, now))
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

/* Counts a packet that is sent, regardless of the decision. */
static inline void
instance_count_forwarded(struct l4s_instance *inst,
    const struct dualpi2_verdict *v)
{
	l4s_count_forwarded(&inst->counters.queue[v->queue],
	    &inst->fold.queue[v->queue].sojourn_max_ns, v->length,
	    v->sojourn_ns);
}

/* `more': nonzero if readers may be waiting for the packet's record. */
static L4S_INLINE l4s_pkt_t *
instance_send(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    uint8_t action, uint8_t reason, uint32_t more, uint64_t now)
{
	l4s_pkt_decided(v->pkt, v->queue, action, reason, v->sojourn_ns);
	dualpi2_charge(&inst->queue, v);
	if (__predict_true(inst->fold.on) &&
	    l4s_fold_forwarded(&inst->fold, v->queue, v->sojourn_ns) &&
	    l4s_fold_look(&inst->fold, v->queue, v->sojourn_ns,
	    inst->counters.decisions))
		more = 1;
	if (__predict_false(more != 0))
		return (instance_sent(inst, v->pkt, now));
	return (v->pkt);
}

/* Sends a packet, marked or not. */
static l4s_pkt_t *
instance_forward(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    struct l4s_decision *x, uint64_t now)
{
	uint32_t more = 0;

	instance_count_forwarded(inst, v);
	if (x->action == L4S_ACTION_MARK)
		instance_count_mark(&inst->counters.queue[v->queue], v, x);
	if (instance_recording(inst))
		more = instance_record(inst, v, x, v->sojourn_ns, now);
	if (x->action == L4S_ACTION_MARK)
		l4s_pkt_mark(v->pkt);
	return (instance_send(inst, v, x->action, x->reason, more, now));
}

/* Sends a packet unchanged, as DualPI2 alone decided. */
static L4S_INLINE l4s_pkt_t *
instance_forward_plain(struct l4s_instance *inst,
    const struct dualpi2_verdict *v, uint64_t now)
{
	uint32_t more = 0;

	instance_count_forwarded(inst, v);
	if (instance_recording(inst))
		more = instance_record_plain(inst, v, now);
	return (instance_send(inst, v, L4S_ACTION_ENQUEUE,
	    inst->overrides.reason, more, now));
}

/*
 * A packet is sent whose record readers may be waiting for, or which may end an
 * interval.
 */
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

/*
 * Takes the next packet and its verdict.  Returns false if both queues are
 * empty.
 */
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
 * Executes the decision on the packet of inst->verdict; after a drop, proceeds
 * to the next packet.
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
		else
			L4S_ASSERT(!instance_was_above_ceiling(inst, v, now));
		if (x.action != L4S_ACTION_DROP)
			return (instance_forward(inst, v, &x, now));
		instance_discard(inst, v, &x, now);
	} while (instance_pick(inst, now));
	return (NULL);
}

/*
 * Serves the head of a queue when no override can apply.  Packets that
 * dualpi2_pick_from() leaves take the general path.
 */
static L4S_INLINE l4s_pkt_t *
instance_serve(struct l4s_instance *inst, uint8_t queue, int32_t credit,
    bool weighed, uint64_t now)
{
	struct dualpi2_verdict v;

	if (!dualpi2_pick_from(&inst->queue, queue, weighed, true, now, &v))
		return (instance_take_after_look(inst, now));
	v.credit = credit;
	inst->counters.decisions++;
	if (__predict_false(v.action != L4S_ACTION_ENQUEUE)) {
		inst->verdict = v;
		return (instance_decide(inst, now));
	}
	return (instance_forward_plain(inst, &v, now));
}

static l4s_pkt_t *
instance_take_after_look(struct l4s_instance *inst, uint64_t now)
{
	now = instance_catch_up(inst, now);
	return (instance_pick(inst, now) ? instance_decide(inst, now) : NULL);
}

/* Takes the next packet; at least one is queued. */
static L4S_INLINE l4s_pkt_t *
instance_take_next(struct l4s_instance *inst, bool weighed, uint64_t now)
{
	int32_t credit;

	return (dualpi2_choose(&inst->queue, &credit) == L4S_QUEUE_L4S ?
	    instance_serve(inst, L4S_QUEUE_L4S, credit, weighed, now) :
	    instance_serve(inst, L4S_QUEUE_CLASSIC, credit, weighed, now));
}

/*
 * Separate functions, so that l4s_instance_dequeue() saves no registers before
 * it knows which one to call (clang saves them on entry).
 */
static L4S_HOT l4s_pkt_t *
instance_take_unweighed(struct l4s_instance *inst, uint64_t now)
{
	return (instance_take_next(inst, false, now));
}

static L4S_HOT l4s_pkt_t *
instance_take_weighed(struct l4s_instance *inst, uint64_t now)
{
	return (instance_take_next(inst, true, now));
}

/* Like l4s_instance_enqueue(), makes only tail calls. */
L4S_HOT l4s_pkt_t *
l4s_instance_dequeue(struct l4s_instance *inst, uint64_t now)
{
	if (__predict_false(now < inst->now ||
	    now >= L4S_LOAD(&inst->overrides.look_ns) ||
	    inst->overrides.watching))
		return (instance_take_after_look(inst, now));
	inst->now = now;
	if (dualpi2_backlog(&inst->queue) == 0) {
		instance_empty(inst, now);
		return (NULL);
	}
	return (inst->queue.flows == NULL ?
	    instance_take_unweighed(inst, now) :
	    instance_take_weighed(inst, now));
}

void
l4s_instance_flush(struct l4s_instance *inst, uint64_t now)
{
	struct dualpi2_verdict v;

	if (now > inst->now)
		inst->now = now;
	/* For a reader that subscribed after the last packet. */
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

/* Takes the head of v->queue; false if it is empty. */
static bool
instance_take(struct l4s_instance *inst, struct dualpi2_verdict *v)
{
	v->sojourn_ns = dualpi2_head_delay(&inst->queue, v->queue, inst->now);
	v->pkt = dualpi2_flush(&inst->queue, v->queue);
	if (v->pkt == NULL)
		return (false);
	v->length = l4s_pkt_length(v->pkt);
	v->ecn = l4s_pkt_ecn(v->pkt);
	v->backlog = inst->queue.queue[v->queue].backlog;
	return (true);
}

void
l4s_instance_close(struct l4s_instance *inst, uint64_t now)
{
	if (now > inst->now)
		inst->now = now;
	/* For readers of summaries that subscribed after the last packet. */
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
