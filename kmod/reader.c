/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See device.h: the side of a descriptor that reads, and is woken. */

#include "device.h"

static uint64_t	enough(const struct l4s_handle *);

int
l4s_handle_read(struct l4s_handle *h, void *buf, size_t size, uint64_t now,
    size_t *got)
{
	struct l4s_device *dev = h->device;
	uint8_t *to = buf;

	*got = 0;
	if (size < L4S_RECORD_SIZE)
		return (L4S_EINVAL);
	if (dev->ring == NULL)
		return (0);
	l4s_lock(&dev->lock);
	while (size - *got >= L4S_RECORD_SIZE &&
	    l4s_cursor_read(&h->cursor, dev->ring, now, to + *got))
		*got += L4S_RECORD_SIZE;
	l4s_handle_rearm(h);
	l4s_unlock(&dev->lock);
	return (0);
}

bool
l4s_handle_ready(struct l4s_handle *h, uint64_t now, uint64_t *deadline)
{
	struct l4s_device *dev = h->device;
	uint64_t oldest;
	bool ready = false;

	*deadline = L4S_NEVER;
	l4s_lock(&dev->lock);
	l4s_device_watch(dev, now);
	if (dev->ring == NULL) {
		l4s_unlock(&dev->lock);
		return (false);
	}
	if (l4s_cursor_unread(&h->cursor, dev->ring) >= enough(h))
		ready = true;
	else if (h->interval.max_wait_ns != 0 &&
	    l4s_cursor_oldest(&h->cursor, dev->ring, &oldest)) {
		if (oldest > L4S_NEVER - h->interval.max_wait_ns)
			*deadline = L4S_NEVER;
		else
			*deadline = oldest + h->interval.max_wait_ns;
		ready = now >= *deadline;
	}
	if (!ready)
		l4s_handle_rearm(h);
	l4s_unlock(&dev->lock);
	return (ready);
}

void
l4s_handle_on_ready(struct l4s_handle *h, void (*wake)(void *), void *arg)
{
	struct l4s_device *dev = h->device;

	l4s_lock(&dev->lock);
	l4s_lock(&dev->wake_lock);
	h->wake = wake;
	h->wake_arg = arg;
	h->wake_at = UINT64_MAX;
	l4s_unlock(&dev->wake_lock);
	if (wake != NULL && dev->ring != NULL) {
		L4S_STORE(&dev->ring->watched, 1);
		l4s_handle_rearm(h);
	}
	l4s_unlock(&dev->lock);
}

/*
 * Messages that make a handle readable.  Whoever asks for more than a small
 * ring keeps is woken while there is time left to read what it has.
 */
static uint64_t
enough(const struct l4s_handle *h)
{
	uint64_t half = (h->device->ring->mask + 1) / 2;

	return (h->interval.records < half ? h->interval.records : half);
}

/* The least head that an armed handle waits for.  Wake lock held. */
static void
publish(struct l4s_device *dev)
{
	struct l4s_handle *h;
	uint64_t least = UINT64_MAX;

	for (h = dev->handles; h != NULL; h = h->next)
		if (h->wake_at < least)
			least = h->wake_at;
	L4S_STORE(&dev->ring->wake_at, least);
}

/*
 * Arms the handle for when it becomes readable: it is not now, or the reader
 * would not wait.  Nothing is lost between that look and this: the fence and
 * the second look see to it (l4s_ring_notify()).  Device lock held.
 */
void
l4s_handle_rearm(struct l4s_handle *h)
{
	struct l4s_device *dev = h->device;
	uint64_t ahead = enough(h);

	l4s_lock(&dev->wake_lock);
	if (h->wake != NULL) {
		if (h->interval.max_wait_ns != 0 &&
		    l4s_cursor_unread(&h->cursor, dev->ring) == 0)
			ahead = 1;	/* its deadline begins */
		h->wake_at = h->cursor.next + ahead;
		publish(dev);
		L4S_FENCE_SEQ();
		if (l4s_ring_head(dev->ring) >= h->wake_at) {
			h->wake_at = UINT64_MAX;
			publish(dev);
			h->wake(h->wake_arg);
		}
	}
	l4s_unlock(&dev->wake_lock);
}

/* From the packet path; at most L4S_HANDLES_MAX turns. */
void
l4s_device_wake(void *arg)
{
	struct l4s_device *dev = arg;
	struct l4s_handle *h;
	uint64_t head = l4s_ring_head(dev->ring);

	l4s_lock(&dev->wake_lock);
	for (h = dev->handles; h != NULL; h = h->next)
		if (h->wake_at <= head) {
			h->wake_at = UINT64_MAX;
			h->wake(h->wake_arg);
		}
	publish(dev);
	l4s_unlock(&dev->wake_lock);
}
