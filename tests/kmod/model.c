/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See model.h. */

#include "model.h"
#include "override.h"
#include "router.h"

#define	QUEUE_MAX	256
#define	REFERENCES	1024		/* more than the ring keeps */
#define	OBSERVERS	3

struct fifo {
	uint64_t	cookie[QUEUE_MAX];
	uint8_t		ecn[QUEUE_MAX];	/* as given to enqueue */
	uint64_t	arrival[QUEUE_MAX];
	unsigned	head, n;
};

/* Counts of a queue's packets by outcome. */
struct tally {
	uint64_t	in, in_bytes, out, out_bytes, marked, marked_bytes;
	uint64_t	tail, ecn, not_ect, flushed, dropped_bytes, sojourn_ns;
	unsigned	most;		/* queued at once */
};

/* A descriptor that reads. */
struct observer {
	struct l4s_user_handle *h;	/* NULL: closed */
	uint32_t	streams;	/* L4S_STREAM_* */
	uint64_t	moved_ns;	/* when it last changed its streams */
	uint64_t	expect[2];	/* seq of the next message of each */
	bool		expecting[2];	/* it is known */
	uint64_t	latest;		/* time of the last message */
	struct decoder	decoder;
};

struct model {
	struct router	r;
	struct choices	*choices;
	struct fifo	queue[2];
	struct l4s_limits limits;
	uint8_t		l4s_ecn;	/* what is for the L4S queue */
	uint64_t	l4s_dscp;
	struct l4s_override last;	/* the newest accepted in time */
	bool		in_force;	/* it may act */
	unsigned	used;		/* packets it was asked about */
	struct tally	tally[2];
	uint64_t	override_drops;
	uint64_t	earned;		/* share of drops so far, Q16 */
	uint64_t	marks_earned;	/* share of marks so far, Q16 */
	uint64_t	added[2];	/* marks by overrides, not by DualPI2 */
	uint64_t	prevented[2];	/* DualPI2's marks, not by overrides */
	struct observer	observer[OBSERVERS];
	/* The newest decisions, by seq, as version 1 described them. */
	struct l4s_record_v1 reference[REFERENCES];
	unsigned	exact;		/* records that were compared */
};

static void	begin(struct model *);
static void	step(struct model *);
static void	check_all(struct model *);
static void	end(struct model *);

unsigned
model_run(struct choices *choices, unsigned steps)
{
	struct model m;

	memset(&m, 0, sizeof(m));
	m.choices = choices;
	begin(&m);
	while (steps-- != 0 && (choices->data == NULL || choices->left != 0)) {
		step(&m);
		check_all(&m);
	}
	end(&m);
	return (m.exact);
}

/* A number below n.  Input takes the minimum number of bytes, then ends. */
static uint32_t
below(struct model *m, uint32_t n)
{
	struct choices *c = m->choices;
	uint32_t value = 0, bound;

	if (c->data == NULL)
		return (test_below(&c->random, n));
	for (bound = n - 1; bound != 0 && c->left != 0; bound >>= 8) {
		value = value << 8 | *c->data++;
		c->left--;
	}
	return (value % n);
}

static void
push(struct model *m)
{
	uint8_t ecn = below(m, 4), dscp = 40 + below(m, 8);
	uint8_t queue = (ecn & m->l4s_ecn) != 0 ||
	    (m->l4s_dscp >> dscp & 1) != 0 ? L4S_QUEUE_L4S : L4S_QUEUE_CLASSIC;
	struct fifo *q = &m->queue[queue];
	unsigned at = (q->head + q->n) % QUEUE_MAX;
	uint32_t length = 40 + below(m, 1461), flow;

	if (m->queue[0].n + m->queue[1].n == QUEUE_MAX - 1)
		return;
	if (length % 8 == 0)
		ecn |= L4S_USER_ECN_FIXED;
	q->cookie[at] = m->r.cookie;
	q->ecn[at] = ecn;
	q->arrival[at] = m->r.now;
	m->tally[queue].in++;
	m->tally[queue].in_bytes += length;
	flow = below(m, 64);
	if (l4s_user_enqueue_dscp(m->r.u, m->r.cookie++, length, ecn, dscp,
	    flow == 63 ? L4S_USER_NO_FLOW : flow, m->r.now) == 0)
		q->n++;
	if (q->n > m->tally[queue].most)
		m->tally[queue].most = q->n;
	/* Otherwise it is the newest drop, checked by check_left(). */
}

