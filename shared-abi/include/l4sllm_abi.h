/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The interface between dualpi2_llm and everything that reads its records or
 * sends it overrides.  This is its only definition: the kernel module, the
 * emulator and the Rust side (through bindgen) all use it.
 *
 *   kernel -> user   read(2) on /dev/l4sllm yields whole messages, never a
 *                    part of one
 *   user -> kernel   ioctl(2) with one of the structs below
 *
 * Rules:
 *   - Every field has a fixed width; padding is explicit, zero when written
 *     and checked to be zero when read.
 *   - Byte order and alignment are the host's: the interface does not leave
 *     the machine.
 *   - Times are nanoseconds of one monotonic clock, the one in
 *     l4s_header.time_ns.  On FreeBSD this is CLOCK_MONOTONIC.
 *   - A change of layout or meaning raises L4S_ABI_VERSION; a test fails if the
 *     header changes without a new version.
 */

#ifndef _L4SLLM_ABI_H_
#define	_L4SLLM_ABI_H_

#ifdef _KERNEL
#include <sys/types.h>
#else
#include <stdint.h>
#endif

/* Versions that this header's owner accepts, inclusive. */
#define	L4S_ABI_VERSION		4
#define	L4S_ABI_VERSION_MIN	4
/* Captures of earlier versions are read too: see struct l4s_record_v1. */
#define	L4S_MESSAGE_VERSION_MIN	1

/*
 * Probabilities in records are Q31, as logged by FreeBSD's PIE: 2^31 - 1 is
 * one.  Factors (steer set-points) are Q16: 65536 is one.
 */
#define	L4S_PROB_ONE		0x7fffffffU
#define	L4S_FACTOR_ONE		0x00010000U

/* The queue that a packet is in, or that an override applies to. */
#define	L4S_QUEUE_CLASSIC	0
#define	L4S_QUEUE_L4S		1
#define	L4S_QUEUE_ANY		2	/* overrides only */

/* The action on a packet.  The published log writes the action plus one. */
#define	L4S_ACTION_ENQUEUE	0	/* forward unchanged */
#define	L4S_ACTION_DROP		1
#define	L4S_ACTION_MARK		2	/* set CE and forward */

/* The two bits of RFC 3168 section 5. */
#define	L4S_ECN_NOT_ECT		0
#define	L4S_ECN_ECT1		1
#define	L4S_ECN_ECT0		2
#define	L4S_ECN_CE		3

/*
 * Records
 */

#define	L4S_RECORD_DECISION	1	/* struct l4s_record */
#define	L4S_RECORD_LOSS		2	/* struct l4s_loss */
#define	L4S_RECORD_EVENT	3	/* struct l4s_event */
#define	L4S_RECORD_CONFIG	4	/* struct l4s_config */
#define	L4S_RECORD_STATE	5	/* struct l4s_state */
#define	L4S_RECORD_TOTALS	6	/* struct l4s_totals */
#define	L4S_RECORD_SUMMARY	8	/* struct l4s_summary */

/* All messages except summaries have the same size; it differs in version 1. */
#define	L4S_RECORD_SIZE		64
#define	L4S_RECORD_V1_SIZE	168

/* The reason for the action of a decision (l4s_record.reason). */
#define	L4S_REASON_BASE		0	/* DualPI2's own verdict */
#define	L4S_REASON_ONCE		1	/* override, mode once */
#define	L4S_REASON_HOLD		2	/* override, mode hold */
#define	L4S_REASON_STEER	3	/* DualPI2's verdict, shifted set-points */
#define	L4S_REASON_TAIL		4	/* queue limit: dropped at enqueue */
#define	L4S_REASON_NOT_ECT	5	/* override refused: mark on Not-ECT */
#define	L4S_REASON_DROP_SHARE	6	/* override refused: share of drops used up */
#define	L4S_REASON_CEILING	7	/* override refused: delay above the ceiling */
#define	L4S_REASON_OVERLOAD	8	/* override refused: overload, base decides */
#define	L4S_REASON_LAST_PACKET	9	/* override refused: drop of the last one */
#define	L4S_REASON_FLUSH	10	/* dropped with its queue, on deletion */
#define	L4S_REASON_MARK_SHARE	11	/* override refused: share of marks used up */
#define	L4S_REASON_STUDENT	12	/* DualPI2's verdict, the student's set-points */
#define	L4S_REASON_COUNT	13

/* l4s_record.status */
#define	L4S_STATUS_OVERLOAD	0x0001	/* classic probability at its maximum */
#define	L4S_STATUS_CEILING	0x0002	/* queue delay above the ceiling */
#define	L4S_STATUS_STEERED	0x0004	/* a steer override is in force */
#define	L4S_STATUS_WATCHDOG	0x0008	/* the controller missed its deadline */
#define	L4S_STATUS_BURST	0x0010	/* burst allowance left (RFC 8033, 4.4) */
#define	L4S_STATUS_MEASURING	0x0020	/* departure-rate sample in progress */
#define	L4S_STATUS_STUDENT	0x0040	/* the student's set-points are in force */

/* l4s_config.flags: the configuration in force */
#define	L4S_FLAG_ECN		0x0001	/* ECT packets are marked, not dropped */
#define	L4S_FLAG_RANDOM		0x0002	/* independent signals, else even ones */
#define	L4S_FLAG_RAMP		0x0004	/* native L4S AQM is a ramp, else a step */
#define	L4S_FLAG_BURST		0x0008	/* burst allowance on */
#define	L4S_FLAG_MAX_ECNTH	0x0010	/* ECN threshold on (RFC 8033, 5.1) */

