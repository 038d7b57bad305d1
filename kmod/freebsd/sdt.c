/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * DTrace probes, provider `l4sllm':
 *
 *	decision  sched, instance, queue, action, reason, struct l4s_record *
 *	refusal   as decision; a limit refused the override in force
 *	override  sched, instance, id, mode, errno of its submission
 *	loss      messages lost, sequence number of the first
 *
 * What happened to a packet is in the record that the core wrote of it, so
 * the probes are fired from the ring and the core does not know them.
 */

#include "probes.h"

SDT_PROVIDER_DEFINE(l4sllm);
SDT_PROBE_DEFINE6(l4sllm, , , decision, "uint32_t", "uint32_t", "uint8_t",
    "uint8_t", "uint8_t", "struct l4s_record *");
SDT_PROBE_DEFINE6(l4sllm, , , refusal, "uint32_t", "uint32_t", "uint8_t",
    "uint8_t", "uint8_t", "struct l4s_record *");
SDT_PROBE_DEFINE5(l4sllm, , , override, "uint32_t", "uint32_t", "uint64_t",
    "uint8_t", "int");
SDT_PROBE_DEFINE2(l4sllm, , , loss, "uint64_t", "uint64_t");

#ifdef KDTRACE_HOOKS
static bool
probe_is_refusal(uint8_t reason)
{
	return (reason == L4S_REASON_NOT_ECT ||
	    reason == L4S_REASON_DROP_SHARE ||
	    reason == L4S_REASON_CEILING || reason == L4S_REASON_OVERLOAD ||
	    reason == L4S_REASON_LAST_PACKET);
}

/* The one writer calls this, so the slots are at rest. */
static void
probe_record(const struct l4s_record *r)
{
	if (r->hdr.type != L4S_RECORD_DECISION)
		return;
	SDT_PROBE6(l4sllm, , , decision, r->sched, r->instance,
	    r->queue_type, r->dequeue_action, r->reason, r);
	if (probe_is_refusal(r->reason))
		SDT_PROBE6(l4sllm, , , refusal, r->sched, r->instance,
		    r->queue_type, r->dequeue_action, r->reason, r);
}
#endif

void
l4s_probe_written(const struct l4s_ring *ring, uint64_t from)
{
#ifdef KDTRACE_HOOKS
	uint64_t head;

	if (__predict_true(!SDT_PROBES_ENABLED()))
		return;
	head = l4s_ring_head(ring);
	if (head - from > ring->mask)
		from = head - ring->mask;
	for (; from != head; from++)
		probe_record((const struct l4s_record *)
		    &ring->words[(from & ring->mask) * L4S_MESSAGE_WORDS]);
#else
	(void)ring, (void)from;
#endif
}

void
l4s_probe_read(const void *messages, size_t size)
{
#ifdef KDTRACE_HOOKS
	const struct l4s_loss *l = messages;
	size_t i;

	if (__predict_true(!SDT_PROBES_ENABLED()))
		return;
	for (i = 0; i < size / L4S_RECORD_SIZE; i++)
		if (l[i].hdr.type == L4S_RECORD_LOSS)
			SDT_PROBE2(l4sllm, , , loss, l[i].lost, l[i].hdr.seq);
#else
	(void)messages, (void)size;
#endif
}
