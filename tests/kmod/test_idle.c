/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Summaries: the link's idle time and its rate. */

#include "link.h"
#include "summaries.h"

/* A link of rate `bps' that dequeues the next packet as soon as it is free. */
struct link {
	struct router	*r;
	uint64_t	bps;
	uint64_t	free_ns;
	bool		sending;
	uint64_t	sent_ns;	/* in all */
	struct { uint64_t begin, end; } *sent;
	size_t		n;
};

static bool
link_take(struct link *l, uint64_t now)
{
	struct l4s_user_packet out;
	uint64_t ns;

	l->sending = l4s_user_dequeue(l->r->u, now, &out) != 0;
	if (l->sending) {
		ns = out.length * 8 * SEC / l->bps;
		l->free_ns = now + ns;
		l->sent_ns += ns;
		if (l->sent != NULL) {
			l->sent[l->n].begin = now;
			l->sent[l->n++].end = l->free_ns;
		}
	}
	while (l4s_user_drops(l->r->u, &out, 1) != 0)
		;
	return (l->sending);
}

static void
link_run(struct link *l, uint64_t until)
{
	while (l->sending && l->free_ns <= until)
		(void)link_take(l, l->free_ns);
	l->r->now = until;
}

static void
link_put(struct link *l, uint64_t at, uint32_t length, uint8_t ecn)
{
	link_run(l, at);
	(void)l4s_user_enqueue(l->r->u, 0, length, ecn, 0, at);
	if (!l->sending)
		(void)link_take(l, at);
}

/* Each summary's idle time is its interval minus the transmissions. */
static void
idle_time(void)
{
	enum { PACKETS = 4000 };
	struct router r = router_create(NULL, NULL, 1 << 12);
	struct reader reader = reader_open(&r, 20 * MS, 0);
	struct link l = { .r = &r, .bps = 8000000,
	    .sent = calloc(PACKETS, sizeof(l.sent[0])) };
	struct l4s_summary *summaries = calloc(PACKETS, sizeof(*summaries));
	uint64_t random = 9, at = SEC, begin, end, idle;
	size_t i, j, n = 0;

	CHECK(l.sent != NULL && summaries != NULL);
	for (i = 0; i < PACKETS; i++) {
		/* From nearly idle to overload and back. */
		at += test_below(&random, i / 500 % 2 == 0 ? 6 * MS : 1 * MS);
		link_put(&l, at, 40 + test_below(&random, 1461),
		    (uint8_t)test_below(&random, 4));
		while (n < PACKETS && reader_next(&reader, &summaries[n], at))
			n++;
	}
	CHECK(n > 100);
	for (i = 0; i < n; i++) {
		begin = summaries[i].begin_ns;
		end = summaries[i].hdr.time_ns;
		idle = end - begin;
		for (j = 0; j < l.n; j++)
			if (l.sent[j].begin < end && l.sent[j].end > begin)
				idle -= (l.sent[j].end < end ? l.sent[j].end :
				    end) - (l.sent[j].begin > begin ?
				    l.sent[j].begin : begin);
		CHECK_EQ(summaries[i].idle_ns, idle);
	}
	CHECK(reader.sum.idle_ns > SEC);
	l4s_user_close(reader.h, r.now);
	any_drain(&r);
	router_destroy(&r);
	free(summaries);
	free(l.sent);
}

/*
 * A link that works in ticks of 1 ms, like dummynet's serve_sched(): credit in
 * bits times ticks per second, added each tick, spent until it is below 0.
 */
struct tick_link {
	struct router	*r;
	int64_t		bps;
	bool		fast;		/* a tick's credit to begin with */
	int64_t		credit;
	uint64_t	sched_tick, idle_tick, next_tick;
	bool		active;
	struct l4s_link	link;
	uint64_t	sent_ns;
};

#define	HZ	1000

/* Like dn_dualpi2_dequeue(); returns bytes sent. */
static uint32_t
tick_dequeue(struct tick_link *t, uint64_t now)
{
	struct l4s_user_packet out;
	uint32_t packets, bytes;
	uint64_t spare;

	/* Bits times ticks per second: exact for the rates below. */
	spare = (uint64_t)t->credit * (SEC / HZ) / (uint64_t)t->bps;
	l4s_link_spare(&t->link, now, spare);
	l4s_user_backlog(t->r->u, L4S_QUEUE_ANY, &packets, &bytes);
	if (packets == 0)
		l4s_user_idle(t->r->u, t->link.free_ns);
	if (l4s_user_dequeue(t->r->u, now, &out) == 0) {
		l4s_user_idle(t->r->u, t->link.free_ns);
		out.length = 0;
	}
	l4s_link_send(&t->link, out.length * 8 * SEC / (uint64_t)t->bps);
	t->sent_ns += out.length * 8 * SEC / (uint64_t)t->bps;
	return (out.length);
}

