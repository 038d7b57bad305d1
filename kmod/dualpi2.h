/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * DualPI2 (RFC 9332, appendix A): two queues, one PI controller.
 *
 *	            ECT(1), CE ┌───────────┐ p_L = max(p'_L, k p')
 *	packet ──▶ classify ──▶│ L4S queue │──────────────┐
 *	               │       └───────────┘              ▼
 *	               │       ┌───────────┐          weighted
 *	               └──────▶│  Classic  │─────────▶round robin ──▶ verdict
 *	        Not-ECT, ECT(0)└───────────┘ p_C = p'^2
 *
 * p' is the output of the controller, which reads the delay of the older of
 * the two heads every tupdate; p'_L is the L4S queue's native step or ramp.
 * With flow_weights, p' is multiplied by the weight of the packet's flow
 * (flow_weights.h).
 *
 * This file depends only on packets (pkt.h) and time, not on records, overrides
 * or devices: dualpi2_pick() removes the next packet from its queue and returns
 * DualPI2's verdict on it; the caller follows the verdict or overrides it.
 */

#ifndef _L4S_DUALPI2_H_
#define	_L4S_DUALPI2_H_

#include "osdep.h"
#include "flow_weights.h"
#include "l4sllm_abi.h"
#include "pkt.h"

/*
 * Probabilities are Q31 in 32 bits, with 2^31 as one: the product of two fits
 * in 64 bits, and one is exact.  In records one is 2^31 - 1, so values are
 * clamped to that.
 */
#define	DUALPI2_ONE		0x80000000U

/*
 * p' itself is Q56, so that even the minimum gain changes it: 1e-6 Hz over 1 ns
 * is 72 of these units.
 */
#define	DUALPI2_P_SHIFT		56
#define	DUALPI2_P_ONE		((int64_t)1 << DUALPI2_P_SHIFT)

/* Causes of a verdict, for the counters. */
enum dualpi2_cause {
	DUALPI2_NONE,		/* forward unchanged */
	DUALPI2_CLASSIC,	/* p_C, or p_C in the L4S queue in overload */
	DUALPI2_NATIVE,		/* p'_L */
	DUALPI2_COUPLED,	/* k p' */
};

/*
 * (a): written only by the packet path, with L4S_STORE or L4S_COUNT, and read
 * by any thread.  All other members belong to the packet path.
 */
struct dualpi2_queue {
	l4s_pkt_t	*head;
	l4s_pkt_t	*tail;
	uint64_t	head_ns;	/* (a) arrival of the head, if any */
	uint64_t	backlog;	/* (a) dualpi2_packets(), _bytes() */
	uint64_t	accumulated;	/* likelihood since the last signal, Q31 */
	uint32_t	threshold;	/* likelihood of the next, Q31 */
	uint32_t	silent;		/* below it there is no signal */
	uint64_t	total_packets;	/* (a) arrived, incl. tail drops */
	uint64_t	total_bytes;	/* (a) likewise */
	uint64_t	total_drops;	/* (a) */
	/* Departure rate, measured as in RFC 8033, section 4.3. */
	uint64_t	sample_start;	/* ns; 0 between samples */
	uint32_t	sample_bytes;	/* so far; 0 between samples */
	uint32_t	sample_us;	/* mean, us per DUALPI2_SAMPLE bytes */
	uint32_t	sample_from;	/* backlog needed to continue, bytes */
	uint8_t		status;		/* L4S_STATUS_MEASURING, and the
					   controller's */
};

/* Bytes of a departure-rate sample (DQ_THRESHOLD of RFC 8033). */
#define	DUALPI2_SAMPLE		16384

/*
 * Set-points, which steering may shift; without steering, the parameters'
 * values.
 */
struct dualpi2_setpoints {
	uint64_t	target_ns;
	uint64_t	tupdate_ns;
	uint64_t	threshold_ns;
	uint32_t	coupling_q8;
	uint32_t	alpha_uhz;
	uint32_t	beta_uhz;
};

struct dualpi2 {
	struct dualpi2_queue queue[2];	/* L4S_QUEUE_CLASSIC, _L4S */
	struct l4s_params params;
	struct dualpi2_setpoints set;
	uint64_t	nearly_full;	/* check the limit above this */
	const union l4s_flow_table *flows;	/* NULL: all weigh one */
	uint64_t	flows_since;	/* packets that came before have no
					   bucket */

	/* The controller. */
	int64_t		p;		/* p', Q56, 0..p_max */
	int64_t		p_max;		/* DUALPI2_P_ONE; 1/k for overflow */
	int64_t		alpha;		/* Q56 per ns */
	int64_t		beta;		/* Q56 per ns */
	uint64_t	next_update;	/* ns; 0 before the first packet */
	uint64_t	previous_ns;	/* delay at the last update */
	uint64_t	burst_ns;	/* RFC 8033 4.4; 0 if off or used up */

	/* Derived from p' and the set-points; Q31. */
	uint32_t	p_base;		/* (a) p', at most L4S_PROB_ONE */
	uint32_t	p_classic;	/* (a) p_C */
	uint32_t	p_coupled;	/* (a) p_CL, at most one */
	uint32_t	heard_classic;	/* p_C, and p_CL without overload; 0 */
	uint32_t	heard_coupled;	/* during the burst allowance */
	uint32_t	weight_min;	/* minimum weight, Q14 */
	bool		overload;	/* p_CL >= 1, the same as p_C >= p_Cmax */
	uint8_t		plain_ecn;	/* l4s_ecn, or 0 in overload */
	uint8_t		status;		/* L4S_STATUS_OVERLOAD, _BURST */
	uint32_t	previous_us;	/* previous_ns and burst_ns in us, */
	uint32_t	burst_us;	/* for records */

