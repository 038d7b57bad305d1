/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See ring.h. */

#include "ring.h"

#define	HEADER_WORDS	(sizeof(struct l4s_header) / 8)
_Static_assert(sizeof(struct l4s_header) % 8 == 0, "headers are whole words");

void
l4s_ring_init(struct l4s_ring *r, uint64_t *words, uint32_t capacity,
    unsigned shift, uint32_t stream)
{
	L4S_ASSERT(l4s_ring_capacity_ok(capacity));
	memset(words, 0, L4S_RING_BYTES(capacity, shift));
	memset(r, 0, sizeof(*r));
	r->words = words;
	r->mask = capacity - 1;
	r->shift = shift - 3;
	r->stream = stream;
	r->wake_at = UINT64_MAX;
}

void
l4s_rings_init(struct l4s_ring rings[L4S_RINGS], uint64_t *words,
    uint32_t capacity)
{
	l4s_ring_init(&rings[L4S_RING_RECORDS], words, capacity,
	    L4S_RECORD_SHIFT, L4S_STREAM_RECORDS);
	words += L4S_RING_BYTES(capacity, L4S_RECORD_SHIFT) / 8;
	l4s_ring_init(&rings[L4S_RING_SUMMARIES], words,
	    L4S_RINGS_SUMMARIES(capacity), L4S_SUMMARY_SHIFT,
	    L4S_STREAM_SUMMARIES);
}

void
l4s_ring_write(struct l4s_ring *r, struct l4s_header *hdr)
{
	const uint8_t *from = (const uint8_t *)hdr;
	const size_t words = hdr->length / 8;	/* w may alias hdr */
	uint64_t *w, word;
	size_t i;

	w = l4s_ring_begin(r, r->shift, &hdr->seq);
	for (i = 0; i < words; i++) {
		memcpy(&word, from + i * 8, sizeof(word));
		L4S_STORE(&w[i], word);
	}
	l4s_ring_commit(r, r->shift, hdr->seq, w);
}

void
l4s_cursor_init(struct l4s_cursor *c, const struct l4s_ring *r)
{
	l4s_cursor_start(c, l4s_ring_head(r));
}

void
l4s_cursor_start(struct l4s_cursor *c, uint64_t seq)
{
	c->start = c->next = seq;
	c->read = c->lost = 0;
}

/*
 * Copies the first `count' words of message seq, or all of it if it is shorter.
 * Returns its length in bytes; 0 if it has been, or may be being, overwritten.
 */
static size_t
ring_copy(const struct l4s_ring *r, uint64_t seq, size_t count, uint64_t *to)
{
	const uint64_t *words = &r->words[(seq & r->mask) << r->shift];
	struct l4s_header hdr;
	size_t i;

	to[0] = L4S_LOAD(&words[0]);
	memcpy(&hdr, to, sizeof(to[0]));
	/* The length of a message that is being overwritten is arbitrary. */
	if (count > hdr.length / 8)
		count = hdr.length / 8;
	for (i = 1; i < count; i++)
		to[i] = L4S_LOAD(&words[i]);
	/* Pairs with the fence of l4s_ring_begin(). */
	L4S_FENCE_ACQ();
	return (L4S_LOAD(&r->head) - seq <= r->mask ? hdr.length : 0);
}

/* The oldest message that can still be read. */
static uint64_t
ring_oldest(const struct l4s_cursor *c, const struct l4s_ring *r, uint64_t head)
{
	return (head - c->next > r->mask ? head - r->mask : c->next);
}

static void
ring_write_loss(const struct l4s_ring *r, uint64_t first, uint64_t lost,
    uint64_t now, void *buf)
{
	struct l4s_loss loss;

	memset(&loss, 0, sizeof(loss));
	loss.hdr.version = L4S_ABI_VERSION;
	loss.hdr.type = L4S_RECORD_LOSS;
	loss.hdr.length = L4S_RECORD_SIZE;
	loss.hdr.seq = first;
	loss.hdr.time_ns = now;
	loss.lost = lost;
	loss.stream = r->stream;
	memcpy(buf, &loss, sizeof(loss));	/* buf may be unaligned */
}

size_t
l4s_cursor_read(struct l4s_cursor *c, const struct l4s_ring *r, uint64_t now,
    void *buf)
{
	uint64_t head, next, message[L4S_SLOT_WORDS_MAX];
	size_t length;

	head = l4s_ring_head(r);
	if (head == c->next)
		return (0);
	next = ring_oldest(c, r, head);
	if (next == c->next) {
		length = ring_copy(r, next, (size_t)1 << r->shift, message);
		if (length != 0) {
			memcpy(buf, message, length);
			l4s_cursor_skip(c);
			return (length);
		}
		/* Lapped while it was being copied. */
		head = l4s_ring_head(r);
		next = ring_oldest(c, r, head);
	}
	ring_write_loss(r, c->next, next - c->next, now, buf);
	c->lost += next - c->next;
	c->next = next;
	return (L4S_RECORD_SIZE);
}

void
l4s_cursor_skip(struct l4s_cursor *c)
{
	c->next++;
	c->read++;
}

bool
l4s_cursor_peek(const struct l4s_cursor *c, const struct l4s_ring *r,
    uint8_t *type, uint64_t *time_ns)
{
	uint64_t head = l4s_ring_head(r), words[HEADER_WORDS], oldest;
	struct l4s_header hdr;

	if (head == c->next)
		return (false);
	oldest = ring_oldest(c, r, head);
	if (ring_copy(r, oldest, HEADER_WORDS, words) == 0) {
		/* Reported as 0: older than any relevant time. */
		*type = L4S_RECORD_LOSS;
		*time_ns = 0;
		return (true);
	}
	memcpy(&hdr, words, sizeof(hdr));
	*type = oldest == c->next ? hdr.type : L4S_RECORD_LOSS;
	*time_ns = hdr.time_ns;
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
