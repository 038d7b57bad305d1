/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The ring's indices: a reader at any position behind a writer, up to a few
 * revolutions of the ring, at the beginning of the count and where it passes
 * 2^64.
 *
 * Assumptions that bound the proofs: the smallest ring; slots of the sizes of a
 * device's two rings, in sequence; messages of the lengths written to them; a
 * reader that has read three messages and lost none before it reads, up to 63
 * behind the writer; a writer that is idle in the meantime
 * (tests/kmod/threads.c covers a busy one).
 */

#include "proofs.h"
#include "../../kmod/ring.c"

#define	CAPACITY	L4S_RING_MIN
#define	NEAR_WRAP	(UINT64_MAX - 20)

static uint64_t records[L4S_RING_BYTES(CAPACITY, L4S_RECORD_SHIFT) / 8];
static uint64_t summaries[L4S_RING_BYTES(CAPACITY, L4S_SUMMARY_SHIFT) / 8];
static struct l4s_ring r;
static struct l4s_cursor c;

static void
ring_of(uint64_t *words, unsigned shift)
{
	r.words = words;
	r.mask = CAPACITY - 1;
	r.shift = shift - 3;
}

static void
any_places(void)
{
	c.start = nondet_bool() ? 0 : NEAR_WRAP;
	c.read = nondet_u8() & 31;
	c.lost = nondet_u8() & 31;
	c.next = c.start + c.read + c.lost;
	r.head = c.next + (nondet_u8() & 63);
}

/* Each message counts exactly once: read, lost or waiting. */
void
account(void)
{
	struct l4s_cursor_account a;

	ring_of(records, L4S_RECORD_SHIFT);
	any_places();
	l4s_cursor_account(&c, &r, &a);
	assert(a.written == a.read + a.lost + a.waiting);
	assert(a.waiting <= r.mask);
}

/*
 * A read stays in the ring and in the caller's buffer, and moves forward, never
 * past the head.
 */
static void
read_one(uint64_t start, uint64_t ahead, uint32_t length)
{
	static uint64_t message[L4S_SLOT_WORDS_MAX];
	union {
		struct l4s_header hdr;
		uint64_t word;
	} first = { .hdr = { .length = length } };
	size_t got;

	c.start = start;
	c.next = start + 3;
	c.read = 3;
	c.lost = 0;
	r.head = c.next + ahead;
	r.words[(c.next & r.mask) << r.shift] = first.word;
	got = l4s_cursor_read(&c, &r, nondet_u64(), message);
	if (got == 0)
		assert(ahead == 0 && c.next == r.head);
	else {
		assert(c.next - start > 3);
		assert(c.next - start <= r.head - start);
		assert(c.next - start == c.read + c.lost);
		assert(got == (c.lost == 0 ? length : L4S_RECORD_SIZE));
	}
}

/* In sequence: a constant index is cheap to look up. */
static void
read_each(uint32_t length)
{
	uint64_t ahead;

	for (ahead = 0; ahead < 64; ahead++) {
		read_one(0, ahead, length);
		read_one(NEAR_WRAP, ahead, length);
	}
}

void
reading_record(void)
{
	ring_of(records, L4S_RECORD_SHIFT);
	read_each(L4S_RECORD_SIZE);
}

/*
 * The longest message, at the ends of the unread range: messages further back
 * are lost and not read, which reading_event() covers at each distance.
 */
void
reading_summary(void)
{
	const uint32_t length = sizeof(struct l4s_summary);

	ring_of(summaries, L4S_SUMMARY_SHIFT);
	read_one(0, 1, length);
	read_one(0, CAPACITY - 1, length);
	read_one(NEAR_WRAP, 1, length);
	read_one(NEAR_WRAP, CAPACITY - 1, length);
}

/* Events and losses also come in the ring of summaries. */
void
reading_event(void)
{
	ring_of(summaries, L4S_SUMMARY_SHIFT);
	read_each(L4S_RECORD_SIZE);
}

/* A write goes to a slot of the ring, but not to one being read next. */
static void
write_to(uint64_t *words, size_t size, unsigned shift)
{
	uint64_t seq, *to;

	ring_of(words, shift);
	any_places();
	to = l4s_ring_begin(&r, r.shift, &seq);
	assert(to >= words && to + ((size_t)1 << r.shift) <= words + size);
	if (r.head - c.next < r.mask)
		assert(to != &words[(c.next & r.mask) << r.shift] ||
		    c.next == seq);
}

void
writing_record(void)
{
	write_to(records, nitems(records), L4S_RECORD_SHIFT);
}

void
writing_summary(void)
{
	write_to(summaries, nitems(summaries), L4S_SUMMARY_SHIFT);
}
