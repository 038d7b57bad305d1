#!/usr/sbin/dtrace -s
/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 *
 * Decisions per second by queue (0 classic, 1 L4S), action (0 forward,
 * 1 drop, 2 mark) and reason (L4S_REASON_* of l4sllm_abi.h).
 */

#pragma D option quiet

l4sllm:::decision
{
	@[arg2, arg3, arg4] = count();
}

tick-1s
{
	printf("%-8s %-8s %-8s %s\n", "queue", "action", "reason", "packets");
	printa("%-8d %-8d %-8d %@u\n", @);
	trunc(@);
}
