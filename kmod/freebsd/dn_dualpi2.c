/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The dummynet scheduler `dualpi2'.
 *
 * Every callback runs under the vnet's dummynet lock, with curvnet set: enqueue
 * and dequeue from the packet path, dequeue also from dummynet's task,
 * new_sched from the first packet, free_sched and destroy from configuration.
 * So nothing here sleeps, and the vnet's rings have one writer at a time.
 *
 * The scheduler maintains dn_alg.ref_count, which keeps the module loaded.  It
 * counts instances, and also scheduler entries, because these point to
 * l4s_dualpi2_alg before the first packet creates an instance.
 */

#include "dn_dualpi2.h"
#include "link.h"
#include "probes.h"
#include "vnet.h"

#include <sys/libkern.h>

/* Must not be 0 (unknown) or 1 to 7 (taken), and must fit in 8 bits. */
#define	DN_SCHED_DUALPI2	76

/* Follows struct dn_schk. */
struct dn_dualpi2_entry {
	bool		counted;
};

/* Follows struct dn_sch_inst. */
struct dn_dualpi2_instance {
	struct l4s_instance instance;
	struct l4s_pkt_sink sink;
	struct l4s_vnet	*vnet;
	struct l4s_link	link;
};

/* dummynet allocates both in one piece, which malloc(9) would round up. */
_Static_assert(sizeof(struct dn_sch_inst) +
    sizeof(struct dn_dualpi2_instance) <= 4096, "dn_dualpi2_instance");

static struct dn_dualpi2_entry *
dn_dualpi2_entry_of(struct dn_schk *schk)
{
	return ((struct dn_dualpi2_entry *)(schk + 1));
}

static struct dn_dualpi2_instance *
dn_dualpi2_instance_of(struct dn_sch_inst *si)
{
	return ((struct dn_dualpi2_instance *)(si + 1));
}

/* The output of `ipfw sched show'. */
static void
dn_dualpi2_show_backlog(struct dn_sch_inst *si)
{
	uint64_t backlog =
	    dualpi2_backlog(&dn_dualpi2_instance_of(si)->instance.queue);

	si->ni.length = dualpi2_packets(backlog);
	si->ni.len_bytes = dualpi2_bytes(backlog);
}

/*
 * Time left for the link in this tick: serve_sched() adds the rate, hz times
 * bits, to the credit and takes packets while it is not below 0.  The credit
 * that it grants at the start of a busy period, for io_fast or a burst, makes
 * this too long, which struct l4s_link handles.
 */
static uint64_t
dn_dualpi2_spare(const struct dn_sch_inst *si)
{
	int64_t rate = si->sched->link.bandwidth;
	uint64_t ticks, rest, tick_ns = L4S_NS_PER_S / (uint64_t)hz;

	if (rate <= 0 || si->credit <= 0)
		return (0);
	ticks = (uint64_t)(si->credit / rate);
	rest = (uint64_t)(si->credit % rate);	/* < 2^31, by 1e9 < 2^30 */
	return (ticks * tick_ns + rest * tick_ns / (uint64_t)rate);
}

static uint64_t
dn_dualpi2_duration(const struct dn_sch_inst *si, const struct mbuf *m)
{
	int64_t rate = si->sched->link.bandwidth;

	return (rate <= 0 ? 0 :
	    (uint64_t)l4s_pkt_length(m) * 8 * L4S_NS_PER_S / (uint64_t)rate);
}

static int
dn_dualpi2_enqueue(struct dn_sch_inst *si, struct dn_queue *q __unused,
    struct mbuf *m)
{
	struct dn_dualpi2_instance *in = dn_dualpi2_instance_of(si);
	uint64_t head = l4s_probe_begin(in->vnet);
	uint64_t decided = in->instance.student_decisions;
	uint32_t length = l4s_pkt_length(m);
	uint64_t now = l4s_now();
	uint8_t ds = 0;
	bool empty, queued = false;

	si->ni.tot_pkts++;
	si->ni.tot_bytes += length;
	m = l4s_pkt_prepare(m, &ds);
	if (__predict_false(m == NULL)) {
		l4s_instance_refuse(&in->instance, NULL, ds, length, now);
		si->ni.drops++;
		V_dn_cfg.io_pkt_drop++;
	} else {
		l4s_rcvif_save(m);
		empty = dualpi2_backlog(&in->instance.queue) == 0;
		if (empty && in->link.free_ns < now)
			l4s_instance_idle(&in->instance, in->link.free_ns);
		queued = l4s_instance_enqueue(&in->instance, m, now);
		if (queued && empty)
			l4s_link_arrive(&in->link, now);
	}
	dn_dualpi2_show_backlog(si);
	l4s_probe_written(in->vnet, in->instance.sched, head);
	l4s_probe_student(&in->instance, decided);
	return (queued ? 0 : 1);
}

