/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See override.h. */

#include "override.h"
#include "params.h"

static bool	override_factors_ok(const struct l4s_override *,
		    const struct l4s_limits *);
static void	override_resolve(struct l4s_overrides *, bool replaced);
static bool	override_finish(struct l4s_overrides *, struct dualpi2 *);
static bool	override_count_effect(struct l4s_overrides *);
static void	override_count_refusal(struct l4s_overrides *);
static void	override_earn(struct l4s_share *, uint32_t share,
		    uint64_t decisions);
static bool	override_take(struct l4s_share *, uint32_t share,
		    uint64_t decisions);
static bool	override_take_mark(struct l4s_overrides *, uint8_t queue,
		    uint64_t decisions);
static void	override_prevented(struct l4s_overrides *,
		    const struct dualpi2_verdict *, uint8_t action);
static void	override_set_due(struct l4s_overrides *);
static bool	override_set_points(struct l4s_overrides *, struct dualpi2 *,
		    bool steering, bool student);

void
l4s_overrides_init(struct l4s_overrides *o, const struct l4s_limits *limits)
{
	memset(o, 0, sizeof(*o));
	l4s_lock_init(&o->lock, "l4s override");
	o->limits = o->bounds = *limits;
	o->due = L4S_NEVER;
	o->marks.tokens = (uint64_t)L4S_SHARE_BURST * L4S_FACTOR_ONE;
}

void
l4s_overrides_destroy(struct l4s_overrides *o)
{
	l4s_lock_destroy(&o->lock);
}

int
l4s_override_check(const struct l4s_override *o,
    const struct l4s_limits *limits, uint64_t now)
{
	uint8_t set = o->steer_set;

	if (o->version != L4S_ABI_VERSION || o->length != sizeof(*o))
		return (L4S_EPROTO);
	if (o->id == 0 || o->pad != 0 || o->action > L4S_ACTION_MARK ||
	    o->queue > L4S_QUEUE_ANY || (set & ~L4S_STEER_ALL) != 0 ||
	    ((set & L4S_STEER_TARGET) == 0 && o->target != 0) ||
	    ((set & L4S_STEER_THRESHOLD) == 0 && o->threshold != 0) ||
	    ((set & L4S_STEER_COUPLING) == 0 && o->coupling != 0) ||
	    ((set & L4S_STEER_ALPHA) == 0 && o->alpha != 0) ||
	    ((set & L4S_STEER_BETA) == 0 && o->beta != 0) ||
	    ((set & L4S_STEER_TUPDATE) == 0 && o->tupdate != 0))
		return (L4S_EINVAL);
	switch (o->mode) {
	case L4S_MODE_ONCE:
		if (set != 0 || o->hold_packets != 1)
			return (L4S_EINVAL);
		break;
	case L4S_MODE_HOLD:
		if (set != 0 || o->hold_packets == 0)
			return (L4S_EINVAL);
		if (o->hold_packets > limits->max_hold)
			return (L4S_ERANGE);
		break;
	case L4S_MODE_STEER:
		if (set == 0 || o->hold_packets != 0 || o->action != 0 ||
		    o->queue != L4S_QUEUE_ANY)
			return (L4S_EINVAL);
		if (!override_factors_ok(o, limits))
			return (L4S_ERANGE);
		break;
	default:
		return (L4S_EINVAL);
	}
	if (o->expires_ns > now && o->expires_ns - now > limits->max_ttl_ns)
		return (L4S_ERANGE);
	return (0);
}

static bool
override_factor_ok(const struct l4s_override *o, uint8_t bit, uint32_t factor,
    uint32_t least, uint32_t greatest)
{
	return ((o->steer_set & bit) == 0 ||
	    (factor >= least && factor <= greatest));
}

