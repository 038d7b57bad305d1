/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Summaries: logarithms of any number, and merging any two. */

#include "proofs.h"
#include "../../kmod/ring.c"
#include "../../kmod/summary.c"

struct l4s_summary nondet_summary(void);

/*
 * One bit of a logarithm, from the square of m in [2^31, 2^32), which is in
 * [2^62, 2^64).  With e = 1 where a bit was found,
 *
 *	m'  <=  m^2 / 2^(31 + e)  <  m' + 1
 *
 * so that log2 m' is short of 2 log2 m - 31 - e by less than
 * log2(1 + 2^-31) < 2^-30, and m' is again in [2^31, 2^32).
 */
void
log2_bit(void)
{
	uint64_t square = nondet_u64(), m = square;
	unsigned shift = 31;

	__CPROVER_assume(square >> 62 != 0);
	if (log2_halve(&m))
		shift++;
	assert(m >> 31 == 1);
	assert(square >> shift == m);
}

/*
 * The whole: the characteristic is exact, and the argument of log2_halve() is
 * always what log2_bit() assumes, as its assertion states.  The k-th bit's
 * error counts 2^-k, and that of the first m is less than 2^-30: 2^-29 in
 * total, plus the truncated bits.
 */
void
log2_whole(void)
{
	uint64_t x = nondet_u64();
	uint32_t log;

	__CPROVER_assume(x != 0);
	log = l4s_log2_q16(x);
	assert(log >> 16 <= 63);
	assert(x >> (log >> 16) == 1);
}

/* None forwarded, or the minimum sojourn time is at most the maximum. */
static bool
extremes_ok(const struct l4s_summary *s)
{
	const struct l4s_queue_summary *q;
	unsigned i;

	for (i = 0; i < nitems(s->queue); i++) {
		q = &s->queue[i];
		if (q->sojourn_min_ns > q->sojourn_max_ns &&
		    (q->sojourn_min_ns != UINT64_MAX || q->sojourn_max_ns != 0))
			return (false);
		if (q->backlog > q->backlog_max)
			return (false);
	}
	return (s->p_begin <= s->p_max && s->p_end <= s->p_max);
}

/* Extremes stay in order and cover both, for any sums. */
void
merge(void)
{
	struct l4s_summary s = nondet_summary(), later = nondet_summary();
	struct l4s_summary before = s;
	const struct l4s_queue_summary *q, *a, *b;
	unsigned i, j;

	__CPROVER_assume(extremes_ok(&s) && extremes_ok(&later));
	l4s_summary_merge(&s, &later);
	assert(extremes_ok(&s));
	assert(s.begin_ns == before.begin_ns &&
	    s.hdr.time_ns == later.hdr.time_ns);
	for (i = 0; i < nitems(s.queue); i++) {
		q = &s.queue[i];
		a = &before.queue[i];
		b = &later.queue[i];
		assert(q->sojourn_min_ns <= a->sojourn_min_ns &&
		    q->sojourn_min_ns <= b->sojourn_min_ns);
		assert(q->sojourn_max_ns >= a->sojourn_max_ns &&
		    q->sojourn_max_ns >= b->sojourn_max_ns);
		assert(q->backlog_max >= a->backlog_max &&
		    q->backlog_max >= b->backlog_max);
		for (j = 0; j < nitems(q->flows); j++)
			assert(q->flows[j] == (a->flows[j] | b->flows[j]));
	}
}
