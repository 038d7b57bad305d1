/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Parameters and limits: defaults, named profiles, and the check that every
 * value passes before the queue uses it.  Checks return 0, L4S_EPROTO (wrong
 * struct or version) or L4S_EINVAL (a field is out of the range given in
 * l4sllm_abi.h).
 */

#ifndef _L4S_PARAMS_H_
#define	_L4S_PARAMS_H_

#include "osdep.h"
#include "l4sllm_abi.h"

void	l4s_params_default(struct l4s_params *);	/* RFC 9332 */
void	l4s_params_tuned(struct l4s_params *);	/* 10 ms, gains x 4 */
void	l4s_params_paper(struct l4s_params *);	/* the published log's */
int	l4s_params_check(const struct l4s_params *);
/*
 * Derives target, tupdate and gains from the round-trip times of the traffic:
 * the typical one, 100 us to 1 s, and the longest for which the controller must
 * be stable, from the typical one to 10 s.  If one of them is 0, it follows
 * from the other.  L4S_EINVAL, with no change, if out of range.
 */
int	l4s_params_rtt(struct l4s_params *, uint64_t typical_ns,
	    uint64_t max_ns);

void	l4s_limits_default(struct l4s_limits *);
int	l4s_limits_check(const struct l4s_limits *);

/*
 * Maximum steer factor that limits may allow, Q16 (256 times): the largest
 * set-point, 5 s in ns, times this stays below 2^57.
 */
#define	L4S_FACTOR_CAP		0x01000000U

#endif /* !_L4S_PARAMS_H_ */