static bool
override_factors_ok(const struct l4s_override *o,
    const struct l4s_limits *limits)
{
	uint32_t least = limits->factor_min, greatest = limits->factor_max;
	uint32_t low = limits->gain_min, high = limits->gain_max;

	return (
	    override_factor_ok(o, L4S_STEER_TARGET, o->target, least,
	    greatest) &&
	    override_factor_ok(o, L4S_STEER_THRESHOLD, o->threshold, least,
	    greatest) &&
	    override_factor_ok(o, L4S_STEER_COUPLING, o->coupling, least,
	    greatest) &&
	    override_factor_ok(o, L4S_STEER_TUPDATE, o->tupdate, least,
	    greatest) &&
	    override_factor_ok(o, L4S_STEER_ALPHA, o->alpha, low, high) &&
	    override_factor_ok(o, L4S_STEER_BETA, o->beta, low, high));
}

int
l4s_override_submit(struct l4s_overrides *o, const struct l4s_override *new,
    uint64_t now, bool *recovered)
{
	int error;

	*recovered = false;
	l4s_lock(&o->lock);
	error = l4s_override_check(new, &o->limits, now);
	if (error != 0) {
		o->counts.invalid++;
		l4s_unlock(&o->lock);
		return (error);
	}
	*recovered = o->missed;
	o->armed = true;
	o->missed = false;
	o->last_sign = now;
	o->counts.received++;
	if (new->expires_ns <= now)
		o->counts.expired++;
	else {
		override_resolve(o, o->next.expires_ns > now);
		o->next = *new;
		o->generation++;
		o->waiting = true;
		L4S_STORE(&o->pending, (o->pending & ~L4S_PENDING_CANCEL) |
		    L4S_PENDING_OVERRIDE);
	}
	/* The watchdog's deadline moved; the packet path's copy must follow. */
	l4s_overrides_pend(o, o->pending | L4S_PENDING_LIMITS);
	l4s_unlock(&o->lock);
	return (0);
}

/*
 * Counts the newest override as ended without effect, if it had none.  Locked.
 */
static void
override_resolve(struct l4s_overrides *o, bool replaced)
{
	if (o->waiting) {
		if (o->refused_once)
			o->counts.refused++;
		else if (replaced)
			o->counts.replaced++;
		else
			o->counts.expired++;
	}
	o->waiting = false;
	o->refused_once = false;
}

/* Cancels the override; none is active until the next one.  Locked. */
static void
override_cancel(struct l4s_overrides *o)
{
	override_resolve(o, false);
	o->generation++;
	l4s_overrides_pend(o, (o->pending & ~L4S_PENDING_OVERRIDE) |
	    L4S_PENDING_CANCEL | L4S_PENDING_LIMITS);
}

void
l4s_overrides_release(struct l4s_overrides *o)
{
	l4s_lock(&o->lock);
	override_cancel(o);
	o->armed = false;
	o->missed = false;
	l4s_unlock(&o->lock);
}

bool
l4s_overrides_watch(struct l4s_overrides *o, uint64_t now, uint64_t *misses)
{
	bool missed = false;

	l4s_lock(&o->lock);
	if (o->armed && !o->missed && o->limits.watchdog_ns != 0 &&
	    now > o->last_sign &&
	    now - o->last_sign > o->limits.watchdog_ns) {
		override_cancel(o);
		o->missed = missed = true;
		*misses = ++o->counts.misses;
	}
	l4s_unlock(&o->lock);
	return (missed);
}

bool
l4s_override_expire(struct l4s_overrides *o, struct dualpi2 *d, uint64_t now)
{
	if (!o->active || now < o->current.expires_ns)
		return (false);
	return (override_finish(o, d));
}

/* Derives the state that depends on the current override. */
static void
override_derive(struct l4s_overrides *o)
{
	o->watching = o->above || (o->active && !o->steering) ||
	    (o->student != NULL && !o->steering && !o->student_steering);
	o->status = (o->steering ? L4S_STATUS_STEERED : 0) |
	    (o->student_steering ? L4S_STATUS_STUDENT : 0) |
	    (o->watchdog ? L4S_STATUS_WATCHDOG : 0);
	o->reason = o->steering ? L4S_REASON_STEER :
	    o->student_steering ? L4S_REASON_STUDENT : L4S_REASON_BASE;
	o->plain = L4S_RECORD_PLAIN(o->reason, o->status);
}

