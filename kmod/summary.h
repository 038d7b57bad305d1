/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Folding what an instance does into struct l4s_summary.
 *
 * Sums are differences of the instance's counters between the end and the
 * begin of the interval.  What no counter has is folded as it happens:
 * extremes, squares, flows, the controller's updates and drain rates; and only
 * while somebody reads summaries.  The link's idle time is followed always, so
 * that the first interval is right too.
 */

#ifndef _L4S_SUMMARY_H_
#define	_L4S_SUMMARY_H_

#include "counters.h"
#include "dualpi2.h"
#include "ring.h"

/* How long summaries are; 0 of either: no bound by it, of both: none. */
struct l4s_summary_bounds {
	uint64_t	ns;
	uint32_t	decisions;
};

/* Busy time and bytes since a departure: L4S_RATE_WINDOW_NS. */
struct l4s_rate_window {
	bool		open;
	uint64_t	begin_ns;
	uint64_t	idle_ns;	/* l4s_fold.idle_ns then */
	uint64_t	bytes;		/* that began to leave since */
};

/* All is the packet path's. */
struct l4s_fold {
	bool		on;
	struct l4s_summary_bounds bounds;
	uint64_t	due_ns;		/* when the interval ends by time */
	uint64_t	due_decisions;	/* and by the counter of decisions */
	struct l4s_rate_window window;

	/* The link: idle since then, perhaps in future; L4S_NEVER: it is not. */
	uint64_t	idle_since;
	uint64_t	idle_least;	/* until when it is known what it was */
	uint64_t	idle_ns;	/* in all until idle_since */

	struct l4s_summary now;		/* extremes and begin so far; sums
					   have minus what they were then */
};

/* What is "at the end" and not the queue's own. */
struct l4s_fold_end {
	uint64_t	override_id;
	uint32_t	status;		/* beside dualpi2's own */
};

void	l4s_fold_init(struct l4s_fold *);
/* New bounds, and with them the first interval, or the last ends unwritten. */
void	l4s_fold_configure(struct l4s_fold *,
	    const struct l4s_summary_bounds *, const struct dualpi2 *,
	    const struct l4s_counters *, uint64_t now);
/* Ends the interval, writes its summary, and begins the next one. */
void	l4s_fold_close(struct l4s_fold *, struct l4s_ring *,
	    const struct dualpi2 *, const struct l4s_counters *,
	    const struct l4s_fold_end *, uint32_t sched, uint32_t instance,
	    uint64_t now);

/* The link is idle since then, the queue being empty.  See instance.h. */
void	l4s_fold_idle(struct l4s_fold *, uint64_t since);
/* A packet came: the link is not idle any more. */
L4S_SLOW void l4s_fold_busy_slow(struct l4s_fold *, uint64_t now);
static inline void
l4s_fold_busy(struct l4s_fold *f, uint64_t now)
{
	if (__predict_false(f->idle_since != L4S_NEVER))
		l4s_fold_busy_slow(f, now);
}

/*
 * What follows is to be called while f->on.
 */

/* A packet came; a hash of its flow, all bits of which are used. */
static inline void
l4s_fold_flow(struct l4s_fold *f, uint8_t queue, uint32_t flow)
{
	uint32_t bit = flow * 0x9e3779b1U >> 24;

	f->now.queue[queue].flows[bit / 64] |= 1ULL << bit % 64;
}

/* It was queued: so many packets are now. */
static inline void
l4s_fold_backlog(struct l4s_fold *f, uint8_t queue, uint32_t packets)
{
	struct l4s_queue_summary *q = &f->now.queue[queue];

	if (packets > q->backlog_max)
		q->backlog_max = packets;
}

/* A packet leaves. */
L4S_SLOW void l4s_fold_rate(struct l4s_fold *, uint64_t now);
static inline void
l4s_fold_forwarded(struct l4s_fold *f, uint8_t queue, uint32_t length,
    uint64_t sojourn_ns, uint64_t now)
{
	struct l4s_queue_summary *q = &f->now.queue[queue];
	uint64_t sojourn = sojourn_ns >> L4S_SOJOURN_SHIFT;

	q->sojourn_sq += sojourn * sojourn;
	if (sojourn_ns < q->sojourn_min_ns)
		q->sojourn_min_ns = sojourn_ns;
	if (sojourn_ns > q->sojourn_max_ns)
		q->sojourn_max_ns = sojourn_ns;
	if (__predict_false(now - f->window.begin_ns >= L4S_RATE_WINDOW_NS))
		l4s_fold_rate(f, now);
	f->window.bytes += length;
}

/* The controller ran: `updates' of p', which was p before. */
L4S_SLOW void l4s_fold_updated(struct l4s_fold *, uint64_t updates,
	    uint32_t p_before, uint32_t p);

/* log2 x in Q16, rounded down; x > 0. */
uint32_t l4s_log2_q16(uint64_t x);

/* Makes the summary of both intervals of one and its later neighbour. */
void	l4s_summary_merge(struct l4s_summary *, const struct l4s_summary *later);

#endif /* !_L4S_SUMMARY_H_ */
