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

/* With NULL for its first argument, a handler's second is an index. */
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
STAT(overrides_expired, "Overrides that expired before they had one");
STAT(overrides_refused, "Overrides that a limit kept from having one");
STAT(overrides_replaced, "Overrides replaced before they had one");
STAT(overrides_waiting, "Overrides that wait for a packet now");
STAT(refused_invalid, "Overrides turned away as invalid");
STAT(decisions_overridden, "Decisions made by an override");
STAT(watchdog_misses, "Deadlines that the controller missed");
STAT_AT(refused_not_ect, refused[L4S_REASON_NOT_ECT],
    "Marks refused on packets that are not ECN-capable");
STAT_AT(refused_drop_share, refused[L4S_REASON_DROP_SHARE],
    "Drops refused beyond their share");
STAT_AT(refused_ceiling, refused[L4S_REASON_CEILING],
    "Decisions refused above the delay ceiling");
STAT_AT(refused_overload, refused[L4S_REASON_OVERLOAD],
    "Decisions refused in overload");
STAT_AT(refused_last_packet, refused[L4S_REASON_LAST_PACKET],
    "Drops refused of the last packet that waits");
