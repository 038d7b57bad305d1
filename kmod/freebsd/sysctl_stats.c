/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* net.inet.l4sllm.stats: see sysctl.c. */

#include "vnet.h"

#include <sys/socket.h>
#include <sys/sysctl.h>

#include <net/if.h>
#include <net/vnet.h>

SYSCTL_DECL(_net_inet_l4sllm_stats);
SYSCTL_DECL(_net_inet_l4sllm_stats_classic);
SYSCTL_DECL(_net_inet_l4sllm_stats_l4s);

/* If a handler's first argument is NULL, the second is an index. */
#define	ROW_FLAGS	(CTLTYPE_U64 | CTLFLAG_VNET | CTLFLAG_MPSAFE)

/* arg2: the member's offset in struct l4s_stats. */
static int
sysctl_stats(SYSCTL_HANDLER_ARGS)
{
	struct l4s_stats stats;
	uint64_t value;
	int error;

	error = l4s_vnet_stats(&stats);
	if (error != 0)
		return (error);
	memcpy(&value, (const uint8_t *)&stats + arg2, sizeof(value));
	return (sysctl_handle_64(oidp, &value, 0, req));
}

#define	STAT_AT(name, member, description)				\
	SYSCTL_PROC(_net_inet_l4sllm_stats, OID_AUTO, name,		\
	    ROW_FLAGS | CTLFLAG_RD, NULL,				\
	    offsetof(struct l4s_stats, member), sysctl_stats, "QU",	\
	    description)
#define	STAT(name, description)		STAT_AT(name, name, description)

STAT(packets_in, "Packets that arrived");
STAT(bytes_in, "Bytes that arrived");
STAT(forwarded, "Packets that left");
STAT(forwarded_bytes, "Bytes that left");
STAT(dropped, "Packets dropped, for any reason");
STAT(queued, "Packets waiting now");
STAT(queued_bytes, "Bytes waiting now");
STAT(drops_tail, "Packets dropped on arrival by a queue limit");
STAT(drops_base, "Packets dropped by DualPI2");
STAT(drops_override, "Packets dropped by an override");
STAT(drops_flush, "Packets dropped with their queue");
STAT(marks_classic, "Packets of the classic queue marked by DualPI2");
STAT(marks_native, "Packets marked by the L4S queue's own threshold");
STAT(marks_coupled, "Packets of the L4S queue marked by coupling");
STAT(marks_override, "Packets marked by an override");
STAT(overrides_received, "Overrides accepted from the controller");
STAT(overrides_applied, "Overrides that had an effect");
STAT(overrides_expired, "Overrides that expired before they had an effect");
STAT(overrides_refused, "Overrides blocked by a limit");
STAT(overrides_replaced, "Overrides replaced before they had an effect");
STAT(overrides_waiting, "Overrides waiting for a packet");
STAT(refused_invalid, "Overrides refused as invalid");
STAT(decisions_overridden, "Decisions made by an override");
STAT(watchdog_misses, "Deadlines that the controller missed");
STAT_AT(refused_not_ect, refused[L4S_REASON_NOT_ECT],
    "Marks refused on packets that are not ECN-capable");
STAT_AT(refused_drop_share, refused[L4S_REASON_DROP_SHARE],
    "Drops refused beyond their share");
STAT_AT(refused_mark_share, refused[L4S_REASON_MARK_SHARE],
    "Marks refused beyond their share");
STAT_AT(refused_ceiling, refused[L4S_REASON_CEILING],
    "Decisions refused above the delay ceiling");
STAT_AT(refused_overload, refused[L4S_REASON_OVERLOAD],
    "Decisions refused in overload");
STAT_AT(refused_last_packet, refused[L4S_REASON_LAST_PACKET],
    "Drops refused for the last packet in the queues");

/*
 * The queues. arg2: the member's offset in struct l4s_queues, or that of its
 * copy for the L4S queue.
 */

static int
sysctl_queues(SYSCTL_HANDLER_ARGS)
{
	struct l4s_queues queues;
	uint64_t value;
	int error;

	error = l4s_vnet_queues(&queues);
	if (error != 0)
		return (error);
	memcpy(&value, (const uint8_t *)&queues + arg2, sizeof(value));
	return (sysctl_handle_64(oidp, &value, 0, req));
}

static int
sysctl_queues_32(SYSCTL_HANDLER_ARGS)
{
	struct l4s_queues queues;
	uint32_t value;
	int error;

	error = l4s_vnet_queues(&queues);
	if (error != 0)
		return (error);
	memcpy(&value, (const uint8_t *)&queues + arg2, sizeof(value));
	return (sysctl_handle_int(oidp, &value, 0, req));
}

