//! Network namespaces.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Directory of the namespaces of `ip netns`.
const NAMED: &str = "/run/netns";

/// A network namespace: a name known to `ip netns`, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// By its name.
    Named(String),
    /// By its file, such as `/proc/PID/ns/net`.
    File(PathBuf),
}

impl Namespace {
    /// Its file.
    pub fn path(&self) -> PathBuf {
        match self {
            Namespace::Named(name) => Path::new(NAMED).join(name),
            Namespace::File(path) => path.clone(),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// The namespace does not exist, or the caller lacks permission.
    pub fn open(&self) -> io::Result<Net> {
        File::open(self.path()).map(Net)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Namespace::Named(name) => f.write_str(name),
            Namespace::File(path) => path.display().fmt(f),
        }
    }
}

/// An open network namespace. The kernel deletes one made by [`Net::new`] with
/// the last of its handles and sockets.
#[derive(Debug)]
pub struct Net(File);

impl Net {
    /// Creates a namespace in which loopback, down, is the only interface.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn new() -> io::Result<Net> {
        let make = || {
            // SAFETY: only this thread, which ends here, changes its network
            // namespace; memory and descriptors stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        };
        in_thread(make).map(Net)
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn try_clone(&self) -> io::Result<Net> {
        self.0.try_clone().map(Net)
    }

    /// Its name for other processes, valid while this process runs.
    pub fn name(&self) -> Namespace {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd());
        Namespace::File(path.into())
    }

    /// Runs `work` in a thread in this namespace; the rest of the program keeps its
    /// namespace.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })
    }
}

impl AsFd for Net {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
