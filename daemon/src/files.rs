//! Access to files: by path or, in a sandbox, only beneath directories opened
//! at startup.
//!
//! A sandboxed process on FreeBSD cannot use paths. To have one implementation
//! for all systems, everything opened after startup goes through [`Files`],
//! with or without open directories.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::UnlinkatFlags;
use tokio::net::UnixStream;

/// The use of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Configuration and policies are read.
    Read,
    /// A device is opened, queried and polled.
    Device,
    /// A Unix socket is connected to.
    Connect,
    /// A file is removed.
    Remove,
}

/// A directory that is held open.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) usage: Use,
    /// Absolute path at the time of opening.
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The files that the program may open.
#[derive(Debug)]
pub struct Files {
    /// Base of relative paths.
    start: PathBuf,
    /// `None`: any path.
    held: Option<Vec<Directory>>,
}

impl Files {
    /// Access to every file by path.
    pub fn by_path() -> Files {
        Files {
            // Without a current directory, relative paths stay unchanged.
            start: std::env::current_dir().unwrap_or_default(),
            held: None,
        }
    }

    /// Access only to files beneath the parent directories of these paths.
    ///
    /// # Errors
    /// One of the directories cannot be opened.
    pub fn by_directory(wanted: &[(Use, &Path)]) -> Result<Files, (PathBuf, io::Error)> {
        let mut files = Files::by_path();
        let mut held: Vec<Directory> = Vec::new();
        for (usage, path) in wanted {
            let path = files.start.join(path);
            // The root has no parent; nothing is opened there.
            let path = path.parent().unwrap_or(&path).to_path_buf();
            if held.iter().any(|d| d.usage == *usage && d.path == path) {
                continue;
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let fd = nix::fcntl::open(&path, flags, nix::sys::stat::Mode::empty())
                .map_err(|errno| (path.clone(), errno.into()))?;
            held.push(Directory {
                usage: *usage,
                path,
                fd,
            });
        }
        files.held = Some(held);
        Ok(files)
    }

    /// The held directories; none if any path may be opened.
    pub(crate) fn held(&self) -> &[Directory] {
        self.held.as_deref().unwrap_or_default()
    }

    /// Whether access is confined to the held directories.
    pub(crate) fn is_limited(&self) -> bool {
        self.held.is_some()
    }

    /// Opens a regular file for reading. Never blocks, not even on a FIFO
    /// without a writer.
    ///
    /// # Errors
    /// The system's, [`io::ErrorKind::PermissionDenied`] outside the held
    /// directories, [`io::ErrorKind::InvalidInput`] if it is not a regular
    /// file.
    pub fn read(&self, path: &Path) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.open(Use::Read, path, flags)?);
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            return Ok(file);
        }
        let kind = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a FIFO"
        } else {
            "a device"
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is {kind}; expected a regular file"),
        ))
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// As [`Files::read`], and [`io::ErrorKind::FileTooLarge`] for more than
    /// `most` bytes; at most that much is read.
    pub fn read_text(&self, path: &Path, most: u64) -> io::Result<String> {
        let mut text = String::new();
        // A file may grow while it is read, so its size is not sufficient.
        let got = self.read(path)?.take(most + 1).read_to_string(&mut text)?;
        if got as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {most} bytes"),
            ));
        }
        Ok(text)
    }

    /// Opens a device for requests and non-blocking reads.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub(crate) fn device(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(Use::Device, path, OFlag::O_RDWR | OFlag::O_NONBLOCK)
    }

    fn open(&self, usage: Use, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_CLOEXEC;
        Ok(match self.find(usage, path)? {
            None => nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())?,
            Some((directory, inside)) => open_beneath(directory, &inside, flags)?,
        })
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub(crate) async fn connect(&self, path: &Path) -> io::Result<UnixStream> {
        match self.find(Use::Connect, path)? {
            None => UnixStream::connect(path).await,
            Some((directory, inside)) => connect_at(directory, &inside).await,
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match self.find(Use::Remove, path)? {
            None => std::fs::remove_file(path),
            Some((directory, inside)) => Ok(nix::unistd::unlinkat(
                directory,
                &inside,
                UnlinkatFlags::NoRemoveDir,
            )?),
        }
    }

    /// The innermost held directory that contains `path`, and the rest of the
    /// path; `None` if the path itself can be used.
    fn find(&self, usage: Use, path: &Path) -> io::Result<Option<(&Directory, PathBuf)>> {
        let Some(held) = &self.held else {
            return Ok(None);
        };
        let path = self.start.join(path);
        held.iter()
            .filter(|directory| directory.usage == usage)
            .filter_map(|directory| {
                let inside = path.strip_prefix(&directory.path).ok()?;
                Some((directory, inside.to_path_buf()))
            })
            .min_by_key(|(_, inside)| inside.components().count())
            .map(Some)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "outside the directories that the sandbox allows; restart to open others",
                )
            })
    }
}

