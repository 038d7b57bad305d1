/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The packet path in one thread, two readers of records, one of both streams
 * and a controller in others, all at full speed, under ThreadSanitizer.  Every
 * message that a reader gets must be whole, in order, or announced as lost; the
 * controller's counters must balance at each check; a sleeping reader must be
 * woken; no counter decreases between checks.  The controller switches flow
 * weights on and off.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow_weights.h"
#include "l4s_user.h"

#define	PACKETS		60000
#define	RING		64
#define	READERS		2

#define	MUST(condition) do {						\
	if (!(condition)) {						\
		printf("  %s:%d: %s\n", __FILE__, __LINE__, #condition); \
		exit(1);						\
	}								\
} while (0)

struct sleeper {
	pthread_mutex_t	mutex;
	pthread_cond_t	wake;
	bool		woken;
};

static struct l4s_user *router;
static atomic_ullong now = 1;
static atomic_bool done;		/* no more packets come in */
static atomic_bool written;	/* no more messages come either */
static atomic_ullong lost_total, read_total, summaries, wakes, refused;

/* Every third allocation of a flow-weight table fails. */
static void *
scarce(size_t size)
{
	static atomic_uint tables;

	if (size == sizeof(union l4s_flow_table) &&
	    atomic_fetch_add(&tables, 1) % 3 == 2) {
		atomic_fetch_add(&refused, 1);
		return (NULL);
	}
	return (malloc(size));
}

static void
wake(void *arg)
{
	struct sleeper *s = arg;

	pthread_mutex_lock(&s->mutex);
	s->woken = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->mutex);
}

static void
wait_for(struct sleeper *s)
{
	pthread_mutex_lock(&s->mutex);
	while (!s->woken)
		pthread_cond_wait(&s->wake, &s->mutex);
	s->woken = false;
	pthread_mutex_unlock(&s->mutex);
	atomic_fetch_add(&wakes, 1);
}

/* A record with parts written at different times would be inconsistent. */
static void
check_whole(const struct l4s_record *r)
{
	MUST(r->hdr.version == L4S_ABI_VERSION);
	MUST(r->hdr.length == L4S_RECORD_SIZE);
	if (r->hdr.type == L4S_RECORD_CONFIG) {
		const struct l4s_config *c = (const void *)r;

		MUST(c->sched == 1);
		MUST(c->target == 15000 || c->target == 30000);
	}
	if (r->hdr.type != L4S_RECORD_DECISION)
		return;
	MUST(r->instance == 0);
	MUST(r->queue_length * 1000 == r->length_in_bytes);
	MUST(r->packet_length == 1000);
}

static uint64_t
consume(struct l4s_user_handle *h, uint64_t expect)
{
	union {
		struct l4s_record r;
		struct l4s_loss l;
	} m[4];
	size_t got, i;

	do {
		MUST(l4s_user_read(h, m, sizeof(m), atomic_load(&now),
		    &got) == 0);
		for (i = 0; i < got / L4S_RECORD_SIZE; i++) {
			MUST(m[i].r.hdr.seq == expect);
			check_whole(&m[i].r);
			if (m[i].r.hdr.type == L4S_RECORD_LOSS) {
				expect += m[i].l.lost;
				atomic_fetch_add(&lost_total, m[i].l.lost);
			} else {
				expect++;
				atomic_fetch_add(&read_total, 1);
			}
		}
	} while (got != 0);
	return (expect);
}

/*
 * Reads both streams: whole messages in time order, summaries with adjacent
 * intervals unless some were lost, and no event twice.
 */
static void
consume_both(struct l4s_user_handle *h, uint64_t *latest, uint64_t *end)
{
	union {
		struct l4s_header hdr;
		struct l4s_record r;
		struct l4s_loss l;
		struct l4s_summary s;
	} m;
	size_t got;

	for (;;) {
		MUST(l4s_user_read(h, &m, sizeof(m), atomic_load(&now),
		    &got) == 0);
		if (got == 0)
			break;
		/* One summary, or up to three of the others. */
		MUST(m.hdr.type == L4S_RECORD_SUMMARY ? got == sizeof(m.s) :
		    got % L4S_RECORD_SIZE == 0);
		if (m.hdr.type == L4S_RECORD_LOSS) {
			if (m.l.stream == L4S_STREAM_SUMMARIES)
				*end = 0;
			continue;
		}
		MUST(m.hdr.time_ns >= *latest);
		*latest = m.hdr.time_ns;
		if (m.hdr.type != L4S_RECORD_SUMMARY)
			continue;
		MUST(*end == 0 || m.s.begin_ns == *end);
		*end = m.s.hdr.time_ns;
		MUST(m.s.idle_ns <= m.s.hdr.time_ns - m.s.begin_ns);
		MUST(m.s.queue[0].arrived_bytes ==
		    m.s.queue[0].arrived * 1000);
		MUST(m.s.queue[1].forwarded_bytes ==
		    m.s.queue[1].forwarded * 1000);
		atomic_fetch_add(&summaries, 1);
	}
}

