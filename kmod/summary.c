/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See summary.h. */

#include "summary.h"

/*
 * Adds the counters to the sums, times `sign': (uint64_t)-1 at the beginning of
 * the interval, 1 at its end.  Sums wrap in between.
 */
static void
fold_sums(struct l4s_fold *f, const struct dualpi2 *d,
    const struct l4s_counters *counters, uint64_t sign)
{
	const struct l4s_queue_counters *c;
	const struct dualpi2_queue *q;
	struct l4s_queue_summary *s;
	unsigned i;

	f->now.idle_ns += sign * f->idle_ns;
	f->now.overload_ns += sign * counters->overload_ns;
	f->now.decisions += sign * counters->decisions;
	for (i = 0; i < nitems(d->queue); i++) {
		s = &f->now.queue[i];
		q = &d->queue[i];
		c = &counters->queue[i];
		s->arrived += sign * q->total_packets;
		s->arrived_bytes += sign * q->total_bytes;
		s->forwarded += sign *
		    (q->total_packets - q->total_drops -
		    dualpi2_packets(q->backlog));
		s->forwarded_bytes += sign * c->forwarded_bytes;
		s->marks_aqm += sign * (c->marks_classic + c->marks_coupled);
		s->marks_native += sign * c->marks_native;
		s->marks_override += sign * c->marks_override;
		s->drops_aqm += sign * c->drops_base;
		s->drops_override += sign * c->drops_override;
		s->drops_tail += sign * c->drops_tail;
		s->drops_flush += sign * c->drops_flush;
		s->sojourn_sum_ns += sign * c->delay_sum_ns;
	}
}

/* Counts the idle time until now. */
static void
fold_settle(struct l4s_fold *f, uint64_t now)
{
	if (f->idle_since < now) {
		f->idle_ns += now - f->idle_since;
		f->idle_since = f->idle_least = now;
	}
}

static void
fold_begin(struct l4s_fold *f, const struct dualpi2 *d,
    const struct l4s_counters *counters, uint64_t now)
{
	unsigned i;

	memset(&f->now, 0, sizeof(f->now));
	f->now.begin_ns = now;
	f->now.p_begin = f->now.p_max = d->p_base;
	memset(f->queue, 0, sizeof(f->queue));
	for (i = 0; i < nitems(f->queue); i++)
		f->queue[i].sojourn_min_ns = UINT64_MAX;
	fold_sums(f, d, counters, (uint64_t)-1);
}

/* The end of the interval, and the time to check the window. */
static void
fold_set_due(struct l4s_fold *f)
{
	unsigned i;

	f->end_ns = f->end_decisions = L4S_NEVER;
	f->due_ns = f->due_decisions = L4S_NEVER;
	if (!f->on)
		return;
	if (f->bounds.ns != 0)
		f->end_ns = f->now.begin_ns + f->bounds.ns;
	/* now.decisions is minus the decisions before the interval. */
	if (f->bounds.decisions != 0)
		f->end_decisions = f->bounds.decisions - f->now.decisions;
	f->due_decisions = f->rate_due ? 0 : f->end_decisions;
	for (i = 0; i < nitems(f->queue); i++)
		f->queue[i].look_below_ns = f->due_decisions != L4S_NEVER ?
		    L4S_NEVER : f->queue[i].sojourn_min_ns;
	f->due_ns = f->end_ns;
	if (!f->rate_due && f->window.end_ns < f->due_ns)
		f->due_ns = f->window.end_ns;
}

bool
l4s_fold_due(struct l4s_fold *f, uint64_t now)
{
	if (now >= f->window.end_ns && !f->rate_due) {
		f->rate_due = true;
		fold_set_due(f);
	}
	return (now >= f->end_ns);
}

void
l4s_fold_init(struct l4s_fold *f)
{
	memset(f, 0, sizeof(*f));
	fold_set_due(f);
	/* Before the first packet the link is idle: idle_since is 0. */
}

void
l4s_fold_configure(struct l4s_fold *f, const struct l4s_summary_bounds *bounds,
    const struct dualpi2 *d, const struct l4s_counters *counters, uint64_t now)
{
	bool on = bounds->ns != 0 || bounds->decisions != 0;

	f->bounds = *bounds;
	if (on && !f->on) {
		fold_settle(f, now);
		f->idle_least = now;
		fold_begin(f, d, counters, now);
		f->window.open = false;
		f->rate_due = true;	/* the next departure opens one */
	}
	f->on = on;
	fold_set_due(f);
}

/*
 * Packs bytes into bits, eight at a time: the product has each of them, 0 or 1,
 * in a bit of its highest byte. (The bit order depends on the machine.)
 */
