/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* DTrace probes: see sdt.c. */

#ifndef _L4S_PROBES_H_
#define	_L4S_PROBES_H_

#include "compat.h"

#include <sys/sdt.h>

#include "vnet.h"

SDT_PROVIDER_DECLARE(l4sllm);
SDT_PROBE_DECLARE(l4sllm, , , override);
/*
 * Before and after a call of the packet path of an instance of `sched': fires
 * for the records written by it.  While probes are enabled, records are written
 * even without a reader.
 */
uint64_t l4s_probe_begin(struct l4s_vnet *);
void	l4s_probe_written(const struct l4s_vnet *, uint32_t sched,
	    uint64_t from);
/* Fires if the student has decided since it had made `before' decisions. */
void	l4s_probe_student(const struct l4s_instance *, uint64_t before);
/* Fires for losses among messages that were read. */
void	l4s_probe_read(const void *messages, size_t size);

#endif /* !_L4S_PROBES_H_ */
