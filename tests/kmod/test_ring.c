/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The ring's accounting, and the content of records. */

#include "record.h"
#include "params.h"
#include "ring.h"
#include "router.h"

static void
write_one(struct l4s_ring *r, uint64_t now)
{
	struct l4s_event e = {
		.hdr = {
			.version = L4S_ABI_VERSION,
			.type = L4S_RECORD_EVENT,
			.length = sizeof(e),
			.time_ns = now,
		},
		.sched = 7,
		.instance = 8,
		.code = L4S_EVENT_PARAMS,
		.value = 9,
	};

	l4s_ring_write(r, &e.hdr);
}

static void
ring_start(struct l4s_ring *r, uint64_t *words, uint32_t capacity)
{
	l4s_ring_init(r, words, capacity, L4S_RECORD_SHIFT,
	    L4S_STREAM_RECORDS);
}

static void
whole_messages_in_order(void)
{
	static uint64_t words[L4S_RING_BYTES(16, L4S_RECORD_SHIFT) / 8];
	struct l4s_cursor c;
	struct l4s_event e;
	struct l4s_ring r;
	unsigned i;

	ring_start(&r, words, 16);
	l4s_cursor_init(&c, &r);
	CHECK(!l4s_cursor_read(&c, &r, 0, &e));
	for (i = 0; i < 100; i++) {
		write_one(&r, 1000 + i);
		CHECK(l4s_cursor_read(&c, &r, 0, &e));
		CHECK_EQ(e.hdr.version, L4S_ABI_VERSION);
		CHECK_EQ(e.hdr.type, L4S_RECORD_EVENT);
		CHECK_EQ(e.hdr.length, L4S_RECORD_SIZE);
		CHECK_EQ(e.hdr.seq, i);
		CHECK_EQ(e.hdr.time_ns, 1000 + i);
		CHECK_EQ(e.sched, 7);
		CHECK_EQ(e.instance, 8);
		CHECK_EQ(e.value, 9);
		CHECK(!l4s_cursor_read(&c, &r, 0, &e));
	}
}

/*
 * Readers of different speed: each gets every message, or a count of the missed
 * ones, in order; and its counters add up at every step.
 */
static void
readers_of_any_speed(void)
{
	static uint64_t words[L4S_RING_BYTES(64, L4S_RECORD_SHIFT) / 8];
	enum { READERS = 4 };
	struct l4s_cursor c[READERS];
	struct l4s_cursor_account a;
	uint64_t expect[READERS], random = 5;
	union {
		struct l4s_event e;
		struct l4s_loss l;
	} m;
	struct l4s_ring r;
	unsigned i, j, n, losses = 0;

	ring_start(&r, words, 64);
	for (j = 0; j < READERS; j++) {
		for (i = 0; i < 10 * j; i++)
			write_one(&r, i);
		l4s_cursor_init(&c[j], &r);
		expect[j] = l4s_ring_head(&r);
	}
	for (i = 0; i < 5000; i++) {
		write_one(&r, i);
		j = test_below(&random, READERS);
		for (n = test_below(&random, 1 + 4 * j); n > 0; n--) {
			if (!l4s_cursor_read(&c[j], &r, 77, &m))
				break;
			CHECK_EQ(m.e.hdr.seq, expect[j]);
			if (m.e.hdr.type == L4S_RECORD_LOSS) {
				losses++;
				CHECK_EQ(m.l.hdr.time_ns, 77);
				CHECK(m.l.lost > 0);
				expect[j] += m.l.lost;
				/* The oldest remaining message comes next. */
				CHECK_EQ(expect[j], l4s_ring_head(&r) - 63);
			} else
				expect[j]++;
		}
		for (j = 0; j < READERS; j++) {
			l4s_cursor_account(&c[j], &r, &a);
			CHECK_EQ(a.written, a.read + a.lost + a.waiting);
			CHECK_EQ(a.written, l4s_ring_head(&r) - c[j].start);
			CHECK(a.waiting <= 63);
		}
	}
	CHECK(losses > 10);
}

static void
capacities(void)
{
	CHECK(!l4s_ring_capacity_ok(0));
	CHECK(!l4s_ring_capacity_ok(8));
	CHECK(l4s_ring_capacity_ok(16));
	CHECK(!l4s_ring_capacity_ok(17));
	CHECK(!l4s_ring_capacity_ok(96));
	CHECK(l4s_ring_capacity_ok(1 << 20));
	CHECK(!l4s_ring_capacity_ok(1 << 21));
}