/// Opens a file in the directory; links and `..` must not lead outside it.
fn open_beneath(directory: &Directory, inside: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use nix::fcntl::{OpenHow, ResolveFlag, openat2};
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        openat2(directory, inside, how)
    }
    #[cfg(not(target_os = "linux"))]
    {
        // In capability mode the kernel also enforces this.
        #[cfg(target_os = "freebsd")]
        let flags = flags | OFlag::from_bits_retain(nix::libc::O_RESOLVE_BENEATH);
        nix::fcntl::openat(directory, inside, flags, nix::sys::stat::Mode::empty())
    }
}

/// connectat(2) of FreeBSD.
#[cfg(target_os = "freebsd")]
async fn connect_at(directory: &Directory, inside: &Path) -> io::Result<UnixStream> {
    use nix::libc;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrLike, UnixAddr, socket};
    use std::os::fd::AsRawFd;

    unsafe extern "C" {
        fn connectat(
            directory: libc::c_int,
            socket: libc::c_int,
            name: *const libc::sockaddr,
            length: libc::socklen_t,
        ) -> libc::c_int;
    }
    let stream = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let name = UnixAddr::new(inside)?;
    // SAFETY: the address outlives the call, and `len' is its length. Local
    // sockets connect immediately or fail, even non-blocking ones.
    let result = unsafe {
        connectat(
            directory.as_fd().as_raw_fd(),
            stream.as_raw_fd(),
            name.as_ptr().cast(),
            name.len(),
        )
    };
    nix::errno::Errno::result(result)?;
    UnixStream::from_std(stream.into())
}

/// On Linux, a path through /proc refers to files beneath a descriptor.
#[cfg(not(target_os = "freebsd"))]
async fn connect_at(directory: &Directory, inside: &Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let directory = directory.as_fd().as_raw_fd();
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{directory}")).join(inside)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    /// A directory `inside` with a file `here`, and a file `there` outside.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("here"), "here").unwrap();
        std::fs::write(place.path().join("there"), "there").unwrap();
        (place, inside)
    }

    #[test]
    fn open_directories_outlive_their_paths() {
        let (place, inside) = place();
        let here = inside.join("here");
        let files = Files::by_directory(&[(Use::Read, &here), (Use::Remove, &here)]).unwrap();
        std::fs::rename(&inside, place.path().join("moved")).unwrap();
        assert_eq!(text(files.read(&here).unwrap()), "here");
        files.remove(&here).unwrap();
        assert!(!place.path().join("moved/here").exists());
        let gone = files.read(&here).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn paths_cannot_escape_an_open_directory() {
        let (place, inside) = place();
        let files = Files::by_directory(&[(Use::Read, &inside.join("here"))]).unwrap();
        std::os::unix::fs::symlink("here", inside.join("link")).unwrap();
        std::os::unix::fs::symlink("../there", inside.join("out")).unwrap();
        assert_eq!(text(files.read(&inside.join("link")).unwrap()), "here");
        for outside in ["inside/out", "inside/../there", "there"] {
            let path = place.path().join(outside);
            assert!(path.exists());
            files.read(&path).expect_err(outside);
        }
        // A directory opened for reading files cannot be used for anything
        // else.
        files.remove(&inside.join("here")).unwrap_err();
        files.device(&inside.join("here")).unwrap_err();
    }

    #[test]
    fn without_a_sandbox_paths_are_followed() {
        let (place, inside) = place();
        let files = Files::by_path();
        std::os::unix::fs::symlink("../there", inside.join("out")).unwrap();
        assert_eq!(text(files.read(&inside.join("out")).unwrap()), "there");
        files.remove(&place.path().join("there")).unwrap();
    }

    #[test]
    fn reads_only_regular_files_of_bounded_size() {
        let (place, inside) = place();
        let files = Files::by_path();
        let fifo = place.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, what) in [
            (fifo.as_path(), "a FIFO"),
            (&inside, "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = files.read(path).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        let here = inside.join("here");
        assert_eq!(files.read_text(&here, 4).unwrap(), "here");
        let error = files.read_text(&here, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        // A sparse file that would fill the memory.
        let huge = File::create(place.path().join("huge")).unwrap();
        huge.set_len(8 << 30).unwrap();
        let error = files.read_text(&place.path().join("huge"), 1 << 20);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn names_missing_directory() {
        let path = Path::new("/nonexistent/l4sllmd.toml");
        let (named, error) = Files::by_directory(&[(Use::Read, path)]).unwrap_err();
        assert_eq!(named, Path::new("/nonexistent"));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
