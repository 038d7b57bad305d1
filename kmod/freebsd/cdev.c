/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The l4sllm authors
 */

/*
 * /dev/l4sllm: a front end of handle.c.
 *
 * The packet path signals that a descriptor became readable by enqueueing its
 * task, which wakes sleepers, poll(2) and kqueue(2).  The second trigger is the
 * descriptor's maximum wait (struct l4s_interval): a callout that enqueues the
 * same task.
 */

#include "cdev.h"
#include "handle.h"
#include "probes.h"
#include "vnet.h"

#include <sys/callout.h>
#include <sys/conf.h>
#include <sys/event.h>
#include <sys/fcntl.h>
#include <sys/filio.h>
#include <sys/jail.h>
#include <sys/poll.h>
#include <sys/priv.h>
#include <sys/proc.h>
#include <sys/selinfo.h>
#include <sys/syslog.h>
#include <sys/taskqueue.h>
#include <sys/uio.h>

#include <sys/socket.h>
#include <net/if.h>
#include <net/vnet.h>

/* Maximum size of a copyout: bounds the memory that a reader can request. */
#define	READ_CHUNK	((size_t)256 * L4S_RECORD_SIZE)
_Static_assert(READ_CHUNK >= sizeof(struct l4s_summary), "one of any fits");

/* Maximum timeout of the timer, ns. */
#define	TIMER_MAX	(3600 * L4S_NS_PER_S)

/* State of an open descriptor. */
struct cdev_client {
	struct l4s_handle handle;
	struct l4s_vnet	*vnet;		/* (c) */
	struct l4s_vnet_watch watch;
	struct mtx	mtx;
	struct selinfo	sel;		/* (o) */
	struct callout	timer;		/* (o) to arm it */
	struct task	task;
	bool		closing;	/* (o) */
	bool		gone;		/* (o) the vnet went */
};

static d_open_t		cdev_open;
static d_read_t		cdev_read;
static d_ioctl_t	cdev_ioctl;
static d_poll_t		cdev_poll;
static d_kqfilter_t	cdev_kqfilter;

static struct cdevsw cdev_sw = {
	.d_version = D_VERSION,
	.d_name = "l4sllm",
	.d_open = cdev_open,
	.d_read = cdev_read,
	.d_ioctl = cdev_ioctl,
	.d_poll = cdev_poll,
	.d_kqfilter = cdev_kqfilter,
};

static void	cdev_dtor(void *);
static void	cdev_gone(struct l4s_vnet_watch *);
static bool	cdev_ready(struct cdev_client *);
static void	cdev_wake(void *);
static void	cdev_timer(void *);
static void	cdev_notify(void *, int);
static void	cdev_wakeup(struct cdev_client *);
static int	cdev_kqread(struct knote *, long);
static void	cdev_kqdetach(struct knote *);
static void	cdev_log_mismatch(struct thread *, const uint16_t version[2]);

static struct filterops cdev_filterops = {
	.f_isfd = 1,
	.f_detach = cdev_kqdetach,
	.f_event = cdev_kqread,
};

static struct cdev *cdev_node;
static struct taskqueue *cdev_taskqueue;

int
l4s_cdev_create(void)
{
	struct make_dev_args args;
	int error;

	cdev_taskqueue = taskqueue_create_fast("l4sllm", M_WAITOK,
	    taskqueue_thread_enqueue, (void *)&cdev_taskqueue);
	error = taskqueue_start_threads(&cdev_taskqueue, 1, PI_NET, "l4sllm");
	if (error == 0) {
		make_dev_args_init(&args);
		args.mda_flags = MAKEDEV_CHECKNAME | MAKEDEV_WAITOK;
		args.mda_devsw = &cdev_sw;
		args.mda_uid = UID_ROOT;
		args.mda_gid = GID_WHEEL;
		args.mda_mode = 0600;
		error = make_dev_s(&args, &cdev_node, "l4sllm");
	}
	if (error != 0)
		taskqueue_free(cdev_taskqueue);
	return (error);
}

void
l4s_cdev_destroy(void)
{
	destroy_dev(cdev_node);
	taskqueue_free(cdev_taskqueue);
}

