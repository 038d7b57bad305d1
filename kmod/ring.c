/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See ring.h. */

#include "ring.h"

#define	TIME_WORD	(offsetof(struct l4s_header, time_ns) / 8)

void
l4s_ring_init(struct l4s_ring *r, uint64_t *words, uint32_t capacity)
{
	L4S_ASSERT(l4s_ring_capacity_ok(capacity));
	memset(words, 0, L4S_RING_BYTES(capacity));
	memset(r, 0, sizeof(*r));
	r->words = words;
	r->mask = capacity - 1;
	r->wake_at = UINT64_MAX;
}

void
l4s_cursor_init(struct l4s_cursor *c, const struct l4s_ring *r)
{
	c->start = c->next = l4s_ring_head(r);
	c->read = c->lost = 0;
}

/*
 * Copies words first..first+count-1 of message seq; false if it has been, or
 * may be being, overwritten.
 */
static bool
ring_copy(const struct l4s_ring *r, uint64_t seq, unsigned first,
    unsigned count, uint64_t *to)
{
	const uint64_t *words = &r->words[(seq & r->mask) * L4S_MESSAGE_WORDS];
	unsigned i;

	for (i = 0; i < count; i++)
		to[i] = L4S_LOAD(&words[first + i]);
	/* Pairs with the fence of l4s_ring_begin(). */
	L4S_FENCE_ACQ();
	return (L4S_LOAD(&r->head) - seq <= r->mask);
}

/* The oldest message that can still be read. */
static uint64_t
ring_oldest(const struct l4s_cursor *c, const struct l4s_ring *r, uint64_t head)
{
	return (head - c->next > r->mask ? head - r->mask : c->next);
}

static void
ring_write_loss(uint64_t first, uint64_t lost, uint64_t now, void *buf)
{
	struct l4s_loss loss;

	memset(&loss, 0, sizeof(loss));
	loss.hdr.version = L4S_ABI_VERSION;
	loss.hdr.type = L4S_RECORD_LOSS;
	loss.hdr.length = L4S_RECORD_SIZE;
	loss.hdr.seq = first;
	loss.hdr.time_ns = now;
	loss.lost = lost;
	loss.stream = L4S_STREAM_RECORDS;
	memcpy(buf, &loss, sizeof(loss));	/* buf may be unaligned */
}

bool
l4s_cursor_read(struct l4s_cursor *c, const struct l4s_ring *r, uint64_t now,
    void *buf)
{
	uint64_t head, next, message[L4S_MESSAGE_WORDS];

	head = l4s_ring_head(r);
	if (head == c->next)
		return (false);
	next = ring_oldest(c, r, head);
	if (next == c->next) {
		if (ring_copy(r, next, 0, L4S_MESSAGE_WORDS, message)) {
			memcpy(buf, message, sizeof(message));
			c->next++;
			c->read++;
			return (true);
		}
		/* Lapped while it was being copied. */
		head = l4s_ring_head(r);
		next = ring_oldest(c, r, head);
	}
	ring_write_loss(c->next, next - c->next, now, buf);
	c->lost += next - c->next;
	c->next = next;
	return (true);
}

bool
l4s_cursor_oldest(const struct l4s_cursor *c, const struct l4s_ring *r,
    uint64_t *time_ns)
{
	uint64_t head = l4s_ring_head(r);

	if (head == c->next)
		return (false);
	/* Overwritten meanwhile: it was older than any time that matters. */
	if (!ring_copy(r, ring_oldest(c, r, head), TIME_WORD, 1, time_ns))
		*time_ns = 0;
	return (true);
}

void
l4s_cursor_account(const struct l4s_cursor *c, const struct l4s_ring *r,
    struct l4s_cursor_account *a)
{
	uint64_t head = l4s_ring_head(r);
	uint64_t next = ring_oldest(c, r, head);

	a->written = head - c->start;
	a->read = c->read;
	a->lost = c->lost + (next - c->next);
	a->waiting = head - next;
}
