/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Requests about the student, and its memory: each instance has it while it is
 * on, and a request that fails changes nothing.  AddressSanitizer detects
 * double frees, leaks and use after free.
 */

#include "handle.h"
#include "l4s_user.h"
#include "student_file.h"

#define	INSTANCES	3

static const struct l4s_siphash_key key = { 1, 2 };

/* A device with instances, and a privileged and another descriptor. */
struct fixture {
	struct l4s_device device;
	struct l4s_handle h;
	struct l4s_handle observer;
	struct l4s_ring	rings[L4S_RINGS];
	struct l4s_instance instances[INSTANCES];
	struct l4s_pkt_sink sink;
	uint64_t	now;
	uint64_t	words[L4S_RINGS_BYTES(256) / sizeof(uint64_t)];
};

static unsigned allocations, failing;	/* failing: which one, from 1; 0: none */

static void *
counting_malloc(size_t size)
{
	return (++allocations == failing ? NULL : malloc(size));
}

static int
join(struct fixture *f, unsigned i)
{
	struct l4s_instance *inst = &f->instances[i];
	int error;

	l4s_instance_init(inst, i + 1, &f->device.params, &f->device.limits,
	    f->rings, &f->sink, 1, &key);
	error = l4s_device_attach(&f->device, inst);
	if (error != 0)
		l4s_instance_destroy(inst);
	return (error);
}

static void
leave(struct fixture *f, unsigned i)
{
	l4s_device_detach(&f->device, &f->instances[i], f->now);
	l4s_instance_destroy(&f->instances[i]);
}

/* A packet through an instance, which applies posted changes. */
static void
pass(struct fixture *f, unsigned i)
{
	l4s_pkt_t pkt = { .length = 1000, .flow = 1 };

	CHECK(l4s_instance_enqueue(&f->instances[i], &pkt, f->now));
	CHECK(l4s_instance_dequeue(&f->instances[i], f->now) == &pkt);
}

/* A packet through the first n instances, each millisecond. */
static void
run(struct fixture *f, unsigned n, uint64_t ns)
{
	uint64_t end = f->now + ns;
	unsigned i;

	for (; f->now < end; f->now += MS)
		for (i = 0; i < n; i++)
			pass(f, i);
}

static void
set_up(struct fixture *f, unsigned n)
{
	struct l4s_params params;
	struct l4s_limits limits;
	unsigned i;

	f->now = SEC;
	f->sink.head = NULL;
	f->sink.tail = &f->sink.head;
	l4s_params_default(&params);
	l4s_limits_default(&limits);
	l4s_rings_init(f->rings, f->words, 256);
	l4s_device_init(&f->device, f->rings, &params, &limits);
	CHECK_EQ(l4s_handle_open(&f->device, &f->h, true), 0);
	CHECK_EQ(l4s_handle_open(&f->device, &f->observer, false), 0);
	failing = 0;
	l4s_user_set_malloc(counting_malloc);
	for (i = 0; i < n; i++)
		CHECK_EQ(join(f, i), 0);
	allocations = 0;
}

static void
tear_down(struct fixture *f)
{
	l4s_handle_close(&f->observer, f->now);
	l4s_handle_close(&f->h, f->now);
	l4s_device_destroy(&f->device);
	failing = 0;
	l4s_user_set_malloc(NULL);
}

/* The target is `times' the default one. */
static struct student_file
times_target(unsigned times, uint64_t period_ns)
{
	return (student_constant(period_ns, times * 15 * MS, 160000, 3200000,
	    512));
}

static int
load_by(struct l4s_handle *h, const struct student_file *file, uint64_t now)
{
	uint8_t bytes[L4S_STUDENT_BYTES];
	size_t size = student_pack(file, bytes);

	return (l4s_handle_request(h, L4S_OP_LOAD_STUDENT, bytes, size, now));
}

static int
load(struct fixture *f, const struct student_file *file)
{
	return (load_by(&f->h, file, f->now));
}

static int
unload(struct fixture *f)
{
	return (l4s_handle_request(&f->h, L4S_OP_LOAD_STUDENT, NULL, 0,
	    f->now));
}

static struct l4s_student_switch
to(uint32_t on, uint32_t idle_budget)
{
	return ((struct l4s_student_switch){
		.version = L4S_ABI_VERSION,
		.length = sizeof(struct l4s_student_switch),
		.on = on,
		.idle_budget = idle_budget,
	});
}

