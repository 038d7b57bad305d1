/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See student.h: the file and the network. */

#include "fixed.h"
#include "student.h"

#define	OUTPUT_ALPHA		1
#define	OUTPUT_BETA		2
#define	OUTPUT_COUPLING		3

bool
l4s_student_slots_add(struct l4s_student_slot **list,
    const struct l4s_student_net *net)
{
	struct l4s_student_slot *slot = l4s_alloc(sizeof(*slot));

	if (slot == NULL)
		return (false);
	slot->net = *net;
	memset(&slot->state, 0, sizeof(slot->state));
	slot->next = *list;
	*list = slot;
	return (true);
}

void
l4s_student_slots_free(struct l4s_student_slot *list)
{
	struct l4s_student_slot *slot;

	while ((slot = list) != NULL) {
		list = slot->next;
		l4s_free(slot);
	}
}

uint32_t
l4s_crc32(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0U;
	unsigned bit;

	for (; n != 0; n--, p++) {
		crc ^= *p;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320U & -(crc & 1));
	}
	return (~crc);
}

static bool
student_within(int64_t x, int64_t most)
{
	return (x >= -most && x <= most);
}

static bool
student_tupdate_ok(uint64_t ns)
{
	return (ns >= 100 * L4S_NS_PER_US && ns <= L4S_NS_PER_S);
}

static bool
student_outputs_ok(const struct l4s_student *h)
{
	unsigned i;

	for (i = 0; i < L4S_STUDENT_OUTPUTS; i++)
		if (h->min[i] < 0 || h->min[i] > h->max[i] ||
		    h->max[i] > L4S_STUDENT_OUT_MAX)
			return (false);
	return (h->slow_from >= 0 && h->slow_from <= L4S_STUDENT_OUT_MAX);
}

static bool
student_header_ok(const struct l4s_student *h)
{
	return (h->pad0 == 0 && h->pad1 == 0 && h->pad2 == 0 &&
	    h->inputs >= 1 && h->inputs <= L4S_STUDENT_INPUTS &&
	    h->hidden[0] >= 1 && h->hidden[0] <= L4S_STUDENT_HIDDEN &&
	    h->hidden[1] >= 1 && h->hidden[1] <= L4S_STUDENT_HIDDEN &&
	    h->idle_budget >= L4S_STUDENT_BUDGET_MIN &&
	    h->idle_budget <= L4S_STUDENT_BUDGET_MAX &&
	    h->period_ns >= 16 * L4S_NS_PER_MS &&
	    h->period_ns <= 2 * L4S_NS_PER_S &&
	    student_tupdate_ok(h->tupdate_ns) &&
	    student_tupdate_ok(h->slow_tupdate_ns) &&
	    student_outputs_ok(h) && h->name[0] != '\0' &&
	    h->name[sizeof(h->name) - 1] == '\0');
}

static unsigned
student_units(const struct l4s_student *h)
{
	return (h->hidden[0] + h->hidden[1] + L4S_STUDENT_OUTPUTS);
}

static size_t
student_length(const struct l4s_student *h)
{
	return (sizeof(*h) + h->inputs * sizeof(struct l4s_student_input) +
	    student_units(h) * sizeof(struct l4s_student_unit) +
	    (size_t)h->hidden[0] * h->inputs +
	    (size_t)h->hidden[1] * h->hidden[0] +
	    (size_t)L4S_STUDENT_OUTPUTS * h->hidden[1]);
}

static bool
student_input_ok(const struct l4s_student_input *in)
{
	return (in->signal < L4S_SIGNALS && in->scale < L4S_STUDENT_SCALES &&
	    in->pad == 0 && student_within(in->mean, L4S_STUDENT_BIAS_MAX) &&
	    student_within(in->gain, L4S_STUDENT_GAIN_MAX));
}

static bool
student_unit_ok(const struct l4s_student_unit *u)
{
	return (u->scale >= 0 && u->scale <= L4S_STUDENT_SCALE_MAX &&
	    student_within(u->bias, L4S_STUDENT_BIAS_MAX));
}

/* Copies n weights; false if one is -128. */
static bool
student_weights(int8_t *to, const uint8_t *from, size_t n)
{
	size_t i;

	memcpy(to, from, n);
	for (i = 0; i < n; i++)
		if (to[i] == INT8_MIN)
			return (false);
	return (true);
}