/* The header of every message of the stream. */
struct l4s_header {
	uint16_t	version;	/* L4S_ABI_VERSION */
	uint8_t		type;		/* L4S_RECORD_* */
	uint8_t		pad;
	uint32_t	length;		/* of the whole message */
	uint64_t	seq;		/* counts every message written, from 0 */
	uint64_t	time_ns;	/* when the message was written */
};

/*
 * One decision: a departure, a drop at departure or a tail drop.  Queue state
 * is that of the packet's own queue (classic or L4S) after the decision.
 * Values that are the same for many packets come in the messages below, before
 * the records that they apply to; with them a reader fills in struct
 * l4s_record_v1.
 *
 * Instances of all schedulers are numbered from 0 in the order of their
 * creation, and numbers are not reused: a late override finds no instance
 * rather than the wrong one.
 */
struct l4s_record {
	struct l4s_header hdr;
	uint32_t	instance;
	uint32_t	total_packets;	/* arrived at this queue, mod 2^32 */
	uint64_t	delay_ns;	/* sojourn; of a tail drop, the head's */
	uint32_t	drop_probability; /* p_C or p_L (RFC 9332, A.1) of the
					     flow's weight, Q31 */
	uint32_t	accumulated;	/* Q31; below 1.5 */
	uint32_t	queue_length;	/* packets */
	uint32_t	length_in_bytes;
	uint32_t	packet_length;	/* bytes, IP header included */
	uint8_t		weight;		/* of its flow, Q6: L4S_WEIGHT_ONE;
					   0: flow_weights is off, or DualPI2
					   was not asked */
	uint8_t		actions;	/* L4S_ACTIONS() */
	uint8_t		queue_reason;	/* L4S_QUEUE_REASON() */
	uint8_t		status;		/* L4S_STATUS_* */
};

/* l4s_record.weight and its limits: a half and two. */
#define	L4S_WEIGHT_SHIFT	6
#define	L4S_WEIGHT_MIN		32
#define	L4S_WEIGHT_ONE		64
#define	L4S_WEIGHT_MAX		128

/*
 * The action taken, DualPI2's own, the one requested by an override (enqueue
 * without one), and the codepoint on arrival.
 */
#define	L4S_ACTIONS(action, base, override, ecn)			\
	((action) | (base) << 2 | (override) << 4 | (ecn) << 6)

/* L4S_QUEUE_CLASSIC or _L4S, and L4S_REASON_*. */
#define	L4S_QUEUE_REASON(queue, reason)	((queue) << 7 | (reason))
#define	L4S_REASON_MASK		0x7f

/*
 * The configuration of an instance, when it changes.  A keyframe is this, the
 * totals of both queues and the state, written when the instance begins, when a
 * descriptor begins to read records, and after one read a loss message.
 */
struct l4s_config {
	struct l4s_header hdr;
	uint32_t	instance;
	uint32_t	sched;		/* scheduler number (ipfw sched N) */
	uint32_t	target;		/* us, after steering */
	uint32_t	tupdate;	/* us, after steering */
	uint32_t	max_burst;	/* us */
	uint32_t	max_ecn_threshold; /* Q31 */
	uint32_t	alpha;		/* 2^-13 Hz, after steering */
	uint32_t	beta;		/* 2^-13 Hz, after steering */
	uint32_t	flags;		/* L4S_FLAG_* */
	uint32_t	pad;
};

/*
 * Values that change with an update of p' and with an override.  The samples
 * are those of RFC 8033, section 4.3; between two keyframes they are computed
 * from the records.
 */
struct l4s_state {
	struct l4s_header hdr;
	uint32_t	instance;
	uint32_t	base_probability; /* p' of RFC 9332, Q31 */
	uint32_t	previous_queue_delay; /* us, at the last update */
	uint32_t	burst_allowance; /* us left */
	uint64_t	override_id;	/* the newest; 0: none so far */
	uint32_t	sample_us[2];	/* by queue: mean of a sample */
	uint32_t	sample_bytes[2]; /* of the sample under way */
};

/* Counters of a queue. */
struct l4s_totals {
	struct l4s_header hdr;
	uint32_t	instance;
	uint32_t	queue;		/* L4S_QUEUE_CLASSIC or _L4S */
	uint64_t	total_packets;	/* arrived */
	uint64_t	left_bytes;	/* sent or dropped; those that wait
					   come on top in total_bytes */
	uint64_t	total_drops;
	uint64_t	sample_start_ns; /* of the sample under way; 0: none */
};

/*
 * A decision as written by version 1 and as filled in by readers.  Fields of
 * the published kernel log (Satish et al.) are numbered by their position in
 * it.  Delays above 2^32 - 1 us are written as 2^32 - 1.
 */
struct l4s_record_v1 {
	struct l4s_header hdr;

	uint32_t	sched;		/* scheduler number (ipfw sched N) */
	uint32_t	instance;	/* its instance */
	uint64_t	sojourn_ns;	/* arrival to decision; 0 on a tail drop */
	uint64_t	override_id;	/* override asked or in force, 0: none */

	uint8_t		queue_type;	/*  1: L4S_QUEUE_CLASSIC or _L4S */
	uint8_t		dequeue_action;	/* 24: what was done, L4S_ACTION_* */
	uint8_t		base_action;	/* what DualPI2 alone would have done */
	uint8_t		reason;		/* L4S_REASON_* */
	uint8_t		ecn;		/* codepoint on arrival, L4S_ECN_* */
	uint8_t		override_action; /* action asked; enqueue if none */
	uint16_t	status;		/* L4S_STATUS_* at the decision */

