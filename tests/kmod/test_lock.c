/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The lock in userspace: a real-time packet path that waits for it lends its
 * priority to the holder, such as a reader of counters, which would otherwise
 * not run before every thread of a priority between the two.
 */

#ifdef __linux__
#define	_GNU_SOURCE
#include <sched.h>
#endif
#include <time.h>

#include "osdep.h"
#include "test.h"

#ifdef __linux__

/* Processor time that the holder needs, and that the third thread uses, ns. */
#define	HOLD_NS		(20 * L4S_NS_PER_MS)
#define	BUSY_NS		(400 * L4S_NS_PER_MS)

static struct l4s_lock lock;
static bool held, busy;

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return ((uint64_t)t.tv_sec * L4S_NS_PER_S + (uint64_t)t.tv_nsec);
}

static void
spin(uint64_t ns)
{
	uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		;
}

/* Of this thread; 0: not real-time. */
static bool
set_priority(int priority)
{
	struct sched_param p = { .sched_priority = priority };

	return (pthread_setschedparam(pthread_self(),
	    priority != 0 ? SCHED_FIFO : SCHED_OTHER, &p) == 0);
}

static bool
set_processor(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) ==
	    0);
}

static void
wait_for(bool *condition)
{
	const struct timespec moment = { .tv_nsec = 100000 };

	while (!L4S_LOAD_ACQ(condition))
		(void)nanosleep(&moment, NULL);
}

static void *
holder(void *arg)
{
	(void)set_priority(0);
	(void)set_processor(0);
	l4s_lock(&lock);
	L4S_STORE_REL(&held, true);
	spin(HOLD_NS);
	l4s_unlock(&lock);
	return (arg);
}

/* Keeps the holder from running, unless it has this thread's priority. */
static void *
third(void *arg)
{
	(void)set_priority(1);
	(void)set_processor(0);
	L4S_STORE_REL(&busy, true);
	spin(BUSY_NS);
	return (arg);
}

static void
waiter_lends_its_priority(void)
{
	cpu_set_t before;
	pthread_t threads[2];
	uint64_t began, waited;

	(void)pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
	if (!set_processor(1) || !set_priority(2)) {
		printf("skipped: waiter_lends_its_priority (needs two "
		    "processors and permission for real-time threads)\n");
		(void)pthread_setaffinity_np(pthread_self(), sizeof(before),
		    &before);
		return;
	}
	l4s_lock_init(&lock, "test");
	(void)pthread_create(&threads[0], NULL, holder, NULL);
	wait_for(&held);
	(void)pthread_create(&threads[1], NULL, third, NULL);
	wait_for(&busy);
	began = clock_ns(CLOCK_MONOTONIC);
	l4s_lock(&lock);
	waited = clock_ns(CLOCK_MONOTONIC) - began;
	l4s_unlock(&lock);
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	l4s_lock_destroy(&lock);
	(void)set_priority(0);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	CHECK(waited < BUSY_NS / 2);
}

#endif /* __linux__ */

const struct test lock_tests[] = {
#ifdef __linux__
	TEST(waiter_lends_its_priority),
#endif
	TEST_END
};
