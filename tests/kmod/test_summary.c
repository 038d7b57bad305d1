/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Summaries: what they sum up, and who gets them. */

#include "link.h"
#include "router.h"
#include "summary.h"

/* A router of which one descriptor reads summaries. */
struct reader {
	struct l4s_user_handle *h;
	struct l4s_summary sum;		/* of all that were read */
	unsigned	n;
	uint64_t	lost;
};

static void
set_interval(struct l4s_user_handle *h, uint32_t streams, uint64_t ns,
    uint32_t decisions, uint64_t now)
{
	struct l4s_interval interval = {
		.records = 1,
		.streams = streams,
		.summary_ns = ns,
		.summary_decisions = decisions,
	};

	CHECK_EQ(l4s_user_request(h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), now), 0);
}

static struct reader
reader_open(struct router *r, uint64_t ns, uint32_t decisions)
{
	struct reader reader = { .h = l4s_user_open(r->u) };

	CHECK(reader.h != NULL);
	set_interval(reader.h, L4S_STREAM_SUMMARIES, ns, decisions, r->now);
	return (reader);
}

/* The next summary, if one waits; events are passed over. */
static bool
reader_next(struct reader *reader, struct l4s_summary *s, uint64_t now)
{
	union {
		struct l4s_header hdr;
		struct l4s_summary summary;
		struct l4s_loss loss;
	} m;
	size_t got;

	for (;;) {
		CHECK_EQ(l4s_user_read(reader->h, &m, sizeof(m), now, &got), 0);
		if (got == 0)
			return (false);
		CHECK_EQ(got, m.hdr.length);
		if (m.hdr.type == L4S_RECORD_SUMMARY)
			break;
		if (m.hdr.type == L4S_RECORD_LOSS)
			reader->lost += m.loss.lost;
	}
	*s = m.summary;
	CHECK_EQ(got, sizeof(*s));
	CHECK_EQ(s->sched, 1);
	CHECK(s->begin_ns <= s->hdr.time_ns);
	CHECK(s->idle_ns <= s->hdr.time_ns - s->begin_ns);
	CHECK(s->p_max >= s->p_begin && s->p_max >= s->p_end);
	CHECK_EQ(s->decisions, s->queue[0].forwarded + s->queue[1].forwarded +
	    s->queue[0].drops_aqm + s->queue[1].drops_aqm +
	    s->queue[0].drops_override + s->queue[1].drops_override);
	if (reader->n++ == 0)
		reader->sum = *s;
	else {
		CHECK_EQ(s->begin_ns, reader->sum.hdr.time_ns);
		CHECK_EQ(s->p_begin, reader->sum.p_end);
		l4s_summary_merge(&reader->sum, s);
	}
	return (true);
}

static void
reader_drain(struct reader *reader, uint64_t now)
{
	struct l4s_summary s;

	while (reader_next(reader, &s, now))
		;
}