static int
sysctl_delays(SYSCTL_HANDLER_ARGS)
{
	struct l4s_queues queues;
	int error;

	error = l4s_vnet_queues(&queues);
	if (error != 0)
		return (error);
	return (SYSCTL_OUT(req, (uint8_t *)&queues + arg2,
	    sizeof(queues.queue[0].delays)));
}

#define	LIVE_FLAGS	(CTLFLAG_RD | CTLFLAG_VNET | CTLFLAG_MPSAFE)
#define	LIVE_32(member, description)					\
	SYSCTL_PROC(_net_inet_l4sllm_stats, OID_AUTO, member,		\
	    CTLTYPE_UINT | LIVE_FLAGS, NULL,				\
	    offsetof(struct l4s_queues, member), sysctl_queues_32, "IU",	\
	    description)
#define	LIVE_64(member, type, format, description)			\
	SYSCTL_PROC(_net_inet_l4sllm_stats, OID_AUTO, member,		\
	    type | LIVE_FLAGS, NULL,					\
	    offsetof(struct l4s_queues, member), sysctl_queues, format,	\
	    description)

LIVE_32(base_probability, "Controller output p' (1/2147483647)");
LIVE_32(classic_probability, "Classic probability p_C (1/2147483647)");
LIVE_32(coupled_probability, "Coupled probability p_CL (1/2147483647)");
LIVE_32(overload, "Instances in overload now");
LIVE_64(overloads, CTLTYPE_U64, "QU", "Number of times that overload began");
LIVE_64(overload_ns, CTLTYPE_U64, "QU", "Time spent in overload (ns)");
LIVE_64(credit, CTLTYPE_S64, "Q",
    "Scheduler's credit of a single instance (bytes x percent); above 0 it is "
    "the classic queue's turn");

#define	QUEUE_ROW(name, index, member, handler, description)		\
	SYSCTL_PROC(_net_inet_l4sllm_stats_##name, OID_AUTO, member,	\
	    ROW_FLAGS | CTLFLAG_RD, NULL,				\
	    offsetof(struct l4s_queues, queue) +			\
	    (index) * sizeof(struct l4s_queue_stats) +			\
	    offsetof(struct l4s_queue_stats, member), handler, "QU",	\
	    description)
#define	QUEUE_STAT(member, description)					\
	QUEUE_ROW(classic, L4S_QUEUE_CLASSIC, member, sysctl_queues,	\
	    description);						\
	QUEUE_ROW(l4s, L4S_QUEUE_L4S, member, sysctl_queues, description)

QUEUE_STAT(packets_in, "Packets that arrived");
QUEUE_STAT(bytes_in, "Bytes that arrived");
QUEUE_STAT(forwarded, "Packets that left");
QUEUE_STAT(forwarded_bytes, "Bytes that left");
QUEUE_STAT(dropped, "Packets dropped, for any reason");
QUEUE_STAT(dropped_bytes, "Bytes dropped, for any reason");
QUEUE_STAT(marked, "Packets marked and forwarded");
QUEUE_STAT(marked_bytes, "Bytes marked and forwarded");
QUEUE_STAT(queued, "Packets waiting now");
QUEUE_STAT(queued_bytes, "Bytes waiting now");
QUEUE_STAT(drops_tail, "Packets dropped on arrival by a queue limit");
QUEUE_STAT(drops_ecn, "ECN-capable packets dropped by the AQM or an override");
QUEUE_STAT(drops_not_ect, "Other packets dropped by the AQM or an override");
QUEUE_STAT(drops_flush, "Packets dropped with their queue");
QUEUE_STAT(queued_max, "Maximum number of queued packets");
QUEUE_STAT(queued_bytes_max, "Maximum number of queued bytes");
QUEUE_STAT(delay_ns, "Waiting time of the packet at the head (ns)");
QUEUE_STAT(delay_max_ns, "Maximum delay of departed packets (ns)");
QUEUE_STAT(delay_sum_ns, "Sum of the delays of departed packets (ns)");
#define	DELAYS_DESCRIPTION						\
	"Departed packets by delay: to 16 us, then two bins per doubling"
QUEUE_ROW(classic, L4S_QUEUE_CLASSIC, delays, sysctl_delays,
    DELAYS_DESCRIPTION);
QUEUE_ROW(l4s, L4S_QUEUE_L4S, delays, sysctl_delays, DELAYS_DESCRIPTION);
