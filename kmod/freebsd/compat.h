/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Differences between FreeBSD 13.2, 14.x and 15, by __FreeBSD_version.
 */

#ifndef _L4S_COMPAT_H_
#define	_L4S_COMPAT_H_

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mbuf.h>
#include <sys/time.h>

#if __FreeBSD_version < 1302000
#error "dualpi2_llm needs FreeBSD 13.2 or later"
#endif

/*
 * The receiving interface may disappear while a packet is queued.  From 14 on a
 * queue replaces the pointer by an index and a generation, and looks the
 * interface up when the packet leaves; before, dummynet kept the pointer.
 * Outgoing packets may have a send tag in the same place: m_rcvif() is NULL for
 * them, and they are unchanged.
 */
static inline void
l4s_rcvif_save(struct mbuf *m)
{
#if __FreeBSD_version >= 1400000
	if (m_rcvif(m) != NULL)
		m_rcvif_serialize(m);
#else
	(void)m;
#endif
}

/* False if the interface has disappeared: the packet must be freed. */
static inline bool
l4s_rcvif_restore(struct mbuf *m)
{
#if __FreeBSD_version >= 1400000
	return (m_rcvif(m) == NULL || m_rcvif_restore(m) != NULL);
#else
	(void)m;
	return (true);
#endif
}

/*
 * CLOCK_MONOTONIC in ns. sbinuptime() reads the time counter itself, so its
 * resolution does not depend on hz, unlike AQM_UNOW and getsbinuptime().
 */
static inline uint64_t
l4s_now(void)
{
	return ((uint64_t)sbttons(sbinuptime()));
}

#endif /* !_L4S_COMPAT_H_ */
