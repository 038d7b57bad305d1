/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The counters of an instance.  Only the packet path writes them, with
 * L4S_COUNT and L4S_STORE; any thread may read them: see stats.h.
 *
 * Arrivals are counted in struct dualpi2_queue, because records carry them.
 * The reader computes the sums.  It computes only one difference, the backlog:
 * when two counters are read while packets pass, their difference may decrease.
 */

#ifndef _L4S_COUNTERS_H_
#define	_L4S_COUNTERS_H_

#include "osdep.h"
#include "dualpi2.h"
#include "l4sllm_abi.h"

struct l4s_queue_counters {
	uint64_t	forwarded_bytes;
	uint64_t	dropped_bytes;
	uint64_t	marked;
	uint64_t	marked_bytes;
	uint64_t	drops_tail;
	uint64_t	drops_ecn;	/* by AQM or override */
	uint64_t	drops_not_ect;	/* likewise */
	uint64_t	drops_flush;
	uint64_t	drops_base;	/* drops_ecn and _not_ect by the AQM */
	uint64_t	drops_override;	/* and by an override */
	uint64_t	marks_classic;
	uint64_t	marks_native;
	uint64_t	marks_coupled;
	uint64_t	marks_override;
	uint64_t	delay_sum_ns;	/* over those forwarded */
	uint64_t	delay_max_ns;
	uint32_t	queued_max;
	uint32_t	queued_bytes_max;
	uint64_t	delays[L4S_DELAY_BINS];	/* forwarded, by their wait */
};

struct l4s_counters {
	struct l4s_queue_counters queue[2]; /* L4S_QUEUE_CLASSIC, _L4S */
	uint64_t	refused[L4S_REASON_COUNT];
	uint64_t	decisions;	/* at dequeue; packet path only */
	uint64_t	overridden;
	uint64_t	overloads;
	uint64_t	overload_ns;
	uint32_t	overload;	/* 1 while in it */
};

/* The bin of l4s_queue_stats.delays[] that a delay belongs to. */
static inline unsigned
l4s_delay_bin(uint64_t ns)
{
	unsigned octave, bin;

	if (ns < L4S_DELAY_BIN_NS(1))
		return (0);
	octave = 63 - (unsigned)__builtin_clzll(ns);
	bin = 1 + 2 * (octave - 14) + ((ns >> (octave - 1)) & 1);
	return (bin < L4S_DELAY_BINS ? bin : L4S_DELAY_BINS - 1);
}

/*
 * Maxima are kept for two spans at once: a summary's interval, with its maximum
 * so far in *peak, and the whole lifetime, with a maximum that is at least as
 * large.
 */
static inline void
l4s_count_forwarded(struct l4s_queue_counters *q, uint64_t *peak,
    uint32_t length, uint64_t delay_ns)
{
	L4S_COUNT(&q->delays[l4s_delay_bin(delay_ns)], 1);
	L4S_COUNT(&q->forwarded_bytes, length);
	L4S_COUNT(&q->delay_sum_ns, delay_ns);
	if (__predict_false(delay_ns > *peak)) {
		*peak = delay_ns;
		if (delay_ns > q->delay_max_ns)
			L4S_STORE(&q->delay_max_ns, delay_ns);
	}
}

/*
 * Must be called after a packet was queued: updates the high-water marks from
 * the backlog in struct dualpi2_queue.
 */
static inline void
l4s_count_backlog(struct l4s_queue_counters *q, uint32_t *peak,
    uint64_t backlog)
{
	uint32_t packets = dualpi2_packets(backlog);
	uint32_t bytes = dualpi2_bytes(backlog);

	if (__predict_false(packets > *peak)) {
		*peak = packets;
		if (packets > q->queued_max)
			L4S_STORE(&q->queued_max, packets);
	}
	if (__predict_false(bytes > q->queued_bytes_max))
		L4S_STORE(&q->queued_bytes_max, bytes);
}

#endif /* !_L4S_COUNTERS_H_ */
