/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See record.h. */

#include "record.h"

static void
record_header(struct l4s_header *hdr, uint8_t type, uint64_t now)
{
	hdr->version = L4S_ABI_VERSION;
	hdr->type = type;
	hdr->length = L4S_RECORD_SIZE;
	hdr->time_ns = now;
}

void
l4s_record_configure(struct l4s_config *c, const struct dualpi2 *d,
    uint32_t sched, uint32_t instance)
{
	const struct l4s_params *p = &d->params;
	const struct dualpi2_setpoints *s = &d->set;

	memset(c, 0, sizeof(*c));
	c->instance = instance;
	c->sched = sched;
	c->target = dualpi2_us(s->target_ns);
	c->tupdate = dualpi2_us(s->tupdate_ns);
	c->max_burst = dualpi2_us(p->max_burst_ns);
	c->max_ecn_threshold = p->max_ecnth;
	/* From 1e-6 Hz to 2^-13 Hz: at most 2^32 * 2^13. */
	c->alpha = (uint32_t)(((uint64_t)s->alpha_uhz << 13) / 1000000);
	c->beta = (uint32_t)(((uint64_t)s->beta_uhz << 13) / 1000000);
	c->flags = (p->ecn != 0 ? L4S_FLAG_ECN : 0) |
	    (p->dither == L4S_DITHER_RANDOM ? L4S_FLAG_RANDOM : 0) |
	    (p->laqm == L4S_LAQM_RAMP ? L4S_FLAG_RAMP : 0) |
	    (p->max_burst_ns != 0 ? L4S_FLAG_BURST : 0) |
	    (p->max_ecnth != 0 ? L4S_FLAG_MAX_ECNTH : 0);
}

static void
record_write_config(struct l4s_ring *r, struct l4s_told *told,
    const struct l4s_config *config, uint64_t now)
{
	told->config = *config;
	record_header(&told->config.hdr, L4S_RECORD_CONFIG, now);
	l4s_ring_write(r, &told->config.hdr);
}

static void
record_write_state(struct l4s_ring *r, struct l4s_told *told,
    const struct dualpi2 *d, uint32_t instance, uint64_t override_id,
    uint64_t now)
{
	struct l4s_state *s = &told->state;
	unsigned i;

	record_header(&s->hdr, L4S_RECORD_STATE, now);
	s->instance = instance;
	s->base_probability = d->p_base;
	s->previous_queue_delay = d->previous_us;
	s->burst_allowance = d->burst_us;
	s->override_id = override_id;
	for (i = 0; i < 2; i++) {
		s->sample_us[i] = d->queue[i].sample_us;
		s->sample_bytes[i] = d->queue[i].sample_bytes;
	}
	l4s_ring_write(r, &s->hdr);
}

void
l4s_record_context(struct l4s_ring *r, struct l4s_told *told,
    const struct dualpi2 *d, const struct l4s_config *config,
    uint64_t override_id, uint64_t now)
{
	const struct l4s_state *s = &told->state;
	const size_t body = sizeof(struct l4s_header);

	if (memcmp((const uint8_t *)&told->config + body,
	    (const uint8_t *)config + body, sizeof(*config) - body) != 0)
		record_write_config(r, told, config, now);
	if (s->base_probability != d->p_base ||
	    s->previous_queue_delay != d->previous_us ||
	    s->burst_allowance != d->burst_us || s->override_id != override_id)
		record_write_state(r, told, d, config->instance, override_id,
		    now);
	l4s_ring_notify(r);
}

void
l4s_record_keyframe(struct l4s_ring *r, struct l4s_told *told,
    const struct dualpi2 *d, const struct l4s_config *config,
    uint64_t override_id, uint64_t now)
{
	const struct dualpi2_queue *q;
	struct l4s_totals t;
	unsigned i;

	record_write_config(r, told, config, now);
	memset(&t, 0, sizeof(t));
	for (i = 0; i < 2; i++) {
		q = &d->queue[i];
		record_header(&t.hdr, L4S_RECORD_TOTALS, now);
		t.instance = config->instance;
		t.queue = i;
		t.total_packets = q->total_packets;
		t.left_bytes = q->total_bytes - dualpi2_bytes(q->backlog);
		t.total_drops = q->total_drops;
		t.sample_start_ns = q->sample_start;
		l4s_ring_write(r, &t.hdr);
	}
	record_write_state(r, told, d, config->instance, override_id, now);
	l4s_ring_notify(r);
}

void
l4s_event_write(struct l4s_ring *rings, uint32_t sched, uint32_t instance,
    uint32_t code, uint64_t value, uint64_t now)
{
	struct l4s_event e;
	struct l4s_lock *lock;
	unsigned i;

	if (rings == NULL)
		return;
	lock = rings->events;
	memset(&e, 0, sizeof(e));
	record_header(&e.hdr, L4S_RECORD_EVENT, now);
	e.sched = sched;
	e.instance = instance;
	e.code = code;
	e.value = value;
	if (lock != NULL)
		l4s_lock(lock);
	for (i = 0; i < L4S_RINGS; i++)
		if (l4s_ring_wanted(&rings[i]))
			l4s_ring_write(&rings[i], &e.hdr);
	if (lock != NULL)
		l4s_unlock(lock);
	for (i = 0; i < L4S_RINGS; i++)
		l4s_ring_notify(&rings[i]);
}

#ifdef L4S_RECORD_TAP
void
l4s_record_reference(struct l4s_record_v1 *r, const struct l4s_config *c,
    const struct dualpi2 *d, const struct dualpi2_verdict *v,
    const struct l4s_decision *x, uint64_t delay, uint64_t now)
{
	const struct dualpi2_queue *q = &d->queue[v->queue];

	*r = (struct l4s_record_v1){
		.hdr = {
			.version = 1,
			.type = L4S_RECORD_DECISION,
			.length = L4S_RECORD_V1_SIZE,
			.time_ns = now,
		},
		.sched = c->sched,
		.instance = c->instance,
		.sojourn_ns = v->sojourn_ns,
		.override_id = x->override_id,
		.queue_type = v->queue,
		.dequeue_action = x->action,
		.base_action = v->action,
		.reason = x->reason,
		.ecn = v->ecn,
		.override_action = x->override_action,
		.status = x->status | q->status,
		.qdelay_reference = c->target,
		.tupdate = c->tupdate,
		.max_burst = c->max_burst,
		.max_ecn_threshold = c->max_ecn_threshold,
		.alpha = c->alpha,
		.beta = c->beta,
		.flags = c->flags,
		.burst_allowance = d->burst_us,
		.drop_probability = v->probability,
		.current_queue_delay = dualpi2_us(delay),
		.previous_queue_delay = d->previous_us,
		.average_dequeue_time = q->sample_us,
		.accumulated_probability = q->accumulated,
		.measurement_start_time = q->sample_start,
		.dequeue_count = q->sample_bytes,
		.status_flags = x->status | q->status,
		.total_packets = q->total_packets,
		.total_bytes = q->total_bytes,
		.queue_length = dualpi2_packets(q->backlog),
		.length_in_bytes = dualpi2_bytes(q->backlog),
		.total_drops = q->total_drops,
		.packet_length = v->length,
		.base_probability = d->p_base,
	};
}
#endif