	uint32_t	qdelay_reference; /* 2: target, us, after steering */
	uint32_t	tupdate;	/*  3: us, after steering */
	uint32_t	max_burst;	/*  4: us */
	uint32_t	max_ecn_threshold; /* 5: Q31 */
	uint32_t	alpha;		/*  6: 2^-13 Hz, after steering */
	uint32_t	beta;		/*  7: 2^-13 Hz, after steering */
	uint32_t	flags;		/*  8: L4S_FLAG_* */
	uint32_t	burst_allowance; /* 9: us left */
	uint32_t	drop_probability; /* 10: Q31; the packet's queue's own,
					     p_C or p_L (RFC 9332, A.1) */
	uint32_t	current_queue_delay; /* 11: us */
	uint32_t	previous_queue_delay; /* 12: us, at the last update */
	uint32_t	average_dequeue_time; /* 15: us per sample of bytes */
	uint64_t	accumulated_probability; /* 13: Q31; may exceed one */
	uint64_t	measurement_start_time;	/* 14: ns, 0: none */
	uint32_t	dequeue_count;	/* 16: bytes in this sample */
	uint32_t	status_flags;	/* 17: L4S_STATUS_*, as in the log */
	uint64_t	total_packets;	/* 18: arrived at this queue */
	uint64_t	total_bytes;	/* 19 */
	uint32_t	queue_length;	/* 20: packets */
	uint32_t	length_in_bytes; /* 21 */
	uint64_t	total_drops;	/* 22: of this queue */
	uint32_t	packet_length;	/* 23: bytes, IP header included */
	uint32_t	base_probability; /* p' of RFC 9332, Q31 */
};

/*
 * Messages of one stream that this reader did not read in time.  Not counted in
 * seq.
 */
struct l4s_loss {
	struct l4s_header hdr;		/* seq: of the first lost message */
	uint64_t	lost;		/* how many */
	uint32_t	stream;		/* L4S_STREAM_*: which they were of */
	uint32_t	pad;
	uint8_t		reserved[24];	/* zero */
};

#define	L4S_EVENT_WATCHDOG	1	/* deadline missed: plain DualPI2 decides */
#define	L4S_EVENT_RECOVERED	2	/* an override came again */
#define	L4S_EVENT_CONTROL_OPEN	3	/* a controller took the device */
#define	L4S_EVENT_CONTROL_CLOSE	4	/* it left; overrides were dropped */
#define	L4S_EVENT_PARAMS	5	/* queue parameters changed */
#define	L4S_EVENT_LIMITS	6	/* limits changed */
/*
 * Overload (k p' >= 1) began, or ended: an instance has not been in overload
 * for L4S_OVERLOAD_QUIET_NS. Shorter breaks cause no events.  RFC 9332, section
 * 2.5.2.3.
 */
#define	L4S_EVENT_OVERLOAD	7
#define	L4S_EVENT_OVERLOAD_END	8
#define	L4S_OVERLOAD_QUIET_NS	1000000000ULL
#define	L4S_EVENT_STUDENT	9	/* student loaded, enabled or disabled */

struct l4s_event {
	struct l4s_header hdr;
	uint32_t	sched;		/* the scheduler; 0: all */
	uint32_t	instance;
	uint32_t	code;		/* L4S_EVENT_* */
	uint32_t	pad;
	uint64_t	value;		/* WATCHDOG: misses so far;
					   OVERLOAD_END: ns in overload since
					   OVERLOAD; STUDENT: the checksum if
					   enabled; else 0 */
	uint8_t		reserved[16];	/* zero */
};

/*
 * Summaries
 *
 * The activity of an instance in an interval: a number of its decisions or a
 * period, whichever ends first (struct l4s_interval).  There are no gaps
 * between the intervals of an instance: each begins where the previous one
 * ended.  A summary is written with the first packet at or after its end, so a
 * summary without packets covers the queue's whole idle time.
 *
 * Summaries are a monoid: two neighbours merge into the summary of both
 * intervals.  Sums add, extremes take the minimum or maximum, bitmaps are
 * or'ed, `begin' comes from the earlier summary and what is "at the end" from
 * the later one.
 */

/* Bits of a queue's bitmap of flows, for linear counting (Whang, 1990). */
#define	L4S_FLOW_BITS		256

/*
 * Drain rates are measured over windows of this busy time.  Their logarithms
 * are to base two of bytes per second, Q16.
 */
#define	L4S_RATE_WINDOW_NS	24000000ULL

/* Sojourn times are squared in units of 2^10 ns. */
#define	L4S_SOJOURN_SHIFT	10

/* One queue in an interval. */
struct l4s_queue_summary {
	uint64_t	arrived;	/* packets, tail drops among them */
	uint64_t	arrived_bytes;
	uint64_t	forwarded;	/* packets, marked ones among them */
	uint64_t	forwarded_bytes;
	uint64_t	marks_aqm;	/* by p_C or, in the L4S queue, k p' */
	uint64_t	marks_native;	/* by the L4S queue's own AQM alone */
	uint64_t	marks_override;
	uint64_t	drops_aqm;
	uint64_t	drops_override;
	uint64_t	drops_tail;
	uint64_t	drops_flush;
	uint64_t	sojourn_sum_ns;	/* of those forwarded */
	uint64_t	sojourn_sq;	/* squares; see L4S_SOJOURN_SHIFT */
	uint64_t	sojourn_min_ns;	/* UINT64_MAX: none forwarded */
	uint64_t	sojourn_max_ns;
	uint64_t	backlog_bytes;	/* at the end */
	uint32_t	backlog;	/* packets, at the end */
	uint32_t	backlog_max;	/* packets, after an arrival */
	uint64_t	flows[L4S_FLOW_BITS / 64]; /* hashes of those arrived */
};

/*
 * The link is idle while both queues are empty and it could send; otherwise it
 * is busy, or waits for its turn on a shared medium.
 */
struct l4s_summary {
	struct l4s_header hdr;		/* time_ns: the end */
	uint32_t	sched;
	uint32_t	instance;
	uint64_t	begin_ns;
	uint64_t	idle_ns;
	uint64_t	overload_ns;	/* k p' >= 1 */
	uint64_t	decisions;	/* departures and drops at departure */
	uint64_t	override_id;	/* in force at the end, 0: none */

