/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Runs all tests, or those with a name that contains one of the arguments. */

#include <stdarg.h>

#include "test.h"

static const struct {
	const char	*name;
	const struct test *tests;
} suites[] = {
	{ "dualpi2", dualpi2_tests },
	{ "signals", signals_tests },
	{ "params", params_tests },
	{ "override", override_tests },
	{ "device", device_tests },
	{ "instances", instance_tests },
	{ "lock", lock_tests },
	{ "ring", ring_tests },
	{ "summary", summary_tests },
	{ "idle", idle_tests },
	{ "streams", streams_tests },
	{ "flow_weights", flow_weights_tests },
	{ "flow_tables", flow_tables_tests },
	{ "stats", stats_tests },
	{ "student", student_tests },
	{ "student_file", student_file_tests },
	{ "student_signals", student_signals_tests },
	{ "student_steer", student_steer_tests },
	{ "student_device", student_device_tests },
	{ "model", model_tests },
};

/* Enough to diagnose a loop that fails in every iteration. */
#define	SHOWN	10

static int failures;		/* of the test that runs */

void
test_failed(const char *file, int line, const char *format, ...)
{
	va_list ap;

	if (failures++ >= SHOWN)
		return;
	printf("  %s:%d: ", file, line);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
}

static bool
wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (strstr(name, argv[i]) != NULL)
			return (true);
	return (argc == 1);
}

int
main(int argc, char **argv)
{
	const struct test *t;
	char name[128];
	int passed = 0, failed = 0;
	size_t i;

	for (i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		for (t = suites[i].tests; t->name != NULL; t++) {
			snprintf(name, sizeof(name), "%s.%s", suites[i].name,
			    t->name);
			if (!wanted(name, argc, argv))
				continue;
			failures = 0;
			t->run();
			printf("%s %s\n", failures == 0 ? "ok" : "FAILED",
			    name);
			if (failures == 0)
				passed++;
			else
				failed++;
		}
	printf("%d passed, %d failed\n", passed, failed);
	return (failed == 0 ? 0 : 1);
}