struct reader {
	struct l4s_user_handle *h;
	struct sleeper	sleeper;
};

static void *
reader(void *arg)
{
	struct reader *r = arg;
	struct l4s_stats s;
	uint64_t deadline, expect = 0;

	while (!atomic_load(&written)) {
		if (!l4s_user_ready(r->h, atomic_load(&now), &deadline))
			wait_for(&r->sleeper);
		expect = consume(r->h, expect);
	}
	expect = consume(r->h, expect);
	memset(&s, 0, sizeof(s));
	s.version = L4S_ABI_VERSION;
	s.length = sizeof(s);
	MUST(l4s_user_request(r->h, L4S_OP_STATS, &s, sizeof(s), 1) == 0);
	MUST(s.records_written == expect);
	MUST(s.records_written == s.records_read + s.records_lost);
	MUST(s.records_waiting == 0);
	return (NULL);
}

static void *
reader_of_both(void *arg)
{
	struct reader *r = arg;
	uint64_t deadline, latest = 0, end = 0;

	while (!atomic_load(&written)) {
		if (!l4s_user_ready(r->h, atomic_load(&now), &deadline))
			wait_for(&r->sleeper);
		consume_both(r->h, &latest, &end);
	}
	consume_both(r->h, &latest, &end);
	return (NULL);
}

static void *
controller(void *arg)
{
	struct l4s_user_handle *h = arg;
	struct l4s_override o;
	struct l4s_params params;
	struct l4s_stats s;
	uint64_t n = 0;
	bool on = false;
	int error;

	while (!atomic_load(&done)) {
		memset(&o, 0, sizeof(o));
		o.version = L4S_ABI_VERSION;
		o.length = sizeof(o);
		o.id = ++n;
		o.sched = 1;
		o.queue = L4S_QUEUE_ANY;
		o.expires_ns = atomic_load(&now) + 100000;
		if (n % 3 == 0) {
			o.mode = L4S_MODE_STEER;
			o.steer_set = L4S_STEER_TARGET;
			o.target = 2 * L4S_FACTOR_ONE;
		} else {
			o.mode = L4S_MODE_HOLD;
			o.action = L4S_ACTION_MARK;
			o.hold_packets = 1 + n % 7;
		}
		MUST(l4s_user_request(h, L4S_OP_OVERRIDE, &o, sizeof(o),
		    atomic_load(&now)) == 0);
		if (n % 16 == 0) {
			l4s_user_params_default(&params);
			params.classic_weight = 1 + n % 50;
			params.flow_weights = n % 48 < 32;
			error = l4s_user_request(h, L4S_OP_SET_PARAMS,
			    &params, sizeof(params), atomic_load(&now));
			MUST(error == 0 || (error == L4S_ENOMEM && !on &&
			    params.flow_weights == 1));
			if (error == 0)
				on = params.flow_weights == 1;
		}
		memset(&s, 0, sizeof(s));
		s.version = L4S_ABI_VERSION;
		s.length = sizeof(s);
		s.sched = 1;
		MUST(l4s_user_request(h, L4S_OP_STATS, &s, sizeof(s),
		    atomic_load(&now)) == 0);
		MUST(s.overrides_received == n);
		MUST(s.overrides_received == s.overrides_applied +
		    s.overrides_expired + s.overrides_refused +
		    s.overrides_replaced + s.overrides_waiting);
		MUST(s.packets_in == s.forwarded + s.dropped + s.queued);
		MUST(s.queued <= PACKETS);
	}
	l4s_user_close(h, atomic_load(&now));
	return (NULL);
}

