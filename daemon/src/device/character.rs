//! The kernel's character device: read(2), ioctl(2), kqueue.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use l4sllm_abi::bytes::as_bytes_mut;
use l4sllm_abi::raw::{self, L4S_IOC_GROUP};
use l4sllm_abi::{Op, Refusal, SUMMARY_SIZE};
use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::{Failure, refusal};
use crate::files::Files;

pub(super) struct CharacterDevice {
    fd: AsyncFd<OwnedFd>,
}

impl CharacterDevice {
    pub(super) fn open(files: &Files, path: &Path) -> io::Result<CharacterDevice> {
        let fd = files.device(path)?;
        // Readable only: the device has no writable state. SAFETY: an `OwnedFd`
        // keeps the same descriptor open during its lifetime.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(CharacterDevice { fd: fd? })
    }

    /// Reads the available messages once. The device returns whole records, or
    /// `EAGAIN` if none is available.
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
                    // A read that was at least one message short has consumed
                    // everything, so readiness must come from the device again,
                    // according to its interval.
                    if got + SUMMARY_SIZE <= most {
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
        // A student's file is longer than ioctl(2) permits: its address is passed.
        let mut file = raw::l4s_student_file {
            address: argument.as_ptr() as u64,
            length: argument.len() as u32,
            pad: 0,
        };
        let argument = match op {
            Op::LoadStudent => as_bytes_mut(&mut file),
            _ => argument,
        };
        let Some(number) = number(op, argument.len()) else {
            return Err(Failure::Refused(Refusal::Unsupported));
        };
        loop {
            // SAFETY: the kernel reads and writes the number of bytes encoded
            // in the request, which is the slice's length; any bytes are valid.
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

/// The host's request number: the header's `L4S_IOC_x`.
fn number(op: Op, size: usize) -> Option<nix::sys::ioctl::ioctl_num_type> {
    let nr = op.code();
    Some(match op {
        Op::Version | Op::Stats | Op::Queues => {
            nix::request_code_readwrite!(L4S_IOC_GROUP, nr, size)
        }
        Op::Control => nix::request_code_none!(L4S_IOC_GROUP, nr),
        Op::Interval
        | Op::Override
        | Op::SetParams
        | Op::SetLimits
        | Op::LoadStudent
        | Op::SetStudent => nix::request_code_write!(L4S_IOC_GROUP, nr, size),
        Op::GetParams | Op::GetLimits | Op::GetStudent => {
            nix::request_code_read!(L4S_IOC_GROUP, nr, size)
        }
        Op::Read => return None,
    })
}

/// The numbers of the daemon's requests, which the sandbox allows. The student is
/// the operator's.
#[cfg_attr(not(target_os = "freebsd"), allow(dead_code))]
pub(crate) fn ioctls() -> Vec<nix::sys::ioctl::ioctl_num_type> {
    [
        (Op::Version, size_of::<raw::l4s_version>()),
        (Op::Control, 0),
        (Op::Interval, size_of::<raw::l4s_interval>()),
        (Op::Override, size_of::<raw::l4s_override>()),
        (Op::Stats, size_of::<raw::l4s_stats>()),
        (Op::Queues, size_of::<raw::l4s_queues>()),
        (Op::GetParams, size_of::<raw::l4s_params>()),
        (Op::SetParams, size_of::<raw::l4s_params>()),
        (Op::GetLimits, size_of::<raw::l4s_limits>()),
        (Op::SetLimits, size_of::<raw::l4s_limits>()),
        (Op::GetStudent, size_of::<raw::l4s_student_status>()),
    ]
    .into_iter()
    .filter_map(|(op, size)| number(op, size))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::time::Duration;

    use l4sllm_abi::MESSAGE_SIZE;
    use nix::sys::stat::Mode;

    use super::*;

    /// A FIFO can be read and polled like the device, but supports no requests.
    fn fifo() -> (tempfile::TempDir, CharacterDevice, std::fs::File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l4sllm");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let device = CharacterDevice::open(&Files::by_path(), &path).unwrap();
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        (dir, device, writer)
    }

    fn in_runtime(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test);
    }

    async fn read(device: &mut CharacterDevice, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), device.read(&mut bytes, most));
        assert!(read.await.expect("something to read").is_ok());
        bytes
    }

    #[test]
    fn reads_return_available_bytes_and_wait_for_more() {
        in_runtime(async {
            let (_dir, mut device, mut writer) = fifo();
            writer.write_all(&[1; 3 * MESSAGE_SIZE]).unwrap();
            assert_eq!(
                read(&mut device, 2 * MESSAGE_SIZE).await.len(),
                2 * MESSAGE_SIZE
            );
            assert_eq!(
                read(&mut device, 2 * MESSAGE_SIZE).await.len(),
                MESSAGE_SIZE
            );
            let later = std::thread::spawn(move || writer.write_all(&[2; MESSAGE_SIZE]).unwrap());
            assert_eq!(read(&mut device, 2 * MESSAGE_SIZE).await, [2; MESSAGE_SIZE]);
            later.join().unwrap();
        });
    }

    #[test]
    fn cancelled_read_loses_no_data() {
        in_runtime(async {
            let (_dir, mut device, mut writer) = fifo();
            let mut bytes = Vec::new();
            tokio::select! {
                biased;
                _ = device.read(&mut bytes, MESSAGE_SIZE) => panic!("nothing was written"),
                () = tokio::task::yield_now() => {}
            }
            writer.write_all(&[3; MESSAGE_SIZE]).unwrap();
            assert_eq!(read(&mut device, MESSAGE_SIZE).await, [3; MESSAGE_SIZE]);
        });
    }

    #[test]
    fn device_without_ioctl_is_reported() {
        in_runtime(async {
            let (_dir, device, _writer) = fifo();
            let answer = device.request(Op::Control, &mut []);
            assert!(matches!(
                answer,
                Err(Failure::Refused(Refusal::Unsupported))
            ));
        });
    }

    #[test]
    fn every_request_of_the_daemon_is_listed() {
        let list = ioctls();
        // Reading uses read(2).
        let others = [Op::Read, Op::LoadStudent, Op::SetStudent];
        assert_eq!(list.len(), Op::ALL.len() - others.len());
        for op in [Op::Interval, Op::SetLimits] {
            let size = if op == Op::Interval { 32 } else { 64 };
            assert!(list.contains(&number(op, size).unwrap()), "{op:?}");
        }
    }

    /// The header's numbers, computed by hand from FreeBSD's sys/ioccom.h:
    /// direction, 13 bits of length, group, number.
    #[cfg(target_os = "freebsd")]
    #[test]
    fn ioctl_numbers_match_the_header() {
        let version = size_of::<l4sllm_abi::raw::l4s_version>() as u64;
        assert_eq!(
            number(Op::Version, 40),
            Some(0xc000_0000 | version << 16 | 0x7101)
        );
        assert_eq!(number(Op::Control, 0), Some(0x2000_7102));
        assert_eq!(number(Op::Override, 72), Some(0x8048_7104));
        assert_eq!(number(Op::GetLimits, 64), Some(0x4040_7108));
    }
}
