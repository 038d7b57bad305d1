/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The IP header of an mbuf.  It is looked at only where it lies whole in the
 * first, mapped mbuf, and written only where no other packet shares it; a
 * packet for which that is not so counts as Not-ECT, after l4s_pkt_prepare()
 * has done what can be done about it.
 */

#include "pkt.h"
#include "iphdr.h"

#include <net/ethernet.h>

/* Where the IP header begins, seen from the start of the mbuf chain. */
static int
pkt_ip_offset(const struct mbuf *m)
{
	return ((l4s_pkt_tag(m)->dn_dir & PROTO_LAYER2) != 0 ?
	    ETHER_HDR_LEN : 0);
}

static bool
pkt_frame_is_ip(const uint8_t *ethertype)
{
	uint16_t type = (uint16_t)(ethertype[0] << 8 | ethertype[1]);

	return (type == ETHERTYPE_IP || type == ETHERTYPE_IPV6);
}

/* The header, or NULL if it is not IP or not in one piece. */
static uint8_t *
pkt_ip_header(const struct mbuf *m)
{
	int offset = pkt_ip_offset(m);
	uint8_t *h;

	if ((m->m_flags & M_EXTPG) != 0 ||
	    m->m_len < offset + L4S_IPHDR_LENGTH)
		return (NULL);
	h = mtodo(m, offset);
	if (offset != 0 && !pkt_frame_is_ip(h - 2))
		return (NULL);
	return (h);
}

uint8_t
l4s_pkt_ecn(const struct mbuf *m)
{
	const uint8_t *h = pkt_ip_header(m);

	return (h != NULL ? l4s_iphdr_ecn(h) : L4S_ECN_NOT_ECT);
}

/*
 * l4s_pkt_prepare() made it so for every ECT packet; should it not hold any
 * more, the packet is dropped where it would be marked.
 */
bool
l4s_pkt_can_mark(struct mbuf *m)
{
	const uint8_t *h = pkt_ip_header(m);

	return (h != NULL && M_WRITABLE(m) &&
	    l4s_iphdr_ecn(h) != L4S_ECN_NOT_ECT);
}

/*
 * A packet whose IPv4 checksum the interface is to compute (CSUM_IP) has none
 * yet that could be corrected.
 */
void
l4s_pkt_mark(struct mbuf *m)
{
	KASSERT(l4s_pkt_can_mark(m), ("l4s: mbuf %p cannot be marked", m));
	(void)l4s_iphdr_mark(pkt_ip_header(m),
	    (m->m_pkthdr.csum_flags & CSUM_IP) == 0);
}

struct mbuf *
l4s_pkt_prepare(struct mbuf *m, uint8_t *ecn)
{
	int offset = pkt_ip_offset(m);
	int need = offset + L4S_IPHDR_LENGTH;
	uint8_t head[ETHER_HDR_LEN + L4S_IPHDR_LENGTH];

	if (__predict_true(m->m_len >= need && M_WRITABLE(m)))
		return (m);
	if (m->m_pkthdr.len < need || (m->m_flags & M_EXTPG) != 0)
		return (m);
	m_copydata(m, 0, need, (caddr_t)head);
	*ecn = l4s_iphdr_ecn(head + offset);
	if ((offset != 0 && !pkt_frame_is_ip(head + offset - 2)) ||
	    *ecn == L4S_ECN_NOT_ECT)
		return (m);
	/*
	 * Copies these bytes into an mbuf of the packet's own, also when they
	 * lie whole in a cluster that others share; the tags move along.
	 */
	return (m_pullup(m, need));
}

void
l4s_pkt_drop(struct mbuf *m, struct l4s_pkt_sink *sink)
{
	sink->si->ni.drops++;
	V_dn_cfg.io_pkt_drop++;
	m_freem(m);
}
