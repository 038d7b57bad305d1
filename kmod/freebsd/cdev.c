/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * /dev/l4sllm: a front of handle.c.
 *
 * The packet path tells a descriptor that it became readable by enqueueing
 * its task, which wakes sleepers, poll(2) and kqueue(2).  A second clock is
 * the descriptor's longest wait (struct l4s_interval): a callout that
 * enqueues the same task.
 */

#include "l4s_freebsd.h"
#include "compat.h"
#include "handle.h"

#include <sys/conf.h>
#include <sys/event.h>
#include <sys/fcntl.h>
#include <sys/filio.h>
#include <sys/jail.h>
#include <sys/poll.h>
#include <sys/priv.h>
#include <sys/proc.h>
#include <sys/syslog.h>
#include <sys/uio.h>

#include <sys/socket.h>
#include <net/if.h>
#include <net/vnet.h>

/* Copied out at a time: bounds the memory that a reader may ask for. */
#define	READ_CHUNK	((size_t)256 * L4S_RECORD_SIZE)

/* Longest that a timer is set for, ns. */
#define	TIMER_MAX	(3600 * L4S_NS_PER_S)

/* Of an open descriptor. */
struct l4s_open {
	struct l4s_handle handle;
	struct l4s_vnet	*vnet;		/* (c) */
	LIST_ENTRY(l4s_open) link;	/* (g) */
	struct mtx	mtx;
	struct selinfo	sel;		/* (o) */
	struct callout	timer;		/* (o) to arm it */
	struct task	task;
	bool		closing;	/* (o) */
	bool		gone;		/* (o) the vnet went */
};

static d_open_t		l4s_cdev_open;
static d_read_t		l4s_cdev_read;
static d_ioctl_t	l4s_cdev_ioctl;
static d_poll_t		l4s_cdev_poll;
static d_kqfilter_t	l4s_cdev_kqfilter;

static struct cdevsw l4s_cdevsw = {
	.d_version = D_VERSION,
	.d_name = "l4sllm",
	.d_open = l4s_cdev_open,
	.d_read = l4s_cdev_read,
	.d_ioctl = l4s_cdev_ioctl,
	.d_poll = l4s_cdev_poll,
	.d_kqfilter = l4s_cdev_kqfilter,
};

static void	open_close(void *);
static bool	open_ready(struct l4s_open *);
static void	open_wake(void *);
static void	open_timer(void *);
static void	open_notify(void *, int);
static void	open_knotes(struct l4s_open *);
static int	filter_read(struct knote *, long);
static void	filter_detach(struct knote *);
static int	to_errno(int);
static void	log_mismatch(struct thread *, const uint16_t version[2]);

static struct filterops l4s_filterops = {
	.f_isfd = 1,
	.f_detach = filter_detach,
	.f_event = filter_read,
};

static struct cdev *l4s_cdev;

int
l4s_cdev_create(void)
{
	struct make_dev_args args;

	make_dev_args_init(&args);
	args.mda_flags = MAKEDEV_CHECKNAME | MAKEDEV_WAITOK;
	args.mda_devsw = &l4s_cdevsw;
	args.mda_uid = UID_ROOT;
	args.mda_gid = GID_WHEEL;
	args.mda_mode = 0600;
	return (make_dev_s(&args, &l4s_cdev, "l4sllm"));
}

void
l4s_cdev_destroy(void)
{
	destroy_dev(l4s_cdev);
}

void
l4s_cdev_revoke(struct l4s_vnet *v)
{
	struct l4s_open *o;

	mtx_assert(&l4s_global, MA_OWNED);
	LIST_FOREACH(o, &v->opens, link) {
		mtx_lock(&o->mtx);
		o->gone = true;
		open_knotes(o);
		mtx_unlock(&o->mtx);
	}
}

