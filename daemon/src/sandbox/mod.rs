//! Sandboxes the daemon after startup, once everything is open: capsicum(4) on
//! FreeBSD.
//!
//! | descriptor | remaining rights |
//! |---|---|
//! | directories of configuration and policy | open files beneath, to read |
//! | directory of the device | open the device again, read, wait, the header's ioctls |
//! | directory of the status socket | remove the socket |
//! | status socket | accept, and what its connections inherit: read, write, wait |
//! | standard input | none |
//! | standard output and error | write, poll for writing |
//! | the event loop's descriptors | read, write, wait, kevent |
//!
//! The device itself is opened afterwards, with its directory's rights.

#[cfg(target_os = "freebsd")]
mod capsicum;

use std::io;
use std::os::fd::RawFd;

use crate::files::Files;

/// Limits every descriptor of the process and enters capability mode; false if the
/// kernel does not support it. `listener` is the status socket, if any.
#[cfg(target_os = "freebsd")]
pub(crate) fn enter(files: &Files, listener: Option<RawFd>) -> io::Result<bool> {
    capsicum::enter(files, listener)
}

/// Not supported on this system.
#[cfg(not(target_os = "freebsd"))]
pub(crate) fn enter(_files: &Files, _listener: Option<RawFd>) -> io::Result<bool> {
    Ok(false)
}