	/* The controller: p' in Q31. */
	uint32_t	p_begin;
	uint32_t	p_end;
	uint32_t	p_max;
	uint32_t	status;		/* L4S_STATUS_*, at the end */
	uint64_t	updates;	/* of p', those of empty time among them */
	uint64_t	p_sum;		/* p' after each */
	uint64_t	p_variation;	/* |change of p'| of each */

	/* Drain rates: L4S_RATE_WINDOW_NS. */
	uint64_t	rate_windows;
	uint64_t	rate_log_sum;	/* Q16 */
	uint64_t	rate_log_sq;	/* squares, Q16 */

	/* Set-points at the end, after steering. */
	uint64_t	target_ns;
	uint64_t	tupdate_ns;
	uint64_t	l4s_threshold_ns;
	uint32_t	alpha_uhz;
	uint32_t	beta_uhz;
	uint32_t	coupling_q8;
	uint32_t	pad;

	struct l4s_queue_summary queue[2]; /* L4S_QUEUE_CLASSIC, _L4S */
};

/*
 * Overrides
 */

#define	L4S_MODE_ONCE		1	/* action, for the next packet */
#define	L4S_MODE_HOLD		2	/* action, for the next hold_packets */
#define	L4S_MODE_STEER		3	/* factors on the set-points */

/* l4s_override.steer_set: the factors that are given. */
#define	L4S_STEER_TARGET	0x01	/* target delay */
#define	L4S_STEER_THRESHOLD	0x02	/* native L4S threshold */
#define	L4S_STEER_COUPLING	0x04	/* coupling factor k */
#define	L4S_STEER_ALPHA		0x08	/* integral gain */
#define	L4S_STEER_BETA		0x10	/* proportional gain */
#define	L4S_STEER_TUPDATE	0x20	/* period of the controller */
#define	L4S_STEER_ALL		0x3f

/*
 * A new override for an instance replaces the previous one.  Active until
 * hold_packets packets of the queue were decided, or expires_ns, or the next
 * override, or the controller closes the device; then DualPI2 decides.
 */
struct l4s_override {
	uint16_t	version;	/* L4S_ABI_VERSION */
	uint8_t		mode;		/* L4S_MODE_* */
	uint8_t		action;		/* L4S_ACTION_*; 0 in mode steer */
	uint32_t	length;		/* sizeof(struct l4s_override) */
	uint32_t	sched;
	uint32_t	instance;
	uint64_t	id;		/* the caller's, not 0 */
	uint64_t	based_on;	/* seq of the record it was based on */
	uint64_t	expires_ns;	/* absolute; at most max_ttl_ns ahead */
	uint32_t	hold_packets;	/* once: 1; hold: 1..max_hold; steer: 0 */
	uint8_t		queue;		/* L4S_QUEUE_*; steer: L4S_QUEUE_ANY */
	uint8_t		steer_set;	/* L4S_STEER_*; 0 unless mode steer */
	uint16_t	pad;
	uint32_t	target;		/* Q16 factors; 0 where not set */
	uint32_t	threshold;
	uint32_t	coupling;
	uint32_t	alpha;
	uint32_t	beta;
	uint32_t	tupdate;
};

/*
 * Limits that no override crosses.
 */
struct l4s_limits {
	uint16_t	version;
	uint16_t	pad0;
	uint32_t	length;		/* sizeof(struct l4s_limits) */
	uint64_t	ceiling_ns;	/* above this queue delay the base decides */
	uint64_t	max_ttl_ns;	/* maximum lifetime of an override */
	uint64_t	watchdog_ns;	/* max. without an override; 0: off */
	uint32_t	max_hold;	/* maximum packets of a hold override */
	uint32_t	drop_share;	/* max. share of override drops, Q16 */
	uint32_t	mark_share;	/* max. share of additional marks, Q16 */
	uint32_t	factor_min;	/* minimum steer factor, Q16, except */
	uint32_t	factor_max;	/* maximum		of gains */
	uint32_t	gain_min;	/* minimum factor on alpha and beta */
	uint32_t	gain_max;	/* maximum */
	uint32_t	pad;
};

/*
 * Queue parameters (RFC 9332 appendix A; defaults in l4s_params_default()).
 */
#define	L4S_DITHER_RECUR	0	/* even: recur() with a drawn threshold */
#define	L4S_DITHER_RANDOM	1	/* independent, seeded */
#define	L4S_LAQM_STEP		0	/* mark above l4s_threshold_ns */
#define	L4S_LAQM_RAMP		1	/* linearly from there over l4s_range_ns */

/* l4s_params.l4s_ecn: the codepoints for the L4S queue. */
#define	L4S_ECN_MASK_L4S	1	/* ECT(1) and CE */
#define	L4S_ECN_MASK_ANY	3	/* ECT(0) too */

/* l4s_params.l4s_dscp: additional DiffServ codepoints for the L4S queue. */
#define	L4S_DSCP_EF		(1ULL << 46)	/* RFC 3246 */
#define	L4S_DSCP_VA		(1ULL << 44)	/* RFC 5865 */
#define	L4S_DSCP_NQB		(1ULL << 45)	/* Non-Queue-Building */

/* A full-size packet: the space that a limit in bytes reserves. */
#define	L4S_MTU			1500

