/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Memory of flow weights: instances have it while flow_weights is on, and a
 * request that cannot get it changes nothing.  AddressSanitizer detects double
 * frees, leaks and use after free.
 */

#include "handle.h"
#include "l4s_user.h"
#include "test.h"

#define	INSTANCES	3

static const struct l4s_siphash_key key = { 1, 2 };

/* A device with instances and a controller. */
struct fixture {
	struct l4s_device device;
	struct l4s_handle h;
	struct l4s_instance instances[INSTANCES];
	struct l4s_pkt_sink sink;
	struct l4s_params params;
	struct l4s_limits limits;
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

	l4s_instance_init(inst, i + 1, &f->params, &f->limits, NULL, &f->sink,
	    1, &key);
	error = l4s_device_attach(&f->device, inst);
	if (error != 0)
		l4s_instance_destroy(inst);
	return (error);
}

static void
leave(struct fixture *f, unsigned i)
{
	l4s_device_detach(&f->device, &f->instances[i], SEC);
	l4s_instance_destroy(&f->instances[i]);
}

/* With n instances, and flow weights on or off. */
static void
set_up(struct fixture *f, unsigned n, bool on)
{
	unsigned i;

	f->sink.head = NULL;
	f->sink.tail = &f->sink.head;
	l4s_params_default(&f->params);
	f->params.flow_weights = on;
	l4s_limits_default(&f->limits);
	l4s_device_init(&f->device, NULL, &f->params, &f->limits);
	CHECK_EQ(l4s_handle_open(&f->device, &f->h, true), 0);
	CHECK_EQ(l4s_handle_request(&f->h, L4S_OP_CONTROL, NULL, 0, SEC), 0);
	failing = 0;
	l4s_user_set_malloc(counting_malloc);
	allocations = 0;
	for (i = 0; i < n; i++)
		CHECK_EQ(join(f, i), 0);
}

static void
tear_down(struct fixture *f)
{
	l4s_handle_close(&f->h, SEC);
	l4s_device_destroy(&f->device);
	failing = 0;
	l4s_user_set_malloc(NULL);
}

static int
switch_weights(struct fixture *f, bool on)
{
	f->params.flow_weights = on;
	return (l4s_handle_request(&f->h, L4S_OP_SET_PARAMS, &f->params,
	    sizeof(f->params), SEC));
}

/* A packet through an instance, which applies posted changes. */
static void
pass(struct fixture *f, unsigned i)
{
	l4s_pkt_t pkt = { .length = 1000, .flow = 1 };

	CHECK(l4s_instance_enqueue(&f->instances[i], &pkt, SEC));
	CHECK(l4s_instance_dequeue(&f->instances[i], SEC) == &pkt);
}

static const union l4s_flow_table *
in_use(const struct fixture *f, unsigned i)
{
	const struct l4s_instance *inst = &f->instances[i];

	CHECK(inst->queue.flows == inst->weights.table);
	return (inst->weights.table);
}

/* Off uses no memory; on uses one table per instance, and off frees it. */
static void
switched_on_and_off(void)
{
	struct fixture f;
	unsigned i;

	set_up(&f, INSTANCES, false);
	for (i = 0; i < INSTANCES; i++) {
		pass(&f, i);
		CHECK(in_use(&f, i) == NULL);
	}
	CHECK_EQ(allocations, 0);
	CHECK_EQ(switch_weights(&f, true), 0);
	CHECK_EQ(allocations, INSTANCES);
	CHECK(in_use(&f, 0) == NULL);
	for (i = 0; i < INSTANCES; i++) {
		CHECK(f.instances[i].posted_table != NULL);
		pass(&f, i);
		CHECK(in_use(&f, i) != NULL);
		CHECK(f.instances[i].posted_table == NULL);
	}
	/* On already: no more. */
	CHECK_EQ(switch_weights(&f, true), 0);
	CHECK_EQ(switch_weights(&f, false), 0);
	CHECK_EQ(allocations, INSTANCES);
	for (i = 0; i < INSTANCES; i++) {
		CHECK(in_use(&f, i) != NULL);
		pass(&f, i);
		CHECK(in_use(&f, i) == NULL);
	}
	for (i = 0; i < INSTANCES; i++)
		leave(&f, i);
	tear_down(&f);
}

