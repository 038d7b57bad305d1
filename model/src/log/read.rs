//! Entries from files.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem::Finder;

use super::clock::{Clock, ClockOptions, NoSuchDay};
use super::entry::{Entry, Fault, Scan};
use super::lines::{Filled, Line, Lines};
use super::order::LogFile;
use super::rotation::Name;
use super::tally::{Place, Tally};
use super::{host, stamp, unpack};
use crate::text::shown;

/// Maximum number of hosts in one set of files; more are a sign of damage.
const HOSTS: usize = 256;

/// An entry with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The numbers.
    pub entry: Entry,
    /// ns since the first line of its run with a time; `None` if the line has
    /// none.
    pub time_ns: Option<u64>,
    /// Its relation to the previous entry.
    pub run: Run,
    /// The machine: an index into [`Tally::hosts`], if named.
    pub host: usize,
}

/// Relation of an entry to the previous one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Run {
    /// Same machine, as far as the log shows.
    #[default]
    Continues,
    /// Same machine, restarted since.
    Restarted,
    /// It is the first of a machine's log.
    Another,
}

/// An error that ends the reading of a log.
#[derive(Debug, thiserror::Error)]
#[error("cannot read log {path}: {source}", path = shown(path))]
pub struct LogError {
    /// The file; `-` is the standard input.
    pub path: PathBuf,
    /// The system's or the decompressor's reason.
    pub source: io::Error,
}

/// Reads entries from files in the order given (see
/// [`super::oldest_first`]), one machine after another: files with lines of
/// several are read once for each. A line cut by a rotation is a fault in both
/// files.
pub struct LogReader {
    files: Vec<LogFile>,
    options: ClockOptions,
    waiting: std::vec::IntoIter<usize>, // files of this pass
    current: Option<(usize, Box<dyn Read + Send>)>,
    lines: Lines,
    pass: Pass,
    hosts: Vec<Host>,
    raw: Arc<AtomicU64>,
}

/// A machine with lines in the log.
struct Host {
    name: Vec<u8>,
    files: Vec<usize>,
}

impl LogReader {
    /// Files are opened only by [`LogReader::read`].
    pub fn new(files: Vec<PathBuf>) -> LogReader {
        let files = files.into_iter().map(|path| LogFile { path, about: None });
        LogReader::ordered(files.collect(), ClockOptions::default())
    }

    /// Files with known beginnings.
    pub fn ordered(files: Vec<LogFile>, options: ClockOptions) -> LogReader {
        let all: Vec<usize> = (0..files.len()).collect();
        LogReader {
            files,
            options,
            waiting: all.into_iter(),
            current: None,
            lines: Lines::new(),
            pass: Pass::new(0, options, Tally::default()),
            hosts: Vec::new(),
            raw: Arc::default(),
        }
    }