/* Each field of the messages, with distinct values. */
static void
record_fields(void)
{
	static uint64_t words[L4S_RING_BYTES(16, L4S_RECORD_SHIFT) / 8];
	struct l4s_config config;
	struct l4s_told told;
	struct l4s_params params;
	struct l4s_ring ring;
	struct l4s_cursor cursor;
	union {
		struct l4s_header hdr;
		struct l4s_config config;
		struct l4s_state state;
		struct l4s_totals totals;
		struct l4s_record record;
	} m;
	const struct l4s_record *r = &m.record;
	struct dualpi2 d;
	struct dualpi2_queue *q = &d.queue[L4S_QUEUE_L4S];
	struct dualpi2_verdict v = {
		.sojourn_ns = 123456789, .probability = L4S_PROB_ONE,
		.length = 1234, .queue = L4S_QUEUE_L4S, .ecn = L4S_ECN_CE,
		.action = L4S_ACTION_MARK, .weight = 87,
	};
	struct l4s_decision x = {
		.override_id = 0x1122334455667788, .action = L4S_ACTION_DROP,
		.reason = L4S_REASON_HOLD, .override_action = L4S_ACTION_DROP,
		.status = L4S_STATUS_WATCHDOG,
	};

	l4s_params_paper(&params);
	params.dither = L4S_DITHER_RANDOM;
	dualpi2_init(&d, &params, 1);
	d.p = DUALPI2_P_ONE / 4;
	d.previous_ns = 5555999;
	d.burst_ns = 44444 * US;
	dualpi2_configure(&d, &params);
	q->accumulated = 0xa2345678;
	q->total_packets = 1001 + (1ULL << 32);
	q->total_bytes = 99000;
	q->total_drops = 1003;
	q->backlog = v.backlog = (uint64_t)1005 << 32 | 104;
	q->status |= L4S_STATUS_MEASURING;
	q->sample_start = 1006;
	q->sample_bytes = 1007;
	q->sample_us = 1008;

	ring_start(&ring, words, 16);
	l4s_cursor_init(&cursor, &ring);
	memset(&told, 0, sizeof(told));
	l4s_record_configure(&config, &d, 31, 32);
	l4s_record_keyframe(&ring, &told, &d, &config, 77, 87);
#define	NEXT(type_) do {						\
	CHECK_EQ(l4s_cursor_read(&cursor, &ring, 0, &m), L4S_RECORD_SIZE); \
	CHECK_EQ(m.hdr.version, L4S_ABI_VERSION);			\
	CHECK_EQ(m.hdr.type, (type_));					\
	CHECK_EQ(m.hdr.pad, 0);						\
	CHECK_EQ(m.hdr.length, L4S_RECORD_SIZE);			\
	CHECK_EQ(m.hdr.seq, cursor.next - 1);				\
} while (0)
	NEXT(L4S_RECORD_CONFIG);
	CHECK_EQ(m.hdr.time_ns, 87);
	CHECK_EQ(m.config.sched, 31);
	CHECK_EQ(m.config.instance, 32);
	CHECK_EQ(m.config.target, 15000);
	CHECK_EQ(m.config.tupdate, 15000);
	CHECK_EQ(m.config.max_burst, 150000);
	CHECK_EQ(m.config.max_ecn_threshold, L4S_PROB_ONE / 10);
	CHECK_EQ(m.config.alpha, 1024);		/* 0.125 * 2^13 */
	CHECK_EQ(m.config.beta, 10240);		/* 1.25 * 2^13 */
	CHECK_EQ(m.config.flags, L4S_FLAG_ECN | L4S_FLAG_RANDOM |
	    L4S_FLAG_BURST | L4S_FLAG_MAX_ECNTH);
	CHECK_EQ(m.config.pad, 0);
	NEXT(L4S_RECORD_TOTALS);
	CHECK_EQ(m.totals.queue, L4S_QUEUE_CLASSIC);
	CHECK_EQ(m.totals.total_packets, 0);
	NEXT(L4S_RECORD_TOTALS);
	CHECK_EQ(m.totals.instance, 32);
	CHECK_EQ(m.totals.queue, L4S_QUEUE_L4S);
	CHECK_EQ(m.totals.total_packets, 1001 + (1ULL << 32));
	CHECK_EQ(m.totals.left_bytes, 99000 - 1005);
	CHECK_EQ(m.totals.total_drops, 1003);
	CHECK_EQ(m.totals.sample_start_ns, 1006);
	NEXT(L4S_RECORD_STATE);
	CHECK_EQ(m.state.instance, 32);
	CHECK_EQ(m.state.base_probability, 1U << 29);
	CHECK_EQ(m.state.previous_queue_delay, 5555);
	CHECK_EQ(m.state.burst_allowance, 44444);
	CHECK_EQ(m.state.override_id, 77);
	CHECK_EQ(m.state.sample_us[L4S_QUEUE_CLASSIC], 0);
	CHECK_EQ(m.state.sample_us[L4S_QUEUE_L4S], 1008);
	CHECK_EQ(m.state.sample_bytes[L4S_QUEUE_CLASSIC], 0);
	CHECK_EQ(m.state.sample_bytes[L4S_QUEUE_L4S], 1007);

	/* Unchanged values are not repeated; changed ones are written. */
	l4s_record_context(&ring, &told, &d, &config, 77, 88);
	CHECK_EQ(l4s_cursor_read(&cursor, &ring, 0, &m), 0);
	l4s_record_context(&ring, &told, &d, &config, 78, 88);
	NEXT(L4S_RECORD_STATE);
	CHECK_EQ(m.state.override_id, 78);
	config.beta++;
	l4s_record_context(&ring, &told, &d, &config, 78, 88);
	NEXT(L4S_RECORD_CONFIG);
	CHECK_EQ(m.config.beta, 10241);
	CHECK_EQ(l4s_cursor_read(&cursor, &ring, 0, &m), 0);

	l4s_record_write(&ring, 32, &d, &v, l4s_record_decided(&x, v.action),
	    9999999, 89);
	NEXT(L4S_RECORD_DECISION);
	CHECK_EQ(r->hdr.time_ns, 89);
	CHECK_EQ(r->instance, 32);
	CHECK_EQ(r->total_packets, 1001);
	CHECK_EQ(r->delay_ns, 9999999);
	CHECK_EQ(r->drop_probability, L4S_PROB_ONE);
	CHECK_EQ(r->accumulated, 0xa2345678);
	CHECK_EQ(r->queue_length, 104);
	CHECK_EQ(r->length_in_bytes, 1005);
	CHECK_EQ(r->packet_length, 1234);
	CHECK_EQ(r->weight, 87);
	CHECK_EQ(r->actions, L4S_ACTIONS(L4S_ACTION_DROP, L4S_ACTION_MARK,
	    L4S_ACTION_DROP, L4S_ECN_CE));
	CHECK_EQ(r->queue_reason, L4S_QUEUE_REASON(L4S_QUEUE_L4S,
	    L4S_REASON_HOLD));
	CHECK_EQ(r->status, L4S_STATUS_WATCHDOG | L4S_STATUS_BURST |
	    L4S_STATUS_MEASURING);