static int
set(struct fixture *f, struct l4s_student_switch s)
{
	return (l4s_handle_request(&f->h, L4S_OP_SET_STUDENT, &s, sizeof(s),
	    f->now));
}

static struct l4s_student_status
status(struct fixture *f)
{
	struct l4s_student_status s;

	CHECK_EQ(l4s_handle_request(&f->observer, L4S_OP_GET_STUDENT, &s,
	    sizeof(s), f->now), 0);
	CHECK_EQ(s.version, L4S_ABI_VERSION);
	CHECK_EQ(s.length, sizeof(s));
	CHECK_EQ(s.pad0, 0);
	return (s);
}

static void
requests_require_privilege(void)
{
	struct student_file file = times_target(2, 20 * MS);
	struct l4s_student_switch on = to(1, 0);
	static struct fixture f;

	set_up(&f, 1);
	CHECK_EQ(load_by(&f.observer, &file, f.now), L4S_EPERM);
	CHECK_EQ(status(&f).student.length, 0);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(l4s_handle_request(&f.observer, L4S_OP_SET_STUDENT, &on,
	    sizeof(on), f.now), L4S_EPERM);
	CHECK_EQ(l4s_handle_request(&f.observer, L4S_OP_LOAD_STUDENT, NULL, 0,
	    f.now), L4S_EPERM);
	/* Control is not sufficient. */
	CHECK_EQ(l4s_handle_request(&f.observer, L4S_OP_CONTROL, NULL, 0,
	    f.now), 0);
	CHECK_EQ(l4s_handle_request(&f.observer, L4S_OP_SET_STUDENT, &on,
	    sizeof(on), f.now), L4S_EPERM);
	CHECK_EQ(status(&f).on, 0);
	CHECK(status(&f).student.length != 0);
	leave(&f, 0);
	tear_down(&f);
}

static void
the_switch_is_checked(void)
{
	static const uint32_t budgets[] = { 1, 999, 20001, UINT32_MAX };
	struct student_file file = times_target(2, 20 * MS);
	struct l4s_student_switch s = to(1, 0);
	static struct fixture f;
	unsigned i;

	set_up(&f, 1);
	CHECK_EQ(set(&f, s), L4S_ENOENT);
	CHECK_EQ(set(&f, to(0, 7000)), 0);
	CHECK_EQ(status(&f).idle_budget, 0);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(status(&f).idle_budget, 7000);
	for (i = 0; i < nitems(budgets); i++)
		CHECK_EQ(set(&f, to(1, budgets[i])), L4S_EINVAL);
	CHECK_EQ(set(&f, to(2, 0)), L4S_EINVAL);
	s.pad0 = 1;
	CHECK_EQ(set(&f, s), L4S_EINVAL);
	s = to(1, 0);
	s.version--;
	CHECK_EQ(set(&f, s), L4S_EPROTO);
	s = to(1, 0);
	s.length--;
	CHECK_EQ(set(&f, s), L4S_EPROTO);
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_SET_STUDENT, &s,
	    sizeof(s) - 1, f.now), L4S_EPROTO);
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_GET_STUDENT, &s, sizeof(s),
	    f.now), L4S_EPROTO);
	CHECK_EQ(status(&f).on, 0);
	CHECK_EQ(status(&f).idle_budget, 7000);
	CHECK_EQ(set(&f, to(1, 1000)), 0);
	CHECK_EQ(status(&f).idle_budget, 1000);
	CHECK_EQ(set(&f, to(1, 20000)), 0);
	CHECK_EQ(status(&f).idle_budget, 20000);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	CHECK_EQ(status(&f).idle_budget, 5000);
	leave(&f, 0);
	tear_down(&f);
}

