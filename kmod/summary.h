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
	uint64_t	end_ns;		/* not before */
	uint64_t	idle_ns;	/* l4s_fold.idle_ns then */
	uint64_t	bytes;		/* forwarded before that departure */
};

/* What each packet of a queue changes.  The maxima are followed always. */
struct l4s_fold_queue {
	uint64_t	sojourn_max_ns;
	uint64_t	sojourn_sq;
	uint64_t	sojourn_min_ns;
	uint64_t	look_below_ns;	/* sojourn_min_ns, or L4S_NEVER when each
					   departure may end something */
	uint32_t	backlog_max;
	/* A byte of 0 or 1 for each bit of the bitmap: one store a packet. */
	uint8_t		flows[L4S_FLOW_BITS];
};

/* All is the packet path's. */
struct l4s_fold {
	bool		on;		/* summaries are read */
	bool		rate_due;	/* the next departure may end a window */
	uint64_t	due_ns;		/* when the interval or a window ends */
	uint64_t	due_decisions;	/* 0 with rate_due */
	/* The link: idle since then, perhaps in future; L4S_NEVER: it is not. */
	uint64_t	idle_since;
	struct l4s_fold_queue queue[2];

	uint64_t	idle_least;	/* until when it is known what it was */
	uint64_t	idle_ns;	/* in all until idle_since */
	uint64_t	end_ns;		/* of the interval by time */
	uint64_t	end_decisions;	/* and by decisions */
	struct l4s_rate_window window;
	struct l4s_summary_bounds bounds;
	struct l4s_summary now;		/* the rest; sums have minus what they
					   were at the begin */
};

/* What is "at the end" and not the queue's own. */
struct l4s_fold_end {
	uint64_t	override_id;
	uint32_t	status;		/* in addition to dualpi2's own */
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
void	l4s_fold_busy_slow(struct l4s_fold *, uint64_t now);
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
	f->queue[queue].flows[flow * 0x9e3779b1U >> 24] = 1;
}

/*
 * A packet leaves.  True when l4s_fold_look() is to be called: one comparison
 * for all that happens seldom.
 */
static inline bool
l4s_fold_forwarded(struct l4s_fold *f, uint8_t queue, uint64_t sojourn_ns)
{
	struct l4s_fold_queue *q = &f->queue[queue];
	uint64_t sojourn = sojourn_ns >> L4S_SOJOURN_SHIFT;

	q->sojourn_sq += sojourn * sojourn;
	return (sojourn_ns < q->look_below_ns);
}

/* True when l4s_fold_departed() is to be called. */
static inline bool
l4s_fold_look(struct l4s_fold *f, uint8_t queue, uint64_t sojourn_ns,
    uint64_t decisions)
{
	struct l4s_fold_queue *q = &f->queue[queue];

	if (sojourn_ns < q->sojourn_min_ns) {
		q->sojourn_min_ns = sojourn_ns;
		if (f->due_decisions == L4S_NEVER)
			q->look_below_ns = sojourn_ns;
	}
	return (decisions >= f->due_decisions);
}

/*
 * When due_ns has come, at any time; and when due_decisions has, for a
 * departure of `length', which the counters have.  True if the interval ends.
 */
bool	l4s_fold_due(struct l4s_fold *, uint64_t now);
bool	l4s_fold_departed(struct l4s_fold *, const struct l4s_counters *,
	    uint32_t length, uint64_t now);

/* The controller ran: `updates' of p', which was p before. */
L4S_SLOW void l4s_fold_updated(struct l4s_fold *, uint64_t updates,
	    uint32_t p_before, uint32_t p);

/* log2 x in Q16, rounded down; x > 0. */
uint32_t l4s_log2_q16(uint64_t x);

/* Makes the summary of both intervals of one and its later neighbour. */
void	l4s_summary_merge(struct l4s_summary *, const struct l4s_summary *later);

#endif /* !_L4S_SUMMARY_H_ */
