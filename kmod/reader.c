/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The streams of a descriptor: reading, and readability. */

#include "handle.h"

static uint64_t	handle_enough(const struct l4s_handle *);

static inline bool
handle_reads(const struct l4s_handle *h, unsigned ring)
{
	return (h->device->rings != NULL && (h->streams & 1U << ring) != 0);
}

/* The stream from which a reader of these streams reads events. */
static uint32_t
handle_events_of(uint32_t streams)
{
	return ((streams & L4S_STREAM_RECORDS) != 0 ? L4S_STREAM_RECORDS :
	    streams);
}

void
l4s_handle_subscribe(struct l4s_handle *h, uint32_t streams, uint64_t now)
{
	struct l4s_device *dev = h->device;
	struct l4s_ring *rings = dev->rings;
	uint32_t old = h->streams, events = handle_events_of(old), stream;
	uint64_t heads[L4S_RINGS];
	bool moved = events != handle_events_of(streams), left;
	unsigned i;

	h->streams = streams;
	if (rings == NULL || streams == old)
		return;
	l4s_lock(&dev->events.lock);
	for (i = 0; i < L4S_RINGS; i++) {
		heads[i] = l4s_ring_head(&rings[i]);
		if ((streams & ~old & 1U << i) != 0)
			l4s_ring_subscribe(&rings[i]);
	}
	l4s_unlock(&dev->events.lock);
	for (i = 0; i < L4S_RINGS; i++) {
		stream = 1U << i;
		left = (old & ~streams & stream) != 0;
		if (old != 0 && streams != 0 &&
		    (left || (moved && events == stream)))
			l4s_kept_take(&h->kept, h->cursors[i], &rings[i],
			    events != stream ? UINT64_MAX :
			    i == L4S_RING_SUMMARIES ? h->events_from : 0,
			    heads[i], left, now);
		if (left)
			l4s_ring_unsubscribe(&rings[i]);
		else if ((streams & ~old & stream) != 0)
			l4s_cursor_start(&h->cursors[i], heads[i]);
	}
	if (moved)
		h->events_from = heads[L4S_RING_SUMMARIES];
	if ((streams & ~old & L4S_STREAM_RECORDS) != 0)
		l4s_device_post_keyframes(dev);
}

/*
 * Events are in both streams.  A reader of both takes those of the records, and
 * a reader that left the records has those from before.  Device lock held.
 */
static void
handle_skip_events(struct l4s_handle *h)
{
	const struct l4s_ring *r = &h->device->rings[L4S_RING_SUMMARIES];
	struct l4s_cursor *c = &h->cursors[L4S_RING_SUMMARIES];
	uint64_t time_ns;
	uint8_t type;

	if ((h->streams & L4S_STREAM_SUMMARIES) == 0)
		return;
	while ((h->streams == L4S_STREAM_ALL || c->next < h->events_from) &&
	    l4s_cursor_peek(c, r, &type, &time_ns) &&
	    type == L4S_RECORD_EVENT)
		l4s_cursor_skip(c);
}

/*
 * The heads of both rings at one instant: everything written before a message
 * in either ring is then before the head of the other.
 */
static void
handle_heads(const struct l4s_handle *h, uint64_t heads[L4S_RINGS])
{
	const struct l4s_ring *rings = h->device->rings;

	do {
		/* The head of summaries rarely moves. */
		heads[L4S_RING_SUMMARIES] =
		    l4s_ring_head(&rings[L4S_RING_SUMMARIES]);
		heads[L4S_RING_RECORDS] =
		    l4s_ring_head(&rings[L4S_RING_RECORDS]);
	} while (heads[L4S_RING_SUMMARIES] !=
	    l4s_ring_head(&rings[L4S_RING_SUMMARIES]));
}

/* The next message is among the kept ones. */
#define	HANDLE_KEPT	(L4S_RINGS + 1)

/*
 * Returns the ring with the next message in time order, among those before
 * `heads', or HANDLE_KEPT: kept messages come first, then records if times are
 * equal.  L4S_RINGS if no message is available.
 */
