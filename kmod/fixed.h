/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Logarithm, power and tanh in fixed point, from tables with linear
 * interpolation.  model/src/student/fixed.rs is the same to the bit.
 */

#ifndef _L4S_FIXED_H_
#define	_L4S_FIXED_H_

#include "osdep.h"

/* Maximum |x| of l4s_fixed_exp2(), beyond which it is clamped: 14 in Q16. */
#define	FIXED_EXP2_MAX		(14 << 16)
/* |tanh| is constant from here: 4 in Q12. */
#define	FIXED_TANH_END		(4 << 12)

/* log2 x in Q16, with an error below 7e-5; x > 0. */
int32_t	l4s_fixed_log2(uint64_t x);
/* 2^x in Q16, with x in Q16, and a relative error below 2e-5 + 2^-16 / 2^x. */
uint32_t l4s_fixed_exp2(int32_t x);
/* tanh x in Q12, with x in Q12, and an error below 7e-4. */
int32_t	l4s_fixed_tanh(int32_t x);

#endif /* !_L4S_FIXED_H_ */