static struct mbuf *
dn_dualpi2_dequeue(struct dn_sch_inst *si)
{
	struct dn_dualpi2_instance *in = dn_dualpi2_instance_of(si);
	uint64_t head = l4s_probe_begin(in->vnet);
	uint64_t decided = in->instance.student_decisions;
	uint64_t now = l4s_now();
	struct mbuf *m;

	l4s_link_spare(&in->link, now, dn_dualpi2_spare(si));
	if (dualpi2_backlog(&in->instance.queue) == 0)
		l4s_instance_idle(&in->instance, in->link.free_ns);
	while ((m = l4s_instance_dequeue(&in->instance, now)) != NULL) {
		m->m_nextpkt = NULL;
		if (__predict_true(l4s_rcvif_restore(m)))
			break;
		/* Its interface has disappeared; try the next one. */
		l4s_pkt_drop(m, &in->sink);
	}
	if (m != NULL)
		l4s_link_send(&in->link, dn_dualpi2_duration(si, m));
	else
		l4s_instance_idle(&in->instance, in->link.free_ns);
	dn_dualpi2_show_backlog(si);
	l4s_probe_written(in->vnet, in->instance.sched, head);
	l4s_probe_student(&in->instance, decided);
	return (m);
}

/* Also called when an entry is reconfigured without a change. */
static int
dn_dualpi2_config(struct dn_schk *schk)
{
	struct dn_dualpi2_entry *entry = dn_dualpi2_entry_of(schk);

	if (!entry->counted) {
		entry->counted = true;
		atomic_add_int(&l4s_dualpi2_alg.ref_count, 1);
	}
	return (0);
}

/* Also called for an entry that was never configured. */
static int
dn_dualpi2_destroy(struct dn_schk *schk)
{
	struct dn_dualpi2_entry *entry = dn_dualpi2_entry_of(schk);

	if (entry->counted) {
		entry->counted = false;
		atomic_subtract_int(&l4s_dualpi2_alg.ref_count, 1);
	}
	return (0);
}

static int
dn_dualpi2_new_sched(struct dn_sch_inst *si)
{
	struct dn_dualpi2_instance *in = dn_dualpi2_instance_of(si);
	struct l4s_params params;
	struct l4s_limits limits;
	struct l4s_siphash_key key;
	uint64_t seed;
	int error;

	in->vnet = l4s_vnet_current();
	if (in->vnet == NULL)
		return (ENXIO);
	in->sink.si = si;
	arc4random_buf(&seed, sizeof(seed));
	arc4random_buf(&key, sizeof(key));
	l4s_device_params(&in->vnet->device, &params);
	l4s_device_limits(&in->vnet->device, &limits);
	l4s_instance_init(&in->instance, si->sched->sch.sched_nr, &params,
	    &limits, in->vnet->rings, &in->sink, seed, &key);
	/*
	 * Without memory there is no instance, and dummynet drops the packet.
	 */
	error = l4s_errno(l4s_device_attach(&in->vnet->device, &in->instance));
	if (error != 0) {
		l4s_instance_destroy(&in->instance);
		return (error);
	}
	/*
	 * dummynet deletes instances that no queue refers to as soon as they
	 * are idle, and with them the controller's state and the counters.  A
	 * single instance is kept; those of a mask are deleted, because senders
	 * can create one for each address.
	 */
	if ((si->sched->sch.flags & DN_HAVE_MASK) == 0)
		si->q_count++;
	atomic_add_int(&l4s_dualpi2_alg.ref_count, 1);
	return (0);
}

static int
dn_dualpi2_free_sched(struct dn_sch_inst *si)
{
	struct dn_dualpi2_instance *in = dn_dualpi2_instance_of(si);
	uint64_t head = l4s_probe_begin(in->vnet);
	uint64_t decided = in->instance.student_decisions;

	l4s_device_detach(&in->vnet->device, &in->instance, l4s_now());
	l4s_probe_written(in->vnet, in->instance.sched, head);
	l4s_probe_student(&in->instance, decided);
	l4s_instance_destroy(&in->instance);
	atomic_subtract_int(&l4s_dualpi2_alg.ref_count, 1);
	return (0);
}

/*
 * With DN_MULTIQUEUE dummynet looks up the flowset's queue for each packet and
 * passes it; the queue stays empty.  Without it, dummynet would keep a pointer
 * to a flowset that `ipfw queue delete' frees.
 */
struct dn_alg l4s_dualpi2_alg = {
	.type = DN_SCHED_DUALPI2,
	.name = "dualpi2",
	.flags = DN_MULTIQUEUE,
	.schk_datalen = sizeof(struct dn_dualpi2_entry),
	.si_datalen = sizeof(struct dn_dualpi2_instance),
	.enqueue = dn_dualpi2_enqueue,
	.dequeue = dn_dualpi2_dequeue,
	.config = dn_dualpi2_config,
	.destroy = dn_dualpi2_destroy,
	.new_sched = dn_dualpi2_new_sched,
	.free_sched = dn_dualpi2_free_sched,
};