/* A packet that left its queue: it was the head, with a permitted decision. */
static void
check_left(struct model *m, const struct l4s_user_packet *p)
{
	struct fifo *q = &m->queue[p->queue];
	struct tally *t = &m->tally[p->queue];
	bool overridden = p->reason == L4S_REASON_ONCE ||
	    p->reason == L4S_REASON_HOLD;
	uint8_t ecn;

	if (p->reason == L4S_REASON_TAIL) {
		CHECK_EQ(p->action, L4S_ACTION_DROP);
		CHECK_EQ(p->sojourn_ns, 0);
		t->tail++;
		t->dropped_bytes += p->length;
		return;
	}
	CHECK(q->n > 0);
	CHECK_EQ(p->cookie, q->cookie[q->head]);
	CHECK_EQ(p->sojourn_ns, m->r.now - q->arrival[q->head]);
	ecn = q->ecn[q->head];
	q->head = (q->head + 1) % QUEUE_MAX;
	q->n--;
	m->earned += m->limits.drop_share;
	m->marks_earned += m->limits.mark_share;

	/*
	 * A Not-ECT packet is never marked.  Otherwise only marks change ECN.
	 */
	if (p->action == L4S_ACTION_MARK) {
		CHECK(ecn != L4S_ECN_NOT_ECT);
		CHECK((ecn & L4S_USER_ECN_FIXED) == 0);
		CHECK_EQ(p->ecn, L4S_ECN_CE);
	} else
		CHECK_EQ(p->ecn, ecn & 3);

	if (p->action == L4S_ACTION_DROP) {
		CHECK(m->queue[0].n + m->queue[1].n != 0);
		if ((ecn & 3) == L4S_ECN_NOT_ECT)
			t->not_ect++;
		else
			t->ecn++;
		t->dropped_bytes += p->length;
		m->override_drops += overridden;
	} else {
		t->out++;
		t->out_bytes += p->length;
		t->sojourn_ns += p->sojourn_ns;
	}
	if (p->action == L4S_ACTION_MARK) {
		t->marked++;
		t->marked_bytes += p->length;
	}
	if (p->reason == L4S_REASON_LAST_PACKET) {
		CHECK_EQ(m->queue[0].n + m->queue[1].n, 0);
		CHECK_EQ(m->last.action, L4S_ACTION_DROP);
	}
	if (overridden || (p->reason >= L4S_REASON_NOT_ECT &&
	    m->last.mode != L4S_MODE_STEER)) {
		CHECK(m->in_force);
		CHECK(m->r.now < m->last.expires_ns);
		CHECK(m->last.queue == L4S_QUEUE_ANY ||
		    m->last.queue == p->queue);
		CHECK(++m->used <= m->last.hold_packets);
	}
	if (overridden) {
		CHECK_EQ(p->action, m->last.action);
		CHECK_EQ(p->reason, m->last.mode == L4S_MODE_ONCE ?
		    L4S_REASON_ONCE : L4S_REASON_HOLD);
		CHECK(p->sojourn_ns <= m->limits.ceiling_ns);
	}
	if (p->reason == L4S_REASON_STEER) {
		CHECK(m->in_force);
		CHECK(m->r.now < m->last.expires_ns);
		CHECK_EQ(m->last.mode, L4S_MODE_STEER);
	}
	CHECK(m->override_drops * L4S_FACTOR_ONE <= m->earned);
	CHECK(m->added[p->queue] * L4S_FACTOR_ONE <= m->marks_earned +
	    (m->prevented[p->queue] + L4S_SHARE_BURST) * L4S_FACTOR_ONE);
}

static void
check_backlog(struct model *m)
{
	uint32_t packets, bytes;
	unsigned i;

	for (i = 0; i < 2; i++) {
		l4s_user_backlog(m->r.u, i, &packets, &bytes);
		CHECK_EQ(packets, m->queue[i].n);
		CHECK((packets == 0) == (bytes == 0));
	}
}

