/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See kept.h. */

#include "kept.h"

static unsigned
kept_place(const struct l4s_kept *k, unsigned i)
{
	return ((k->first + i) % L4S_KEPT_PLACES);
}

static void
kept_put(struct l4s_kept *k, const struct l4s_loss *message, uint64_t time_ns)
{
	unsigned place = kept_place(k, k->count++);

	k->time_ns[place] = time_ns;
	memcpy(k->message[place], message, sizeof(*message));
}

/*
 * Adds to a loss of its stream after the last event; false if none exists.
 */
static bool
kept_lose(struct l4s_kept *k, const struct l4s_loss *loss)
{
	struct l4s_loss last;
	unsigned i = k->count, place;

	while (i-- != 0) {
		place = kept_place(k, i);
		memcpy(&last, k->message[place], sizeof(last));
		if (last.hdr.type != L4S_RECORD_LOSS)
			break;
		if (last.stream != loss->stream)
			continue;
		last.lost += loss->lost;
		memcpy(k->message[place], &last, sizeof(last));
		return (true);
	}
	return (false);
}

static void
kept_add(struct l4s_kept *k, const struct l4s_loss *message, uint32_t stream,
    uint64_t time_ns)
{
	struct l4s_loss loss = {
		.hdr = message->hdr,
		.lost = 1,
		.stream = stream,
	};

	if (k->count < L4S_KEPT_MAX && message->hdr.type == L4S_RECORD_EVENT) {
		k->events++;
		kept_put(k, message, time_ns);
		return;
	}
	if (message->hdr.type == L4S_RECORD_LOSS)
		loss = *message;
	loss.hdr.type = L4S_RECORD_LOSS;
	k->lost += loss.lost;
	if (!kept_lose(k, &loss))
		kept_put(k, &loss, time_ns);
}

void
l4s_kept_take(struct l4s_kept *k, struct l4s_cursor c, const struct l4s_ring *r,
    uint64_t from, uint64_t head, bool losses, uint64_t now)
{
	uint64_t message[L4S_SLOT_WORDS_MAX], time_ns, first;
	struct l4s_loss loss;
	uint8_t type;

	while ((int64_t)(head - c.next) > 0 &&
	    l4s_cursor_peek(&c, r, &type, &time_ns)) {
		if (type != L4S_RECORD_EVENT && type != L4S_RECORD_LOSS) {
			l4s_cursor_skip(&c);
			continue;
		}
		first = c.next;
		(void)l4s_cursor_read(&c, r, now, message);
		memcpy(&loss, message, sizeof(loss));
		if (loss.hdr.type == L4S_RECORD_LOSS) {
			if (!losses)
				continue;
			/*
			 * Messages written after the reader left are not lost.
			 */
			if ((int64_t)(c.next - head) > 0)
				loss.lost = head - first;
		} else if (loss.hdr.type != L4S_RECORD_EVENT || first < from)
			continue;
		kept_add(k, &loss, r->stream, time_ns);
	}
}

void
l4s_kept_read(struct l4s_kept *k, void *buf)
{
	struct l4s_header hdr;

	L4S_ASSERT(k->count != 0);
	memcpy(&hdr, k->message[k->first], sizeof(hdr));
	if (hdr.type == L4S_RECORD_EVENT) {
		k->events--;
		k->read++;
	}
	memcpy(buf, k->message[k->first], L4S_RECORD_SIZE);
	k->first = kept_place(k, 1);
	k->count--;
}
