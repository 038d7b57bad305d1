/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Helpers shared by the proofs: arbitrary values within checked ranges. */

#ifndef _PROOFS_H_
#define	_PROOFS_H_

#include "instance.h"
#include "params.h"

/*
 * CBMC's model of pthread has no bodies for these.  The proofs have one thread, so
 * the protocol of a lock makes no difference.
 */
int
pthread_mutexattr_init(pthread_mutexattr_t *attributes)
{
	(void)attributes;
	return (0);
}

int
pthread_mutexattr_setprotocol(pthread_mutexattr_t *attributes, int protocol)
{
	(void)attributes;
	(void)protocol;
	return (0);
}

int
pthread_mutexattr_destroy(pthread_mutexattr_t *attributes)
{
	(void)attributes;
	return (0);
}

/* An arbitrary value. */
struct l4s_params nondet_params(void);
struct l4s_limits nondet_limits(void);
struct l4s_override nondet_override(void);
uint64_t	nondet_u64(void);
uint32_t	nondet_u32(void);
uint8_t		nondet_u8(void);
bool		nondet_bool(void);

/* Times within 34 years of uptime: 2^60 ns. */
#define	TIME_MAX	((uint64_t)1 << 60)

static inline struct l4s_params
checked_params(void)
{
	struct l4s_params p = nondet_params();

	__CPROVER_assume(l4s_params_check(&p) == 0);
	return (p);
}

static inline struct l4s_limits
checked_limits(void)
{
	struct l4s_limits l = nondet_limits();

	__CPROVER_assume(l4s_limits_check(&l) == 0);
	return (l);
}

static inline uint64_t
any_time(void)
{
	uint64_t t = nondet_u64();

	__CPROVER_assume(t <= TIME_MAX);
	return (t);
}

#endif /* !_PROOFS_H_ */
