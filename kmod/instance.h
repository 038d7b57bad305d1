/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * One scheduler instance, and the packet path through it:
 *
 *	enqueue ─▶ catch up ─▶ DualPI2 queues ─▶ (tail drop: record)
 *	dequeue ─▶ catch up ─▶ DualPI2 verdict ─▶ override ─▶ record ─▶ packet
 *
 * "Catch up" takes requests from the device (a new override, parameters,
 * limits), ends an expired override, runs the controller up to now, and ends
 * the summary when it is due.  If there is nothing to do, this is one
 * predictable branch.
 *
 * The packet path is called by one thread at a time.  The l4s_instance_post_*
 * functions and those of stats.h may be called at any time from others.
 */

#ifndef _L4S_INSTANCE_H_
#define	_L4S_INSTANCE_H_

#include "counters.h"
#include "override.h"
#include "student.h"
#include "summary.h"

/*
 * Events that wait for a packet to be written: an instance's events for one of
 * its own packets, the device's events for a packet of any instance.  If too
 * many are posted before one arrives, the newest replaces the last.
 */
#define	L4S_INSTANCE_EVENTS	4
#define	L4S_DEVICE_EVENTS	16

struct l4s_event_post {
	uint64_t	order;		/* among all of the device */
	uint64_t	value;
	uint32_t	code;
};

/* Events of the device as a whole.  All members are under the lock. */
struct l4s_events {
	struct l4s_lock	lock;		/* and struct l4s_ring's */
	uint64_t	posted;		/* so far, of instances too */
	struct l4s_event_post waiting[L4S_DEVICE_EVENTS];
	unsigned	n;
};

/* The overload whose events are being written (RFC 9332, section 2.5.2.3). */
struct l4s_overload {
	bool		reported;	/* only its start was written */
	bool		in;		/* at the latest update */
	uint64_t	seen_ns;	/* the latest update */
	uint64_t	left_ns;	/* when it was last left */
	uint64_t	lasted_ns;	/* time in it since its start */
};

struct l4s_instance {
	struct dualpi2	queue;		/* (p), as in override.h */
	struct l4s_overrides overrides;
	struct l4s_config config;	/* (p) current */
	struct l4s_told	told;		/* (p) */
	struct l4s_ring	*rings;		/* L4S_RINGS, or NULL: no streams */
	struct l4s_pkt_sink *sink;	/* where drops go */
	uint64_t	now;		/* (p) ns; latest time seen */
	struct dualpi2_verdict verdict;	/* (p) to be decided on */
	struct l4s_overload overload;	/* (p) */
	struct l4s_fold	fold;		/* (p) */
	struct l4s_flow_weights weights; /* (p) if queue.flows */
	struct l4s_student_slot *student; /* (p) enabled, or NULL */
	uint32_t	idle_budget;	/* (p) the student's, 1e-6 */
	uint64_t	student_decisions; /* (p) writes; atomic */
	struct l4s_counters counters;	/* (p) writes */

	uint32_t	sched;		/* ipfw sched N */
	uint32_t	instance;	/* the device's: l4s_device_attach() */

	/* Under overrides.lock. */
	struct l4s_params posted;
	union l4s_flow_table *posted_table; /* for flow_weights, or NULL */
	struct l4s_summary_bounds posted_bounds;
	struct l4s_student_slot *posted_student; /* or NULL */
	bool		student_posted;	/* it replaces the current one */
	uint32_t	posted_budget;	/* the student's */
	struct l4s_event_post events[L4S_INSTANCE_EVENTS];
	unsigned	nevents;

	struct l4s_events *device_events;	/* since it joined one */
	struct l4s_instance *next;		/* under l4s_device.lock */

#ifdef L4S_RECORD_TAP
	/* For tests: called on each decision (l4s_record_reference()). */
	void		(*tap)(void *, const struct l4s_record_v1 *);
	void		*tap_arg;
#endif
};