static int
cdev_open(struct cdev *dev __unused, int oflags __unused,
    int devtype __unused, struct thread *td)
{
	struct cdev_client *c;
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

	c = malloc(sizeof(*c), M_L4SLLM, M_WAITOK | M_ZERO);
	error = l4s_handle_open(&v->device, &c->handle,
	    priv_check(td, PRIV_NETINET_DUMMYNET) == 0);
	if (error != 0) {
		free(c, M_L4SLLM);
		l4s_vnet_release(v);
		return (EMFILE);
	}
	c->vnet = v;
	mtx_init(&c->mtx, "l4s open", NULL, MTX_DEF);
	knlist_init_mtx(&c->sel.si_note, &c->mtx);
	callout_init(&c->timer, 1);
	TASK_INIT(&c->task, 0, cdev_notify, c);
	l4s_handle_on_ready(&c->handle, cdev_wake, c);

	c->watch.gone = cdev_gone;
	l4s_vnet_watch(v, &c->watch);

	error = devfs_set_cdevpriv(c, cdev_dtor);
	if (error != 0)
		cdev_dtor(c);
	return (error);
}

static void
cdev_dtor(void *arg)
{
	struct cdev_client *c = arg;
	struct l4s_vnet *v;

	l4s_vnet_unwatch(&c->watch);

	/* After this the task arms no timer and is not enqueued again. */
	mtx_lock(&c->mtx);
	c->closing = true;
	mtx_unlock(&c->mtx);
	l4s_handle_on_ready(&c->handle, NULL, NULL);
	callout_drain(&c->timer);
	taskqueue_drain(cdev_taskqueue, &c->task);

	knlist_clear(&c->sel.si_note, 0);
	seldrain(&c->sel);
	knlist_destroy(&c->sel.si_note);
	mtx_destroy(&c->mtx);

	l4s_handle_close(&c->handle, l4s_now());
	v = c->vnet;
	free(c, M_L4SLLM);
	l4s_vnet_release(v);
}

/*
 * The vnet is being destroyed, and the descriptor's device with it.  Under (g).
 */
static void
cdev_gone(struct l4s_vnet_watch *w)
{
	struct cdev_client *c = __containerof(w, struct cdev_client, watch);

	mtx_lock(&c->mtx);
	c->gone = true;
	cdev_wakeup(c);
	mtx_unlock(&c->mtx);
}

/*
 * Waits for readability according to the descriptor's interval; without
 * waiting, takes whatever is available.
 */
static int
cdev_wait(struct cdev_client *c, int ioflag)
{
	int error = 0;

	mtx_lock(&c->mtx);
	while (error == 0) {
		if (c->gone)
			error = ENXIO;
		else if (cdev_ready(c) || (ioflag & O_NONBLOCK) != 0)
			break;
		else
			error = mtx_sleep(c, &c->mtx, PCATCH, "l4sllm", 0);
	}
	mtx_unlock(&c->mtx);
	return (error);
}

