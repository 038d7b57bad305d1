/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* Loading a student's file. */

#include "student_file.h"

/* Offset and value of a field, and the result of loading it. */
struct field {
	size_t		offset;
	size_t		size;
	int64_t		value;
	int		error;
};

#define	FIELD(type, member, value, error)				\
	{ offsetof(struct type, member),				\
	    sizeof(((struct type *)NULL)->member), (value), (error) }
#define	OF_HEADER(member, value, error)					\
	FIELD(l4s_student, member, (value), (error))
#define	OF_INPUT(member, value, error)					\
	FIELD(l4s_student_input, member, (value), (error))
#define	OF_UNIT(member, value, error)					\
	FIELD(l4s_student_unit, member, (value), (error))

static void
checksum_is_crc32(void)
{
	CHECK_EQ(l4s_crc32((const uint8_t *)"123456789", 9), 0xcbf43926);
	CHECK_EQ(l4s_crc32(NULL, 0), 0);
}

/*
 * Loads from memory of exactly this size, so that ASan detects reads past it.
 */
static int
load(const uint8_t *bytes, size_t size, struct l4s_student_net *net)
{
	uint8_t *exact = malloc(size != 0 ? size : 1);
	int error;

	CHECK(exact != NULL);
	memcpy(exact, bytes, size);
	error = l4s_student_load(net, exact, size);
	free(exact);
	return (error);
}

/* A small network: n0 = 3, n1 = 4, n2 = 2. */
static struct student_file
small(void)
{
	struct student_file f = student_constant(250 * MS, 15 * MS, 160000,
	    3200000, 512);
	unsigned i;

	f.h.inputs = 3;
	f.h.hidden[0] = 4;
	f.h.hidden[1] = 2;
	for (i = 0; i < student_file_weights(&f); i++)
		f.weights[i] = (int8_t)i;
	for (i = 0; i < student_file_units(&f); i++)
		f.units[i].bias = (int32_t)i;
	return (f);
}

static void
a_file_is_loaded_as_written(void)
{
	static struct l4s_student_net net;
	struct student_file f = small();
	uint8_t bytes[L4S_STUDENT_BYTES + 8];
	size_t size = student_pack(&f, bytes), offset;
	unsigned i, k;

	/* Header, inputs, units, weights. */
	CHECK_EQ(size, 152 + 3 * 12 + 10 * 8 + 4 * 3 + 2 * 4 + 4 * 2);
	CHECK_EQ(load(bytes, size, &net), 0);
	CHECK_EQ(memcmp(&net.header, bytes, sizeof(net.header)), 0);
	CHECK_EQ(memcmp(net.inputs, f.inputs, 3 * sizeof(f.inputs[0])), 0);
	CHECK_EQ(memcmp(net.units, f.units, 10 * sizeof(f.units[0])), 0);
	for (i = 0; i < 4; i++)
		for (k = 0; k < 3; k++)
			CHECK_EQ(net.first[i][k], 3 * i + k);
	for (i = 0; i < 2; i++)
		for (k = 0; k < 4; k++)
			CHECK_EQ(net.second[i][k], 12 + 4 * i + k);
	for (i = 0; i < 4; i++)
		for (k = 0; k < 2; k++)
			CHECK_EQ(net.last[i][k], 20 + 2 * i + k);
	/* Any alignment. */
	for (offset = 1; offset < 8; offset++) {
		memmove(bytes + offset, bytes + offset - 1, size);
		CHECK_EQ(l4s_student_load(&net, bytes + offset, size), 0);
	}
}

/* The largest and random files load; nothing longer does. */
static void
files_of_all_sizes_load(void)
{
	static struct l4s_student_net net;
	static uint8_t bytes[L4S_STUDENT_BYTES + 1];
	struct student_file f;
	uint64_t random = 3;
	size_t size;
	unsigned i;

	for (i = 0; i < 200; i++) {
		f = student_random(&random, L4S_STUDENT_HIDDEN);
		if (i == 0) {
			f.h.inputs = L4S_STUDENT_INPUTS;
			f.h.hidden[0] = f.h.hidden[1] = L4S_STUDENT_HIDDEN;
		}
		size = student_pack(&f, bytes);
		CHECK(size <= L4S_STUDENT_BYTES);
		CHECK(i != 0 || size == L4S_STUDENT_BYTES);
		CHECK_EQ(load(bytes, size, &net), 0);
	}
	CHECK(L4S_STUDENT_BYTES <= 16384);
}