static void
pop(struct model *m)
{
	struct l4s_user_packet p, dropped[QUEUE_MAX];
	unsigned backlog = m->queue[0].n + m->queue[1].n;
	size_t n, i;
	int got;

	got = l4s_user_dequeue(m->r.u, m->r.now, &p);
	/* Packets dropped by the same call left before the one sent. */
	n = l4s_user_drops(m->r.u, dropped, QUEUE_MAX);
	for (i = 0; i < n; i++)
		check_left(m, &dropped[i]);
	/* The link is never idle while a packet is queued. */
	CHECK_EQ(got, backlog != 0);
	if (got != 0)
		check_left(m, &p);
	CHECK(got == 0 || n < backlog);
	check_backlog(m);
}

static void
take_tail_drops(struct model *m)
{
	struct l4s_user_packet p;

	while (l4s_user_drops(m->r.u, &p, 1) != 0)
		check_left(m, &p);
}

/* All packets leave, one queue after the other, each in order. */
static void
flush(struct model *m)
{
	struct l4s_user_packet p;
	struct fifo *q;

	l4s_user_flush(m->r.u);
	while (l4s_user_drops(m->r.u, &p, 1) != 0) {
		q = &m->queue[p.queue];
		CHECK(p.queue == L4S_QUEUE_CLASSIC || m->queue[0].n == 0);
		CHECK(q->n > 0);
		CHECK_EQ(p.cookie, q->cookie[q->head]);
		CHECK_EQ(p.action, L4S_ACTION_DROP);
		CHECK_EQ(p.reason, L4S_REASON_FLUSH);
		CHECK(p.sojourn_ns <= m->r.now - q->arrival[q->head]);
		q->head = (q->head + 1) % QUEUE_MAX;
		q->n--;
		m->tally[p.queue].flushed++;
		m->tally[p.queue].dropped_bytes += p.length;
	}
	CHECK_EQ(m->queue[0].n + m->queue[1].n, 0);
	check_backlog(m);
}

static uint32_t
factor(struct model *m)
{
	return (L4S_FACTOR_ONE / 4 + below(m, 245760));
}

static void
send(struct model *m)
{
	struct l4s_override o = router_override(&m->r, 1 + below(m, 3),
	    below(m, 3), 1, below(m, 60) * MS);

	o.queue = below(m, 3);
	if (o.mode == L4S_MODE_HOLD)
		o.hold_packets = 1 + below(m, 30);
	if (o.mode == L4S_MODE_STEER) {
		o.action = 0;
		o.hold_packets = 0;
		o.queue = L4S_QUEUE_ANY;
		o.steer_set = 1 + below(m, L4S_STEER_ALL);
		if ((o.steer_set & L4S_STEER_TARGET) != 0)
			o.target = factor(m);
		if ((o.steer_set & L4S_STEER_THRESHOLD) != 0)
			o.threshold = factor(m);
		if ((o.steer_set & L4S_STEER_COUPLING) != 0)
			o.coupling = factor(m);
		if ((o.steer_set & L4S_STEER_ALPHA) != 0)
			o.alpha = factor(m);
		if ((o.steer_set & L4S_STEER_BETA) != 0)
			o.beta = factor(m);
		if ((o.steer_set & L4S_STEER_TUPDATE) != 0)
			o.tupdate = factor(m);
	}
	if (below(m, 10) == 0)
		((uint8_t *)&o)[below(m, sizeof(o))] ^= 1 << below(m, 8);
	if (router_send(&m->r, &o) == 0 && o.expires_ns > m->r.now) {
		m->last = o;
		m->in_force = true;
		m->used = 0;
	}
}

static void
check_record(const struct l4s_record_v1 *record)
{
	CHECK(record->reason < L4S_REASON_COUNT);
	CHECK(record->dequeue_action == record->base_action ||
	    record->reason == L4S_REASON_ONCE ||
	    record->reason == L4S_REASON_HOLD);
	CHECK(record->ecn != L4S_ECN_NOT_ECT ||
	    (record->dequeue_action != L4S_ACTION_MARK &&
	    record->base_action != L4S_ACTION_MARK));
	CHECK(record->base_probability <= L4S_PROB_ONE);
	CHECK(record->drop_probability <= L4S_PROB_ONE);
}