static int
cdev_read(struct cdev *dev __unused, struct uio *uio, int ioflag)
{
	struct cdev_client *c;
	size_t largest, got, total = 0;
	uint8_t *buf;
	int error;

	error = devfs_get_cdevpriv((void **)&c);
	if (error != 0)
		return (error);
	if (uio->uio_resid == 0)
		return (0);
	largest = l4s_handle_largest(&c->handle);
	if ((size_t)uio->uio_resid < largest)
		return (EINVAL);
	buf = malloc(MIN((size_t)uio->uio_resid, READ_CHUNK), M_L4SLLM,
	    M_WAITOK);
	do {
		/*
		 * Another thread may have read the messages that this one
		 * waited for.
		 */
		error = cdev_wait(c, ioflag);
		while (error == 0 && (size_t)uio->uio_resid >= largest) {
			error = l4s_errno(l4s_handle_read(&c->handle, buf,
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
	/* Messages already copied out must not be lost to a later error. */
	return (total != 0 && error != EFAULT ? 0 : error);
}

static int
cdev_poll(struct cdev *dev __unused, int events, struct thread *td)
{
	struct cdev_client *c;
	int revents = 0;

	if (devfs_get_cdevpriv((void **)&c) != 0)
		return (events & (POLLHUP | POLLIN | POLLRDNORM));
	mtx_lock(&c->mtx);
	if (c->gone)
		revents = POLLHUP | (events & (POLLIN | POLLRDNORM));
	else if ((events & (POLLIN | POLLRDNORM)) != 0) {
		/*
		 * Recorded first, because ready() arms the wakeup that may
		 * follow.
		 */
		selrecord(td, &c->sel);
		if (cdev_ready(c))
			revents = events & (POLLIN | POLLRDNORM);
	}
	mtx_unlock(&c->mtx);
	return (revents);
}

static int
cdev_kqfilter(struct cdev *dev __unused, struct knote *kn)
{
	struct cdev_client *c;
	int error;

	error = devfs_get_cdevpriv((void **)&c);
	if (error != 0)
		return (error);
	if (kn->kn_filter != EVFILT_READ)
		return (EINVAL);
	kn->kn_fop = &cdev_filterops;
	kn->kn_hook = c;
	knlist_add(&c->sel.si_note, kn, 0);
	return (0);
}

static void
cdev_kqdetach(struct knote *kn)
{
	struct cdev_client *c = kn->kn_hook;

	knlist_remove(&c->sel.si_note, kn, 0);
}

/* Bytes that read(2) would return; with summaries, an upper bound. */
static int64_t
cdev_bytes(struct cdev_client *c)
{
	return ((int64_t)l4s_handle_waiting(&c->handle));
}

static int
cdev_kqread(struct knote *kn, long hint __unused)
{
	struct cdev_client *c = kn->kn_hook;

	mtx_assert(&c->mtx, MA_OWNED);
	if (c->gone) {
		kn->kn_flags |= EV_EOF;
		kn->kn_fflags = ENXIO;
		return (1);
	}
	if (!cdev_ready(c))
		return (0);
	kn->kn_data = cdev_bytes(c);
	return (1);
}

/*
 * Whether the descriptor is readable.  If not, arms its wakeup: by count in
 * handle.c, and by time here.
 */
static bool
cdev_ready(struct cdev_client *c)
{
	uint64_t deadline, now = l4s_now();

	mtx_assert(&c->mtx, MA_OWNED);
	if (l4s_handle_ready(&c->handle, now, &deadline))
		return (true);
	if (deadline == L4S_NEVER || c->closing)
		return (false);
	/*
	 * A deadline may be beyond the range of sbintime_t: the timer then
	 * checks earlier.  Rounded up, because an early timer would only be set
	 * again.
	 */
	deadline = MIN(deadline, now + TIMER_MAX);
	callout_reset_sbt(&c->timer, nstosbt((int64_t)deadline) + SBT_1US, 0,
	    cdev_timer, c, C_ABSOLUTE);
	return (false);
}

/* From the packet path, or under any lock of device.c. */
static void
cdev_wake(void *arg)
{
	struct cdev_client *c = arg;

	taskqueue_enqueue(cdev_taskqueue, &c->task);
}

static void
cdev_timer(void *arg)
{
	cdev_wake(arg);
}

static void
cdev_notify(void *arg, int pending __unused)
{
	struct cdev_client *c = arg;

	mtx_lock(&c->mtx);
	if (!c->closing && cdev_ready(c))
		cdev_wakeup(c);
	mtx_unlock(&c->mtx);
}

static void
cdev_wakeup(struct cdev_client *c)
{
	mtx_assert(&c->mtx, MA_OWNED);
	wakeup(c);
	selwakeup(&c->sel);
	KNOTE_LOCKED(&c->sel.si_note, 0);
}

/* The op of a request, or 0; the kernel has copied exactly its struct. */
static uint32_t
cdev_request_op(u_long cmd)
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
	case L4S_IOC_QUEUES:
		return (L4S_OP_QUEUES);
	case L4S_IOC_GET_PARAMS:
		return (L4S_OP_GET_PARAMS);
	case L4S_IOC_SET_PARAMS:
		return (L4S_OP_SET_PARAMS);
	case L4S_IOC_GET_LIMITS:
		return (L4S_OP_GET_LIMITS);
	case L4S_IOC_SET_LIMITS:
		return (L4S_OP_SET_LIMITS);
	case L4S_IOC_LOAD_STUDENT:
		return (L4S_OP_LOAD_STUDENT);
	case L4S_IOC_SET_STUDENT:
		return (L4S_OP_SET_STUDENT);
	case L4S_IOC_GET_STUDENT:
		return (L4S_OP_GET_STUDENT);
	default:
		return (0);
	}
}

/*
 * Observers may open for reading; requests that change anything require a
 * descriptor open for writing.
 */
static int
cdev_may_request(uint32_t op, int fflag, struct thread *td)
{
	switch (op) {
	case L4S_OP_SET_LIMITS:
	case L4S_OP_LOAD_STUDENT:
	case L4S_OP_SET_STUDENT:
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

/* A student's file is longer than ioctl(2) permits: its address is passed. */
static int
cdev_load_student(struct cdev_client *c, const struct l4s_student_file *f)
{
	void *file = NULL;
	int error = 0;

	if (f->pad != 0 || f->length > L4S_STUDENT_BYTES)
		return (EINVAL);
	if (f->length != 0) {
		file = malloc(f->length, M_L4SLLM, M_WAITOK);
		error = copyin((const void *)(uintptr_t)f->address, file,
		    f->length);
	}
	if (error == 0)
		error = l4s_errno(l4s_handle_request(&c->handle,
		    L4S_OP_LOAD_STUDENT, file, f->length, l4s_now()));
	free(file, M_L4SLLM);
	return (error);
}

static int
cdev_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data, int fflag,
    struct thread *td)
{
	struct l4s_override override;
	struct cdev_client *c;
	uint16_t version[2];
	uint32_t op;
	bool gone;
	int error;

	error = devfs_get_cdevpriv((void **)&c);
	if (error != 0)
		return (error);
	mtx_lock(&c->mtx);
	gone = c->gone;
	mtx_unlock(&c->mtx);
	if (gone)
		return (ENXIO);

	switch (cmd) {
	case FIONBIO:		/* O_NONBLOCK, which read(2) looks at */
		return (0);
	case FIOASYNC:
		return (*(int *)data == 0 ? 0 : EOPNOTSUPP);
	case FIONREAD:
		*(int *)data = (int)MIN(cdev_bytes(c), INT_MAX);
		return (0);
	default:
		break;
	}
	op = cdev_request_op(cmd);
	if (op == 0)
		return (ENOTTY);
	/* The caller's version or version range, before the reply. */
	version[0] = version[1] = 0;
	memcpy(version, data, MIN(sizeof(version), IOCPARM_LEN(cmd)));
	if (op != L4S_OP_VERSION)
		version[1] = version[0];
	error = cdev_may_request(op, fflag, td);
	if (op == L4S_OP_LOAD_STUDENT)
		return (error != 0 ? error : cdev_load_student(c,
		    (const struct l4s_student_file *)(const void *)data));
	if (error == 0)
		error = l4s_errno(l4s_handle_request(&c->handle, op, data,
		    IOCPARM_LEN(cmd), l4s_now()));
	if (op == L4S_OP_OVERRIDE) {
		memcpy(&override, data, sizeof(override));
		SDT_PROBE5(l4sllm, , , override, override.sched,
		    override.instance, override.id, override.mode, error);
	}
	if (error == EPROTO)
		cdev_log_mismatch(td, version);
	return (error);
}

/* Logs both numbers, at most once a second: any process may cause this. */
static void
cdev_log_mismatch(struct thread *td, const uint16_t version[2])
{
	static struct timeval last;
	static int count;

	/* The version is right, so only a length is wrong. */
	if (version[0] <= L4S_ABI_VERSION && version[1] >= L4S_ABI_VERSION_MIN)
		return;
	if (ppsratecheck(&last, &count, 1) == 0)
		return;
	log(LOG_NOTICE, "l4sllm: pid %d (%s) speaks interface %u to %u, the "
	    "module %u to %u\n", td->td_proc->p_pid, td->td_proc->p_comm,
	    version[0], version[1], L4S_ABI_VERSION_MIN, L4S_ABI_VERSION);
}