struct l4s_params {
	uint16_t	version;
	uint16_t	pad0;
	uint32_t	length;		/* sizeof(struct l4s_params) */
	uint64_t	target_ns;	/* PI set-point.  15 ms; 1 us..5 s */
	uint64_t	tupdate_ns;	/* PI period.  16 ms; 100 us..1 s */
	uint64_t	l4s_threshold_ns; /* 1 ms; 0..1 s */
	uint64_t	l4s_range_ns;	/* ramp only.  400 us; 1 ns..1 s */
	uint64_t	max_burst_ns;	/* RFC 8033 burst allowance; 0: off; ..10 s */
	uint64_t	l4s_dscp;	/* bit n: DSCP n is for the L4S queue.  0 */
	uint32_t	alpha_uhz;	/* integral gain, 1e-6 Hz.  160000 */
	uint32_t	beta_uhz;	/* proportional, 1e-6 Hz.  3200000 */
	uint32_t	coupling_q8;	/* k, Q8.  2.0 = 512; 256..65535 */
	uint32_t	l4s_min_packets; /* Th_len: native marks only if this many
					    were queued on arrival.  1 */
	uint32_t	limit_packets;	/* both queues.  10000; 1..1048576 */
	uint32_t	limit_bytes;	/* both queues; 0: none, or L4S_MTU.. */
	uint32_t	max_ecnth;	/* drop ECT(0) above this p_C, Q31; 0: off */
	uint8_t		classic_weight;	/* WRR share of classic, %.  10; 0..100 */
	uint8_t		dither;		/* L4S_DITHER_* */
	uint8_t		laqm;		/* L4S_LAQM_* */
	uint8_t		ecn;		/* mark ECT (1) or drop (0) */
	uint8_t		l4s_ecn;	/* L4S_ECN_MASK_*.  L4S_ECN_MASK_L4S */
	uint8_t		overflow;	/* in overload, delay (1) or drop (0) */
	uint8_t		flow_weights;	/* weight signals by flow rates (1) */
	uint8_t		pad[5];		/* zero */
};

/*
 * Counters.  For an instance or, with sched 0, summed over all, including
 * deleted ones, so that no sum decreases:
 *                                 An override is applied once it has changed or
 * confirmed one decision, or taken effect (steer); it is counted in exactly one
 * of the five.
 */
struct l4s_stats {
	uint16_t	version;
	uint16_t	pad0;
	uint32_t	length;		/* sizeof(struct l4s_stats) */
	uint32_t	sched;		/* in: which; 0: all */
	uint32_t	instance;
	uint64_t	packets_in;
	uint64_t	bytes_in;
	uint64_t	forwarded;
	uint64_t	forwarded_bytes;
	uint64_t	dropped;
	uint64_t	queued;
	uint64_t	queued_bytes;
	uint64_t	drops_tail;
	uint64_t	drops_base;
	uint64_t	drops_override;
	uint64_t	drops_flush;	/* with the queue, on deletion */
	uint64_t	marks_classic;	/* ECT(0) by p_C */
	uint64_t	marks_native;	/* L4S, the native AQM alone */
	uint64_t	marks_coupled;	/* L4S, the coupled probability */
	uint64_t	marks_override;
	uint64_t	records_written;
	uint64_t	records_read;
	uint64_t	records_lost;
	uint64_t	records_waiting;
	uint64_t	overrides_received;
	uint64_t	overrides_applied;
	uint64_t	overrides_expired;
	uint64_t	overrides_refused;
	uint64_t	overrides_replaced;
	uint64_t	overrides_waiting;	/* 0 or 1 an instance */
	uint64_t	refused[L4S_REASON_COUNT]; /* decisions, by L4S_REASON_* */
	uint64_t	refused_invalid; /* overrides the ioctl turned away */
	uint64_t	decisions_overridden; /* decisions with once or hold */
	uint64_t	watchdog_misses;
	uint64_t	watchdog_active; /* 1 while missed */
};

/*
 * The AQM handled all of packets_in except drops_tail.
 */
#define	L4S_DELAY_BINS		32

/*
 * Lower bounds of the bins of delays[], ns: 0, then 16.4 us, then two bins per
 * doubling.  The last one begins at 537 ms and is unbounded.
 */
#define	L4S_DELAY_BIN_NS(bin)	((bin) == 0 ? 0 :			\
	(uint64_t)(2 + (((bin) - 1) & 1)) << (13 + ((bin) - 1) / 2))

struct l4s_queue_stats {
	uint64_t	packets_in;
	uint64_t	bytes_in;
	uint64_t	forwarded;
	uint64_t	forwarded_bytes;
	uint64_t	dropped;
	uint64_t	dropped_bytes;
	uint64_t	marked;		/* of those forwarded */
	uint64_t	marked_bytes;
	uint64_t	queued;
	uint64_t	queued_bytes;
	uint64_t	drops_tail;	/* on arrival, by a queue limit */
	uint64_t	drops_ecn;	/* ECN-capable, by AQM or override */
	uint64_t	drops_not_ect;	/* not ECN-capable, likewise */
	uint64_t	drops_flush;	/* with the queue, on deletion */
	uint64_t	queued_max;	/* high-water mark of queued */
	uint64_t	queued_bytes_max;
	uint64_t	delay_ns;	/* that the head has waited; 0: empty */
	uint64_t	delay_max_ns;	/* maximum delay of those forwarded */
	uint64_t	delay_sum_ns;	/* over those forwarded */
	uint64_t	delays[L4S_DELAY_BINS]; /* forwarded, by their wait */
};

/*
 * Both queues of an instance and their controller.  With sched 0 over all:
 * counts are sums, including deleted instances; high-water marks, delays and
 * probabilities are maxima; the credit is that of the only instance, or 0.
 */
struct l4s_queues {
	uint16_t	version;
	uint16_t	pad0;
	uint32_t	length;		/* sizeof(struct l4s_queues) */
	uint32_t	sched;		/* in: which; 0: all */
	uint32_t	instance;
	uint32_t	base_probability; /* p', Q31 */
	uint32_t	classic_probability; /* p_C, Q31 */
	uint32_t	coupled_probability; /* p_CL, Q31 */
	uint32_t	overload;	/* instances in overload now */
	uint64_t	overloads;	/* times that overload has begun */
	uint64_t	overload_ns;	/* time spent in it */
	int64_t		credit;		/* of the scheduler, bytes times per
					   cent; above 0: Classic's turn */
	struct l4s_queue_stats queue[2]; /* L4S_QUEUE_CLASSIC, _L4S */
};

