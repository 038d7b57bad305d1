/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The router in userspace: one device with one scheduler instance, made from
 * the same sources as the kernel module.  Used by the emulator, the tests and
 * the fuzzers.
 *
 * Time is an argument and never goes back.  Packets are cookies: the value
 * passed to enqueue is returned by dequeue or drops.
 *
 * Thread safety: enqueue, dequeue and drops are the packet path, one thread
 * at a time.  The device calls (open .. close) may run in other threads at
 * the same time.
 */

#ifndef _L4S_USER_H_
#define	_L4S_USER_H_

#include <stddef.h>
#include <stdint.h>

#include "l4sllm_abi.h"

struct l4s_user;
struct l4s_user_handle;

/*
 * Or'ed to the codepoint of an enqueued packet: it cannot be marked, like a
 * packet with a header that cannot be written in the kernel.
 */
#define	L4S_USER_ECN_FIXED	0x80

#define	L4S_USER_NO_FLOW	UINT32_MAX

struct l4s_user_packet {
	uint64_t	cookie;
	uint64_t	sojourn_ns;	/* 0 for a tail drop */
	uint32_t	length;		/* bytes */
	uint8_t		ecn;		/* L4S_ECN_*, after the decision */
	uint8_t		queue;		/* L4S_QUEUE_CLASSIC or _L4S */
	uint8_t		action;		/* L4S_ACTION_* */
	uint8_t		reason;		/* L4S_REASON_* */
};

/*
 * ring_records: a power of two from 2^4 to 2^20 (and an eighth of it of
 * summaries), or 0 for no streams at all.
 * NULL params or limits: the defaults.  Returns NULL and an L4S_E* number in
 * *error when an argument is out of range or memory is short.
 */
struct l4s_user	*l4s_user_create(const struct l4s_params *params,
		    const struct l4s_limits *limits, uint32_t ring_records,
		    uint64_t seed, int *error);
void		 l4s_user_destroy(struct l4s_user *);

/*
 * flow: a number shared by the packets of a flow, for flow weights and the
 * summaries' bitmaps; L4S_USER_NO_FLOW: unknown.
 *
 * Returns 0 if queued, or 1 if dropped; a dropped packet is in drops too.  (If
 * memory is short, one packet is kept there; until l4s_user_drops() returns it,
 * further ones are counted and recorded but not kept.)
 */
int		 l4s_user_enqueue(struct l4s_user *, uint64_t cookie,
		    uint32_t length, uint8_t ecn, uint32_t flow,
		    uint64_t now_ns);
/* Like l4s_user_enqueue(), for a packet with a DiffServ codepoint, 0 to 63. */
int		 l4s_user_enqueue_dscp(struct l4s_user *, uint64_t cookie,
		    uint32_t length, uint8_t ecn, uint8_t dscp, uint32_t flow,
		    uint64_t now_ns);
/* Returns 1 and the packet to send, or 0 when both queues are empty. */
int		 l4s_user_dequeue(struct l4s_user *, uint64_t now_ns,
		    struct l4s_user_packet *out);
/*
 * Both queues are empty and the link could send since then, for links that do
 * not dequeue exactly when they become free.  A dequeue that returns 0 implies
 * it for its time.
 */
void		 l4s_user_idle(struct l4s_user *, uint64_t since_ns);
/* Both queues are empty and the link cannot send, since then. */
void		 l4s_user_stall(struct l4s_user *, uint64_t since_ns);
/* Returns up to max packets dropped since the last call, and their number. */
size_t		 l4s_user_drops(struct l4s_user *, struct l4s_user_packet *out,
		    size_t max);
void		 l4s_user_stats(struct l4s_user *, struct l4s_stats *out);
/* Backlog in packets and bytes of one queue (L4S_QUEUE_ANY: both). */
void		 l4s_user_backlog(const struct l4s_user *, uint8_t queue,
		    uint32_t *packets, uint32_t *bytes);
/*
 * The parameters, with the effective set-points, steered or not, instead of the
 * configured ones.  Packet path.
 */
void		 l4s_user_set_points(const struct l4s_user *,
		    struct l4s_params *out);
/*
 * The latest override that the packet path took from the device; all 0 before
 * the first.  Returns 1 while it is active, and 0 once it is used up, expired or
 * cancelled.  Packet path.
 */
int		 l4s_user_latest_override(const struct l4s_user *,
		    struct l4s_override *out);

/*
 * The device.  Every call returns 0 or an L4S_E* number.
 */
struct l4s_user_handle *l4s_user_open(struct l4s_user *);
void		 l4s_user_close(struct l4s_user_handle *, uint64_t now_ns);
/*
 * Returns only whole messages; *got is 0 if none are available.  See handle.h.
 */
int		 l4s_user_read(struct l4s_user_handle *, void *buf, size_t size,
		    uint64_t now_ns, size_t *got);
/*
 * Number of messages that l4s_user_read() would find, including overwritten
 * ones.  Takes no lock, and is cheap enough to call after every packet.  Only
 * the thread that reads may call it.
 */
uint64_t	 l4s_user_unread(const struct l4s_user_handle *);
/* op: L4S_OP_*; buf holds the op's struct, in and out, of `size' bytes. */
int		 l4s_user_request(struct l4s_user_handle *, uint32_t op,
		    void *buf, size_t size, uint64_t now_ns);
/*
 * Returns 1 if readable by struct l4s_interval's rule, otherwise 0 and, in
 * *deadline_ns, the time when max_wait_ns alone makes it readable (UINT64_MAX:
 * never).
 */
int		 l4s_user_ready(struct l4s_user_handle *, uint64_t now_ns,
		    uint64_t *deadline_ns);
/*
 * Calls wake(arg) from the packet path each time this handle becomes readable;
 * for servers that wait.  NULL: none.
 */
void		 l4s_user_on_ready(struct l4s_user_handle *,
		    void (*wake)(void *), void *arg);

/* Drops everything queued, like the deletion of the instance. */
void		 l4s_user_flush(struct l4s_user *);

/*
 * For tests, with L4S_RECORD_TAP defined: tap(arg) receives each decision as
 * described by version 1, made from the queue's state; seq is that of the
 * record, if one is written.  NULL: none.
 */
void		 l4s_user_tap(struct l4s_user *,
		    void (*tap)(void *, const struct l4s_record_v1 *),
		    void *arg);

/*
 * For tests: all memory is allocated here and released with free(3).  Must be
 * set while no other thread is in a function of this file; NULL: malloc(3).
 */
void		 l4s_user_set_malloc(void *(*)(size_t));

/* Parameter profiles: RFC 9332's, tuned, the paper's. */
void		 l4s_user_params_default(struct l4s_params *);
void		 l4s_user_params_tuned(struct l4s_params *);
void		 l4s_user_params_paper(struct l4s_params *);
void		 l4s_user_limits_default(struct l4s_limits *);
/* Target, tupdate and gains for round-trip times: 0, or L4S_EINVAL. */
int		 l4s_user_params_rtt(struct l4s_params *, uint64_t typical_ns,
		    uint64_t max_ns);

#endif /* !_L4S_USER_H_ */
