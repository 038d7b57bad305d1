/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Overrides: the requests of a controller, their limits, and their counters.
 *
 *	submit ─▶ received ─┬─▶ replaced   by a later one, or
 *	             │      ├─▶ expired    by time, close or the watchdog,
 *	             ▼      │              before it had any effect
 *	          waiting ──┼─▶ applied    with its first effect; it may stay active
 *	                    └─▶ refused    had no effect, because of a limit
 *
 * Each override is in exactly one of these at every instant, so that
 * received = applied + expired + refused + replaced + waiting.  In detail:
 *
 *   - `once' and `hold' are applied when they change or confirm one decision;
 *     `steer' when the set-points are first shifted.
 *   - A `once' that a limit refuses is used up.  A `hold' continues: each
 *     packet of its queue uses one of hold_packets, refused or not.
 *   - One that ends without an effect counts as refused if a limit refused it
 *     at least once, otherwise as replaced if a newer one ended it, otherwise
 *     as expired.
 *   - One that is submitted after its expiry counts as expired, and does not
 *     end the previous one.
 *   - One that fails l4s_override_check() is not received: it counts in
 *     refused_invalid.
 *
 * A drop of the last packet in both queues is refused and uses no token of the
 * drop share.  A mark on a packet that DualPI2 marks or drops uses none of the
 * mark share.
 *
 * Overrides do not apply to tail drops, which therefore use none of
 * hold_packets.
 *
 * The student (student.h) steers within the same limits, in addition to `once'
 * and `hold', while no `steer' is active.  Its decisions are not counted here.
 */

#ifndef _L4S_OVERRIDE_H_
#define	_L4S_OVERRIDE_H_

#include "dualpi2.h"
#include "record.h"

/* The device's requests to the packet path: l4s_overrides.pending. */
#define	L4S_PENDING_OVERRIDE	0x01	/* a new one in `next' */
#define	L4S_PENDING_CANCEL	0x02	/* drop the current one */
#define	L4S_PENDING_PARAMS	0x04	/* for catch_up.c */
#define	L4S_PENDING_LIMITS	0x08
#define	L4S_PENDING_EVENTS	0x10	/* for catch_up.c */
#define	L4S_PENDING_SUMMARIES	0x20	/* for catch_up.c */
#define	L4S_PENDING_KEYFRAME	0x40	/* for catch_up.c */
#define	L4S_PENDING_STUDENT	0x80	/* for catch_up.c */

/* Maximum number of saved override drops, and of saved marks, in packets. */
#define	L4S_SHARE_BURST		64

/* A token bucket, filled by decisions: override.c. */
struct l4s_share {
	uint64_t	tokens;		/* packets saved, Q16 */
	uint64_t	earned_at;	/* decisions when last added up */
};

struct l4s_override_counts {
	uint64_t	received;
	uint64_t	applied;
	uint64_t	expired;
	uint64_t	refused;
	uint64_t	replaced;
	uint64_t	invalid;	/* not received */
	uint64_t	misses;		/* of the watchdog */
};

/*
 * Locking: (l) under lock, (a) atomic and set under lock, (p) the packet path
 * only.  The packet path takes the lock when `pending' is nonzero, when `due'
 * has passed, and once or twice per override to count it.
 *
 * A packet compares its time only with look_ns: the earliest time at which the
 * packet path has to look (instance_look()), or 0 when something is pending.
 * Both sides write it.  The device sets `pending' first and then look_ns to 0;
 * the packet path writes the time first and then reads `pending'.  With a full
 * fence between the two steps on both sides, either the packet path's write
 * comes first and is replaced by 0, or it sees what is pending.
 */
struct l4s_overrides {
	struct l4s_lock	lock;
	uint32_t	pending;	/* (a) L4S_PENDING_* */
	uint64_t	look_ns;	/* atomic, see above */

	struct l4s_override next;	/* (l) */
	struct l4s_limits limits;	/* (l) as last set */
	uint32_t	generation;	/* (l) of the newest override */
	bool		waiting;	/* (l) the newest had no effect yet */
	bool		refused_once;	/* (l) a limit refused the newest */
	struct l4s_override_counts counts; /* (l) */

	/* The watchdog. */
	bool		armed;		/* (l) a controller has begun */
	bool		missed;		/* (l) */
	uint64_t	last_sign;	/* (l) ns; the last override */

