/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Each vnet has its own device: its instances, rings, parameters, limits and
 * descriptors.  A descriptor belongs to the vnet of the thread that opened it,
 * even after being passed to another process.
 *
 *	module.c ──▶ cdev.c ──▶ vnet.c ◀── sysctl*.c
 *	    │                     ▲
 *	    └──▶ dn_dualpi2.c ────┘
 *
 * Locks, outermost first.  None is held across a sleep, an allocation that
 * waits or a copy from or to userspace.
 *
 *	dummynet's, per vnet	held by dummynet around every scheduler
 *				callback; never taken here
 *	l4s_global (g)		vnets' descriptors, references, unloading,
 *				writers of sysctls
 *	cdev_client.mtx (o)	a descriptor's sleepers, poll, kqueue
 *	l4s_device.lock		see osdep.h for this one and the next two
 *	l4s_overrides.lock
 *	l4s_device.wake_lock
 *	taskqueue's		wakeups leave the packet path by a task, so
 *				that no lock of kqueue or select is taken
 *				under dummynet's
 *
 * kqueue's, select's and the callout's locks come after (o).
 */

#ifndef _L4S_VNET_H_
#define	_L4S_VNET_H_

#include "compat.h"

#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/mutex.h>
#include <sys/queue.h>

#include "device.h"

MALLOC_DECLARE(M_L4SLLM);

/*
 * Settings for the daemon, which reads them by sysctl. 0: as configured in the
 * daemon.
 */
struct l4s_advice {
	uint32_t	interval;	/* packets between two decisions */
	uint32_t	period;		/* ms between two on summaries */
	uint32_t	hold;		/* packets that a decision holds */
	uint32_t	mode;		/* L4S_MODE_* or 0 */
	uint32_t	engine;		/* 1: the adaptive rule */
	uint32_t	idle_budget;	/* parts per million of link time */
};

/* A subscriber to the destruction of a vnet. */
struct l4s_vnet_watch {
	LIST_ENTRY(l4s_vnet_watch) link; /* (g) */
	void		(*gone)(struct l4s_vnet_watch *); /* (c) under (g) */
};

struct l4s_vnet {
	struct l4s_device device;
	struct l4s_ring	rings[L4S_RINGS];
	uint64_t	*words;		/* (c) the rings' */
	struct l4s_advice advice;	/* (g) */
	uint64_t	rtt_us[2];	/* (g) typical, longest; as last set */
	LIST_HEAD(, l4s_vnet_watch) watches; /* (g) */
	bool		gone;		/* (g) */
	bool		probed;		/* records are written for probes;
					   under dummynet's lock */
	u_int		references;	/* (g) the vnet's, and each open's */
};

extern struct mtx l4s_global;

/* The device of curvnet; NULL before it is set up and while it is torn down. */
struct l4s_vnet	*l4s_vnet_current(void);
/* Its counters, summed over its instances; 0 or an errno. */
int		 l4s_vnet_stats(struct l4s_stats *);
int		 l4s_vnet_queues(struct l4s_queues *);

/* The errno of an L4S_E* number, or 0. */
int		 l4s_errno(int);

/* Registers a descriptor; NULL if there is no vnet, or unloading has begun. */
struct l4s_vnet	*l4s_vnet_hold(void);
void		 l4s_vnet_release(struct l4s_vnet *);
/*
 * watch->gone() is called when the vnet is destroyed, or now if it was already.
 */
void		 l4s_vnet_watch(struct l4s_vnet *, struct l4s_vnet_watch *);
void		 l4s_vnet_unwatch(struct l4s_vnet_watch *);

/* Whether a descriptor of any vnet is open. */
bool		 l4s_vnet_in_use(void);
/* Prevents new descriptors; false, with no change, if one is open. */
bool		 l4s_vnet_close(void);
void		 l4s_vnet_reopen(void);

#endif /* !_L4S_VNET_H_ */
