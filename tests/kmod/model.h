/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A router driven by choices, and a simple model of it: two lists of cookies,
 * the accepted overrides, and invariants that are checked after each operation.
 * The tests choose at random, the fuzzer by its input.
 */

#ifndef _MODEL_H_
#define	_MODEL_H_

#include <stddef.h>
#include <stdint.h>

/* The source of choices: `left' bytes at `data' or, with NULL, `random'. */
struct choices {
	const uint8_t	*data;
	size_t		left;
	uint64_t	random;
};

/*
 * Runs a router from creation to destruction; a violated promise is a failed
 * CHECK. Returns the number of records that were read and filled in exactly.
 */
unsigned model_run(struct choices *, unsigned steps);

#endif /* !_MODEL_H_ */
