/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Writing struct l4s_record and struct l4s_event into the ring, word by word,
 * without an intermediate copy: this is the cost that every packet pays.
 */

#ifndef _L4S_RECORD_H_
#define	_L4S_RECORD_H_

#include "dualpi2.h"
#include "ring.h"

/* What was decided, beside what DualPI2's verdict and state tell. */
struct l4s_decision {
	uint64_t	override_id;
	uint8_t		action;
	uint8_t		reason;
	uint8_t		override_action;
	uint16_t	status;
};

/*
 * The words of a record that change only with the configuration, kept ready.
 * To be refreshed when the parameters or the set-points change.
 */
struct l4s_record_config {
	uint64_t	instance;	/* sched, instance */
	uint64_t	target_tupdate;
	uint64_t	burst_ecnth;
	uint64_t	alpha_beta;
	uint32_t	flags;
};

void	l4s_record_configure(struct l4s_record_config *,
	    const struct dualpi2 *, uint32_t sched, uint32_t instance);
void	l4s_record_write(struct l4s_ring *, const struct l4s_record_config *,
	    const struct dualpi2 *, const struct dualpi2_verdict *,
	    const struct l4s_decision *, uint64_t queue_delay, uint64_t now);
void	l4s_event_write(struct l4s_ring *, uint32_t sched, uint32_t instance,
	    uint32_t code, uint64_t value, uint64_t now);

#endif /* !_L4S_RECORD_H_ */
