//! Reads recordings.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use l4sllm_model::text::shown;

use super::codec::{self, HEADER, HeaderError};
use super::frame::Frame;
use super::ring::{SEGMENTS, file};
use crate::os_error::explain;

/// Maximum size of a segment that is read, bytes.
const MAX_SEGMENT: u64 = 16 << 30;

/// A recording that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{}: cannot read: {}", shown(path), explain(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not a segment of this version.
    #[error("{}: {source}", shown(path))]
    Header {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: HeaderError,
    },
    /// A directory without segments.
    #[error(
        "{}: no flight recording: expected flight-0.l4sllm and others",
        shown(path)
    )]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

/// A segment, whose frames are read later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number; later ones are higher.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
}

/// The segments of a directory, or of one file, oldest first.
///
/// # Errors
/// There are no segments, a file cannot be read, or it has another version.
/// Files of a directory without a complete header are skipped: they were
/// being replaced.
pub fn segments(path: &Path) -> Result<Vec<Segment>, ReadError> {
    if !path.is_dir() {
        let number = number_of(path)?.map_err(|source| ReadError::Header {
            path: path.to_owned(),
            source,
        })?;
        let path = path.to_owned();
        return Ok(vec![Segment { number, path }]);
    }
    let mut found = Vec::new();
    for slot in 0..SEGMENTS {
        let path = file(path, slot);
        if !path.exists() {
            continue;
        }
        match number_of(&path)? {
            Ok(number) => found.push(Segment { number, path }),
            Err(HeaderError::Foreign) => {}
            Err(source) => return Err(ReadError::Header { path, source }),
        }
    }
    if found.is_empty() {
        return Err(ReadError::Empty {
            path: path.to_owned(),
        });
    }
    found.sort_by_key(|segment| segment.number);
    Ok(found)
}

impl Segment {
    /// Reads its frames, and the number of bytes after the last whole one.
    ///
    /// # Errors
    /// The file cannot be read, or is no longer this segment.
    pub fn read(&self) -> Result<(Vec<Frame>, usize), ReadError> {
        let mut bytes = Vec::new();
        open(&self.path)
            .and_then(|file| file.take(MAX_SEGMENT).read_to_end(&mut bytes))
            .map_err(|source| self.io(source))?;
        if codec::segment_number(&bytes) != Ok(self.number) {
            return Err(self.io(io::Error::other("the segment was replaced meanwhile")));
        }
        let mut frames = codec::frames(&bytes);
        let whole = frames.by_ref().collect();
        Ok((whole, frames.torn()))
    }

    fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

fn number_of(path: &Path) -> Result<Result<u64, HeaderError>, ReadError> {
    let mut head = Vec::new();
    open(path)
        .and_then(|file| file.take(HEADER as u64).read_to_end(&mut head))
        .map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
    Ok(codec::segment_number(&head))
}

fn open(path: &Path) -> io::Result<File> {
    crate::files::Files::by_path().read(path)
}