    /// Appends entries to `out`: those of about a megabyte of text.  False
    /// when the last file has ended.
    ///
    /// # Errors
    /// A file cannot be read, or it is not a kernel log: it has lines of too many
    /// hosts, for example.
    pub fn read(&mut self, out: &mut Vec<Logged>) -> Result<bool, LogError> {
        if self.current.is_none() && !self.open()? {
            return Ok(false);
        }
        let Some((index, mut file)) = self.current.take() else {
            return Ok(false);
        };
        let path = &self.files[index].path;
        let failed = |source| LogError {
            path: path.clone(),
            source,
        };
        let filled = self.lines.fill(&mut file).map_err(failed)?;
        let (pass, hosts) = (&mut self.pass, &mut self.hosts);
        self.lines.take(filled, |line| {
            pass.take(line, Source { path, index }, hosts, out);
        });
        if let Some(reason) = pass.failed.take() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
        }
        let listed = pass.tally.hosts.len();
        let names = hosts[listed..]
            .iter()
            .map(|host| String::from_utf8_lossy(&host.name).into());
        pass.tally.hosts.extend(names);
        if hosts.len() > HOSTS {
            let reason = format!("lines of more than {HOSTS} hosts");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
        }
        let elsewhere = hosts.iter().skip(1).any(|host| host.files.contains(&index));
        if elsewhere && !path.is_file() {
            let reason = "lines of several hosts, which are read one after the other: \
                          save it to a file";
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, reason)));
        }
        match filled {
            Filled::Buffer => self.current = Some((index, file)),
            Filled::ToTheEnd => {}
            Filled::ToACut => pass.cut(path),
        }
        Ok(true)
    }

    /// The name of a machine's log ([`Logged::host`]): that of its first file
    /// without the age and the extension; followed by the machine's own name if
    /// the file also has lines of another.
    pub fn label(&self, host: usize) -> String {
        let machine = self.hosts.get(host);
        let index = machine.and_then(|machine| machine.files.first().copied());
        let index = index.unwrap_or(0);
        let path = self.files.get(index).map(|file| Name::of(&file.path).log);
        let stem = path.as_deref().and_then(Path::file_stem);
        let stem = stem.map_or_else(|| "-".into(), |stem| stem.to_string_lossy().into_owned());
        let shared = self.hosts.iter().take(host);
        match machine.filter(|_| shared.clone().any(|other| other.files.contains(&index))) {
            Some(machine) => format!("{stem}/{}", String::from_utf8_lossy(&machine.name)),
            None => stem,
        }
    }

    /// The findings so far.
    pub fn tally(&self) -> &Tally {
        &self.pass.tally
    }

    /// Bytes read from the files, before decompression.
    pub fn raw_bytes(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    /// Opens the next file, of the next host if necessary.
    fn open(&mut self) -> Result<bool, LogError> {
        let index = match self.waiting.next() {
            Some(index) => index,
            None => {
                let next = self.pass.host + 1;
                let Some(host) = self.hosts.get(next) else {
                    return Ok(false);
                };
                self.waiting = host.files.clone().into_iter();
                let tally = std::mem::take(&mut self.pass.tally);
                self.pass = Pass::new(next, self.options, tally);
                match self.waiting.next() {
                    Some(index) => index,
                    None => return Ok(false),
                }
            }
        };
        let LogFile { path, about } = &self.files[index];
        let file = unpack::open(path, Arc::clone(&self.raw)).map_err(|source| LogError {
            path: path.clone(),
            source,
        })?;
        self.pass.begin_file(*about);
        self.current = Some((index, file));
        Ok(true)
    }
}

/// The file of a line.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    index: usize,
}

/// A pass over the files for the entries of one host.
struct Pass {
    host: usize,
    scan: Scan,
    marks: Marks,
    clock: Clock,
    head: Head,
    line: u64,
    last_host: Option<usize>, // of the file's last line with one
    ours: Vec<bool>,          // whether a host's last line had an entry
    next: Run,                // how the next entry follows
    year: Option<i64>,        // as given
    failed: Option<String>,   // error that stops the reading
    tally: Tally,
}

/// The beginning of the last line, if it determines time and host completely.
#[derive(Default)]
struct Head {
    text: Vec<u8>,
    host: Option<usize>,
    time: Option<u64>,
}

/// Words of lines without an entry.
struct Marks {
    last_repeated: Finder<'static>,
    repeated: Finder<'static>,
    boot: Finder<'static>,
}

impl Pass {
    fn new(host: usize, options: ClockOptions, tally: Tally) -> Pass {
        Pass {
            host,
            scan: Scan::default(),
            marks: Marks {
                last_repeated: Finder::new("last message repeated "),
                repeated: Finder::new("message repeated "),
                boot: Finder::new("---<<BOOT>>---"),
            },
            clock: Clock::new(options),
            head: Head::default(),
            line: 0,
            last_host: None,
            ours: Vec::new(),
            next: Run::Another,
            year: options.year,
            failed: None,
            tally,
        }
    }

    /// Lines are counted once.
    fn counts(&self) -> bool {
        self.host == 0
    }

    fn begin_file(&mut self, about: Option<i64>) {
        (self.line, self.last_host) = (0, None);
        self.ours.clear();
        self.head = Head::default();
        if let Some(about) = about {
            self.clock.expect(about);
        }
    }

    fn cut(&mut self, path: &Path) {
        if self.counts() {
            let line = self.line;
            self.tally.fault(|| Place::new(path, line, b""), Fault::Cut);
        }
    }

    fn take(
        &mut self,
        line: Line<'_>,
        source: Source<'_>,
        hosts: &mut Vec<Host>,
        out: &mut Vec<Logged>,
    ) {
        let text = match line {
            Line::Whole(text) => text,
            Line::Long(text) => {
                if self.counts() {
                    let place = || Place::new(source.path, self.line + 1, text);
                    self.tally.fault(place, Fault::Long);
                }
                return;
            }
            Line::Rest => {
                self.line += 1;
                self.tally.lines += u64::from(self.counts());
                return;
            }
        };
        self.line += 1;
        self.tally.lines += u64::from(self.counts());
        match self.scan.find(text) {
            Some(first) => self.take_entries(text, first, source, hosts, out),
            None => self.take_other(text, source, hosts),
        }
    }

