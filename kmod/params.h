/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Parameters and limits: defaults, named profiles, and the check that every
 * value passes before the queue sees it.  Checks return 0, L4S_EPROTO (not
 * this struct, or not this version of it) or L4S_EINVAL (a field is out of
 * the range that l4sllm_abi.h gives).
 */

#ifndef _L4S_PARAMS_H_
#define	_L4S_PARAMS_H_

#include "osdep.h"
#include "l4sllm_abi.h"

void	l4s_params_default(struct l4s_params *);	/* RFC 9332 */
void	l4s_params_tuned(struct l4s_params *);	/* 10 ms, gains x 4 */
void	l4s_params_paper(struct l4s_params *);	/* the published log's */
int	l4s_params_check(const struct l4s_params *);

void	l4s_limits_default(struct l4s_limits *);
int	l4s_limits_check(const struct l4s_limits *);

/*
 * The greatest steer factor that limits may allow, Q16 (256 times): the
 * largest set-point, 5 s in ns, times this stays below 2^57.
 */
#define	L4S_FACTOR_CAP		0x01000000U

#endif /* !_L4S_PARAMS_H_ */
