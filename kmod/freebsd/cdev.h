/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/* /dev/l4sllm. */

#ifndef _L4S_CDEV_H_
#define	_L4S_CDEV_H_

/* 0 or an errno. */
int	l4s_cdev_create(void);
/* No descriptor may be open. */
void	l4s_cdev_destroy(void);

#endif /* !_L4S_CDEV_H_ */
