/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Determines when a link emulated in ticks is free.
 *
 * On each tick, dummynet sends at once what a link of a certain rate would have
 * sent since the previous tick.  The modelled continuous link begins a packet
 * when it arrives at an empty queue, or when the previous packet has left, and
 * is then busy for the packet's transmission time; between two packets of a
 * backlog it is never idle.  Its idle time does not depend on the tick.
 *
 *	packets    ▁▁▁▂▂▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃│▁▁▁▁▁▁▁ waiting for the tick
 *	link       ▁▁▁████████▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁ busy as long as they take
 */

#ifndef _L4S_LINK_H_
#define	_L4S_LINK_H_

#include "osdep.h"

struct l4s_link {
	uint64_t	free_ns;	/* all packets so far are sent */
};

/* A packet was queued in an empty queue. */
static inline void
l4s_link_arrive(struct l4s_link *l, uint64_t now)
{
	if (l->free_ns < now)
		l->free_ns = now;
}

/*
 * At most `spare' ns are left of the tick: the link was busy before. (Ticks may
 * be lost, and a packet may take longer than its length implies.)
 */
static inline void
l4s_link_spare(struct l4s_link *l, uint64_t now, uint64_t spare)
{
	if (spare < now && now - spare > l->free_ns)
		l->free_ns = now - spare;
}

/* A packet leaves with this transmission time. */
static inline void
l4s_link_send(struct l4s_link *l, uint64_t ns)
{
	l->free_ns += ns;
}

#endif /* !_L4S_LINK_H_ */