/* Ends the summary under way with one packet, the queues being empty. */
static void
reader_finish(struct router *r, struct reader *reader)
{
	struct l4s_user_packet out;

	set_interval(reader->h, L4S_STREAM_SUMMARIES, 0, 1, r->now);
	CHECK_EQ(router_put(r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
	reader_drain(reader, r->now);
	CHECK_EQ(reader->sum.hdr.time_ns, r->now);
	l4s_user_close(reader->h, r->now);
}

/* One step of any traffic, with overrides and parameters now and then. */
static void
any_step(struct router *r, uint64_t *random)
{
	struct l4s_user_packet out;
	struct l4s_params params;
	uint32_t choice = test_below(random, 1000);

	r->now += choice % 7 == 0 ? 0 : test_below(random, 2 * MS);
	if (choice == 0)
		r->now += SEC;
	else if (choice < 10)
		(void)router_hold(r, (uint8_t)test_below(random, 3), 5, SEC);
	else if (choice == 10) {
		l4s_user_params_default(&params);
		params.target_ns = (1 + test_below(random, 20)) * MS;
		params.limit_packets = 20 + test_below(random, 60);
		CHECK_EQ(l4s_user_request(r->h, L4S_OP_SET_PARAMS, &params,
		    sizeof(params), r->now), 0);
	} else if (choice < 530)
		(void)l4s_user_enqueue(r->u, r->cookie++,
		    40 + test_below(random, 1461),
		    (uint8_t)test_below(random, 4), test_below(random, 30),
		    r->now);
	else
		(void)l4s_user_dequeue(r->u, r->now, &out);
	while (l4s_user_drops(r->u, &out, 1) != 0)
		;
}

static void
any_drain(struct router *r)
{
	struct l4s_user_packet out;

	while (l4s_user_dequeue(r->u, r->now, &out) != 0)
		r->now += 100 * US;
	while (l4s_user_drops(r->u, &out, 1) != 0)
		;
}

/*
 * The same traffic twice, in one summary and in many with random boundaries:
 * merged, these are the one.
 */
static void
merging_is_folding(void)
{
	struct l4s_summary sums[2];
	struct reader reader;
	uint64_t seed, random, boundaries, tail = 0;
	unsigned i, many;
	struct router r;

	for (seed = 1; seed <= 12; seed++) {
		for (many = 0; many < 2; many++) {
			r = router_create(NULL, NULL, 1 << 12);
			reader = reader_open(&r, 60 * SEC, 0);
			random = boundaries = seed;
			for (i = 0; i < 6000; i++) {
				any_step(&r, &random);
				if (many && test_below(&boundaries, 40) == 0)
					set_interval(reader.h,
					    L4S_STREAM_SUMMARIES, MS +
					    test_below(&boundaries, SEC),
					    1 + test_below(&boundaries, 300),
					    r.now);
				if (many)
					reader_drain(&reader, r.now);
			}
			any_drain(&r);
			reader_finish(&r, &reader);
			CHECK(many ? reader.n > 50 : reader.n == 1);
			CHECK_EQ(reader.lost, 0);
			sums[many] = reader.sum;
			sums[many].hdr.seq = 0;
			router_destroy(&r);
		}
		CHECK(memcmp(&sums[0], &sums[1], sizeof(sums[0])) == 0);
		CHECK(sums[0].idle_ns > 0);
		CHECK(sums[0].p_variation > 0);
		CHECK(sums[0].rate_windows > 0);
		CHECK(sums[0].queue[0].marks_override > 0);
		tail += sums[0].queue[0].drops_tail;
	}
	CHECK(tail > 0);
}

/* What both requests count from one time to another. */
struct counts {
	struct l4s_stats s;
	struct l4s_queues q;
};

static struct counts
counts_of(struct router *r)
{
	struct counts c = { .q = router_queues(r), .s = router_stats(r) };

	return (c);
}

static void
sums_are_counters(void)
{
	struct counts before, after;
	const struct l4s_queue_stats *b, *a;
	const struct l4s_queue_summary *q;
	struct l4s_params params;
	struct reader reader;
	uint64_t random = 3;
	unsigned i;
	struct router r;

	l4s_user_params_default(&params);
	params.overflow = 0;
	r = router_create(&params, NULL, 1 << 12);
	for (i = 0; i < 3000; i++)
		any_step(&r, &random);
	reader = reader_open(&r, 7 * MS, 0);
	before = counts_of(&r);
	for (i = 0; i < 30000; i++) {
		any_step(&r, &random);
		reader_drain(&reader, r.now);
	}
	any_drain(&r);
	reader_finish(&r, &reader);
	after = counts_of(&r);
	for (i = 0; i < 2; i++) {
		b = &before.q.queue[i];
		a = &after.q.queue[i];
		q = &reader.sum.queue[i];
		CHECK_EQ(q->arrived, a->packets_in - b->packets_in);
		CHECK_EQ(q->arrived_bytes, a->bytes_in - b->bytes_in);
		CHECK_EQ(q->forwarded, a->forwarded - b->forwarded);
		CHECK_EQ(q->forwarded_bytes,
		    a->forwarded_bytes - b->forwarded_bytes);
		CHECK_EQ(q->marks_aqm + q->marks_native + q->marks_override,
		    a->marked - b->marked);
		CHECK_EQ(q->drops_aqm + q->drops_override, a->drops_ecn +
		    a->drops_not_ect - b->drops_ecn - b->drops_not_ect);
		CHECK_EQ(q->drops_tail, a->drops_tail - b->drops_tail);
		CHECK_EQ(q->drops_flush, 0);
		CHECK_EQ(q->sojourn_sum_ns, a->delay_sum_ns - b->delay_sum_ns);
		CHECK(q->sojourn_max_ns <= a->delay_max_ns);
		CHECK(q->sojourn_min_ns <= q->sojourn_max_ns);
		CHECK(q->backlog_max <= a->queued_max);
		CHECK_EQ(q->backlog, 0);
		CHECK_EQ(q->backlog_bytes, 0);
	}
	q = reader.sum.queue;
	CHECK_EQ(q[0].marks_aqm + q[1].marks_aqm,
	    after.s.marks_classic - before.s.marks_classic +
	    after.s.marks_coupled - before.s.marks_coupled);
	CHECK_EQ(q[0].marks_native, 0);
	CHECK_EQ(q[1].marks_native,
	    after.s.marks_native - before.s.marks_native);
	CHECK_EQ(q[0].marks_override + q[1].marks_override,
	    after.s.marks_override - before.s.marks_override);
	CHECK_EQ(q[0].drops_aqm + q[1].drops_aqm,
	    after.s.drops_base - before.s.drops_base);
	CHECK_EQ(q[0].drops_override + q[1].drops_override,
	    after.s.drops_override - before.s.drops_override);
	CHECK_EQ(reader.sum.overload_ns,
	    after.q.overload_ns - before.q.overload_ns);
	CHECK_EQ(reader.sum.p_end, after.q.base_probability);
	CHECK(after.s.drops_override > before.s.drops_override);
	router_destroy(&r);
}

/* Sums of squares, extremes and the queue at the end, of known packets. */
static void
folded_values(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct reader reader = reader_open(&r, 0, 3);
	const struct l4s_queue_summary *q = &reader.sum.queue[1];
	struct l4s_user_packet out;
	unsigned i;

	/* Sojourn times of 0, 100 and 200 us; a fourth packet stays. */
	for (i = 0; i < 4; i++)
		CHECK_EQ(l4s_user_enqueue(r.u, i, 700, L4S_ECN_ECT1, i, r.now),
		    0);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
		r.now += 100 * US;
	}
	reader_drain(&reader, r.now);
	CHECK_EQ(reader.n, 1);
	CHECK_EQ(reader.sum.begin_ns, SEC);
	CHECK_EQ(reader.sum.hdr.time_ns, SEC + 200 * US);
	CHECK_EQ(reader.sum.decisions, 3);
	CHECK_EQ(q->arrived, 4);
	CHECK_EQ(q->forwarded, 3);
	CHECK_EQ(q->forwarded_bytes, 2100);
	CHECK_EQ(q->sojourn_sum_ns, 300 * US);
	CHECK_EQ(q->sojourn_sq, (100 * US >> 10) * (100 * US >> 10) +
	    (200 * US >> 10) * (200 * US >> 10));
	CHECK_EQ(q->sojourn_min_ns, 0);
	CHECK_EQ(q->sojourn_max_ns, 200 * US);
	CHECK_EQ(q->backlog, 1);
	CHECK_EQ(q->backlog_bytes, 700);
	CHECK_EQ(q->backlog_max, 4);
	CHECK_EQ(reader.sum.queue[0].sojourn_min_ns, UINT64_MAX);
	CHECK_EQ(reader.sum.queue[0].sojourn_max_ns, 0);
	CHECK_EQ(reader.sum.queue[0].arrived, 0);
	CHECK_EQ(reader.sum.target_ns, 15 * MS);
	CHECK_EQ(reader.sum.l4s_threshold_ns, MS);
	CHECK_EQ(reader.sum.coupling_q8, 512);
	l4s_user_close(reader.h, r.now);
	any_drain(&r);
	router_destroy(&r);
}

/* A link of rate `bps' that takes the next packet as soon as it is free. */
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

/* Each summary's idle time is what its transmissions leave of it. */
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
 * A link that works in ticks of 1 ms, as dummynet's serve_sched() does: credit
 * in bits times ticks a second, added by the tick, spent until it is below 0.
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

/* As dn_dualpi2_dequeue(); bytes sent. */
static uint32_t
tick_dequeue(struct tick_link *t, uint64_t now)
{
	struct l4s_user_packet out;
	uint32_t packets, bytes;
	uint64_t spare;

	/* Bits times ticks a second: exact for the rates below. */
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
 * Over any time from idle to idle the link was busy for as long as its packets
 * take, whatever the tick, at any load.
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
			/* Idle at the end, and there the last one ends. */
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
			/* Half of what the link can send. */
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

static void
logarithms(void)
{
	uint64_t random = 2, x;
	unsigned i;

	CHECK_EQ(l4s_log2_q16(1), 0);
	CHECK_EQ(l4s_log2_q16(UINT64_MAX), (64 << 16) - 1);
	for (i = 0; i < 64; i++)
		CHECK_EQ(l4s_log2_q16(1ULL << i), i << 16);
	for (i = 0; i < 20000; i++) {
		x = test_random(&random) >> test_below(&random, 63) | 1;
		CHECK_NEAR(l4s_log2_q16(x) / 65536.0, log2((double)x),
		    1.0 / 32768);
	}
}

/* Bits of each queue's bitmap: at most one a flow, and most have their own. */
static void
flows(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct reader reader = reader_open(&r, 0, 1 << 30);
	unsigned bits[2] = { 0, 0 }, i, q;

	for (i = 0; i < 400; i++) {
		(void)l4s_user_enqueue(r.u, i, 100, L4S_ECN_ECT1, i % 40,
		    r.now);
		(void)l4s_user_enqueue(r.u, i, 100, L4S_ECN_ECT0, i % 5,
		    r.now);
	}
	any_drain(&r);
	reader_finish(&r, &reader);
	for (q = 0; q < 2; q++)
		for (i = 0; i < L4S_FLOW_BITS / 64; i++)
			bits[q] += (unsigned)__builtin_popcountll(
			    reader.sum.queue[q].flows[i]);
	CHECK(bits[0] == 5 || bits[0] == 6);	/* and reader_finish()'s */
	CHECK(bits[1] <= 40 && bits[1] >= 34);
	router_destroy(&r);
}

/* Both streams: in the order of time, each event once. */
static void
both_streams(void)
{
	struct router r = router_create(NULL, NULL, 1 << 10);
	struct l4s_user_handle *handles[3];
	static const uint32_t streams[3] = { L4S_STREAM_RECORDS,
	    L4S_STREAM_SUMMARIES, L4S_STREAM_ALL };
	unsigned counts[3][16] = { { 0 } }, i, k;
	uint64_t random = 6, last[3] = { 0, 0, 0 }, deadline;
	uint8_t buf[1500];
	struct l4s_header hdr;
	size_t got, at;

	for (k = 0; k < 3; k++) {
		handles[k] = l4s_user_open(r.u);
		set_interval(handles[k], streams[k],
		    streams[k] & L4S_STREAM_SUMMARIES ? 5 * MS : 0, 0, r.now);
	}
	for (i = 0; i < 20000; i++) {
		any_step(&r, &random);
		k = test_below(&random, 3);
		CHECK_EQ(l4s_user_read(handles[k], buf,
		    streams[k] == L4S_STREAM_RECORDS ? L4S_RECORD_SIZE - 1 :
		    sizeof(struct l4s_summary) - 1, r.now, &got), L4S_EINVAL);
		/* Readable means that there is something to read. */
		if (l4s_user_ready(handles[k], r.now, &deadline) == 1 &&
		    streams[k] != L4S_STREAM_RECORDS) {
			CHECK_EQ(l4s_user_read(handles[k], buf, 512, r.now,
			    &got), 0);
			CHECK(got != 0);
		} else
			CHECK_EQ(l4s_user_read(handles[k], buf, sizeof(buf),
			    r.now, &got), 0);
		for (at = 0; at < got; at += hdr.length) {
			memcpy(&hdr, buf + at, sizeof(hdr));
			CHECK(hdr.time_ns >= last[k]);
			last[k] = hdr.time_ns;
			counts[k][hdr.type & 15]++;
			CHECK_EQ(hdr.length, hdr.type == L4S_RECORD_SUMMARY ?
			    sizeof(struct l4s_summary) : L4S_RECORD_SIZE);
		}
		/* None may be lapped: reads above are few. */
		if (i % 100 == 0)
			for (k = 0; k < 3; k++)
				do {
					CHECK_EQ(l4s_user_read(handles[k], buf,
					    sizeof(buf), r.now, &got), 0);
					for (at = 0; at < got;
					    at += hdr.length) {
						memcpy(&hdr, buf + at,
						    sizeof(hdr));
						CHECK(hdr.time_ns >= last[k]);
						last[k] = hdr.time_ns;
						counts[k][hdr.type & 15]++;
					}
				} while (got != 0);
	}
	for (k = 0; k < 3; k++)
		do {
			CHECK_EQ(l4s_user_read(handles[k], buf, sizeof(buf),
			    r.now, &got), 0);
			for (at = 0; at < got; at += hdr.length) {
				memcpy(&hdr, buf + at, sizeof(hdr));
				counts[k][hdr.type & 15]++;
			}
		} while (got != 0);
	CHECK(counts[0][L4S_RECORD_EVENT] > 10);
	CHECK_EQ(counts[1][L4S_RECORD_EVENT], counts[0][L4S_RECORD_EVENT]);
	CHECK_EQ(counts[2][L4S_RECORD_EVENT], counts[0][L4S_RECORD_EVENT]);
	CHECK(counts[0][L4S_RECORD_DECISION] > 5000);
	CHECK_EQ(counts[1][L4S_RECORD_DECISION], 0);
	CHECK_EQ(counts[2][L4S_RECORD_DECISION],
	    counts[0][L4S_RECORD_DECISION]);
	CHECK(counts[1][L4S_RECORD_SUMMARY] > 500);
	CHECK_EQ(counts[0][L4S_RECORD_SUMMARY], 0);
	CHECK_EQ(counts[2][L4S_RECORD_SUMMARY], counts[1][L4S_RECORD_SUMMARY]);
	for (k = 0; k < 3; k++)
		l4s_user_close(handles[k], r.now);
	any_drain(&r);
	router_destroy(&r);
}

/* Reads one message of `type' or none: its code or number lost, else 0. */
static uint64_t
next_of(struct l4s_user_handle *h, uint8_t type, uint64_t now)
{
	union {
		struct l4s_header hdr;
		struct l4s_event event;
		struct l4s_loss loss;
		struct l4s_summary summary;
	} m;
	size_t got;

	/* One message: as much room as the largest of the streams needs. */
	do
		if (l4s_user_read(h, &m, L4S_RECORD_SIZE, now, &got) != 0)
			CHECK_EQ(l4s_user_read(h, &m, sizeof(m), now, &got), 0);
	while (got != 0 && m.hdr.type != type);
	return (got == 0 ? 0 : type == L4S_RECORD_EVENT ? m.event.code :
	    m.loss.lost);
}

/* A new event, and a packet with which it is written. */
static void
make_event(struct router *r, unsigned i)
{
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_user_packet out;

	l4s_user_params_default(&params);
	l4s_user_limits_default(&limits);
	CHECK_EQ(i % 2 == 0 ? l4s_user_request(r->h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), r->now) : l4s_user_request(r->h,
	    L4S_OP_SET_LIMITS, &limits, sizeof(limits), r->now), 0);
	r->now += MS;
	CHECK_EQ(router_put(r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
}

/*
 * A reader that changes its streams, in any way and before or after it has read
 * what waits, gets each event once.
 */
static void
events_outlive_streams(void)
{
	struct router r = router_create(NULL, NULL, 1 << 10);
	struct l4s_user_handle *h = l4s_user_open(r.u);
	uint32_t expect[16], streams;
	uint64_t random = 8, code, events = 0, deadline;
	unsigned i, waiting = 0, n, turn;

	make_event(&r, 0);
	while (next_of(h, L4S_RECORD_EVENT, r.now) != 0)
		;
	for (turn = 0; turn < 2000; turn++) {
		n = test_below(&random, 4);
		for (i = 0; i < n && waiting < nitems(expect); i++) {
			make_event(&r, i);
			expect[waiting++] = i % 2 == 0 ? L4S_EVENT_PARAMS :
			    L4S_EVENT_LIMITS;
		}
		streams = 1 + (uint32_t)test_below(&random, 3);
		set_interval(h, streams, (streams & L4S_STREAM_SUMMARIES) != 0 ?
		    5 * MS : 0, 0, r.now);
		if (waiting != 0)
			CHECK_EQ(l4s_user_ready(h, r.now, &deadline), 1);
		n = test_below(&random, 2) == 0 ? waiting :
		    test_below(&random, waiting + 1);
		for (i = 0; i < n; i++) {
			code = next_of(h, L4S_RECORD_EVENT, r.now);
			CHECK_EQ(code, expect[i]);
			events++;
		}
		waiting -= n;
		memmove(expect, expect + n, waiting * sizeof(expect[0]));
		if (waiting == 0)
			CHECK_EQ(next_of(h, L4S_RECORD_EVENT, r.now), 0);
	}
	CHECK(events > 2000);
	l4s_user_close(h, r.now);
	router_destroy(&r);
}

/* A reader that leaves a stream before it has read a loss there gets it. */
static void
losses_outlive_streams(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_handle *h = l4s_user_open(r.u);
	struct l4s_user_packet out;
	struct l4s_stats s;
	unsigned i;

	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	s = handle_stats(h, r.now);
	CHECK(s.records_lost > 20);
	set_interval(h, L4S_STREAM_SUMMARIES, 5 * MS, 0, r.now);
	/* They do not become more by what came later. */
	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), s.records_lost);
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), 0);
	l4s_user_close(h, r.now);

	/* More events than are kept: the last place counts the others. */
	h = l4s_user_open(r.u);
	make_event(&r, 0);
	for (i = 0; i < 5; i++) {
		make_event(&r, i);
		make_event(&r, i);
		make_event(&r, i);
		set_interval(h, i % 2 == 0 ? L4S_STREAM_SUMMARIES :
		    L4S_STREAM_RECORDS, i % 2 == 0 ? 5 * MS : 0, 0, r.now);
	}
	for (i = 0; i < 15; i++)
		CHECK(next_of(h, L4S_RECORD_EVENT, r.now) != 0);
	l4s_user_close(h, r.now);
	router_destroy(&r);
}

