/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * System dependencies of the portable sources: integers, memory copies, one
 * kind of lock, and atomics.  Everything else in the portable sources is plain
 * C without floating point.
 */

#ifndef _L4S_OSDEP_H_
#define	_L4S_OSDEP_H_

#ifdef _KERNEL

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mutex.h>

#define	L4S_ASSERT(cond)	KASSERT((cond), ("l4s: %s", #cond))

#else /* !_KERNEL */

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define	L4S_ASSERT(cond)	assert(cond)

#ifndef nitems
#define	nitems(x)		(sizeof((x)) / sizeof((x)[0]))
#endif
#ifndef __predict_false
#define	__predict_true(exp)	__builtin_expect((exp), 1)
#define	__predict_false(exp)	__builtin_expect((exp), 0)
#endif

#endif /* _KERNEL */

/*
 * 64-bit words are read and written atomically below; other machines would need
 * a lock on the packet path.
 */
#if __SIZEOF_POINTER__ != 8
#error "dualpi2_llm needs a 64-bit machine"
#endif

/*
 * A mutex that is held for a few instructions and never across a sleep.  A
 * waiter lends its priority to the holder, as in the kernel: otherwise a
 * real-time packet path would wait until a preempted reader of counters runs
 * again.  Order, outermost first:
 *
 *	packet path's own (dummynet's; the caller's in userspace)
 *	l4s_device.lock		control, descriptors, instances
 *	l4s_overrides.lock	mailbox to the packet path, override counts
 *	l4s_device.events.lock	events that wait or are written to several rings
 *	l4s_device.wake_lock	waiters
 */
struct l4s_lock {
#ifdef _KERNEL
	struct mtx	mtx;
#else
	pthread_mutex_t	mtx;
#endif
};

static inline void
l4s_lock_init(struct l4s_lock *lock, const char *name)
{
#ifdef _KERNEL
	mtx_init(&lock->mtx, name, NULL, MTX_DEF);
#else
	pthread_mutexattr_t attributes;

	(void)name;
	(void)pthread_mutexattr_init(&attributes);
	(void)pthread_mutexattr_setprotocol(&attributes,
	    PTHREAD_PRIO_INHERIT);
	(void)pthread_mutex_init(&lock->mtx, &attributes);
	(void)pthread_mutexattr_destroy(&attributes);
#endif
}

static inline void
l4s_lock_destroy(struct l4s_lock *lock)
{
#ifdef _KERNEL
	mtx_destroy(&lock->mtx);
#else
	(void)pthread_mutex_destroy(&lock->mtx);
#endif
}

static inline void
l4s_lock(struct l4s_lock *lock)
{
#ifdef _KERNEL
	mtx_lock(&lock->mtx);
#else
	(void)pthread_mutex_lock(&lock->mtx);
#endif
}

static inline void
l4s_unlock(struct l4s_lock *lock)
{
#ifdef _KERNEL
	mtx_unlock(&lock->mtx);
#else
	(void)pthread_mutex_unlock(&lock->mtx);
#endif
}

/*
 * Atomics: the compiler builtins that the kernel's compilers and those of
 * userspace share, under short names.
 */
#define	L4S_LOAD(p)		__atomic_load_n((p), __ATOMIC_RELAXED)
#define	L4S_STORE(p, v)		__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define	L4S_LOAD_ACQ(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define	L4S_STORE_REL(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define	L4S_ATOMIC_ADD(p, n)						\
	((void)__atomic_fetch_add((p), (n), __ATOMIC_RELAXED))
#define	L4S_FENCE_ACQ()		__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define	L4S_FENCE_REL()		__atomic_thread_fence(__ATOMIC_RELEASE)
#define	L4S_FENCE_SEQ()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

/*
 * A counter with one writer and any number of readers, which see the writes in
 * order.  Not a locked instruction: two writers would lose counts.
 */
#define	L4S_COUNT(p, n)		L4S_STORE_REL((p), L4S_LOAD(p) + (n))

/*
 * Memory for the device's calls; the packet path allocates none.  NULL if
 * memory is short: neither function sleeps.
 */
void	*l4s_alloc(size_t);
void	l4s_free(void *);	/* or NULL */

#define	L4S_NS_PER_US		1000ULL
#define	L4S_NS_PER_MS		1000000ULL
#define	L4S_NS_PER_S		1000000000ULL

/*
 * The packet path is compiled as one unit (queue_unit.c): L4S_HOT inlines all
 * callees of a function into it, except L4S_SLOW functions.
 */
#define	L4S_HOT			__attribute__((flatten))
/* clang flattens only one level: below that, this is needed too. */
#define	L4S_INLINE		inline __attribute__((always_inline))
#define	L4S_SLOW		__attribute__((noinline))

/* The infinite future. */
#define	L4S_NEVER		UINT64_MAX

#endif /* !_L4S_OSDEP_H_ */