static void
fold_pack_flows(uint64_t bits[L4S_FLOW_BITS / 64],
    const uint8_t bytes[L4S_FLOW_BITS])
{
	uint64_t eight, word;
	unsigned i, bit;

	for (i = 0; i < L4S_FLOW_BITS / 64; i++) {
		word = 0;
		for (bit = 0; bit < 64; bit += 8) {
			memcpy(&eight, &bytes[i * 64 + bit], sizeof(eight));
			word |= eight * 0x0102040810204080ULL >> 56 << bit;
		}
		bits[i] = word;
	}
}

static void
fold_end_queue(struct l4s_queue_summary *s, const struct l4s_fold_queue *f,
    const struct dualpi2_queue *q)
{
	s->sojourn_sq = f->sojourn_sq;
	s->sojourn_min_ns = f->sojourn_min_ns;
	s->sojourn_max_ns = f->sojourn_max_ns;
	s->backlog_bytes = dualpi2_bytes(q->backlog);
	s->backlog = dualpi2_packets(q->backlog);
	s->backlog_max = f->backlog_max;
	fold_pack_flows(s->flows, f->flows);
}

const struct l4s_summary *
l4s_fold_end(struct l4s_fold *f, const struct dualpi2 *d,
    const struct l4s_counters *counters, const struct l4s_fold_end *end,
    uint32_t sched, uint32_t instance, uint64_t now)
{
	struct l4s_summary *s = &f->now;
	uint64_t duration = now - s->begin_ns;
	unsigned i;

	fold_settle(f, now);
	fold_sums(f, d, counters, 1);
	/*
	 * Idle time that the caller reported after an interval had ended counts
	 * in the next one or later.
	 */
	f->excess = 0;
	if (__predict_false(s->idle_ns > duration)) {
		f->excess = s->idle_ns - duration;
		s->idle_ns = duration;
	}
	s->hdr.version = L4S_ABI_VERSION;
	s->hdr.type = L4S_RECORD_SUMMARY;
	s->hdr.length = sizeof(*s);
	s->hdr.time_ns = now;
	s->sched = sched;
	s->instance = instance;
	s->override_id = end->override_id;
	s->p_end = d->p_base;
	s->status = d->status | end->status;
	s->target_ns = d->set.target_ns;
	s->tupdate_ns = d->set.tupdate_ns;
	s->l4s_threshold_ns = d->set.threshold_ns;
	s->alpha_uhz = d->set.alpha_uhz;
	s->beta_uhz = d->set.beta_uhz;
	s->coupling_q8 = d->set.coupling_q8;
	for (i = 0; i < nitems(s->queue); i++)
		fold_end_queue(&s->queue[i], &f->queue[i], &d->queue[i]);
	return (s);
}

void
l4s_fold_write(struct l4s_fold *f, struct l4s_ring *r)
{
	if (!l4s_ring_wanted(r))
		return;
	l4s_ring_write(r, &f->now.hdr);
	l4s_ring_notify(r);
}

void
l4s_fold_next(struct l4s_fold *f, const struct dualpi2 *d,
    const struct l4s_counters *counters, uint64_t now)
{
	fold_begin(f, d, counters, now);
	f->now.idle_ns += f->excess;
	fold_set_due(f);
}

void
l4s_fold_idle(struct l4s_fold *f, uint64_t since)
{
	f->idle_since = since > f->idle_least ? since : f->idle_least;
}

void
l4s_fold_busy_slow(struct l4s_fold *f, uint64_t now)
{
	fold_settle(f, now);
	f->idle_since = L4S_NEVER;
	f->idle_least = now;
}

/*
 * A departure begins when the previous one ended, or when the link stopped
 * being idle: the busy time between two departures is the time to send the
 * packets that began to leave in it.
 */
static void
fold_rate(struct l4s_fold *f, const struct l4s_counters *c, uint32_t length,
    uint64_t now)
{
	struct l4s_rate_window *w = &f->window;
	uint64_t elapsed = now - w->begin_ns, idle = f->idle_ns - w->idle_ns;
	uint64_t bytes = c->queue[0].forwarded_bytes +
	    c->queue[1].forwarded_bytes - length;
	uint64_t rate, busy;

	if (w->open) {
		/* A caller may report idle time that began before. */
		if (elapsed < idle || elapsed - idle < L4S_RATE_WINDOW_NS) {
			w->end_ns = w->begin_ns + idle + L4S_RATE_WINDOW_NS;
			return;
		}
		rate = bytes == w->bytes ? 0 :
		    (uint64_t)l4s_log2_q16(bytes - w->bytes) +
		    l4s_log2_q16(L4S_NS_PER_S);
		busy = l4s_log2_q16(elapsed - idle);
		rate = rate > busy ? rate - busy : 0;
		f->now.rate_windows++;
		f->now.rate_log_sum += rate;
		f->now.rate_log_sq += rate * rate >> 16;
	}
	w->open = true;
	w->begin_ns = now;
	w->idle_ns = f->idle_ns;
	w->bytes = bytes;
	w->end_ns = now + L4S_RATE_WINDOW_NS;
}

