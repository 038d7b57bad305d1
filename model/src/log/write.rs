//! Writes entries as lines.

use std::io::{self, Write};

use super::entry::Entry;

/// Writes entries in the format of the authors' kernel, without a prefix.
pub struct LogWriter<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> LogWriter<W> {
    /// Creates a writer to `out`, which should be buffered.
    pub fn new(out: W) -> LogWriter<W> {
        LogWriter {
            out,
            line: Vec::new(),
        }
    }

    /// One line.
    ///
    /// # Errors
    /// The output cannot be written.
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

    /// Flushes, and returns the output.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