/* Ends the current override, and counts it unless already counted. */
static bool
override_finish(struct l4s_overrides *o, struct dualpi2 *d)
{
	bool steered = o->steering;

	if (!o->counted) {
		l4s_lock(&o->lock);
		if (o->generation == o->current_generation)
			override_resolve(o, false);
		l4s_unlock(&o->lock);
	}
	o->active = o->steering = false;
	override_derive(o);
	if (steered)
		dualpi2_steer(d, NULL, 0);
	override_set_due(o);
	return (steered);
}

bool
l4s_override_collect(struct l4s_overrides *o, struct dualpi2 *d,
    uint32_t pending, uint64_t decisions, uint64_t now)
{
	bool steered = o->steering, ends;

	l4s_lock(&o->lock);
	/*
	 * Requests that arrived since `pending' was read are handled with the
	 * next packet.  But an override that has been cancelled since must not
	 * begin.
	 */
	if ((o->pending & L4S_PENDING_CANCEL) != 0)
		pending = (pending & ~L4S_PENDING_OVERRIDE) |
		    L4S_PENDING_CANCEL;
	L4S_STORE(&o->pending, o->pending & ~pending);
	if ((pending & L4S_PENDING_LIMITS) != 0) {
		/* At the old shares. */
		override_earn(&o->drops, o->bounds.drop_share, decisions);
		override_earn(&o->marks, o->bounds.mark_share, decisions);
		o->bounds = o->limits;
		if (o->student != NULL &&
		    !override_factors_ok(o->student, &o->bounds))
			o->student = NULL;
	}
	o->watchdog = o->missed;
	ends = (pending & (L4S_PENDING_CANCEL | L4S_PENDING_OVERRIDE)) != 0;
	if (ends)
		o->active = o->steering = false;
	if ((pending & L4S_PENDING_OVERRIDE) != 0) {
		o->current = o->next;
		o->current_generation = o->generation;
		o->remaining = o->current.hold_packets;
		o->active = true;
		o->counted = o->refusal_counted = false;
	}
	override_derive(o);
	l4s_unlock(&o->lock);

	if (o->remaining > o->bounds.max_hold &&
	    o->current.mode == L4S_MODE_HOLD)
		o->remaining = o->bounds.max_hold;
	if (o->active && (now >= o->current.expires_ns ||
	    (o->current.mode == L4S_MODE_HOLD && o->remaining == 0) ||
	    !override_factors_ok(&o->current, &o->bounds)))
		(void)override_finish(o, d);
	else
		override_set_due(o);
	if (o->student_steering && o->student == NULL) {
		L4S_STORE(&o->student_steering, false);
		override_derive(o);
		steered = true;
	}
	if (steered && !o->steering)
		dualpi2_steer(d, NULL, 0);
	return (steered && !o->steering);
}

/*
 * Computes when the packet path must look again.  last_sign needs no lock here,
 * because every writer of it sets `pending'.
 */
static void
override_set_due(struct l4s_overrides *o)
{
	uint64_t due = L4S_NEVER;

	if (o->active)
		due = o->current.expires_ns;
	if (o->student != NULL && o->student->expires_ns < due)
		due = o->student->expires_ns;
	l4s_lock(&o->lock);
	if (o->armed && !o->missed && o->bounds.watchdog_ns != 0 &&
	    due - 1 > o->last_sign &&
	    due - 1 - o->last_sign > o->bounds.watchdog_ns)
		due = o->last_sign + o->bounds.watchdog_ns + 1;
	l4s_unlock(&o->lock);
	o->due = due;
}

void
l4s_override_watch_ceiling(struct l4s_overrides *o)
{
	o->above = true;
	override_derive(o);
}

