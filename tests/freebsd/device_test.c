/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * /dev/l4sllm without traffic.  Messages come from taking control, which writes
 * an event to the stream.
 */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/ioctl.h>

#include <atf-c.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "l4sllm_abi.h"

#define	DEVICE	"/dev/l4sllm"

static int
open_device(int flags)
{
	int fd = open(DEVICE, flags);

	if (fd < 0 && errno == ENOENT)
		atf_tc_skip("dualpi2_llm is not loaded");
	ATF_REQUIRE_MSG(fd >= 0, DEVICE ": %s", strerror(errno));
	return (fd);
}

static void
expect_error(int fd, unsigned long request, void *arg, int error)
{
	ATF_CHECK_ERRNO(error, ioctl(fd, request, arg) == -1);
}

/* Writes one event to the stream: a controller opens and closes the device. */
static void
make_events(void)
{
	int fd = open_device(O_RDWR);

	ATF_REQUIRE_EQ(0, ioctl(fd, L4S_IOC_CONTROL));
	close(fd);
}

#define	TEST(name)							\
	ATF_TC_WITHOUT_HEAD(name);					\
	ATF_TC_BODY(name, tc)

TEST(version)
{
	struct l4s_version v = { .min = 1, .max = 65535 };
	int fd = open_device(O_RDONLY);

	ATF_REQUIRE_EQ(0, ioctl(fd, L4S_IOC_VERSION, &v));
	ATF_CHECK(v.min <= L4S_ABI_VERSION && v.max >= L4S_ABI_VERSION);
	ATF_CHECK_EQ(L4S_RECORD_SIZE, v.record_size);
	ATF_CHECK(memchr(v.module, 0, sizeof(v.module)) != NULL);
	v.min = v.max = 0;
	expect_error(fd, L4S_IOC_VERSION, &v, EPROTO);
	v.min = v.max = 65535;
	expect_error(fd, L4S_IOC_VERSION, &v, EPROTO);
}

TEST(hostile_requests)
{
	struct l4s_interval interval = { .records = 1, .streams = L4S_STREAM_RECORDS };
	struct l4s_override o;
	struct l4s_params p;
	struct l4s_stats s;
	int fd = open_device(O_RDWR);
	unsigned i;

	expect_error(fd, _IO(L4S_IOC_GROUP, 99), NULL, ENOTTY);
	expect_error(fd, _IOW(L4S_IOC_GROUP, L4S_OP_OVERRIDE, char[8]), &o,
	    ENOTTY);
	expect_error(fd, L4S_IOC_STATS, (void *)8, EFAULT);

	interval.records = 0;
	expect_error(fd, L4S_IOC_INTERVAL, &interval, EINVAL);
	interval.records = 65537;
	expect_error(fd, L4S_IOC_INTERVAL, &interval, EINVAL);
	interval.records = 1;
	interval.pad = 1;
	expect_error(fd, L4S_IOC_INTERVAL, &interval, EINVAL);

	memset(&s, 0, sizeof(s));
	expect_error(fd, L4S_IOC_STATS, &s, EPROTO);
	s.version = L4S_ABI_VERSION;
	s.length = sizeof(s) - 1;
	expect_error(fd, L4S_IOC_STATS, &s, EPROTO);
	s.length = sizeof(s);
	s.sched = 65535;
	expect_error(fd, L4S_IOC_STATS, &s, ENOENT);

	ATF_REQUIRE_EQ(0, ioctl(fd, L4S_IOC_CONTROL));
	memset(&o, 0, sizeof(o));
	expect_error(fd, L4S_IOC_OVERRIDE, &o, EPROTO);
	o.version = L4S_ABI_VERSION;
	o.length = sizeof(o);
	o.sched = 65535;
	expect_error(fd, L4S_IOC_OVERRIDE, &o, ENOENT);

	/* Every byte of the parameters inverted, one at a time. */
	ATF_REQUIRE_EQ(0, ioctl(fd, L4S_IOC_GET_PARAMS, &p));
	for (i = 0; i < sizeof(p); i++) {
		struct l4s_params bad = p;

		((unsigned char *)&bad)[i] ^= 0xff;
		(void)ioctl(fd, L4S_IOC_SET_PARAMS, &bad);
	}
	ATF_CHECK_EQ(0, ioctl(fd, L4S_IOC_SET_PARAMS, &p));
	p.target_ns = 0;
	expect_error(fd, L4S_IOC_SET_PARAMS, &p, EINVAL);
}

