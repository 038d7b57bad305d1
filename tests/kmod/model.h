/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A router driven by choices, and a simple model of it: two lists of cookies,
 * the overrides that were accepted, and the promises that must hold after
 * each operation whatever came before.  The tests choose at random, the
 * fuzzer by its input.
 */

#ifndef _MODEL_H_
#define	_MODEL_H_

#include <stddef.h>
#include <stdint.h>

/* Where choices come from: `left' bytes at `data', or, with NULL, `random'. */
struct choices {
	const uint8_t	*data;
	size_t		left;
	uint64_t	random;
};

/*
 * Runs a router from its creation to its end; a broken promise is a CHECK.
 * Returns how many records were read and filled in exactly.
 */
unsigned model_run(struct choices *, unsigned steps);

#endif /* !_MODEL_H_ */