/* Counters as read repeatedly by an operator. */
static void *
onlooker(void *arg)
{
	static const size_t gauges[] = {
		offsetof(struct l4s_stats, queued),
		offsetof(struct l4s_stats, queued_bytes),
		offsetof(struct l4s_stats, records_waiting),
		offsetof(struct l4s_stats, overrides_waiting),
	};
	struct l4s_user_handle *h = arg;
	struct l4s_queues q[2];
	struct l4s_stats s[2];
	size_t i, g;
	unsigned look, l;

	memset(s, 0, sizeof(s));
	memset(q, 0, sizeof(q));
	for (look = 0; !atomic_load(&done); look ^= 1) {
		memset(&s[look], 0, sizeof(s[look]));
		s[look].version = L4S_ABI_VERSION;
		s[look].length = sizeof(s[look]);
		MUST(l4s_user_request(h, L4S_OP_STATS, &s[look],
		    sizeof(s[look]), atomic_load(&now)) == 0);
		for (i = offsetof(struct l4s_stats, packets_in) / 8;
		    i < sizeof(s[look]) / 8; i++) {
			for (g = 0; g < sizeof(gauges) / sizeof(gauges[0]) &&
			    gauges[g] != i * 8; g++)
				;
			MUST(g < sizeof(gauges) / sizeof(gauges[0]) ||
			    ((uint64_t *)&s[look])[i] >=
			    ((uint64_t *)&s[look ^ 1])[i]);
		}
		memset(&q[look], 0, sizeof(q[look]));
		q[look].version = L4S_ABI_VERSION;
		q[look].length = sizeof(q[look]);
		MUST(l4s_user_request(h, L4S_OP_QUEUES, &q[look],
		    sizeof(q[look]), atomic_load(&now)) == 0);
		for (l = 0; l < 2; l++) {
			const struct l4s_queue_stats *after =
			    &q[look].queue[l], *before = &q[look ^ 1].queue[l];

			MUST(after->dropped >= before->dropped);
			MUST(after->drops_ecn >= before->drops_ecn);
			MUST(after->drops_not_ect >= before->drops_not_ect);
			MUST(after->marked >= before->marked);
			MUST(after->packets_in == after->forwarded +
			    after->dropped + after->queued);
		}
	}
	l4s_user_close(h, atomic_load(&now));
	return (NULL);
}

int
main(void)
{
	struct l4s_interval interval = { .records = 8, .streams = L4S_STREAM_RECORDS };
	struct l4s_user_packet out, drops[16];
	struct l4s_user_handle *control;
	struct l4s_interval both = { .records = 3, .streams = L4S_STREAM_ALL,
	    .summary_ns = 1000000 };
	struct reader readers[READERS + 1];
	pthread_t threads[READERS + 3];
	int error, i;

	l4s_user_set_malloc(scarce);
	router = l4s_user_create(NULL, NULL, RING, 1, &error);
	MUST(router != NULL);
	for (i = 0; i <= READERS; i++) {
		readers[i].h = l4s_user_open(router);
		pthread_mutex_init(&readers[i].sleeper.mutex, NULL);
		pthread_cond_init(&readers[i].sleeper.wake, NULL);
		readers[i].sleeper.woken = false;
		MUST(l4s_user_request(readers[i].h, L4S_OP_INTERVAL,
		    i < READERS ? &interval : &both, sizeof(interval), 1) ==
		    0);
		l4s_user_on_ready(readers[i].h, wake, &readers[i].sleeper);
		pthread_create(&threads[i], NULL, i < READERS ? reader :
		    reader_of_both, &readers[i]);
	}
	control = l4s_user_open(router);
	MUST(l4s_user_request(control, L4S_OP_CONTROL, NULL, 0, 1) == 0);
	pthread_create(&threads[READERS + 1], NULL, controller, control);
	pthread_create(&threads[READERS + 2], NULL, onlooker,
	    l4s_user_open(router));

	for (i = 0; i < PACKETS; i++) {
		uint64_t t = atomic_fetch_add(&now, 10000) + 10000;

		(void)l4s_user_enqueue(router, i, 1000, i & 3, i % 7, t);
		if (i % 20 != 0)
			(void)l4s_user_dequeue(router, t, &out);
		(void)l4s_user_drops(router, drops, 16);
	}
	atomic_store(&done, true);
	pthread_join(threads[READERS + 1], NULL);
	pthread_join(threads[READERS + 2], NULL);
	for (i = 0; i < 64; i++)
		(void)l4s_user_dequeue(router, atomic_load(&now), &out);
	/* After the last message: a reader that ends before it miscounts. */
	atomic_store(&written, true);
	for (i = 0; i <= READERS; i++)
		wake(&readers[i].sleeper);
	for (i = 0; i <= READERS; i++) {
		pthread_join(threads[i], NULL);
		l4s_user_close(readers[i].h, atomic_load(&now));
	}
	l4s_user_destroy(router);
	MUST(atomic_load(&read_total) > 0);
	MUST(atomic_load(&summaries) > 0);
	MUST(atomic_load(&refused) > 0);
	printf("ok threads (%llu read, %llu lost, %llu summaries, %llu wakes, "
	    "%llu tables refused)\n",
	    (unsigned long long)atomic_load(&read_total),
	    (unsigned long long)atomic_load(&lost_total),
	    (unsigned long long)atomic_load(&summaries),
	    (unsigned long long)atomic_load(&wakes),
	    (unsigned long long)atomic_load(&refused));
	return (0);
}