bool
l4s_override_ceiling(struct l4s_overrides *o, struct dualpi2 *d, bool above)
{
	bool steers = o->active && o->current.mode == L4S_MODE_STEER;
	bool steering = o->steering, student = o->student_steering;

	o->above = above;
	if (above) {
		if (steers)
			override_count_refusal(o);
		o->steering = student = false;
	} else if (steers) {
		if (!steering && override_count_effect(o))
			o->steering = true;
		/* One that has just been replaced or cancelled does not steer. */
		student = student && !o->steering;
	} else
		student = o->student != NULL;
	return (override_set_points(o, d, steering, student));
}

/*
 * Applies the set-points of what steers now: the override, the student or
 * neither.  Returns true if that changed.
 */
static bool
override_set_points(struct l4s_overrides *o, struct dualpi2 *d, bool steering,
    bool student)
{
	bool changed = o->steering != steering ||
	    o->student_steering != student;

	L4S_STORE(&o->student_steering, student);
	if (changed)
		l4s_override_resume(o, d);
	override_derive(o);
	return (changed);
}

void
l4s_override_resume(struct l4s_overrides *o, struct dualpi2 *d)
{
	if (o->steering)
		dualpi2_steer(d, &o->current, o->current.steer_set);
	else if (o->student_steering)
		dualpi2_steer(d, o->student, o->student->steer_set);
	else
		dualpi2_steer(d, NULL, 0);
}

bool
l4s_override_student(struct l4s_overrides *o, struct dualpi2 *d,
    const struct l4s_override *decision)
{
	bool changed = o->student_steering;

	o->student = decision;
	if (decision == NULL)
		L4S_STORE(&o->student_steering, false);
	if (changed)
		l4s_override_resume(o, d);
	override_derive(o);
	override_set_due(o);
	return (changed);
}

bool
l4s_override_expire_student(struct l4s_overrides *o, struct dualpi2 *d,
    uint64_t now)
{
	if (o->student == NULL || now < o->student->expires_ns)
		return (false);
	return (l4s_override_student(o, d, NULL));
}

/*
 * The current override is about to have its first effect.  Returns false if it
 * has just been replaced or cancelled: it must then have no effect, because it
 * is counted as replaced or expired.
 */
static bool
override_count_effect(struct l4s_overrides *o)
{
	bool valid = true;

	if (o->counted)
		return (true);
	l4s_lock(&o->lock);
	if (o->generation == o->current_generation) {
		L4S_ASSERT(o->waiting);
		o->waiting = false;
		o->refused_once = false;
		o->counts.applied++;
		o->counted = true;
	} else
		valid = false;
	l4s_unlock(&o->lock);
	return (valid);
}

static void
override_count_refusal(struct l4s_overrides *o)
{
	if (o->counted || o->refusal_counted)
		return;
	l4s_lock(&o->lock);
	if (o->generation == o->current_generation)
		o->refused_once = true;
	l4s_unlock(&o->lock);
	o->refusal_counted = true;
}

void
l4s_override_decide(struct l4s_overrides *o, const struct dualpi2 *d,
    const struct dualpi2_verdict *v, bool above, uint64_t decisions,
    struct l4s_decision *x)
{
	const struct l4s_override *c = &o->current;

	x->action = v->action;
	x->reason = o->student_steering ? L4S_REASON_STUDENT : L4S_REASON_BASE;
	x->override_action = L4S_ACTION_ENQUEUE;
	x->override_id = 0;
	if (!o->active)
		return;
	if (c->mode == L4S_MODE_STEER) {
		if (o->steering) {
			x->override_id = c->id;
			x->reason = L4S_REASON_STEER;
		} else if (above) {
			x->override_id = c->id;
			x->reason = L4S_REASON_CEILING;
		}
		return;
	}
	if (c->queue != L4S_QUEUE_ANY && c->queue != v->queue)
		return;

