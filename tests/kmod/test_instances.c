/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Instances that are attached to a device and detached, like schedulers on
 * FreeBSD.
 */

#include "decode.h"
#include "handle.h"
#include "test.h"

static const struct l4s_siphash_key key = { 1, 2 };

/* A device with rings and a controller. */
struct fixture {
	struct l4s_device device;
	struct l4s_handle h;
	struct l4s_ring	rings[L4S_RINGS];
	struct l4s_limits limits;
	struct decoder	decoder;
	uint64_t	words[L4S_RINGS_BYTES(64) / sizeof(uint64_t)];
};

static void
set_up(struct fixture *f, uint64_t watchdog_ns)
{
	struct l4s_params params;

	l4s_params_default(&params);
	l4s_limits_default(&f->limits);
	f->limits.watchdog_ns = watchdog_ns;
	memset(&f->decoder, 0, sizeof(f->decoder));
	l4s_rings_init(f->rings, f->words, 64);
	l4s_device_init(&f->device, f->rings, &params, &f->limits);
	CHECK_EQ(l4s_handle_open(&f->device, &f->h, true), 0);
	CHECK_EQ(l4s_handle_request(&f->h, L4S_OP_CONTROL, NULL, 0, SEC), 0);
}

static void
tear_down(struct fixture *f)
{
	l4s_handle_close(&f->h, SEC);
	l4s_device_destroy(&f->device);
}

/* An instance of scheduler `number'; returns the instance's number. */
static uint32_t
join(struct fixture *f, struct l4s_instance *s, uint32_t number)
{
	l4s_instance_init(s, number, &f->device.params, &f->limits, f->rings,
	    NULL, 1, &key);
	CHECK_EQ(l4s_device_attach(&f->device, s), 0);
	return (s->instance);
}

static void
leave(struct fixture *f, struct l4s_instance *s)
{
	l4s_device_detach(&f->device, s, SEC);
	l4s_instance_destroy(s);
}

/* An override of the next packet: 0 or an error. */
static int
order(struct fixture *f, uint32_t number, uint32_t instance)
{
	struct l4s_override o = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(o),
		.id = 1,
		.sched = number,
		.instance = instance,
		.mode = L4S_MODE_ONCE,
		.queue = L4S_QUEUE_ANY,
		.hold_packets = 1,
		.expires_ns = SEC + MS,
	};

	return (l4s_handle_request(&f->h, L4S_OP_OVERRIDE, &o, sizeof(o),
	    SEC));
}

static struct l4s_stats
stats_of(struct fixture *f, uint32_t number, uint32_t instance, uint64_t now)
{
	struct l4s_stats s = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(s),
		.sched = number,
		.instance = instance,
	};

	CHECK_EQ(l4s_device_stats(&f->device, &s, now), 0);
	return (s);
}

/* Reads one message: an event's code, or 0 if none is available. */
static uint32_t
next_event(struct fixture *f, uint32_t *instance)
{
	struct l4s_event event;
	size_t got;

	do {
		CHECK_EQ(l4s_handle_read(&f->h, &event, sizeof(event), 2 * SEC,
		    &got), 0);
		if (got == 0)
			return (0);
		CHECK(event.hdr.type != L4S_RECORD_DECISION);
	} while (event.hdr.type != L4S_RECORD_EVENT);
	*instance = event.instance;
	return (event.code);
}

/* Reads up to the next decision, which must exist, and returns it. */
static struct l4s_record_v1
next_record(struct fixture *f)
{
	struct l4s_record_v1 record;
	uint8_t message[L4S_RECORD_SIZE];
	size_t got;

	do {
		CHECK_EQ(l4s_handle_read(&f->h, message, sizeof(message), SEC,
		    &got), 0);
		CHECK_EQ(got, sizeof(message));
	} while (!decode(&f->decoder, message, &record));
	return (record);
}

/*
 * A recreated scheduler is a different one: overrides for the previous one do
 * not reach it, and its records identify it.
 */