static void
switched_on_and_off(void)
{
	struct student_file file = times_target(2, 20 * MS);
	struct l4s_student_status s;
	static struct fixture f;
	unsigned i;

	set_up(&f, INSTANCES);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(allocations, 1);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	CHECK_EQ(allocations, 1 + INSTANCES);
	/* On already: nothing new. */
	CHECK_EQ(set(&f, to(1, 9000)), 0);
	CHECK_EQ(allocations, 1 + INSTANCES);
	for (i = 0; i < INSTANCES; i++) {
		CHECK(f.instances[i].student == NULL);
		pass(&f, i);
		CHECK(f.instances[i].student != NULL);
		CHECK(f.instances[i].posted_student == NULL);
		CHECK_EQ(f.instances[i].idle_budget, 9000);
	}
	run(&f, 2, 50 * MS);
	s = status(&f);
	CHECK_EQ(s.on, 1);
	CHECK_EQ(s.instances, INSTANCES);
	CHECK_EQ(s.steering, 2);
	CHECK_EQ(s.decisions, 2 * 2);
	CHECK_EQ(strcmp(s.student.name, "constant"), 0);
	CHECK_EQ(f.instances[1].queue.set.target_ns, 30 * MS);
	CHECK_EQ(f.instances[2].queue.set.target_ns, 15 * MS);

	CHECK_EQ(set(&f, to(0, 0)), 0);
	CHECK_EQ(status(&f).steering, 2);
	for (i = 0; i < INSTANCES; i++) {
		pass(&f, i);
		CHECK(f.instances[i].student == NULL);
		CHECK_EQ(f.instances[i].queue.set.target_ns, 15 * MS);
		CHECK(!f.instances[i].fold.on);
	}
	s = status(&f);
	CHECK_EQ(s.on, 0);
	CHECK_EQ(s.steering, 0);
	CHECK_EQ(s.decisions, 2 * 2);
	CHECK_EQ(s.student.length, f.device.student->header.length);
	run(&f, INSTANCES, 50 * MS);
	CHECK_EQ(status(&f).decisions, 2 * 2);
	for (i = 0; i < INSTANCES; i++)
		leave(&f, i);
	/* Counts of deleted instances stay. */
	s = status(&f);
	CHECK_EQ(s.decisions, 2 * 2);
	CHECK_EQ(s.instances, 0);
	tear_down(&f);
}

/* Requests without packets in between: the last one counts. */
static void
switched_between_packets(void)
{
	struct student_file one = times_target(2, 20 * MS);
	struct student_file two = times_target(4, 40 * MS);
	static struct fixture f;
	unsigned i;

	set_up(&f, 2);
	CHECK_EQ(load(&f, &one), 0);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(set(&f, to(1, 0)), 0);
		CHECK(f.instances[0].posted_student != NULL);
		CHECK_EQ(set(&f, to(0, 0)), 0);
		CHECK(f.instances[0].posted_student == NULL);
	}
	pass(&f, 0);
	CHECK(f.instances[0].student == NULL);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	pass(&f, 0);
	/* The second instance still waits for the first network. */
	CHECK_EQ(load(&f, &two), 0);
	CHECK_EQ(load(&f, &one), 0);
	CHECK_EQ(load(&f, &two), 0);
	for (i = 0; i < 2; i++) {
		pass(&f, i);
		CHECK_EQ(f.instances[i].student->net.header.period_ns,
		    40 * MS);
	}
	leave(&f, 0);
	leave(&f, 1);
	tear_down(&f);
}

/* A new network starts without a memory, and with its own period. */
static void
loading_while_on_replaces_it(void)
{
	struct student_file file = times_target(2, 20 * MS);
	static struct fixture f;
	struct l4s_instance *inst = &f.instances[0];

	set_up(&f, 1);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	CHECK_EQ(f.device.bounds.ns, 20 * MS);
	run(&f, 1, 100 * MS);
	CHECK(inst->student->state.begun);
	CHECK_EQ(inst->queue.set.target_ns, 30 * MS);

	file = times_target(4, 100 * MS);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(status(&f).on, 1);
	CHECK_EQ(f.device.bounds.ns, 100 * MS);
	pass(&f, 0);
	CHECK(!inst->student->state.begun);
	CHECK_EQ(inst->queue.set.target_ns, 15 * MS);
	run(&f, 1, 150 * MS);
	CHECK_EQ(inst->queue.set.target_ns, 60 * MS);

	/* A file that is refused changes nothing. */
	file.h.idle_budget = 1;
	CHECK_EQ(load(&f, &file), L4S_EINVAL);
	file = times_target(1, 20 * MS);
	file.h.version = 0;
	CHECK_EQ(load(&f, &file), L4S_EPROTO);
	pass(&f, 0);
	CHECK(inst->student->state.begun);
	CHECK_EQ(status(&f).student.period_ns, 100 * MS);

	/* Unloading switches off; it cannot be switched on again. */
	CHECK_EQ(unload(&f), 0);
	CHECK_EQ(f.device.bounds.ns, 0);
	pass(&f, 0);
	CHECK(inst->student == NULL);
	CHECK_EQ(inst->queue.set.target_ns, 15 * MS);
	CHECK_EQ(status(&f).on, 0);
	CHECK_EQ(status(&f).student.length, 0);
	CHECK_EQ(status(&f).idle_budget, 0);
	CHECK_EQ(set(&f, to(1, 0)), L4S_ENOENT);
	CHECK_EQ(unload(&f), 0);
	leave(&f, 0);
	tear_down(&f);
}