/* Each length from 0 to the file's, and one byte more. */
static void
a_file_of_another_length_is_refused(void)
{
	static struct l4s_student_net net;
	struct student_file f = small();
	uint8_t bytes[L4S_STUDENT_BYTES + 1] = { 0 };
	uint32_t length;
	size_t size = student_pack(&f, bytes), n;

	for (n = 0; n < size; n++)
		CHECK_EQ(load(bytes, n, &net), L4S_EPROTO);
	CHECK_EQ(load(bytes, size + 1, &net), L4S_EPROTO);
	/* The same with a header and a checksum that match. */
	for (n = sizeof(f.h); n <= size + 1; n++) {
		length = (uint32_t)n;
		memcpy(bytes + offsetof(struct l4s_student, length), &length,
		    sizeof(length));
		student_seal(bytes, n);
		CHECK_EQ(load(bytes, n, &net), n == size ? 0 : L4S_EPROTO);
	}
}

static void
a_damaged_file_is_refused(void)
{
	static struct l4s_student_net net;
	struct student_file f = small();
	uint8_t bytes[L4S_STUDENT_BYTES];
	size_t size = student_pack(&f, bytes), i;
	unsigned bit;

	for (i = 0; i < size; i++)
		for (bit = 0; bit < 8; bit++) {
			bytes[i] ^= 1 << bit;
			CHECK(load(bytes, size, &net) == (i == 2 || i == 3 ?
			    L4S_EINVAL : L4S_EPROTO));
			bytes[i] ^= 1 << bit;
		}
	CHECK_EQ(load(bytes, size, &net), 0);
}

/* Sets a field of the struct at `base', seals the file and loads it. */
static void
check_field(const struct student_file *f, size_t base,
    const struct field *field)
{
	static struct l4s_student_net net;
	static uint8_t bytes[L4S_STUDENT_BYTES];
	size_t size = student_pack(f, bytes), at = base + field->offset;
	int error;

	memcpy(bytes + at, &field->value, field->size);
	if (at != offsetof(struct l4s_student, checksum))
		student_seal(bytes, size);
	error = load(bytes, size, &net);
	if (error != field->error)
		test_failed(__FILE__, __LINE__, "offset %zu, value %" PRId64
		    ": %d, not %d", at, field->value, error, field->error);
}

/* The values next to each bound. */
static void
each_field_of_the_header_is_checked(void)
{
	static const struct field fields[] = {
		OF_HEADER(version, 0, L4S_EPROTO),
		OF_HEADER(version, 2, L4S_EPROTO),
		OF_HEADER(pad0, 1, L4S_EINVAL),
		OF_HEADER(pad1, 1, L4S_EINVAL),
		OF_HEADER(pad2, 1, L4S_EINVAL),
		OF_HEADER(inputs, 0, L4S_EINVAL),
		OF_HEADER(inputs, 2, L4S_EPROTO),
		OF_HEADER(inputs, 97, L4S_EINVAL),
		OF_HEADER(inputs, UINT16_MAX, L4S_EINVAL),
		OF_HEADER(hidden[0], 0, L4S_EINVAL),
		OF_HEADER(hidden[0], 3, L4S_EPROTO),
		OF_HEADER(hidden[0], 65, L4S_EINVAL),
		OF_HEADER(hidden[1], 0, L4S_EINVAL),
		OF_HEADER(hidden[1], 64, L4S_EPROTO),
		OF_HEADER(hidden[1], 65, L4S_EINVAL),
		OF_HEADER(idle_budget, 999, L4S_EINVAL),
		OF_HEADER(idle_budget, 1000, 0),
		OF_HEADER(idle_budget, 20000, 0),
		OF_HEADER(idle_budget, 20001, L4S_EINVAL),
		OF_HEADER(period_ns, 16 * MS - 1, L4S_EINVAL),
		OF_HEADER(period_ns, 16 * MS, 0),
		OF_HEADER(period_ns, 2 * SEC, 0),
		OF_HEADER(period_ns, 2 * SEC + 1, L4S_EINVAL),
		OF_HEADER(period_ns, -1, L4S_EINVAL),
		OF_HEADER(tupdate_ns, 100 * US - 1, L4S_EINVAL),
		OF_HEADER(tupdate_ns, 100 * US, 0),
		OF_HEADER(tupdate_ns, SEC, 0),
		OF_HEADER(tupdate_ns, SEC + 1, L4S_EINVAL),
		OF_HEADER(slow_tupdate_ns, 100 * US - 1, L4S_EINVAL),
		OF_HEADER(slow_tupdate_ns, SEC, 0),
		OF_HEADER(slow_tupdate_ns, SEC + 1, L4S_EINVAL),
		OF_HEADER(slow_from, -1, L4S_EINVAL),
		OF_HEADER(slow_from, 0, 0),
		OF_HEADER(slow_from, L4S_STUDENT_OUT_MAX, 0),
		OF_HEADER(slow_from, L4S_STUDENT_OUT_MAX + 1, L4S_EINVAL),
		OF_HEADER(min[0], -1, L4S_EINVAL),
		OF_HEADER(min[3], L4S_STUDENT_OUT_MAX, 0),
		OF_HEADER(min[3], L4S_STUDENT_OUT_MAX + 1, L4S_EINVAL),
		OF_HEADER(min[1], INT32_MIN, L4S_EINVAL),
		OF_HEADER(max[0], -1, L4S_EINVAL),
		OF_HEADER(max[0], 0, 0),
		OF_HEADER(max[2], L4S_STUDENT_OUT_MAX + 1, L4S_EINVAL),
		OF_HEADER(max[2], INT32_MAX, L4S_EINVAL),
		OF_HEADER(name[0], 0, L4S_EINVAL),
		OF_HEADER(name[0], 'a', 0),
		OF_HEADER(name[31], 'a', L4S_EINVAL),
		OF_HEADER(name[30], 'a', 0),
		OF_HEADER(teacher[31], 1, 0),
	};
	struct student_file f = small();
	size_t i;

	for (i = 0; i < nitems(fields); i++)
		check_field(&f, 0, &fields[i]);
	/* max below min. */
	f.h.min[1] = 5;
	f.h.max[1] = 5;
	check_field(&f, 0, &(struct field)OF_HEADER(max[1], 4, L4S_EINVAL));
	check_field(&f, 0, &(struct field)OF_HEADER(max[1], 5, 0));
}

