/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See instance.h. */

#include "instance.h"

static void	instance_catch_up_slow(struct l4s_instance *, uint64_t now);
static void	instance_write_events(struct l4s_instance *, uint64_t now);
static void	instance_reconfigure(struct l4s_instance *);
static void	instance_tail_drop(struct l4s_instance *, l4s_pkt_t *,
		    uint8_t queue, uint8_t ecn, uint32_t length, uint64_t now);
static void	instance_count(struct l4s_instance *,
		    const struct dualpi2_verdict *,
		    const struct l4s_decision *);

void
l4s_instance_init(struct l4s_instance *inst, uint32_t sched,
    const struct l4s_params *params, const struct l4s_limits *limits,
    struct l4s_ring *ring, struct l4s_pkt_sink *sink, uint64_t seed)
{
	memset(inst, 0, sizeof(*inst));
	inst->sched = sched;
	inst->ring = ring;
	inst->sink = sink;
	inst->posted = *params;
	dualpi2_init(&inst->queue, params, seed);
	l4s_overrides_init(&inst->overrides, limits);
	instance_reconfigure(inst);
}

void
l4s_instance_destroy(struct l4s_instance *inst)
{
	L4S_ASSERT(dualpi2_backlog(&inst->queue) == 0);
	l4s_overrides_destroy(&inst->overrides);
}

/* Brings the instance up to `now'; returns the time that is in force. */
static inline uint64_t
instance_catch_up(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;

	if (__predict_false(now < inst->now))
		now = inst->now;
	if (__predict_false(L4S_LOAD_ACQ(&o->pending) != 0 || now >= o->due))
		instance_catch_up_slow(inst, now);
	inst->now = now;
	dualpi2_advance(&inst->queue, now);
	return (now);
}

/*
 * In the order in which things happened: expiry at its own time, with the
 * controller run up to there under the shifted set-points; then what was
 * left by the device, from now on.
 */
static void
instance_catch_up_slow(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;
	struct dualpi2 *d = &inst->queue;
	uint32_t pending;
	bool changed = false;

	if (o->active && now >= o->current.expires_ns) {
		if (o->current.expires_ns > inst->now)
			dualpi2_advance(d, o->current.expires_ns);
		changed = l4s_override_expire(o, d, now);
	}
	if (now >= o->due)
		l4s_instance_watch(inst, now);
	pending = L4S_LOAD_ACQ(&o->pending);
	if (pending != 0) {
		dualpi2_advance(d, now);
		if (l4s_override_collect(o, d, pending,
		    inst->counters.decisions, now))
			changed = true;
		if ((pending & L4S_PENDING_PARAMS) != 0) {
			struct l4s_params params;

			l4s_lock(&o->lock);
			params = inst->posted;
			l4s_unlock(&o->lock);
			dualpi2_configure(d, &params);
			if (o->steering)
				dualpi2_steer(d, &o->current,
				    o->current.steer_set);
			changed = true;
		}
		if ((pending & L4S_PENDING_EVENTS) != 0)
			instance_write_events(inst, now);
	}
	if (changed)
		instance_reconfigure(inst);
}

static void
instance_reconfigure(struct l4s_instance *inst)
{
	l4s_record_configure(&inst->config, &inst->queue, inst->sched,
	    inst->instance);
}

static void
instance_write_events(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_event_post events[L4S_EVENTS_WAITING];
	unsigned i, n = l4s_instance_take_events(inst, events);

	if (inst->ring == NULL)
		return;
	for (i = 0; i < n; i++)
		l4s_event_write(inst->ring, events[i].sched, events[i].instance,
		    events[i].code, events[i].value, now);
	l4s_ring_notify(inst->ring);
}

/* Plain DualPI2 decides while either queue's delay is above the ceiling. */
static inline bool
instance_above_ceiling(struct l4s_instance *inst, uint64_t now)
{
	struct l4s_overrides *o = &inst->overrides;
	uint64_t c = dualpi2_head_delay(&inst->queue, L4S_QUEUE_CLASSIC, now);
	uint64_t l = dualpi2_head_delay(&inst->queue, L4S_QUEUE_L4S, now);
	bool above = (c > l ? c : l) > o->bounds.ceiling_ns;

	if (__predict_false(o->active) &&
	    l4s_override_ceiling(o, &inst->queue, above))
		instance_reconfigure(inst);
	return (above);
}

/* Counts a packet in; returns the time that is in force. */
static inline uint64_t
instance_arrive(struct l4s_instance *inst, uint8_t queue, uint32_t length,
    uint64_t now)
{
	struct dualpi2_queue *q = &inst->queue.queue[queue];

	now = instance_catch_up(inst, now);
	if (__predict_false(inst->overrides.active))
		(void)instance_above_ceiling(inst, now);
	L4S_COUNT(&inst->counters.packets_in, 1);
	L4S_COUNT(&inst->counters.bytes_in, length);
	L4S_COUNT(&q->total_packets, 1);
	L4S_COUNT(&q->total_bytes, length);
	return (now);
}

