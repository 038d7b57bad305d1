/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A descriptor of the device, as functions on plain buffers. /dev/l4sllm, the
 * emulator and a Unix socket are front ends of these:
 *
 *	front                          here
 *	open, close                    l4s_handle_open, _close
 *	read                           l4s_handle_read
 *	poll, kqueue, a blocking read  l4s_handle_ready, _on_ready
 *	ioctl, struct l4s_request      l4s_handle_request
 *
 * Any number of descriptors may read; at most one of them is the controller,
 * through L4S_OP_CONTROL, and may send overrides and parameters.
 *
 * No function here sleeps.  The errors are L4S_E* numbers.
 */

#ifndef _L4S_HANDLE_H_
#define	_L4S_HANDLE_H_

#include "device.h"
#include "kept.h"

/*
 * Maximum number of open descriptors per device: the packet path walks them
 * when it wakes one.
 */
#define	L4S_HANDLES_MAX		256

/*
 * Minimum number of decisions per summary that a descriptor may request without
 * privilege or control: all readers get the shortest summaries requested, and
 * the packet path pays for them.
 */
#define	L4S_OBSERVER_DECISIONS	64

/*
 * Allocated by the front end, which must not set any member.  Locking as in
 * device.h.
 */
struct l4s_handle {
	struct l4s_device *device;	/* (c) */
	struct l4s_waiter waiter;
	struct l4s_cursor cursors[L4S_RINGS]; /* (d) of the streams read */
	uint32_t	streams;	/* (d) L4S_STREAM_*, subscribed to */
	struct l4s_kept	kept;		/* (d) of streams left; read first */
	/* (d) Events of the summaries' ring before this one are not read. */
	uint64_t	events_from;
	struct l4s_interval interval;	/* (d) */
	bool		privileged;	/* (c) may set limits */
};

/* 0 or L4S_ENOMEM (too many descriptors). */
int	l4s_handle_open(struct l4s_device *, struct l4s_handle *,
	    bool privileged);
void	l4s_handle_close(struct l4s_handle *, uint64_t now);
/* Size of the largest message of the handle's streams, bytes. */
size_t	l4s_handle_largest(struct l4s_handle *);
/*
 * Reads whole messages of the handle's streams in time order, while there is
 * space for the largest; *got is in bytes, 0 if none are available.  L4S_EINVAL
 * if the buffer is too small for the largest message.
 */
int	l4s_handle_read(struct l4s_handle *, void *buf, size_t size,
	    uint64_t now, size_t *got);
/*
 * Answers the request L4S_OP_* `op' with the struct buf of `size' bytes, in and
 * out; a student's file may have any size.
 */
int	l4s_handle_request(struct l4s_handle *, uint32_t op, void *buf,
	    size_t size, uint64_t now);
/*
 * True if readable by struct l4s_interval's rule, or with half a ring of
 * messages (of the smaller ring read); otherwise *deadline is the time when
 * max_wait_ns alone makes it readable, or L4S_NEVER.
 */
bool	l4s_handle_ready(struct l4s_handle *, uint64_t now,
	    uint64_t *deadline);
/*
 * Unread messages of the handle's streams, including overwritten ones.  Takes
 * no lock: only the thread that reads may call it.
 */
uint64_t l4s_handle_unread(const struct l4s_handle *);
/* Size of the available messages in bytes; with summaries, an upper bound. */
size_t	l4s_handle_waiting(struct l4s_handle *);
/*
 * wake(arg) is called each time the handle becomes readable, and when a
 * deadline begins (the first record, with max_wait_ns set): from the packet
 * path, or from the call here that detects it.  It must not call back.  For a
 * handle that reads both streams it may be called early, a limited number of
 * times. (The first registration on a device also enables wakeups in the packet
 * path; a message written at that moment may be noticed only by
 * l4s_handle_ready(), or with the next message.)
 */
void	l4s_handle_on_ready(struct l4s_handle *, void (*wake)(void *),
	    void *arg);

/*
 * For handle.c, with the device lock held: reader.c.
 */

/*
 * Stops reading the streams that are not in the set, and starts reading new
 * ones at their next message.  Each event is read once: in the former or in the
 * new stream of events; events that the reader would otherwise lose are kept
 * for it.
 */
void	l4s_handle_subscribe(struct l4s_handle *, uint32_t streams,
	    uint64_t now);
/*
 * Arms the wakeup of a handle that is not readable.  A reader of both streams
 * is woken when half of its messages are in one stream, and then arms again for
 * the rest.  No wakeup is lost between the check and this call, because of the
 * fence and the second check (l4s_ring_notify()).
 */
void	l4s_handle_rearm(struct l4s_handle *);
/* Adds the messages as seen by the handle. */
void	l4s_handle_account(const struct l4s_handle *, struct l4s_stats *);

#endif /* !_L4S_HANDLE_H_ */
