/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * blast send ADDRESS PORT TOS BYTES COUNT KBPS	datagrams at a steady rate
 * blast recv ADDRESS PORT SECONDS		counts them by ECN codepoint until
 *						none came for SECONDS:
 *						"not_ect ect1 ect0 ce"
 *
 * IPv4 or IPv6, depending on the address.  BYTES is the datagram's payload.
 */

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <netinet/in.h>

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int
open_socket(const char *address, const char *port, int passive,
    int *family)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM,
	    .ai_flags = AI_NUMERICHOST | (passive ? AI_PASSIVE : 0) };
	struct addrinfo *ai;
	int error, s;

	error = getaddrinfo(address, port, &hints, &ai);
	if (error != 0)
		errx(1, "%s: %s", address, gai_strerror(error));
	*family = ai->ai_family;
	s = socket(ai->ai_family, ai->ai_socktype, 0);
	if (s < 0)
		err(1, "socket");
	if (passive ? bind(s, ai->ai_addr, ai->ai_addrlen) != 0 :
	    connect(s, ai->ai_addr, ai->ai_addrlen) != 0)
		err(1, "%s", address);
	freeaddrinfo(ai);
	return (s);
}

static void
send_all(char **argv)
{
	static char payload[65536];
	int bytes = atoi(argv[3]), family, s, tos = atoi(argv[2]);
	long count = atol(argv[4]), kbps = atol(argv[5]), i;
	struct timespec next, gap;
	int64_t ns;

	s = open_socket(argv[0], argv[1], 0, &family);
	if (family == AF_INET ?
	    setsockopt(s, IPPROTO_IP, IP_TOS, &tos, sizeof(tos)) != 0 :
	    setsockopt(s, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos)) != 0)
		err(1, "TOS");
	ns = (int64_t)bytes * 8 * 1000000 / kbps;
	gap.tv_sec = ns / 1000000000;
	gap.tv_nsec = ns % 1000000000;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (i = 0; i < count; i++) {
		/* A full queue on the path is expected in these tests. */
		if (send(s, payload, bytes, 0) < 0 && errno != ENOBUFS &&
		    errno != ECONNREFUSED)
			err(1, "send");
		timespecadd(&next, &gap, &next);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}

static int
received_tos(struct msghdr *msg)
{
	struct cmsghdr *c;
	int tclass;

	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP &&
		    c->cmsg_type == IP_RECVTOS)
			return (*(unsigned char *)CMSG_DATA(c));
		if (c->cmsg_level == IPPROTO_IPV6 &&
		    c->cmsg_type == IPV6_TCLASS) {
			memcpy(&tclass, CMSG_DATA(c), sizeof(tclass));
			return (tclass);
		}
	}
	errx(1, "a datagram without its TOS");
}

static void
receive(char **argv)
{
	static char payload[65536];
	char control[256];
	struct iovec iov = { payload, sizeof(payload) };
	struct timeval quiet = { atoi(argv[2]), 0 };
	unsigned long seen[4] = { 0 };
	int family, on = 1, room = 1 << 20, s;

	s = open_socket(argv[0], argv[1], 1, &family);
	/* A slow receiver must not lose packets that passed the queue. */
	if (setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) != 0)
		err(1, "receive buffer");
	if (family == AF_INET ?
	    setsockopt(s, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)) != 0 :
	    setsockopt(s, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on)) != 0)
		err(1, "receive TOS");
	if (setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof(quiet)) != 0)
		err(1, "timeout");
	for (;;) {
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		    .msg_control = control, .msg_controllen = sizeof(control) };

		if (recvmsg(s, &msg, 0) < 0) {
			if (errno == EAGAIN)
				break;
			err(1, "recvmsg");
		}
		seen[received_tos(&msg) & 3]++;
	}
	printf("%lu %lu %lu %lu\n", seen[0], seen[1], seen[2], seen[3]);
}

int
main(int argc, char **argv)
{
	if (argc == 8 && strcmp(argv[1], "send") == 0)
		send_all(argv + 2);
	else if (argc == 5 && strcmp(argv[1], "recv") == 0)
		receive(argv + 2);
	else
		errx(2, "usage: blast send|recv ..., see its source");
	return (0);
}
