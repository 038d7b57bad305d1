//! What the command prints, and how it ends.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use l4sllm_model::files::Existing;
use l4sllm_model::text::{line, lines, printable, shown};
use rustix::termios::tcgetwinsize;

use crate::columns::fit;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Finished,
    Interrupted,
    /// It looked, and found something to fix.
    Unhealthy,
}

impl Done {
    /// Interrupted if `cancel` is set.
    pub fn of(cancel: &AtomicBool) -> Done {
        if cancel.load(Ordering::Relaxed) {
            Done::Interrupted
        } else {
            Done::Finished
        }
    }
}

/// What becomes of a file that exists at `out`.  Checked before any work: the
/// file is opened at the end of it only.
///
/// # Errors
/// It exists and is not to be replaced, or is not a regular file.
pub fn existing(out: &Path, force: bool) -> anyhow::Result<Existing> {
    ensure!(
        out != Path::new("-"),
        "--out -: nothing is written to standard output; want the name of a file (./- for this one)"
    );
    let Ok(metadata) = out.symlink_metadata() else {
        return Ok(Existing::Keep);
    };
    let kind = metadata.file_type();
    ensure!(
        kind.is_file() || kind.is_symlink(),
        "{}: is not a regular file, and is not replaced by one",
        shown(out)
    );
    if !force {
        bail!("{}: exists already; --force replaces it", shown(out));
    }
    Ok(Existing::Replace)
}

/// Prints to standard output; names and texts from files reach a terminal with
/// control characters escaped, and lines are broken to its width. A reader that has gone away is an error here,
/// not a panic as in `print!`.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = match out.is_terminal() {
        true => Cow::Owned(to_width(&harmless(text))),
        false => Cow::Borrowed(text),
    };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// [`printable`], but for the spaces that keep a number and its unit together.
fn harmless(text: &str) -> String {
    const SPACE: &str = "\u{a0}";
    let parts: Vec<Cow<'_, str>> = text
        .split(SPACE)
        .map(|part| printable(part).into())
        .collect();
    parts.join(SPACE)
}

/// Text that fits the terminal that standard output is. JSON stays as it is: a
/// string in it must not be broken.
fn to_width(text: &str) -> String {
    if text.starts_with(['{', '[']) {
        return text.to_owned();
    }
    let size = tcgetwinsize(std::io::stdout());
    match size.map(|size| size.ws_col) {
        Ok(columns) if columns > 0 => fit(text, columns.into()),
        _ => text.to_owned(),
    }
}

/// `println!` by [`print`]: yields a result in place of a panic.
macro_rules! outln {
    ($($arg:tt)*) => {
        $crate::output::print(&format!("{}\n", format_args!($($arg)*)))
    };
}
pub(crate) use outln;

/// `eprintln!` without its panic when standard error is closed or full: there
/// is nowhere else to report to.
macro_rules! errln {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($arg)*);
    }};
}
pub(crate) use errln;

/// What is printed besides results, errors and warnings.
static VERBOSITY: AtomicU8 = AtomicU8::new(NORMAL);
const QUIET: u8 = 0;
const NORMAL: u8 = 1;
const VERBOSE: u8 = 2;

/// Sets what is printed besides results, errors and warnings; once, at the start.
pub fn set_verbosity(verbose: bool, quiet: bool) {
    let verbosity = match (verbose, quiet) {
        (_, true) => QUIET,
        (true, false) => VERBOSE,
        (false, false) => NORMAL,
    };
    VERBOSITY.store(verbosity, Ordering::Relaxed);
}

/// Whether details are asked for.
pub fn is_verbose() -> bool {
    VERBOSITY.load(Ordering::Relaxed) == VERBOSE
}

/// Whether only results, errors and warnings are to be printed.
pub fn is_quiet() -> bool {
    VERBOSITY.load(Ordering::Relaxed) == QUIET
}

/// `errln!` of what is good to know, unless `--quiet` is given.
macro_rules! note {
    ($($arg:tt)*) => {
        if !$crate::output::is_quiet() {
            $crate::output::errln!($($arg)*);
        }
    };
}
pub(crate) use note;

/// `errln!` of details, with `--verbose`.
macro_rules! detail {
    ($($arg:tt)*) => {
        if $crate::output::is_verbose() {
            $crate::output::errln!($($arg)*);
        }
    };
}
pub(crate) use detail;

/// A progress bar on standard error; hidden where that is not a terminal, and
/// with `--quiet`.
pub fn progress_bar(length: u64) -> ProgressBar {
    match is_quiet() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(length),
    }
}

/// A colour of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Doubtful,
    Bad,
}

/// Puts verdicts into colour, or leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    pub colour: bool,
}

impl Palette {
    /// For standard output: colour on a terminal, unless NO_COLOR is set
    /// (no-color.org) or the terminal is dumb.
    pub fn of_stdout() -> Palette {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Palette {
            colour: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        }
    }

    /// `text`, which holds no control characters of others.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "1;31",
        };
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// As [`print`], for text that is in colour; every part of it that comes from
/// files is [`printable`] already.
pub fn print_painted(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = match out.is_terminal() {
        true => Cow::Owned(to_width(text)),
        false => Cow::Borrowed(text),
    };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// Longest line of an error, in characters.
const LINE: usize = 1000;

/// Whether standard output was closed by its reader.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The error and its causes in one line; a cause that the error before it
/// quotes already is not repeated.  Names and keys in it come from files and
/// arguments, and reach no terminal as they are.
pub fn chain(error: &anyhow::Error) -> String {
    let mut whole = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if whole.is_empty() {
            whole = text;
        } else if !whole.contains(&text) {
            whole.push_str(": ");
            whole.push_str(&text);
        }
    }
    line(&whole, LINE)
}

/// Reports a wrong command line, or prints the help that was asked for;
/// returns the exit code.  An argument may be anything, and the report repeats
/// it.
pub fn usage(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    let harmless = lines(&text, LINE);
    if harmless == text {
        // In colour.  Whoever closed the output has read enough.
        let _ = error.print();
    } else {
        let _ = std::io::stderr().write_all(harmless.as_bytes());
    }
    u8::from(error.use_stderr()) * 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn causes_are_one_line_and_said_once() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("cannot read a.toml: no such file")
            .context("arm x")
            .unwrap_err();
        assert_eq!(chain(&error), "arm x: cannot read a.toml: no such file");
    }

    #[test]
    fn what_an_error_repeats_is_harmless() {
        let error = anyhow!("cannot read {}: \x1b[2J\n", "n".repeat(5000));
        let line = chain(&error);
        assert!(
            line.ends_with(": \\u{1b}[2J ") && line.len() < 300,
            "{line}"
        );
    }

    #[test]
    fn units_stay_with_their_numbers_on_a_terminal() {
        assert_eq!(harmless("5\u{a0}ms\x1b[2J"), "5\u{a0}ms\\u{1b}[2J");
    }

    #[test]
    fn colour_is_around_the_verdict_alone() {
        let palette = |colour| Palette { colour };
        assert_eq!(palette(false).paint(Tone::Bad, "missed"), "missed");
        assert_eq!(
            palette(true).paint(Tone::Bad, "missed"),
            "\x1b[1;31mmissed\x1b[0m"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let gone = Err::<(), _>(std::io::Error::from(ErrorKind::BrokenPipe));
        let gone = gone.context("cannot write to standard output").unwrap_err();
        assert!(is_broken_pipe(&gone));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
