/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A message ring: one writer, any number of readers, each with its own cursor.
 * A device has one for each stream (struct l4s_interval).  The writer never
 * waits: it overwrites the oldest message.  A reader that was lapped learns how
 * many messages it lost.  Without a reader nothing is written.
 *
 *	          head - capacity            cursor              head
 *	                 ▼                      ▼                  ▼
 *	   overwritten   │ oldest ............. │ next to read ... │ next to write
 *
 * A message is an array of 64-bit words at the start of a slot.  Each word is
 * read and written as a relaxed atomic, so there is no data race in C's sense.
 * A slot is overwritten only when head has advanced by the capacity.  A reader
 * copies the words and then reads head again: if it has not advanced that far,
 * none of them was overwritten.  This is a seqlock with head as the sequence
 * number of all slots.
 */

#ifndef _L4S_RING_H_
#define	_L4S_RING_H_

#include "osdep.h"
#include "l4sllm_abi.h"

#define	L4S_RING_MIN		(1U << 4)	/* messages */
#define	L4S_RING_MAX		(1U << 20)

/* All messages except summaries have this many words. */
#define	L4S_MESSAGE_WORDS	(L4S_RECORD_SIZE / 8)
_Static_assert(L4S_RECORD_SIZE % 8 == 0, "messages are whole words");

/* The rings of a device; the stream of ring i is 1 << i. */
#define	L4S_RING_RECORDS	0
#define	L4S_RING_SUMMARIES	1
#define	L4S_RINGS		2
_Static_assert(L4S_STREAM_RECORDS == 1 << L4S_RING_RECORDS &&
    L4S_STREAM_SUMMARIES == 1 << L4S_RING_SUMMARIES, "rings are streams");

/* log2 of the bytes of a slot, which fits the ring's largest message. */
#define	L4S_RECORD_SHIFT	6
#define	L4S_SUMMARY_SHIFT	9
_Static_assert(L4S_RECORD_SIZE <= 1 << L4S_RECORD_SHIFT, "records fit");
_Static_assert(sizeof(struct l4s_summary) <= 1 << L4S_SUMMARY_SHIFT,
    "summaries fit");
_Static_assert(L4S_RECORD_SIZE <= 1 << L4S_SUMMARY_SHIFT, "so do events");
#define	L4S_SLOT_WORDS_MAX	((1 << L4S_SUMMARY_SHIFT) / 8)

struct l4s_ring {
	uint64_t	*words;		/* capacity slots */
	uint64_t	mask;		/* capacity - 1 */
	unsigned	shift;		/* log2 of the words of a slot */
	uint32_t	stream;		/* L4S_STREAM_* */
	uint64_t	head;		/* messages written; atomic */
	uint64_t	wake_at;	/* head that a reader waits for; atomic */
	uint32_t	watched;	/* readers may wait; atomic */
	uint32_t	readers;	/* atomic; 0: nothing is written */
	/* Set once, before the first write. */
	void		(*wake)(struct l4s_ring *, void *);
	void		*wake_arg;
	struct l4s_lock	*events;	/* held while an event is written to
					   several rings; NULL: no device */
};

/*
 * Bytes that l4s_ring_init() needs for a capacity and slots of 2^shift bytes.
 * One slot may be in the middle of a write, so capacity - 1 messages can wait.
 */
#define	L4S_RING_BYTES(capacity, shift)	((size_t)(capacity) << (shift))

/*
 * Bytes of both rings of a device in one allocation: the ring of records has
 * the capacity, that of summaries an eighth of it.
 */
#define	L4S_RINGS_SUMMARIES(capacity)					\
	((capacity) / 8 > L4S_RING_MIN ? (capacity) / 8 : L4S_RING_MIN)
#define	L4S_RINGS_BYTES(capacity)					\
	(L4S_RING_BYTES((capacity), L4S_RECORD_SHIFT) +			\
	L4S_RING_BYTES(L4S_RINGS_SUMMARIES(capacity), L4S_SUMMARY_SHIFT))

static inline bool
l4s_ring_capacity_ok(uint32_t capacity)
{
	return (capacity >= L4S_RING_MIN && capacity <= L4S_RING_MAX &&
	    (capacity & (capacity - 1)) == 0);
}

void	l4s_ring_init(struct l4s_ring *, uint64_t *words, uint32_t capacity,
	    unsigned shift, uint32_t stream);
void	l4s_rings_init(struct l4s_ring [L4S_RINGS], uint64_t *words,
	    uint32_t capacity);