/* Without flow weights, which come with l4s_instance_post_params(). */
void	l4s_instance_init(struct l4s_instance *, uint32_t sched,
	    const struct l4s_params *, const struct l4s_limits *,
	    struct l4s_ring *, struct l4s_pkt_sink *, uint64_t seed,
	    const struct l4s_siphash_key *);
/* After l4s_instance_close(), or l4s_device_detach(), which calls it. */
void	l4s_instance_destroy(struct l4s_instance *);

/*
 * The packet path.  A `now' before an earlier one counts as the earlier one.
 */

/* True if queued; otherwise the packet is in the sink. */
bool	l4s_instance_enqueue(struct l4s_instance *, l4s_pkt_t *, uint64_t now);
/*
 * For a packet that was dropped before enqueueing because memory was short:
 * counted and recorded as a tail drop. p is NULL if it was already freed;
 * otherwise it goes to the sink.  DSCP, ECN and the length are the packet's.
 */
void	l4s_instance_refuse(struct l4s_instance *, l4s_pkt_t *, uint8_t ds,
	    uint32_t length, uint64_t now);
/*
 * Returns the packet to send, or NULL. Drops packets on the way if necessary:
 * at most the whole backlog, which limit_packets bounds.
 */
l4s_pkt_t *l4s_instance_dequeue(struct l4s_instance *, uint64_t now);
/*
 * Reports that the link has been able to send since then but had nothing to
 * send: both queues are empty.  For callers that do not dequeue exactly when
 * the link becomes free; a dequeue that finds no packet implies it for its
 * time.  `since' may be in the future, and may be reported repeatedly.
 */
void	l4s_instance_idle(struct l4s_instance *, uint64_t since);
/*
 * Ends the idle time: both queues are empty, and the link has been unable to
 * send since then, as on a shared medium.  l4s_instance_idle() resumes it.  The
 * times of the two calls never go back.
 */
void	l4s_instance_stall(struct l4s_instance *, uint64_t since);
/* Drops all queued packets, each with a record. */
void	l4s_instance_flush(struct l4s_instance *, uint64_t now);
/*
 * The last call of the packet path: flushes, and ends an active override and
 * overload, in counters and events.
 */
void	l4s_instance_close(struct l4s_instance *, uint64_t now);
/* Writes the pending events of the instance. */
void	l4s_instance_write_events(struct l4s_instance *, uint64_t now);

/*
 * The device's side: checked values that take effect with the next packet.
 */
/*
 * If flow_weights is enabled, the list contains a table for the instance, which
 * is used unless it already has one.
 */
void	l4s_instance_post_params(struct l4s_instance *,
	    const struct l4s_params *, union l4s_flow_table **);
void	l4s_instance_post_limits(struct l4s_instance *,
	    const struct l4s_limits *);
/* Bounds of summaries; none without readers. */
void	l4s_instance_post_summaries(struct l4s_instance *,
	    const struct l4s_summary_bounds *);
/*
 * Replaces the student by the first one of the list, or removes it if the list
 * is empty.
 */
void	l4s_instance_post_student(struct l4s_instance *,
	    struct l4s_student_slot **, uint32_t idle_budget);
/* Changes only the student's idle budget. */
void	l4s_instance_post_budget(struct l4s_instance *, uint32_t idle_budget);
void	l4s_instance_post_event(struct l4s_instance *, uint32_t code,
	    uint64_t value);
/* The device has events. */
void	l4s_instance_post_events(struct l4s_instance *);
/* Requests a keyframe (struct l4s_config) with the next packet. */
void	l4s_instance_post_keyframe(struct l4s_instance *);
/* See l4s_override_submit(). */
int	l4s_instance_submit(struct l4s_instance *, const struct l4s_override *,
	    uint64_t now);
void	l4s_instance_release(struct l4s_instance *);
/* Checks whether the controller missed its deadline. */
void	l4s_instance_watch(struct l4s_instance *, uint64_t now);

#endif /* !_L4S_INSTANCE_H_ */
