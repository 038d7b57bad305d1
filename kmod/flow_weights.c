/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See flow_weights.h. */

#include "flow_weights.h"

bool
l4s_flow_tables_add(union l4s_flow_table **list)
{
	union l4s_flow_table *t = l4s_alloc(sizeof(*t));

	if (t == NULL)
		return (false);
	t->next = *list;
	*list = t;
	return (true);
}

void
l4s_flow_tables_free(union l4s_flow_table *list)
{
	union l4s_flow_table *t;

	while ((t = list) != NULL) {
		list = t->next;
		l4s_free(t);
	}
}

void
l4s_flow_weights_start(struct l4s_flow_weights *w, uint64_t now)
{
	struct l4s_siphash_key key = w->key;
	union l4s_flow_table *t = w->table;
	unsigned i;

	memset(w, 0, sizeof(*w));
	w->key = key;
	w->table = t;
	w->tick_ns = now;
	w->due_ns = now + FLOW_TICK_NS;
	w->link = &w->first;
	w->first = FLOW_LAST;
	memset(t, 0, sizeof(*t));
	for (i = 0; i < nitems(t->buckets); i++) {
		t->buckets[i].weight = FLOW_WEIGHT_ONE;
		t->buckets[i].next = FLOW_INACTIVE;
	}
}

/* FLOW_DECAY to the power of n, Q31. */
static uint32_t
flow_decay(uint64_t n)
{
	uint64_t power = FLOW_DECAY, decay = 1U << 31;

	if (n >= 1024)			/* exp(-40): 2^32 decays to below 1 */
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
	w->due_ns = 0;
	w->decay = flow_decay(ticks);
	w->weighing = false;
	w->visited = 0;
	w->link = &w->first;
	w->sum = 0;
	w->squares = 0;
}

/* The rate after an update, at most FLOW_RATE_MAX. */
static uint32_t
flow_rate(uint32_t rate, uint32_t decay, uint32_t bytes)
{
	uint64_t sum = ((uint64_t)rate * decay >> 31) + bytes;

	return (sum < FLOW_RATE_MAX ? (uint32_t)sum : FLOW_RATE_MAX);
}

/*
 * Updates rates and removes idle buckets, at most n; returns the number left.
 */
static unsigned
flow_update_rates(struct l4s_flow_weights *w, unsigned n)
{
	unsigned __int128 squares = w->squares;
	uint64_t sum = w->sum;
	uint32_t decay = w->decay, rate;
	uint16_t *link = w->link;
	struct l4s_flow_bucket *b, *buckets = w->table->buckets;

	for (; n != 0 && *link != FLOW_LAST; n--) {
		b = &buckets[*link];
		rate = flow_rate(b->rate, decay, b->bytes);
		b->bytes = 0;
		if (__predict_false(rate < FLOW_RATE_MIN)) {
			b->rate = 0;
			b->weight = FLOW_WEIGHT_ONE;
			*link = b->next;
			b->next = FLOW_INACTIVE;
			continue;
		}
		b->rate = rate;
		b->prior = (uint32_t)((uint64_t)b->prior * decay >> 31);
		sum += rate;
		squares += (uint64_t)rate * rate;
		link = &b->next;
	}
	w->squares = squares;
	w->sum = sum;
	w->link = link;
	return (n);
}

/*
 * sum(r^2) / sum(r), which is between the minimum and the maximum of r.  The
 * kernel has no 128-bit division, so both are halved, at most ten times, until
 * a 64-bit division suffices; sum(r) is then still at least 2^22.
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

/* All rates are known: computes mu, the reference of the weights. */
static void
flow_weigh_all(struct l4s_flow_weights *w)
{
	w->mean = flow_mean(w->squares, w->sum);
	w->inverse = w->mean != 0 ?
	    ((uint64_t)1 << (FLOW_WEIGHT_SHIFT + 32)) / w->mean : 0;
	w->weighing = true;
	w->link = &w->first;
}

/*
 * f, rounded to the nearest, from a rate and the mean, given as the inverse
 * 2^46 / mu.  Below 2 mu the product is below 2^47.
 */
static uint16_t
flow_weight(uint64_t rate, uint32_t mean, uint64_t inverse)
{
	uint32_t f;

	if (rate >= (uint64_t)mean * 2)
		return (FLOW_WEIGHT_MAX);
	f = (uint32_t)((rate * inverse + (1U << 31)) >> 32);
	return (f < FLOW_WEIGHT_MIN ? FLOW_WEIGHT_MIN : (uint16_t)f);
}

/* Updates weights, at most n; returns the number left. */
static unsigned
flow_update_weights(struct l4s_flow_weights *w, unsigned n)
{
	uint64_t inverse = w->inverse;
	uint32_t mean = w->mean;
	uint16_t *link = w->link;
	struct l4s_flow_bucket *b, *buckets = w->table->buckets;

	for (; n != 0 && *link != FLOW_LAST; n--) {
		b = &buckets[*link];
		/* A flow that arrived in the meantime has no rate yet. */
		if (__predict_true(b->rate != 0))
			b->weight = flow_weight((uint64_t)b->rate + b->prior,
			    mean, inverse);
		link = &b->next;
	}
	w->link = link;
	return (n);
}

/* Time to the next update. */
static unsigned
flow_ticks(const struct l4s_flow_weights *w)
{
	unsigned ticks = 1 + w->visited / FLOW_TICK_BUCKETS;

	return (ticks < FLOW_TICKS_MAX ? ticks : FLOW_TICKS_MAX);
}

void
l4s_flow_weights_update(struct l4s_flow_weights *w, uint64_t now)
{
	unsigned n = FLOW_SLICE;

	if (w->due_ns != 0)
		flow_begin(w, now);
	if (!w->weighing) {
		n = flow_update_rates(w, n);
		w->visited += FLOW_SLICE - n;
		if (n == 0)
			return;
		flow_weigh_all(w);
	}
	if (flow_update_weights(w, n) != 0)
		w->due_ns = w->tick_ns + flow_ticks(w) * FLOW_TICK_NS;
}
