/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * DSCP and ECN field of an IP header, as bytes in network order: without
 * alignment and kernel headers, so that a test on any host can run it.
 *
 *	IPv4	byte 1, bits 0-1 (RFC 791, RFC 3168 section 5)
 *	IPv6	traffic class, bits 4-5 of byte 1 (RFC 8200 section 3)
 */

#ifndef _L4S_IPHDR_H_
#define	_L4S_IPHDR_H_

#include "l4sllm_abi.h"
#include "siphash.h"

/* Maximum number of header bytes used by the functions below. */
#define	L4S_IPHDR_LENGTH	20

/* The whole field, DSCP and ECN; 0 if it is not an IP header. */
static inline uint8_t
l4s_iphdr_ds(const uint8_t *h)
{
	switch (h[0] >> 4) {
	case 4:
		return (h[1]);
	case 6:
		return ((uint8_t)(h[0] << 4 | h[1] >> 4));
	default:
		return (0);
	}
}

static inline uint8_t
l4s_iphdr_ecn(const uint8_t *h)
{
	return (l4s_iphdr_ds(h) & L4S_ECN_CE);
}

static inline uint32_t
l4s_iphdr_mix(uint32_t hash, const uint8_t *word)
{
	hash ^= (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 |
	    (uint32_t)word[2] << 8 | word[3];
	hash *= 0x85ebca6bU;
	return (hash ^ hash >> 15);
}

/*
 * Offset of the ports, the first four bytes of TCP, UDP and SCTP headers.  0 if
 * the packet has no ports, as in a fragment, or if they are not within the
 * first `length' bytes.
 */
static inline int
l4s_iphdr_ports(const uint8_t *h, int length)
{
	uint8_t protocol;
	int at;

	if (h[0] >> 4 == 4) {
		protocol = h[9];
		at = (h[0] & 15) * 4;
		/* A fragment: more follow, or it is not the first. */
		if ((h[6] & 0x3f) != 0 || h[7] != 0)
			return (0);
	} else {
		protocol = h[6];
		at = 40;
	}
	if ((protocol != 6 && protocol != 17 && protocol != 132) ||
	    at + 4 > length)
		return (0);
	return (at);
}

/*
 * A hash of the flow: addresses, protocol and, if present, ports.  For
 * fragments and other packets without ports, only the addresses and protocol.
 * `length' bytes can be read, L4S_IPHDR_LENGTH or more. 0 if it is not IP.
 */
static inline uint32_t
l4s_iphdr_flow(const uint8_t *h, int length)
{
	static const uint8_t none[4] = { 0, 0, 0, 0 };
	uint8_t kind[4] = { 0, 0, 0, 0 };
	uint32_t hash = 0x9747b28cU;
	int at, end, ports;

	switch (h[0] >> 4) {
	case 4:
		kind[0] = h[9];
		at = 12;
		end = 20;
		break;
	case 6:
		kind[0] = h[6];
		at = 8;
		end = 40;
		break;
	default:
		return (0);
	}
	for (; at < end && at + 4 <= length; at += 4)
		hash = l4s_iphdr_mix(hash, h + at);
	hash = l4s_iphdr_mix(hash, kind);
	ports = l4s_iphdr_ports(h, length);
	return (l4s_iphdr_mix(hash, ports != 0 ? h + ports : none));
}

/*
 * A keyed hash of the flow: SipHash of 13 bytes of IPv4 or 37 of IPv6. 0 if it
 * is not IP, or the addresses are incomplete.
 */
static inline uint64_t
l4s_iphdr_hash(const uint8_t *h, int length, const struct l4s_siphash_key *key)
{
	uint64_t words[5];
	uint32_t ports = 0;
	int at;

	switch (h[0] >> 4) {
	case 4:
		break;
	case 6:
		if (length >= 40)
			break;
		/* FALLTHROUGH */
	default:
		return (0);
	}
	at = l4s_iphdr_ports(h, length);
	if (at != 0)
		memcpy(&ports, h + at, sizeof(ports));
	/* The byte order does not matter within one machine. */
	if (h[0] >> 4 == 4) {
		memcpy(words, h + 12, 8);
		words[1] = (uint64_t)13 << 56 | (uint64_t)h[9] << 32 | ports;
		return (l4s_siphash13(key, words, 2));
	}
	memcpy(words, h + 8, 32);
	words[4] = (uint64_t)37 << 56 | (uint64_t)h[6] << 32 | ports;
	return (l4s_siphash13(key, words, 5));
}

/* Bytes before the IP header of a frame: Ethernet's, and two tags. */
#define	L4S_ETHERHDR_LENGTH	22

/*
 * Offset of the IP header in an Ethernet frame; 0 if it carries no IP. The
 * first `length' bytes can be read.  Up to two tags are skipped: of IEEE
 * 802.1Q, and around one of 802.1ad (provider bridges) or of the type used
 * before that standard.
 */
static inline int
l4s_etherhdr_ip(const uint8_t *frame, int length)
{
	int at = 12, tags;

	for (tags = 0; at + 2 <= length; tags++, at += 4)
		switch (frame[at] << 8 | frame[at + 1]) {
		case 0x0800:		/* IPv4 */
		case 0x86dd:		/* IPv6 */
			return (at + 2);
		case 0x8100:		/* 802.1Q */
		case 0x88a8:		/* 802.1ad */
		case 0x9100:		/* QinQ before 802.1ad */
			if (tags == 2)
				return (0);
			break;
		default:
			return (0);
		}
	return (0);
}

/*
 * Sets CE and, with fix_sum, updates IPv4's header checksum incrementally (RFC
 * 1624, equation 3).  False, with no change, for a header that is Not-ECT or
 * not IP.
 */
static inline bool
l4s_iphdr_mark(uint8_t *h, bool fix_sum)
{
	uint32_t sum;
	uint8_t old;

	if (l4s_iphdr_ecn(h) == L4S_ECN_NOT_ECT)
		return (false);
	if (h[0] >> 4 == 6) {
		h[1] |= L4S_ECN_CE << 4;
		return (true);
	}
	old = h[1];
	h[1] |= L4S_ECN_CE;
	if (fix_sum && h[1] != old) {
		/* ~C' = ~C + ~m + m'; byte 0 is the same in m and m'. */
		sum = 0xffffU - (((uint32_t)h[10] << 8) | h[11]);
		sum += 0xffffU - old + h[1];
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = 0xffffU - sum;
		h[10] = (uint8_t)(sum >> 8);
		h[11] = (uint8_t)sum;
	}
	return (true);
}

#endif /* !_L4S_IPHDR_H_ */
