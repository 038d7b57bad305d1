/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Counters as the interface gives them, added up over instances.  The
 * identities of the structs hold in each result, since sums are derived; while
 * the packet path runs in another thread, a packet on its way may be counted
 * as queued.
 */

#ifndef _L4S_STATS_H_
#define	_L4S_STATS_H_

#include "instance.h"

/*
 * Adds an instance's counts to *stats.  Those of records are the descriptor's.
 */
void	l4s_stats_add(struct l4s_stats *, struct l4s_instance *);

/* Adds an instance's queues to *queues, as struct l4s_queues says. */
void	l4s_queues_add(struct l4s_queues *, const struct l4s_instance *,
	    uint64_t now);

#endif /* !_L4S_STATS_H_ */