bool
l4s_instance_enqueue(struct l4s_instance *inst, l4s_pkt_t *pkt, uint64_t now)
{
	uint32_t length = l4s_pkt_length(pkt);
	uint8_t ecn = l4s_pkt_ecn(pkt), queue = dualpi2_classify(ecn);

	now = instance_arrive(inst, queue, length, now);
	if (__predict_true(dualpi2_enqueue(&inst->queue, pkt, queue, length,
	    now)))
		return (true);
	instance_tail_drop(inst, pkt, queue, ecn, length, now);
	return (false);
}

void
l4s_instance_refuse(struct l4s_instance *inst, l4s_pkt_t *pkt, uint8_t ecn,
    uint32_t length, uint64_t now)
{
	uint8_t queue = dualpi2_classify(ecn);

	now = instance_arrive(inst, queue, length, now);
	instance_tail_drop(inst, pkt, queue, ecn, length, now);
}

static void
instance_tail_drop(struct l4s_instance *inst, l4s_pkt_t *pkt, uint8_t queue,
    uint8_t ecn, uint32_t length, uint64_t now)
{
	uint64_t delay = dualpi2_head_delay(&inst->queue, queue, now);
	struct dualpi2_verdict v = {
		.pkt = pkt,
		.probability = queue == L4S_QUEUE_L4S ? inst->queue.p_coupled :
		    inst->queue.p_classic,
		.length = length,
		.queue = queue,
		.ecn = ecn,
		.action = L4S_ACTION_DROP,
	};
	struct l4s_decision x = {
		.action = L4S_ACTION_DROP,
		.reason = L4S_REASON_TAIL,
		.status =
		    (delay > inst->overrides.bounds.ceiling_ns ?
		    L4S_STATUS_CEILING : 0) |
		    (inst->overrides.steering ? L4S_STATUS_STEERED : 0) |
		    (inst->overrides.watchdog ? L4S_STATUS_WATCHDOG : 0),
	};

	L4S_COUNT(&inst->queue.queue[queue].total_drops, 1);
	L4S_COUNT(&inst->counters.drops_tail, 1);
	L4S_COUNT(&inst->counters.dropped_bytes, length);
	if (inst->ring != NULL) {
		l4s_record_write(inst->ring, &inst->config, &inst->queue, &v,
		    &x, delay, now);
		l4s_ring_notify(inst->ring);
	}
	if (pkt == NULL)
		return;
	l4s_pkt_decided(pkt, queue, L4S_ACTION_DROP, L4S_REASON_TAIL, 0);
	l4s_pkt_drop(pkt, inst->sink);
}

l4s_pkt_t *
l4s_instance_dequeue(struct l4s_instance *inst, uint64_t now)
{
	struct dualpi2_verdict v;
	struct l4s_decision x;
	bool above;

	now = instance_catch_up(inst, now);
	for (;;) {
		above = instance_above_ceiling(inst, now);
		if (!dualpi2_pick(&inst->queue, now, &v))
			return (NULL);
		L4S_COUNT(&inst->counters.decisions, 1);
		l4s_override_decide(&inst->overrides, &inst->queue, &v, above,
		    inst->counters.decisions, &x);
		instance_count(inst, &v, &x);
		if (__predict_true(inst->ring != NULL)) {
			l4s_record_write(inst->ring, &inst->config,
			    &inst->queue, &v, &x, v.sojourn_ns, now);
			l4s_ring_notify(inst->ring);
		}
		if (x.action == L4S_ACTION_MARK)
			l4s_pkt_mark(v.pkt);
		l4s_pkt_decided(v.pkt, v.queue, x.action, x.reason,
		    v.sojourn_ns);
		if (__predict_true(x.action != L4S_ACTION_DROP)) {
			dualpi2_charge(&inst->queue, &v);
			return (v.pkt);
		}
		l4s_pkt_drop(v.pkt, inst->sink);
	}
}

static void
instance_count(struct l4s_instance *inst, const struct dualpi2_verdict *v,
    const struct l4s_decision *x)
{
	struct l4s_counters *c = &inst->counters;
	bool overridden = x->reason == L4S_REASON_ONCE ||
	    x->reason == L4S_REASON_HOLD;

	if (__predict_false(overridden))
		L4S_COUNT(&c->overridden, 1);
	else if (__predict_false(x->reason > L4S_REASON_TAIL))
		L4S_COUNT(&c->refused[x->reason], 1);

	switch (x->action) {
	case L4S_ACTION_DROP:
		L4S_COUNT(&c->dropped_bytes, v->length);
		L4S_COUNT(overridden ? &c->drops_override : &c->drops_base, 1);
		L4S_COUNT(&inst->queue.queue[v->queue].total_drops, 1);
		return;
	case L4S_ACTION_MARK:
		if (overridden)
			L4S_COUNT(&c->marks_override, 1);
		else if (v->cause == DUALPI2_NATIVE)
			L4S_COUNT(&c->marks_native, 1);
		else if (v->cause == DUALPI2_COUPLED)
			L4S_COUNT(&c->marks_coupled, 1);
		else
			L4S_COUNT(&c->marks_classic, 1);
		break;
	default:
		break;
	}
	L4S_COUNT(&c->forwarded, 1);
	L4S_COUNT(&c->forwarded_bytes, v->length);
}

