/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See student.h: from summaries to the inputs of the network. */

#include "fixed.h"
#include "student.h"
#include "summary.h"

/* A time without packets after which the first flow may need the whole link. */
#define	SILENCE_NS		(4 * L4S_NS_PER_S)
#define	AGE_MAX_NS		(8 * L4S_NS_PER_S)
#define	PIECE_NS		(L4S_NS_PER_S / 2)
/* Rates per second are Q4, and at most this. */
#define	PER_S_MAX		(1U << 27)
#define	COUNT_MAX		(1U << 28)
/* Shares are Q20. */
#define	SHARE_SHIFT		20
/* p', Q31, below which differences do not matter: 5e-7. */
#define	P_LEAST			(1U << 10)
#define	SOJOURN_MS		(L4S_NS_PER_MS >> L4S_SOJOURN_SHIFT)

static const uint8_t mean_shift[] = { 2, 4, 6 };

/* log2(1 + x / one), Q16; one > 0. */
static int32_t
signal_log1p(uint64_t x, uint64_t one)
{
	if (x > UINT64_MAX - one)
		x = UINT64_MAX - one;
	return (l4s_fixed_log2(x + one) - l4s_fixed_log2(one));
}

/*
 * The value that counts as one of a signal whose means are linear; 0 for other
 * signals.
 */
static uint32_t
signal_one(uint8_t signal)
{
	switch (signal) {
	case L4S_SIGNAL_IDLE:
		return ((1U << SHARE_SHIFT) / 1000);
	case L4S_SIGNAL_MARKS:
	case L4S_SIGNAL_L4S_MARKS:
	case L4S_SIGNAL_DROPS:
	case L4S_SIGNAL_PACKETS:
		return (1U << 4);
	default:
		return (0);
	}
}

/* part / whole, Q20, at most one; whole > 0. */
static int32_t
signal_share(uint64_t part, uint64_t whole)
{
	if (part >= whole)
		return (1 << SHARE_SHIFT);
	while (whole >> (63 - SHARE_SHIFT) != 0) {
		part >>= 1;
		whole >>= 1;
	}
	return ((int32_t)((part << SHARE_SHIFT) / whole));
}

/* The number per second, Q4. */
static int32_t
signal_per_s(uint64_t count, uint64_t ns)
{
	uint64_t rate;

	if (count > COUNT_MAX)
		count = COUNT_MAX;
	rate = (count << 4) * L4S_NS_PER_S / ns;
	return (rate > PER_S_MAX ? (int32_t)PER_S_MAX : (int32_t)rate);
}

/* The kernel's compilers may call a library function for the builtin. */
static unsigned
signal_bits(uint64_t x)
{
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return ((unsigned)(x * 0x0101010101010101ULL >> 56));
}

static uint64_t
signal_marks(const struct l4s_queue_summary *q)
{
	return (q->marks_aqm + q->marks_native + q->marks_override +
	    q->drops_aqm + q->drops_override + q->drops_tail);
}

static uint64_t
signal_drops(const struct l4s_queue_summary *q)
{
	return (q->drops_aqm + q->drops_override + q->drops_tail +
	    q->drops_flush);
}

/* (1 + the variance in ms^2)^1/2. */
static int32_t
signal_deviation(const struct l4s_queue_summary *q)
{
	uint64_t mean, square, variance;

	if (q->forwarded == 0)
		return (0);
	mean = (q->sojourn_sum_ns >> L4S_SOJOURN_SHIFT) / q->forwarded;
	square = q->sojourn_sq / q->forwarded;
	if (mean > UINT32_MAX)
		mean = UINT32_MAX;
	variance = square > mean * mean ? square - mean * mean : 0;
	return (signal_log1p(variance, SOJOURN_MS * SOJOURN_MS) / 2);
}

static int32_t
signal_delay(const struct l4s_queue_summary *q, uint64_t one)
{
	return (q->forwarded == 0 ? 0 :
	    signal_log1p(q->sojourn_sum_ns / q->forwarded, one));
}

/* The controller's signals. */
static void
signals_of_p(struct l4s_student_state *s, uint64_t ns)
{
	const struct l4s_summary *p = &s->period;
	uint64_t mean = p->updates != 0 ? p->p_sum / p->updates : p->p_end;
	int32_t log, changes;

	if (mean > L4S_PROB_ONE)
		mean = L4S_PROB_ONE;
	log = l4s_fixed_log2(mean + P_LEAST);
	s->latest[L4S_SIGNAL_P_MEAN] = log;
	s->latest[L4S_SIGNAL_P_MAX] = l4s_fixed_log2((uint64_t)p->p_max +
	    P_LEAST);
	changes = p->p_variation > UINT64_MAX / 2 ? 63 << 16 :
	    l4s_fixed_log2(p->p_variation + P_LEAST);
	s->latest[L4S_SIGNAL_P_RIPPLE] = changes +
	    l4s_fixed_log2(16 * L4S_NS_PER_MS) - l4s_fixed_log2(ns) - log;
	s->latest[L4S_SIGNAL_CHANGE] = changes -
	    l4s_fixed_log2((uint64_t)p->beta_uhz + 1) -
	    (p->updates == 0 ? 0 : l4s_fixed_log2(p->updates));
}

