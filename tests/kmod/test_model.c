/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Random operations against the model of model.h. */

#include "model.h"
#include "router.h"

#define	SEEDS		60
#define	STEPS		1500

static void
random_operations(void)
{
	struct choices choices;
	uint64_t seed;
	unsigned exact = 0;

	for (seed = 1; seed <= SEEDS; seed++) {
		choices = (struct choices){ .random = seed };
		exact += model_run(&choices, STEPS);
	}
	CHECK(exact > 1000);
}

/* The same calls give the same bytes. */
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
	CHECK(got[0] > 250000);
	CHECK_EQ(got[0], got[1]);
	CHECK_EQ(memcmp(stream[0], stream[1], got[0]), 0);
}

const struct test model_tests[] = {
	TEST(random_operations),
	TEST(same_seed_same_stream),
	TEST_END
};
