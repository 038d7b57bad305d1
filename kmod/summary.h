/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Aggregates the activity of an instance into struct l4s_summary.
 *
 * Sums are differences of the instance's counters between the end and the
 * beginning of the interval.  Values without a counter are folded as they
 * occur: extremes, squares, flows, the controller's updates and drain rates;
 * and only while summaries are read.  The link's idle time is always
 * tracked, so that the first interval is right too.
 */

#ifndef _L4S_SUMMARY_H_
#define	_L4S_SUMMARY_H_

#include "counters.h"
#include "dualpi2.h"
#include "ring.h"

/*
 * Maximum length of summaries.  If one is 0, there is no such bound; if both
 * are, there are no summaries.
 */
struct l4s_summary_bounds {
	uint64_t	ns;
	uint32_t	decisions;
};

/* Busy time and bytes since a departure: L4S_RATE_WINDOW_NS. */
struct l4s_rate_window {
	bool		open;
	uint64_t	begin_ns;
	uint64_t	end_ns;		/* not before */
	uint64_t	idle_ns;	/* l4s_fold.idle_ns at that time */
	uint64_t	bytes;		/* forwarded before that departure */
};

/* Values changed by each packet of a queue.  The maxima are always tracked. */
struct l4s_fold_queue {
	uint64_t	sojourn_max_ns;
	uint64_t	sojourn_sq;
	uint64_t	sojourn_min_ns;
	uint64_t	look_below_ns;	/* sojourn_min_ns, or L4S_NEVER if each
					   departure must be checked */
	uint32_t	backlog_max;
	/* A byte of 0 or 1 for each bit of the bitmap: one store per packet. */
	uint8_t		flows[L4S_FLOW_BITS];
};

/* Used only by the packet path. */
struct l4s_fold {
	bool		on;		/* summaries are read */
	bool		rate_due;	/* the next departure may end a window */
	uint64_t	due_ns;		/* when the interval or a window ends */
	uint64_t	due_decisions;	/* 0 with rate_due */
	/* Start of idle time, may be in the future; L4S_NEVER: not idle. */
	uint64_t	idle_since;
	struct l4s_fold_queue queue[2];

	uint64_t	idle_least;	/* known up to this time */
	uint64_t	idle_ns;	/* total until idle_since */
	uint64_t	end_ns;		/* of the interval by time */
	uint64_t	end_decisions;	/* and by decisions */
	uint64_t	excess;		/* idle time of later intervals */
	struct l4s_rate_window window;
	struct l4s_summary_bounds bounds;
	struct l4s_summary now;		/* the rest; sums start at minus the
					   counters */
};

/* Values "at the end" that are not the queue's own. */
struct l4s_fold_end {
	uint64_t	override_id;
	uint32_t	status;		/* in addition to dualpi2's own */
};

void	l4s_fold_init(struct l4s_fold *);
/* Sets new bounds and starts the first interval, or discards the last. */
void	l4s_fold_configure(struct l4s_fold *,
	    const struct l4s_summary_bounds *, const struct dualpi2 *,
	    const struct l4s_counters *, uint64_t now);
/*
 * Ends the interval and returns its summary, which is valid until
 * l4s_fold_next().
 */
const struct l4s_summary *l4s_fold_end(struct l4s_fold *,
	    const struct dualpi2 *, const struct l4s_counters *,
	    const struct l4s_fold_end *, uint32_t sched, uint32_t instance,
	    uint64_t now);
/* Writes the summary to the ring if it is read. */
void	l4s_fold_write(struct l4s_fold *, struct l4s_ring *);
/* Begins the next interval. */
void	l4s_fold_next(struct l4s_fold *, const struct dualpi2 *,
	    const struct l4s_counters *, uint64_t now);

/* The link is idle since then, and the queues are empty.  See instance.h. */
void	l4s_fold_idle(struct l4s_fold *, uint64_t since);
/* A packet arrived: the link is no longer idle. */
void	l4s_fold_busy_slow(struct l4s_fold *, uint64_t now);
static inline void
l4s_fold_busy(struct l4s_fold *f, uint64_t now)
{
	if (__predict_false(f->idle_since != L4S_NEVER))
		l4s_fold_busy_slow(f, now);
}

/*
 * The following functions are called only while f->on.
 */

/* A packet arrived; all bits of its flow's hash are used. */
static inline void
l4s_fold_flow(struct l4s_fold *f, uint8_t queue, uint32_t flow)
{
	f->queue[queue].flows[flow * 0x9e3779b1U >> 24] = 1;
}

/*
 * A packet leaves.  Returns true if l4s_fold_look() must be called: one
 * comparison covers all rare events.
 */
static inline bool
l4s_fold_forwarded(struct l4s_fold *f, uint8_t queue, uint64_t sojourn_ns)
{
	struct l4s_fold_queue *q = &f->queue[queue];
	uint64_t sojourn = sojourn_ns >> L4S_SOJOURN_SHIFT;

	q->sojourn_sq += sojourn * sojourn;
	return (sojourn_ns < q->look_below_ns);
}

/* Returns true if l4s_fold_departed() must be called. */
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
 * Must be called at any time after due_ns, and when due_decisions is reached,
 * for a departure of `length' that the counters include.  Returns true if the
 * interval ends.
 */
bool	l4s_fold_due(struct l4s_fold *, uint64_t now);
bool	l4s_fold_departed(struct l4s_fold *, const struct l4s_counters *,
	    uint32_t length, uint64_t now);

/* The controller ran `updates' times; p' was p before. */
L4S_SLOW void l4s_fold_updated(struct l4s_fold *, uint64_t updates,
	    uint32_t p_before, uint32_t p);

/* log2 x in Q16, rounded down; x > 0. */
uint32_t l4s_log2_q16(uint64_t x);

/* Merges the next interval of the same instance into a summary. */
void	l4s_summary_merge(struct l4s_summary *, const struct l4s_summary *later);

#endif /* !_L4S_SUMMARY_H_ */