static void
numbers_are_not_reused(void)
{
	struct l4s_instance one, two;
	struct l4s_record_v1 record;
	struct fixture f;
	uint32_t before;

	set_up(&f, 0);
	before = join(&f, &one, 1);
	CHECK_EQ(join(&f, &two, 2), before + 1);
	leave(&f, &one);
	CHECK_EQ(join(&f, &one, 1), before + 2);
	CHECK_EQ(order(&f, 1, before), L4S_ENOENT);
	CHECK_EQ(order(&f, 1, one.instance), 0);

	/* A tail drop is sufficient for a record. */
	l4s_instance_refuse(&one, NULL, 0, 100, SEC);
	record = next_record(&f);
	CHECK_EQ(record.sched, 1);
	CHECK_EQ(record.instance, one.instance);
	CHECK_EQ(stats_of(&f, 1, one.instance, SEC).packets_in, 1);
	leave(&f, &one);
	leave(&f, &two);
	tear_down(&f);
}

/* After all numbers were used, those of existing instances are skipped. */
static void
numbers_after_the_last(void)
{
	struct l4s_instance one, two, three;
	struct fixture f;

	set_up(&f, 0);
	CHECK_EQ(join(&f, &one, 1), 0);
	f.device.joined = UINT32_MAX;
	CHECK_EQ(join(&f, &two, 1), UINT32_MAX);
	CHECK_EQ(join(&f, &three, 1), 1);
	leave(&f, &three);
	CHECK_EQ(join(&f, &three, 2), 2);
	leave(&f, &one);
	leave(&f, &two);
	leave(&f, &three);
	tear_down(&f);
}

static void
set_limits(struct fixture *f)
{
	CHECK_EQ(l4s_handle_request(&f->h, L4S_OP_SET_LIMITS, &f->limits,
	    sizeof(f->limits), SEC), 0);
}

static void
set_params(struct fixture *f)
{
	struct l4s_params params = f->device.params;

	CHECK_EQ(l4s_handle_request(&f->h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), SEC), 0);
}

/* Deleting an instance loses no event pending for its next packet. */
static void
events_outlive_their_instance(void)
{
	struct l4s_instance one, two;
	struct fixture f;
	uint32_t instance = 0;

	set_up(&f, 0);
	/* Without an instance the event does not wait for a packet. */
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_CONTROL_OPEN);
	join(&f, &two, 1);
	join(&f, &one, 1);
	l4s_instance_post_event(&one, L4S_EVENT_WATCHDOG, 1);
	l4s_instance_post_event(&two, L4S_EVENT_WATCHDOG, 1);
	CHECK_EQ(next_event(&f, &instance), 0);

	leave(&f, &one);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_WATCHDOG);
	CHECK_EQ(instance, two.instance + 1);
	CHECK_EQ(next_event(&f, &instance), 0);
	CHECK(l4s_instance_dequeue(&two, SEC) == NULL);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_WATCHDOG);
	CHECK_EQ(instance, two.instance);
	CHECK_EQ(next_event(&f, &instance), 0);

	set_limits(&f);
	CHECK_EQ(next_event(&f, &instance), 0);
	leave(&f, &two);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_LIMITS);
	CHECK_EQ(next_event(&f, &instance), 0);
	tear_down(&f);
}

/*
 * The device's events are written with the next packet of any instance, once,
 * and in order with an instance's own events.
 */
