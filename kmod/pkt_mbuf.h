/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A packet in the kernel: an mbuf with dummynet's tag before its other tags.
 * Fields that dummynet does not need while a scheduler holds the packet are
 * used here: the list pointer m_nextpkt, and the tag's output_time, which
 * stores the arrival and which dummynet sets when the packet leaves.  Twice the
 * nanoseconds fit in its 64 bits for 292 years of uptime; its lowest bit is
 * l4s_pkt_queued().  The bucket of the packet's flow is in the tag's iphdr_off,
 * which only dummynet's other queue disciplines read, and none of them after a
 * scheduler.
 */

#ifndef _L4S_PKT_MBUF_H_
#define	_L4S_PKT_MBUF_H_

#include "freebsd/dn_shim.h"

typedef struct mbuf l4s_pkt_t;

/* Counter of an instance's dropped packets. */
struct l4s_pkt_sink {
	struct dn_sch_inst *si;
};

/*
 * Makes the IP header of an ECT packet contiguous and writable, so that a mark
 * cannot fail later.  NULL if memory was short: the packet was freed, with DSCP
 * and ECN left in *ds.
 */
struct mbuf	*l4s_pkt_prepare(struct mbuf *, uint8_t *ds);

uint8_t		 l4s_pkt_ds(const struct mbuf *);
/* The interface's hash of its flow, or a hash of its addresses and ports. */
uint32_t	 l4s_pkt_flow(const struct mbuf *);
/*
 * Never the interface's hash, whose key senders may know. 0: not IP, or some of
 * its addresses are outside the first mbuf.
 */
uint64_t	 l4s_pkt_hash(const struct mbuf *,
		    const struct l4s_siphash_key *);
bool		 l4s_pkt_can_mark(struct mbuf *);
void		 l4s_pkt_mark(struct mbuf *);
void		 l4s_pkt_drop(struct mbuf *, struct l4s_pkt_sink *);

static inline uint8_t
l4s_pkt_ecn(const struct mbuf *m)
{
	return (l4s_pkt_ds(m) & L4S_ECN_CE);
}

static inline struct dn_pkt_tag *
l4s_pkt_tag(const struct mbuf *m)
{
	struct m_tag *tag = SLIST_FIRST(&m->m_pkthdr.tags);

	KASSERT(tag != NULL && tag->m_tag_cookie == MTAG_ABI_COMPAT &&
	    tag->m_tag_id == PACKET_TAG_DUMMYNET,
	    ("l4s: mbuf %p without dummynet's tag", m));
	return ((struct dn_pkt_tag *)(tag + 1));
}

static inline uint32_t
l4s_pkt_length(const struct mbuf *m)
{
	return ((uint32_t)m->m_pkthdr.len);
}

static inline struct mbuf *
l4s_pkt_next(const struct mbuf *m)
{
	return (m->m_nextpkt);
}

static inline void
l4s_pkt_set_next(struct mbuf *m, struct mbuf *next)
{
	m->m_nextpkt = next;
}

static inline uint64_t
l4s_pkt_arrival(const struct mbuf *m)
{
	return (l4s_pkt_tag(m)->output_time >> 1);
}

static inline bool
l4s_pkt_queued(const struct mbuf *m)
{
	return ((l4s_pkt_tag(m)->output_time & 1) != 0);
}

static inline void
l4s_pkt_set_arrival(struct mbuf *m, uint64_t ns, bool queued)
{
	l4s_pkt_tag(m)->output_time = ns << 1 | (queued ? 1 : 0);
}

static inline uint16_t
l4s_pkt_bucket(const struct mbuf *m)
{
	return (l4s_pkt_tag(m)->iphdr_off);
}

static inline void
l4s_pkt_set_bucket(struct mbuf *m, uint16_t bucket)
{
	l4s_pkt_tag(m)->iphdr_off = bucket;
}

/* Unused in the kernel: records report the decision. */
static inline void
l4s_pkt_decided(struct mbuf *m, uint8_t queue, uint8_t action, uint8_t reason,
    uint64_t sojourn_ns)
{
	(void)m, (void)queue, (void)action, (void)reason, (void)sojourn_ns;
}

#endif /* !_L4S_PKT_MBUF_H_ */
