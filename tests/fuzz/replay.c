/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Runs each file named once, where there is no libFuzzer to do it. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* The greatest input that is worth having. */
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
	/* Not a byte longer, so that a read too far is seen. */
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
		/* Said before, so that the last one said is the one to see. */
		printf("%s\n", argv[i]);
		fflush(stdout);
		run(argv[i]);
	}
	printf("%d passed, 0 failed\n", argc - 1);
	return (argc > 1 ? 0 : 1);
}
