/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A descriptor of the device, as functions on plain buffers.  /dev/l4sllm,
 * the emulator and a Unix socket are fronts of these:
 *
 *	front                          here
 *	open, close                    l4s_handle_open, _close
 *	read                           l4s_handle_read
 *	poll, kqueue, a blocking read  l4s_handle_ready, _on_ready
 *	ioctl, struct l4s_request      l4s_handle_request
 *
 * Any number of descriptors read; at most one of them is the controller, by
 * L4S_OP_CONTROL, and may send overrides and parameters.
 *
 * No function here sleeps.  The errors are L4S_E* numbers.
 */

#ifndef _L4S_HANDLE_H_
#define	_L4S_HANDLE_H_

#include "device.h"
#include "kept.h"

/* Open descriptors a device: the packet path walks them when it wakes one. */
#define	L4S_HANDLES_MAX		256

/*
 * Decisions of the shortest summary that a descriptor may ask for that is
 * neither privileged nor the controller: all readers get summaries that short,
 * and the packet path writes them.
 */
#define	L4S_OBSERVER_DECISIONS	64

/*
 * The front allocates it and sets nothing itself.  Locking as in device.h.
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
/* Bytes of the largest message of the handle's streams. */
size_t	l4s_handle_largest(struct l4s_handle *);
/*
 * Whole messages of the handle's streams in order of time, while there is room
 * for the largest; *got bytes, 0 when none waits.  L4S_EINVAL when not even one
 * of the largest fits.
 */
int	l4s_handle_read(struct l4s_handle *, void *buf, size_t size,
	    uint64_t now, size_t *got);
/* Answers L4S_OP_* `op', whose struct is buf, in and out, of `size' bytes. */
int	l4s_handle_request(struct l4s_handle *, uint32_t op, void *buf,
	    size_t size, uint64_t now);
/*
 * True when readable by struct l4s_interval's rule, or with half a ring of
 * messages (of the smaller one that is read); else *deadline is when it will be by
 * max_wait_ns alone, or L4S_NEVER.
 */
bool	l4s_handle_ready(struct l4s_handle *, uint64_t now,
	    uint64_t *deadline);
/*
 * Messages of the handle's streams not read yet, those already overwritten
 * among them.  Takes no lock: only the thread that reads may ask.
 */
uint64_t l4s_handle_unread(const struct l4s_handle *);
/* Bytes of the messages waiting, or somewhat more with summaries. */
size_t	l4s_handle_waiting(struct l4s_handle *);
/*
 * wake(arg) is called each time the handle becomes readable, and when a
 * deadline begins (the first record, with max_wait_ns set): from the packet
 * path, or from the call here that finds it so.  It must not call back.  For a
 * handle that reads both streams it may be called before, some times at most.
 * (With the first registration of all on a device, the packet path learns in
 * the same instant that someone may wait; a message written in that instant
 * may be noticed only by l4s_handle_ready(), or with the next one.)
 */
void	l4s_handle_on_ready(struct l4s_handle *, void (*wake)(void *),
	    void *arg);

/*
 * For handle.c, with the device lock held: reader.c.
 */

/*
 * Leaves the streams that are not in the set, and begins those that are new
 * with their next message.  Each event is read once: in the stream that events
 * came with before, or in the one that they come with now; what the reader no
 * longer gets there is kept for it.
 */
void	l4s_handle_subscribe(struct l4s_handle *, uint32_t streams,
	    uint64_t now);
/*
 * Arms the handle for when it becomes readable: it is not now, or the reader
 * would not wait.  Who reads both streams is woken when half of what it waits
 * for is in one of them, and then arms again for the rest.  Nothing is lost
 * between that look and this: the fence and the second look see to it
 * (l4s_ring_notify()).
 */
void	l4s_handle_rearm(struct l4s_handle *);
/* Adds the messages as the handle sees them. */
void	l4s_handle_account(const struct l4s_handle *, struct l4s_stats *);

#endif /* !_L4S_HANDLE_H_ */
