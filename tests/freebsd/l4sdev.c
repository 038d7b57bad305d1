/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * l4sdev records SECONDS [KEY=VALUE...]	how many decisions match
 * l4sdev override SCHED[.INSTANCE] MODE ACTION PACKETS SECONDS
 *					one override, and stay the controller
 * l4sdev steer SCHED FACTOR SECONDS	the target delay times FACTOR
 * l4sdev open SECONDS			keep the device open
 *
 * Keys: queue, action, base, reason, ecn; numbers as in l4sllm_abi.h.
 */

#include <sys/types.h>
#include <sys/ioctl.h>

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "l4sllm_abi.h"

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((uint64_t)t.tv_sec * 1000000000 + t.tv_nsec);
}

static int
open_device(int flags)
{
	int fd = open("/dev/l4sllm", flags);

	if (fd < 0)
		err(1, "/dev/l4sllm");
	return (fd);
}

static bool
matches(const struct l4s_record *r, int argc, char **argv)
{
	const struct {
		const char	*key;
		int		value;
	} fields[] = {
		{ "queue", r->queue_reason >> 7 }, { "action", r->actions & 3 },
		{ "base", r->actions >> 2 & 3 },
		{ "reason", r->queue_reason & L4S_REASON_MASK },
		{ "ecn", r->actions >> 6 }, { "weight", r->weight },
	};
	size_t f, length;
	int i;

	for (i = 0; i < argc; i++)
		for (f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
			length = strlen(fields[f].key);
			if (strncmp(argv[i], fields[f].key, length) == 0 &&
			    argv[i][length] == '=' &&
			    atoi(argv[i] + length + 1) != fields[f].value)
				return (false);
		}
	return (true);
}

static void
count_records(int argc, char **argv)
{
	static struct l4s_record records[256];
	uint64_t end = now_ns() + (uint64_t)atoi(argv[0]) * 1000000000;
	unsigned long matched = 0;
	struct pollfd p = { .events = POLLIN };
	ssize_t got, i;

	p.fd = open_device(O_RDONLY | O_NONBLOCK);
	while (now_ns() < end) {
		if (poll(&p, 1, 50) <= 0)
			continue;
		got = read(p.fd, records, sizeof(records));
		if (got < 0)
			err(1, "read");
		if (got % L4S_RECORD_SIZE != 0)
			errx(1, "a read of %zd bytes", got);
		for (i = 0; i < got / L4S_RECORD_SIZE; i++)
			if (records[i].hdr.type == L4S_RECORD_DECISION &&
			    matches(&records[i], argc - 1, argv + 1))
				matched++;
	}
	printf("%lu\n", matched);
}

static void
control(struct l4s_override *o, const char *sched, const char *seconds)
{
	int fd = open_device(O_RDWR);

	o->version = L4S_ABI_VERSION;
	o->length = sizeof(*o);
	if (sscanf(sched, "%u.%u", &o->sched, &o->instance) < 1)
		errx(2, "%s: expected SCHED or SCHED.INSTANCE", sched);
	o->id = 1;
	o->expires_ns = now_ns() + (uint64_t)atoi(seconds) * 1000000000;
	if (ioctl(fd, L4S_IOC_CONTROL) != 0)
		err(1, "L4S_IOC_CONTROL");
	if (ioctl(fd, L4S_IOC_OVERRIDE, o) != 0)
		err(1, "L4S_IOC_OVERRIDE");
	sleep((unsigned)atoi(seconds));
	close(fd);
}

static int
one_of(const char *word, const char *const *words, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (strcmp(word, words[i]) == 0)
			return (i);
	errx(2, "%s: not known", word);
}

int
main(int argc, char **argv)
{
	static const char *const modes[] = { "", "once", "hold" };
	static const char *const actions[] = { "enqueue", "drop", "mark" };
	struct l4s_override o;

	memset(&o, 0, sizeof(o));
	o.queue = L4S_QUEUE_ANY;
	if (argc >= 3 && strcmp(argv[1], "records") == 0)
		count_records(argc - 2, argv + 2);
	else if (argc == 7 && strcmp(argv[1], "override") == 0) {
		o.mode = (uint8_t)one_of(argv[3], modes, 3);
		o.action = (uint8_t)one_of(argv[4], actions, 3);
		o.hold_packets = (uint32_t)atoi(argv[5]);
		control(&o, argv[2], argv[6]);
	} else if (argc == 5 && strcmp(argv[1], "steer") == 0) {
		o.mode = L4S_MODE_STEER;
		o.steer_set = L4S_STEER_TARGET;
		o.target = (uint32_t)(atof(argv[3]) * L4S_FACTOR_ONE);
		control(&o, argv[2], argv[4]);
	} else if (argc == 3 && strcmp(argv[1], "open") == 0) {
		(void)open_device(O_RDONLY);
		sleep((unsigned)atoi(argv[2]));
	} else
		errx(2, "usage: see its source");
	return (0);
}
