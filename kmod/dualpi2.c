/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The DualPI2 core: the queues, their scheduler and the verdicts of RFC 9332
 * appendix A.1, with the overload behaviour of appendix A.2 and an ECN threshold
 * (RFC 8033).  The controller is in pi2.c.  See dualpi2.h.
 */

#include "dualpi2.h"
#include "params.h"

static void	dualpi2_set_silent(const struct dualpi2 *,
		    struct dualpi2_queue *);
static void	dualpi2_measure(struct dualpi2_queue *, uint32_t length,
		    uint64_t now);
static inline bool dualpi2_dither(struct dualpi2 *, struct dualpi2_queue *,
		    uint32_t);
static bool	dualpi2_recur(struct dualpi2 *, struct dualpi2_queue *,
		    uint32_t);
static L4S_INLINE bool dualpi2_pick_from(struct dualpi2 *, uint8_t queue,
		    bool weighed, bool usual, uint64_t now,
		    struct dualpi2_verdict *);
static L4S_INLINE uint8_t dualpi2_l4s(struct dualpi2 *, struct dualpi2_queue *,
		    bool weighed, struct dualpi2_verdict *);
static uint8_t	dualpi2_unusual(struct dualpi2 *, struct dualpi2_queue *,
		    bool weighed, struct dualpi2_verdict *);
static L4S_INLINE uint8_t dualpi2_classic(struct dualpi2 *,
		    struct dualpi2_queue *, bool weighed,
		    struct dualpi2_verdict *);
static uint8_t	dualpi2_overload(struct dualpi2 *, struct dualpi2_queue *,
		    struct dualpi2_verdict *);
static inline uint32_t dualpi2_weigh(const struct dualpi2 *,
		    struct dualpi2_verdict *);
static inline uint32_t dualpi2_weighted(uint32_t p, uint32_t factor,
		    unsigned shift);
static inline uint64_t dualpi2_weighted_ns(uint64_t ns, uint32_t f);
static uint32_t	dualpi2_native(const struct dualpi2 *, uint64_t sojourn_ns);
static inline uint64_t dualpi2_take(struct dualpi2 *, struct dualpi2_queue *,
		    const struct dualpi2_queue *other, uint32_t length);

static void
dualpi2_reset_credit(struct dualpi2 *d)
{
	int weight = d->params.classic_weight;

	L4S_STORE(&d->credit,
	    (int64_t)L4S_MTU * (weight - (100 - weight)));
}

void
dualpi2_init(struct dualpi2 *d, const struct l4s_params *params, uint64_t seed)
{
	memset(d, 0, sizeof(*d));
	/* An odd constant spreads small seeds; the state must not be 0. */
	d->random = seed * 0x9e3779b97f4a7c15ULL + 0x2545f4914f6cdd1dULL;
	if (d->random == 0)
		d->random = 1;
	d->queue[0].threshold = d->queue[1].threshold = DUALPI2_ONE;
	d->queue[0].sample_from = d->queue[1].sample_from = DUALPI2_SAMPLE;
	d->burst_ns = params->max_burst_ns;
	dualpi2_configure(d, params);
	dualpi2_reset_credit(d);
}

static uint32_t
dualpi2_limit_bytes(const struct dualpi2 *d)
{
	return (d->params.limit_bytes != 0 ? d->params.limit_bytes :
	    UINT32_MAX);
}

void
dualpi2_configure(struct dualpi2 *d, const struct l4s_params *params)
{
	d->params = *params;
	d->nearly_full = ((uint64_t)dualpi2_limit_bytes(d) - L4S_MTU) << 32 |
	    UINT32_MAX;
	if (d->burst_ns > params->max_burst_ns)
		d->burst_ns = params->max_burst_ns;
	dualpi2_set_silent(d, &d->queue[0]);
	dualpi2_set_silent(d, &d->queue[1]);
	dualpi2_steer(d, NULL, 0);
}

/*
 * The limit in bytes reserves space for a full-size packet, whatever the size
 * of this one (RFC 9332, figure 3).  Otherwise a nearly full queue would accept
 * small packets and drop large ones.
 */
