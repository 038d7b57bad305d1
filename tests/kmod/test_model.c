/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Random operations against a simple model: two lists of cookies, the
 * overrides that were accepted, and the promises that must hold after each
 * operation whatever came before.
 */

#include "router.h"

#define	SEEDS		60
#define	STEPS		1500
#define	QUEUE_MAX	256
#define	HANDLES		3

struct fifo {
	uint64_t	cookie[QUEUE_MAX];
	uint8_t		ecn[QUEUE_MAX];
	uint64_t	arrival[QUEUE_MAX];
	unsigned	head, n;
};

struct model {
	struct router	r;
	uint64_t	random;
	struct fifo	queue[2];
	struct l4s_limits limits;
	struct l4s_override last;	/* the newest accepted in time */
	bool		in_force;	/* it may act */
	unsigned	used;		/* packets it was asked about */
	uint64_t	in, out, dropped;
	uint64_t	decisions, override_drops;
	struct l4s_user_handle *observer[HANDLES];
	uint64_t	expect[HANDLES]; /* seq of the next message */
};

static uint32_t
below(struct model *m, uint32_t n)
{
	return (test_below(&m->random, n));
}

static void
push(struct model *m)
{
	uint8_t ecn = below(m, 4), queue = ecn & 1;
	struct fifo *q = &m->queue[queue];
	unsigned at = (q->head + q->n) % QUEUE_MAX;
	uint32_t length = 40 + below(m, 1461);

	q->cookie[at] = m->r.cookie;
	q->ecn[at] = ecn;
	q->arrival[at] = m->r.now;
	m->in++;
	if (l4s_user_enqueue(m->r.u, m->r.cookie++, length, ecn,
	    m->r.now) == 0)
		q->n++;
	/* Else it is the newest drop, seen by check_left(). */
}

/* A packet that left its queue: the head, with a lawful decision on it. */
static void
check_left(struct model *m, const struct l4s_user_packet *p)
{
	struct fifo *q = &m->queue[p->queue];
	bool overridden = p->reason == L4S_REASON_ONCE ||
	    p->reason == L4S_REASON_HOLD;
	uint8_t ecn;

	if (p->reason == L4S_REASON_TAIL) {
		CHECK_EQ(p->action, L4S_ACTION_DROP);
		CHECK_EQ(p->sojourn_ns, 0);
		m->dropped++;
		return;
	}
	CHECK(q->n > 0);
	CHECK_EQ(p->cookie, q->cookie[q->head]);
	CHECK_EQ(p->sojourn_ns, m->r.now - q->arrival[q->head]);
	ecn = q->ecn[q->head];
	q->head = (q->head + 1) % QUEUE_MAX;
	q->n--;
	m->decisions++;

	/* A Not-ECT packet is never marked; else ECN changes by marks only. */
	if (p->action == L4S_ACTION_MARK) {
		CHECK(ecn != L4S_ECN_NOT_ECT);
		CHECK_EQ(p->ecn, L4S_ECN_CE);
	} else
		CHECK_EQ(p->ecn, ecn);

	if (p->action == L4S_ACTION_DROP) {
		m->dropped++;
		m->override_drops += overridden;
	} else
		m->out++;
	if (overridden || (p->reason >= L4S_REASON_NOT_ECT &&
	    m->last.mode != L4S_MODE_STEER)) {
		CHECK(m->in_force);
		CHECK(m->r.now < m->last.expires_ns);
		CHECK(m->last.queue == L4S_QUEUE_ANY ||
		    m->last.queue == p->queue);
		CHECK(++m->used <= m->last.hold_packets);
	}
	if (overridden) {
		CHECK_EQ(p->action, m->last.action);
		CHECK_EQ(p->reason, m->last.mode == L4S_MODE_ONCE ?
		    L4S_REASON_ONCE : L4S_REASON_HOLD);
	}
	if (p->reason == L4S_REASON_STEER) {
		CHECK(m->in_force);
		CHECK(m->r.now < m->last.expires_ns);
		CHECK_EQ(m->last.mode, L4S_MODE_STEER);
	}
	/* The share never shrinks in a run, so that this holds throughout. */
	CHECK(m->override_drops * L4S_FACTOR_ONE <=
	    m->decisions * m->limits.drop_share);
}

