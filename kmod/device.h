/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The device, as functions on plain buffers.  /dev/l4sllm, the emulator and a
 * Unix socket are fronts of these:
 *
 *	front                          here
 *	open, close                    l4s_handle_open, _close
 *	read                           l4s_handle_read
 *	poll, kqueue, a blocking read  l4s_handle_ready, _on_ready
 *	ioctl, struct l4s_request      l4s_handle_request
 *
 * One device has one ring and any number of scheduler instances, all of whose
 * packet paths run under one lock or in one thread (the ring has one writer).
 * Any number of descriptors read; at most one of them is the controller, by
 * L4S_OP_CONTROL, and may send overrides and parameters.
 *
 * Events go into the stream with the next packet, for only the packet path
 * writes to the ring; without an instance there is none, and they are written
 * at once.
 *
 * No function here sleeps.  The errors are L4S_E* numbers.
 */

#ifndef _L4S_DEVICE_H_
#define	_L4S_DEVICE_H_

#include "params.h"
#include "instance.h"

/* The module's release: struct l4s_version. */
#define	L4S_RELEASE		"0.1.0"

/* Open descriptors a device: the packet path walks them when it wakes one. */
#define	L4S_HANDLES_MAX		256

/*
 * Locking: (d) device lock, (w) wake lock, (c) constant.
 */
struct l4s_device {
	struct l4s_lock	lock;
	struct l4s_lock	wake_lock;
	struct l4s_ring	*ring;		/* (c) NULL: no records */
	struct l4s_sched *scheds;	/* (d) */
	struct l4s_handle *handles;	/* (d) and (w) to change, one to read */
	unsigned	nhandles;	/* (d) */
	struct l4s_handle *controller;	/* (d) */
	struct l4s_params params;	/* (d) */
	struct l4s_limits limits;	/* (d) */
	uint64_t	invalid;	/* (d) overrides for no instance */
	uint64_t	joined;		/* (d) instances so far */
};

/* An open descriptor.  The front allocates it and sets nothing itself. */
struct l4s_handle {
	struct l4s_device *device;	/* (c) */
	struct l4s_handle *next;	/* as l4s_device.handles */
	struct l4s_cursor cursor;	/* (d) */
	struct l4s_interval interval;	/* (d) */
	bool		privileged;	/* (c) may set limits */
	void		(*wake)(void *); /* (w) */
	void		*wake_arg;	/* (w) */
	uint64_t	wake_at;	/* (w) ring head; UINT64_MAX: not armed */
};

/* Checked parameters and limits; the ring, if any, initialised. */
void	l4s_device_init(struct l4s_device *, struct l4s_ring *,
	    const struct l4s_params *, const struct l4s_limits *);
/* No instance and no descriptor may be left. */
void	l4s_device_destroy(struct l4s_device *);

/*
 * An initialised instance joins, gets its number and the device's parameters;
 * or leaves, and its events that still waited for a packet do not get lost.
 * Both by who may call the packet paths: the last to leave writes to the ring.
 *
 * No two instances of a device ever have the same number, whichever scheduler
 * they are of: what was meant for one that is gone reaches no other.  (After
 * 2^32 the numbers of those that are gone come again.)
 */
void	l4s_device_attach(struct l4s_device *, struct l4s_sched *);
void	l4s_device_detach(struct l4s_device *, struct l4s_sched *,
	    uint64_t now);

/* As L4S_OP_GET_* and _SET_*, for fronts that check privilege themselves. */
void	l4s_device_params(struct l4s_device *, struct l4s_params *);
int	l4s_device_set_params(struct l4s_device *, const struct l4s_params *,
	    uint64_t now);
void	l4s_device_limits(struct l4s_device *, struct l4s_limits *);
int	l4s_device_set_limits(struct l4s_device *, const struct l4s_limits *,
	    uint64_t now);
/*
 * In: stats->sched and ->instance; 0 of both: the sum.  A deadline that the
 * controller missed by `now' is counted, packets or none.
 */
int	l4s_device_stats(struct l4s_device *, const struct l4s_handle *,
	    struct l4s_stats *, uint64_t now);

/* 0 or L4S_ENOMEM (too many descriptors). */
int	l4s_handle_open(struct l4s_device *, struct l4s_handle *,
	    bool privileged);
void	l4s_handle_close(struct l4s_handle *, uint64_t now);
/*
 * As many whole messages as fit; *got bytes, 0 when none waits.  L4S_EINVAL
 * when not even one fits.
 */
int	l4s_handle_read(struct l4s_handle *, void *buf, size_t size,
	    uint64_t now, size_t *got);
int	l4s_handle_request(struct l4s_handle *, uint32_t op, void *buf,
	    size_t size, uint64_t now);
/*
 * True when readable by struct l4s_interval's rule, or with half a ring of
 * messages; else *deadline is when it
 * will be by max_wait_ns alone, or L4S_NEVER.
 */
bool	l4s_handle_ready(struct l4s_handle *, uint64_t now,
	    uint64_t *deadline);
/*
 * wake(arg) is called each time the handle becomes readable, and when a
 * deadline begins (the first record, with max_wait_ns set): from the packet
 * path, or from the call here that finds it so.  It must not call back.
 * (With the first registration of all on a device, the packet path learns in
 * the same instant that someone may wait; a message written in that instant
 * may be noticed only by l4s_handle_ready(), or with the next one.)
 */
void	l4s_handle_on_ready(struct l4s_handle *, void (*wake)(void *),
	    void *arg);

/*
 * Between device.c and reader.c, with the device lock held but for the last.
 */

/* Looks whether the controller missed its deadline, packets or none. */
void	l4s_device_watch(struct l4s_device *, uint64_t now);
/* The handle is to be woken when it becomes readable by its interval. */
void	l4s_handle_rearm(struct l4s_handle *);
/* The ring's wake, from the packet path: wakes those who are due. */
void	l4s_device_wake(void *device);

#endif /* !_L4S_DEVICE_H_ */