static bool
dualpi2_has_room(const struct dualpi2 *d, uint64_t backlog, uint32_t length)
{
	uint64_t room = length > L4S_MTU ? length : L4S_MTU;

	return (dualpi2_packets(backlog) < d->params.limit_packets &&
	    dualpi2_bytes(backlog) + room <= dualpi2_limit_bytes(d));
}

bool
dualpi2_enqueue(struct dualpi2 *d, l4s_pkt_t *pkt, uint8_t queue,
    uint32_t length, uint64_t now)
{
	struct dualpi2_queue *q = &d->queue[queue];
	uint64_t waiting = q->backlog;
	uint64_t all = waiting + d->queue[!queue].backlog;

	/* Most packets pass after comparisons with precomputed values. */
	if (__predict_false(all > d->nearly_full || length > L4S_MTU ||
	    dualpi2_packets(all) >= d->params.limit_packets) &&
	    !dualpi2_has_room(d, all, length))
		return (false);

	l4s_pkt_set_arrival(pkt, now, queue == L4S_QUEUE_L4S &&
	    dualpi2_packets(waiting) >= d->params.l4s_min_packets);
	l4s_pkt_set_next(pkt, NULL);
	if (waiting == 0) {
		q->head = pkt;
		L4S_STORE(&q->head_ns, now);
	} else
		l4s_pkt_set_next(q->tail, pkt);
	q->tail = pkt;
	/* A reader that sees the packet also sees its arrival time. */
	L4S_STORE_REL(&q->backlog, waiting + DUALPI2_PACKET(length));
	return (true);
}

/*
 * RFC 9332, figure 7, except that the caller drops or marks.
 *
 * There is one difference: the last packet, with no other in either queue, is
 * never dropped.  A drop tells a sender to slow down, and if it empties the
 * queues, the link becomes idle.  On a slow link, where a single packet may
 * wait longer than the target, this would happen often.  The packet is marked
 * instead if possible.  (Linux does not drop or mark while fewer than two MTUs
 * are queued.  On links of a few Mbit/s that upsets the balance between the
 * queues, so marks are kept here.)
 */
bool
dualpi2_pick(struct dualpi2 *d, uint64_t now, struct dualpi2_verdict *v)
{
	if (dualpi2_backlog(d) == 0)
		return (false);
	return (dualpi2_pick_from(d, dualpi2_choose(d, &v->credit),
	    d->flows != NULL, false, now, v));
}

/*
 * Takes the head of a queue.  The two flags are constants in each caller, so
 * they cost nothing: `weighed', whether flows have weights, and `usual',
 * whether to take only packets to which their queue's ordinary signals apply.
 * With `usual', the head of the L4S queue stays there, and false is returned,
 * if the queue is in overload or the packet was classified by its DSCP alone.
 */
static L4S_INLINE bool
dualpi2_pick_from(struct dualpi2 *d, uint8_t queue, bool weighed, bool usual,
    uint64_t now, struct dualpi2_verdict *v)
{
	struct dualpi2_queue *q = &d->queue[queue];
	bool unusual, can_mark;

	v->queue = queue;
	v->sojourn_ns = now - q->head_ns;
	v->pkt = q->head;
	v->length = l4s_pkt_length(v->pkt);
	v->ecn = l4s_pkt_ecn(v->pkt);
	unusual = queue == L4S_QUEUE_L4S && (v->ecn & d->plain_ecn) == 0;
	if (usual && __predict_false(unusual))
		return (false);
	v->cause = DUALPI2_NONE;
	v->weight = 0;
	if (__predict_false(dualpi2_bytes(q->backlog) >= q->sample_from))
		dualpi2_measure(q, v->length, now);
	v->backlog = dualpi2_take(d, q, &d->queue[!queue], v->length);

	if (!usual && __predict_false(unusual))
		v->action = dualpi2_unusual(d, q, weighed, v);
	else if (queue == L4S_QUEUE_L4S)
		v->action = dualpi2_l4s(d, q, weighed, v);
	else
		v->action = dualpi2_classic(d, q, weighed, v);
	if (__predict_true(v->action == L4S_ACTION_ENQUEUE))
		return (true);	/* the probability is below one */
	v->probability = dualpi2_q31(v->probability);
	/*
	 * A mark becomes a drop if marking is disabled or the packet's header
	 * cannot be written: such a packet is treated as Not-ECT.
	 */
	can_mark = d->params.ecn != 0 && l4s_pkt_can_mark(v->pkt);
	if (v->action == L4S_ACTION_MARK && !can_mark)
		v->action = L4S_ACTION_DROP;
	if (v->action == L4S_ACTION_DROP &&
	    __predict_false(dualpi2_backlog(d) == 0)) {
		v->action = can_mark ? L4S_ACTION_MARK : L4S_ACTION_ENQUEUE;
		if ((v->ecn & d->params.l4s_ecn) != 0)
			v->cause = DUALPI2_COUPLED;	/* p_CL is one */
	}
	return (true);
}

