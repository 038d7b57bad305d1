/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A load for counting instructions (instructions.sh):
 *
 *	instructions off|on FLOWS PACKETS	packets of FLOWS flows through a
 *						queue, flow weights off or on
 *	instructions hash FLOWS PACKETS		the hash of each flow alone
 *
 * The load is that of bench.c: 1 Gbit/s of full packets of all codepoints,
 * with some in each queue.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l4s_user.h"
#include "pkt.h"

#define	BACKLOG		32
#define	SPACING_NS	12000ULL	/* 1500 bytes at 1 Gbit/s */

static int
pass(bool weights, unsigned flows, unsigned packets)
{
	static const uint8_t ecn[8] = { 0, 1, 2, 1, 3, 1, 0, 1 };
	struct l4s_user_packet out, dropped[8];
	struct l4s_params params;
	struct l4s_user *u;
	uint64_t now = 1;
	unsigned i;
	int error;

	l4s_user_params_default(&params);
	params.flow_weights = weights;
	u = l4s_user_create(&params, NULL, 0, 1, &error);
	if (u == NULL)
		return (1);
	for (i = 0; i < packets; i++) {
		now += SPACING_NS;
		(void)l4s_user_enqueue(u, i, 1500, ecn[i & 7], i % flows, now);
		if (i >= BACKLOG)
			(void)l4s_user_dequeue(u, now, &out);
		if ((i & 63) == 0)
			while (l4s_user_drops(u, dropped, 8) == 8)
				;
	}
	l4s_user_destroy(u);
	return (0);
}

static int
hash(unsigned flows, unsigned packets)
{
	const struct l4s_siphash_key key = { 1, 2 };
	l4s_pkt_t pkt;
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < packets; i++) {
		pkt.flow = i % flows;
		sum += l4s_pkt_hash(&pkt, &key);
	}
	return (sum == 0);
}

int
main(int argc, char **argv)
{
	unsigned flows, packets;

	if (argc != 4 || (flows = (unsigned)atoi(argv[2])) == 0)
		return (2);
	packets = (unsigned)atoi(argv[3]);
	if (strcmp(argv[1], "hash") == 0)
		return (hash(flows, packets));
	return (pass(strcmp(argv[1], "on") == 0, flows, packets));
}
