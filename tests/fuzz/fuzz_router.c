/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The fuzzer's target: an input determines the choices of a run of the model
 * (tests/kmod/model.h).  A violated promise ends the process, like an error
 * found by a sanitizer.
 */

#include <limits.h>
#include <stdarg.h>

#include "model.h"
#include "test.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

void
test_failed(const char *file, int line, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t none;
	struct choices choices = {
		.data = size != 0 ? data : &none,
		.left = size,
	};

	model_run(&choices, UINT_MAX);
	return (0);
}
