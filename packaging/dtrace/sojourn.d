#!/usr/sbin/dtrace -s
/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 *
 * Sojourn times in each queue (0 classic, 1 L4S), in microseconds, until
 * interrupted.
 */

#pragma D option quiet

l4sllm:::decision
/arg4 != 4/
{
	@[arg2] = quantize(args[5]->delay_ns / 1000);
}

END
{
	printa("queue %d, us:%@d\n", @);
}
