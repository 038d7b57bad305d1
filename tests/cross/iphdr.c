/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The ECN field of IPv4 and IPv6 headers (kmod/freebsd/iphdr.h): every
 * codepoint, every traffic class and, for IPv4, every possible checksum.  Also
 * the offset of the header in frames with and without tags.
 */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iphdr.h"

#define	CHECK(cond) do {						\
	if (!(cond)) {							\
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
		exit(1);						\
	}								\
} while (0)

/* One's complement sum over the header, its checksum included. */
static uint16_t
sum(const uint8_t *h)
{
	uint32_t s = 0;
	int i;

	for (i = 0; i < 20; i += 2)
		s += (uint32_t)h[i] << 8 | h[i + 1];
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ((uint16_t)s);
}

static void
ipv4(uint8_t tos, uint16_t id)
{
	uint8_t h[20] = { 0x45, tos, 0x05, 0xdc, id >> 8, id & 0xff, 0x40, 0,
	    64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 };
	uint8_t before[20];
	uint16_t check;

	check = (uint16_t)~sum(h);
	h[10] = check >> 8;
	h[11] = check & 0xff;
	CHECK(sum(h) == 0xffff);
	memcpy(before, h, sizeof(h));
	CHECK(l4s_iphdr_ecn(h) == (tos & 3));
	if ((tos & 3) == L4S_ECN_NOT_ECT) {
		CHECK(!l4s_iphdr_mark(h, true));
		CHECK(memcmp(before, h, sizeof(h)) == 0);
		return;
	}
	CHECK(l4s_iphdr_mark(h, true));
	CHECK(l4s_iphdr_ecn(h) == L4S_ECN_CE);
	CHECK(sum(h) == 0xffff);
	CHECK(h[1] >> 2 == tos >> 2);
	/* If the interface computes the sum, only the codepoint changes. */
	memcpy(h, before, sizeof(h));
	CHECK(l4s_iphdr_mark(h, false));
	CHECK(h[10] == before[10] && h[11] == before[11]);
}

static void
ipv6(uint8_t class, uint8_t label)
{
	uint8_t h[40] = { 0x60 | class >> 4, (uint8_t)(class << 4) |
	    (label & 0x0f), label, label };
	uint8_t before[40];

	memcpy(before, h, sizeof(h));
	CHECK(l4s_iphdr_ecn(h) == (class & 3));
	if ((class & 3) == L4S_ECN_NOT_ECT) {
		CHECK(!l4s_iphdr_mark(h, true));
		CHECK(memcmp(before, h, sizeof(h)) == 0);
		return;
	}
	CHECK(l4s_iphdr_mark(h, true));
	CHECK(l4s_iphdr_ecn(h) == L4S_ECN_CE);
	before[1] |= 0x30;
	CHECK(memcmp(before, h, sizeof(h)) == 0);
}

/* The offset of the IP header in a frame with the given tags and type. */
static int
tagged(const uint16_t *tags, int n, uint16_t type, int length)
{
	uint8_t frame[64] = { 0 };
	int at = 12, i;

	for (i = 0; i < n; i++, at += 4) {
		frame[at] = tags[i] >> 8;
		frame[at + 1] = tags[i] & 0xff;
		frame[at + 2] = 0x6f;		/* priority 3, VLAN 0xf08 */
		frame[at + 3] = 0x08;
	}
	frame[at] = type >> 8;
	frame[at + 1] = type & 0xff;
	return (l4s_etherhdr_ip(frame, length));
}

static void
frames(void)
{
	static const uint16_t q[] = { 0x8100, 0x8100, 0x8100 };
	static const uint16_t ad[] = { 0x88a8, 0x8100 };
	static const uint16_t qinq[] = { 0x9100, 0x8100, 0x8100 };
	int length;

	CHECK(tagged(NULL, 0, 0x0800, 64) == 14);
	CHECK(tagged(NULL, 0, 0x86dd, 64) == 14);
	CHECK(tagged(NULL, 0, 0x0806, 64) == 0);	/* ARP */
	CHECK(tagged(q, 1, 0x0800, 64) == 18);
	CHECK(tagged(q, 1, 0x0806, 64) == 0);
	CHECK(tagged(q, 2, 0x86dd, 64) == 22);
	CHECK(tagged(ad, 2, 0x0800, 64) == 22);
	CHECK(tagged(ad, 1, 0x0800, 64) == 18);
	CHECK(tagged(q, 3, 0x0800, 64) == 0);
	CHECK(tagged(qinq, 2, 0x0800, 64) == 22);
	CHECK(tagged(qinq, 2, 0x86dd, 64) == 22);
	CHECK(tagged(qinq, 1, 0x0800, 64) == 18);
	CHECK(tagged(qinq, 2, 0x0806, 64) == 0);
	CHECK(tagged(qinq, 3, 0x0800, 64) == 0);
	CHECK(L4S_ETHERHDR_LENGTH == 22);
	/* Frames that end before the type. */
	for (length = 0; length <= 64; length++) {
		CHECK(tagged(NULL, 0, 0x0800, length) ==
		    (length >= 14 ? 14 : 0));
		CHECK(tagged(ad, 2, 0x0800, length) ==
		    (length >= 22 ? 22 : 0));
	}
}