/* A change of the budget alone keeps the student's memory. */
static void
a_new_budget_keeps_the_state(void)
{
	struct student_file file = times_target(2, 20 * MS);
	static struct fixture f;
	const struct l4s_student_slot *slot;

	set_up(&f, 1);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	run(&f, 1, 50 * MS);
	slot = f.instances[0].student;
	CHECK_EQ(slot->state.latest[L4S_SIGNAL_BUDGET],
	    l4s_fixed_log2(5000 | 1));
	CHECK_EQ(set(&f, to(1, 20000)), 0);
	run(&f, 1, 50 * MS);
	CHECK(f.instances[0].student == slot);
	CHECK_EQ(f.instances[0].queue.set.target_ns, 30 * MS);
	CHECK_EQ(slot->state.latest[L4S_SIGNAL_BUDGET],
	    l4s_fixed_log2(20000 | 1));
	leave(&f, 0);
	tear_down(&f);
}

static void
new_instances_have_the_student(void)
{
	struct student_file file = times_target(2, 20 * MS);
	static struct fixture f;

	set_up(&f, 1);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	CHECK_EQ(join(&f, 1), 0);
	run(&f, 2, 50 * MS);
	CHECK_EQ(status(&f).steering, 2);
	/* One that leaves without ever having had a packet. */
	CHECK_EQ(join(&f, 2), 0);
	leave(&f, 2);
	/* Switched off between its creation and its attachment. */
	l4s_instance_init(&f.instances[2], 1, &f.device.params,
	    &f.device.limits, f.rings, &f.sink, 1, &key);
	CHECK_EQ(set(&f, to(0, 0)), 0);
	CHECK_EQ(l4s_device_attach(&f.device, &f.instances[2]), 0);
	pass(&f, 2);
	CHECK(f.instances[2].student == NULL);
	leave(&f, 0);
	leave(&f, 1);
	leave(&f, 2);
	tear_down(&f);
}

/* Each allocation of a request fails once. */
static void
a_request_without_memory_is_refused(void)
{
	struct student_file file = times_target(2, 20 * MS);
	struct student_file other = times_target(4, 40 * MS);
	static struct fixture f;
	unsigned i;

	set_up(&f, INSTANCES);
	failing = 1;
	CHECK_EQ(load(&f, &file), L4S_ENOMEM);
	CHECK(f.device.student == NULL);
	failing = 0;
	CHECK_EQ(load(&f, &file), 0);
	for (failing = 1; failing <= INSTANCES; failing++) {
		allocations = 0;
		CHECK_EQ(set(&f, to(1, 1000)), L4S_ENOMEM);
		CHECK_EQ(allocations, failing);
		CHECK_EQ(status(&f).on, 0);
		CHECK_EQ(status(&f).idle_budget, 5000);
		for (i = 0; i < INSTANCES; i++) {
			pass(&f, i);
			CHECK(f.instances[i].student == NULL);
		}
	}
	failing = 0;
	CHECK_EQ(set(&f, to(1, 0)), 0);
	run(&f, INSTANCES, 50 * MS);
	for (failing = 1; failing <= 1 + INSTANCES; failing++) {
		allocations = 0;
		CHECK_EQ(load(&f, &other), L4S_ENOMEM);
		CHECK_EQ(status(&f).student.period_ns, 20 * MS);
		run(&f, INSTANCES, 2 * MS);
		CHECK_EQ(status(&f).steering, INSTANCES);
		for (i = 0; i < INSTANCES; i++)
			CHECK_EQ(f.instances[i].queue.set.target_ns, 30 * MS);
	}
	/* Requests that need no memory do not fail. */
	allocations = 0;
	failing = 1;
	CHECK_EQ(set(&f, to(1, 1000)), 0);
	CHECK_EQ(set(&f, to(0, 0)), 0);
	CHECK_EQ(unload(&f), 0);
	CHECK_EQ(allocations, 0);
	for (i = 0; i < INSTANCES; i++)
		leave(&f, i);
	tear_down(&f);
}

