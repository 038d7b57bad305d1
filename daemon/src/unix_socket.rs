//! A listening Unix socket with a file mode, removed at the end.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use tokio::net::{UnixListener, UnixStream};

use crate::files::Files;

/// The file of a listening socket; removed on drop.
pub(crate) struct UnixSocket {
    path: PathBuf,
    /// In a sandbox, its directory is accessed without a path.
    files: Arc<Files>,
    fd: RawFd,
}

impl UnixSocket {
    /// Starts listening. A stale socket is replaced; any other file, including
    /// a symbolic link, is an error.
    pub(crate) async fn open(
        path: &Path,
        mode: u32,
        files: Arc<Files>,
    ) -> io::Result<(UnixSocket, UnixListener)> {
        remove_abandoned(path).await?;
        let listener = UnixListener::bind(path)?;
        // Do not follow a link created in the meantime.
        let mode = Mode::from_bits_truncate(mode as nix::libc::mode_t);
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)?;
        let socket = UnixSocket {
            path: path.to_owned(),
            files,
            fd: listener.as_raw_fd(),
        };
        Ok((socket, listener))
    }
}

impl AsRawFd for UnixSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = self.files.remove(&self.path);
    }
}

/// Removes a socket without a listener.
async fn remove_abandoned(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket exists; remove it or choose another path",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also if its queue is full, or this user may not connect.
        Ok(_) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon is listening there",
        )),
    }
}