static int
l4s_cdev_open(struct cdev *dev __unused, int oflags __unused,
    int devtype __unused, struct thread *td)
{
	struct l4s_open *o;
	struct l4s_vnet *v;
	int error;

	/* A jail that shares its host's vnet must not steer the host. */
	if (jailed_without_vnet(td->td_ucred))
		return (EPERM);
	CURVNET_SET(TD_TO_VNET(td));
	v = l4s_vnet_hold();
	CURVNET_RESTORE();
	if (v == NULL)
		return (ENXIO);

	o = malloc(sizeof(*o), M_L4SLLM, M_WAITOK | M_ZERO);
	error = l4s_handle_open(&v->device, &o->handle,
	    priv_check(td, PRIV_NETINET_DUMMYNET) == 0);
	if (error != 0) {
		free(o, M_L4SLLM);
		l4s_vnet_release(v);
		return (EMFILE);
	}
	o->vnet = v;
	mtx_init(&o->mtx, "l4s open", NULL, MTX_DEF);
	knlist_init_mtx(&o->sel.si_note, &o->mtx);
	callout_init(&o->timer, 1);
	TASK_INIT(&o->task, 0, open_notify, o);
	l4s_handle_on_ready(&o->handle, open_wake, o);

	mtx_lock(&l4s_global);
	LIST_INSERT_HEAD(&v->opens, o, link);
	mtx_unlock(&l4s_global);

	error = devfs_set_cdevpriv(o, open_close);
	if (error != 0)
		open_close(o);
	return (error);
}

static void
open_close(void *arg)
{
	struct l4s_open *o = arg;
	struct l4s_vnet *v;

	mtx_lock(&l4s_global);
	LIST_REMOVE(o, link);
	mtx_unlock(&l4s_global);

	/* From here on the task arms no timer and nobody enqueues the task. */
	mtx_lock(&o->mtx);
	o->closing = true;
	mtx_unlock(&o->mtx);
	l4s_handle_on_ready(&o->handle, NULL, NULL);
	callout_drain(&o->timer);
	taskqueue_drain(l4s_taskqueue, &o->task);

	knlist_clear(&o->sel.si_note, 0);
	seldrain(&o->sel);
	knlist_destroy(&o->sel.si_note);
	mtx_destroy(&o->mtx);

	l4s_handle_close(&o->handle, l4s_now());
	v = o->vnet;
	free(o, M_L4SLLM);
	l4s_vnet_release(v);
}

/*
 * Waits for readability by the descriptor's interval; without waiting, takes
 * whatever is there.
 */
static int
wait_readable(struct l4s_open *o, int ioflag)
{
	int error = 0;

	mtx_lock(&o->mtx);
	while (error == 0) {
		if (o->gone)
			error = ENXIO;
		else if (open_ready(o) || (ioflag & O_NONBLOCK) != 0)
			break;
		else
			error = mtx_sleep(o, &o->mtx, PCATCH, "l4sllm", 0);
	}
	mtx_unlock(&o->mtx);
	return (error);
}

static int
l4s_cdev_read(struct cdev *dev __unused, struct uio *uio, int ioflag)
{
	struct l4s_open *o;
	size_t got, total = 0;
	uint8_t *buf;
	int error;

	error = devfs_get_cdevpriv((void **)&o);
	if (error != 0)
		return (error);
	if (uio->uio_resid == 0)
		return (0);
	if (uio->uio_resid < L4S_RECORD_SIZE)
		return (EINVAL);
	buf = malloc(MIN((size_t)uio->uio_resid, READ_CHUNK), M_L4SLLM,
	    M_WAITOK);
	do {
		/* Another thread may have read what this one waited for. */
		error = wait_readable(o, ioflag);
		while (error == 0 && uio->uio_resid >= L4S_RECORD_SIZE) {
			error = to_errno(l4s_handle_read(&o->handle, buf,
			    MIN((size_t)uio->uio_resid, READ_CHUNK),
			    l4s_now(), &got));
			if (error != 0 || got == 0)
				break;
			l4s_probe_read(buf, got);
			error = uiomove(buf, (int)got, uio);
			total += got;
		}
		if (error == 0 && total == 0 && (ioflag & O_NONBLOCK) != 0)
			error = EWOULDBLOCK;
	} while (error == 0 && total == 0);
	free(buf, M_L4SLLM);
	return (error);
}