	x->override_id = c->id;
	x->override_action = c->action;
	if (above)
		x->reason = L4S_REASON_CEILING;
	else if (d->overload)
		x->reason = L4S_REASON_OVERLOAD;
	else if (c->action == L4S_ACTION_MARK &&
	    (d->params.ecn == 0 || !l4s_pkt_can_mark(v->pkt)))
		x->reason = L4S_REASON_NOT_ECT;
	else if (c->action == L4S_ACTION_DROP && dualpi2_backlog(d) == 0)
		x->reason = L4S_REASON_LAST_PACKET;
	else if (c->action == L4S_ACTION_DROP &&
	    !override_take(&o->drops, o->bounds.drop_share, decisions))
		x->reason = L4S_REASON_DROP_SHARE;
	else if (c->action == L4S_ACTION_MARK &&
	    v->action == L4S_ACTION_ENQUEUE &&
	    !override_take_mark(o, v->queue, decisions))
		x->reason = L4S_REASON_MARK_SHARE;
	else if (override_count_effect(o)) {
		x->reason = c->mode == L4S_MODE_ONCE ? L4S_REASON_ONCE :
		    L4S_REASON_HOLD;
		x->action = c->action;
		override_prevented(o, v, c->action);
	} else {
		/* Replaced or cancelled in the meantime. */
		x->override_id = 0;
		x->override_action = L4S_ACTION_ENQUEUE;
		return;
	}
	if (x->reason >= L4S_REASON_NOT_ECT)
		override_count_refusal(o);
	if (--o->remaining == 0)
		(void)override_finish(o, NULL);	/* not a steer: no set-points */
}

/*
 * The token bucket of a share: every decision earns `share' of a packet (Q16),
 * at most L4S_SHARE_BURST packets are saved, and a packet costs one.  So over
 * any span overrides never exceed that share of its decisions by more than the
 * packets saved before, and idle time cannot fund a burst.  Earnings are added
 * when they are needed, not for each packet.  Longer spans are cut to cap
 * decisions first, since even the minimum share fills the bucket by then:
 * earned <= 2^22, times 2^16 at most.
 *
 * The bucket of drops starts empty, that of marks full: 64 early marks cost one
 * reduction of the senders' windows.
 */
static void
override_earn(struct l4s_share *s, uint32_t share, uint64_t decisions)
{
	uint64_t earned = decisions - s->earned_at;
	uint64_t cap = (uint64_t)L4S_SHARE_BURST * L4S_FACTOR_ONE;

	if (earned > cap)
		earned = cap;
	s->tokens += earned * share;
	if (s->tokens > cap)
		s->tokens = cap;
	s->earned_at = decisions;
}

static bool
override_take(struct l4s_share *s, uint32_t share, uint64_t decisions)
{
	override_earn(s, share, decisions);
	if (s->tokens < L4S_FACTOR_ONE)
		return (false);
	s->tokens -= L4S_FACTOR_ONE;
	return (true);
}

/*
 * A mark on a packet that DualPI2 forwards unchanged.  It first replaces a mark
 * of DualPI2 in the same queue that an override prevented, and otherwise counts
 * against the share.  So a policy may move marks, also many of them, but adds
 * only the share.  The queues have separate credit, because DualPI2 marks L4S
 * packets far more often than classic ones (RFC 9332, section 2.1).  Credit
 * does not expire, but is at most L4S_SHARE_BURST marks per queue.
 */
static bool
override_take_mark(struct l4s_overrides *o, uint8_t queue, uint64_t decisions)
{
	if (o->mark_credit[queue] != 0) {
		o->mark_credit[queue]--;
		return (true);
	}
	return (override_take(&o->marks, o->bounds.mark_share, decisions));
}

/* The override chose `action': saves a mark of DualPI2 that it prevents. */
static void
override_prevented(struct l4s_overrides *o, const struct dualpi2_verdict *v,
    uint8_t action)
{
	if (v->action == L4S_ACTION_MARK && action == L4S_ACTION_ENQUEUE &&
	    o->mark_credit[v->queue] < L4S_SHARE_BURST)
		o->mark_credit[v->queue]++;
}