/* The signal for a packet of the L4S queue. */
static L4S_INLINE uint8_t
dualpi2_l4s(struct dualpi2 *d, struct dualpi2_queue *q, bool weighed,
    struct dualpi2_verdict *v)
{
	uint32_t p_native = 0, p_coupled = d->heard_coupled, f;
	uint64_t sojourn_ns = v->sojourn_ns;

	if (weighed) {
		f = dualpi2_weigh(d, v);
		p_coupled = dualpi2_weighted(p_coupled, f, FLOW_WEIGHT_SHIFT);
		sojourn_ns = dualpi2_weighted_ns(sojourn_ns, f);
	}
	/*
	 * Only if it queued behind others; otherwise the link's speed alone may
	 * have made it wait.
	 */
	if (l4s_pkt_queued(v->pkt))
		p_native = dualpi2_native(d, sojourn_ns);
	v->probability = p_native > p_coupled ? p_native : p_coupled;
	if (!dualpi2_dither(d, q, v->probability))
		return (L4S_ACTION_ENQUEUE);
	v->cause = p_native > p_coupled ? DUALPI2_NATIVE : DUALPI2_COUPLED;
	return (L4S_ACTION_MARK);
}

/*
 * The same in overload, or for a packet classified by its DSCP alone: the
 * latter gets the signals of a Classic packet, a mark or a drop (RFC 9332,
 * section 2.5.1.1).
 */
static uint8_t
dualpi2_unusual(struct dualpi2 *d, struct dualpi2_queue *q, bool weighed,
    struct dualpi2_verdict *v)
{
	return ((v->ecn & d->params.l4s_ecn) == 0 ?
	    dualpi2_classic(d, q, weighed, v) : dualpi2_overload(d, q, v));
}

static uint8_t
dualpi2_overload(struct dualpi2 *d, struct dualpi2_queue *q,
    struct dualpi2_verdict *v)
{
	uint32_t p_classic = d->p_classic, f;

	/* With weights of one or more, p_CL stays one. */
	if (d->flows != NULL) {
		f = dualpi2_weigh(d, v);
		p_classic = dualpi2_weighted(p_classic, f * f,
		    2 * FLOW_WEIGHT_SHIFT);
	}
	v->probability = d->p_coupled;
	if (dualpi2_dither(d, q, p_classic)) {
		v->cause = DUALPI2_CLASSIC;
		return (L4S_ACTION_DROP);
	}
	if (!dualpi2_dither(d, q, d->p_coupled))
		return (L4S_ACTION_ENQUEUE);
	v->cause = DUALPI2_COUPLED;
	return (L4S_ACTION_MARK);
}

/* The signal for a packet of the Classic queue. */
static L4S_INLINE uint8_t
dualpi2_classic(struct dualpi2 *d, struct dualpi2_queue *q, bool weighed,
    struct dualpi2_verdict *v)
{
	uint32_t p = d->heard_classic, f;

	if (weighed) {
		f = dualpi2_weigh(d, v);
		p = dualpi2_weighted(p, f * f, 2 * FLOW_WEIGHT_SHIFT);
	}
	v->probability = p;
	if (!dualpi2_dither(d, q, p))
		return (L4S_ACTION_ENQUEUE);
	v->cause = DUALPI2_CLASSIC;
	if (v->ecn == L4S_ECN_NOT_ECT || d->overload ||
	    (d->params.max_ecnth != 0 && d->p_classic > d->params.max_ecnth))
		return (L4S_ACTION_DROP);
	return (L4S_ACTION_MARK);
}

/*
 * The weight of the packet's flow, Q14.  A packet that arrived before flow
 * weights were enabled has no bucket.
 */