/* Flows: fields that distinguish them and fields that do not. */
static void
flows(void)
{
	uint8_t four[24] = { 0x45, 0, 0, 24, 0, 1, 0x40, 0, 64, 6, 0, 0,
	    10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80 };
	uint8_t six[44] = { 0x60, 0, 0, 0, 0, 4, 17, 64 };
	uint32_t flow = l4s_iphdr_flow(four, 24), other;

	four[1] = 3;			/* ECN */
	four[5] = 9;			/* identification */
	four[8] = 3;			/* hops left */
	four[10] = 77;			/* checksum */
	CHECK(l4s_iphdr_flow(four, 24) == flow);
	four[23] = 81;
	CHECK((other = l4s_iphdr_flow(four, 24)) != flow);
	/* For a fragment, or without its ports, only the addresses count. */
	four[6] = 0x20;
	flow = l4s_iphdr_flow(four, 24);
	CHECK(flow != other);
	four[23] = 82;
	CHECK(l4s_iphdr_flow(four, 24) == flow);
	four[6] = 0x40;
	CHECK(l4s_iphdr_flow(four, 20) == flow);
	four[19] = 3;
	CHECK(l4s_iphdr_flow(four, 20) != flow);
	four[9] = 1;			/* no ports in ICMP */
	flow = l4s_iphdr_flow(four, 24);
	four[20] = 8;
	CHECK(l4s_iphdr_flow(four, 24) == flow);

	flow = l4s_iphdr_flow(six, 44);
	six[1] = 0x30;			/* ECN and the flow label */
	six[3] = 5;
	CHECK(l4s_iphdr_flow(six, 44) == flow);
	six[43] = 1;
	CHECK(l4s_iphdr_flow(six, 44) != flow);
	flow = l4s_iphdr_flow(six, 44);
	six[39] = 1;
	CHECK(l4s_iphdr_flow(six, 44) != flow);
	/* With an incomplete header. */
	flow = l4s_iphdr_flow(six, 20);
	six[8] = 1;
	CHECK(l4s_iphdr_flow(six, 20) != flow);
	six[0] = 0x50;
	CHECK(l4s_iphdr_flow(six, 44) == 0);
}

/* The keyed hash of a header at any alignment. */
static uint64_t
hash(const uint8_t *h, int length)
{
	const struct l4s_siphash_key key = { 3, 4 };

	return (l4s_iphdr_hash(h, length, &key));
}

/*
 * The keyed hash distinguishes the same flows: it depends on every byte of
 * addresses, ports and protocol, and on no other.
 */
static void
hashes(void)
{
	const struct l4s_siphash_key key = { 3, 5 };
	uint8_t four[24] = { 0x45, 0, 0, 24, 0, 1, 0x40, 0, 64, 6, 0, 0,
	    10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80 };
	uint8_t six[44] = { 0x60, 0, 0, 0, 0, 4, 17, 64 };
	uint64_t flow = hash(four, 24);
	int i;

	CHECK(flow != l4s_iphdr_hash(four, 24, &key));
	for (i = 0; i < 24; i++) {
		if (i == 0 || i == 6 || i == 7)
			continue;	/* version, length, fragments */
		four[i] ^= 0x10;
		CHECK((hash(four, 24) != flow) == (i == 9 || i >= 12));
		four[i] ^= 0x10;
	}
	/* For a fragment, or without its ports, only the addresses count. */
	four[6] = 0x20;
	CHECK(hash(four, 24) != flow);
	flow = hash(four, 24);
	four[23] ^= 1;
	CHECK(hash(four, 24) == flow);
	four[6] = 0x40;
	CHECK(hash(four, 20) == flow);
	four[9] = 50;			/* ESP: a tunnel is one flow */
	flow = hash(four, 24);
	four[21] ^= 1;
	CHECK(hash(four, 24) == flow);

	six[43] = 53;
	flow = hash(six, 44);
	for (i = 1; i < 44; i++) {
		six[i] ^= 0x10;
		if (i == 6)
			six[i] = 6;	/* TCP has ports too */
		CHECK((hash(six, 44) != flow) == (i == 6 || i >= 8));
		six[i] ^= 0x10;
		six[6] = 17;
	}
	CHECK(hash(six, 40) != flow && hash(six, 40) != 0);
	/* Too short for a hash of the flow. */
	CHECK(hash(six, 39) == 0);
	six[0] = 0x50;
	CHECK(hash(six, 44) == 0);
}

int
main(void)
{
	uint8_t other[20] = { 0x55, 3 };
	unsigned i;

	for (i = 0; i < 0x10000; i++) {
		ipv4(0x00, (uint16_t)i);
		ipv4(0xb9, (uint16_t)i);
		ipv4(0x02, (uint16_t)i);
		ipv4(0x03, (uint16_t)i);
	}
	for (i = 0; i < 0x10000; i++) {
		ipv4(i & 0xff, (uint16_t)(i * 257));
		ipv6(i & 0xff, i >> 8);
	}
	frames();
	flows();
	hashes();
	CHECK(l4s_iphdr_ecn(other) == L4S_ECN_NOT_ECT);
	CHECK(!l4s_iphdr_mark(other, true));
	return (0);
}
