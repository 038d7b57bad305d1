/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See record.h. */

#include "record.h"

void
l4s_record_configure(struct l4s_record_config *c, const struct dualpi2 *d,
    uint32_t sched, uint32_t instance)
{
	const struct l4s_params *p = &d->params;
	const struct dualpi2_setpoints *s = &d->set;

	c->instance = PAIR(sched, instance);
	c->target_tupdate = PAIR(dualpi2_us(s->target_ns),
	    dualpi2_us(s->tupdate_ns));
	c->burst_ecnth = PAIR(dualpi2_us(p->max_burst_ns), p->max_ecnth);
	/* 1e-6 Hz to 2^-13 Hz: at most 2^32 * 2^13. */
	c->alpha_beta = PAIR(((uint64_t)s->alpha_uhz << 13) / 1000000,
	    ((uint64_t)s->beta_uhz << 13) / 1000000);
	c->flags = (p->ecn != 0 ? L4S_FLAG_ECN : 0) |
	    (p->dither == L4S_DITHER_RANDOM ? L4S_FLAG_RANDOM : 0) |
	    (p->laqm == L4S_LAQM_RAMP ? L4S_FLAG_RAMP : 0) |
	    (p->max_burst_ns != 0 ? L4S_FLAG_BURST : 0) |
	    (p->max_ecnth != 0 ? L4S_FLAG_MAX_ECNTH : 0);
}

void
l4s_event_write(struct l4s_ring *rings, uint32_t sched, uint32_t instance,
    uint32_t code, uint64_t value, uint64_t now)
{
	struct l4s_event e;
	unsigned i;

	if (rings == NULL)
		return;
	memset(&e, 0, sizeof(e));
	e.hdr.version = L4S_ABI_VERSION;
	e.hdr.type = L4S_RECORD_EVENT;
	e.hdr.length = L4S_RECORD_SIZE;
	e.hdr.time_ns = now;
	e.sched = sched;
	e.instance = instance;
	e.code = code;
	e.value = value;
	for (i = 0; i < L4S_RINGS; i++)
		if (l4s_ring_wanted(&rings[i])) {
			l4s_ring_write(&rings[i], &e.hdr);
			l4s_ring_notify(&rings[i]);
		}
}
