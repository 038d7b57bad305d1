/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See flow_weights.h. */

#include "flow_weights.h"

void
l4s_flow_weights_start(struct l4s_flow_weights *w, uint64_t now)
{
	struct l4s_siphash_key key = w->key;

	memset(w, 0, sizeof(*w));
	w->key = key;
	w->since_ns = w->tick_ns = now;
	w->due_ns = now + FLOW_TICK_NS;
	w->first = w->before = FLOW_NONE;
}

/* FLOW_DECAY to the power of n, Q31. */
static uint32_t
flow_decay(uint64_t n)
{
	uint64_t power = FLOW_DECAY, decay = 1U << 31;

	if (n >= 1024)			/* exp(-40): no byte is left of 2^32 */
		return (0);
	for (; n != 0; n >>= 1) {
		if ((n & 1) != 0)
			decay = decay * power >> 31;
		power = power * power >> 31;
	}
	return ((uint32_t)decay);
}

static void
flow_begin(struct l4s_flow_weights *w, uint64_t now)
{
	uint64_t ticks = (now - w->tick_ns) / FLOW_TICK_NS;

	w->tick_ns += ticks * FLOW_TICK_NS;
	w->decay = flow_decay(ticks);
	w->before = FLOW_NONE;
	w->sum = 0;
	w->squares = 0;
}

/* The rate after an update; FLOW_RATE_MAX at most. */
static uint32_t
flow_rate(uint32_t rate, uint32_t decay, uint32_t bytes)
{
	return ((uint32_t)((uint64_t)rate * decay >> 31) + bytes);
}

/* Updates the bucket that *link names; removes it when it is idle. */
static void
flow_visit(struct l4s_flow_weights *w, uint16_t *link)
{
	struct l4s_flow_bucket *b = &w->buckets[*link];
	uint32_t rate = flow_rate(b->rate, w->decay, b->bytes);

	b->bytes = 0;
	b->prior = (uint32_t)((uint64_t)b->prior * w->decay >> 31);
	if (rate < FLOW_RATE_MIN) {
		b->rate = b->prior = 0;
		b->active = false;
		*link = b->next;
		return;
	}
	b->rate = rate;
	w->sum += rate;
	w->squares += (uint64_t)rate * rate;
	w->before = *link;
}

/*
 * sum(r^2) / sum(r), which lies between the least and the greatest r.  The
 * kernel has no division of 128 bits: both are halved until one of 64 does,
 * at most ten times; then sum(r) is still 2^27 or more.
 */
static uint32_t
flow_mean(unsigned __int128 squares, uint64_t sum)
{
	while (squares >> 64 != 0) {
		squares >>= 1;
		sum >>= 1;
	}
	return (sum != 0 ? (uint32_t)((uint64_t)squares / sum) : 0);
}

static void
flow_end(struct l4s_flow_weights *w)
{
	w->mean = flow_mean(w->squares, w->sum);
	w->twice = (uint64_t)w->mean * 2;
	w->inverse = w->mean != 0 ?
	    ((uint64_t)1 << (FLOW_WEIGHT_SHIFT + 32)) / w->mean : 0;
	w->due_ns = w->tick_ns + FLOW_TICK_NS;
}

void
l4s_flow_weights_update(struct l4s_flow_weights *w, uint64_t now)
{
	uint16_t *link;
	unsigned n;

	if (w->due_ns != 0)
		flow_begin(w, now);
	w->due_ns = 0;
	for (n = 0; n < FLOW_SLICE; n++) {
		link = w->before == FLOW_NONE ? &w->first :
		    &w->buckets[w->before].next;
		if (*link == FLOW_NONE) {
			flow_end(w);
			return;
		}
		flow_visit(w, link);
	}
}