/* A reader that takes up the other stream too gets a loss once. */
static void
a_loss_is_read_once(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_handle *h = l4s_user_open(r.u);
	struct l4s_user_packet out;
	uint64_t lost;
	unsigned i;

	set_interval(h, L4S_STREAM_SUMMARIES, 0, 64, r.now);
	for (i = 0; i < 40 * 64; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	}
	lost = handle_stats(h, r.now).records_lost;
	CHECK(lost > 20);
	set_interval(h, L4S_STREAM_ALL, 0, 64, r.now);
	CHECK_EQ(handle_stats(h, r.now).records_lost, lost);
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), lost);
	CHECK_EQ(next_of(h, L4S_RECORD_LOSS, r.now), 0);
	CHECK_EQ(handle_stats(h, r.now).records_lost, lost);
	l4s_user_close(h, r.now);
	router_destroy(&r);
}

/* A loss says which stream it is of. */
static void
lapped(void)
{
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_user_packet out;
	struct l4s_summary s;
	struct l4s_loss loss;
	size_t got;
	unsigned i;

	set_interval(r.h, L4S_STREAM_SUMMARIES, 0, 1, r.now);
	for (i = 0; i < 40; i++) {
		CHECK_EQ(router_put(&r, 0), 0);
		CHECK_EQ(l4s_user_dequeue(r.u, r.now++, &out), 1);
	}
	CHECK_EQ(l4s_user_read(r.h, &s, sizeof(s), r.now, &got), 0);
	CHECK_EQ(got, sizeof(loss));
	memcpy(&loss, &s, sizeof(loss));
	CHECK_EQ(loss.hdr.type, L4S_RECORD_LOSS);
	CHECK_EQ(loss.stream, L4S_STREAM_SUMMARIES);
	/* 41 with the event of control, 15 in the ring. */
	CHECK_EQ(loss.lost, 26);
	for (i = 26; i < 41; i++) {
		CHECK_EQ(l4s_user_read(r.h, &s, sizeof(s), r.now, &got), 0);
		CHECK_EQ(got, sizeof(s));
		CHECK_EQ(s.hdr.type, L4S_RECORD_SUMMARY);
		CHECK_EQ(s.hdr.seq, i);
		CHECK_EQ(s.decisions, 1);
	}
	CHECK_EQ(router_stats(&r).records_lost, 26);
	router_destroy(&r);
}