/* Copies what follows the header; false if a value is out of range. */
static bool
student_body(struct l4s_student_net *net, const uint8_t *p)
{
	const struct l4s_student *h = &net->header;
	unsigned i;

	memcpy(net->inputs, p, h->inputs * sizeof(net->inputs[0]));
	p += h->inputs * sizeof(net->inputs[0]);
	for (i = 0; i < h->inputs; i++)
		if (!student_input_ok(&net->inputs[i]))
			return (false);
	memcpy(net->units, p, student_units(h) * sizeof(net->units[0]));
	p += student_units(h) * sizeof(net->units[0]);
	for (i = 0; i < student_units(h); i++)
		if (!student_unit_ok(&net->units[i]))
			return (false);
	for (i = 0; i < h->hidden[0]; i++, p += h->inputs)
		if (!student_weights(net->first[i], p, h->inputs))
			return (false);
	for (i = 0; i < h->hidden[1]; i++, p += h->hidden[0])
		if (!student_weights(net->second[i], p, h->hidden[0]))
			return (false);
	for (i = 0; i < L4S_STUDENT_OUTPUTS; i++, p += h->hidden[1])
		if (!student_weights(net->last[i], p, h->hidden[1]))
			return (false);
	return (true);
}

int
l4s_student_load(struct l4s_student_net *net, const void *file, size_t size)
{
	const size_t summed = offsetof(struct l4s_student, checksum) +
	    sizeof(net->header.checksum);
	const struct l4s_student *h = &net->header;

	memset(net, 0, sizeof(*net));
	if (size < sizeof(*h))
		return (L4S_EPROTO);
	memcpy(&net->header, file, sizeof(*h));
	if (h->version != L4S_STUDENT_VERSION || h->length != size)
		return (L4S_EPROTO);
	if (l4s_crc32((const uint8_t *)file + summed, size - summed) !=
	    h->checksum)
		return (L4S_EPROTO);
	if (!student_header_ok(h))
		return (L4S_EINVAL);
	if (student_length(h) != size)
		return (L4S_EPROTO);
	return (student_body(net, (const uint8_t *)file + sizeof(*h)) ? 0 :
	    L4S_EINVAL);
}

/*
 * One product of a unit.  With |w| <= 127 and |x| <= 2^12, the sum of up to 96
 * products stays below 2^26.
 */
static inline int32_t
student_product(int32_t sum, int8_t weight, int32_t x)
{
	return (sum + weight * x);
}

/*
 * The sums of four units, whose rows of weights are `stride' apart: without
 * vector instructions, which a kernel does not use, loading x once for four
 * products takes half the time of one unit after another.
 */
static void
student_sums(const int8_t *w, size_t stride, const int32_t *x, unsigned n,
    int32_t sums[4])
{
	int32_t a = 0, b = 0, c = 0, d = 0;
	unsigned i;

	for (i = 0; i < n; i++, w++) {
		a = student_product(a, w[0], x[i]);
		b = student_product(b, w[stride], x[i]);
		c = student_product(c, w[2 * stride], x[i]);
		d = student_product(d, w[3 * stride], x[i]);
	}
	sums[0] = a;
	sums[1] = b;
	sums[2] = c;
	sums[3] = d;
}

/* |sum| < 2^26: the product is below 2^52, the result below 2^29. */
static int32_t
student_unit(const struct l4s_student_unit *u, int32_t sum)
{
	return (u->bias + (int32_t)((int64_t)sum * u->scale >> 24));
}

/*
 * A hidden layer.  Its units are computed in fours: rows of weights beyond
 * `units' are 0, and their results are not used.
 */
static void
student_hidden(const int8_t *w, size_t stride, const struct l4s_student_unit *u,
    unsigned units, const int32_t *x, unsigned n, int32_t *h)
{
	int32_t sums[4];
	unsigned i, k;

	for (i = 0; i < units; i += 4) {
		student_sums(w + i * stride, stride, x, n, sums);
		for (k = 0; k < 4 && i + k < units; k++)
			h[i + k] = l4s_fixed_tanh(student_unit(&u[i + k],
			    sums[k]));
	}
}