static inline uint32_t
dualpi2_weigh(const struct dualpi2 *d, struct dualpi2_verdict *v)
{
	uint32_t f = l4s_flow_weight(d->flows,
	    l4s_pkt_arrival(v->pkt) > d->flows_since ?
	    l4s_pkt_bucket(v->pkt) : FLOW_NONE);

	if (f < d->weight_min)
		f = d->weight_min;
	v->weight = (uint8_t)(f >> (FLOW_WEIGHT_SHIFT - L4S_WEIGHT_SHIFT));
	return (f);
}

/*
 * p times the factor, which is at most FLOW_WEIGHT_MAX squared: below 2^61
 * before it is clamped to a probability.
 */
static inline uint32_t
dualpi2_weighted(uint32_t p, uint32_t factor, unsigned shift)
{
	uint64_t weighted = (uint64_t)p * factor >> shift;

	return (weighted < DUALPI2_ONE ? (uint32_t)weighted : DUALPI2_ONE);
}

/*
 * The sojourn time seen by the native AQM.  A step has no probability to be
 * weighted; scaling the sojourn time divides its threshold by f.
 */
static inline uint64_t
dualpi2_weighted_ns(uint64_t ns, uint32_t f)
{
	return ((uint64_t)((unsigned __int128)ns * f >> FLOW_WEIGHT_SHIFT));
}

l4s_pkt_t *
dualpi2_flush(struct dualpi2 *d, uint8_t queue)
{
	struct dualpi2_queue *q = &d->queue[queue];
	l4s_pkt_t *pkt = q->head;

	if (q->backlog == 0)
		return (NULL);
	(void)dualpi2_take(d, q, &d->queue[!queue], l4s_pkt_length(pkt));
	return (pkt);
}

/*
 * Weighted round robin with a credit in bytes times per cent, as in Linux: each
 * L4S byte sent while Classic waits earns Classic its weight; each Classic byte
 * sent while L4S waits costs it L4S's weight.  With both queues busy, Classic
 * gets classic_weight per cent of the bytes sent; if only one is busy, it gets
 * the whole link and the credit does not change.  dualpi2_charge() applies the
 * change, at most 100 * 65535, when the packet is sent.  |credit| stays below
 * 100 * (65535 + 1500), since its sign selects the queue.
 */
uint8_t
dualpi2_choose(const struct dualpi2 *d, int32_t *credit)
{
	const struct dualpi2_queue *c = &d->queue[L4S_QUEUE_CLASSIC];
	const struct dualpi2_queue *l = &d->queue[L4S_QUEUE_L4S];
	int32_t weight = d->params.classic_weight;

	*credit = 0;
	if (l->backlog != 0 && (c->backlog == 0 || d->credit <= 0)) {
		if (c->backlog != 0)
			*credit = (int32_t)l4s_pkt_length(l->head) * weight;
		return (L4S_QUEUE_L4S);
	}
	if (l->backlog != 0)
		*credit = -(int32_t)l4s_pkt_length(c->head) * (100 - weight);
	return (L4S_QUEUE_CLASSIC);
}

/* Removes the head of q.  Returns the remaining backlog. */
static inline uint64_t
dualpi2_take(struct dualpi2 *d, struct dualpi2_queue *q,
    const struct dualpi2_queue *other, uint32_t length)
{
	l4s_pkt_t *pkt = q->head, *next = l4s_pkt_next(pkt);
	uint64_t waiting = q->backlog - DUALPI2_PACKET(length);

	q->head = next;
	l4s_pkt_set_next(pkt, NULL);
	L4S_STORE(&q->backlog, waiting);
	if (waiting != 0)
		L4S_STORE(&q->head_ns, l4s_pkt_arrival(next));
	else if (other->backlog == 0)
		dualpi2_reset_credit(d);
	return (waiting);
}

/* xorshift64*, with a period of 2^64 - 1.  Returns 31 bits. */
static uint32_t
dualpi2_random(struct dualpi2 *d)
{
	uint64_t x = d->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	d->random = x;
	return ((uint32_t)((x * 0x2545f4914f6cdd1dULL) >> 33));
}