/* An instance is not attached if memory for it is unavailable. */
static void
an_instance_without_memory_is_not_attached(void)
{
	struct student_file file = times_target(2, 20 * MS);
	static struct fixture f;

	set_up(&f, 1);
	f.device.params.flow_weights = 1;
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	allocations = 0;
	for (failing = 1; failing <= 2; failing++) {
		allocations = 0;
		CHECK_EQ(join(&f, 1), L4S_ENOMEM);
		CHECK(f.device.instances == &f.instances[0]);
	}
	failing = 0;
	CHECK_EQ(join(&f, 1), 0);
	leave(&f, 0);
	leave(&f, 1);
	tear_down(&f);
}

/* Readers get the events in order, with the checksum while it is on. */
static void
each_change_is_an_event(void)
{
	struct student_file file = times_target(2, 20 * MS);
	uint32_t checksum, expected[6];
	struct l4s_event e;
	static struct fixture f;
	unsigned n = 0;
	size_t got;

	set_up(&f, 1);
	CHECK_EQ(load(&f, &file), 0);
	checksum = f.device.student->header.checksum;
	CHECK_EQ(set(&f, to(1, 0)), 0);
	pass(&f, 0);
	file = times_target(4, 20 * MS);
	CHECK_EQ(load(&f, &file), 0);
	pass(&f, 0);
	CHECK_EQ(set(&f, to(0, 0)), 0);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	memcpy(expected, (uint32_t[]){ 0, checksum,
	    f.device.student->header.checksum, 0,
	    f.device.student->header.checksum, 0 }, sizeof(expected));
	CHECK(expected[1] != expected[2]);
	CHECK_EQ(unload(&f), 0);
	/* Refused requests are no events. */
	CHECK_EQ(set(&f, to(1, 0)), L4S_ENOENT);
	pass(&f, 0);
	for (;;) {
		CHECK_EQ(l4s_handle_read(&f.h, &e, sizeof(e), f.now, &got), 0);
		if (got == 0)
			break;
		if (e.hdr.type != L4S_RECORD_EVENT)
			continue;
		CHECK_EQ(e.code, L4S_EVENT_STUDENT);
		CHECK_EQ(e.sched, 0);
		CHECK(n < nitems(expected));
		CHECK_EQ(e.value, expected[n]);
		n++;
	}
	CHECK_EQ(n, nitems(expected));
	leave(&f, 0);
	tear_down(&f);
}

/* The shortest of the readers' bounds and the period. */
static void
summaries_are_as_short_as_the_shortest_needed(void)
{
	struct l4s_interval i = { .records = 1,
	    .streams = L4S_STREAM_SUMMARIES, .summary_ns = 50 * MS,
	    .summary_decisions = 100 };
	struct student_file file = times_target(2, 20 * MS);
	static struct fixture f;

	set_up(&f, 1);
	CHECK_EQ(load(&f, &file), 0);
	CHECK_EQ(f.device.bounds.ns, 0);
	CHECK_EQ(l4s_handle_request(&f.h, L4S_OP_INTERVAL, &i, sizeof(i),
	    f.now), 0);
	CHECK_EQ(set(&f, to(1, 0)), 0);
	CHECK_EQ(f.device.bounds.ns, 20 * MS);
	CHECK_EQ(f.device.bounds.decisions, 100);
	pass(&f, 0);
	CHECK_EQ(f.instances[0].fold.bounds.ns, 20 * MS);
	i.summary_ns = 5 * MS;
	CHECK_EQ(l4s_handle_request(&f.observer, L4S_OP_INTERVAL, &i,
	    sizeof(i), f.now), 0);
	CHECK_EQ(f.device.bounds.ns, 5 * MS);
	l4s_handle_close(&f.observer, f.now);
	CHECK_EQ(f.device.bounds.ns, 20 * MS);
	CHECK_EQ(l4s_handle_open(&f.device, &f.observer, false), 0);
	CHECK_EQ(set(&f, to(0, 0)), 0);
	CHECK_EQ(f.device.bounds.ns, 50 * MS);
	leave(&f, 0);
	tear_down(&f);
}

const struct test student_device_tests[] = {
	TEST(requests_require_privilege),
	TEST(the_switch_is_checked),
	TEST(switched_on_and_off),
	TEST(switched_between_packets),
	TEST(loading_while_on_replaces_it),
	TEST(a_new_budget_keeps_the_state),
	TEST(new_instances_have_the_student),
	TEST(a_request_without_memory_is_refused),
	TEST(an_instance_without_memory_is_not_attached),
	TEST(each_change_is_an_event),
	TEST(summaries_are_as_short_as_the_shortest_needed),
	TEST_END
};