static void
tick_serve(struct tick_link *t, uint64_t now, uint64_t tick)
{
	uint32_t sent;

	t->credit += (int64_t)(tick - t->sched_tick) * t->bps;
	t->sched_tick = tick;
	while (t->credit >= 0 && (sent = tick_dequeue(t, now)) != 0)
		t->credit -= (int64_t)HZ * sent * 8;
	t->active = t->credit < 0;
	if (t->active)
		t->next_tick = tick +
		    (uint64_t)((t->bps - 1 - t->credit) / t->bps);
	else
		t->idle_tick = tick;
}

static void
tick_run(struct tick_link *t, uint64_t until)
{
	while (t->active && t->next_tick * (SEC / HZ) <= until)
		tick_serve(t, t->next_tick * (SEC / HZ), t->next_tick);
	t->r->now = until;
}

static void
tick_put(struct tick_link *t, uint64_t at, uint32_t length)
{
	uint64_t tick = at / (SEC / HZ);
	uint32_t packets, bytes;

	tick_run(t, at);
	l4s_user_backlog(t->r->u, L4S_QUEUE_ANY, &packets, &bytes);
	if (packets == 0 && t->link.free_ns < at)
		l4s_user_idle(t->r->u, t->link.free_ns);
	if (l4s_user_enqueue(t->r->u, 0, length, L4S_ECN_ECT0, 0, at) == 0 &&
	    packets == 0)
		l4s_link_arrive(&t->link, at);
	if (t->active)
		return;
	if (t->idle_tick < tick) {
		t->sched_tick = tick;
		t->credit = t->fast ? t->bps : 0;
	}
	tick_serve(t, at, tick);
}

/*
 * From idle to idle, the link was busy for exactly the transmission time of its
 * packets, for any tick and load.
 */
static void
idle_time_under_a_tick(void)
{
	static const uint64_t gaps[] = { 20 * MS, 3 * MS, 700 * US, 130 * US };
	struct router r;
	struct tick_link t;
	struct reader reader;
	uint64_t random = 4, at;
	unsigned g, fast, i;

	for (g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++)
		for (fast = 0; fast < 2; fast++) {
			r = router_create(NULL, NULL, 1 << 12);
			t = (struct tick_link){ .r = &r, .bps = 80000000,
			    .fast = fast != 0 };
			reader = reader_open(&r, 10 * MS, 0);
			at = SEC;
			for (i = 0; i < 5000; i++) {
				at += test_below(&random, (uint32_t)gaps[g]);
				tick_put(&t, at,
				    40 + test_below(&random, 1461));
				reader_drain(&reader, at);
			}
			/* Idle at the end, where the last one ends. */
			at += SEC;
			tick_run(&t, at);
			set_interval(reader.h, L4S_STREAM_SUMMARIES, MS, 0,
			    at);
			r.now = at;
			l4s_user_idle(r.u, t.link.free_ns);
			CHECK_EQ(router_put(&r, 0), 0);
			reader_drain(&reader, at);
			CHECK_EQ(reader.sum.hdr.time_ns, at);
			CHECK_EQ(at - reader.sum.begin_ns - reader.sum.idle_ns,
			    t.sent_ns);
			l4s_user_close(reader.h, at);
			any_drain(&r);
			router_destroy(&r);
		}
}

/* A link of constant rate has drain rates without variance. */
static void
rate_windows(void)
{
	static const uint64_t rates[] = { 1000000, 8000000, 100000000 };
	double mean, n;
	struct router r;
	struct link l;
	struct reader reader;
	uint64_t random = 8, at;
	unsigned i, k;

	for (k = 0; k < sizeof(rates) / sizeof(rates[0]); k++) {
		r = router_create(NULL, NULL, 1 << 12);
		l = (struct link){ .r = &r, .bps = rates[k] };
		reader = reader_open(&r, 100 * MS, 0);
		at = SEC;
		for (i = 0; i < 20000; i++) {
			/* Half of the link's capacity. */
			at += test_below(&random,
			    (uint32_t)(2 * 12000 * SEC / rates[k]));
			link_put(&l, at, 500 * (1 + test_below(&random, 3)),
			    L4S_ECN_ECT0);
			reader_drain(&reader, at);
		}
		n = (double)reader.sum.rate_windows;
		CHECK(n > 20);
		mean = (double)reader.sum.rate_log_sum / n / 65536;
		CHECK_NEAR(mean, log2((double)rates[k] / 8), 1.0 / 4096);
		CHECK_NEAR((double)reader.sum.rate_log_sq / n / 65536,
		    mean * mean, 1.0 / 8192);
		l4s_user_close(reader.h, r.now);
		any_drain(&r);
		router_destroy(&r);
	}
}

const struct test idle_tests[] = {
	TEST(idle_time),
	TEST(idle_time_under_a_tick),
	TEST(rate_windows),
	TEST_END
};
