/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* A queue without its device, for the tests of its arithmetic. */

#ifndef _QUEUE_H_
#define	_QUEUE_H_

#include "dualpi2.h"
#include "params.h"
#include "test.h"

#define	PACKETS	4096

static inline void
start(struct dualpi2 *d, const struct l4s_params *params)
{
	struct l4s_params defaults;

	l4s_params_default(&defaults);
	dualpi2_init(d, params != NULL ? params : &defaults, 1);
}

/* Sets p' and the derived values. */
static inline void
set_p(struct dualpi2 *d, double p)
{
	struct l4s_params params = d->params;

	d->p = (int64_t)ldexp(p, DUALPI2_P_SHIFT);
	dualpi2_configure(d, &params);
}

static inline void
put(struct dualpi2 *d, struct l4s_pkt_user *p, uint8_t ecn, uint32_t length,
    uint64_t now)
{
	p->ecn = ecn;
	p->length = length;
	dualpi2_advance(d, now);
	CHECK(dualpi2_enqueue(d, p, dualpi2_classify(d, ecn), length, now));
}

static inline double
q31(uint32_t p)
{
	return (ldexp(p, -31));
}

#endif /* !_QUEUE_H_ */
