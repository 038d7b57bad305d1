/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Instances that join a device and leave it, as schedulers do on FreeBSD. */

#include "handle.h"
#include "test.h"

/* A device with a ring and a controller. */
struct fixture {
	struct l4s_device device;
	struct l4s_handle h;
	struct l4s_ring	ring;
	struct l4s_limits limits;
	uint64_t	words[L4S_RING_BYTES(16) / sizeof(uint64_t)];
};

static void
set_up(struct fixture *f, uint64_t watchdog_ns)
{
	struct l4s_params params;

	l4s_params_default(&params);
	l4s_limits_default(&f->limits);
	f->limits.watchdog_ns = watchdog_ns;
	l4s_ring_init(&f->ring, f->words, 16);
	l4s_device_init(&f->device, &f->ring, &params, &f->limits);
	CHECK_EQ(l4s_handle_open(&f->device, &f->h, true), 0);
	CHECK_EQ(l4s_handle_request(&f->h, L4S_OP_CONTROL, NULL, 0, SEC), 0);
}

static void
tear_down(struct fixture *f)
{
	l4s_handle_close(&f->h, SEC);
	l4s_device_destroy(&f->device);
}

/* An instance of scheduler `number'; its own number. */
static uint32_t
join(struct fixture *f, struct l4s_instance *s, uint32_t number)
{
	l4s_instance_init(s, number, &f->device.params, &f->limits, &f->ring,
	    NULL, 1);
	l4s_device_attach(&f->device, s);
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

/* Reads one message: an event's code, or 0 when none waits. */
static uint32_t
next_event(struct fixture *f, uint32_t *instance)
{
	struct l4s_event event;
	size_t got;

	CHECK_EQ(l4s_handle_read(&f->h, &event, sizeof(event), 2 * SEC, &got),
	    0);
	if (got == 0)
		return (0);
	CHECK_EQ(event.hdr.type, L4S_RECORD_EVENT);
	*instance = event.instance;
	return (event.code);
}

/* Reads up to the next decision and it; zeros when there is none. */
static struct l4s_record
next_record(struct fixture *f)
{
	struct l4s_record record;
	size_t got;

	do {
		memset(&record, 0, sizeof(record));
		CHECK_EQ(l4s_handle_read(&f->h, &record, sizeof(record), SEC,
		    &got), 0);
	} while (got != 0 && record.hdr.type != L4S_RECORD_DECISION);
	CHECK_EQ(got, sizeof(record));
	return (record);
}

/*
 * A scheduler that is made anew is another: what was decided for the one
 * before does not reach it, and its records say which it is.
 */
static void
numbers_do_not_come_again(void)
{
	struct l4s_instance one, two;
	struct l4s_record record;
	struct fixture f;
	uint32_t before;

	set_up(&f, 0);
	before = join(&f, &one, 1);
	CHECK_EQ(join(&f, &two, 2), before + 1);
	leave(&f, &one);
	CHECK_EQ(join(&f, &one, 1), before + 2);
	CHECK_EQ(order(&f, 1, before), L4S_ENOENT);
	CHECK_EQ(order(&f, 1, one.instance), 0);

	/* A tail drop will do for a record. */
	l4s_instance_refuse(&one, NULL, 0, 100, SEC);
	record = next_record(&f);
	CHECK_EQ(record.sched, 1);
	CHECK_EQ(record.instance, one.instance);
	CHECK_EQ(stats_of(&f, 1, one.instance, SEC).packets_in, 1);
	leave(&f, &one);
	leave(&f, &two);
	tear_down(&f);
}

/* When all numbers were given, those that live are passed over. */
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

/* Deleting an instance loses no event that waited for its next packet. */
static void
events_outlive_their_instance(void)
{
	struct l4s_instance one, two;
	struct fixture f;
	uint32_t instance = 0;

	set_up(&f, 0);
	/* The controller was told of at once: there was no instance. */
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_CONTROL_OPEN);
	join(&f, &two, 1);
	join(&f, &one, 1);
	l4s_instance_post_event(&one, 1, one.instance, L4S_EVENT_WATCHDOG, 1);
	l4s_instance_post_event(&two, 1, two.instance, L4S_EVENT_WATCHDOG, 1);
	CHECK_EQ(next_event(&f, &instance), 0);

	/* To the one that stays, which tells with its next packet. */
	leave(&f, &one);
	CHECK_EQ(next_event(&f, &instance), 0);
	CHECK(l4s_instance_dequeue(&two, SEC) == NULL);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_WATCHDOG);
	CHECK_EQ(instance, two.instance);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_WATCHDOG);
	CHECK_EQ(instance, two.instance + 1);
	CHECK_EQ(next_event(&f, &instance), 0);

	/* The last one's are told at once. */
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_SET_LIMITS, &f.limits,
	    sizeof(f.limits), SEC), 0);
	CHECK_EQ(next_event(&f, &instance), 0);
	leave(&f, &two);
	CHECK_EQ(next_event(&f, &instance), L4S_EVENT_LIMITS);
	CHECK_EQ(next_event(&f, &instance), 0);
	tear_down(&f);
}

/* Counters tell of a missed deadline though no packet comes to see it. */
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

const struct test instance_tests[] = {
	TEST(numbers_do_not_come_again),
	TEST(numbers_after_the_last),
	TEST(events_outlive_their_instance),
	TEST(watched_without_packets),
	TEST_END
};