TEST(control)
{
	struct l4s_override o;
	struct l4s_params p;
	int first = open_device(O_RDWR), second = open_device(O_RDWR);
	int reader = open_device(O_RDONLY);

	ATF_REQUIRE_EQ(0, ioctl(first, L4S_IOC_GET_PARAMS, &p));
	memset(&o, 0, sizeof(o));
	expect_error(second, L4S_IOC_OVERRIDE, &o, EPERM);
	expect_error(second, L4S_IOC_SET_PARAMS, &p, EPERM);
	expect_error(reader, L4S_IOC_CONTROL, NULL, EPERM);

	ATF_CHECK_EQ(0, ioctl(first, L4S_IOC_CONTROL));
	ATF_CHECK_EQ(0, ioctl(first, L4S_IOC_CONTROL));
	expect_error(second, L4S_IOC_CONTROL, NULL, EBUSY);
	close(first);
	ATF_CHECK_EQ(0, ioctl(second, L4S_IOC_CONTROL));
}

TEST(limits)
{
	struct l4s_limits l, bad;
	int fd = open_device(O_RDWR), reader = open_device(O_RDONLY);

	ATF_REQUIRE_EQ(0, ioctl(fd, L4S_IOC_GET_LIMITS, &l));
	ATF_CHECK_EQ(0, ioctl(fd, L4S_IOC_SET_LIMITS, &l));
	expect_error(reader, L4S_IOC_SET_LIMITS, &l, EPERM);
	bad = l;
	bad.factor_min = L4S_FACTOR_ONE + 1;
	expect_error(fd, L4S_IOC_SET_LIMITS, &bad, EINVAL);
	bad = l;
	bad.pad0 = 1;
	expect_error(fd, L4S_IOC_SET_LIMITS, &bad, EINVAL);
	bad = l;
	bad.version = 0;
	expect_error(fd, L4S_IOC_SET_LIMITS, &bad, EPROTO);
}

TEST(reading)
{
	struct l4s_event e[4];
	int fd = open_device(O_RDONLY | O_NONBLOCK);

	ATF_CHECK_ERRNO(EAGAIN, read(fd, e, sizeof(e)) == -1);
	make_events();
	ATF_CHECK_ERRNO(EINVAL, read(fd, e, L4S_RECORD_SIZE - 1) == -1);
	/*
	 * Two messages are available, but only one fits.  The other is read
	 * with a larger buffer.
	 */
	ATF_CHECK_EQ(L4S_RECORD_SIZE, read(fd, e, 2 * L4S_RECORD_SIZE - 1));
	ATF_CHECK_EQ(L4S_RECORD_EVENT, e[0].hdr.type);
	ATF_CHECK_EQ(L4S_ABI_VERSION, e[0].hdr.version);
	ATF_CHECK_EQ(L4S_RECORD_SIZE, e[0].hdr.length);
	ATF_CHECK_EQ(L4S_EVENT_CONTROL_OPEN, e[0].code);
	ATF_CHECK_EQ(L4S_RECORD_SIZE, read(fd, e, sizeof(e)));
	ATF_CHECK_EQ(L4S_EVENT_CONTROL_CLOSE, e[0].code);
	ATF_CHECK_ERRNO(EAGAIN, read(fd, e, sizeof(e)) == -1);
}

/*
 * A reader of summaries gets the events too, and a reader of both streams gets
 * each once.
 */
TEST(streams)
{
	struct l4s_interval i = { .records = 1, .summary_ns = 10000000 };
	struct l4s_event e[6];
	unsigned streams;
	int fd;

	for (streams = L4S_STREAM_SUMMARIES; streams <= L4S_STREAM_ALL;
	    streams++) {
		fd = open_device(O_RDONLY | O_NONBLOCK);
		i.streams = streams;
		ATF_REQUIRE_EQ(0, ioctl(fd, L4S_IOC_INTERVAL, &i));
		make_events();
		ATF_CHECK_ERRNO(EINVAL, read(fd, e,
		    sizeof(struct l4s_summary) - 1) == -1);
		ATF_CHECK_EQ(2 * L4S_RECORD_SIZE, read(fd, e, sizeof(e)));
		ATF_CHECK_EQ(L4S_EVENT_CONTROL_OPEN, e[0].code);
		ATF_CHECK_EQ(L4S_EVENT_CONTROL_CLOSE, e[1].code);
		ATF_CHECK_ERRNO(EAGAIN, read(fd, e, sizeof(e)) == -1);
		close(fd);
	}
	i.summary_ns = 0;
	expect_error(open_device(O_RDONLY), L4S_IOC_INTERVAL, &i, EINVAL);
}