static void
check_summary(const struct l4s_summary *s)
{
	const struct l4s_queue_summary *q;
	uint64_t decisions = 0;
	unsigned i;

	CHECK(s->begin_ns <= s->hdr.time_ns);
	CHECK(s->idle_ns <= s->hdr.time_ns - s->begin_ns);
	CHECK(s->p_begin <= s->p_max && s->p_end <= s->p_max);
	CHECK(s->p_max <= L4S_PROB_ONE);
	CHECK(s->p_sum <= s->updates * L4S_PROB_ONE);
	for (i = 0; i < 2; i++) {
		q = &s->queue[i];
		decisions += q->forwarded + q->drops_aqm + q->drops_override;
		CHECK(q->marks_aqm + q->marks_native + q->marks_override <=
		    q->forwarded);
		CHECK(q->drops_tail <= q->arrived);
		CHECK(q->forwarded == 0 ? q->sojourn_min_ns == UINT64_MAX &&
		    q->sojourn_max_ns == 0 :
		    q->sojourn_min_ns <= q->sojourn_max_ns);
		CHECK(q->sojourn_sum_ns <= q->forwarded * q->sojourn_max_ns);
		CHECK((q->backlog == 0) == (q->backlog_bytes == 0));
	}
	CHECK_EQ(s->decisions, decisions);
}

/* The stream of a message, as L4S_RING_*. */
static unsigned
stream_of(const struct observer *o, const struct l4s_header *hdr,
    const struct l4s_loss *loss)
{
	switch (hdr->type) {
	case L4S_RECORD_SUMMARY:
		return (1);
	case L4S_RECORD_LOSS:
		CHECK(loss->stream == L4S_STREAM_RECORDS ||
		    loss->stream == L4S_STREAM_SUMMARIES);
		return (loss->stream == L4S_STREAM_SUMMARIES);
	case L4S_RECORD_EVENT:
		return (o->streams == L4S_STREAM_SUMMARIES);
	default:
		return (0);
	}
}

static void
check_message(struct model *m, struct observer *o, const uint8_t *at)
{
	union {
		struct l4s_header hdr;
		struct l4s_loss loss;
		struct l4s_record record;
		struct l4s_summary summary;
	} u;
	struct l4s_record_v1 record;
	bool filled_in;
	unsigned stream;

	memcpy(&u.hdr, at, sizeof(u.hdr));
	CHECK_EQ(u.hdr.length, u.hdr.type == L4S_RECORD_SUMMARY ?
	    sizeof(u.summary) : L4S_RECORD_SIZE);
	memcpy(&u, at, u.hdr.length);
	stream = stream_of(o, &u.hdr, &u.loss);
	/* Events and losses of a stream that it left are still delivered. */
	if (o->moved_ns >= u.hdr.time_ns &&
	    (u.hdr.type == L4S_RECORD_EVENT || u.hdr.type == L4S_RECORD_LOSS) &&
	    ((o->streams & 1U << stream) == 0 || !o->expecting[stream] ||
	    u.hdr.seq != o->expect[stream])) {
		(void)decode(&o->decoder, at, &record);
		return;
	}
	CHECK((o->streams & 1U << stream) != 0);
	/* A reader of both streams reads no events from the second. */
	if (o->expecting[stream])
		CHECK(u.hdr.seq == o->expect[stream] ||
		    (u.hdr.seq > o->expect[stream] && stream == 1 &&
		    o->streams == L4S_STREAM_ALL));
	o->expecting[stream] = true;
	CHECK(u.hdr.time_ns <= m->r.now);
	o->expect[stream] = u.hdr.seq + 1;
	filled_in = decode(&o->decoder, at, &record);
	if (u.hdr.type == L4S_RECORD_LOSS) {
		CHECK(u.loss.lost != 0);
		o->expect[stream] = u.hdr.seq + u.loss.lost;
		return;
	}
	CHECK(u.hdr.time_ns >= o->latest);
	o->latest = u.hdr.time_ns;
	if (u.hdr.type == L4S_RECORD_DECISION)
		CHECK(u.record.weight == 0 ||
		    (u.record.weight >= L4S_WEIGHT_MIN &&
		    u.record.weight <= L4S_WEIGHT_MAX));
	if (filled_in) {
		if (o->decoder.instances[record.instance].exact) {
			CHECK_EQ(memcmp(&record, &m->reference[record.hdr.seq %
			    REFERENCES], sizeof(record)), 0);
			m->exact++;
		}
		check_record(&record);
	} else if (u.hdr.type == L4S_RECORD_SUMMARY)
		check_summary(&u.summary);
}