/* Requests without packets in between: the last one counts. */
static void
switched_between_packets(void)
{
	const union l4s_flow_table *table;
	struct fixture f;
	unsigned i;

	set_up(&f, 1, false);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(switch_weights(&f, true), 0);
		CHECK(f.instances[0].posted_table != NULL);
		CHECK_EQ(switch_weights(&f, false), 0);
		CHECK(f.instances[0].posted_table == NULL);
	}
	pass(&f, 0);
	CHECK(in_use(&f, 0) == NULL);
	CHECK_EQ(switch_weights(&f, true), 0);
	pass(&f, 0);
	/*
	 * The instance never notices that they were off, and keeps its rates.
	 */
	table = in_use(&f, 0);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(switch_weights(&f, false), 0);
		CHECK_EQ(switch_weights(&f, true), 0);
		CHECK(f.instances[0].posted_table == NULL);
	}
	pass(&f, 0);
	CHECK(in_use(&f, 0) == table);
	CHECK(f.instances[0].weights.first != FLOW_LAST);
	leave(&f, 0);
	tear_down(&f);
}

/* Defaults apply to new instances, with and without packets. */
static void
new_instances(void)
{
	struct fixture f;

	set_up(&f, 2, true);
	CHECK_EQ(allocations, 2);
	pass(&f, 0);
	CHECK(in_use(&f, 0) != NULL);
	leave(&f, 0);
	leave(&f, 1);
	/* Its table is posted when weights are enabled. */
	CHECK_EQ(join(&f, 2), 0);
	CHECK_EQ(switch_weights(&f, false), 0);
	CHECK(f.instances[2].posted_table == NULL);
	pass(&f, 2);
	CHECK(in_use(&f, 2) == NULL);
	/* Enabled between its creation and its attachment. */
	l4s_instance_init(&f.instances[0], 1, &f.params, &f.limits, NULL,
	    &f.sink, 1, &key);
	CHECK_EQ(switch_weights(&f, true), 0);
	CHECK_EQ(l4s_device_attach(&f.device, &f.instances[0]), 0);
	pass(&f, 0);
	CHECK(in_use(&f, 0) != NULL);
	leave(&f, 0);
	leave(&f, 2);
	tear_down(&f);
}

/* Each allocation of a request fails once. */
static void
a_request_without_memory_is_refused(void)
{
	struct l4s_params params;
	struct fixture f;
	unsigned i;

	set_up(&f, INSTANCES, false);
	f.params.target_ns = 7 * MS;
	for (failing = 1; failing <= INSTANCES; failing++) {
		allocations = 0;
		CHECK_EQ(switch_weights(&f, true), L4S_ENOMEM);
		CHECK_EQ(allocations, failing);
		l4s_device_params(&f.device, &params);
		CHECK_EQ(params.flow_weights, 0);
		CHECK_EQ(params.target_ns, 15 * MS);
		for (i = 0; i < INSTANCES; i++) {
			pass(&f, i);
			CHECK(in_use(&f, i) == NULL);
			CHECK_EQ(f.instances[i].queue.params.target_ns,
			    15 * MS);
		}
	}
	allocations = 0;
	CHECK_EQ(switch_weights(&f, true), 0);
	/* Requests that need no memory do not fail. */
	failing = allocations + 1;
	f.params.target_ns = 9 * MS;
	CHECK_EQ(switch_weights(&f, true), 0);
	for (i = 0; i < INSTANCES; i++) {
		pass(&f, i);
		CHECK(in_use(&f, i) != NULL);
		CHECK_EQ(f.instances[i].queue.params.target_ns, 9 * MS);
	}
	CHECK_EQ(switch_weights(&f, false), 0);
	CHECK_EQ(allocations + 1, failing);
	for (i = 0; i < INSTANCES; i++)
		leave(&f, i);
	tear_down(&f);
}

/* An instance is not attached if memory for it is unavailable. */
static void
an_instance_without_memory_is_not_attached(void)
{
	struct l4s_params params;
	struct fixture f;
	struct l4s_user *u;
	int error;

	set_up(&f, 1, true);
	failing = allocations + 1;
	CHECK_EQ(join(&f, 1), L4S_ENOMEM);
	CHECK(f.device.instances == &f.instances[0]);
	CHECK(f.instances[0].next == NULL);
	CHECK_EQ(join(&f, 1), 0);
	CHECK_EQ(f.instances[1].instance, 1);
	pass(&f, 1);
	leave(&f, 0);
	leave(&f, 1);

	l4s_user_params_default(&params);
	params.flow_weights = 1;
	allocations = 0;
	for (failing = 1; failing <= 3; failing++) {
		allocations = error = 0;
		u = l4s_user_create(&params, NULL, 16, 1, &error);
		CHECK(u == NULL);
		CHECK_EQ(error, L4S_ENOMEM);
	}
	allocations = 0;
	u = l4s_user_create(&params, NULL, 16, 1, &error);
	CHECK(u != NULL);
	CHECK_EQ(allocations, 3);
	l4s_user_destroy(u);
	tear_down(&f);
}

const struct test flow_tables_tests[] = {
	TEST(switched_on_and_off),
	TEST(switched_between_packets),
	TEST(new_instances),
	TEST(a_request_without_memory_is_refused),
	TEST(an_instance_without_memory_is_not_attached),
	TEST_END
};
