/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Counters as defined in the interface, summed over instances.  The identities
 * of the structs hold in each result, because sums are derived; while the
 * packet path runs in another thread, a packet in transit may be counted as
 * queued.
 */

#ifndef _L4S_STATS_H_
#define	_L4S_STATS_H_

#include "instance.h"

/*
 * Adds an instance's counts to *stats, except those of records, which belong to
 * the descriptor.
 */
void	l4s_stats_add(struct l4s_stats *, struct l4s_instance *);

/* Adds an instance's queues to *queues, as described in struct l4s_queues. */
void	l4s_queues_add(struct l4s_queues *, const struct l4s_instance *,
	    uint64_t now);

#endif /* !_L4S_STATS_H_ */
