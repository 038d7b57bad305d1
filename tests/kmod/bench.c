/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * How many queue operations a second, with records on and off, and the ratio.
 * The two run in turns, short ones, so that a machine that slows down or
 * speeds up does so to both; the ratio is the median over the pairs.
 *
 * An operation is one enqueue or one dequeue through the userspace front.
 * The load is steady: packets of all codepoints come and go at the same rate
 * with a few in each queue.  Nobody reads the records: the writer does not
 * wait for readers, so readers would only share the processor.
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "l4s_user.h"

#define	PAIRS		301
#define	PACKETS		20000		/* a run */
#define	BACKLOG		32
#define	SPACING_NS	12000ULL	/* 1500 bytes at 1 Gbit/s */
#define	RING_RECORDS	4096

static double
seconds(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((double)ts.tv_sec + (double)ts.tv_nsec * 1e-9);
}

/* Operations a second. */
static double
run(struct l4s_user *u, uint64_t *now)
{
	static const uint8_t ecn[8] = { 0, 1, 2, 1, 3, 1, 0, 1 };
	struct l4s_user_packet out, dropped[8];
	double begin = seconds();
	uint64_t operations = 0;
	uint32_t packets, bytes, i;

	for (i = 0; i < PACKETS; i++) {
		*now += SPACING_NS;
		(void)l4s_user_enqueue(u, i, 1500, ecn[i & 7], *now);
		operations++;
		l4s_user_backlog(u, L4S_QUEUE_ANY, &packets, &bytes);
		if (packets > BACKLOG) {
			(void)l4s_user_dequeue(u, *now, &out);
			operations++;
		}
		if ((i & 63) == 0)
			while (l4s_user_drops(u, dropped, 8) == 8)
				;
	}
	return ((double)operations / (seconds() - begin));
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return ((x > y) - (x < y));
}

static double
median(double *values)
{
	qsort(values, PAIRS, sizeof(values[0]), compare);
	return (values[PAIRS / 2]);
}

int
main(void)
{
	double on[PAIRS], off[PAIRS], ratio[PAIRS];
	uint64_t now_on = 0, now_off = 0;
	int error, i;
	struct l4s_user *with = l4s_user_create(NULL, NULL, RING_RECORDS, 1,
	    &error);
	struct l4s_user *without = l4s_user_create(NULL, NULL, 0, 1, &error);

	if (with == NULL || without == NULL) {
		fprintf(stderr, "bench: cannot create a router: %d\n", error);
		return (1);
	}
	(void)run(with, &now_on);
	(void)run(without, &now_off);
	for (i = 0; i < PAIRS; i++) {
		if ((i & 1) == 0) {
			on[i] = run(with, &now_on);
			off[i] = run(without, &now_off);
		} else {
			off[i] = run(without, &now_off);
			on[i] = run(with, &now_on);
		}
		ratio[i] = on[i] / off[i];
	}
	printf("queue_ops_per_s_records_on %.0f\n", median(on));
	printf("queue_ops_per_s_records_off %.0f\n", median(off));
	printf("queue_ops_ratio %.3f\n", median(ratio));
	l4s_user_destroy(with);
	l4s_user_destroy(without);
	return (0);
}
