//! Findings of reading a log.

use std::path::{Path, PathBuf};

use super::entry::Fault;

/// Number of faults kept with their text.
const SHOWN: usize = 5;

/// Findings so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Intact entries.
    pub entries: u64,
    /// Unrelated lines, excluding repetition counts.
    pub other_lines: u64,
    /// Repetitions of entries summarised by a syslog daemon ("last message
    /// repeated", "message repeated"); they are not restored.
    pub repeats: u64,
    /// Faults by [`Fault::reason`].
    pub faults: [u64; Fault::REASONS.len()],
    /// The first few faults.
    pub shown: Vec<Shown>,
    /// Names of the machines that wrote entries, in the order found.
    pub hosts: Vec<String>,
    /// Number of restarts of a machine or its clock since boot.
    pub restarts: u64,
    /// Entries of lines without a readable time.
    pub untimed: u64,
    /// The first such line with a prefix.
    pub first_untimed: Option<Place>,
    /// Entries with a time before that of the previous entry.
    pub set_back: u64,
    /// The largest such step, ns, with its position.
    pub largest_step: Option<(u64, Place)>,
    /// Transitions from February to March of an unknown year, assumed to be a
    /// common one.
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

/// A fault with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its position.
    pub place: Place,
    /// The damage.
    pub fault: Fault,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, of the uncompressed file.
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