/*
 * Students
 *
 * A student is a small network inside the queue that steers the set-points, at
 * the end of each period of summaries, within the limits of overrides and
 * without a controller.  A steer override takes precedence while it is active.
 *
 * A file contains struct l4s_student and then, without padding, in the byte
 * order of the machine (little-endian in files of `l4sllm'):
 *
 *	struct l4s_student_input	inputs[n0]
 *	struct l4s_student_unit		units[n1 + n2 + L4S_STUDENT_OUTPUTS]
 *	int8_t	weights[n1][n0], [n2][n1], [L4S_STUDENT_OUTPUTS][n2]
 *
 * where n0 is `inputs' and n1, n2 are `hidden'.  With Q16 base-2 logarithms:
 *
 *	x = (signal - mean) gain / 2^16		Q9, within +-L4S_STUDENT_CLIP
 *	y = bias + scale sum(weights x) / 2^24	of a unit
 *	h = tanh(y)				Q12, of a hidden unit
 *
 * and the outputs are the set-points' logarithms, within min and max.
 */
#define	L4S_STUDENT_VERSION	1
#define	L4S_STUDENT_INPUTS	96	/* maximum */
#define	L4S_STUDENT_HIDDEN	64	/* maximum of each layer */
#define	L4S_STUDENT_OUTPUTS	4	/* target, ns; alpha and beta, 1e-6 Hz;
					   k, Q8 */
#define	L4S_STUDENT_CLIP	4095	/* inputs: 8 in Q9 */
/* Absolute maxima: mean and bias; gain; scale.  No weight is -128. */
#define	L4S_STUDENT_BIAS_MAX	(1 << 24)
#define	L4S_STUDENT_GAIN_MAX	(1 << 22)
#define	L4S_STUDENT_SCALE_MAX	(1 << 26)
#define	L4S_STUDENT_OUT_MAX	(40 << 16) /* min and max: 0 up to this */

/*
 * l4s_student_input.signal: a value of the latest period.  Logarithms are to
 * base two; log1p(x) is log2(1 + x).  A value that a period does not have keeps
 * the previous one.
 */
#define	L4S_SIGNAL_IDLE		0	/* log1p(idle time, permille) */
#define	L4S_SIGNAL_P_MEAN	1	/* log2(mean of p', Q31, + 2^10) */
#define	L4S_SIGNAL_P_MAX	2	/* log2(maximum of p', Q31, + 2^10) */
#define	L4S_SIGNAL_P_RIPPLE	3	/* log2(|change of p'| in 16 ms / mean) */
#define	L4S_SIGNAL_CHANGE	4	/* log2(|change of p'| / beta) per update */
#define	L4S_SIGNAL_DELAY	5	/* log1p(mean classic delay, ms) */
#define	L4S_SIGNAL_DELAY_SD	6	/* log2((1 + its variance, ms^2)^1/2) */
#define	L4S_SIGNAL_DELAY_MAX	7	/* log1p(maximum classic delay, ms) */
#define	L4S_SIGNAL_L4S_DELAY	8	/* log1p(mean L4S delay, 1/8 ms) */
#define	L4S_SIGNAL_MARKS	9	/* log1p(classic signals per second) */
#define	L4S_SIGNAL_L4S_MARKS	10	/* log1p(L4S signals per second) */
#define	L4S_SIGNAL_DROPS	11	/* log1p(drops per second) */
#define	L4S_SIGNAL_L4S_SHARE	12	/* of the bytes forwarded; linear */
#define	L4S_SIGNAL_RATE		13	/* log2(drain rate, bytes per second) */
#define	L4S_SIGNAL_VOLATILITY	14	/* log2((1 + variance / 2^-10)^1/2) of
					   log2(drain rate) of windows */
#define	L4S_SIGNAL_RATE_CHANGE	15	/* log1p(its change since the previous
					   period / 0.01) */
#define	L4S_SIGNAL_FLOWS	16	/* log1p(bits in the bitmaps) */
#define	L4S_SIGNAL_LONG		17	/* log1p(bits of classic flows in each
					   half second of the last 4 s) */
#define	L4S_SIGNAL_L4S_LONG	18	/* log1p(likewise, of L4S flows) */
#define	L4S_SIGNAL_PACKETS	19	/* log1p(classic packets per second) */
#define	L4S_SIGNAL_AGE		20	/* seconds since the start or the last
					   silence of 4 s, at most 8; linear */
#define	L4S_SIGNAL_TARGET	21	/* log2(target, ns) */
#define	L4S_SIGNAL_BETA		22	/* log2(1 + beta, 1e-6 Hz) */
#define	L4S_SIGNAL_BUDGET	23	/* log2(idle budget, 1e-6) */
#define	L4S_SIGNALS		24

/*
 * l4s_student_input.scale: 0, the latest value; 1, 2 and 3, its exponential
 * mean over 4, 16 and 64 periods.  Means of idle time, marks, drops and packets
 * are those of the linear values.
 */
#define	L4S_STUDENT_SCALES	4

struct l4s_student_input {
	uint8_t		signal;		/* L4S_SIGNAL_* */
	uint8_t		scale;
	uint16_t	pad;
	int32_t		mean;		/* Q16 */
	int32_t		gain;		/* Q25 per unit of the signal */
};

struct l4s_student_unit {
	int32_t		scale;		/* at least 0 */
	int32_t		bias;		/* Q12; of an output: Q16 */
};

