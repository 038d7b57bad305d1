//! Sandboxes the daemon after startup, once everything is open: capsicum(4) on
//! FreeBSD.
//!
//! | descriptor | remaining rights |
//! |---|---|
//! | directories of configuration and policy | open files beneath, to read |
//! | directory of the device | open the device again, read, wait, the header's ioctls |
//! | directory of the status socket | remove the socket |
//! | status socket, metrics endpoint | accept, and what their connections inherit: read, write, wait |
//! | files of the flight recorder | write, seek, empty |
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

/// Descriptors opened before the sandbox is entered.
#[derive(Debug, Default)]
#[cfg_attr(
    not(target_os = "freebsd"),
    allow(dead_code, reason = "only limited there")
)]
pub(crate) struct Opened {
    /// Status socket and metrics endpoint.
    pub(crate) listeners: Vec<RawFd>,
    /// Files of the flight recorder.
    pub(crate) recording: Vec<RawFd>,
}

/// Limits every descriptor of the process and enters capability mode; false if the
/// kernel does not support it.
#[cfg(target_os = "freebsd")]
pub(crate) fn enter(files: &Files, opened: &Opened) -> io::Result<bool> {
    capsicum::enter(files, opened)
}

/// Not supported on this system.
#[cfg(not(target_os = "freebsd"))]
pub(crate) fn enter(_files: &Files, _opened: &Opened) -> io::Result<bool> {
    Ok(false)
}
