/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * The module's inline functions for IP headers, as symbols that Rust can call.
 */

#include "osdep.h"
#include "freebsd/iphdr.h"

uint8_t		l4s_router_ds(const uint8_t *header);
uint32_t	l4s_router_flow(const uint8_t *header, int length);
bool		l4s_router_mark(uint8_t *header);

uint8_t
l4s_router_ds(const uint8_t *header)
{
	return (l4s_iphdr_ds(header));
}

uint32_t
l4s_router_flow(const uint8_t *header, int length)
{
	return (l4s_iphdr_flow(header, length));
}

bool
l4s_router_mark(uint8_t *header)
{
	return (l4s_iphdr_mark(header, true));
}