static void
keep_reference(void *arg, const struct l4s_record_v1 *record)
{
	struct model *m = arg;

	m->reference[record->hdr.seq % REFERENCES] = *record;
	if (record->reason != L4S_REASON_ONCE &&
	    record->reason != L4S_REASON_HOLD)
		return;
	m->added[record->queue_type] +=
	    record->dequeue_action == L4S_ACTION_MARK &&
	    record->base_action == L4S_ACTION_ENQUEUE;
	m->prevented[record->queue_type] +=
	    record->dequeue_action == L4S_ACTION_ENQUEUE &&
	    record->base_action == L4S_ACTION_MARK;
}

/* Some messages, or a loss and some; false if none were available. */
static bool
read_some(struct model *m, unsigned i)
{
	struct observer *o = &m->observer[i];
	uint8_t buf[8 * L4S_RECORD_SIZE];
	struct l4s_header hdr;
	size_t got, at, size = L4S_RECORD_SIZE * (1 + below(m, 8));
	bool fits = (o->streams & L4S_STREAM_SUMMARIES) == 0 ||
	    size >= sizeof(struct l4s_summary);

	if (o->h == NULL)
		return (false);
	CHECK_EQ(l4s_user_read(o->h, buf, size, m->r.now, &got),
	    fits ? 0 : L4S_EINVAL);
	for (at = 0; at < got; at += hdr.length) {
		memcpy(&hdr, buf + at, sizeof(hdr));
		check_message(m, o, buf + at);
	}
	return (got != 0);
}

/*
 * Opens a descriptor, which has no unread messages; or closes one, possibly
 * with unread messages.
 */
static void
open_or_close(struct model *m, unsigned i)
{
	struct l4s_stats s;

	if (m->observer[i].h != NULL) {
		l4s_user_close(m->observer[i].h, m->r.now);
		m->observer[i].h = NULL;
		return;
	}
	memset(&m->observer[i], 0, sizeof(m->observer[i]));
	m->observer[i].h = l4s_user_open(m->r.u);
	m->observer[i].streams = L4S_STREAM_RECORDS;
	CHECK(m->observer[i].h != NULL);
	s = handle_stats(m->observer[i].h, m->r.now);
	CHECK_EQ(s.records_written, 0);
}

static void
interval(struct model *m, unsigned i)
{
	struct l4s_interval v = {
		.records = 1 + below(m, 100),
		.streams = 1 + below(m, 3),
		.max_wait_ns = below(m, 50) * MS,
	};
	uint32_t stream;
	uint64_t deadline;
	int ready;

	if (m->observer[i].h == NULL)
		return;
	if ((v.streams & L4S_STREAM_SUMMARIES) != 0) {
		v.summary_decisions = below(m, 60);
		v.summary_ns = below(m, 100) * MS;
		if (v.summary_decisions == 0 && v.summary_ns == 0)
			v.summary_ns = MS;
	}
	/* A new stream may begin anywhere, as may one without events. */
	for (stream = 0; stream < 2; stream++)
		if ((m->observer[i].streams & 1U << stream) == 0 ||
		    (stream == 1 && v.streams != m->observer[i].streams))
			m->observer[i].expecting[stream] = false;
	CHECK_EQ(l4s_user_request(m->observer[i].h, L4S_OP_INTERVAL, &v,
	    sizeof(v), m->r.now), 0);
	if (v.streams != m->observer[i].streams)
		m->observer[i].moved_ns = m->r.now;
	m->observer[i].streams = v.streams;
	ready = l4s_user_ready(m->observer[i].h, m->r.now, &deadline);
	if (ready == 0 && deadline != UINT64_MAX) {
		CHECK(v.max_wait_ns != 0);
		CHECK(deadline > m->r.now);
	} else if (ready != 0)
		CHECK(handle_stats(m->observer[i].h, m->r.now).records_waiting +
		    handle_stats(m->observer[i].h, m->r.now).records_lost != 0);
}