bool
l4s_fold_departed(struct l4s_fold *f, const struct l4s_counters *c,
    uint32_t length, uint64_t now)
{
	if (f->rate_due) {
		fold_rate(f, c, length, now);
		f->rate_due = false;
		fold_set_due(f);
	}
	return (c->decisions >= f->end_decisions);
}

void
l4s_fold_updated(struct l4s_fold *f, uint64_t updates, uint32_t before,
    uint32_t p)
{
	struct l4s_summary *s = &f->now;

	s->updates += updates;
	s->p_sum += updates * p;
	s->p_variation += p > before ? p - before : before - p;
	if (p > s->p_max)
		s->p_max = p;
}

/*
 * The square of a number in [1, 2), Q62: to Q31, halved if it is 2 or more, in
 * which case the result is true.
 */
static bool
log2_halve(uint64_t *m)
{
	L4S_ASSERT(*m >> 62 != 0);
	*m >>= 31;
	if (*m < 1ULL << 32)
		return (false);
	*m >>= 1;
	return (true);
}

/*
 * Bit by bit: the square of x is twice the logarithm.  Rounding of the k-th
 * square contributes 2^-30 / 2^k to the result.
 */
uint32_t
l4s_log2_q16(uint64_t x)
{
	uint32_t log = 63 - (uint32_t)__builtin_clzll(x), bit;
	uint64_t m = log > 31 ? x >> (log - 31) : x << (31 - log); /* Q31 */

	log <<= 16;
	for (bit = 1U << 15; bit != 0; bit >>= 1) {
		m *= m;
		if (log2_halve(&m))
			log |= bit;
	}
	return (log);
}

static void
summary_merge_queue(struct l4s_queue_summary *q,
    const struct l4s_queue_summary *later)
{
	unsigned i;

	q->arrived += later->arrived;
	q->arrived_bytes += later->arrived_bytes;
	q->forwarded += later->forwarded;
	q->forwarded_bytes += later->forwarded_bytes;
	q->marks_aqm += later->marks_aqm;
	q->marks_native += later->marks_native;
	q->marks_override += later->marks_override;
	q->drops_aqm += later->drops_aqm;
	q->drops_override += later->drops_override;
	q->drops_tail += later->drops_tail;
	q->drops_flush += later->drops_flush;
	q->sojourn_sum_ns += later->sojourn_sum_ns;
	q->sojourn_sq += later->sojourn_sq;
	if (later->sojourn_min_ns < q->sojourn_min_ns)
		q->sojourn_min_ns = later->sojourn_min_ns;
	if (later->sojourn_max_ns > q->sojourn_max_ns)
		q->sojourn_max_ns = later->sojourn_max_ns;
	q->backlog_bytes = later->backlog_bytes;
	q->backlog = later->backlog;
	if (later->backlog_max > q->backlog_max)
		q->backlog_max = later->backlog_max;
	for (i = 0; i < nitems(q->flows); i++)
		q->flows[i] |= later->flows[i];
}

void
l4s_summary_merge(struct l4s_summary *s, const struct l4s_summary *later)
{
	unsigned i;

	s->hdr = later->hdr;
	s->idle_ns += later->idle_ns;
	s->overload_ns += later->overload_ns;
	s->decisions += later->decisions;
	s->override_id = later->override_id;
	s->p_end = later->p_end;
	if (later->p_max > s->p_max)
		s->p_max = later->p_max;
	s->status = later->status;
	s->updates += later->updates;
	s->p_sum += later->p_sum;
	s->p_variation += later->p_variation;
	s->rate_windows += later->rate_windows;
	s->rate_log_sum += later->rate_log_sum;
	s->rate_log_sq += later->rate_log_sq;
	s->target_ns = later->target_ns;
	s->tupdate_ns = later->tupdate_ns;
	s->l4s_threshold_ns = later->l4s_threshold_ns;
	s->alpha_uhz = later->alpha_uhz;
	s->beta_uhz = later->beta_uhz;
	s->coupling_q8 = later->coupling_q8;
	for (i = 0; i < nitems(s->queue); i++)
		summary_merge_queue(&s->queue[i], &later->queue[i]);
}
