/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Queue operations per second of processor time: with records, with summaries
 * and with neither, and the ratios to neither.  Exit status 2 if one is below
 * its aim.  The variants run in short turns, so that changes of the machine's
 * speed affect all of them; a ratio is the median over the rounds.
 *
 * The cost of one record is measured in the same way.
 *
 * An operation is one enqueue or one dequeue through the userspace front end.
 * The load is steady: packets of all codepoints arrive and leave at the same
 * rate, with a few in each queue.  An open descriptor, for which messages are
 * written, does not read them: the writer does not wait for readers, so readers
 * would only share the processor.
 *
 * The cost of a message for a reader is measured with a hundred messages per
 * wake-up: with read(2), which copies it out of the ring and out of the kernel,
 * and as if the ring were mapped and read in place.  A read of /dev/zero of the
 * same size represents the system call and the copy to userspace.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "l4s_user.h"
#include "record.h"

#define	ROUNDS		301
#define	PACKETS		20000		/* a run */
#define	BACKLOG		32
#define	SPACING_NS	12000ULL	/* 1500 bytes at 1 Gbit/s */
#define	RING_RECORDS	4096
#define	WAKE_RECORDS	100		/* the daemon's default */
#define	WAKE_UPS	200		/* a run */
#define	COST_AIM	5.0		/* ns a record */
#define	SUMMARY_NS	16000000ULL	/* the controller's period */

static double
seconds(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ((double)ts.tv_sec + (double)ts.tv_nsec * 1e-9);
}

/* Operations per second. */
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
		(void)l4s_user_enqueue(u, i, 1500, ecn[i & 7], i % 13, *now);
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
	qsort(values, ROUNDS, sizeof(values[0]), compare);
	return (values[ROUNDS / 2]);
}

static void
fill(struct l4s_ring *r)
{
	uint64_t seq, *words;
	unsigned i, m;

	for (m = 0; m < WAKE_RECORDS; m++) {
		words = l4s_ring_begin(r, r->shift, &seq);
		L4S_STORE(&words[0], HEADER(L4S_RECORD_DECISION));
		for (i = 1; i < L4S_MESSAGE_WORDS; i++)
			L4S_STORE(&words[i], seq + i);
		l4s_ring_commit(r, r->shift, seq, words);
	}
}

/*
 * A reader that reads every word; returns the sum so that it is not optimised
 * away.
 */
static uint64_t
read_copies(struct l4s_ring *r, struct l4s_cursor *c, int zero)
{
	static uint64_t kernel[WAKE_RECORDS][L4S_MESSAGE_WORDS];
	static uint64_t user[WAKE_RECORDS][L4S_MESSAGE_WORDS];
	uint64_t sum = 0;
	unsigned i, m, n = 0;

	while (n < WAKE_RECORDS && l4s_cursor_read(c, r, 0, kernel[n]) != 0)
		n++;
	if (read(zero, user, n * sizeof(user[0])) < 0)
		abort();
	for (m = 0; m < n; m++)
		for (i = 0; i < L4S_MESSAGE_WORDS; i++)
			sum += kernel[m][i] + user[m][i];
	return (sum);
}

static uint64_t
read_in_place(struct l4s_ring *r, struct l4s_cursor *c)
{
	const uint64_t *words;
	uint64_t head = l4s_ring_head(r), sum = 0, message;
	unsigned i;

	for (; c->next != head; c->next++) {
		words = &r->words[(c->next & r->mask) << r->shift];
		message = 0;
		for (i = 0; i < L4S_MESSAGE_WORDS; i++)
			message += L4S_LOAD(&words[i]);
		L4S_FENCE_ACQ();
		if (L4S_LOAD(&r->head) - c->next > r->mask)
			abort();	/* no writer in the meantime */
		sum += message;
	}
	return (sum);
}

