/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* A reader of summaries and some traffic, for the tests. */

#ifndef _SUMMARIES_H_
#define	_SUMMARIES_H_

#include "router.h"
#include "summary.h"

/* A router with one descriptor that reads summaries. */
struct reader {
	struct l4s_user_handle *h;
	struct l4s_summary sum;		/* of all that were read */
	unsigned	n;
	uint64_t	lost;
};

static inline void
set_interval(struct l4s_user_handle *h, uint32_t streams, uint64_t ns,
    uint32_t decisions, uint64_t now)
{
	struct l4s_interval interval = {
		.records = 1,
		.streams = streams,
		.summary_ns = ns,
		.summary_decisions = decisions,
	};

	CHECK_EQ(l4s_user_request(h, L4S_OP_INTERVAL, &interval,
	    sizeof(interval), now), 0);
}

static inline struct reader
reader_open(struct router *r, uint64_t ns, uint32_t decisions)
{
	struct reader reader = { .h = l4s_user_open(r->u) };

	CHECK(reader.h != NULL);
	set_interval(reader.h, L4S_STREAM_SUMMARIES, ns, decisions, r->now);
	return (reader);
}

/* The next summary, if available; events are skipped. */
static inline bool
reader_next(struct reader *reader, struct l4s_summary *s, uint64_t now)
{
	union {
		struct l4s_header hdr;
		struct l4s_summary summary;
		struct l4s_loss loss;
	} m;
	size_t got;

	for (;;) {
		CHECK_EQ(l4s_user_read(reader->h, &m, sizeof(m), now, &got), 0);
		if (got == 0)
			return (false);
		CHECK_EQ(got, m.hdr.length);
		if (m.hdr.type == L4S_RECORD_SUMMARY)
			break;
		if (m.hdr.type == L4S_RECORD_LOSS)
			reader->lost += m.loss.lost;
	}
	*s = m.summary;
	CHECK_EQ(got, sizeof(*s));
	CHECK_EQ(s->sched, 1);
	CHECK(s->begin_ns <= s->hdr.time_ns);
	CHECK(s->idle_ns <= s->hdr.time_ns - s->begin_ns);
	CHECK(s->p_max >= s->p_begin && s->p_max >= s->p_end);
	CHECK_EQ(s->decisions, s->queue[0].forwarded + s->queue[1].forwarded +
	    s->queue[0].drops_aqm + s->queue[1].drops_aqm +
	    s->queue[0].drops_override + s->queue[1].drops_override);
	if (reader->n++ == 0)
		reader->sum = *s;
	else {
		CHECK_EQ(s->begin_ns, reader->sum.hdr.time_ns);
		CHECK_EQ(s->p_begin, reader->sum.p_end);
		l4s_summary_merge(&reader->sum, s);
	}
	return (true);
}

static inline void
reader_drain(struct reader *reader, uint64_t now)
{
	struct l4s_summary s;

	while (reader_next(reader, &s, now))
		;
}

/* Ends the current summary with one packet while the queues are empty. */
static inline void
reader_finish(struct router *r, struct reader *reader)
{
	struct l4s_user_packet out;

	set_interval(reader->h, L4S_STREAM_SUMMARIES, 0, 1, r->now);
	CHECK_EQ(router_put(r, L4S_ECN_NOT_ECT), 0);
	CHECK_EQ(l4s_user_dequeue(r->u, r->now, &out), 1);
	reader_drain(reader, r->now);
	CHECK_EQ(reader->sum.hdr.time_ns, r->now);
	l4s_user_close(reader->h, r->now);
}

/* One step of random traffic, with occasional overrides and parameters. */
static inline void
any_step(struct router *r, uint64_t *random)
{
	struct l4s_user_packet out;
	struct l4s_params params;
	uint32_t choice = test_below(random, 1000);

	r->now += choice % 7 == 0 ? 0 : test_below(random, 2 * MS);
	if (choice == 0)
		r->now += SEC;
	else if (choice < 10)
		(void)router_hold(r, (uint8_t)test_below(random, 3), 5, SEC);
	else if (choice == 10) {
		l4s_user_params_default(&params);
		params.target_ns = (1 + test_below(random, 20)) * MS;
		params.limit_packets = 20 + test_below(random, 60);
		CHECK_EQ(l4s_user_request(r->h, L4S_OP_SET_PARAMS, &params,
		    sizeof(params), r->now), 0);
	} else if (choice < 530)
		(void)l4s_user_enqueue(r->u, r->cookie++,
		    40 + test_below(random, 1461),
		    (uint8_t)test_below(random, 4), test_below(random, 30),
		    r->now);
	else
		(void)l4s_user_dequeue(r->u, r->now, &out);
	while (l4s_user_drops(r->u, &out, 1) != 0)
		;
}

static inline void
any_drain(struct router *r)
{
	struct l4s_user_packet out;

	while (l4s_user_dequeue(r->u, r->now, &out) != 0)
		r->now += 100 * US;
	while (l4s_user_drops(r->u, &out, 1) != 0)
		;
}

#endif /* !_SUMMARIES_H_ */