void
l4s_instance_flush(struct l4s_instance *inst)
{
	l4s_pkt_t *pkt;
	uint64_t sojourn;
	uint8_t queue;

	for (queue = 0; queue < 2; queue++) {
		struct dualpi2_queue *q = &inst->queue.queue[queue];

		for (;;) {
			sojourn = dualpi2_head_delay(&inst->queue, queue,
			    inst->now);
			pkt = dualpi2_flush(&inst->queue, queue);
			if (pkt == NULL)
				break;
			L4S_COUNT(&q->total_drops, 1);
			L4S_COUNT(&inst->counters.drops_flush, 1);
			L4S_COUNT(&inst->counters.dropped_bytes,
			    l4s_pkt_length(pkt));
			l4s_pkt_decided(pkt, queue, L4S_ACTION_DROP,
			    L4S_REASON_TAIL, sojourn);
			l4s_pkt_drop(pkt, inst->sink);
		}
	}
}

/* Tells the packet path that something was left for it.  Locked. */
static void
instance_pend(struct l4s_instance *inst, uint32_t what)
{
	uint32_t *pending = &inst->overrides.pending;

	L4S_STORE_REL(pending, L4S_LOAD(pending) | what);
}

void
l4s_instance_post_params(struct l4s_instance *inst,
    const struct l4s_params *params)
{
	l4s_lock(&inst->overrides.lock);
	inst->posted = *params;
	instance_pend(inst, L4S_PENDING_PARAMS);
	l4s_unlock(&inst->overrides.lock);
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

void
l4s_instance_stats(struct l4s_instance *inst, struct l4s_stats *t)
{
	const struct l4s_counters *c = &inst->counters;
	struct l4s_overrides *o = &inst->overrides;
	uint64_t forwarded, forwarded_bytes, tail, base, override, flush;
	uint64_t dropped, dropped_bytes, in, in_bytes;
	unsigned i;

	/* What left before what came: nothing has left that did not come. */
	forwarded = L4S_LOAD_ACQ(&c->forwarded);
	forwarded_bytes = L4S_LOAD_ACQ(&c->forwarded_bytes);
	tail = L4S_LOAD_ACQ(&c->drops_tail);
	base = L4S_LOAD_ACQ(&c->drops_base);
	override = L4S_LOAD_ACQ(&c->drops_override);
	flush = L4S_LOAD_ACQ(&c->drops_flush);
	dropped_bytes = L4S_LOAD_ACQ(&c->dropped_bytes);
	in = L4S_LOAD_ACQ(&c->packets_in);
	in_bytes = L4S_LOAD_ACQ(&c->bytes_in);
	dropped = tail + base + override + flush;

	t->packets_in += in;
	t->bytes_in += in_bytes;
	t->forwarded += forwarded;
	t->forwarded_bytes += forwarded_bytes;
	t->dropped += dropped;
	t->queued += in - forwarded - dropped;
	t->queued_bytes += in_bytes - forwarded_bytes - dropped_bytes;
	t->drops_tail += tail;
	t->drops_base += base;
	t->drops_override += override;
	t->drops_flush += flush;
	t->marks_classic += L4S_LOAD(&c->marks_classic);
	t->marks_native += L4S_LOAD(&c->marks_native);
	t->marks_coupled += L4S_LOAD(&c->marks_coupled);
	t->marks_override += L4S_LOAD(&c->marks_override);
	for (i = 0; i < L4S_REASON_COUNT; i++)
		t->refused[i] += L4S_LOAD(&c->refused[i]);
	t->decisions_overridden += L4S_LOAD(&c->overridden);

	l4s_lock(&o->lock);
	t->overrides_received += o->counts.received;
	t->overrides_applied += o->counts.applied;
	t->overrides_expired += o->counts.expired;
	t->overrides_refused += o->counts.refused;
	t->overrides_replaced += o->counts.replaced;
	t->overrides_waiting += o->waiting ? 1 : 0;
	t->refused_invalid += o->counts.invalid;
	t->watchdog_misses += o->counts.misses;
	if (o->missed)
		t->watchdog_active = 1;
	l4s_unlock(&o->lock);
}