static int
l4s_cdev_poll(struct cdev *dev __unused, int events, struct thread *td)
{
	struct l4s_open *o;
	int revents = 0;

	if (devfs_get_cdevpriv((void **)&o) != 0)
		return (events & (POLLHUP | POLLIN | POLLRDNORM));
	mtx_lock(&o->mtx);
	if (o->gone)
		revents = POLLHUP | (events & (POLLIN | POLLRDNORM));
	else if ((events & (POLLIN | POLLRDNORM)) != 0) {
		/* Recorded first: ready() arms the wakeup that may follow. */
		selrecord(td, &o->sel);
		if (open_ready(o))
			revents = events & (POLLIN | POLLRDNORM);
	}
	mtx_unlock(&o->mtx);
	return (revents);
}

static int
l4s_cdev_kqfilter(struct cdev *dev __unused, struct knote *kn)
{
	struct l4s_open *o;
	int error;

	error = devfs_get_cdevpriv((void **)&o);
	if (error != 0)
		return (error);
	if (kn->kn_filter != EVFILT_READ)
		return (EINVAL);
	kn->kn_fop = &l4s_filterops;
	kn->kn_hook = o;
	knlist_add(&o->sel.si_note, kn, 0);
	return (0);
}

static void
filter_detach(struct knote *kn)
{
	struct l4s_open *o = kn->kn_hook;

	knlist_remove(&o->sel.si_note, kn, 0);
}

/* Bytes that read(2) would find. */
static int64_t
bytes_waiting(struct l4s_open *o)
{
	struct l4s_cursor_account account;
	struct l4s_device *device = &o->vnet->device;

	l4s_lock(&device->lock);
	l4s_cursor_account(&o->handle.cursor, device->ring, &account);
	l4s_unlock(&device->lock);
	return ((int64_t)account.waiting * L4S_RECORD_SIZE);
}

static int
filter_read(struct knote *kn, long hint __unused)
{
	struct l4s_open *o = kn->kn_hook;

	mtx_assert(&o->mtx, MA_OWNED);
	if (o->gone) {
		kn->kn_flags |= EV_EOF;
		kn->kn_fflags = ENXIO;
		return (1);
	}
	if (!open_ready(o))
		return (0);
	kn->kn_data = bytes_waiting(o);
	return (1);
}

/*
 * Whether the descriptor is readable.  If not, its wakeup is armed: by count
 * in handle.c, and by time here.
 */
static bool
open_ready(struct l4s_open *o)
{
	uint64_t deadline, now = l4s_now();

	mtx_assert(&o->mtx, MA_OWNED);
	if (l4s_handle_ready(&o->handle, now, &deadline))
		return (true);
	if (deadline == L4S_NEVER || o->closing)
		return (false);
	/*
	 * A caller may ask for more than sbintime_t holds: then the timer
	 * looks again before.  Rounded up, for one that is early would only
	 * be set again.
	 */
	deadline = MIN(deadline, now + TIMER_MAX);
	callout_reset_sbt(&o->timer, nstosbt((int64_t)deadline) + SBT_1US, 0,
	    open_timer, o, C_ABSOLUTE);
	return (false);
}

/* From the packet path, or under any lock of device.c. */
static void
open_wake(void *arg)
{
	struct l4s_open *o = arg;

	taskqueue_enqueue(l4s_taskqueue, &o->task);
}

static void
open_timer(void *arg)
{
	open_wake(arg);
}

static void
open_notify(void *arg, int pending __unused)
{
	struct l4s_open *o = arg;

	mtx_lock(&o->mtx);
	if (!o->closing && open_ready(o))
		open_knotes(o);
	mtx_unlock(&o->mtx);
}

static void
open_knotes(struct l4s_open *o)
{
	mtx_assert(&o->mtx, MA_OWNED);
	wakeup(o);
	selwakeup(&o->sel);
	KNOTE_LOCKED(&o->sel.si_note, 0);
}