    fn take_entries(
        &mut self,
        text: &[u8],
        first: usize,
        source: Source<'_>,
        hosts: &mut Vec<Host>,
        out: &mut Vec<Logged>,
    ) {
        let known = !self.head.text.is_empty() && text.starts_with(&self.head.text);
        let parsed = if known { None } else { stamp::parse(text) };
        let host = match known {
            true => self.head.host,
            false => self.host_of(text, first, parsed, source, hosts),
        };
        self.last_host = host.or(self.last_host);
        let mine = self.last_host.unwrap_or(0) == self.host;
        if !mine && !self.counts() {
            return;
        }
        *self.ours(self.last_host) = true;
        if let Some(count) = self.repeats(text, first) {
            if self.counts() {
                match count {
                    Some(count) => self.repeated(count),
                    None => {
                        let place = || Place::new(source.path, self.line, text);
                        self.tally.fault(place, Fault::Repeats);
                    }
                }
            }
            return;
        }
        let before = out.len();
        let mut faults = Vec::new(); // without capacity until the first line
        self.scan.entries(text, first, |found| match found {
            Ok(_) if !mine => {}
            Ok(entry) => out.push(Logged {
                entry,
                time_ns: None,
                run: Run::Continues,
                host: self.host,
            }),
            Err(fault) => faults.push(fault),
        });
        if self.counts() {
            for fault in faults {
                let place = || Place::new(source.path, self.line, text);
                self.tally.fault(place, fault);
            }
        }
        if out.len() == before {
            return;
        }
        let time_ns = match known {
            true => self.head.time,
            false => {
                let time = parsed.and_then(|p| self.tick(p.stamp, source, text));
                self.remember(text, first, parsed, host, time);
                time
            }
        };
        let count = (out.len() - before) as u64;
        self.tally.entries += count;
        if time_ns.is_none() {
            self.tally.untimed += count;
            let begins = !self.scan.prefix(text, first).trim_ascii().is_empty();
            if begins && self.tally.first_untimed.is_none() {
                self.tally.first_untimed = Some(Place::new(source.path, self.line, text));
            }
        }
        out[before].run = std::mem::take(&mut self.next);
        out[before..].iter_mut().for_each(|e| e.time_ns = time_ns);
    }

    /// The time of a stamp, with remarks to report.
    fn tick(&mut self, stamp: stamp::Stamp, source: Source<'_>, text: &[u8]) -> Option<u64> {
        let place = || Place::new(source.path, self.line, text);
        let tick = match self.clock.at(stamp) {
            Ok(tick) => tick,
            // The given year is wrong, and so are all times.
            Err(NoSuchDay { year, month, day }) if self.year.is_some() => {
                let line = self.line;
                let given = self.year.unwrap_or(year);
                self.failed.get_or_insert_with(|| {
                    format!(
                        "line {line}: {year}-{month:02}-{day:02} is not a date: the log does \
                         not begin in {given}, the given year"
                    )
                });
                return None;
            }
            Err(_) => return None,
        };
        if tick.restarted {
            self.next = Run::Restarted;
            self.tally.restarts += 1;
        }
        if tick.set_back > 0 {
            self.tally.set_back += 1;
            let largest = self.tally.largest_step.as_ref();
            if largest.is_none_or(|(ns, _)| *ns < tick.set_back) {
                self.tally.largest_step = Some((tick.set_back, place()));
            }
        }
        if tick.leap_open && self.tally.leap_open.is_none() {
            self.tally.leap_open = Some(place());
        }
        Some(tick.ns)
    }

    /// Caches the beginning of a line with a stamp in whole seconds, because
    /// the next lines often have the same.
    fn remember(
        &mut self,
        text: &[u8],
        first: usize,
        parsed: Option<stamp::Parsed>,
        host: Option<usize>,
        time: Option<u64>,
    ) {
        self.head.text.clear();
        let Some(parsed) = parsed else { return };
        let prefix = self.scan.prefix(text, first);
        // The program follows the host; prefixes with only one of them, or
        // other numbers, are parsed every time.
        let end = prefix
            .iter()
            .rposition(|b| *b == b':')
            .map_or(0, |at| at + 1);
        let fraction = text[..parsed.length].iter().any(|b| b".,".contains(b));
        if !fraction && end > parsed.length {
            self.head.text.extend_from_slice(&text[..end]);
            (self.head.host, self.head.time) = (host, time);
        }
    }