/*
 * Any request number with any bytes, in a buffer of exactly the claimed size.
 * The descriptor is not the controller, so it can change only limits, which are
 * restored.
 */
static void
hostile(struct model *m)
{
	struct l4s_user_handle *h = l4s_user_open(m->r.u);
	static const uint8_t sizes[] = { 0, 1, 16, 32, 40, 48, 64, 96, 254, 255 };
	size_t size = sizes[below(m, sizeof(sizes))], i;
	uint32_t op = below(m, 16);
	uint8_t *buf;
	int error;

	if (size == 254)
		size = sizeof(struct l4s_queues);
	if (size == 255)
		size = sizeof(struct l4s_stats);
	/*
	 * Separately allocated, so that out-of-bounds accesses are detected
	 * (ASan).
	 */
	buf = malloc(size != 0 ? size : 1);
	CHECK(h != NULL && buf != NULL);
	for (i = 0; i < size; i++)
		buf[i] = i < 8 || below(m, 4) == 0 ? below(m, 256) : 0;
	error = l4s_user_request(h, op, size != 0 ? buf : NULL, size,
	    m->r.now);
	CHECK(op != L4S_OP_CONTROL || error == (size == 0 ? L4S_EBUSY :
	    L4S_EPROTO));
	CHECK((op != L4S_OP_SET_PARAMS && op != L4S_OP_OVERRIDE) ||
	    error != 0);
	if (op == L4S_OP_SET_LIMITS)
		CHECK_EQ(l4s_user_request(h, L4S_OP_SET_LIMITS, &m->limits,
		    sizeof(m->limits), m->r.now), 0);
	free(buf);
	l4s_user_close(h, m->r.now);
}

static void
choose_limits(struct model *m)
{
	l4s_user_limits_default(&m->limits);
	m->limits.drop_share = below(m, 3) * (L4S_FACTOR_ONE / 4);
	m->limits.mark_share = below(m, 3) * (L4S_FACTOR_ONE / 64);
	m->limits.ceiling_ns = (5 + below(m, 100)) * MS;
	m->limits.watchdog_ns = below(m, 2) * 40 * MS;
	m->limits.max_hold = 1 + below(m, 40);
	m->limits.factor_max = L4S_FACTOR_ONE * (1 + below(m, 4));
	m->limits.gain_max = L4S_FACTOR_ONE * (1 + below(m, 20));
}

static void
set_limits(struct model *m)
{
	choose_limits(m);
	CHECK_EQ(l4s_user_request(m->r.h, L4S_OP_SET_LIMITS, &m->limits,
	    sizeof(m->limits), m->r.now), 0);
}

static void
reconfigure(struct model *m)
{
	struct l4s_params params;

	switch (below(m, 3)) {
	case 0:
		l4s_user_params_default(&params);
		break;
	case 1:
		l4s_user_params_tuned(&params);
		break;
	default:
		l4s_user_params_paper(&params);
		break;
	}
	params.limit_packets = 1 + below(m, QUEUE_MAX - 1);
	params.limit_bytes = below(m, 4) == 0 ? L4S_MTU + below(m, 100000) :
	    0;
	params.dither = below(m, 2);
	params.laqm = below(m, 2);
	params.ecn = below(m, 4) != 0;
	params.classic_weight = below(m, 101);
	params.tupdate_ns = 100 * US + below(m, 20000) * US;
	params.l4s_ecn = below(m, 4) == 0 ? L4S_ECN_MASK_ANY :
	    L4S_ECN_MASK_L4S;
	params.l4s_dscp = below(m, 2) == 0 ? L4S_DSCP_EF | L4S_DSCP_NQB : 0;
	params.overflow = below(m, 4) == 0;
	params.flow_weights = below(m, 2);
	CHECK_EQ(l4s_user_request(m->r.h, L4S_OP_SET_PARAMS, &params,
	    sizeof(params), m->r.now), 0);
	m->l4s_ecn = params.l4s_ecn;
	m->l4s_dscp = params.l4s_dscp;
}

/* The controller closes, which ends its overrides; a new one opens. */
static void
change_controller(struct model *m)
{
	l4s_user_close(m->r.h, m->r.now);
	m->in_force = false;
	m->r.h = l4s_user_open(m->r.u);
	CHECK(m->r.h != NULL);
	CHECK_EQ(l4s_user_request(m->r.h, L4S_OP_CONTROL, NULL, 0, m->r.now),
	    0);
}