/* The op of a request, or 0; the kernel has copied exactly its struct. */
static uint32_t
request_op(u_long cmd)
{
	switch (cmd) {
	case L4S_IOC_VERSION:
		return (L4S_OP_VERSION);
	case L4S_IOC_CONTROL:
		return (L4S_OP_CONTROL);
	case L4S_IOC_INTERVAL:
		return (L4S_OP_INTERVAL);
	case L4S_IOC_OVERRIDE:
		return (L4S_OP_OVERRIDE);
	case L4S_IOC_STATS:
		return (L4S_OP_STATS);
	case L4S_IOC_GET_PARAMS:
		return (L4S_OP_GET_PARAMS);
	case L4S_IOC_SET_PARAMS:
		return (L4S_OP_SET_PARAMS);
	case L4S_IOC_GET_LIMITS:
		return (L4S_OP_GET_LIMITS);
	case L4S_IOC_SET_LIMITS:
		return (L4S_OP_SET_LIMITS);
	default:
		return (0);
	}
}

/* Observers may open for reading; what changes anything wants writing. */
static int
may_request(uint32_t op, int fflag, struct thread *td)
{
	switch (op) {
	case L4S_OP_SET_LIMITS:
		if (priv_check(td, PRIV_NETINET_DUMMYNET) != 0)
			return (EPERM);
		/* FALLTHROUGH */
	case L4S_OP_CONTROL:
	case L4S_OP_OVERRIDE:
	case L4S_OP_SET_PARAMS:
		return ((fflag & FWRITE) != 0 ? 0 : EPERM);
	default:
		return (0);
	}
}

static int
l4s_cdev_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data, int fflag,
    struct thread *td)
{
	struct l4s_override override;
	struct l4s_open *o;
	uint16_t version[2];
	uint32_t op;
	bool gone;
	int error;

	error = devfs_get_cdevpriv((void **)&o);
	if (error != 0)
		return (error);
	mtx_lock(&o->mtx);
	gone = o->gone;
	mtx_unlock(&o->mtx);
	if (gone)
		return (ENXIO);

	switch (cmd) {
	case FIONBIO:		/* O_NONBLOCK, which read(2) looks at */
		return (0);
	case FIOASYNC:
		return (*(int *)data == 0 ? 0 : EOPNOTSUPP);
	case FIONREAD:
		*(int *)data = (int)MIN(bytes_waiting(o), INT_MAX);
		return (0);
	}
	op = request_op(cmd);
	if (op == 0)
		return (ENOTTY);
	/* The caller's version or range of them, before it is answered. */
	version[0] = version[1] = 0;
	memcpy(version, data, MIN(sizeof(version), IOCPARM_LEN(cmd)));
	if (op != L4S_OP_VERSION)
		version[1] = version[0];
	error = may_request(op, fflag, td);
	if (error == 0)
		error = to_errno(l4s_handle_request(&o->handle, op, data,
		    IOCPARM_LEN(cmd), l4s_now()));
	if (op == L4S_OP_OVERRIDE) {
		memcpy(&override, data, sizeof(override));
		SDT_PROBE5(l4sllm, , , override, override.sched,
		    override.instance, override.id, override.mode, error);
	}
	if (error == EPROTO)
		log_mismatch(td, version);
	return (error);
}

static int
to_errno(int error)
{
	switch (error) {
	case 0:
		return (0);
	case L4S_EPERM:
		return (EPERM);
	case L4S_ENOENT:
		return (ENOENT);
	case L4S_EBUSY:
		return (EBUSY);
	case L4S_EPROTO:
		return (EPROTO);
	case L4S_ERANGE:
		return (ERANGE);
	case L4S_ENOTTY:
		return (ENOTTY);
	case L4S_ENOMEM:
		return (ENOMEM);
	default:
		return (EINVAL);
	}
}

/* Both numbers, at most once a second: any process may bring this about. */
static void
log_mismatch(struct thread *td, const uint16_t version[2])
{
	static struct timeval last;
	static int count;

	/* The version is right, then: only a length is not. */
	if (version[0] <= L4S_ABI_VERSION && version[1] >= L4S_ABI_VERSION_MIN)
		return;
	if (ppsratecheck(&last, &count, 1) == 0)
		return;
	log(LOG_NOTICE, "l4sllm: pid %d (%s) speaks interface %u to %u, the "
	    "module %u to %u\n", td->td_proc->p_pid, td->td_proc->p_comm,
	    version[0], version[1], L4S_ABI_VERSION_MIN, L4S_ABI_VERSION);
}
