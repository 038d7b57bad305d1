/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Holds ffi.rs to kmod/user/l4s_user.h: the same numbers are asserted there.
 */

#include <stddef.h>

#include "l4s_user.h"

#define	ASSERT_OFFSET(field, at)					\
	_Static_assert(offsetof(struct l4s_user_packet, field) == (at), #field)

_Static_assert(sizeof(struct l4s_user_packet) == 24, "l4s_user_packet");
ASSERT_OFFSET(cookie, 0);
ASSERT_OFFSET(sojourn_ns, 8);
ASSERT_OFFSET(length, 16);
ASSERT_OFFSET(ecn, 20);
ASSERT_OFFSET(queue, 21);
ASSERT_OFFSET(action, 22);
ASSERT_OFFSET(reason, 23);

/*
 * The prototypes as ffi.rs declares them: a call through each shows the
 * compiler both, and a difference is an error.
 */
struct l4s_user *(*const l4s_layout_create)(const struct l4s_params *,
    const struct l4s_limits *, uint32_t, uint64_t, int *) = l4s_user_create;
void (*const l4s_layout_destroy)(struct l4s_user *) = l4s_user_destroy;
int (*const l4s_layout_enqueue)(struct l4s_user *, uint64_t, uint32_t, uint8_t,
    uint8_t, uint32_t, uint64_t) = l4s_user_enqueue_dscp;
int (*const l4s_layout_dequeue)(struct l4s_user *, uint64_t,
    struct l4s_user_packet *) = l4s_user_dequeue;
size_t (*const l4s_layout_drops)(struct l4s_user *, struct l4s_user_packet *,
    size_t) = l4s_user_drops;
void (*const l4s_layout_stats)(struct l4s_user *, struct l4s_stats *) =
    l4s_user_stats;
void (*const l4s_layout_backlog)(const struct l4s_user *, uint8_t, uint32_t *,
    uint32_t *) = l4s_user_backlog;
void (*const l4s_layout_set_points)(const struct l4s_user *,
    struct l4s_params *) = l4s_user_set_points;
int (*const l4s_layout_latest_override)(const struct l4s_user *,
    struct l4s_override *) = l4s_user_latest_override;
struct l4s_user_handle *(*const l4s_layout_open)(struct l4s_user *) =
    l4s_user_open;
void (*const l4s_layout_close)(struct l4s_user_handle *, uint64_t) =
    l4s_user_close;
int (*const l4s_layout_read)(struct l4s_user_handle *, void *, size_t, uint64_t,
    size_t *) = l4s_user_read;
int (*const l4s_layout_request)(struct l4s_user_handle *, uint32_t, void *,
    size_t, uint64_t) = l4s_user_request;
int (*const l4s_layout_ready)(struct l4s_user_handle *, uint64_t, uint64_t *) =
    l4s_user_ready;
void (*const l4s_layout_on_ready)(struct l4s_user_handle *, void (*)(void *),
    void *) = l4s_user_on_ready;
void (*const l4s_layout_tap)(struct l4s_user *,
    void (*)(void *, const struct l4s_record_v1 *), void *) = l4s_user_tap;
int (*const l4s_layout_params_rtt)(struct l4s_params *, uint64_t, uint64_t) =
    l4s_user_params_rtt;
