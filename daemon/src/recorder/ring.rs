//! The files of a recording: a ring of segments.
//!
//! All files are opened before the sandbox is entered, and no other file is ever
//! opened. A new segment replaces the oldest; segments of an earlier process stay
//! until then, so a restart does not erase what led to it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

use super::codec::{self, HEADER};

/// Number of segments: one is written and seven are whole.
pub const SEGMENTS: usize = 8;

/// The file of a slot of the ring.
pub fn file(directory: &Path, slot: usize) -> PathBuf {
    directory.join(format!("flight-{slot}.l4sllm"))
}

/// The files, and the segment that is being written.
#[derive(Debug)]
pub struct Ring {
    slots: Vec<Slot>,
    /// Index of the current segment's slot.
    current: usize,
    /// Number of the next segment.
    next: u64,
    /// Bytes of the whole frames in the current segment, with its header.
    length: u64,
}

#[derive(Debug)]
struct Slot {
    /// Locked, so that two daemons do not share a ring.
    file: Flock<File>,
    /// Number of its segment; 0: none.
    number: u64,
}

impl Ring {
    /// Opens or creates the files of a ring.
    ///
    /// # Errors
    /// The system's, with the file; [`io::ErrorKind::WouldBlock`] if another
    /// process records there.
    pub fn open(directory: &Path) -> Result<Ring, (PathBuf, io::Error)> {
        let mut slots = Vec::new();
        for slot in 0..SEGMENTS {
            let path = file(directory, slot);
            slots.push(open_slot(&path).map_err(|error| (path, error))?);
        }
        let newest = slots.iter().map(|slot| slot.number).max().unwrap_or(0);
        Ok(Ring {
            slots,
            current: 0,
            next: newest + 1,
            length: 0,
        })
    }

    /// Descriptors of the files.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.slots
            .iter()
            .map(|slot| slot.file.as_raw_fd())
            .collect()
    }

    /// Starts the next segment in the oldest one's file.
    ///
    /// # Errors
    /// The system's.
    pub fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.slots.iter().enumerate();
        let oldest = oldest.min_by_key(|(_, slot)| slot.number);
        self.current = oldest.map_or(0, |(index, _)| index);
        self.length = 0;
        let number = self.next;
        let slot = &mut self.slots[self.current];
        // Not a segment from here until its header is written.
        slot.file.set_len(0)?;
        slot.file.seek(SeekFrom::Start(0))?;
        slot.file.write_all(&codec::header(number))?;
        slot.number = number;
        self.next += 1;
        self.length = HEADER as u64;
        Ok(())
    }

    /// Appends an encoded frame to the current segment. After an error the
    /// segment ends with its last whole frame.
    ///
    /// # Errors
    /// The system's, as on a full disk.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let file = &mut self.slots[self.current].file;
        if let Err(error) = file.write_all(frame) {
            // Readers detect a torn frame in any case.
            let _ = file.set_len(self.length);
            let _ = file.seek(SeekFrom::Start(self.length));
            return Err(error);
        }
        self.length += frame.len() as u64;
        Ok(())
    }
}

fn open_slot(path: &Path) -> io::Result<Slot> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::from(nix::fcntl::open(
        path,
        flags,
        Mode::from_bits_truncate(0o640),
    )?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| io::Error::from(errno))?;
    let mut head = [0; HEADER];
    let number = match file.read_exact(&mut head) {
        Ok(()) => codec::segment_number(&head).unwrap_or(0),
        Err(_) => 0,
    };
    Ok(Slot { file, number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::frame::Frame;

    fn numbers(directory: &Path) -> Vec<u64> {
        let number = |slot| {
            let bytes = std::fs::read(file(directory, slot)).unwrap();
            codec::segment_number(&bytes).unwrap_or(0)
        };
        (0..SEGMENTS).map(number).collect()
    }

    #[test]
    fn the_oldest_segment_is_replaced_also_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(place.path()).unwrap();
        for _ in 0..10 {
            ring.rotate().unwrap();
        }
        assert_eq!(numbers(place.path()), [9, 10, 3, 4, 5, 6, 7, 8]);
        drop(ring);
        let mut ring = Ring::open(place.path()).unwrap();
        ring.rotate().unwrap();
        assert_eq!(numbers(place.path()), [9, 10, 11, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn two_daemons_cannot_share_a_ring() {
        let place = tempfile::tempdir().unwrap();
        let _first = Ring::open(place.path()).unwrap();
        let (path, error) = Ring::open(place.path()).unwrap_err();
        assert_eq!(path, file(place.path(), 0));
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("other"), "kept").unwrap();
        std::os::unix::fs::symlink("other", file(place.path(), 3)).unwrap();
        Ring::open(place.path()).unwrap_err();
        let other = std::fs::read(place.path().join("other")).unwrap();
        assert_eq!(other, b"kept");
    }

    #[test]
    fn frames_are_read_back_in_order() {
        let place = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(place.path()).unwrap();
        ring.rotate().unwrap();
        let mut bytes = Vec::new();
        for torn in 0..5 {
            assert!(codec::encode(&Frame::Torn(torn), &mut bytes));
            ring.append(&bytes).unwrap();
        }
        let segment = std::fs::read(file(place.path(), 0)).unwrap();
        let frames: Vec<_> = codec::frames(&segment).collect();
        assert_eq!(frames, (0..5).map(Frame::Torn).collect::<Vec<_>>());
    }
}