static void
pop(struct model *m)
{
	struct l4s_user_packet p, dropped[QUEUE_MAX];
	unsigned backlog = m->queue[0].n + m->queue[1].n;
	uint32_t packets, bytes;
	size_t n, i;
	int got;

	got = l4s_user_dequeue(m->r.u, m->r.now, &p);
	/* Those dropped on the way left before the one that goes. */
	n = l4s_user_drops(m->r.u, dropped, QUEUE_MAX);
	for (i = 0; i < n; i++)
		check_left(m, &dropped[i]);
	if (got != 0)
		check_left(m, &p);
	else
		CHECK_EQ(m->queue[0].n + m->queue[1].n, 0);
	CHECK(got == 1 || backlog == n);
	for (i = 0; i < 2; i++) {
		l4s_user_backlog(m->r.u, i, &packets, &bytes);
		CHECK_EQ(packets, m->queue[i].n);
		CHECK((packets == 0) == (bytes == 0));
	}
}

static void
take_tail_drops(struct model *m)
{
	struct l4s_user_packet p;

	while (l4s_user_drops(m->r.u, &p, 1) != 0)
		check_left(m, &p);
}

static void
send(struct model *m)
{
	struct l4s_override o = router_override(&m->r, 1 + below(m, 3),
	    below(m, 3), 1, below(m, 60) * MS);

	o.queue = below(m, 3);
	if (o.mode == L4S_MODE_HOLD)
		o.hold_packets = 1 + below(m, 30);
	if (o.mode == L4S_MODE_STEER) {
		o.action = 0;
		o.hold_packets = 0;
		o.queue = L4S_QUEUE_ANY;
		o.steer_set = 1 + below(m, L4S_STEER_ALL);
		if ((o.steer_set & L4S_STEER_TARGET) != 0)
			o.target = L4S_FACTOR_ONE / 4 + below(m, 245760);
		if ((o.steer_set & L4S_STEER_THRESHOLD) != 0)
			o.threshold = L4S_FACTOR_ONE / 4 + below(m, 245760);
		if ((o.steer_set & L4S_STEER_COUPLING) != 0)
			o.coupling = L4S_FACTOR_ONE / 4 + below(m, 245760);
		if ((o.steer_set & L4S_STEER_GAIN) != 0)
			o.gain = L4S_FACTOR_ONE / 4 + below(m, 245760);
	}
	if (below(m, 10) == 0)
		((uint8_t *)&o)[below(m, sizeof(o))] ^= 1 << below(m, 8);
	if (router_send(&m->r, &o) == 0 && o.expires_ns > m->r.now) {
		m->last = o;
		m->in_force = true;
		m->used = 0;
	}
}

static void
read_some(struct model *m, unsigned i)
{
	uint8_t buf[8 * L4S_RECORD_SIZE];
	struct l4s_header hdr;
	struct l4s_record record;
	struct l4s_loss loss;
	size_t got, at;

	CHECK_EQ(l4s_user_read(m->observer[i], buf,
	    L4S_RECORD_SIZE * (1 + below(m, 8)), m->r.now, &got), 0);
	for (at = 0; at < got; at += L4S_RECORD_SIZE) {
		memcpy(&hdr, buf + at, sizeof(hdr));
		CHECK_EQ(hdr.length, L4S_RECORD_SIZE);
		CHECK_EQ(hdr.seq, m->expect[i]);
		CHECK(hdr.time_ns <= m->r.now);
		if (hdr.type == L4S_RECORD_LOSS) {
			memcpy(&loss, buf + at, sizeof(loss));
			m->expect[i] += loss.lost;
			continue;
		}
		m->expect[i]++;
		if (hdr.type != L4S_RECORD_DECISION)
			continue;
		memcpy(&record, buf + at, sizeof(record));
		CHECK(record.reason < L4S_REASON_COUNT);
		CHECK(record.dequeue_action == record.base_action ||
		    record.reason == L4S_REASON_ONCE ||
		    record.reason == L4S_REASON_HOLD);
		CHECK(record.ecn != L4S_ECN_NOT_ECT ||
		    record.dequeue_action != L4S_ACTION_MARK);
		CHECK(record.base_probability <= L4S_PROB_ONE);
		CHECK(record.drop_probability <= L4S_PROB_ONE);
	}
}

static void
reconfigure(struct model *m)
{
	struct l4s_params params;

	switch (below(m, 3)) {
	case 0:
		l4s_user_params_default(&params);
		break;
	case 1:
		l4s_user_params_tuned(&params);
		break;
	default:
		l4s_user_params_paper(&params);
		break;
	}
	params.limit_packets = 1 + below(m, QUEUE_MAX - 1);
	params.dither = below(m, 2);
	params.laqm = below(m, 2);
	params.ecn = below(m, 4) != 0;
	params.classic_weight = 1 + below(m, 50);
	params.tupdate_ns = 100 * US + below(m, 20000) * US;
	CHECK_EQ(l4s_user_request(m->r.h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), m->r.now), 0);
}