	/* The current override. */
	uint64_t	due;		/* (p) ns; expiry or watchdog */
	struct l4s_override current;	/* (p) */
	struct l4s_limits bounds;	/* (p) current limits */
	uint32_t	current_generation; /* (p) */
	uint32_t	remaining;	/* (p) packets; once and hold */
	bool		active;		/* (p) */
	bool		counted;	/* (p) counted as applied */
	bool		refusal_counted; /* (p) refused_once was set */
	bool		steering;	/* (p) it shifts the set-points */
	bool		watchdog;	/* (p) copy of missed, for records */
	bool		above;		/* (p) a queue's delay may be above the
					   ceiling; false: it is not */
	bool		watching;	/* (p) each packet is checked: above,
					   or active, but not steering */
	uint8_t		status;		/* (p) L4S_STATUS_* of both */
	uint8_t		reason;		/* (p) of decisions while not watching */
	uint64_t	plain;		/* (p) L4S_RECORD_PLAIN() of both */
	struct l4s_share drops;		/* (p) */
	struct l4s_share marks;		/* (p) beyond DualPI2's own */
	uint32_t	mark_credit[2];	/* (p) DualPI2's marks that overrides
					   prevented, by queue */

	/* The student, which steers unless an override does. */
	const struct l4s_override *student; /* (p) its decision, not expired,
					   or NULL */
	bool		student_steering; /* (p) it shifts the set-points; read
					   by others */
};

void	l4s_overrides_init(struct l4s_overrides *, const struct l4s_limits *);
void	l4s_overrides_destroy(struct l4s_overrides *);

/*
 * The device's side.
 */

/* Sets the pending requests.  Locked. */
static inline void
l4s_overrides_pend(struct l4s_overrides *o, uint32_t pending)
{
	L4S_STORE_REL(&o->pending, pending);
	L4S_FENCE_SEQ();
	L4S_STORE(&o->look_ns, 0);
}

/*
 * Returns 0, L4S_EPROTO (version, length), L4S_EINVAL (a field) or L4S_ERANGE
 * (lifetime, hold or factor beyond the limits).
 */
int	l4s_override_check(const struct l4s_override *,
	    const struct l4s_limits *, uint64_t now);
/* Checks and accepts an override; *recovered if this ends a watchdog miss. */
int	l4s_override_submit(struct l4s_overrides *,
	    const struct l4s_override *, uint64_t now, bool *recovered);
/* The controller left: no override, no watchdog. */
void	l4s_overrides_release(struct l4s_overrides *);
/*
 * Checks the watchdog.  Returns true if this call finds the deadline missed,
 * which disables overrides.
 */
bool	l4s_overrides_watch(struct l4s_overrides *, uint64_t now,
	    uint64_t *misses);

/*
 * The packet path's side.
 */

/* No work is due before `when', except pending requests. */
static inline void
l4s_overrides_look_at(struct l4s_overrides *o, uint64_t when)
{
	L4S_STORE(&o->look_ns, when);
	L4S_FENCE_SEQ();
	if (L4S_LOAD(&o->pending) != 0)
		L4S_STORE(&o->look_ns, 0);
}

/* Makes each packet check whether a queue is above the ceiling. */
void	l4s_override_watch_ceiling(struct l4s_overrides *);
/*
 * Ends overrides expired at `now'.  Returns true if set-points were restored.
 */
bool	l4s_override_expire(struct l4s_overrides *, struct dualpi2 *,
	    uint64_t now);
/* Takes the device's requests.  Returns true if set-points changed. */
bool	l4s_override_collect(struct l4s_overrides *, struct dualpi2 *,
	    uint32_t pending, uint64_t decisions, uint64_t now);
/*
 * Reports whether a queue's delay is above the ceiling.  Returns true if
 * set-points changed.
 */
L4S_SLOW bool l4s_override_ceiling(struct l4s_overrides *, struct dualpi2 *,
	    bool above);
/*
 * A decision of the student, in mode steer, which must stay valid until the
 * next one; NULL: none.  Both return true if set-points changed.
 */
bool	l4s_override_student(struct l4s_overrides *, struct dualpi2 *,
	    const struct l4s_override *);
bool	l4s_override_expire_student(struct l4s_overrides *, struct dualpi2 *,
	    uint64_t now);
/* Shifts the set-points again after the parameters changed. */
void	l4s_override_resume(struct l4s_overrides *, struct dualpi2 *);
/*
 * Decides on a packet: the verdict, or the override if one is active.
 * `decisions' counts those so far, including this one.  Does not change
 * x->status.
 */
L4S_SLOW void l4s_override_decide(struct l4s_overrides *, const struct dualpi2 *,
	    const struct dualpi2_verdict *, bool above_ceiling,
	    uint64_t decisions, struct l4s_decision *);

#endif /* !_L4S_OVERRIDE_H_ */
