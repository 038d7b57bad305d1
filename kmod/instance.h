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
 * "Catch up" takes what the device left (a new override, parameters, limits),
 * ends what expired, and runs the controller up to now.  While no controller
 * is there this is one predictable branch.
 *
 * The packet path is called by one thread at a time.  The l4s_instance_post_*
 * functions and l4s_instance_stats() may be called at any time from others.
 */

#ifndef _L4S_INSTANCE_H_
#define	_L4S_INSTANCE_H_

#include "override.h"

/* Written by the packet path alone, read by anyone (L4S_COUNT, L4S_LOAD). */
struct l4s_counters {
	uint64_t	packets_in;
	uint64_t	bytes_in;
	uint64_t	forwarded;
	uint64_t	forwarded_bytes;
	uint64_t	dropped_bytes;
	uint64_t	drops_tail;
	uint64_t	drops_base;
	uint64_t	drops_override;
	uint64_t	drops_flush;
	uint64_t	marks_classic;
	uint64_t	marks_native;
	uint64_t	marks_coupled;
	uint64_t	marks_override;
	uint64_t	refused[L4S_REASON_COUNT];
	uint64_t	decisions;	/* at dequeue */
	uint64_t	overridden;
};

struct l4s_event_post {
	uint64_t	value;
	uint32_t	sched;
	uint32_t	instance;
	uint32_t	code;
};

/*
 * Events that wait for the next packet to be written.  When more are posted
 * before one comes, the newest takes the last place.
 */
#define	L4S_EVENTS_WAITING	16

struct l4s_instance {
	struct dualpi2	queue;		/* (p), as in override.h */
	struct l4s_overrides overrides;
	struct l4s_record_config config; /* (p) */
	struct l4s_ring	*ring;		/* NULL: no records */
	struct l4s_pkt_sink *sink;	/* where drops go */
	uint64_t	now;		/* (p) ns; the latest time seen */
	struct l4s_counters counters;

	uint32_t	sched;		/* ipfw sched N */
	uint32_t	instance;	/* the device's: l4s_device_attach() */

	/* Under overrides.lock. */
	struct l4s_params posted;
	struct l4s_event_post events[L4S_EVENTS_WAITING];
	unsigned	nevents;

	struct l4s_instance *next;		/* under l4s_device.lock */
};

void	l4s_instance_init(struct l4s_instance *, uint32_t sched,
	    const struct l4s_params *, const struct l4s_limits *,
	    struct l4s_ring *, struct l4s_pkt_sink *, uint64_t seed);
/* The queues must be empty: l4s_instance_flush(). */
void	l4s_instance_destroy(struct l4s_instance *);

/*
 * The packet path.  A `now' before an earlier one counts as the earlier one.
 */

/* True when queued; else the packet is in the sink. */
bool	l4s_instance_enqueue(struct l4s_instance *, l4s_pkt_t *, uint64_t now);
/*
 * For a packet that could not get as far, memory being short: counted and
 * recorded as a tail drop.  NULL: it is gone already; else it goes to the
 * sink.  The codepoint and the length are its own.
 */
void	l4s_instance_refuse(struct l4s_instance *, l4s_pkt_t *, uint8_t ecn,
	    uint32_t length, uint64_t now);
/*
 * The packet to send, or NULL.  Drops what is to be dropped on the way: at
 * most the whole backlog, which limit_packets bounds.
 */
l4s_pkt_t *l4s_instance_dequeue(struct l4s_instance *, uint64_t now);
/* Drops everything that is queued, without records. */
void	l4s_instance_flush(struct l4s_instance *);

/*
 * The device's side: checked values, to be in force with the next packet.
 */
void	l4s_instance_post_params(struct l4s_instance *,
	    const struct l4s_params *);
void	l4s_instance_post_limits(struct l4s_instance *,
	    const struct l4s_limits *);
void	l4s_instance_post_event(struct l4s_instance *, uint32_t sched,
	    uint32_t instance, uint32_t code, uint64_t value);
/* Takes the events that wait; returns how many. */
unsigned l4s_instance_take_events(struct l4s_instance *,
	    struct l4s_event_post [L4S_EVENTS_WAITING]);
/* See l4s_override_submit(). */
int	l4s_instance_submit(struct l4s_instance *, const struct l4s_override *,
	    uint64_t now);
void	l4s_instance_release(struct l4s_instance *);
/* Looks whether the controller missed its deadline. */
void	l4s_instance_watch(struct l4s_instance *, uint64_t now);

/*
 * Adds this instance's counts to *stats; those of records are the
 * descriptor's.  The identities of struct l4s_stats hold in the result, since
 * dropped and queued are derived; while the packet path runs in another
 * thread a packet on its way may be in `queued'.
 */
void	l4s_instance_stats(struct l4s_instance *, struct l4s_stats *);

#endif /* !_L4S_INSTANCE_H_ */