static void
events_wait_for_any_packet(void)
{
	static const uint32_t codes[] = { L4S_EVENT_WATCHDOG,
	    L4S_EVENT_LIMITS, L4S_EVENT_RECOVERED, L4S_EVENT_PARAMS };
	struct l4s_instance one, two, three;
	struct fixture f;
	uint32_t instance = 0;
	unsigned i;

	set_up(&f, 0);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_CONTROL_OPEN);
	join(&f, &one, 1);
	join(&f, &two, 2);
	for (i = 0; i < 2; i++) {
		set_limits(&f);
		CHECK_EQ(next_event(&f, &instance), 0);
		CHECK(l4s_instance_dequeue(i == 0 ? &one : &two, SEC) == NULL);
		CHECK_EQ(next_event(&f, &instance), L4S_EVENT_LIMITS);
		CHECK_EQ(instance, 0);
		CHECK(l4s_instance_dequeue(i == 0 ? &two : &one, SEC) == NULL);
		CHECK_EQ(next_event(&f, &instance), 0);
	}
	/* This includes an instance attached while they are pending. */
	set_limits(&f);
	join(&f, &three, 3);
	CHECK(l4s_instance_dequeue(&three, SEC) == NULL);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_LIMITS);
	CHECK_EQ(next_event(&f, &instance), 0);

	l4s_instance_post_event(&two, L4S_EVENT_WATCHDOG, 1);
	set_limits(&f);
	l4s_instance_post_event(&two, L4S_EVENT_RECOVERED, 0);
	set_params(&f);
	CHECK(l4s_instance_dequeue(&two, SEC) == NULL);
	for (i = 0; i < nitems(codes); i++) {
		CHECK_EQ(next_event(&f, &instance), codes[i]);
		CHECK_EQ(instance, i % 2 == 0 ? two.instance : 0);
	}
	CHECK_EQ(next_event(&f, &instance), 0);

	/* If there are too many, the newest is kept. */
	for (i = 0; i < 2 * L4S_DEVICE_EVENTS; i++)
		set_limits(&f);
	set_params(&f);
	CHECK(l4s_instance_dequeue(&two, SEC) == NULL);
	for (i = 1; i < L4S_DEVICE_EVENTS; i++)
		CHECK_EQ(next_event(&f, &instance), L4S_EVENT_LIMITS);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_PARAMS);
	for (i = 0; i < 2 * L4S_INSTANCE_EVENTS; i++)
		l4s_instance_post_event(&two, L4S_EVENT_RECOVERED, 0);
	l4s_instance_post_event(&two, L4S_EVENT_WATCHDOG, 1);
	CHECK(l4s_instance_dequeue(&two, SEC) == NULL);
	for (i = 1; i < L4S_INSTANCE_EVENTS; i++)
		CHECK_EQ(next_event(&f, &instance), L4S_EVENT_RECOVERED);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_WATCHDOG);
	CHECK_EQ(next_event(&f, &instance), 0);
	leave(&f, &one);
	leave(&f, &two);
	leave(&f, &three);
	tear_down(&f);
}

/* Counters show a missed deadline even if no packet arrives. */
static void
watched_without_packets(void)
{
	struct l4s_instance sched;
	struct l4s_stats s;
	struct fixture f;
	uint64_t at;

	set_up(&f, 10 * MS);
	CHECK_EQ(order(&f, 1, join(&f, &sched, 1)), 0);
	for (at = SEC + 9 * MS; at <= SEC + 12 * MS; at += MS) {
		s = stats_of(&f, 0, 0, at);
		CHECK_EQ(s.watchdog_active, at > SEC + 10 * MS);
		CHECK_EQ(s.watchdog_misses, at > SEC + 10 * MS);
	}
	leave(&f, &sched);
	tear_down(&f);
}

/* Queues a packet in memory provided by the caller. */
static void
put(struct l4s_instance *inst, l4s_pkt_t *pkt, uint8_t ecn, uint64_t now)
{
	memset(pkt, 0, sizeof(*pkt));
	pkt->length = 1000;
	pkt->ecn = ecn;
	CHECK(l4s_instance_enqueue(inst, pkt, now));
}

