/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The packet path as one unit, so that the compiler inlines across its layers
 * (L4S_HOT in osdep.h).  tests/kmod's bench measures the gain.
 */

#include "pi2.c"
#include "dualpi2.c"
#include "flow_weights.c"
#include "override.c"
#include "record.c"
#include "ring.c"
#include "summary.c"
#include "catch_up.c"
#include "packet_path.c"
