/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * A packet in userspace: the caller's description, and the decision.
 */

#ifndef _L4S_PKT_USER_H_
#define	_L4S_PKT_USER_H_

struct l4s_pkt_user {
	struct l4s_pkt_user *next;
	uint64_t	cookie;
	uint64_t	arrival_ns;
	uint64_t	sojourn_ns;
	uint32_t	length;
	uint32_t	flow;		/* L4S_PKT_NO_FLOW: none */
	uint16_t	bucket;		/* with flow weights */
	uint8_t		ecn;		/* L4S_ECN_* */
	uint8_t		dscp;
	bool		fixed;		/* as a header that others share */
	bool		queued;		/* behind Th_len others */
	uint8_t		queue;		/* set by the decision, as below */
	uint8_t		action;
	uint8_t		reason;
};

/* As in l4s_user.h. */
#define	L4S_PKT_NO_FLOW		UINT32_MAX

typedef struct l4s_pkt_user l4s_pkt_t;

/* Where an instance's dropped packets go, oldest first. */
struct l4s_pkt_sink {
	l4s_pkt_t	*head;
	l4s_pkt_t	**tail;
};

static inline uint32_t
l4s_pkt_length(const l4s_pkt_t *p)
{
	return (p->length);
}

static inline uint8_t
l4s_pkt_ecn(const l4s_pkt_t *p)
{
	return (p->ecn);
}

static inline uint8_t
l4s_pkt_ds(const l4s_pkt_t *p)
{
	return ((uint8_t)(p->dscp << 2 | p->ecn));
}

static inline uint32_t
l4s_pkt_flow(const l4s_pkt_t *p)
{
	return (p->flow);
}

static inline uint64_t
l4s_pkt_hash(const l4s_pkt_t *p, const struct l4s_siphash_key *key)
{
	/* A message of four bytes. */
	uint64_t word = (uint64_t)4 << 56 | p->flow;

	return (p->flow == L4S_PKT_NO_FLOW ? 0 : l4s_siphash13(key, &word, 1));
}

static inline uint16_t
l4s_pkt_bucket(const l4s_pkt_t *p)
{
	return (p->bucket);
}

static inline void
l4s_pkt_set_bucket(l4s_pkt_t *p, uint16_t bucket)
{
	p->bucket = bucket;
}

static inline bool
l4s_pkt_can_mark(const l4s_pkt_t *p)
{
	return (p->ecn != L4S_ECN_NOT_ECT && !p->fixed);
}

static inline void
l4s_pkt_mark(l4s_pkt_t *p)
{
	L4S_ASSERT(l4s_pkt_can_mark(p));
	p->ecn = L4S_ECN_CE;
}

static inline l4s_pkt_t *
l4s_pkt_next(const l4s_pkt_t *p)
{
	return (p->next);
}

static inline void
l4s_pkt_set_next(l4s_pkt_t *p, l4s_pkt_t *next)
{
	p->next = next;
}

static inline uint64_t
l4s_pkt_arrival(const l4s_pkt_t *p)
{
	return (p->arrival_ns);
}

static inline bool
l4s_pkt_queued(const l4s_pkt_t *p)
{
	return (p->queued);
}

static inline void
l4s_pkt_set_arrival(l4s_pkt_t *p, uint64_t ns, bool queued)
{
	p->arrival_ns = ns;
	p->queued = queued;
}

static inline void
l4s_pkt_decided(l4s_pkt_t *p, uint8_t queue, uint8_t action, uint8_t reason,
    uint64_t sojourn_ns)
{
	p->queue = queue;
	p->action = action;
	p->reason = reason;
	p->sojourn_ns = sojourn_ns;
}

static inline void
l4s_pkt_drop(l4s_pkt_t *p, struct l4s_pkt_sink *sink)
{
	p->next = NULL;
	*sink->tail = p;
	sink->tail = &p->next;
}

#endif /* !_L4S_PKT_USER_H_ */
