/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* The dummynet scheduler `dualpi2', registered by the module. */

#ifndef _L4S_DN_DUALPI2_H_
#define	_L4S_DN_DUALPI2_H_

#include "dn_shim.h"

extern struct dn_alg l4s_dualpi2_alg;

#endif /* !_L4S_DN_DUALPI2_H_ */