/* Packets queued when a scheduler is deleted are dropped with a record each. */
static void
dropped_with_their_scheduler(void)
{
	static const uint8_t ecn[] = { L4S_ECN_NOT_ECT, L4S_ECN_ECT1,
	    L4S_ECN_ECT0 };
	struct l4s_pkt_sink sink = { .tail = &sink.head };
	struct l4s_instance inst;
	struct l4s_record_v1 record;
	l4s_pkt_t packets[3];
	struct l4s_stats s;
	struct fixture f;
	unsigned i;

	set_up(&f, 0);
	l4s_instance_init(&inst, 1, &f.device.params, &f.limits, f.rings,
	    &sink, 1, &key);
	CHECK_EQ(l4s_device_attach(&f.device, &inst), 0);
	for (i = 0; i < 3; i++)
		put(&inst, &packets[i], ecn[i], SEC);
	l4s_device_detach(&f.device, &inst, SEC + MS);
	l4s_instance_destroy(&inst);

	s = stats_of(&f, 0, 0, SEC + MS);
	CHECK_EQ(s.packets_in, 3);
	CHECK_EQ(s.dropped, 3);
	CHECK_EQ(s.drops_flush, 3);
	CHECK_EQ(s.queued, 0);
	CHECK_EQ(s.queued_bytes, 0);
	for (i = 0; i < 3; i++) {
		record = next_record(&f);
		CHECK_EQ(record.reason, L4S_REASON_FLUSH);
		CHECK_EQ(record.dequeue_action, L4S_ACTION_DROP);
		CHECK_EQ(record.base_action, L4S_ACTION_DROP);
		CHECK_EQ(record.sched, 1);
		CHECK_EQ(record.sojourn_ns, MS);
		CHECK_EQ(record.packet_length, 1000);
		/* Classic first: two of it, then one of L4S. */
		CHECK_EQ(record.queue_type, i < 2 ? L4S_QUEUE_CLASSIC :
		    L4S_QUEUE_L4S);
		CHECK_EQ(record.queue_length, i == 0);
		CHECK_EQ(record.total_drops, i < 2 ? i + 1 : 1);
	}
	CHECK(sink.head == &packets[0]);
	tear_down(&f);
}

static struct l4s_queues
queues_of(struct fixture *f, uint64_t now)
{
	struct l4s_queues q = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(q),
	};

	CHECK_EQ(l4s_device_queues(&f->device, &q, now), 0);
	return (q);
}

/* Sums over all instances include the counts of a deleted one. */
static void
totals_never_decrease(void)
{
	static const size_t gauges[] = {
		offsetof(struct l4s_stats, queued),
		offsetof(struct l4s_stats, queued_bytes),
		offsetof(struct l4s_stats, overrides_waiting),
		offsetof(struct l4s_stats, watchdog_active),
	};
	struct l4s_pkt_sink sink = { .tail = &sink.head };
	struct l4s_queues q[2];
	struct l4s_instance one, two;
	struct l4s_stats s[2];
	l4s_pkt_t packets[8];
	struct fixture f;
	const uint64_t *before, *after;
	size_t i, g;

	set_up(&f, 0);
	l4s_instance_init(&one, 1, &f.device.params, &f.limits, f.rings,
	    &sink, 1, &key);
	CHECK_EQ(l4s_device_attach(&f.device, &one), 0);
	l4s_instance_init(&two, 2, &f.device.params, &f.limits, f.rings,
	    &sink, 1, &key);
	CHECK_EQ(l4s_device_attach(&f.device, &two), 0);
	for (i = 0; i < 4; i++) {
		put(&one, &packets[i], i & 3, SEC);
		put(&two, &packets[4 + i], i & 3, SEC);
	}
	CHECK(l4s_instance_dequeue(&one, SEC + 5 * MS) != NULL);
	CHECK_EQ(order(&f, 1, 0), 0);		/* waits when it goes */
	CHECK_EQ(order(&f, 9, 9), L4S_ENOENT);

	s[0] = stats_of(&f, 0, 0, SEC + 5 * MS);
	q[0] = queues_of(&f, SEC + 5 * MS);
	CHECK_EQ(s[0].queued, 7);
	CHECK_EQ(s[0].overrides_waiting, 1);
	l4s_device_detach(&f.device, &one, SEC + 5 * MS);
	l4s_instance_destroy(&one);
	s[1] = stats_of(&f, 0, 0, SEC + 5 * MS);
	q[1] = queues_of(&f, SEC + 5 * MS);

	before = (const uint64_t *)&s[0];
	after = (const uint64_t *)&s[1];
	for (i = offsetof(struct l4s_stats, packets_in) / 8;
	    i < sizeof(s[0]) / 8; i++) {
		for (g = 0; g < nitems(gauges) && gauges[g] != i * 8; g++)
			;
		if (g == nitems(gauges))
			CHECK(after[i] >= before[i]);
	}
	CHECK_EQ(s[1].packets_in, 8);
	CHECK_EQ(s[1].forwarded, 1);
	CHECK_EQ(s[1].drops_flush, 3);
	CHECK_EQ(s[1].queued, 4);
	CHECK_EQ(s[1].overrides_waiting, 0);
	CHECK_EQ(s[1].overrides_received, 1);
	CHECK_EQ(s[1].overrides_expired, 1);
	CHECK_EQ(s[1].refused_invalid, 1);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(q[1].queue[i].packets_in, 4);
		CHECK_EQ(q[1].queue[i].queued, 2);
		CHECK_EQ(q[1].queue[i].queued_max, 2);
		CHECK_EQ(q[1].queue[i].delay_max_ns,
		    q[0].queue[i].delay_max_ns);
	}
	CHECK_EQ(q[1].queue[0].forwarded + q[1].queue[1].forwarded, 1);

	/* After the last one, only its counts are left. */
	l4s_device_detach(&f.device, &two, SEC + 6 * MS);
	l4s_instance_destroy(&two);
	s[0] = stats_of(&f, 0, 0, SEC + 6 * MS);
	q[0] = queues_of(&f, SEC + 6 * MS);
	CHECK_EQ(s[0].packets_in, 8);
	CHECK_EQ(s[0].drops_flush, 7);
	CHECK_EQ(s[0].queued, 0);
	CHECK_EQ(q[0].base_probability, 0);
	CHECK_EQ(q[0].queue[0].delay_ns + q[0].queue[1].delay_ns, 0);
	tear_down(&f);
}

