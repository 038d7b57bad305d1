//! What reading a log found.

use std::path::{Path, PathBuf};

use super::entry::Fault;

/// Faults that are kept with their text.
const SHOWN: usize = 5;

/// What was found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Whole entries.
    pub entries: u64,
    /// Lines of something else, those that count repetitions left out.
    pub other_lines: u64,
    /// Repetitions of entries that a syslog daemon counted in place of writing
    /// them ("last message repeated", "message repeated"); they are not
    /// restored.
    pub repeats: u64,
    /// Faults by [`Fault::reason`].
    pub faults: [u64; Fault::REASONS.len()],
    /// The first few of them.
    pub shown: Vec<Shown>,
    /// Names of the machines that wrote entries, in the order found.
    pub hosts: Vec<String>,
    /// Times that a machine's clock since boot, or the machine, started again.
    pub restarts: u64,
    /// Entries of lines without a time that can be read.
    pub untimed: u64,
    /// The first of these lines that begins with something.
    pub first_untimed: Option<Place>,
    /// Entries with a time before that of the entry before them.
    pub set_back: u64,
    /// The largest such step, ns, and where it is.
    pub largest_step: Option<(u64, Place)>,
    /// Where a log passes from February to March of an unknown year:
    /// a common one was assumed.
    pub leap_open: Option<Place>,
}

impl Tally {
    /// Faults of every kind.
    pub fn bad(&self) -> u64 {
        self.faults.iter().sum()
    }

    pub(super) fn fault(&mut self, place: impl FnOnce() -> Place, fault: Fault) {
        self.faults[fault.reason()] += 1;
        if self.shown.len() < SHOWN {
            let place = place();
            self.shown.push(Shown { place, fault });
        }
    }
}

/// A fault and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, of the unpacked file.
    pub line: u64,
    /// The line's beginning and end, printable.
    pub text: String,
}

impl Place {
    pub(super) fn new(path: &Path, line: u64, text: &[u8]) -> Place {
        Place {
            path: path.to_owned(),
            line,
            text: printable(text),
        }
    }
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
