/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Fills in the records of a device's stream (struct l4s_record_v1). */

#ifndef _DECODE_H_
#define	_DECODE_H_

#include <stdbool.h>
#include <string.h>

#include "l4sllm_abi.h"

#define	DECODE_INSTANCES	16
#define	DECODE_SAMPLE		16384	/* bytes: DQ_THRESHOLD of RFC 8033 */

struct decode_queue {
	uint64_t	total_packets;
	uint64_t	left_bytes;
	uint64_t	total_drops;
	uint64_t	sample_start;
	uint32_t	sample_us;
	uint32_t	sample_bytes;
	bool		sampling;
};

struct decode_instance {
	bool		known;		/* a keyframe came */
	bool		exact;		/* and nothing was lost since */
	unsigned	stage;		/* messages of a keyframe so far */
	struct l4s_config config;
	struct l4s_state state;
	struct decode_queue queue[2];
};

/* Initially all zero.  At most DECODE_INSTANCES instances are tracked. */
struct decoder {
	struct decode_instance instances[DECODE_INSTANCES];
};

static inline uint32_t
decode_us(uint64_t ns)
{
	return (ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 1000));
}

/* RFC 8033, section 4.3, as in dualpi2_measure(). */
static inline void
decode_measure(struct decode_queue *q, uint32_t before, uint32_t length,
    uint64_t now)
{
	uint32_t us;
	bool more = before - length >= DECODE_SAMPLE;

	if (!q->sampling) {
		if (before < DECODE_SAMPLE)
			return;
		q->sampling = true;
		q->sample_start = now;
		return;
	}
	q->sample_bytes += length;
	if (q->sample_bytes < DECODE_SAMPLE)
		return;
	us = decode_us(now - q->sample_start);
	q->sample_us = q->sample_us == 0 ? us :
	    (uint32_t)(((uint64_t)q->sample_us * 3 + us) / 4);
	q->sampling = more;
	q->sample_start = more ? now : 0;
	q->sample_bytes = 0;
}

static inline void
decode_record(struct decode_instance *i, const struct l4s_record *r,
    struct l4s_record_v1 *out)
{
	uint8_t queue = r->queue_reason >> 7;
	uint8_t reason = r->queue_reason & L4S_REASON_MASK;
	struct decode_queue *q = &i->queue[queue];
	bool chosen = reason != L4S_REASON_TAIL &&
	    reason != L4S_REASON_FLUSH;
	bool overridden = chosen && reason != L4S_REASON_BASE &&
	    reason != L4S_REASON_STUDENT;

	q->total_packets += (uint32_t)(r->total_packets -
	    (uint32_t)q->total_packets);
	q->left_bytes += r->packet_length;
	if ((r->actions & 3) == L4S_ACTION_DROP)
		q->total_drops++;
	if (chosen)
		decode_measure(q, r->length_in_bytes + r->packet_length,
		    r->packet_length, r->hdr.time_ns);
	*out = (struct l4s_record_v1){
		.hdr = r->hdr,
		.sched = i->config.sched,
		.instance = r->instance,
		.sojourn_ns = reason == L4S_REASON_TAIL ? 0 : r->delay_ns,
		.override_id = overridden ? i->state.override_id : 0,
		.queue_type = queue,
		.dequeue_action = r->actions & 3,
		.base_action = r->actions >> 2 & 3,
		.reason = reason,
		.ecn = r->actions >> 6,
		.override_action = r->actions >> 4 & 3,
		.status = r->status,
		.qdelay_reference = i->config.target,
		.tupdate = i->config.tupdate,
		.max_burst = i->config.max_burst,
		.max_ecn_threshold = i->config.max_ecn_threshold,
		.alpha = i->config.alpha,
		.beta = i->config.beta,
		.flags = i->config.flags,
		.burst_allowance = i->state.burst_allowance,
		.drop_probability = r->drop_probability,
		.current_queue_delay = decode_us(r->delay_ns),
		.previous_queue_delay = i->state.previous_queue_delay,
		.average_dequeue_time = q->sample_us,
		.accumulated_probability = r->accumulated,
		.measurement_start_time = q->sample_start,
		.dequeue_count = q->sample_bytes,
		.status_flags = r->status,
		.total_packets = q->total_packets,
		.total_bytes = q->left_bytes + r->length_in_bytes,
		.queue_length = r->queue_length,
		.length_in_bytes = r->length_in_bytes,
		.total_drops = q->total_drops,
		.packet_length = r->packet_length,
		.base_probability = i->state.base_probability,
	};
	out->hdr.version = 1;
	out->hdr.length = L4S_RECORD_V1_SIZE;
}

static inline void
decode_keyframe(struct decode_instance *i)
{
	unsigned n;

	for (n = 0; n < 2; n++) {
		i->queue[n].sample_us = i->state.sample_us[n];
		i->queue[n].sample_bytes = i->state.sample_bytes[n];
	}
	i->known = i->exact = true;
}

/*
 * Takes one message of the stream.  True, with *out filled in, for a record of
 * an instance that has had a keyframe.
 */
static inline bool
decode(struct decoder *d, const void *message, struct l4s_record_v1 *out)
{
	struct decode_instance *i;
	struct decode_queue *q;
	struct l4s_header hdr;
	struct l4s_loss loss;
	struct l4s_totals totals;
	struct l4s_record record;
	uint32_t instance;
	unsigned n, stage;

	memcpy(&hdr, message, sizeof(hdr));
	if (hdr.type == L4S_RECORD_LOSS) {
		memcpy(&loss, message, sizeof(loss));
		if (loss.stream != L4S_STREAM_RECORDS)
			return (false);
		for (n = 0; n < DECODE_INSTANCES; n++) {
			d->instances[n].exact = false;
			d->instances[n].stage = 0;
		}
		return (false);
	}
	if (hdr.type != L4S_RECORD_DECISION && (hdr.type < L4S_RECORD_CONFIG ||
	    hdr.type > L4S_RECORD_TOTALS))
		return (false);
	memcpy(&instance, (const uint8_t *)message + sizeof(hdr),
	    sizeof(instance));
	if (instance >= DECODE_INSTANCES)
		return (false);
	i = &d->instances[instance];
	stage = i->stage;
	i->stage = 0;
	switch (hdr.type) {
	case L4S_RECORD_CONFIG:
		memcpy(&i->config, message, sizeof(i->config));
		i->stage = 1;
		break;
	case L4S_RECORD_TOTALS:
		memcpy(&totals, message, sizeof(totals));
		q = &i->queue[totals.queue & 1];
		q->total_packets = totals.total_packets;
		q->left_bytes = totals.left_bytes;
		q->total_drops = totals.total_drops;
		q->sample_start = totals.sample_start_ns;
		q->sampling = q->sample_start != 0;
		i->stage = stage == 1 + totals.queue ? stage + 1 : 0;
		break;
	case L4S_RECORD_STATE:
		memcpy(&i->state, message, sizeof(i->state));
		if (stage == 3)
			decode_keyframe(i);
		break;
	case L4S_RECORD_DECISION:
		if (!i->known)
			break;
		memcpy(&record, message, sizeof(record));
		decode_record(i, &record, out);
		return (true);
	}
	return (false);
}

#endif /* !_DECODE_H_ */