static unsigned
handle_next(struct l4s_handle *h, const uint64_t heads[L4S_RINGS])
{
	uint64_t time_ns, least = 0;
	unsigned i, next = L4S_RINGS;
	uint8_t type;

	handle_skip_events(h);
	if (h->kept.count != 0) {
		next = HANDLE_KEPT;
		least = h->kept.time_ns[h->kept.first];
	}
	for (i = 0; i < L4S_RINGS; i++) {
		if (!handle_reads(h, i) ||
		    (int64_t)(heads[i] - h->cursors[i].next) <= 0)
			continue;
		(void)l4s_cursor_peek(&h->cursors[i], &h->device->rings[i],
		    &type, &time_ns);
		if (next == L4S_RINGS || time_ns < least) {
			next = i;
			least = time_ns;
		}
	}
	return (next);
}

/* Size of the largest message of a stream that the handle reads. */
static size_t
handle_largest(const struct l4s_handle *h)
{
	return ((h->streams & L4S_STREAM_SUMMARIES) != 0 ?
	    sizeof(struct l4s_summary) : L4S_RECORD_SIZE);
}

size_t
l4s_handle_largest(struct l4s_handle *h)
{
	size_t largest;

	l4s_lock(&h->device->lock);
	largest = handle_largest(h);
	l4s_unlock(&h->device->lock);
	return (largest);
}

/*
 * The next message of a ring, which has one, or of the kept ones; its length.
 */
static size_t
handle_read_one(struct l4s_handle *h, unsigned ring, uint64_t now, uint8_t *to)
{
	struct l4s_cursor *c;
	uint64_t lost;
	size_t length;

	if (__predict_false(ring == HANDLE_KEPT)) {
		l4s_kept_read(&h->kept, to);
		return (L4S_RECORD_SIZE);
	}
	c = &h->cursors[ring];
	lost = c->lost;
	length = l4s_cursor_read(c, &h->device->rings[ring], now, to);
	/* The lost messages must be reported again. */
	if (__predict_false(c->lost != lost) && ring == L4S_RING_RECORDS)
		l4s_device_post_keyframes(h->device);
	return (length);
}

int
l4s_handle_read(struct l4s_handle *h, void *buf, size_t size, uint64_t now,
    size_t *got)
{
	struct l4s_device *dev = h->device;
	uint64_t heads[L4S_RINGS];
	uint8_t *to = buf;
	unsigned i;
	int error = 0;

	*got = 0;
	l4s_lock(&dev->lock);
	if (size < handle_largest(h))
		error = L4S_EINVAL;
	else if (dev->rings != NULL) {
		handle_heads(h, heads);
		while (size - *got >= handle_largest(h) &&
		    (i = handle_next(h, heads)) != L4S_RINGS)
			*got += handle_read_one(h, i, now, to + *got);
		l4s_handle_rearm(h);
	}
	l4s_unlock(&dev->lock);
	return (error);
}

uint64_t
l4s_handle_unread(const struct l4s_handle *h)
{
	uint64_t unread = h->kept.count;
	unsigned i;

	for (i = 0; i < L4S_RINGS; i++)
		if (handle_reads(h, i))
			unread += l4s_cursor_unread(&h->cursors[i],
			    &h->device->rings[i]);
	return (unread);
}

/* Time of the oldest message; L4S_NEVER if no message is available. */
static uint64_t
handle_oldest(const struct l4s_handle *h)
{
	uint64_t time_ns, oldest = L4S_NEVER;
	uint8_t type;
	unsigned i;

	if (h->kept.count != 0)
		oldest = h->kept.time_ns[h->kept.first];
	for (i = 0; i < L4S_RINGS; i++)
		if (handle_reads(h, i) && l4s_cursor_peek(&h->cursors[i],
		    &h->device->rings[i], &type, &time_ns) &&
		    time_ns < oldest)
			oldest = time_ns;
	return (oldest);
}

bool
l4s_handle_ready(struct l4s_handle *h, uint64_t now, uint64_t *deadline)
{
	struct l4s_device *dev = h->device;
	uint64_t wait, oldest;
	bool ready = false;

	*deadline = L4S_NEVER;
	l4s_lock(&dev->lock);
	l4s_device_watch(dev, now);
	if (dev->rings == NULL) {
		l4s_unlock(&dev->lock);
		return (false);
	}
	handle_skip_events(h);
	if (l4s_handle_unread(h) >= handle_enough(h))
		ready = true;
	else if ((wait = h->interval.max_wait_ns) != 0) {
		oldest = handle_oldest(h);
		*deadline = oldest < L4S_NEVER - wait ? oldest + wait :
		    L4S_NEVER;
		ready = now >= *deadline;
	}
	if (!ready)
		l4s_handle_rearm(h);
	l4s_unlock(&dev->lock);
	return (ready);
}

