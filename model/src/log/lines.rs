//! Lines of files, in little memory.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;

/// Read at a time, and the longest line: kernels print lines of some 200 bytes.
pub(super) const BUFFER: usize = 1 << 20;

/// Bytes without a line's end after which a file is not text.
const ENDLESS: u64 = 1 << 30;

/// A buffer that is filled from a file and emptied by lines.
pub(super) struct Lines {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    skipped: u64, // bytes of a line that is too long
}

/// How far a file was read.
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

    /// Fills the buffer behind what is left in it.
    ///
    /// # Errors
    /// The file's, or a line that does not end.
    pub(super) fn fill(&mut self, file: &mut dyn Read) -> io::Result<Filled> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        if self.skipped > ENDLESS {
            let reason = "no end of a line in 1 GiB: this is not a log";
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        }
        while self.to < self.buffer.len() {
            match file.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Ok(Filled::ToTheEnd),
                Ok(got) => self.to += got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Only decompressors say so.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(Filled::ToACut);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Filled::Buffer)
    }

    /// Hands on the whole lines of the buffer, at the file's end also the last
    /// one.  Of a line that does not fit, what fits comes as [`Line::Long`],
    /// and its end as [`Line::Rest`].
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
            // A line that does not fit: gone, up to its end.
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
    fn a_file_without_lines_is_given_up() {
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
        assert!(error.contains("no end of a line"), "{error}");
    }
}
