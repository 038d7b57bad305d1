/*
 * The settings of a GENERIC kernel's configuration.  On FreeBSD the module's
 * Makefile uses the real file.
 */
#ifndef L4S_TEST_NO_VIMAGE
#define	VIMAGE	1
#endif
#define	INET	1
#define	INET6	1
