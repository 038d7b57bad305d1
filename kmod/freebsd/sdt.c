/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * DTrace probes, provider `l4sllm':
 *
 *	decision  sched, instance, queue, action, reason, struct l4s_record *
 *	refusal   as decision; a limit refused the current override
 *	override  sched, instance, id, mode, errno of its submission
 *	student   sched, instance, struct l4s_override *: its decision
 *	loss      messages lost, sequence number of the first
 *
 * The core's record describes what happened to a packet, so the probes are
 * fired from the ring and the core does not depend on them.
 */

#include "probes.h"

SDT_PROVIDER_DEFINE(l4sllm);
SDT_PROBE_DEFINE6(l4sllm, , , decision, "uint32_t", "uint32_t", "uint8_t",
    "uint8_t", "uint8_t", "struct l4s_record *");
SDT_PROBE_DEFINE6(l4sllm, , , refusal, "uint32_t", "uint32_t", "uint8_t",
    "uint8_t", "uint8_t", "struct l4s_record *");
SDT_PROBE_DEFINE5(l4sllm, , , override, "uint32_t", "uint32_t", "uint64_t",
    "uint8_t", "int");
SDT_PROBE_DEFINE3(l4sllm, , , student, "uint32_t", "uint32_t",
    "struct l4s_override *");
SDT_PROBE_DEFINE2(l4sllm, , , loss, "uint64_t", "uint64_t");

#ifdef KDTRACE_HOOKS
static bool
probe_is_refusal(uint8_t reason)
{
	return (reason == L4S_REASON_NOT_ECT ||
	    reason == L4S_REASON_DROP_SHARE ||
	    reason == L4S_REASON_CEILING || reason == L4S_REASON_OVERLOAD ||
	    reason == L4S_REASON_LAST_PACKET ||
	    reason == L4S_REASON_MARK_SHARE);
}

/* Called by the only writer, so the slots do not change. */
static void
probe_record(const struct l4s_record *r, uint32_t sched)
{
	uint8_t action, queue, reason;

	if (r->hdr.type != L4S_RECORD_DECISION)
		return;
	action = r->actions & 3;
	queue = r->queue_reason >> 7;
	reason = r->queue_reason & L4S_REASON_MASK;
	SDT_PROBE6(l4sllm, , , decision, sched, r->instance, queue, action,
	    reason, r);
	if (probe_is_refusal(reason))
		SDT_PROBE6(l4sllm, , , refusal, sched, r->instance, queue,
		    action, reason, r);
}
#endif

uint64_t
l4s_probe_begin(struct l4s_vnet *v)
{
	struct l4s_ring *ring = &v->rings[L4S_RING_RECORDS];

#ifdef KDTRACE_HOOKS
	bool probed = SDT_PROBES_ENABLED();

	if (__predict_false(probed != v->probed)) {
		v->probed = probed;
		if (probed)
			l4s_ring_subscribe(ring);
		else
			l4s_ring_unsubscribe(ring);
	}
#endif
	return (l4s_ring_head(ring));
}

void
l4s_probe_written(const struct l4s_vnet *v, uint32_t sched, uint64_t from)
{
#ifdef KDTRACE_HOOKS
	const struct l4s_ring *ring = &v->rings[L4S_RING_RECORDS];
	uint64_t head;

	if (__predict_true(!v->probed))
		return;
	head = l4s_ring_head(ring);
	if (head - from > ring->mask)
		from = head - ring->mask;
	for (; from != head; from++)
		probe_record((const struct l4s_record *)
		    &ring->words[(from & ring->mask) << ring->shift], sched);
#else
	(void)v, (void)sched, (void)from;
#endif
}

void
l4s_probe_student(const struct l4s_instance *inst, uint64_t before)
{
	const struct l4s_student_slot *student = inst->student;

	if (__predict_true(inst->student_decisions == before ||
	    student == NULL))
		return;
	SDT_PROBE3(l4sllm, , , student, inst->sched, inst->instance,
	    &student->decision);
}

void
l4s_probe_read(const void *messages, size_t size)
{
#ifdef KDTRACE_HOOKS
	const struct l4s_header *hdr;
	const struct l4s_loss *l;
	size_t at;

	if (__predict_true(!SDT_PROBES_ENABLED()))
		return;
	for (at = 0; at < size; at += hdr->length) {
		hdr = (const void *)((const uint8_t *)messages + at);
		if (hdr->type != L4S_RECORD_LOSS)
			continue;
		l = (const void *)hdr;
		SDT_PROBE2(l4sllm, , , loss, l->lost, l->hdr.seq);
	}
#else
	(void)messages, (void)size;
#endif
}
