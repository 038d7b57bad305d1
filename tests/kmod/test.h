/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A test is a function with CHECKs.  A suite is a table of tests.  A failed
 * check is printed with its location and fails its test, which continues.
 */

#ifndef _TEST_H_
#define	_TEST_H_

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l4sllm_abi.h"

struct test {
	const char	*name;
	void		(*run)(void);
};

#define	TEST(function)	{ #function, function }
#define	TEST_END	{ NULL, NULL }

extern const struct test dualpi2_tests[];
extern const struct test signals_tests[];
extern const struct test params_tests[];
extern const struct test override_tests[];
extern const struct test device_tests[];
extern const struct test instance_tests[];
extern const struct test lock_tests[];
extern const struct test ring_tests[];
extern const struct test summary_tests[];
extern const struct test idle_tests[];
extern const struct test streams_tests[];
extern const struct test flow_weights_tests[];
extern const struct test flow_tables_tests[];
extern const struct test stats_tests[];
extern const struct test student_tests[];
extern const struct test student_file_tests[];
extern const struct test student_signals_tests[];
extern const struct test student_steer_tests[];
extern const struct test student_device_tests[];
extern const struct test model_tests[];

void	test_failed(const char *file, int line, const char *format, ...)
	    __attribute__((format(printf, 3, 4)));

#define	CHECK(condition) do {						\
	if (!(condition))						\
		test_failed(__FILE__, __LINE__, "%s", #condition);	\
} while (0)

#define	CHECK_EQ(a, b) do {						\
	int64_t check_a = (int64_t)(a), check_b = (int64_t)(b);	\
	if (check_a != check_b)						\
		test_failed(__FILE__, __LINE__, "%s is %" PRId64	\
		    ", %s is %" PRId64, #a, check_a, #b, check_b);	\
} while (0)

#define	CHECK_NEAR(a, b, tolerance) do {				\
	double check_a = (a), check_b = (b);				\
	if (!(fabs(check_a - check_b) <= (tolerance)))			\
		test_failed(__FILE__, __LINE__, "%s is %.9g, not %.9g", \
		    #a, check_a, check_b);				\
} while (0)

#define	US	1000ULL
#define	MS	1000000ULL
#define	SEC	1000000000ULL

/* A small generator for the tests' own choices (splitmix64). */
static inline uint64_t
test_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31));
}

static inline uint32_t
test_below(uint64_t *state, uint32_t n)
{
	return ((uint32_t)(test_random(state) % n));
}

#endif /* !_TEST_H_ */