/* The link's signals. */
static void
signals_of_link(struct l4s_student_state *s, uint64_t ns)
{
	const struct l4s_summary *p = &s->period;
	uint64_t l4s = p->queue[L4S_QUEUE_L4S].forwarded_bytes;
	uint64_t bytes = p->queue[L4S_QUEUE_CLASSIC].forwarded_bytes + l4s;
	uint64_t mean, square, variance;
	int32_t rate;

	if (bytes != 0 && l4s <= bytes)
		s->latest[L4S_SIGNAL_L4S_SHARE] = signal_share(l4s, bytes) >>
		    (SHARE_SHIFT - 16);
	if (bytes == 0 || p->idle_ns >= ns)
		return;
	rate = l4s_fixed_log2(bytes) + l4s_fixed_log2(L4S_NS_PER_S) -
	    l4s_fixed_log2(ns - p->idle_ns);
	s->latest[L4S_SIGNAL_RATE] = rate;
	if (p->rate_windows == 0)
		return;
	mean = p->rate_log_sum / p->rate_windows;
	square = p->rate_log_sq / p->rate_windows;
	if (mean > 64 << 16)
		mean = 64 << 16;
	variance = square > (mean * mean >> 16) ?
	    square - (mean * mean >> 16) : 0;
	s->latest[L4S_SIGNAL_VOLATILITY] = signal_log1p(variance, 1 << 6) / 2;
	rate = (int32_t)mean;
	s->latest[L4S_SIGNAL_RATE_CHANGE] = !s->rate_known ? 0 :
	    signal_log1p((uint64_t)(rate > s->rate ? rate - s->rate :
	    s->rate - rate), (1 << 16) / 100);
	s->rate = rate;
	s->rate_known = true;
}

/* Signals of the queues' packets. */
static void
signals_of_queues(struct l4s_student_state *s, uint64_t ns)
{
	const struct l4s_queue_summary *c = &s->period.queue[L4S_QUEUE_CLASSIC];
	const struct l4s_queue_summary *l = &s->period.queue[L4S_QUEUE_L4S];

	s->latest[L4S_SIGNAL_IDLE] = signal_share(s->period.idle_ns, ns);
	s->latest[L4S_SIGNAL_DELAY] = signal_delay(c, L4S_NS_PER_MS);
	s->latest[L4S_SIGNAL_DELAY_SD] = signal_deviation(c);
	s->latest[L4S_SIGNAL_DELAY_MAX] = signal_log1p(c->sojourn_max_ns,
	    L4S_NS_PER_MS);
	s->latest[L4S_SIGNAL_L4S_DELAY] = signal_delay(l, L4S_NS_PER_MS / 8);
	s->latest[L4S_SIGNAL_MARKS] = signal_per_s(signal_marks(c), ns);
	s->latest[L4S_SIGNAL_L4S_MARKS] = signal_per_s(signal_marks(l), ns);
	s->latest[L4S_SIGNAL_DROPS] = signal_per_s(signal_drops(c) +
	    signal_drops(l), ns);
	s->latest[L4S_SIGNAL_PACKETS] = signal_per_s(c->forwarded, ns);
}

/* Adds the period's bitmap; a piece ends after half a second. */
static void
student_flows_add(struct l4s_student_flows *f, const uint64_t *flows,
    uint32_t next, bool ends)
{
	unsigned i;

	for (i = 0; i < STUDENT_FLOW_WORDS; i++)
		f->current[i] |= flows[i];
	if (!ends)
		return;
	memcpy(f->pieces[next], f->current, sizeof(f->current));
	memset(f->current, 0, sizeof(f->current));
}

/* log1p of the number of bits that are set in all pieces. */
static int32_t
student_flows_long(const struct l4s_student_flows *f, uint32_t npieces)
{
	unsigned i, word, bits = 0;
	uint64_t all;

	for (word = 0; word < STUDENT_FLOW_WORDS && npieces != 0; word++) {
		all = UINT64_MAX;
		for (i = 0; i < npieces; i++)
			all &= f->pieces[i][word];
		bits += signal_bits(all);
	}
	return (l4s_fixed_log2(1 + bits));
}