/* Passes a packet every 100 us, for `ms' milliseconds. */
static void
steady(struct router *r, unsigned ms)
{
	struct l4s_user_packet out;
	unsigned i;

	for (i = 0; i < 10 * ms; i++) {
		r->now += 100 * US;
		CHECK_EQ(router_put(r, L4S_ECN_ECT1), 0);
		CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
		CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 0);
	}
}

/* The shortest of what readers ask for; and again without the one who did. */
static void
two_readers(void)
{
	struct router r = router_create(NULL, NULL, 1 << 10);
	struct reader slow = reader_open(&r, 100 * MS, 0);
	struct reader fast = reader_open(&r, 10 * MS, 0);
	struct l4s_summary s;

	steady(&r, 205);
	reader_drain(&slow, r.now);
	reader_drain(&fast, r.now);
	CHECK_EQ(slow.n, 20);
	CHECK_EQ(fast.n, 20);
	CHECK_EQ(slow.sum.decisions, 2000);
	/* By decisions too: each has its own bound. */
	set_interval(slow.h, L4S_STREAM_SUMMARIES, 0, 7, r.now);
	steady(&r, 7);
	CHECK(reader_next(&slow, &s, r.now));	/* began before */
	CHECK(reader_next(&slow, &s, r.now));
	CHECK_EQ(s.decisions, 7);
	reader_drain(&slow, r.now);
	set_interval(slow.h, L4S_STREAM_SUMMARIES, 100 * MS, 0, r.now);
	l4s_user_close(fast.h, r.now);
	steady(&r, 205);
	CHECK(reader_next(&slow, &s, r.now));
	CHECK_EQ(s.hdr.time_ns - s.begin_ns, 100 * MS);
	CHECK(reader_next(&slow, &s, r.now));
	CHECK_EQ(s.hdr.time_ns - s.begin_ns, 100 * MS);
	CHECK_EQ(s.decisions, 1000);
	CHECK_EQ(s.idle_ns, 100 * MS);
	l4s_user_close(slow.h, r.now);
	router_destroy(&r);
}