static void
each_field_of_the_body_is_checked(void)
{
	static const struct field inputs[] = {
		OF_INPUT(signal, L4S_SIGNALS - 1, 0),
		OF_INPUT(signal, L4S_SIGNALS, L4S_EINVAL),
		OF_INPUT(signal, 255, L4S_EINVAL),
		OF_INPUT(scale, L4S_STUDENT_SCALES - 1, 0),
		OF_INPUT(scale, L4S_STUDENT_SCALES, L4S_EINVAL),
		OF_INPUT(pad, 1, L4S_EINVAL),
		OF_INPUT(mean, L4S_STUDENT_BIAS_MAX, 0),
		OF_INPUT(mean, L4S_STUDENT_BIAS_MAX + 1, L4S_EINVAL),
		OF_INPUT(mean, -L4S_STUDENT_BIAS_MAX, 0),
		OF_INPUT(mean, -L4S_STUDENT_BIAS_MAX - 1, L4S_EINVAL),
		OF_INPUT(gain, L4S_STUDENT_GAIN_MAX, 0),
		OF_INPUT(gain, L4S_STUDENT_GAIN_MAX + 1, L4S_EINVAL),
		OF_INPUT(gain, -L4S_STUDENT_GAIN_MAX, 0),
		OF_INPUT(gain, INT32_MIN, L4S_EINVAL),
	};
	static const struct field units[] = {
		OF_UNIT(scale, 0, 0),
		OF_UNIT(scale, -1, L4S_EINVAL),
		OF_UNIT(scale, L4S_STUDENT_SCALE_MAX, 0),
		OF_UNIT(scale, L4S_STUDENT_SCALE_MAX + 1, L4S_EINVAL),
		OF_UNIT(bias, L4S_STUDENT_BIAS_MAX, 0),
		OF_UNIT(bias, L4S_STUDENT_BIAS_MAX + 1, L4S_EINVAL),
		OF_UNIT(bias, -L4S_STUDENT_BIAS_MAX, 0),
		OF_UNIT(bias, INT32_MIN, L4S_EINVAL),
	};
	const struct student_file f = small();
	size_t at = sizeof(f.h), i;
	struct field weight = { 0, 1, 0, 0 };
	unsigned n;

	for (n = 0; n < f.h.inputs; n++, at += sizeof(f.inputs[0]))
		for (i = 0; i < nitems(inputs); i++)
			check_field(&f, at, &inputs[i]);
	for (n = 0; n < student_file_units(&f); n++, at += sizeof(f.units[0]))
		for (i = 0; i < nitems(units); i++)
			check_field(&f, at, &units[i]);
	for (n = 0; n < student_file_weights(&f); n++, at++)
		for (weight.value = -128; weight.value < 128; weight.value++) {
			weight.error = weight.value == -128 ? L4S_EINVAL : 0;
			check_field(&f, at, &weight);
		}
}

const struct test student_file_tests[] = {
	TEST(checksum_is_crc32),
	TEST(a_file_is_loaded_as_written),
	TEST(files_of_all_sizes_load),
	TEST(a_file_of_another_length_is_refused),
	TEST(a_damaged_file_is_refused),
	TEST(each_field_of_the_header_is_checked),
	TEST(each_field_of_the_body_is_checked),
	TEST_END
};