/* Signals of flows, and of the time since the link was silent. */
static void
signals_of_flows(struct l4s_student_state *s, uint64_t ns)
{
	const struct l4s_summary *p = &s->period;
	const struct l4s_queue_summary *q = p->queue;
	uint32_t next = (s->newest + 1) % STUDENT_PIECES;
	bool ends;
	unsigned i, bits = 0;

	s->piece_ns = ns > PIECE_NS ? PIECE_NS : s->piece_ns + ns;
	ends = s->piece_ns >= PIECE_NS;
	for (i = 0; i < nitems(p->queue); i++)
		student_flows_add(&s->flows[i], q[i].flows, next, ends);
	if (ends) {
		s->piece_ns = 0;
		s->newest = next;
		if (s->npieces < STUDENT_PIECES)
			s->npieces++;
	}
	for (i = 0; i < STUDENT_FLOW_WORDS; i++)
		bits += signal_bits(q[L4S_QUEUE_CLASSIC].flows[i]) +
		    signal_bits(q[L4S_QUEUE_L4S].flows[i]);
	s->latest[L4S_SIGNAL_FLOWS] = l4s_fixed_log2(1 + bits);
	s->latest[L4S_SIGNAL_LONG] = student_flows_long(
	    &s->flows[L4S_QUEUE_CLASSIC], s->npieces);
	s->latest[L4S_SIGNAL_L4S_LONG] = student_flows_long(
	    &s->flows[L4S_QUEUE_L4S], s->npieces);

	if (q[L4S_QUEUE_CLASSIC].forwarded + q[L4S_QUEUE_L4S].forwarded != 0)
		s->silence_ns = p->idle_ns < SILENCE_NS ? p->idle_ns :
		    SILENCE_NS;
	else if (s->silence_ns < SILENCE_NS)
		s->silence_ns = ns < SILENCE_NS ? s->silence_ns + ns :
		    SILENCE_NS;
	if (s->silence_ns >= SILENCE_NS)
		s->age_ns = 0;
	else if (s->age_ns < AGE_MAX_NS)
		s->age_ns = ns < AGE_MAX_NS - s->age_ns ? s->age_ns + ns :
		    AGE_MAX_NS;
	s->latest[L4S_SIGNAL_AGE] = (int32_t)((s->age_ns << 16) /
	    L4S_NS_PER_S);
}

/* Moves the means towards the latest values by a period, or several. */
static void
student_average(struct l4s_student_state *s, uint64_t periods)
{
	unsigned log = periods > 1 ?
	    (unsigned)l4s_fixed_log2(periods) >> 16 : 0;
	unsigned i, k, shift;
	int64_t *mean, latest;

	for (i = 0; i < L4S_SIGNALS; i++) {
		latest = (int64_t)s->latest[i] * 256;
		for (k = 0; k < nitems(mean_shift); k++) {
			mean = &s->means[i][k];
			shift = mean_shift[k] > log ? mean_shift[k] - log : 0;
			if (!s->begun)
				*mean = latest;
			else
				*mean += (latest - *mean) >> shift;
		}
	}
	s->begun = true;
}

bool
l4s_student_add(struct l4s_student_state *s, const struct l4s_summary *summary,
    uint64_t period_ns, uint32_t idle_budget)
{
	struct l4s_summary *p = &s->period;
	uint64_t ns;

	if (s->open)
		l4s_summary_merge(p, summary);
	else
		*p = *summary;
	ns = p->hdr.time_ns - p->begin_ns;
	s->open = ns < period_ns;
	if (s->open)
		return (false);
	signals_of_p(s, ns);
	signals_of_link(s, ns);
	signals_of_queues(s, ns);
	signals_of_flows(s, ns);
	s->latest[L4S_SIGNAL_TARGET] = l4s_fixed_log2(p->target_ns | 1);
	s->latest[L4S_SIGNAL_BETA] = l4s_fixed_log2((uint64_t)p->beta_uhz + 1);
	s->latest[L4S_SIGNAL_BUDGET] = l4s_fixed_log2((uint64_t)idle_budget |
	    1);
	student_average(s, ns / period_ns);
	return (true);
}

int32_t
l4s_student_signal(const struct l4s_student_state *s, uint8_t signal,
    uint8_t scale)
{
	int64_t value = scale == 0 ? s->latest[signal] :
	    s->means[signal][scale - 1] / 256;
	uint32_t one = signal_one(signal);

	return (one == 0 ? (int32_t)value : signal_log1p((uint64_t)value, one));
}