/* Who does not read a stream makes none of it; who comes makes it begin. */
static void
written_for_readers(void)
{
	struct router r = router_create(NULL, NULL, 64);
	struct l4s_user_packet out;
	struct reader reader;
	struct l4s_record record;
	struct l4s_summary s;
	size_t got;

	steady(&r, 10);			/* records */
	reader = reader_open(&r, MS, 0);
	set_interval(r.h, L4S_STREAM_SUMMARIES, MS, 0, r.now);
	steady(&r, 3);			/* summaries */
	CHECK(reader_next(&reader, &s, r.now));
	CHECK_EQ(s.hdr.seq, 0);
	CHECK_EQ(s.begin_ns, SEC + 10 * MS + 100 * US);
	reader_drain(&reader, r.now);
	l4s_user_close(reader.h, r.now);
	set_interval(r.h, L4S_STREAM_RECORDS, 0, 0, r.now);
	CHECK_EQ(router_put(&r, 0), 0);
	CHECK_EQ(l4s_user_dequeue(r.u, r.now, &out), 1);
	/* The event of control, a keyframe and 100 records; 63 waited. */
	CHECK_EQ(next_of(r.h, L4S_RECORD_LOSS, r.now), 105 - 63);
	CHECK_EQ(l4s_user_read(r.h, &record, sizeof(record), r.now, &got), 0);
	CHECK_EQ(got, sizeof(record));
	CHECK_EQ(record.hdr.type, L4S_RECORD_CONFIG);
	CHECK_EQ(record.hdr.seq, 105);
	CHECK_EQ(router_stats(&r).records_written, 105 - 63 + 5);
	steady(&r, 3);
	reader = reader_open(&r, MS, 0);
	steady(&r, 2);
	CHECK(reader_next(&reader, &s, r.now));
	CHECK_EQ(s.hdr.seq, 2);		/* none while nobody read them */
	l4s_user_close(reader.h, r.now);
	router_destroy(&r);
}