static void
check_all(struct model *m)
{
	struct l4s_stats s = router_stats(&m->r), total;
	unsigned i;

	CHECK_EQ(s.packets_in, m->in);
	CHECK_EQ(s.forwarded, m->out);
	CHECK_EQ(s.dropped, m->dropped);
	CHECK_EQ(s.drops_override, m->override_drops);
	CHECK_EQ(s.queued, m->queue[0].n + m->queue[1].n);
	CHECK(s.overrides_waiting <= 1);
	for (i = 0; i < HANDLES; i++)
		(void)handle_stats(m->observer[i], m->r.now);
	l4s_user_stats(m->r.u, &total);
	CHECK_EQ(total.overrides_received, s.overrides_received);
}

static void
run(uint64_t seed)
{
	struct model m;
	struct l4s_params params;
	unsigned step, i, busy = 0;

	memset(&m, 0, sizeof(m));
	m.random = seed;
	l4s_user_params_default(&params);
	params.limit_packets = QUEUE_MAX / 2;
	l4s_user_limits_default(&m.limits);
	m.limits.drop_share = below(&m, 3) * (L4S_FACTOR_ONE / 4);
	m.limits.ceiling_ns = (5 + below(&m, 100)) * MS;
	m.limits.watchdog_ns = below(&m, 2) * 40 * MS;
	m.r = router_create(&params, &m.limits, 16 << below(&m, 4));
	for (i = 0; i < HANDLES; i++)
		m.observer[i] = l4s_user_open(m.r.u);

	for (step = 0; step < STEPS; step++) {
		if (step % 100 == 0)
			busy = 20 + below(&m, 50);
		m.r.now += below(&m, step % 50 == 0 ? 200000000 : 2000000);
		i = below(&m, 100);
		if (i < busy) {
			if (m.queue[0].n + m.queue[1].n < QUEUE_MAX - 1)
				push(&m);
			take_tail_drops(&m);
		} else if (i < 85)
			pop(&m);
		else if (i < 92)
			send(&m);
		else if (i < 97)
			read_some(&m, below(&m, HANDLES));
		else if (i < 98)
			reconfigure(&m);
		else if (i < 99) {
			uint64_t deadline;

			(void)l4s_user_ready(m.r.h, m.r.now, &deadline);
		} else {
			l4s_user_close(m.r.h, m.r.now);
			m.in_force = false;
			m.r.h = l4s_user_open(m.r.u);
			CHECK_EQ(l4s_user_request(m.r.h, L4S_OP_CONTROL, NULL,
			    0, m.r.now), 0);
		}
		check_all(&m);
	}
	for (i = 0; i < HANDLES; i++)
		l4s_user_close(m.observer[i], m.r.now);
	router_destroy(&m.r);
}

static void
random_operations(void)
{
	uint64_t seed;

	for (seed = 1; seed <= SEEDS; seed++)
		run(seed);
}

/* The same calls, the same bytes. */
static void
same_seed_same_stream(void)
{
	static uint8_t stream[2][1 << 20];
	struct l4s_user_packet out;
	struct l4s_params params;
	struct router r;
	uint64_t random;
	size_t got[2];
	unsigned i, n;

	l4s_user_params_default(&params);
	params.dither = L4S_DITHER_RANDOM;
	for (i = 0; i < 2; i++) {
		r = router_create(&params, NULL, 1 << 13);
		random = 99;
		for (n = 0; n < 4000; n++) {
			r.now += test_below(&random, 2000000);
			(void)router_put(&r, test_below(&random, 4));
			if (n % 16 != 0)
				(void)l4s_user_dequeue(r.u, r.now, &out);
			if (n % 10 == 0)
				(void)router_once(&r,
				    test_below(&random, 3));
		}
		CHECK_EQ(l4s_user_read(r.h, stream[i], sizeof(stream[i]),
		    r.now, &got[i]), 0);
		router_destroy(&r);
	}
	CHECK(got[0] > 500000);
	CHECK_EQ(got[0], got[1]);
	CHECK_EQ(memcmp(stream[0], stream[1], got[0]), 0);
}

const struct test model_tests[] = {
	TEST(random_operations),
	TEST(same_seed_same_stream),
	TEST_END
};
