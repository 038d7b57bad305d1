//! Entries from files.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr, memmem};

use super::entry::{Entry, Fault, Scan};
use super::stamp::Clock;
use super::unpack;

/// Read at a time, and the longest line: kernels print lines of some 200 bytes.
const BUFFER: usize = 1 << 20;

/// Faults that are kept with their text.
const SHOWN: usize = 5;

/// An entry and when it was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The numbers.
    pub entry: Entry,
    /// ns since the first line with a time; `None` if the line has none.
    pub time_ns: Option<u64>,
}

/// What was found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Whole entries.
    pub entries: u64,
    /// Lines of something else.
    pub other_lines: u64,
    /// Repetitions that syslogd(8) left out ("last message repeated"); they
    /// are not restored.
    pub repeats: u64,
    /// Faults by [`Fault::reason`].
    pub faults: [u64; Fault::REASONS.len()],
    /// The first few of them.
    pub shown: Vec<Shown>,
}

impl Tally {
    /// Faults of every kind.
    pub fn bad(&self) -> u64 {
        self.faults.iter().sum()
    }
}

/// A fault and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, of the unpacked file.
    pub line: u64,
    /// What is wrong.
    pub fault: Fault,
    /// The line's beginning and end, printable.
    pub text: String,
}

/// Why a log could not be read on.
#[derive(Debug, thiserror::Error)]
#[error("cannot read log {path}: {source}", path = path.display())]
pub struct LogError {
    /// The file; `-` is the standard input.
    pub path: PathBuf,
    /// The system's or the decompressor's reason.
    pub source: io::Error,
}

/// Reads entries from files in the order given (see
/// [`super::oldest_first`]).  A line that a rotation cut is a fault in both.
pub struct LogReader {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<(PathBuf, Box<dyn Read + Send>)>,
    line: u64,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    skipping: bool,
    scan: Scan,
    repeated: memmem::Finder<'static>,
    clock: Clock,
    tally: Tally,
    raw: Arc<AtomicU64>,
}

impl LogReader {
    /// Nothing is opened before [`LogReader::read`].
    pub fn new(files: Vec<PathBuf>) -> LogReader {
        LogReader {
            files: files.into_iter(),
            current: None,
            line: 0,
            buffer: vec![0; BUFFER],
            from: 0,
            to: 0,
            skipping: false,
            scan: Scan::default(),
            repeated: memmem::Finder::new("last message repeated "),
            clock: Clock::default(),
            tally: Tally::default(),
            raw: Arc::default(),
        }
    }

    /// Appends entries to `out`: those of about a megabyte of text.  False
    /// when the last file has ended.
    pub fn read(&mut self, out: &mut Vec<Logged>) -> Result<bool, LogError> {
        if self.current.is_none() {
            let Some(path) = self.files.next() else {
                return Ok(false);
            };
            let file = unpack::open(&path, Arc::clone(&self.raw));
            let file = file.map_err(|source| LogError {
                path: path.clone(),
                source,
            })?;
            self.current = Some((path, file));
            self.line = 0;
        }
        let Some((path, mut file)) = self.current.take() else {
            return Ok(false);
        };
        let filled = self.fill(&path, &mut file)?;
        self.take_lines(&path, filled != Filled::Buffer, out);
        match filled {
            Filled::Buffer => self.current = Some((path, file)),
            Filled::ToTheEnd => {}
            Filled::ToACut => self.fault(&path, self.line, Fault::Cut, b""),
        }
        Ok(true)
    }

    /// What was found so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Bytes read from the files, packed as they are.
    pub fn raw_bytes(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    /// Fills the buffer behind what is left in it.
    fn fill(&mut self, path: &Path, file: &mut Box<dyn Read + Send>) -> Result<Filled, LogError> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        while self.to < self.buffer.len() {
            match file.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Ok(Filled::ToTheEnd),
                Ok(got) => self.to += got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Only decompressors say so.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(Filled::ToACut);
                }
                Err(source) => {
                    return Err(LogError {
                        path: path.to_owned(),
                        source,
                    });
                }
            }
        }
        Ok(Filled::Buffer)
    }

    /// Takes the whole lines of the buffer; at the end also the last one.
    fn take_lines(&mut self, path: &Path, ended: bool, out: &mut Vec<Logged>) {
        // Lent out, so that the tally can be written to meanwhile.
        let buffer = std::mem::take(&mut self.buffer);
        loop {
            let rest = &buffer[self.from..self.to];
            let (line, next) = match memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                None if ended && !rest.is_empty() => (rest, rest.len()),
                None => break,
            };
            self.from += next;
            self.line += 1;
            self.tally.lines += 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            self.take_line(path, line, out);
        }
        if ended {
            (self.from, self.to, self.skipping) = (0, 0, false);
        } else if self.from == 0 && self.to == buffer.len() {
            // A line that does not fit: gone, up to its end.
            if !self.skipping {
                self.fault(path, self.line + 1, Fault::Long, &buffer);
            }
            self.skipping = true;
            self.to = 0;
        }
        self.buffer = buffer;
    }

    fn take_line(&mut self, path: &Path, line: &[u8], out: &mut Vec<Logged>) {
        let before = out.len();
        let mut faults = Vec::new(); // of no capacity until there is one
        let ours = self.scan.line(line, |found| match found {
            Ok(entry) => out.push(Logged {
                entry,
                time_ns: None,
            }),
            Err(fault) => faults.push(fault),
        });
        if out.len() > before {
            let time_ns = self.clock.at(line);
            out[before..].iter_mut().for_each(|e| e.time_ns = time_ns);
            self.tally.entries += (out.len() - before) as u64;
        }
        for fault in faults {
            self.fault(path, self.line, fault, line);
        }
        if !ours {
            self.tally.other_lines += 1;
            self.tally.repeats += self.repeats(line);
        }
    }

    fn repeats(&self, line: &[u8]) -> u64 {
        let Some(at) = self.repeated.find(line) else {
            return 0;
        };
        let count = &line[at + self.repeated.needle().len()..];
        let digits = count.iter().take_while(|b| b.is_ascii_digit()).count();
        let text = std::str::from_utf8(&count[..digits]).unwrap_or_default();
        text.parse().unwrap_or(0)
    }

    fn fault(&mut self, path: &Path, line: u64, fault: Fault, text: &[u8]) {
        self.tally.faults[fault.reason()] += 1;
        if self.tally.shown.len() < SHOWN {
            self.tally.shown.push(Shown {
                path: path.to_owned(),
                line,
                fault,
                text: printable(text),
            });
        }
    }
}

/// How far a file was read.
#[derive(PartialEq)]
enum Filled {
    Buffer,
    ToTheEnd,
    ToACut,
}

/// The beginning and the end of a line, without control characters.
fn printable(text: &[u8]) -> String {
    const ENDS: usize = 80;
    let show = |text: &[u8]| -> String {
        let text = String::from_utf8_lossy(text);
        text.chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect()
    };
    let text = text.trim_ascii();
    if text.len() <= 2 * ENDS {
        return show(text);
    }
    format!(
        "{} ... {}",
        show(&text[..ENDS]),
        show(&text[text.len() - ENDS..])
    )
}
