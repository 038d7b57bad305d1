/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The part of dummynet's private interface that the scheduler uses.
 *
 * With L4S_DUMMYNET_HEADERS the kernel's own headers (sys/netpfil/ipfw of
 * /usr/src) are used.  Otherwise, for builds on machines without them, the same
 * layouts are declared here.  The assertions at the end apply to both; if one
 * fails, this kernel's dummynet is not one that the module was written for.
 */

#ifndef _L4S_DN_SHIM_H_
#define	_L4S_DN_SHIM_H_

#include "compat.h"

#include <sys/ck.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/queue.h>
#include <sys/rwlock.h>
#include <sys/socket.h>
#include <sys/sysctl.h>

#include <net/if.h>
#include <net/if_var.h>
#include <net/vnet.h>
#include <netinet/in.h>
#include <netinet/ip_var.h>
#include <netinet/ip_fw.h>
#include <netinet/ip_dummynet.h>

#ifdef L4S_DUMMYNET_HEADERS

#include <netpfil/ipfw/ip_fw_private.h>
#include <netpfil/ipfw/dn_heap.h>
#include <netpfil/ipfw/ip_dn_private.h>
#include <netpfil/ipfw/dn_aqm.h>
#include <netpfil/ipfw/dn_sched.h>

#else /* !L4S_DUMMYNET_HEADERS */

struct dn_aqm;
struct dn_ht;
struct dn_schk;
struct dn_sch_inst;

struct mq {
	struct mbuf	*head, *tail;
	int		count;
};

struct dn_heap {
	int		size, elements, offset;
	void		*entries;
};

struct delay_line {
	struct dn_id	oid;
	struct dn_sch_inst *si;
	struct mq	mq;
};

/* The part of a flowset used by the scheduler: only the pointer. */
struct dn_fsk;

struct dn_queue {
	struct dn_flow	ni;
	struct mq	mq;
	struct dn_sch_inst *_si;
	SLIST_ENTRY(dn_queue) q_next;
	struct dn_fsk	*fs;
	int		avg, count, random;
	uint64_t	q_time;
	void		*aqm_status;
};

struct dn_sch_inst {
	struct dn_flow	ni;
	SLIST_ENTRY(dn_sch_inst) si_next;
	struct delay_line dline;
	struct dn_schk	*sched;
	int		kflags;
	int64_t		credit;
	uint64_t	sched_time;
	uint64_t	idle_time;
	int		q_count;
};

struct dn_alg {
	uint32_t	type;
	const char	*name;
	uint32_t	flags;
	size_t		schk_datalen;
	size_t		si_datalen;
	size_t		q_datalen;
	int		(*enqueue)(struct dn_sch_inst *, struct dn_queue *,
			    struct mbuf *);
	struct mbuf	*(*dequeue)(struct dn_sch_inst *);
	int		(*config)(struct dn_schk *);
	int		(*destroy)(struct dn_schk *);
	int		(*new_sched)(struct dn_sch_inst *);
	int		(*free_sched)(struct dn_sch_inst *);
	int		(*new_fsk)(struct dn_fsk *);
	int		(*free_fsk)(struct dn_fsk *);
	int		(*new_queue)(struct dn_queue *);
	int		(*free_queue)(struct dn_queue *);
	int		(*getconfig)(struct dn_schk *, struct dn_extra_parms *);
	int		ref_count;
	CK_LIST_ENTRY(dn_alg) next;
};

struct dn_schk {
	struct dn_sch	sch;
	struct dn_alg	*fp;
	struct dn_link	link;
	struct dn_profile *profile;
	struct dn_id	*cfg;
	SLIST_ENTRY(dn_schk) schk_next;
	SLIST_HEAD(, dn_fsk) fsk_list;
	struct dn_fsk	*fs;
	int		drain_bucket;
	struct dn_ht	*siht;
};

/* The mbuf tag that dummynet prepends to every packet it holds. */
struct dn_pkt_tag {
	struct ipfw_rule_ref rule;
	int		dn_dir;
	uint64_t	output_time;
#if __FreeBSD_version >= 1400000
	uint16_t	if_index;
	uint16_t	if_idxgen;
	uint16_t	iphdr_off;
#else
	struct ifnet	*ifp;
	uint64_t	ip6opt[10];
	uint16_t	iphdr_off;
#endif
};

/* Only up to the last member used: never allocated or copied here. */
struct dn_parms {
	uint32_t	id;
	int		red[3], hash_size, max_hash_size;
	long		byte_limit, slot_limit;
	int		io_fast, debug;
	struct timeval	prev_t;
	struct dn_heap	evheap;
	long		tick[6];
	int		object_count[4];
	unsigned long	io_pkt, io_pkt_fast, io_pkt_drop;
	uint64_t	curr_time;
};

VNET_DECLARE(struct dn_parms, dn_cfg);
#define	V_dn_cfg	VNET(dn_cfg)

int	dn_sched_modevent(module_t, int, void *);

/* dn_alg.flags: a queue for each flow, passed to enqueue. */
#define	DN_MULTIQUEUE	0x01

/* Bit of dn_pkt_tag.dn_dir: an Ethernet frame; otherwise an IP packet. */
#define	PROTO_LAYER2	0x4

#endif /* L4S_DUMMYNET_HEADERS */

#ifdef __LP64__
_Static_assert(sizeof(struct dn_alg) == 160, "dn_alg");
_Static_assert(offsetof(struct dn_alg, enqueue) == 48, "dn_alg.enqueue");
_Static_assert(offsetof(struct dn_alg, ref_count) == 136, "dn_alg.ref_count");
_Static_assert(sizeof(struct dn_flow) == 96, "dn_flow");
_Static_assert(offsetof(struct dn_queue, ni) == 0, "dn_queue.ni");
_Static_assert(sizeof(struct dn_queue) == 176, "dn_queue");
_Static_assert(sizeof(struct dn_sch_inst) == 192, "dn_sch_inst");
_Static_assert(offsetof(struct dn_sch_inst, sched) == 144,
    "dn_sch_inst.sched");
_Static_assert(sizeof(struct dn_schk) == 192, "dn_schk");
_Static_assert(offsetof(struct dn_schk, fp) == 96, "dn_schk.fp");
_Static_assert(offsetof(struct dn_pkt_tag, dn_dir) == 32,
    "dn_pkt_tag.dn_dir");
_Static_assert(offsetof(struct dn_pkt_tag, output_time) == 40,
    "dn_pkt_tag.output_time");
#if __FreeBSD_version >= 1400000
_Static_assert(sizeof(struct dn_pkt_tag) == 56, "dn_pkt_tag");
_Static_assert(offsetof(struct dn_pkt_tag, iphdr_off) == 52,
    "dn_pkt_tag.iphdr_off");
#else
_Static_assert(sizeof(struct dn_pkt_tag) == 144, "dn_pkt_tag");
#endif
_Static_assert(offsetof(struct dn_parms, io_pkt_drop) == 168,
    "dn_parms.io_pkt_drop");
_Static_assert(offsetof(struct dn_parms, curr_time) == 176,
    "dn_parms.curr_time");
#endif /* __LP64__ */

#endif /* !_L4S_DN_SHIM_H_ */
