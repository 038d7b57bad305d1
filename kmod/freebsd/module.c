/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * Loading and unloading.
 *
 * The module stays loaded while a scheduler entry, an instance or a descriptor
 * exists: MOD_QUIESCE and MOD_UNLOAD return EBUSY.
 */

#include "vnet.h"
#include "cdev.h"
#include "dn_dualpi2.h"

#include <sys/module.h>

static bool	mod_loaded;		/* mod_load() succeeded */

static int
mod_load(module_t mod)
{
	int error;

	error = l4s_cdev_create();
	if (error != 0)
		return (error);
	/* dummynet returns 1 if the name is taken. */
	if (dn_sched_modevent(mod, MOD_LOAD, &l4s_dualpi2_alg) != 0) {
		l4s_cdev_destroy();	/* ends descriptors that were opened */
		return (EEXIST);
	}
	mod_loaded = true;
	return (0);
}

static bool
mod_in_use(void)
{
	return (l4s_vnet_in_use() ||
	    atomic_load_int(&l4s_dualpi2_alg.ref_count) != 0);
}

/* The kernel also calls this after a MOD_LOAD that failed. */
static int
mod_unload(module_t mod)
{
	int error;

	if (!mod_loaded)
		return (0);
	if (mod_in_use() || !l4s_vnet_close())
		return (EBUSY);

	error = dn_sched_modevent(mod, MOD_UNLOAD, &l4s_dualpi2_alg);
	/*
	 * A configuration that found the scheduler before its removal from
	 * dummynet's list may have increased the count after dummynet checked
	 * it; dummynet has since waited for that configuration to end.
	 */
	if (error == 0 &&
	    atomic_load_int(&l4s_dualpi2_alg.ref_count) != 0) {
		(void)dn_sched_modevent(mod, MOD_LOAD, &l4s_dualpi2_alg);
		error = EBUSY;
	}
	if (error != 0) {
		l4s_vnet_reopen();
		return (error);
	}
	l4s_cdev_destroy();
	mod_loaded = false;
	return (0);
}

static int
mod_event(module_t mod, int event, void *arg __unused)
{
	switch (event) {
	case MOD_LOAD:
		return (mod_load(mod));
	case MOD_QUIESCE:
		return (mod_in_use() ? EBUSY : 0);
	case MOD_UNLOAD:
		return (mod_unload(mod));
	case MOD_SHUTDOWN:
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t dualpi2_llm_mod = {
	"dualpi2_llm", mod_event, NULL
};
DECLARE_MODULE(dualpi2_llm, dualpi2_llm_mod, SI_SUB_PROTO_FIREWALL,
    SI_ORDER_ANY);
MODULE_DEPEND(dualpi2_llm, dummynet, 3, 3, 3);
MODULE_VERSION(dualpi2_llm, 1);