	int64_t		credit;		/* (a) WRR: > 0: Classic's turn */
	uint64_t	random;		/* state of the generator, not 0 */
};

/* The next packet and DualPI2's verdict on it. */
struct dualpi2_verdict {
	l4s_pkt_t	*pkt;
	uint64_t	sojourn_ns;
	uint64_t	backlog;	/* of its queue, excluding it */
	uint32_t	probability;	/* p_C or p_L, weighted: dualpi2_q31() */
	uint32_t	length;
	int32_t		credit;		/* change of the WRR credit if sent */
	uint32_t	ecn;		/* on arrival */
	uint8_t		queue;		/* L4S_QUEUE_CLASSIC or _L4S */
	uint8_t		action;		/* L4S_ACTION_* */
	uint8_t		cause;		/* enum dualpi2_cause */
	uint8_t		weight;		/* of the flow, Q6; 0: none applied */
};

void	dualpi2_init(struct dualpi2 *, const struct l4s_params *,
	    uint64_t seed);
/* Sets checked parameters, at any time.  p' and the queues do not change. */
void	dualpi2_configure(struct dualpi2 *, const struct l4s_params *);
/*
 * Applies the override's factors (Q16) in steer_set; 0 restores the parameters'
 * values.  The next update is not moved; the new period counts from there.
 */
void	dualpi2_steer(struct dualpi2 *, const struct l4s_override *,
	    uint8_t steer_set);

/*
 * Runs the controller up to `now'.  Must be called before anything else that
 * takes the time, which must not go back.
 */
static inline void dualpi2_advance(struct dualpi2 *, uint64_t now);

/*
 * Selects the queue of a packet by its DSCP and ECN field (RFC 9332, section
 * 2.3).
 */
static inline uint8_t
dualpi2_classify(const struct dualpi2 *d, uint8_t ds)
{
	return ((ds & d->params.l4s_ecn) != 0 ||
	    (d->params.l4s_dscp >> (ds >> 2) & 1) != 0 ? L4S_QUEUE_L4S :
	    L4S_QUEUE_CLASSIC);
}

/* Queues the packet.  Returns false, with no change, if a limit forbids it. */
bool	dualpi2_enqueue(struct dualpi2 *, l4s_pkt_t *, uint8_t queue,
	    uint32_t length, uint64_t now);
/*
 * Takes the next packet.  Returns false if both queues are empty.
 * packet_path.c does this in two steps, for separate code per queue:
 * dualpi2_choose() selects one of the queues, which must not both be empty, and
 * sets v->credit; then dualpi2_pick_from() (dualpi2.c).
 */
bool	dualpi2_pick(struct dualpi2 *, uint64_t now, struct dualpi2_verdict *);
uint8_t	dualpi2_choose(const struct dualpi2 *, int32_t *credit);
/*
 * Charges the scheduler for a packet that is sent.  A packet that is dropped,
 * by DualPI2 or by an override, used no link time and costs nothing.
 */
static inline void dualpi2_charge(struct dualpi2 *,
    const struct dualpi2_verdict *);
/* Takes the head of a queue without a verdict; NULL if it is empty. */
l4s_pkt_t *dualpi2_flush(struct dualpi2 *, uint8_t queue);

/* Converts a Q31 probability to that of records, at most L4S_PROB_ONE. */
static inline uint32_t
dualpi2_q31(uint32_t p)
{
	return (p > L4S_PROB_ONE ? L4S_PROB_ONE : p);
}

static inline uint32_t
dualpi2_us(uint64_t ns)
{
	ns /= L4S_NS_PER_US;
	return (ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns);
}

/*
 * The backlog is one word, so that an arrival or departure changes it with one
 * addition: packets in the lower half, bytes in the upper half.  Both queues
 * together stay below 2^32 bytes (dualpi2_enqueue()), so the words of both can
 * be added.
 */
#define	DUALPI2_PACKET(length)	((uint64_t)(length) << 32 | 1)

static inline uint32_t
dualpi2_packets(uint64_t backlog)
{
	return ((uint32_t)backlog);
}

static inline uint32_t
dualpi2_bytes(uint64_t backlog)
{
	return ((uint32_t)(backlog >> 32));
}

/* The backlog of both queues. */
static inline uint64_t
dualpi2_backlog(const struct dualpi2 *d)
{
	return (d->queue[0].backlog + d->queue[1].backlog);
}

/* Time that the head of a queue has waited; 0 if empty. */
static inline uint64_t
dualpi2_head_delay(const struct dualpi2 *d, uint8_t queue, uint64_t now)
{
	const struct dualpi2_queue *q = &d->queue[queue];

	return (q->backlog != 0 ? now - q->head_ns : 0);
}

static inline void
dualpi2_charge(struct dualpi2 *d, const struct dualpi2_verdict *v)
{
	L4S_STORE(&d->credit, d->credit + v->credit);
}

L4S_SLOW void dualpi2_update(struct dualpi2 *, uint64_t now);

static inline void
dualpi2_advance(struct dualpi2 *d, uint64_t now)
{
	if (__predict_false(now >= d->next_update))
		dualpi2_update(d, now);
}

#endif /* !_L4S_DUALPI2_H_ */