/* Nanoseconds per message, medians; false if it cannot be measured. */
static bool
reading(double *copied, double *in_place)
{
	double c[ROUNDS], p[ROUNDS], begin;
	uint64_t *words = malloc(L4S_RING_BYTES(RING_RECORDS,
	    L4S_RECORD_SHIFT));
	struct l4s_ring ring;
	struct l4s_cursor cursor;
	uint64_t first, second;
	int i, j, zero = open("/dev/zero", O_RDONLY);

	if (words == NULL || zero < 0)
		return (false);
	l4s_ring_init(&ring, words, RING_RECORDS, L4S_RECORD_SHIFT,
	    L4S_STREAM_RECORDS);
	for (i = 0; i < ROUNDS; i++) {
		c[i] = p[i] = 0;
		for (j = 0; j < WAKE_UPS; j++) {
			l4s_cursor_init(&cursor, &ring);
			fill(&ring);
			begin = seconds();
			first = read_copies(&ring, &cursor, zero);
			c[i] += seconds() - begin;
			cursor.next -= WAKE_RECORDS;
			begin = seconds();
			second = read_in_place(&ring, &cursor);
			p[i] += seconds() - begin;
			if (first != second)
				return (false);
		}
	}
	*copied = median(c) * 1e9 / (WAKE_UPS * WAKE_RECORDS);
	*in_place = median(p) * 1e9 / (WAKE_UPS * WAKE_RECORDS);
	free(words);
	(void)close(zero);
	return (true);
}

/* A router with a descriptor of these streams; 0: none. */
struct contender {
	const char	*name;
	uint32_t	streams;
	double		aim;		/* of the ratio to none */
	struct l4s_user	*u;
	struct l4s_user_handle *h;
	uint64_t	now;
	double		ops[ROUNDS];	/* a second */
	double		ratio[ROUNDS];
};

static struct contender contenders[] = {
	{ .name = "off" },
	{ .name = "summaries", .streams = L4S_STREAM_SUMMARIES, .aim = 0.97 },
	{ .name = "records", .streams = L4S_STREAM_RECORDS, .aim = 0.9 },
};
#define	CONTENDERS	(sizeof(contenders) / sizeof(contenders[0]))

static bool
enter(struct contender *c)
{
	struct l4s_interval interval = {
		.records = 1,
		.streams = c->streams,
		.summary_ns = c->streams == L4S_STREAM_SUMMARIES ?
		    SUMMARY_NS : 0,
	};
	int error;

	c->u = l4s_user_create(NULL, NULL, RING_RECORDS, 1, &error);
	if (c->u == NULL)
		return (false);
	if (c->streams != 0) {
		c->h = l4s_user_open(c->u);
		if (c->h == NULL || l4s_user_request(c->h, L4S_OP_INTERVAL,
		    &interval, sizeof(interval), 0) != 0)
			return (false);
	}
	(void)run(c->u, &c->now);
	return (true);
}

/* Prints a contender's medians; returns whether it meets its aim. */
static bool
leave(struct contender *c)
{
	double ratio = median(c->ratio);

	printf("queue_ops_per_s_%s %.0f\n", c->name, median(c->ops));
	if (c->streams != 0)
		printf("queue_ops_ratio_%s %.3f (aim %.2f: %s)\n", c->name,
		    ratio, c->aim, ratio >= c->aim ? "met" : "missed");
	l4s_user_close(c->h, c->now);
	l4s_user_destroy(c->u);
	return (ratio >= c->aim);
}

/* Cost of a record, in addition to the two operations that produce it. */
static bool
record_cost(void)
{
	static double ns[ROUNDS];
	const struct contender *off = &contenders[0];
	const struct contender *on = &contenders[CONTENDERS - 1];
	double cost;
	size_t i;

	for (i = 0; i < ROUNDS; i++)
		ns[i] = 2e9 / on->ops[i] - 2e9 / off->ops[i];
	cost = median(ns);
	printf("ns_per_record %.1f (aim %.1f: %s)\n", cost, COST_AIM,
	    cost <= COST_AIM ? "met" : "missed");
	return (cost <= COST_AIM);
}

int
main(void)
{
	double copied, in_place;
	size_t i, k;
	bool met = true;

	for (k = 0; k < CONTENDERS; k++)
		if (!enter(&contenders[k])) {
			fprintf(stderr, "bench: cannot create a router\n");
			return (1);
		}
	for (i = 0; i < ROUNDS; i++) {
		/* Each variant is first and last equally often. */
		for (k = i; k < i + CONTENDERS; k++) {
			struct contender *c = &contenders[k % CONTENDERS];

			c->ops[i] = run(c->u, &c->now);
		}
		for (k = 0; k < CONTENDERS; k++)
			contenders[k].ratio[i] =
			    contenders[k].ops[i] / contenders[0].ops[i];
	}
	met = record_cost();
	for (k = 0; k < CONTENDERS; k++)
		met = leave(&contenders[k]) && met;
	if (!reading(&copied, &in_place)) {
		fprintf(stderr, "bench: cannot measure reading\n");
		return (1);
	}
	printf("read_ns_per_message_copied %.1f\n", copied);
	printf("read_ns_per_message_in_place %.1f\n", in_place);
	return (met ? 0 : 2);
}
