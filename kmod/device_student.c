/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* See device.h: the student of a device. */

#include "device.h"

static uint32_t
device_budget(const struct l4s_device *dev,
    const struct l4s_student_net *student)
{
	if (student == NULL)
		return (0);
	return (dev->idle_budget != 0 ? dev->idle_budget :
	    student->header.idle_budget);
}

uint32_t
l4s_device_budget(const struct l4s_device *dev)
{
	return (device_budget(dev, dev->student));
}

/*
 * Gives each instance `student', or none if it is NULL; L4S_ENOMEM, with no
 * change, if there is no memory for all of them.
 */
static int
device_enable(struct l4s_device *dev, const struct l4s_student_net *student)
{
	struct l4s_student_slot *slots = NULL;
	struct l4s_instance *inst;

	for (inst = dev->instances; student != NULL && inst != NULL;
	    inst = inst->next)
		if (!l4s_student_slots_add(&slots, student)) {
			l4s_student_slots_free(slots);
			return (L4S_ENOMEM);
		}
	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_student(inst, &slots,
		    device_budget(dev, student));
	return (0);
}

static void
device_announce(struct l4s_device *dev, uint64_t now)
{
	l4s_device_store_summaries(dev);
	l4s_device_post_value(dev, L4S_EVENT_STUDENT,
	    dev->student_on ? dev->student->header.checksum : 0, now);
}

int
l4s_device_load_student(struct l4s_device *dev, const void *file, size_t size,
    uint64_t now)
{
	struct l4s_student_net *net = NULL;
	int error = 0;

	if (size != 0) {
		net = l4s_alloc(sizeof(*net));
		if (net == NULL)
			return (L4S_ENOMEM);
		error = l4s_student_load(net, file, size);
	}
	if (error == 0 && dev->student_on)
		error = device_enable(dev, net);
	if (error != 0) {
		l4s_free(net);
		return (error);
	}
	l4s_free(dev->student);
	dev->student = net;
	dev->student_on = dev->student_on && net != NULL;
	device_announce(dev, now);
	return (0);
}

int
l4s_device_switch_student(struct l4s_device *dev,
    const struct l4s_student_switch *s, uint64_t now)
{
	struct l4s_instance *inst;
	uint32_t before = dev->idle_budget;
	int error = 0;

	if (s->version != L4S_ABI_VERSION || s->length != sizeof(*s))
		return (L4S_EPROTO);
	if (s->pad0 != 0 || s->on > 1 || (s->idle_budget != 0 &&
	    (s->idle_budget < L4S_STUDENT_BUDGET_MIN ||
	    s->idle_budget > L4S_STUDENT_BUDGET_MAX)))
		return (L4S_EINVAL);
	if (s->on != 0 && dev->student == NULL)
		return (L4S_ENOENT);
	dev->idle_budget = s->idle_budget;
	if ((s->on != 0) != dev->student_on)
		error = device_enable(dev, s->on != 0 ? dev->student : NULL);
	if (error != 0) {
		dev->idle_budget = before;
		return (error);
	}
	dev->student_on = s->on != 0;
	for (inst = dev->instances; inst != NULL; inst = inst->next)
		l4s_instance_post_budget(inst, l4s_device_budget(dev));
	device_announce(dev, now);
	return (0);
}

void
l4s_device_student(struct l4s_device *dev, struct l4s_student_status *s)
{
	struct l4s_instance *inst;

	memset(s, 0, sizeof(*s));
	s->version = L4S_ABI_VERSION;
	s->length = sizeof(*s);
	s->on = dev->student_on;
	s->idle_budget = l4s_device_budget(dev);
	s->decisions = dev->student_decisions;
	for (inst = dev->instances; inst != NULL; inst = inst->next) {
		s->decisions += L4S_LOAD(&inst->student_decisions);
		s->steering += L4S_LOAD(&inst->overrides.student_steering);
		s->instances++;
	}
	if (dev->student != NULL)
		s->student = dev->student->header;
}