struct l4s_student {
	uint16_t	version;	/* L4S_STUDENT_VERSION */
	uint16_t	pad0;
	uint32_t	length;		/* of the file, bytes */
	uint32_t	checksum;	/* CRC-32 (IEEE 802.3) of the rest */
	uint16_t	inputs;		/* 1..L4S_STUDENT_INPUTS */
	uint16_t	hidden[2];	/* 1..L4S_STUDENT_HIDDEN */
	uint16_t	pad1;
	uint32_t	idle_budget;	/* default, 1e-6: 1000..20000 */
	uint64_t	period_ns;	/* of decisions: 16 ms..2 s */
	uint64_t	tupdate_ns;	/* 100 us..1 s */
	uint64_t	slow_tupdate_ns; /* likewise, with targets from here: */
	int32_t		slow_from;	/* as min */
	int32_t		min[L4S_STUDENT_OUTPUTS]; /* of the outputs */
	int32_t		max[L4S_STUDENT_OUTPUTS]; /* not below min */
	char		name[32];	/* NUL-terminated */
	uint8_t		teacher[32];	/* SHA-256 of the policy; 0: none */
	uint32_t	pad2;
};

/*
 * The argument of L4S_IOC_LOAD_STUDENT, because a file is longer than ioctl(2)
 * permits.  On a socket the file itself is the payload.
 */
struct l4s_student_file {
	uint64_t	address;	/* of the file in the caller's memory */
	uint32_t	length;		/* 0: unload */
	uint32_t	pad;
};

struct l4s_student_switch {
	uint16_t	version;
	uint16_t	pad0;
	uint32_t	length;		/* sizeof(struct l4s_student_switch) */
	uint32_t	on;		/* 1: steer; 0 */
	uint32_t	idle_budget;	/* 1e-6: 1000..20000; 0: the file's */
};

struct l4s_student_status {
	uint16_t	version;
	uint16_t	pad0;
	uint32_t	length;		/* sizeof(struct l4s_student_status) */
	uint32_t	on;
	uint32_t	idle_budget;	/* in force */
	uint64_t	decisions;	/* of all instances */
	uint32_t	steering;	/* instances with its set-points in force */
	uint32_t	instances;
	struct l4s_student student;	/* the loaded one; length 0: none */
};

/*
 * Requests.  On FreeBSD ioctl(fd, L4S_IOC_x, &struct); on a Unix socket a
 * struct l4s_request with the same number, followed by the same struct.
 */
#define	L4S_OP_VERSION		1	/* struct l4s_version, both ways */
#define	L4S_OP_CONTROL		2	/* none: take control, or EBUSY */
#define	L4S_OP_INTERVAL		3	/* struct l4s_interval, in */
#define	L4S_OP_OVERRIDE		4	/* struct l4s_override, in */
#define	L4S_OP_STATS		5	/* struct l4s_stats, both ways */
#define	L4S_OP_GET_PARAMS	6	/* struct l4s_params, out */
#define	L4S_OP_SET_PARAMS	7	/* struct l4s_params, in; controller */
#define	L4S_OP_GET_LIMITS	8	/* struct l4s_limits, out */
#define	L4S_OP_SET_LIMITS	9	/* struct l4s_limits, in; privileged */
#define	L4S_OP_QUEUES		10	/* struct l4s_queues, both ways */
#define	L4S_OP_LOAD_STUDENT	11	/* a file (struct l4s_student), or
					   nothing to unload it; privileged */
#define	L4S_OP_SET_STUDENT	12	/* struct l4s_student_switch, in;
					   privileged */
#define	L4S_OP_GET_STUDENT	13	/* struct l4s_student_status, out */
#define	L4S_OP_READ		64	/* socket only: see struct l4s_request */

struct l4s_version {
	uint16_t	min;		/* in: the caller's range; out: the */
	uint16_t	max;		/* module's.  No overlap: EPROTO */
	uint32_t	record_size;	/* out: L4S_RECORD_SIZE */
	char		module[32];	/* out: release, NUL-terminated */
};

/* l4s_interval.streams, l4s_loss.stream. */
#define	L4S_STREAM_RECORDS	0x01	/* decisions and what belongs to them */
#define	L4S_STREAM_SUMMARIES	0x02
#define	L4S_STREAM_ALL		0x03

/*
 * The streams that this descriptor reads, and when it is readable: `records'
 * messages are available, or one has been pending for max_wait_ns (0: no
 * bound).  Half a ring of messages is enough in any case.  The initial value is
 * { 1, L4S_STREAM_RECORDS, 0, 0, 0 }.
 *
 * Every reader gets the events.  Streams have separate sequence numbers;
 * messages of both come in time order.  A descriptor that leaves a stream loses
 * its pending messages, except events and losses: it reads those next, with
 * sequence numbers of the old stream.
 *
 * A summary covers at most summary_decisions decisions and, while packets
 * arrive, little more than summary_ns (0 in either: no such bound; one of them
 * is set if summaries are read).  Another reader may have requested shorter
 * intervals, so readers merge what they read.  Fewer than 64 decisions require
 * the controller or privilege (L4S_EPERM).
 */
struct l4s_interval {
	uint32_t	records;	/* 1..65536 */
	uint32_t	streams;	/* L4S_STREAM_* */
	uint64_t	max_wait_ns;
	uint64_t	summary_ns;	/* 0, or 1 ms..60 s */
	uint32_t	summary_decisions; /* 0..2^30 */
	uint32_t	pad;
};