/*
 * The ring's wake: a controller that reacts to the last messages of an
 * instance.
 */
static void
answer(struct l4s_ring *r, void *arg)
{
	struct fixture *f = arg;

	r->wake_at = UINT64_MAX;
	CHECK_EQ(order(f, 1, 0), 0);
}

/*
 * An override may arrive between the last message of an instance and the moment
 * when it can no longer be found: it does not stay pending forever.
 */
static void
override_for_a_deleted_instance(void)
{
	struct l4s_instance inst;
	struct l4s_stats s;
	struct fixture f;

	set_up(&f, 0);
	(void)join(&f, &inst, 1);
	inst.overload.reported = true;		/* its end is a message */
	f.rings[0].wake = answer;
	f.rings[0].wake_arg = &f;
	f.rings[0].wake_at = 0;
	f.rings[0].watched = 1;
	leave(&f, &inst);
	s = stats_of(&f, 0, 0, SEC);
	CHECK_EQ(s.overrides_received, 1);
	CHECK_EQ(s.overrides_waiting, 0);
	CHECK_EQ(s.overrides_expired, 1);
	tear_down(&f);
}

/* An overload that lasts until the instance is deleted has an end. */
static void
overload_ends_with_its_instance(void)
{
	struct l4s_instance inst;
	struct fixture f;
	uint32_t instance = 0;

	set_up(&f, 0);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_CONTROL_OPEN);
	(void)join(&f, &inst, 1);
	(void)l4s_instance_dequeue(&inst, SEC);
	inst.queue.p = DUALPI2_P_ONE;		/* derived at the next update */
	inst.queue.set.target_ns = 0;
	(void)l4s_instance_dequeue(&inst, SEC + 20 * MS);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_OVERLOAD);
	CHECK_EQ(next_event(&f, &instance), 0);
	(void)l4s_instance_dequeue(&inst, SEC + 40 * MS);
	leave(&f, &inst);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_OVERLOAD_END);
	CHECK_EQ(queues_of(&f, SEC + 40 * MS).overload, 0);
	CHECK_EQ(queues_of(&f, SEC + 40 * MS).overload_ns, 20 * MS);
	tear_down(&f);
}

