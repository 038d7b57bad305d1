/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The queue's interface to packets, with two implementations:
 *
 *	pkt_mbuf.h	struct mbuf, in the kernel
 *	pkt_user.h	a cookie with a length, in userspace
 *
 * Each defines l4s_pkt_t and, as static inline functions:
 *
 *	uint32_t   l4s_pkt_length(p)	bytes, IP header included
 *	uint8_t    l4s_pkt_ds(p)	DSCP and ECN, as in the IP header; 0 if
 *					it is not IP
 *	uint8_t    l4s_pkt_ecn(p)	L4S_ECN_*: its last two bits
 *	uint32_t   l4s_pkt_flow(p)	a number that packets of a flow share
 *	uint64_t   l4s_pkt_hash(p, key)	likewise, but keyed: SipHash of the flow's
 *					identity; 0: it has none
 *	bool       l4s_pkt_can_mark(p)	false: Not-ECT, or its header cannot be
 *					written; holds until the packet leaves
 *	void       l4s_pkt_mark(p)	sets CE; only if l4s_pkt_can_mark()
 *	l4s_pkt_t *l4s_pkt_next(p)	the queue's linked list
 *	void       l4s_pkt_set_next(p, next)
 *	uint64_t   l4s_pkt_arrival(p)	ns, as set
 *	bool       l4s_pkt_queued(p)	as set: it found Th_len packets waiting
 *	void       l4s_pkt_set_arrival(p, ns, queued)
 *	uint16_t   l4s_pkt_bucket(p)	as set (flow_weights.h)
 *	void       l4s_pkt_set_bucket(p, bucket)
 *	void       l4s_pkt_decided(p, queue, action, reason, sojourn_ns)
 *	void       l4s_pkt_drop(p, sink)	releases it; sink is the
 *					instance's
 */

#ifndef _L4S_PKT_H_
#define	_L4S_PKT_H_

#include "osdep.h"
#include "l4sllm_abi.h"
#include "siphash.h"

#ifdef _KERNEL
#include "pkt_mbuf.h"
#else
#include "pkt_user.h"
#endif

#endif /* !_L4S_PKT_H_ */