/* Adds or removes a reader. */
static inline void
l4s_ring_subscribe(struct l4s_ring *r)
{
	L4S_ATOMIC_ADD(&r->readers, 1);
}

static inline void
l4s_ring_unsubscribe(struct l4s_ring *r)
{
	L4S_ATOMIC_ADD(&r->readers, -1);
}

/* Returns whether the ring, which may be NULL, has a reader. */
static inline bool
l4s_ring_wanted(const struct l4s_ring *r)
{
	return (r != NULL && L4S_LOAD(&r->readers) != 0);
}

/*
 * To write a message: call begin, store its words with L4S_STORE to the address
 * returned (all of hdr.length, since the slot holds an old message), and call
 * commit with the same values and the address.  `shift' is the ring's, a
 * constant for callers that write to only one ring.
 */
static inline uint64_t *
l4s_ring_begin(struct l4s_ring *r, unsigned shift, uint64_t *seq)
{
	*seq = L4S_LOAD(&r->head);
	/*
	 * A reader that sees a word of this message sees this head or a later
	 * one.
	 */
	L4S_FENCE_REL();
	return (&r->words[(*seq & r->mask) << shift]);
}

static inline void
l4s_ring_commit(struct l4s_ring *r, unsigned shift, uint64_t seq,
    const uint64_t *w)
{
	L4S_STORE_REL(&r->head, seq + 1);
	/*
	 * Prefetches the cache line of a later record.  Past the end of the
	 * ring this is useless but harmless.
	 */
	__builtin_prefetch((const void *)((uintptr_t)w +
	    ((uintptr_t)64 << shift)), 1);
}

/* Writes a message of hdr->length bytes; only its seq is set here. */
void	l4s_ring_write(struct l4s_ring *, struct l4s_header *hdr);

/*
 * Wakes readers waiting for new messages.  A reader stores wake_at, then
 * reads head; the writer stored head, then reads wake_at.  With a full fence
 * on both sides, at least one of the two sees the other's store.  The fence is
 * the most expensive instruction; skip it when there are no waiters.
 */
static inline uint32_t
l4s_ring_watched(const struct l4s_ring *r)
{
	return (L4S_LOAD(&r->watched));
}

static inline void
l4s_ring_notify(struct l4s_ring *r)
{
	if (__predict_true(l4s_ring_watched(r) == 0))
		return;
	L4S_FENCE_SEQ();
	if (L4S_LOAD(&r->head) >= L4S_LOAD(&r->wake_at))
		r->wake(r, r->wake_arg);
}

/* Sequence number of the next message. */
static inline uint64_t
l4s_ring_head(const struct l4s_ring *r)
{
	return (L4S_LOAD_ACQ(&r->head));
}

/* A reader's position and counts. */
struct l4s_cursor {
	uint64_t	next;		/* sequence number to read next */
	uint64_t	start;		/* where it began */
	uint64_t	read;
	uint64_t	lost;		/* reported to the reader */
};

struct l4s_cursor_account {
	uint64_t	written;	/* = read + lost + waiting */
	uint64_t	read;
	uint64_t	lost;
	uint64_t	waiting;
};

/* Start at the next message to be written, or at the one numbered seq. */
void	l4s_cursor_init(struct l4s_cursor *, const struct l4s_ring *);
void	l4s_cursor_start(struct l4s_cursor *, uint64_t seq);

/*
 * Copies the next message to buf, which must fit the ring's largest, or a
 * struct l4s_loss stamped `now' if messages before it were lost.  Returns its
 * length; 0 if no message is available.
 */
size_t	l4s_cursor_read(struct l4s_cursor *, const struct l4s_ring *,
	    uint64_t now, void *buf);
/* Number of unread messages, including those already overwritten. */
static inline uint64_t
l4s_cursor_unread(const struct l4s_cursor *c, const struct l4s_ring *r)
{
	return (l4s_ring_head(r) - c->next);
}
/*
 * Returns the type of the message that l4s_cursor_read() would return and the
 * time_ns of the oldest available message, 0 if it is being overwritten.  False
 * if no message is available.
 */
bool	l4s_cursor_peek(const struct l4s_cursor *, const struct l4s_ring *,
	    uint8_t *type, uint64_t *time_ns);
/*
 * Counts the next message as read.  l4s_cursor_peek() found it, and it is not a
 * loss.
 */
void	l4s_cursor_skip(struct l4s_cursor *);
void	l4s_cursor_account(const struct l4s_cursor *, const struct l4s_ring *,
	    struct l4s_cursor_account *);

#endif /* !_L4S_RING_H_ */
