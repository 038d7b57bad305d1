/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Runs each given file once, for compilers without libFuzzer. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Maximum useful input size. */
#define	INPUT_MAX	65536

static void
run(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *buffer = malloc(INPUT_MAX), *input;
	size_t size;

	if (file == NULL || buffer == NULL) {
		perror(path);
		exit(1);
	}
	size = fread(buffer, 1, INPUT_MAX, file);
	fclose(file);
	/*
	 * Exactly as large as the input, so that out-of-bounds reads are
	 * detected.
	 */
	input = realloc(buffer, size != 0 ? size : 1);
	if (input == NULL)
		abort();
	(void)LLVMFuzzerTestOneInput(input, size);
	free(input);
}

int
main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		/*
		 * Printed before the run, so that the last line names the
		 * failing input.
		 */
		printf("%s\n", argv[i]);
		fflush(stdout);
		run(argv[i]);
	}
	printf("%d passed, 0 failed\n", argc - 1);
	return (argc > 1 ? 0 : 1);
}
