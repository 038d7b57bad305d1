/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The ring's indices: a reader at any place behind a writer, up to some turns
 * of the ring, at the count's beginning and where it passes 2^64.
 */

#include "proofs.h"
#include "../../kmod/ring.c"

#define	CAPACITY	L4S_RING_MIN

#define	SHIFT		L4S_RECORD_SHIFT

static uint64_t words[L4S_RING_BYTES(CAPACITY, SHIFT) / 8];
static struct l4s_ring r;
static struct l4s_cursor c;

static void
any_places(void)
{
	r.words = words;
	r.mask = CAPACITY - 1;
	r.shift = SHIFT - 3;
	c.start = nondet_bool() ? 0 : UINT64_MAX - 20;
	c.read = nondet_u8() & 31;
	c.lost = nondet_u8() & 31;
	c.next = c.start + c.read + c.lost;
	r.head = c.next + (nondet_u8() & 63);
}

/* Each message counts once: read, lost or waiting. */
void
account(void)
{
	struct l4s_cursor_account a;

	any_places();
	l4s_cursor_account(&c, &r, &a);
	assert(a.written == a.read + a.lost + a.waiting);
	assert(a.waiting <= r.mask);
}

/* A read stays in the ring, moves forward, and never past the head. */
void
reading(void)
{
	uint64_t message[L4S_SLOT_WORDS_MAX];
	struct l4s_header hdr = { .length = 8 * (1 + nondet_u8() % 21) };
	uint64_t before;

	any_places();
	/* With a place known, its words are. */
	c.next = c.start + (c.read = 3);
	c.lost = 0;
	r.head = c.next + (nondet_u8() & 63);
	before = c.next;
	memcpy(&words[(c.next & r.mask) << r.shift], &hdr, 8);
	if (l4s_cursor_read(&c, &r, nondet_u64(), message) != 0) {
		assert(c.next - before >= 1);
		assert(c.next - c.start <= r.head - c.start);
		assert(c.next - c.start == c.read + c.lost);
	} else
		assert(before == r.head);
}

/* A write goes to a slot of the ring, and not to one being read next. */
void
writing(void)
{
	uint64_t seq, *to;

	any_places();
	to = l4s_ring_begin(&r, &seq);
	assert(to >= words &&
	    to + ((size_t)1 << r.shift) <= words + nitems(words));
	if (r.head - c.next < r.mask)
		assert(to != &words[(c.next & r.mask) << r.shift] ||
		    c.next == seq);
}