size_t
l4s_handle_waiting(struct l4s_handle *h)
{
	static const size_t sizes[L4S_RINGS] = {
		[L4S_RING_RECORDS] = L4S_RECORD_SIZE,
		[L4S_RING_SUMMARIES] = sizeof(struct l4s_summary),
	};
	struct l4s_device *dev = h->device;
	struct l4s_cursor_account account;
	size_t bytes;
	unsigned i;

	l4s_lock(&dev->lock);
	bytes = (size_t)h->kept.count * L4S_RECORD_SIZE;
	for (i = 0; i < L4S_RINGS; i++)
		if (handle_reads(h, i)) {
			l4s_cursor_account(&h->cursors[i], &dev->rings[i],
			    &account);
			bytes += account.waiting * sizes[i];
		}
	l4s_unlock(&dev->lock);
	return (bytes);
}

void
l4s_handle_on_ready(struct l4s_handle *h, void (*wake)(void *), void *arg)
{
	struct l4s_device *dev = h->device;
	unsigned i;

	l4s_lock(&dev->lock);
	l4s_lock(&dev->wake_lock);
	h->waiter.wake = wake;
	h->waiter.arg = arg;
	l4s_waiter_disarm(&h->waiter);
	l4s_unlock(&dev->wake_lock);
	if (wake != NULL && dev->rings != NULL) {
		for (i = 0; i < L4S_RINGS; i++)
			L4S_STORE(&dev->rings[i].watched, 1);
		l4s_handle_rearm(h);
	}
	l4s_unlock(&dev->lock);
}

/*
 * Number of messages that makes a handle readable.  A reader that asks for more
 * than fit in a small ring is woken while there is time to read them.
 */
static uint64_t
handle_enough(const struct l4s_handle *h)
{
	uint64_t half, enough = h->interval.records;
	unsigned i;

	for (i = 0; i < L4S_RINGS; i++) {
		half = (h->device->rings[i].mask + 1) / 2;
		if (handle_reads(h, i) && half < enough)
			enough = half;
	}
	return (enough);
}

void
l4s_handle_rearm(struct l4s_handle *h)
{
	struct l4s_device *dev = h->device;
	struct l4s_waiter *w = &h->waiter;
	uint64_t enough = handle_enough(h), heads[L4S_RINGS], ahead;
	uint64_t unread = h->kept.count;
	bool passed = false;
	unsigned i;

	for (i = 0; i < L4S_RINGS; i++) {
		heads[i] = l4s_ring_head(&dev->rings[i]);
		if (handle_reads(h, i))
			unread += heads[i] - h->cursors[i].next;
	}
	ahead = unread < enough ? enough - unread : 0;
	if (h->streams == L4S_STREAM_ALL)
		ahead = (ahead + 1) / 2;
	if (h->interval.max_wait_ns != 0 && unread == 0)
		ahead = 1;	/* its deadline begins */

	l4s_lock(&dev->wake_lock);
	if (w->wake != NULL) {
		for (i = 0; i < L4S_RINGS; i++)
			w->at[i] = handle_reads(h, i) ?
			    heads[i] + ahead : UINT64_MAX;
		l4s_device_publish(dev);
		L4S_FENCE_SEQ();
		for (i = 0; i < L4S_RINGS; i++)
			if (l4s_ring_head(&dev->rings[i]) >= w->at[i])
				passed = true;
		if (passed) {
			l4s_waiter_disarm(w);
			l4s_device_publish(dev);
			w->wake(w->arg);
		}
	}
	l4s_unlock(&dev->wake_lock);
}

void
l4s_handle_account(const struct l4s_handle *h, struct l4s_stats *stats)
{
	const struct l4s_kept *k = &h->kept;
	struct l4s_cursor_account account;
	unsigned i;

	stats->records_written += k->read + k->lost + k->events;
	stats->records_read += k->read;
	stats->records_lost += k->lost;
	stats->records_waiting += k->events;
	for (i = 0; i < L4S_RINGS; i++) {
		if (!handle_reads(h, i))
			continue;
		l4s_cursor_account(&h->cursors[i], &h->device->rings[i],
		    &account);
		stats->records_written += account.written;
		stats->records_read += account.read;
		stats->records_lost += account.lost;
		stats->records_waiting += account.waiting;
	}
}
