/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Events and losses of a stream that a descriptor has left, until it reads
 * them.  A ring keeps messages only for the cursors of its stream.
 */

#ifndef _L4S_KEPT_H_
#define	_L4S_KEPT_H_

#include "ring.h"

/*
 * If there are more, they become losses, one for each stream, which have
 * separate places.
 */
#define	L4S_KEPT_MAX		15
#define	L4S_KEPT_PLACES		(L4S_KEPT_MAX + L4S_RINGS)

struct l4s_kept {
	unsigned	first;
	unsigned	count;
	unsigned	events;		/* of these */
	uint64_t	read;		/* events so far */
	uint64_t	lost;		/* messages, by the losses so far */
	/* Position of each in the order of messages. */
	uint64_t	time_ns[L4S_KEPT_PLACES];
	uint64_t	message[L4S_KEPT_PLACES][L4S_MESSAGE_WORDS];
};

/*
 * Keeps the events from message `from' on that a copy of the cursor reads from
 * the ring before message `head' and, with `losses', any loss: not for a stream
 * that is still read, which reports its losses itself.
 */
void	l4s_kept_take(struct l4s_kept *, struct l4s_cursor,
	    const struct l4s_ring *, uint64_t from, uint64_t head, bool losses,
	    uint64_t now);
/* The oldest, of L4S_RECORD_SIZE bytes.  There must be one. */
void	l4s_kept_read(struct l4s_kept *, void *buf);

#endif /* !_L4S_KEPT_H_ */