    fn host_of(
        &self,
        text: &[u8],
        first: usize,
        parsed: Option<stamp::Parsed>,
        source: Source<'_>,
        hosts: &mut Vec<Host>,
    ) -> Option<usize> {
        let parsed = parsed?;
        let prefix = self.scan.prefix(text, first);
        let name = host::of(prefix.get(parsed.length..)?, parsed.rfc5424)?;
        let known = hosts.iter().position(|host| host.name == name);
        let index = known.unwrap_or_else(|| {
            hosts.push(Host {
                name: name.to_owned(),
                files: Vec::new(),
            });
            hosts.len() - 1
        });
        let files = &mut hosts[index].files;
        if self.counts() && files.last() != Some(&source.index) {
            files.push(source.index);
        }
        Some(index)
    }

    /// Number of repetitions that rsyslog counted for this line's entry instead
    /// of writing them: `message repeated 3 times: [ ... ]`, on Linux with the
    /// kernel's time in the brackets. `Some(None)` if the count is outside 1 to
    /// 2^64 - 1.
    fn repeats(&self, text: &[u8], first: usize) -> Option<Option<u64>> {
        let prefix = without_uptime(self.scan.prefix(text, first));
        let inner = prefix.trim_ascii_end().strip_suffix(b"[")?;
        let at = self.marks.repeated.find(inner)?;
        Some(leading_number(
            &inner[at + self.marks.repeated.needle().len()..],
        ))
    }

    fn repeated(&mut self, count: u64) {
        self.tally.repeats = self.tally.repeats.saturating_add(count);
    }

    /// Whether the last line of a host had an entry.
    fn ours(&mut self, host: Option<usize>) -> &mut bool {
        let host = host.unwrap_or(0);
        if self.ours.len() <= host {
            self.ours.resize(host + 1, false);
        }
        &mut self.ours[host]
    }

    fn take_other(&mut self, text: &[u8], source: Source<'_>, hosts: &[Host]) {
        if self.counts() {
            let repeated = self.marks.last_repeated.find(text);
            let name = match repeated.is_some() || hosts.len() > 1 {
                true => stamp::parse(text)
                    .and_then(|parsed| host::of(text.get(parsed.length..)?, parsed.rfc5424)),
                false => None,
            };
            let known = name.and_then(|name| hosts.iter().position(|host| host.name == name));
            let host = known.or(self.last_host);
            // A machine without entries has none to repeat.
            let ours = name.is_none() == known.is_none() && std::mem::take(self.ours(host));
            if self.scan.is_headless(text) {
                let place = || Place::new(source.path, self.line, text);
                self.tally.fault(place, Fault::Headless);
                *self.ours(host) = true;
                return;
            }
            let repeated = repeated.filter(|_| ours);
            self.tally.other_lines += u64::from(repeated.is_none());
            if let Some(at) = repeated {
                let count = &text[at + self.marks.last_repeated.needle().len()..];
                match leading_number(count) {
                    Some(count) => self.repeated(count),
                    None => {
                        let place = || Place::new(source.path, self.line, text);
                        self.tally.fault(place, Fault::Repeats);
                    }
                }
                *self.ours(host) = true;
            }
        }
        let boot = self.marks.boot.find(text);
        let journal = text.starts_with(b"-- Boot ") || text.starts_with(b"-- Reboot ");
        if boot.is_some() || journal {
            let prefix = &text[..boot.unwrap_or(0)];
            let name = stamp::parse(text)
                .and_then(|parsed| host::of(prefix.get(parsed.length..)?, parsed.rfc5424));
            let host = name.and_then(|name| hosts.iter().position(|host| host.name == name));
            if host.or(self.last_host).unwrap_or(0) == self.host && self.next == Run::Continues {
                self.next = Run::Restarted;
                self.tally.restarts += 1;
            }
        }
    }
}

/// The text before a kernel's `[ 1234.567890]` at the end of a text.
fn without_uptime(text: &[u8]) -> &[u8] {
    let trimmed = text.trim_ascii_end();
    let uptime = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b' ');
    let open = trimmed
        .strip_suffix(b"]")
        .and_then(|inner| Some((inner, inner.iter().rposition(|byte| !uptime(byte))?)))
        .filter(|(inner, at)| inner[*at] == b'[');
    open.map_or(text, |(inner, at)| &inner[..at])
}

/// The number that a text begins with, from 1 to 2^64 - 1.
fn leading_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = std::str::from_utf8(&text[..digits]).unwrap_or_default();
    text.parse().ok().filter(|number| *number > 0)
}
