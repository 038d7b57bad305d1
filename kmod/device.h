/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The device: its rings and any number of scheduler instances.  All packet
 * paths of these run under one lock or in one thread, because a ring has one
 * writer.  Descriptors are in handle.h.
 *
 * Events are written into the streams with the next packet (of any instance,
 * for events of the device), because only the packet path writes to the rings.
 * Without an instance there is no packet path, and they are written
 * immediately.
 *
 * No function here sleeps.  The errors are L4S_E* numbers.
 */

#ifndef _L4S_DEVICE_H_
#define	_L4S_DEVICE_H_

#include "params.h"
#include "instance.h"

/* The module's release, for struct l4s_version. */
#define	L4S_RELEASE		"0.1.0"

/*
 * Open descriptors; the packet path walks all of them to wake those that are
 * due.
 */
struct l4s_waiter {
	struct l4s_waiter *next;	/* as l4s_device.waiters */
	void		(*wake)(void *); /* (w) */
	void		*arg;		/* (w) */
	uint64_t	at[L4S_RINGS];	/* (w) head of each; UINT64_MAX: none */
	struct l4s_summary_bounds bounds; /* (d) of summaries, as requested */
};

struct l4s_handle;

/*
 * Locking: (d) device lock, (w) wake lock, (c) constant.
 */
struct l4s_device {
	struct l4s_lock	lock;
	struct l4s_lock	wake_lock;
	struct l4s_events events;	/* of the device as a whole */
	struct l4s_ring	*rings;		/* (c) L4S_RINGS, or NULL: no streams */
	struct l4s_instance *instances;	/* (d) */
	struct l4s_waiter *waiters;	/* (d) and (w) to change, one to read */
	unsigned	nwaiters;	/* (d) */
	const struct l4s_handle *controller; /* (d) */
	struct l4s_params params;	/* (d) */
	struct l4s_limits limits;	/* (d) */
	uint64_t	invalid;	/* (d) overrides for no instance */
	uint64_t	joined;		/* (d) instances so far */
	struct l4s_summary_bounds bounds; /* (d) current */
	struct l4s_student_net *student; /* (d) loaded, or NULL */
	bool		student_on;	/* (d) only if loaded */
	uint32_t	idle_budget;	/* (d) as set; 0: the student's */
	uint64_t	student_decisions; /* (d) of instances that left */
	struct l4s_stats gone;		/* (d) of instances that left */
	struct l4s_queues gone_queues;	/* (d) likewise */
};

/* Checked parameters and limits; the rings, if any, initialised. */
void	l4s_device_init(struct l4s_device *, struct l4s_ring *,
	    const struct l4s_params *, const struct l4s_limits *);
/* All instances must be detached and all descriptors closed. */
void	l4s_device_destroy(struct l4s_device *);

/*
 * Attaches an initialised instance, and sets its number and the device's
 * parameters; L4S_ENOMEM if there is no memory for flow_weights or the student.
 *
 * Detaches an instance: queued packets are dropped, counted and recorded,
 * pending events are written, and its counts stay in the sums.  The caller owns
 * the packet paths, because this writes to the rings.
 *
 * No two instances of a device have the same number, even of different
 * schedulers, so a stale override never reaches a new instance. (Numbers repeat
 * after 2^32 instances.)
 */
int	l4s_device_attach(struct l4s_device *, struct l4s_instance *);
void	l4s_device_detach(struct l4s_device *, struct l4s_instance *,
	    uint64_t now);

/*
 * Like L4S_OP_GET_* and _SET_*, for front ends that check privilege themselves.
 * L4S_ENOMEM, with no change, if flow_weights is enabled and there is no memory
 * for all instances.
 */
void	l4s_device_params(struct l4s_device *, struct l4s_params *);
int	l4s_device_set_params(struct l4s_device *, const struct l4s_params *,
	    uint64_t now);
void	l4s_device_limits(struct l4s_device *, struct l4s_limits *);
int	l4s_device_set_limits(struct l4s_device *, const struct l4s_limits *,
	    uint64_t now);
/*
 * In: stats->sched and ->instance; 0 in both for the sum.  A deadline that the
 * controller missed by `now' is counted even without packets.
 */
int	l4s_device_stats(struct l4s_device *, struct l4s_stats *,
	    uint64_t now);
/* Like l4s_device_stats() for both queues; delays are those at `now'. */
int	l4s_device_queues(struct l4s_device *, struct l4s_queues *,
	    uint64_t now);

/*
 * For handle.c, with the device lock held.
 */

/* The instance with these numbers, or NULL. */
struct l4s_instance *l4s_device_find(struct l4s_device *, uint32_t sched,
	    uint32_t instance);
/*
 * Writes an event of the device as a whole, or queues it for the next packet.
 */
void	l4s_device_post(struct l4s_device *, uint32_t code, uint64_t now);
void	l4s_device_post_value(struct l4s_device *, uint32_t code,
	    uint64_t value, uint64_t now);
/* Applies checked values; 0 or L4S_ENOMEM. */
int	l4s_device_store_params(struct l4s_device *,
	    const struct l4s_params *, uint64_t now);
void	l4s_device_store_limits(struct l4s_device *,
	    const struct l4s_limits *, uint64_t now);
/* Applies the minimum of the summary bounds that descriptors ask for. */
void	l4s_device_store_summaries(struct l4s_device *);
/* Like l4s_device_stats(), without checking deadlines. */
int	l4s_device_sum(struct l4s_device *, struct l4s_stats *);
int	l4s_device_sum_queues(struct l4s_device *, struct l4s_queues *,
	    uint64_t now);
/*
 * Loads a student, or unloads it if `size' is 0: 0, L4S_EPROTO, L4S_EINVAL or
 * L4S_ENOMEM, with no change after an error.
 */
int	l4s_device_load_student(struct l4s_device *, const void *file,
	    size_t size, uint64_t now);
/* 0, L4S_EPROTO, L4S_EINVAL, L4S_ENOENT (none is loaded) or L4S_ENOMEM. */
int	l4s_device_switch_student(struct l4s_device *,
	    const struct l4s_student_switch *, uint64_t now);
void	l4s_device_student(struct l4s_device *, struct l4s_student_status *);
/* The student's idle budget, 1e-6; 0 without a student. */
uint32_t l4s_device_budget(const struct l4s_device *);
/* Checks whether the controller missed its deadline, even without packets. */
void	l4s_device_watch(struct l4s_device *, uint64_t now);

/* A reader of records needs a keyframe of each instance.  Device lock held. */
void	l4s_device_post_keyframes(struct l4s_device *);

/*
 * Publishes the lowest heads that readers wait for to the packet path.  Wake
 * lock held; the device has rings.
 */
void	l4s_device_publish(struct l4s_device *);
/* Stops waiting.  Wake lock held. */
void	l4s_waiter_disarm(struct l4s_waiter *);

#endif /* !_L4S_DEVICE_H_ */
