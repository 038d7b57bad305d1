//! capsicum(4).

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc;

use super::Opened;
use crate::device::ioctls;
use crate::files::{Files, Use};

/// The event loop's kqueue and the socket pair used to wake it on signals.
const EVENT_LOOP: &[u64] = &[
    libc::CAP_KQUEUE,
    libc::CAP_EVENT,
    libc::CAP_READ,
    libc::CAP_WRITE,
];
/// Rust's std queries the size and position of a file before reading it.
const READ: &[u64] = &[
    libc::CAP_LOOKUP,
    libc::CAP_READ,
    libc::CAP_FSTAT,
    libc::CAP_SEEK,
];
/// Opening for writing without append requires the right to seek.
const DEVICE: &[u64] = &[
    libc::CAP_LOOKUP,
    libc::CAP_READ,
    libc::CAP_WRITE,
    libc::CAP_SEEK,
    libc::CAP_EVENT,
    libc::CAP_IOCTL,
];
const CONNECT: &[u64] = &[libc::CAP_LOOKUP, libc::CAP_CONNECTAT];
const REMOVE: &[u64] = &[libc::CAP_LOOKUP, libc::CAP_UNLINKAT];
const LISTENER: &[u64] = &[
    libc::CAP_ACCEPT,
    libc::CAP_EVENT,
    libc::CAP_READ,
    libc::CAP_WRITE,
    libc::CAP_SHUTDOWN,
    libc::CAP_GETSOCKOPT,
];
/// The files of the flight recorder: written, and emptied when replaced.
const RECORDING: &[u64] = &[
    libc::CAP_WRITE,
    libc::CAP_SEEK,
    libc::CAP_FTRUNCATE,
    libc::CAP_FSTAT,
];
const NOTHING: &[u64] = &[];
/// The log polls before writing a line.
const OUTPUT: &[u64] = &[libc::CAP_WRITE, libc::CAP_FSTAT, libc::CAP_EVENT];

pub(super) fn enter(files: &Files, opened: &Opened) -> io::Result<bool> {
    let mut rights: HashMap<RawFd, &[u64]> = HashMap::from([
        (libc::STDIN_FILENO, NOTHING),
        (libc::STDOUT_FILENO, OUTPUT),
        (libc::STDERR_FILENO, OUTPUT),
    ]);
    for directory in files.held() {
        let usage = match directory.usage {
            Use::Read => READ,
            Use::Device => DEVICE,
            Use::Connect => CONNECT,
            Use::Remove => REMOVE,
        };
        rights.insert(directory.as_fd().as_raw_fd(), usage);
    }
    rights.extend(opened.listeners.iter().map(|fd| (*fd, LISTENER)));
    rights.extend(opened.recording.iter().map(|fd| (*fd, RECORDING)));
    let result = descriptors()?.into_iter().try_for_each(|fd| {
        let rights = rights.get(&fd).copied().unwrap_or(EVENT_LOOP);
        limit(fd, rights)
    });
    // SAFETY: no arguments.
    match result.and_then(|()| Errno::result(unsafe { libc::cap_enter() }).map(|_| ())) {
        Ok(()) => Ok(true),
        Err(Errno::ENOSYS) => Ok(false), // not supported by the kernel
        Err(errno) => Err(errno.into()),
    }
}

/// All open descriptors.
fn descriptors() -> io::Result<Vec<RawFd>> {
    let name = [
        libc::CTL_KERN,
        libc::KERN_PROC,
        libc::KERN_PROC_NFDS,
        0, // this process
    ];
    let mut count: libc::c_int = 0;
    let mut length = size_of_val(&count);
    // SAFETY: the name has four numbers, the kernel writes one int.
    Errno::result(unsafe {
        libc::sysctl(
            name.as_ptr(),
            name.len() as libc::c_uint,
            (&raw mut count).cast(),
            &mut length,
            std::ptr::null(),
            0,
        )
    })?;
    // SAFETY: queries a descriptor number, open or not.
    let open = |fd: &RawFd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1;
    // SAFETY: no arguments.
    let most = unsafe { libc::getdtablesize() };
    let count = usize::try_from(count).unwrap_or(0);
    Ok((0..most).filter(open).take(count).collect())
}

/// Limits a descriptor to these rights, and to the device's ioctls.
fn limit(fd: RawFd, rights: &[u64]) -> nix::Result<()> {
    let mut set = MaybeUninit::<libc::cap_rights_t>::uninit();
    // SAFETY: initialises the set; the list of rights, empty, ends with a 0.
    let mut set = unsafe {
        libc::__cap_rights_init(libc::CAP_RIGHTS_VERSION, set.as_mut_ptr(), 0u64);
        set.assume_init()
    };
    for right in rights {
        // SAFETY: the set is initialised; the list ends with a 0.
        unsafe { libc::__cap_rights_set(&mut set, *right, 0u64) };
    }
    // SAFETY: the set is initialised.
    match Errno::result(unsafe { libc::cap_rights_limit(fd, &set) }) {
        Ok(_) => {}
        // The parent process has limited it further.
        Err(Errno::ENOTCAPABLE) => {}
        Err(errno) => return Err(errno),
    }
    if rights.contains(&libc::CAP_IOCTL) {
        let list = ioctls();
        // SAFETY: the list has the given length.
        Errno::result(unsafe { libc::cap_ioctls_limit(fd, list.as_ptr(), list.len()) })?;
    }
    Ok(())
}