static int32_t
student_input(const struct l4s_student_input *in, int32_t signal)
{
	int64_t x = ((int64_t)signal - in->mean) * in->gain >> 16;

	if (x > L4S_STUDENT_CLIP)
		x = L4S_STUDENT_CLIP;
	if (x < -L4S_STUDENT_CLIP)
		x = -L4S_STUDENT_CLIP;
	return ((int32_t)x);
}

static int32_t
student_output(const struct l4s_student *h, unsigned i, int32_t y)
{
	if (y > h->max[i])
		return (h->max[i]);
	return (y < h->min[i] ? h->min[i] : y);
}

/* The logarithms of the set-points, Q16. */
static void
student_run(const struct l4s_student_net *net,
    const struct l4s_student_state *s, int32_t y[L4S_STUDENT_OUTPUTS])
{
	const struct l4s_student *h = &net->header;
	const struct l4s_student_unit *u = net->units;
	int32_t x[L4S_STUDENT_INPUTS], first[L4S_STUDENT_HIDDEN];
	int32_t second[L4S_STUDENT_HIDDEN], sums[L4S_STUDENT_OUTPUTS];
	unsigned i;

	for (i = 0; i < h->inputs; i++)
		x[i] = student_input(&net->inputs[i], l4s_student_signal(s,
		    net->inputs[i].signal, net->inputs[i].scale));
	student_hidden(net->first[0], L4S_STUDENT_INPUTS, u, h->hidden[0], x,
	    h->inputs, first);
	u += h->hidden[0];
	student_hidden(net->second[0], L4S_STUDENT_HIDDEN, u, h->hidden[1],
	    first, h->hidden[0], second);
	u += h->hidden[1];
	student_sums(net->last[0], L4S_STUDENT_HIDDEN, second, h->hidden[1],
	    sums);
	for (i = 0; i < L4S_STUDENT_OUTPUTS; i++)
		y[i] = student_output(h, i, student_unit(&u[i], sums[i]));
}

/* The factor from `base' to 2^log, Q16, within limits; 0 if base is 0. */
static uint32_t
student_factor(int32_t log, uint64_t base, uint32_t least, uint32_t greatest)
{
	uint32_t factor;

	if (base == 0)
		return (0);
	factor = l4s_fixed_exp2(log - l4s_fixed_log2(base));
	if (factor > greatest)
		return (greatest);
	return (factor < least ? least : factor);
}

static uint32_t
student_period_factor(uint64_t period, uint64_t base,
    const struct l4s_limits *limits)
{
	uint64_t factor = (period << 16) / base;

	if (factor > limits->factor_max)
		return (limits->factor_max);
	return (factor < limits->factor_min ? limits->factor_min :
	    (uint32_t)factor);
}

void
l4s_student_decide(const struct l4s_student_net *net,
    const struct l4s_student_state *s, const struct l4s_params *params,
    const struct l4s_limits *limits, struct l4s_override *o)
{
	const struct l4s_student *h = &net->header;
	int32_t y[L4S_STUDENT_OUTPUTS];

	student_run(net, s, y);
	memset(o, 0, sizeof(*o));
	o->version = L4S_ABI_VERSION;
	o->mode = L4S_MODE_STEER;
	o->length = sizeof(*o);
	o->queue = L4S_QUEUE_ANY;
	o->target = student_factor(y[0], params->target_ns, limits->factor_min,
	    limits->factor_max);
	o->alpha = student_factor(y[OUTPUT_ALPHA], params->alpha_uhz,
	    limits->gain_min, limits->gain_max);
	o->beta = student_factor(y[OUTPUT_BETA], params->beta_uhz,
	    limits->gain_min, limits->gain_max);
	o->coupling = student_factor(y[OUTPUT_COUPLING], params->coupling_q8,
	    limits->factor_min, limits->factor_max);
	o->tupdate = student_period_factor(y[0] < h->slow_from ?
	    h->tupdate_ns : h->slow_tupdate_ns, params->tupdate_ns, limits);
	o->steer_set = L4S_STEER_TARGET | L4S_STEER_COUPLING |
	    L4S_STEER_TUPDATE | (o->alpha != 0 ? L4S_STEER_ALPHA : 0) |
	    (o->beta != 0 ? L4S_STEER_BETA : 0);
}
