//! Entries to lines.

use std::io::{self, Write};

use super::entry::Entry;

/// Writes entries as the authors' kernel prints them, without a prefix.
pub struct LogWriter<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> LogWriter<W> {
    /// Onto `out`, which should be buffered.
    pub fn new(out: W) -> LogWriter<W> {
        LogWriter {
            out,
            line: Vec::new(),
        }
    }

    /// One line.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.line.clear();
        // The authors' scripts look for this word and cut at the hyphen.
        self.line.extend(b"l4s_ecn_marking-start,");
        for field in entry.fields() {
            write!(self.line, "{field},")?;
        }
        self.line.extend(b"end \n");
        self.out.write_all(&self.line)
    }

    /// Flushes, and returns what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