TEST(observers)
{
	struct l4s_event a[2], b[2];
	int first = open_device(O_RDONLY | O_NONBLOCK);
	int second = open_device(O_RDONLY | O_NONBLOCK);

	make_events();
	ATF_REQUIRE_EQ((ssize_t)sizeof(a), read(first, a, sizeof(a)));
	ATF_REQUIRE_EQ((ssize_t)sizeof(b), read(second, b, sizeof(b)));
	ATF_CHECK_EQ(0, memcmp(a, b, sizeof(a)));
}

TEST(readiness_poll)
{
	struct pollfd p = { .events = POLLIN };
	struct l4s_interval i = { .records = 3, .streams = L4S_STREAM_RECORDS };
	struct l4s_event e[8];

	p.fd = open_device(O_RDONLY | O_NONBLOCK);
	ATF_REQUIRE_EQ(0, ioctl(p.fd, L4S_IOC_INTERVAL, &i));
	make_events();
	ATF_CHECK_EQ_MSG(0, poll(&p, 1, 100), "two of three are there");
	make_events();
	ATF_CHECK_EQ(1, poll(&p, 1, 1000));
	ATF_CHECK_EQ(4 * L4S_RECORD_SIZE, read(p.fd, e, sizeof(e)));
	ATF_CHECK_EQ(0, poll(&p, 1, 0));

	/* By time: the first of two, after 200 ms. */
	i.max_wait_ns = 200000000;
	i.records = 100;
	ATF_REQUIRE_EQ(0, ioctl(p.fd, L4S_IOC_INTERVAL, &i));
	ATF_CHECK_EQ(0, poll(&p, 1, 300));
	make_events();
	ATF_CHECK_EQ(0, poll(&p, 1, 20));
	ATF_CHECK_EQ(1, poll(&p, 1, 5000));
}

/* The maximum wait that can be requested is not treated as a short one. */
TEST(readiness_far)
{
	struct pollfd p = { .events = POLLIN };
	struct l4s_interval i = { .records = 100, .streams = L4S_STREAM_RECORDS };
	unsigned shift;

	p.fd = open_device(O_RDONLY | O_NONBLOCK);
	make_events();
	for (shift = 40; shift < 64; shift++) {
		i.max_wait_ns = UINT64_C(1) << shift;
		ATF_REQUIRE_EQ(0, ioctl(p.fd, L4S_IOC_INTERVAL, &i));
		ATF_CHECK_EQ(0, poll(&p, 1, 10));
		i.max_wait_ns = UINT64_MAX >> (63 - shift);
		ATF_REQUIRE_EQ(0, ioctl(p.fd, L4S_IOC_INTERVAL, &i));
		ATF_CHECK_EQ(0, poll(&p, 1, 10));
	}
}

TEST(readiness_kqueue)
{
	struct timespec zero = { 0, 0 }, second = { 1, 0 };
	struct l4s_event e[8];
	struct kevent change, event;
	int fd = open_device(O_RDONLY | O_NONBLOCK), kq = kqueue();

	ATF_REQUIRE(kq >= 0);
	EV_SET(&change, fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	ATF_REQUIRE_EQ(0, kevent(kq, &change, 1, &event, 1, &zero));
	make_events();
	ATF_REQUIRE_EQ(1, kevent(kq, NULL, 0, &event, 1, &second));
	ATF_CHECK_EQ(2 * L4S_RECORD_SIZE, event.data);
	ATF_CHECK_EQ(2 * L4S_RECORD_SIZE, read(fd, e, sizeof(e)));
	ATF_CHECK_EQ(0, kevent(kq, NULL, 0, &event, 1, &zero));

	EV_SET(&change, fd, EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	ATF_CHECK_ERRNO(EINVAL, kevent(kq, &change, 1, NULL, 0, NULL) == -1);
}

TEST(descriptors)
{
	int fd, fds[300], n;

	for (n = 0; n < 300; n++) {
		fd = open(DEVICE, O_RDONLY);
		if (fd < 0)
			break;
		fds[n] = fd;
	}
	ATF_CHECK_EQ(256, n);
	ATF_CHECK_EQ(EMFILE, errno);
	while (n-- > 0)
		close(fds[n]);
	close(open_device(O_RDONLY));
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, version);
	ATF_TP_ADD_TC(tp, hostile_requests);
	ATF_TP_ADD_TC(tp, control);
	ATF_TP_ADD_TC(tp, limits);
	ATF_TP_ADD_TC(tp, reading);
	ATF_TP_ADD_TC(tp, streams);
	ATF_TP_ADD_TC(tp, observers);
	ATF_TP_ADD_TC(tp, readiness_poll);
	ATF_TP_ADD_TC(tp, readiness_far);
	ATF_TP_ADD_TC(tp, readiness_kqueue);
	ATF_TP_ADD_TC(tp, descriptors);
	return (atf_no_error());
}
