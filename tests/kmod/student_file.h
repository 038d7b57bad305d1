/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Files of students, for the tests. */

#ifndef _STUDENT_FILE_H_
#define	_STUDENT_FILE_H_

#include "fixed.h"
#include "student.h"
#include "test.h"

/* What a file contains, with space for the largest. */
struct student_file {
	struct l4s_student h;
	struct l4s_student_input inputs[L4S_STUDENT_INPUTS];
	struct l4s_student_unit units[L4S_STUDENT_UNITS];
	int8_t		weights[L4S_STUDENT_PRODUCTS];
};

static inline unsigned
student_file_units(const struct student_file *f)
{
	return (f->h.hidden[0] + f->h.hidden[1] + L4S_STUDENT_OUTPUTS);
}

static inline unsigned
student_file_weights(const struct student_file *f)
{
	return (f->h.hidden[0] * f->h.inputs +
	    f->h.hidden[1] * f->h.hidden[0] +
	    L4S_STUDENT_OUTPUTS * f->h.hidden[1]);
}

/* Sets the checksum of a file's bytes. */
static inline void
student_seal(uint8_t *bytes, size_t size)
{
	const size_t at = offsetof(struct l4s_student, checksum);
	uint32_t sum = l4s_crc32(bytes + at + sizeof(sum),
	    size - at - sizeof(sum));

	memcpy(bytes + at, &sum, sizeof(sum));
}

/* Writes the file, with its length and checksum; returns its size. */
static inline size_t
student_pack(const struct student_file *f,
    uint8_t bytes[L4S_STUDENT_BYTES])
{
	struct l4s_student h = f->h;
	size_t inputs = h.inputs * sizeof(f->inputs[0]);
	size_t units = student_file_units(f) * sizeof(f->units[0]);
	uint8_t *p = bytes + sizeof(h);

	memcpy(p, f->inputs, inputs);
	p += inputs;
	memcpy(p, f->units, units);
	p += units;
	memcpy(p, f->weights, student_file_weights(f));
	p += student_file_weights(f);
	h.length = (uint32_t)(p - bytes);
	memcpy(bytes, &h, sizeof(h));
	student_seal(bytes, h.length);
	return (h.length);
}

/*
 * A network of one unit a layer whose outputs are their biases: the logarithms
 * of these set-points, which are exact multiples of the defaults if they are
 * powers of two times them.
 */
static inline struct student_file
student_constant(uint64_t period_ns, uint64_t target_ns, uint32_t alpha_uhz,
    uint32_t beta_uhz, uint32_t coupling_q8)
{
	const uint64_t values[] = { target_ns, alpha_uhz, beta_uhz,
	    coupling_q8 };
	struct student_file f;
	unsigned i;

	memset(&f, 0, sizeof(f));
	f.h.version = L4S_STUDENT_VERSION;
	f.h.inputs = f.h.hidden[0] = f.h.hidden[1] = 1;
	f.h.idle_budget = 5000;
	f.h.period_ns = period_ns;
	f.h.tupdate_ns = f.h.slow_tupdate_ns = 16 * L4S_NS_PER_MS;
	memcpy(f.h.name, "constant", sizeof("constant"));
	f.inputs[0].signal = L4S_SIGNAL_DELAY;
	for (i = 0; i < L4S_STUDENT_OUTPUTS; i++) {
		f.h.max[i] = L4S_STUDENT_OUT_MAX;
		f.units[2 + i].bias = l4s_fixed_log2(values[i]);
	}
	return (f);
}

/* A number within +-most, often one of the two. */
static inline int32_t
student_within_most(uint64_t *random, int32_t most)
{
	switch (test_below(random, 8)) {
	case 0:
		return (-most);
	case 1:
		return (most);
	default:
		return ((int32_t)test_below(random, 2 * (uint32_t)most + 1) -
		    most);
	}
}

/* Any network that loads, with up to `hidden' units a layer. */
static inline struct student_file
student_random(uint64_t *random, unsigned hidden)
{
	struct student_file f = student_constant(16 * L4S_NS_PER_MS +
	    test_below(random, 200 * L4S_NS_PER_MS), 1, 1, 1, 1);
	unsigned i;

	f.h.inputs = 1 + test_below(random, L4S_STUDENT_INPUTS);
	f.h.hidden[0] = 1 + test_below(random, hidden);
	f.h.hidden[1] = 1 + test_below(random, hidden);
	f.h.tupdate_ns = 100 * L4S_NS_PER_US +
	    test_below(random, L4S_NS_PER_S - 100 * L4S_NS_PER_US);
	f.h.slow_from = test_below(random, L4S_STUDENT_OUT_MAX + 1);
	for (i = 0; i < L4S_STUDENT_OUTPUTS; i++) {
		f.h.min[i] = test_below(random, L4S_STUDENT_OUT_MAX);
		f.h.max[i] = f.h.min[i] + test_below(random,
		    L4S_STUDENT_OUT_MAX - f.h.min[i] + 1);
	}
	for (i = 0; i < f.h.inputs; i++) {
		f.inputs[i].signal = test_below(random, L4S_SIGNALS);
		f.inputs[i].scale = test_below(random, L4S_STUDENT_SCALES);
		f.inputs[i].mean = test_below(random, 2) == 0 ?
		    student_within_most(random, L4S_STUDENT_BIAS_MAX) :
		    (int32_t)test_below(random, 32 << 16);
		f.inputs[i].gain = student_within_most(random,
		    test_below(random, 2) == 0 ? L4S_STUDENT_GAIN_MAX :
		    1 << 10);
	}
	for (i = 0; i < student_file_units(&f); i++) {
		f.units[i].scale = test_below(random,
		    test_below(random, 2) == 0 ?
		    L4S_STUDENT_SCALE_MAX + 1 : 1 << 20);
		f.units[i].bias = student_within_most(random,
		    test_below(random, 2) == 0 ? L4S_STUDENT_BIAS_MAX :
		    30 << 16);
	}
	for (i = 0; i < student_file_weights(&f); i++)
		f.weights[i] = (int8_t)student_within_most(random, 127);
	return (f);
}

#endif /* !_STUDENT_FILE_H_ */