/*
 * Signals with likelihood p.  As in RFC 9332's recur(), likelihoods are
 * accumulated until they reach a threshold, which spaces signals evenly, with a
 * twelfth of the variance of independent ones.  In recur() the threshold is
 * always one.  That deterministic sequence locks to the order of regular
 * arrivals, so that one of two equal streams gets nearly all the drops.  Here
 * each signal draws the next threshold from [1/2, 3/2).  Its mean is one, so
 * the long-run rate is p.
 *
 * If p is above 1/2, the range narrows to [p, 2 - p): a packet never adds more
 * than the threshold, so no signals are owed when p falls.  p = 1 always
 * signals and does not change the accumulated likelihood.
 *
 * Most packets are not signalled, which takes one comparison to determine:
 * `silent' is low enough that a smaller sum cannot signal, with p = 1 or
 * otherwise.
 */
static inline bool
dualpi2_dither(struct dualpi2 *d, struct dualpi2_queue *q, uint32_t p)
{
	uint64_t sum = q->accumulated + p;

	if (__predict_false(sum >= q->silent))
		return (dualpi2_recur(d, q, p));
	q->accumulated = sum;
	return (false);
}

static void
dualpi2_set_silent(const struct dualpi2 *d, struct dualpi2_queue *q)
{
	q->silent = d->params.dither == L4S_DITHER_RANDOM ? 0 :
	    q->threshold < DUALPI2_ONE ? q->threshold : DUALPI2_ONE;
}

static bool
dualpi2_recur(struct dualpi2 *d, struct dualpi2_queue *q, uint32_t p)
{
	uint32_t half;

	if (d->params.dither == L4S_DITHER_RANDOM)
		return (p != 0 && dualpi2_random(d) < p);
	if (__predict_false(p >= DUALPI2_ONE))
		return (true);
	q->accumulated += p;
	if (__predict_true(q->accumulated < q->threshold))
		return (false);
	q->accumulated -= q->threshold;
	half = p < DUALPI2_ONE / 2 ? DUALPI2_ONE / 2 : DUALPI2_ONE - p;
	q->threshold = DUALPI2_ONE - half +
	    (uint32_t)(((uint64_t)dualpi2_random(d) * half) >> 30);
	dualpi2_set_silent(d, q);
	return (true);
}

/*
 * The L4S queue's own AQM.  In the ramp (excess < range <= 1e9 < 2^30) the
 * product is below 2^61.
 */
static uint32_t
dualpi2_native(const struct dualpi2 *d, uint64_t sojourn_ns)
{
	uint64_t excess;

	if (sojourn_ns <= d->set.threshold_ns)
		return (0);
	if (d->params.laqm == L4S_LAQM_STEP)
		return (DUALPI2_ONE);
	excess = sojourn_ns - d->set.threshold_ns;
	if (excess >= d->params.l4s_range_ns)
		return (DUALPI2_ONE);
	return ((uint32_t)((excess << 31) / d->params.l4s_range_ns));
}

/*
 * Departure rate (RFC 8033, section 4.3): while at least a sample is queued,
 * measures how long DUALPI2_SAMPLE bytes take to leave.  The mean moves by a
 * quarter of the difference, DQ_THRESHOLD / 2^16 of appendix A.  It is only
 * reported: the controller uses sojourn times.
 */
static void
dualpi2_measure(struct dualpi2_queue *q, uint32_t length, uint64_t now)
{
	uint64_t us;
	bool more;

	if ((q->status & L4S_STATUS_MEASURING) == 0) {
		q->status |= L4S_STATUS_MEASURING;
		q->sample_from = 0;
		q->sample_start = now;
		return;
	}
	q->sample_bytes += length;
	if (q->sample_bytes < DUALPI2_SAMPLE)
		return;
	us = dualpi2_us(now - q->sample_start);
	if (q->sample_us == 0)
		q->sample_us = (uint32_t)us;
	else
		q->sample_us = (uint32_t)(((uint64_t)q->sample_us * 3 + us) / 4);
	more = dualpi2_bytes(q->backlog) - length >= DUALPI2_SAMPLE;
	if (!more)
		q->status &= ~L4S_STATUS_MEASURING;
	q->sample_from = more ? 0 : DUALPI2_SAMPLE;
	q->sample_start = more ? now : 0;
	q->sample_bytes = 0;
}
