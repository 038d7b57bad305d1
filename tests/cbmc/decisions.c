/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Effects of overrides on packets: any accepted override under any limits, any
 * packet, any state of the controller.
 */

#include "proofs.h"
#include "../../kmod/override.c"
#include "../../kmod/pi2.c"
#include "../../kmod/dualpi2.c"
#include "../../kmod/params.c"

static struct l4s_overrides o;
static struct dualpi2 d;
static struct dualpi2_verdict v;
static struct l4s_pkt_user pkt;
static struct l4s_decision x;
static uint64_t submitted;

/* Any verdict that dualpi2_pick() could return for any packet. */
static void
any_verdict(void)
{
	pkt.ecn = nondet_u8();
	pkt.dscp = nondet_u8() & 63;
	pkt.fixed = nondet_bool();
	pkt.length = nondet_u32();
	__CPROVER_assume(pkt.ecn <= L4S_ECN_CE && pkt.length <= 65535);
	v.pkt = &pkt;
	v.ecn = pkt.ecn;
	v.queue = dualpi2_classify(&d, l4s_pkt_ds(&pkt));
	v.action = nondet_u8();
	__CPROVER_assume(v.action <= L4S_ACTION_MARK);
	__CPROVER_assume(v.action != L4S_ACTION_MARK ||
	    l4s_pkt_can_mark(&pkt));
	d.overload = nondet_bool();
}

/* An override is sent, and the packet path accepts it. */
static void
send(uint64_t decisions)
{
	struct l4s_limits limits = checked_limits();
	struct l4s_override sent = nondet_override();
	bool recovered;

	l4s_overrides_init(&o, &limits);
	d.params = checked_params();
	submitted = any_time();
	__CPROVER_assume(l4s_override_submit(&o, &sent, submitted,
	    &recovered) == 0);
	(void)l4s_override_collect(&o, &d, o.pending, decisions,
	    submitted + nondet_u32());
}

/* A packet that is Not-ECT or has a shared header is never marked. */
void
not_ect(void)
{
	send(0);
	any_verdict();
	l4s_override_decide(&o, &d, &v, nondet_bool(), 1, &x);
	assert(x.action <= L4S_ACTION_MARK);
	if (x.action == L4S_ACTION_MARK)
		assert(l4s_pkt_can_mark(&pkt));
}

/* Above the ceiling, and in overload, DualPI2's verdict applies. */
void
limits(void)
{
	bool above = nondet_bool();

	send(0);
	any_verdict();
	l4s_override_decide(&o, &d, &v, above, 1, &x);
	if (above || d.overload)
		assert(x.action == v.action);
}

/* An expired override changes nothing, and ends. */
void
expired(void)
{
	uint64_t now;

	send(0);
	now = submitted + nondet_u32();
	__CPROVER_assume(now >= o.current.expires_ns);
	(void)l4s_override_expire(&o, &d, now);
	any_verdict();
	l4s_override_decide(&o, &d, &v, nondet_bool(), 1, &x);
	assert(x.action == v.action);
	assert(x.override_id == 0);
	assert(!o.steering);
}

/*
 * Accepted expiry times are within the maximum lifetime, from the time of
 * sending.
 */
void
lifetime(void)
{
	send(0);
	assert(!o.active || (o.current.expires_ns > submitted &&
	    o.current.expires_ns - submitted <= o.limits.max_ttl_ns));
	assert(!o.active || o.due <= o.current.expires_ns);
}

/*
 * Drops stay within the share of the decisions so far.  By induction: from any
 * balance that satisfies this, it holds again up to 63 decisions later, for
 * shares in steps of 1/16.
 */
void
drop_share(void)
{
	uint64_t cap = (uint64_t)L4S_SHARE_BURST * L4S_FACTOR_ONE;
	uint64_t decisions, before, earned = nondet_u8() & 63;
	uint32_t share = (nondet_u8() % 17) << 12;
	struct l4s_share s;

	s.tokens = nondet_u32();
	s.earned_at = nondet_bool() ? 0 : UINT64_MAX - 128;
	__CPROVER_assume(s.tokens <= cap);
	decisions = s.earned_at + earned;
	before = s.tokens;
	if (override_take(&s, share, decisions)) {
		assert(s.tokens + L4S_FACTOR_ONE <= before + earned * share);
	}
	assert(s.tokens <= cap);
	assert(s.earned_at == decisions);
}

/*
 * Marks beyond DualPI2's stay within the share of the decisions so far and the
 * marks of DualPI2 that overrides prevented in the same queue.  By induction,
 * like the share of drops: from any balance, a decision adds to it at most what
 * was earned and a prevented mark, and a mark on a packet that DualPI2 forwards
 * unchanged takes a whole one.
 */
void
mark_share(void)
{
	uint64_t cap = (uint64_t)L4S_SHARE_BURST * L4S_FACTOR_ONE;
	uint64_t decisions, tokens, earned = nondet_u8() & 63;
	uint32_t credit, share = (nondet_u8() % 17) << 12;
	uint8_t queue;
	bool added, prevented;

	send(0);
	any_verdict();
	queue = v.queue;
	o.bounds.mark_share = share;
	o.marks.tokens = tokens = nondet_u32();
	o.marks.earned_at = nondet_bool() ? 0 : UINT64_MAX - 128;
	o.mark_credit[queue] = credit = nondet_u32();
	o.mark_credit[!queue] = 1;
	__CPROVER_assume(tokens <= cap && credit <= L4S_SHARE_BURST);
	decisions = o.marks.earned_at + earned;
	l4s_override_decide(&o, &d, &v, nondet_bool(), decisions, &x);
	added = x.action == L4S_ACTION_MARK && v.action == L4S_ACTION_ENQUEUE;
	prevented = x.action == L4S_ACTION_ENQUEUE &&
	    v.action == L4S_ACTION_MARK;
	assert(o.marks.tokens + (uint64_t)o.mark_credit[queue] *
	    L4S_FACTOR_ONE + (uint64_t)added * L4S_FACTOR_ONE <=
	    tokens + earned * share + ((uint64_t)credit + prevented) *
	    L4S_FACTOR_ONE);
	assert(o.marks.tokens <= cap);
	assert(o.mark_credit[queue] <= L4S_SHARE_BURST);
	assert(o.mark_credit[!queue] == 1);
}