/* Every instance has its own summaries, and a last one when it is deleted. */
static void
summaries_of_instances(void)
{
	struct l4s_interval interval = {
		.records = 1,
		.streams = L4S_STREAM_SUMMARIES,
		.summary_ns = 10 * MS,
	};
	struct l4s_pkt_user packets[2] = {
		{ .length = 100, .ecn = L4S_ECN_ECT1 },
		{ .length = 200, .ecn = L4S_ECN_ECT0 },
	};
	struct l4s_instance inst[2];
	struct l4s_summary s;
	struct fixture f;
	uint32_t number[2];
	unsigned i;
	size_t got;

	set_up(&f, 0);
	number[0] = join(&f, &inst[0], 1);
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), SEC), 0);
	/* One that existed before, and one created later. */
	number[1] = join(&f, &inst[1], 2);
	for (i = 0; i < 2; i++) {
		(void)l4s_instance_dequeue(&inst[i], SEC + i);
		CHECK(l4s_instance_enqueue(&inst[i], &packets[i], SEC + MS));
		CHECK(l4s_instance_dequeue(&inst[i], SEC + 3 * MS) ==
		    &packets[i]);
		(void)l4s_instance_dequeue(&inst[i], SEC + 4 * MS);
	}
	l4s_device_detach(&f.device, &inst[0], SEC + 5 * MS);
	l4s_instance_destroy(&inst[0]);
	(void)l4s_instance_dequeue(&inst[1], SEC + 20 * MS);
	for (i = 0; i < 2; i++) {
		do
			CHECK_EQ(l4s_handle_read(&f.h, &s, sizeof(s), SEC,
			    &got), 0);
		while (got != 0 && s.hdr.type != L4S_RECORD_SUMMARY);
		CHECK_EQ(got, sizeof(s));
		CHECK_EQ(s.sched, 1 + i);
		CHECK_EQ(s.instance, number[i]);
		CHECK_EQ(s.begin_ns, SEC + i);
		CHECK_EQ(s.hdr.time_ns, SEC + (i == 0 ? 5 : 20) * MS);
		CHECK_EQ(s.decisions, 1);
		CHECK_EQ(s.queue[1 - i].forwarded_bytes, packets[i].length);
		CHECK_EQ(s.queue[i].forwarded, 0);
		/* It waited for 2 ms, and then the link was busy for 1. */
		CHECK_EQ(s.hdr.time_ns - s.begin_ns - s.idle_ns, 3 * MS);
	}
	leave(&f, &inst[1]);
	tear_down(&f);
}

/* The last summary of an instance without packets since a reader subscribed. */
static void
summary_without_packets(void)
{
	struct l4s_interval interval = {
		.records = 1,
		.streams = L4S_STREAM_SUMMARIES,
		.summary_ns = 10 * MS,
	};
	struct l4s_pkt_user packets[3] = {
		{ .length = 100 }, { .length = 200 },
		{ .length = 400, .ecn = L4S_ECN_ECT1 },
	};
	struct l4s_pkt_sink sink = { .tail = &sink.head };
	struct l4s_instance inst;
	struct l4s_summary s;
	struct fixture f;
	unsigned i;
	size_t got;

	set_up(&f, 0);
	(void)join(&f, &inst, 1);
	inst.sink = &sink;
	for (i = 0; i < nitems(packets); i++)
		CHECK(l4s_instance_enqueue(&inst, &packets[i], SEC));
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), SEC), 0);
	l4s_device_detach(&f.device, &inst, SEC + MS);
	l4s_instance_destroy(&inst);
	do
		CHECK_EQ(l4s_handle_read(&f.h, &s, sizeof(s), SEC + MS, &got),
		    0);
	while (got != 0 && s.hdr.type != L4S_RECORD_SUMMARY);
	CHECK_EQ(got, sizeof(s));
	CHECK_EQ(s.begin_ns, SEC + MS);
	CHECK_EQ(s.hdr.time_ns, SEC + MS);
	CHECK_EQ(s.queue[0].drops_flush, 2);
	CHECK_EQ(s.queue[1].drops_flush, 1);
	CHECK_EQ(s.queue[0].arrived + s.queue[0].forwarded, 0);
	tear_down(&f);
}