#undef NEXT
}

/* One record per decision: departures, drops at departure, tail drops. */
static void
one_record_a_decision(void)
{
	struct l4s_params params;
	struct l4s_user_packet out;
	struct l4s_record_v1 record;
	struct router r;
	unsigned i, records[3] = { 0, 0, 0 }, drops = 0, forwarded = 0;
	uint8_t type;

	l4s_user_params_default(&params);
	params.limit_packets = 50;
	r = router_create(&params, NULL, 1 << 14);
	for (i = 0; i < 4000; i++) {
		r.now += MS;
		(void)router_put(&r, i % 3 == 0 ? L4S_ECN_ECT1 : 0);
		if (i % 8 != 0)
			forwarded += l4s_user_dequeue(r.u, r.now, &out);
		while (l4s_user_drops(r.u, &out, 1) != 0)
			drops++;
	}
	while ((type = router_read(&r, &record)) != 0) {
		if (type != L4S_RECORD_DECISION)
			continue;
		if (record.reason == L4S_REASON_TAIL) {
			CHECK_EQ(record.dequeue_action, L4S_ACTION_DROP);
			CHECK_EQ(record.sojourn_ns, 0);
			records[2]++;
		} else if (record.dequeue_action == L4S_ACTION_DROP)
			records[1]++;
		else
			records[0]++;
	}
	CHECK_EQ(records[0], forwarded);
	CHECK_EQ(records[1] + records[2], drops);
	CHECK(records[1] > 0);
	CHECK(records[2] > 0);
	router_destroy(&r);
}

const struct test ring_tests[] = {
	TEST(whole_messages_in_order),
	TEST(readers_of_any_speed),
	TEST(capacities),
	TEST(record_fields),
	TEST(one_record_a_decision),
	TEST_END
};
