#!/usr/sbin/dtrace -s
/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 *
 * Every override sent, every refusal by a limit, and every loss of records.
 * Modes: 1 once, 2 hold, 3 steer.  Reasons: L4S_REASON_* of l4sllm_abi.h.
 */

#pragma D option quiet

l4sllm:::override
{
	printf("%Y override %u for %u.%u mode %u: %s %d\n", walltimestamp,
	    arg2, arg0, arg1, arg3, arg4 == 0 ? "taken" : "errno", arg4);
}

l4sllm:::refusal
{
	printf("%Y refused for %u.%u: reason %u\n", walltimestamp, arg0, arg1,
	    arg4);
}

l4sllm:::loss
{
	printf("%Y %s lost %u records from %u on\n", walltimestamp, execname,
	    arg0, arg1);
}