/* A reader without privilege or control cannot shorten all summaries. */
static void
observers_ask_for_long_summaries(void)
{
	struct l4s_interval v = { .records = 1, .streams = L4S_STREAM_ALL,
	    .summary_ns = MS };
	struct l4s_handle observer;
	struct fixture f;

	set_up(&f, 0);
	CHECK_EQ(l4s_handle_open(&f.device, &observer, false), 0);
	for (v.summary_decisions = 0; v.summary_decisions < 70;
	    v.summary_decisions++)
		CHECK_EQ(l4s_handle_request(&observer, L4S_OP_INTERVAL, &v,
		    sizeof(v), SEC), v.summary_decisions == 0 ||
		    v.summary_decisions >= 64 ? 0 : L4S_EPERM);
	v.summary_decisions = 1;
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_INTERVAL, &v, sizeof(v),
	    SEC), 0);
	l4s_handle_close(&f.h, SEC);
	CHECK_EQ(l4s_handle_request(&observer, L4S_OP_CONTROL, NULL, 0, SEC),
	    0);
	CHECK_EQ(l4s_handle_request(&observer, L4S_OP_INTERVAL, &v, sizeof(v),
	    SEC), 0);
	l4s_handle_close(&observer, SEC);
	l4s_device_destroy(&f.device);
}

/*
 * Messages of one instance about a past time, the expiry of an override, do not
 * precede those that another instance wrote in the meantime.
 */
static void
times_do_not_go_back(void)
{
	struct l4s_pkt_sink sink = { .head = NULL, .tail = &sink.head };
	struct l4s_override o = {
		.version = L4S_ABI_VERSION,
		.length = sizeof(o),
		.id = 1,
		.sched = 1,
		.mode = L4S_MODE_HOLD,
		.action = L4S_ACTION_MARK,
		.queue = L4S_QUEUE_ANY,
		.hold_packets = 100,
		.expires_ns = SEC + 100 * MS,
	};
	l4s_pkt_t packets[2] = { { .length = 1000 }, { .length = 1000 } };
	struct l4s_instance one, two;
	struct l4s_header hdr;
	uint64_t latest = 0;
	unsigned states = 0;
	uint8_t message[L4S_RECORD_SIZE];
	size_t got;
	struct fixture f;

	set_up(&f, 0);
	join(&f, &one, 1);
	join(&f, &two, 2);
	one.sink = &sink;
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_OVERRIDE, &o, sizeof(o),
	    SEC), 0);
	CHECK(l4s_instance_enqueue(&one, &packets[0], SEC));
	l4s_instance_refuse(&two, NULL, 0, 100, SEC + 200 * MS);
	/*
	 * It runs the controller up to the expiry of the override, and then to
	 * now.
	 */
	CHECK(l4s_instance_enqueue(&one, &packets[1], SEC + 201 * MS));
	for (;;) {
		CHECK_EQ(l4s_handle_read(&f.h, message, sizeof(message),
		    SEC + 201 * MS, &got), 0);
		if (got == 0)
			break;
		memcpy(&hdr, message, sizeof(hdr));
		CHECK(hdr.time_ns >= latest);
		latest = hdr.time_ns;
		states += hdr.type == L4S_RECORD_STATE;
	}
	CHECK_EQ(states, 4);
	CHECK_EQ(latest, SEC + 201 * MS);
	leave(&f, &one);
	leave(&f, &two);
	tear_down(&f);
}

const struct test instance_tests[] = {
	TEST(observers_ask_for_long_summaries),
	TEST(times_do_not_go_back),
	TEST(summary_without_packets),
	TEST(summaries_of_instances),
	TEST(numbers_are_not_reused),
	TEST(numbers_after_the_last),
	TEST(events_outlive_their_instance),
	TEST(events_wait_for_any_packet),
	TEST(watched_without_packets),
	TEST(dropped_with_their_scheduler),
	TEST(totals_never_decrease),
	TEST(override_for_a_deleted_instance),
	TEST(overload_ends_with_its_instance),
	TEST_END
};