static void
intervals_are_checked(void)
{
	static const struct l4s_interval bad[] = {
		{ 1, L4S_STREAM_SUMMARIES, 0, 0, 0, 0 },
		{ 1, L4S_STREAM_RECORDS, 0, MS, 0, 0 },
		{ 1, L4S_STREAM_RECORDS, 0, 0, 5, 0 },
		{ 1, L4S_STREAM_ALL, 0, MS - 1, 0, 0 },
		{ 1, L4S_STREAM_ALL, 0, 60 * SEC + 1, 0, 0 },
		{ 1, L4S_STREAM_ALL, 0, MS, (1U << 30) + 1, 0 },
		{ 1, L4S_STREAM_ALL | 4, 0, MS, 0, 0 },
		{ 1, 0, 0, 0, 0, 0 },
	};
	struct router r = router_create(NULL, NULL, 16);
	struct l4s_interval interval;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		interval = bad[i];
		CHECK_EQ(l4s_user_request(r.h, L4S_OP_INTERVAL, &interval,
		    sizeof(interval), r.now), L4S_EINVAL);
	}
	router_destroy(&r);
}

const struct test summary_tests[] = {
	TEST(merging_is_folding),
	TEST(sums_are_counters),
	TEST(folded_values),
	TEST(idle_time),
	TEST(idle_time_under_a_tick),
	TEST(rate_windows),
	TEST(logarithms),
	TEST(flows),
	TEST(both_streams),
	TEST(lapped),
	TEST(events_outlive_streams),
	TEST(losses_outlive_streams),
	TEST(a_loss_is_read_once),
	TEST(two_readers),
	TEST(written_for_readers),
	TEST(intervals_are_checked),
	TEST_END
};
