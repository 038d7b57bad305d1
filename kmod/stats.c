/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * See stats.h.  Departures are read before arrivals, and the parts of a sum
 * before the sum: the packet path counts in the other order, so that no
 * difference is ever below 0.
 */

#include "stats.h"

static void	stats_read_queue(const struct l4s_instance *, unsigned queue,
		    struct l4s_queue_stats *);
static uint64_t	stats_head_delay(const struct dualpi2_queue *, uint64_t now);
static void	stats_max(uint64_t *, uint64_t);
static void	stats_max32(uint32_t *, uint32_t);

void
l4s_stats_add(struct l4s_stats *t, struct l4s_instance *inst)
{
	const struct l4s_counters *c = &inst->counters;
	struct l4s_overrides *o = &inst->overrides;
	struct l4s_queue_stats q;
	uint64_t base, override;
	unsigned i;

	for (i = 0; i < nitems(c->queue); i++) {
		base = L4S_LOAD_ACQ(&c->queue[i].drops_base);
		override = L4S_LOAD_ACQ(&c->queue[i].drops_override);
		t->marks_classic += L4S_LOAD(&c->queue[i].marks_classic);
		t->marks_native += L4S_LOAD(&c->queue[i].marks_native);
		t->marks_coupled += L4S_LOAD(&c->queue[i].marks_coupled);
		t->marks_override += L4S_LOAD(&c->queue[i].marks_override);
		stats_read_queue(inst, i, &q);
		t->packets_in += q.packets_in;
		t->bytes_in += q.bytes_in;
		t->forwarded += q.forwarded;
		t->forwarded_bytes += q.forwarded_bytes;
		t->dropped += q.drops_tail + q.drops_flush + base + override;
		t->queued += q.packets_in - q.forwarded - q.drops_tail -
		    q.drops_flush - base - override;
		t->queued_bytes += q.queued_bytes;
		t->drops_tail += q.drops_tail;
		t->drops_flush += q.drops_flush;
		t->drops_base += base;
		t->drops_override += override;
	}
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

void
l4s_queues_add(struct l4s_queues *t, const struct l4s_instance *inst,
    uint64_t now)
{
	const struct l4s_counters *c = &inst->counters;
	const struct dualpi2 *d = &inst->queue;
	struct l4s_queue_stats q, *to;
	unsigned i, bin;

	stats_max32(&t->base_probability, L4S_LOAD(&d->p_base));
	stats_max32(&t->classic_probability,
	    dualpi2_q31(L4S_LOAD(&d->p_classic)));
	stats_max32(&t->coupled_probability,
	    dualpi2_q31(L4S_LOAD(&d->p_coupled)));
	t->overload += L4S_LOAD(&c->overload);
	t->overloads += L4S_LOAD(&c->overloads);
	t->overload_ns += L4S_LOAD(&c->overload_ns);
	for (i = 0; i < nitems(t->queue); i++) {
		to = &t->queue[i];
		stats_read_queue(inst, i, &q);
		to->packets_in += q.packets_in;
		to->bytes_in += q.bytes_in;
		to->forwarded += q.forwarded;
		to->forwarded_bytes += q.forwarded_bytes;
		to->dropped += q.dropped;
		to->dropped_bytes += q.dropped_bytes;
		to->marked += q.marked;
		to->marked_bytes += q.marked_bytes;
		to->queued += q.queued;
		to->queued_bytes += q.queued_bytes;
		to->drops_tail += q.drops_tail;
		to->drops_ecn += q.drops_ecn;
		to->drops_not_ect += q.drops_not_ect;
		to->drops_flush += q.drops_flush;
		to->delay_sum_ns += q.delay_sum_ns;
		for (bin = 0; bin < L4S_DELAY_BINS; bin++)
			to->delays[bin] += q.delays[bin];
		stats_max(&to->queued_max, q.queued_max);
		stats_max(&to->queued_bytes_max, q.queued_bytes_max);
		stats_max(&to->delay_max_ns, q.delay_max_ns);
		stats_max(&to->delay_ns,
		    stats_head_delay(&d->queue[i], now));
	}
}

/* Everything except delay_ns, which requires a time. */
static void
stats_read_queue(const struct l4s_instance *inst, unsigned queue,
    struct l4s_queue_stats *t)
{
	const struct l4s_queue_counters *c = &inst->counters.queue[queue];
	const struct dualpi2_queue *q = &inst->queue.queue[queue];
	unsigned bin;

	memset(t, 0, sizeof(*t));
	t->marked_bytes = L4S_LOAD_ACQ(&c->marked_bytes);
	t->marked = L4S_LOAD_ACQ(&c->marked);
	t->delay_sum_ns = L4S_LOAD_ACQ(&c->delay_sum_ns);
	t->forwarded_bytes = L4S_LOAD_ACQ(&c->forwarded_bytes);
	for (bin = 0; bin < L4S_DELAY_BINS; bin++) {
		t->delays[bin] = L4S_LOAD_ACQ(&c->delays[bin]);
		t->forwarded += t->delays[bin];
	}
	t->drops_tail = L4S_LOAD_ACQ(&c->drops_tail);
	t->drops_flush = L4S_LOAD_ACQ(&c->drops_flush);
	t->drops_ecn = L4S_LOAD_ACQ(&c->drops_ecn);
	t->dropped_bytes = L4S_LOAD_ACQ(&c->dropped_bytes);
	t->drops_not_ect = L4S_LOAD_ACQ(&c->drops_not_ect);
	t->bytes_in = L4S_LOAD_ACQ(&q->total_bytes);
	t->packets_in = L4S_LOAD_ACQ(&q->total_packets);
	t->dropped = t->drops_tail + t->drops_flush + t->drops_ecn +
	    t->drops_not_ect;
	t->queued = t->packets_in - t->forwarded - t->dropped;
	t->queued_bytes = t->bytes_in - t->forwarded_bytes - t->dropped_bytes;
	t->queued_max = L4S_LOAD(&c->queued_max);
	t->queued_bytes_max = L4S_LOAD(&c->queued_bytes_max);
	t->delay_max_ns = L4S_LOAD(&c->delay_max_ns);
}

/*
 * The head may leave in the meantime: the delay is then that of this head or of
 * the next.  `backlog' is read first, because an empty queue has an old
 * head_ns.
 */
static uint64_t
stats_head_delay(const struct dualpi2_queue *q, uint64_t now)
{
	uint64_t arrival;

	if (L4S_LOAD_ACQ(&q->backlog) == 0)
		return (0);
	arrival = L4S_LOAD(&q->head_ns);
	return (now > arrival ? now - arrival : 0);
}

static void
stats_max(uint64_t *to, uint64_t value)
{
	if (value > *to)
		*to = value;
}

static void
stats_max32(uint32_t *to, uint32_t value)
{
	if (value > *to)
		*to = value;
}
