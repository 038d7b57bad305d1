/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See kept.h. */

#include "kept.h"

static void
kept_add(struct l4s_kept *k, const struct l4s_loss *message, uint32_t stream,
    uint64_t time_ns)
{
	struct l4s_loss last;
	unsigned place;

	if (message->hdr.type == L4S_RECORD_LOSS)
		k->lost += message->lost;
	if (k->count < L4S_KEPT_MAX) {
		if (message->hdr.type == L4S_RECORD_EVENT)
			k->events++;
		place = (k->first + k->count++) % L4S_KEPT_MAX;
		k->time_ns[place] = time_ns;
		memcpy(k->message[place], message, sizeof(*message));
		return;
	}
	/* The newest becomes a loss of itself, and of all that follow. */
	place = (k->first + k->count - 1) % L4S_KEPT_MAX;
	memcpy(&last, k->message[place], sizeof(last));
	if (last.hdr.type != L4S_RECORD_LOSS) {
		last.hdr.type = L4S_RECORD_LOSS;
		memset((uint8_t *)&last + sizeof(last.hdr), 0,
		    sizeof(last) - sizeof(last.hdr));
		last.lost = 1;
		last.stream = stream;
		k->events--;
		k->lost++;
	}
	if (message->hdr.type == L4S_RECORD_EVENT)
		k->lost++;
	last.lost += message->hdr.type == L4S_RECORD_LOSS ? message->lost : 1;
	memcpy(k->message[place], &last, sizeof(last));
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
			/* What came after the reader had left is no loss. */
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
	k->first = (k->first + 1) % L4S_KEPT_MAX;
	k->count--;
}
