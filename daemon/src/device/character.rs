//! The kernel's character device: read(2), ioctl(2), kqueue.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use l4sllm_abi::raw::L4S_IOC_GROUP;
use l4sllm_abi::{Op, Refusal};
use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::{Failure, refusal};

pub(super) struct CharacterDevice {
    fd: AsyncFd<OwnedFd>,
}

impl CharacterDevice {
    pub(super) fn open(path: &Path) -> io::Result<CharacterDevice> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        // Readable only: the device has no notion of being writable.
        // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for
        // as long as it lives.
        let fd =
            unsafe { AsyncFd::register_with_interest(OwnedFd::from(file), Interest::READABLE) };
        Ok(CharacterDevice { fd: fd? })
    }

    /// One read of what waits. The device yields whole records, or `EAGAIN`
    /// when there is none.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        loop {
            let mut guard = self.fd.readable().await?;
            into.resize(most, 0);
            let read = guard.try_io(|fd| {
                loop {
                    match nix::unistd::read(fd, into) {
                        Err(Errno::EINTR) => {}
                        other => return other.map_err(io::Error::from),
                    }
                }
            });
            match read {
                Ok(Ok(0)) => return Err(Failure::Closed),
                Ok(Ok(got)) => {
                    // A short read has taken all there was, so readiness must
                    // come from the device again, by its interval's rule.
                    if got < most {
                        guard.clear_ready();
                    }
                    into.truncate(got);
                    return Ok(());
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_would_block) => {}
            }
        }
    }

    pub(super) fn request(&self, op: Op, argument: &mut [u8]) -> Result<(), Failure> {
        let Some(number) = number(op, argument.len()) else {
            return Err(Failure::Refused(Refusal::Unsupported));
        };
        loop {
            // SAFETY: the kernel reads and writes as many bytes as the number
            // says, which is the slice's length; any bytes are a value of it.
            let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), number, argument.as_mut_ptr()) };
            match Errno::result(result) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(
                        refusal(errno).map_or_else(|| Failure::Io(errno.into()), Failure::Refused)
                    );
                }
            }
        }
    }
}

/// The host's number of a request: the header's `L4S_IOC_x`.
fn number(op: Op, size: usize) -> Option<nix::sys::ioctl::ioctl_num_type> {
    let nr = op.code();
    Some(match op {
        Op::Version | Op::Stats => nix::request_code_readwrite!(L4S_IOC_GROUP, nr, size),
        Op::Control => nix::request_code_none!(L4S_IOC_GROUP, nr),
        Op::Interval | Op::Override | Op::SetParams | Op::SetLimits => {
            nix::request_code_write!(L4S_IOC_GROUP, nr, size)
        }
        Op::GetParams | Op::GetLimits => nix::request_code_read!(L4S_IOC_GROUP, nr, size),
        Op::Read => return None,
    })
}
