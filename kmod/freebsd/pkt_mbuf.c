/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The IP header of an mbuf.  It is read only if it lies completely in the
 * first, mapped mbuf, and written only if no other packet shares it.  Packets
 * for which l4s_pkt_prepare() could not ensure this count as Not-ECT.
 */

#include "pkt.h"
#include "iphdr.h"

static bool
pkt_is_frame(const struct mbuf *m)
{
	return ((l4s_pkt_tag(m)->dn_dir & PROTO_LAYER2) != 0);
}

/* The header, or NULL if it is not IP or not in one piece. */
static uint8_t *
pkt_ip_header(const struct mbuf *m)
{
	int offset = 0;

	if ((m->m_flags & M_EXTPG) != 0)
		return (NULL);
	if (pkt_is_frame(m)) {
		offset = l4s_etherhdr_ip(mtod(m, const uint8_t *), m->m_len);
		if (offset == 0)
			return (NULL);
	}
	if (m->m_len < offset + L4S_IPHDR_LENGTH)
		return (NULL);
	return (mtodo(m, offset));
}

uint8_t
l4s_pkt_ds(const struct mbuf *m)
{
	const uint8_t *h = pkt_ip_header(m);

	return (h != NULL ? l4s_iphdr_ds(h) : 0);
}

uint32_t
l4s_pkt_flow(const struct mbuf *m)
{
	const uint8_t *h;

	if (M_HASHTYPE_ISHASH(m))
		return (m->m_pkthdr.flowid);
	h = pkt_ip_header(m);
	return (h == NULL ? 0 :
	    l4s_iphdr_flow(h, m->m_len - (int)(h - mtod(m, const uint8_t *))));
}

uint64_t
l4s_pkt_hash(const struct mbuf *m, const struct l4s_siphash_key *key)
{
	const uint8_t *h = pkt_ip_header(m);

	return (h == NULL ? 0 : l4s_iphdr_hash(h,
	    m->m_len - (int)(h - mtod(m, const uint8_t *)), key));
}

/*
 * l4s_pkt_prepare() ensured this for every ECT packet; if it no longer holds,
 * the packet is dropped where it would be marked.
 */
bool
l4s_pkt_can_mark(struct mbuf *m)
{
	const uint8_t *h = pkt_ip_header(m);

	return (h != NULL && M_WRITABLE(m) &&
	    l4s_iphdr_ecn(h) != L4S_ECN_NOT_ECT);
}

/*
 * A packet with an IPv4 checksum that the interface will compute (CSUM_IP) has
 * no checksum to correct yet.
 */
void
l4s_pkt_mark(struct mbuf *m)
{
	KASSERT(l4s_pkt_can_mark(m), ("l4s: mbuf %p cannot be marked", m));
	(void)l4s_iphdr_mark(pkt_ip_header(m),
	    (m->m_pkthdr.csum_flags & CSUM_IP) == 0);
}

struct mbuf *
l4s_pkt_prepare(struct mbuf *m, uint8_t *ds)
{
	uint8_t head[L4S_ETHERHDR_LENGTH + L4S_IPHDR_LENGTH];
	int length, offset = 0;

	if (__predict_true(M_WRITABLE(m) && pkt_ip_header(m) != NULL) ||
	    (m->m_flags & M_EXTPG) != 0)
		return (m);
	length = imin(m->m_pkthdr.len, (int)sizeof(head));
	m_copydata(m, 0, length, (caddr_t)head);
	if (pkt_is_frame(m)) {
		offset = l4s_etherhdr_ip(head, length);
		if (offset == 0)
			return (m);
	}
	if (length < offset + L4S_IPHDR_LENGTH)
		return (m);
	*ds = l4s_iphdr_ds(head + offset);
	/* Packets that will not be marked need not be writable. */
	if ((*ds & L4S_ECN_CE) == L4S_ECN_NOT_ECT &&
	    pkt_ip_header(m) != NULL)
		return (m);
	/*
	 * Copies these bytes into an mbuf of the packet, even if they lie
	 * completely in a shared cluster; the tags are moved with them.
	 */
	return (m_pullup(m, offset + L4S_IPHDR_LENGTH));
}

void
l4s_pkt_drop(struct mbuf *m, struct l4s_pkt_sink *sink)
{
	sink->si->ni.drops++;
	V_dn_cfg.io_pkt_drop++;
	m_freem(m);
}