#define	L4S_IOC_GROUP		'q'
#ifdef __FreeBSD__
#include <sys/ioccom.h>
#define	L4S_IOC_VERSION		_IOWR(L4S_IOC_GROUP, L4S_OP_VERSION, struct l4s_version)
#define	L4S_IOC_CONTROL		_IO(L4S_IOC_GROUP, L4S_OP_CONTROL)
#define	L4S_IOC_INTERVAL	_IOW(L4S_IOC_GROUP, L4S_OP_INTERVAL, struct l4s_interval)
#define	L4S_IOC_OVERRIDE	_IOW(L4S_IOC_GROUP, L4S_OP_OVERRIDE, struct l4s_override)
#define	L4S_IOC_STATS		_IOWR(L4S_IOC_GROUP, L4S_OP_STATS, struct l4s_stats)
#define	L4S_IOC_GET_PARAMS	_IOR(L4S_IOC_GROUP, L4S_OP_GET_PARAMS, struct l4s_params)
#define	L4S_IOC_SET_PARAMS	_IOW(L4S_IOC_GROUP, L4S_OP_SET_PARAMS, struct l4s_params)
#define	L4S_IOC_GET_LIMITS	_IOR(L4S_IOC_GROUP, L4S_OP_GET_LIMITS, struct l4s_limits)
#define	L4S_IOC_SET_LIMITS	_IOW(L4S_IOC_GROUP, L4S_OP_SET_LIMITS, struct l4s_limits)
#define	L4S_IOC_QUEUES		_IOWR(L4S_IOC_GROUP, L4S_OP_QUEUES, struct l4s_queues)
#define	L4S_IOC_LOAD_STUDENT	_IOW(L4S_IOC_GROUP, L4S_OP_LOAD_STUDENT, struct l4s_student_file)
#define	L4S_IOC_SET_STUDENT	_IOW(L4S_IOC_GROUP, L4S_OP_SET_STUDENT, struct l4s_student_switch)
#define	L4S_IOC_GET_STUDENT	_IOR(L4S_IOC_GROUP, L4S_OP_GET_STUDENT, struct l4s_student_status)
#endif

/*
 * The Unix-socket front end of an emulated device.  A stream socket; the client
 * sends struct l4s_request plus `length' bytes and the server answers each, in
 * order, with struct l4s_reply plus `length' bytes.  L4S_OP_READ carries a
 * uint32_t, the maximum number of bytes, and returns whole records when the
 * descriptor becomes readable by struct l4s_interval's rule; other requests may
 * be sent and are answered in the meantime (match by `tag').
 */
struct l4s_request {
	uint16_t	version;	/* L4S_ABI_VERSION */
	uint16_t	op;		/* L4S_OP_* */
	uint32_t	tag;		/* the caller's, returned */
	uint32_t	length;		/* of the payload, at most 65536 */
	uint32_t	pad;
};

struct l4s_reply {
	uint16_t	version;
	uint16_t	op;
	uint32_t	tag;
	int32_t		error;		/* 0, or an L4S_E* number */
	uint32_t	length;		/* of the payload */
};

/*
 * errno values differ between systems and a socket may join two: replies carry
 * these numbers.
 */
#define	L4S_EPERM		1	/* not the controller, or not privileged */
#define	L4S_ENOENT		2	/* no such scheduler instance */
#define	L4S_EBUSY		3	/* another controller has the device */
#define	L4S_EINVAL		4	/* a field is out of its range */
#define	L4S_EPROTO		5	/* version or length mismatch */
#define	L4S_ERANGE		6	/* a factor or time beyond the limits */
#define	L4S_ENOTTY		7	/* no such request */
#define	L4S_ENOMEM		8

_Static_assert(sizeof(struct l4s_record) == L4S_RECORD_SIZE, "l4s_record");
_Static_assert(sizeof(struct l4s_config) == L4S_RECORD_SIZE, "l4s_config");
_Static_assert(sizeof(struct l4s_state) == L4S_RECORD_SIZE, "l4s_state");
_Static_assert(sizeof(struct l4s_totals) == L4S_RECORD_SIZE, "l4s_totals");
_Static_assert(sizeof(struct l4s_record_v1) == L4S_RECORD_V1_SIZE,
    "l4s_record_v1");
_Static_assert(sizeof(struct l4s_loss) == L4S_RECORD_SIZE, "l4s_loss");
_Static_assert(sizeof(struct l4s_event) == L4S_RECORD_SIZE, "l4s_event");
_Static_assert(sizeof(struct l4s_queue_summary) == 168, "l4s_queue_summary");
_Static_assert(sizeof(struct l4s_summary) == 512, "l4s_summary");
_Static_assert(sizeof(struct l4s_override) == 72, "l4s_override");
_Static_assert(sizeof(struct l4s_limits) == 64, "l4s_limits");
_Static_assert(sizeof(struct l4s_params) == 96, "l4s_params");
_Static_assert(sizeof(struct l4s_stats) == 352, "l4s_stats");
_Static_assert(sizeof(struct l4s_queue_stats) == 408, "l4s_queue_stats");
_Static_assert(sizeof(struct l4s_queues) == 872, "l4s_queues");
_Static_assert(sizeof(struct l4s_version) == 40, "l4s_version");
_Static_assert(sizeof(struct l4s_interval) == 32, "l4s_interval");
_Static_assert(sizeof(struct l4s_student_input) == 12, "l4s_student_input");
_Static_assert(sizeof(struct l4s_student_unit) == 8, "l4s_student_unit");
_Static_assert(sizeof(struct l4s_student) == 152, "l4s_student");
_Static_assert(sizeof(struct l4s_student_file) == 16, "l4s_student_file");
_Static_assert(sizeof(struct l4s_student_switch) == 16, "l4s_student_switch");
_Static_assert(sizeof(struct l4s_student_status) == 184, "l4s_student_status");
_Static_assert(sizeof(struct l4s_request) == 16, "l4s_request");
_Static_assert(sizeof(struct l4s_reply) == 16, "l4s_reply");

#endif /* !_L4SLLM_ABI_H_ */
