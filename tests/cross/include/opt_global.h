/*
 * What a GENERIC kernel's configuration would put here.  The module's own
 * Makefile takes the real one on FreeBSD.
 */
#ifndef L4S_TEST_NO_VIMAGE
#define	VIMAGE	1
#endif
#define	INET	1
#define	INET6	1
