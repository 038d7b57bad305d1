//! Lines of files, in little memory.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;

/// Read size and maximum line length, bytes: kernels print lines of about 200
/// bytes.
pub(super) const BUFFER: usize = 1 << 20;

/// Bytes without a line ending after which a file is not considered text.
const ENDLESS: u64 = 1 << 30;

/// A buffer that is filled from a file and emptied by lines.
pub(super) struct Lines {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    skipped: u64, // bytes of a line that is too long
}

/// Read position of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Filled {
    Buffer,
    ToTheEnd,
    ToACut,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines {
            buffer: vec![0; BUFFER],
            from: 0,
            to: 0,
            skipped: 0,
        }
    }

    /// Fills the buffer after the remaining data.
    ///
    /// # Errors
    /// The file's, or a line that does not end.
    pub(super) fn fill(&mut self, file: &mut dyn Read) -> io::Result<Filled> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        if self.skipped > ENDLESS {
            let reason = "no line ending in 1 GiB: not a log";
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        }
        while self.to < self.buffer.len() {
            match file.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Ok(Filled::ToTheEnd),
                Ok(got) => self.to += got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Only decompressors return this error.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(Filled::ToACut);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Filled::Buffer)
    }

    /// Calls back with the complete lines of the buffer and, at the end of the
    /// file, the last one. A line that does not fit is passed as
    /// [`Line::Long`], followed by its end as [`Line::Rest`].
    pub(super) fn take(&mut self, filled: Filled, mut line: impl FnMut(Line<'_>)) {
        let ended = filled != Filled::Buffer;
        loop {
            let rest = &self.buffer[self.from..self.to];
            let (text, next) = match memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                None if ended && !rest.is_empty() => (rest, rest.len()),
                None => break,
            };
            self.from += next;
            match std::mem::take(&mut self.skipped) {
                0 => line(Line::Whole(text)),
                _ => line(Line::Rest),
            }
        }
        if ended {
            (self.from, self.to, self.skipped) = (0, 0, 0);
        } else if self.from == 0 && self.to == self.buffer.len() {
            // A line that does not fit: skipped up to its end.
            if self.skipped == 0 {
                line(Line::Long(&self.buffer));
            }
            self.skipped += self.to as u64;
            self.to = 0;
        }
    }
}

/// A line, or a part of one.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    Long(&'a [u8]),
    Rest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_line_ends_is_rejected() {
        let mut lines = Lines::new();
        let mut endless = io::repeat(0);
        let mut long = 0;
        let error = loop {
            match lines.fill(&mut endless) {
                Ok(filled) => lines.take(filled, |line| {
                    assert!(matches!(line, Line::Long(_)));
                    long += 1;
                }),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(long, 1);
        assert!(error.contains("no line ending"), "{error}");
    }
}