static void
pass_time(struct model *m)
{
	switch (below(m, 64)) {
	case 0:			/* up to a month */
		m->r.now += 1ULL << below(m, 52);
		break;
	case 1:
		m->r.now += below(m, 200000000);
		break;
	default:
		m->r.now += below(m, 2000000);
		break;
	}
}

static void
begin(struct model *m)
{
	struct l4s_params params;
	unsigned i;

	l4s_user_params_default(&params);
	params.limit_packets = QUEUE_MAX / 2;
	m->l4s_ecn = params.l4s_ecn;
	m->l4s_dscp = params.l4s_dscp;
	choose_limits(m);
	m->r = router_create(&params, &m->limits, 16 << below(m, 4));
	l4s_user_tap(m->r.u, keep_reference, m);
	for (i = 0; i < OBSERVERS; i++) {
		m->observer[i].h = l4s_user_open(m->r.u);
		m->observer[i].streams = L4S_STREAM_RECORDS;
		CHECK(m->observer[i].h != NULL);
	}
}

static void
step(struct model *m)
{
	unsigned what = below(m, 256), n;

	if (what < 100)
		push(m);
	else if (what < 112) {		/* at once: queues fill */
		for (n = below(m, 64); n != 0; n--)
			push(m);
	} else if (what < 192) {
		pass_time(m);
		pop(m);
	} else if (what < 200) {
		for (n = below(m, 64); n != 0; n--)
			pop(m);
	} else if (what < 216)
		send(m);
	else if (what < 224)
		(void)read_some(m, below(m, OBSERVERS));
	else if (what < 228) {
		n = below(m, OBSERVERS);
		while (read_some(m, n))
			;
	}
	else if (what < 234)
		pass_time(m);
	else if (what < 238)
		hostile(m);
	else if (what < 242)
		reconfigure(m);
	else if (what < 245)
		set_limits(m);
	else if (what < 249)
		interval(m, below(m, OBSERVERS));
	else if (what < 252)
		open_or_close(m, below(m, OBSERVERS));
	else if (what < 255)
		change_controller(m);
	else
		flush(m);
	take_tail_drops(m);
}

static void
check_tally(const struct tally *t, const struct l4s_queue_stats *q)
{
	CHECK_EQ(q->packets_in, t->in);
	CHECK_EQ(q->bytes_in, t->in_bytes);
	CHECK_EQ(q->forwarded, t->out);
	CHECK_EQ(q->forwarded_bytes, t->out_bytes);
	CHECK_EQ(q->dropped_bytes, t->dropped_bytes);
	CHECK_EQ(q->marked, t->marked);
	CHECK_EQ(q->marked_bytes, t->marked_bytes);
	CHECK_EQ(q->drops_tail, t->tail);
	CHECK_EQ(q->drops_ecn, t->ecn);
	CHECK_EQ(q->drops_not_ect, t->not_ect);
	CHECK_EQ(q->drops_flush, t->flushed);
	CHECK_EQ(q->delay_sum_ns, t->sojourn_ns);
	CHECK_EQ(q->queued_max, t->most);
}

static void
check_all(struct model *m)
{
	struct l4s_stats s = router_stats(&m->r), total;
	struct l4s_queues t = router_queues(&m->r);
	unsigned i;

	check_tally(&m->tally[0], &t.queue[0]);
	check_tally(&m->tally[1], &t.queue[1]);
	CHECK_EQ(s.drops_override, m->override_drops);
	CHECK_EQ(s.queued, m->queue[0].n + m->queue[1].n);
	CHECK(s.overrides_waiting <= 1);
	for (i = 0; i < OBSERVERS; i++)
		if (m->observer[i].h != NULL)
			(void)handle_stats(m->observer[i].h, m->r.now);
	l4s_user_stats(m->r.u, &total);
	CHECK_EQ(total.overrides_received, s.overrides_received);
}

static void
end(struct model *m)
{
	unsigned i;

	for (i = 0; i < OBSERVERS; i++)
		l4s_user_close(m->observer[i].h, m->r.now);
	router_destroy(&m->r);
}
