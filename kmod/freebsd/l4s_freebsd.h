/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * What the FreeBSD files share.
 *
 *	dummynet ──▶ dn_dualpi2.c ──▶ instance.c ──▶ ring ──▶ cdev.c ──▶ read(2)
 *	                  ▲                                      │
 *	                  └── device.c ◀── ioctl(2), sysctl ─────┘
 *
 * Each vnet has a device of its own: its instances, its ring, its parameters
 * and limits, its descriptors.  A descriptor belongs to the vnet of the
 * thread that opened it, wherever it is passed.
 *
 * Locks, outermost first.  None is held across a sleep, an allocation that
 * waits or a copy from or to userspace.
 *
 *	dummynet's, per vnet	held by dummynet around every scheduler
 *				callback; never taken here
 *	l4s_global (g)		vnets' descriptors, references, unloading,
 *				writers of sysctls
 *	l4s_open.mtx (o)	a descriptor's sleepers, poll, kqueue
 *	l4s_device.lock		see osdep.h for this one and the next two
 *	l4s_overrides.lock
 *	l4s_device.wake_lock
 *	taskqueue's		wakeups leave the packet path by a task, so
 *				that no lock of kqueue or select is taken
 *				under dummynet's
 *
 * kqueue's, select's and the callout's locks come after (o).
 */

#ifndef _L4S_FREEBSD_H_
#define	_L4S_FREEBSD_H_

#include "compat.h"

#include <sys/callout.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/mutex.h>
#include <sys/queue.h>
#include <sys/sdt.h>
#include <sys/selinfo.h>
#include <sys/taskqueue.h>

#include "device.h"

MALLOC_DECLARE(M_L4SLLM);

struct l4s_open;

/*
 * How the daemon is asked to work; it reads these by sysctl.  0: as its
 * configuration says.
 */
struct l4s_advice {
	uint32_t	interval;	/* packets between two decisions */
	uint32_t	hold;		/* packets that a decision holds */
	uint32_t	mode;		/* L4S_MODE_* or 0 */
};

struct l4s_vnet {
	struct l4s_device device;
	struct l4s_ring	ring;
	uint64_t	*words;		/* (c) the ring's */
	struct l4s_advice advice;	/* (g) */
	LIST_HEAD(, l4s_open) opens;	/* (g) */
	u_int		references;	/* (g) the vnet's, and each open's */
};

/* module.c */
extern struct mtx l4s_global;
extern struct taskqueue *l4s_taskqueue;

/* Of curvnet; NULL before it is set up and while it is torn down. */
struct l4s_vnet	*l4s_vnet_current(void);
/* Counts a descriptor in; NULL when there is no vnet, or unloading began. */
struct l4s_vnet	*l4s_vnet_hold(void);
void		 l4s_vnet_release(struct l4s_vnet *);

/* dn_dualpi2.c */
extern struct dn_alg l4s_dualpi2_alg;

/* cdev.c */
int	l4s_cdev_create(void);
void	l4s_cdev_destroy(void);
/* The vnet goes: its descriptors end.  l4s_global held. */
void	l4s_cdev_revoke(struct l4s_vnet *);

/* sdt.c */
SDT_PROVIDER_DECLARE(l4sllm);
SDT_PROBE_DECLARE(l4sllm, , , override);
/* Fires for the messages from sequence number `from' to the ring's head. */
void	l4s_probe_written(const struct l4s_ring *, uint64_t from);
/* Fires for losses among messages that were read. */
void	l4s_probe_read(const void *messages, size_t size);

#endif /* !_L4S_FREEBSD_H_ */
