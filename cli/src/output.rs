//! Output of the command, and its exit states.

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

/// How a successful command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Finished,
    Interrupted,
    /// It found problems to fix.
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

/// Decides what happens to an existing file at `out`. Checked before any work,
/// because the file is opened only at the end.
///
/// # Errors
/// It exists and must not be replaced, or is not a regular file.
pub fn existing(out: &Path, force: bool) -> anyhow::Result<Existing> {
    ensure_usage!(
        out != Path::new("-"),
        "--out -: cannot write to standard output; expected a file name (./- for a file of this \
         name)"
    );
    let Ok(metadata) = out.symlink_metadata() else {
        return Ok(Existing::Keep);
    };
    let kind = metadata.file_type();
    ensure!(
        kind.is_file() || kind.is_symlink(),
        "{}: not a regular file, so it is not replaced",
        shown(out)
    );
    if !force {
        bail!("{}: already exists; --force replaces it", shown(out));
    }
    Ok(Existing::Replace)
}

/// Prints to standard output. On a terminal, control characters in names and
/// texts from files are escaped, and lines are wrapped to its width. A closed
/// output is an error here, not a panic as in `print!`.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = match out.is_terminal() {
        true => Cow::Owned(to_width(&harmless(text))),
        false => Cow::Borrowed(text),
    };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// [`printable`], except for the spaces that keep a number and its unit together.
fn harmless(text: &str) -> String {
    const SPACE: &str = "\u{a0}";
    let parts: Vec<Cow<'_, str>> = text
        .split(SPACE)
        .map(|part| printable(part).into())
        .collect();
    parts.join(SPACE)
}

/// Wraps text to the terminal on standard output. JSON is unchanged, because its
/// strings must not be broken.
fn to_width(text: &str) -> String {
    if text.starts_with(['{', '[']) {
        return text.to_owned();
    }
    match terminal_width() {
        Some(width) => fit(text, width),
        None => text.to_owned(),
    }
}

/// The width of the terminal on standard output, in columns; none if it is not a
/// terminal.
fn terminal_width() -> Option<usize> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| size.ws_col.into())
}

/// `println!` by [`print`], with a result instead of a panic.
macro_rules! outln {
    ($($arg:tt)*) => {
        $crate::output::print(&format!("{}\n", format_args!($($arg)*)))
    };
}
pub(crate) use outln;

/// `eprintln!` without its panic when standard error is closed or full: there is
/// no other place to report to.
macro_rules! errln {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($arg)*);
    }};
}
pub(crate) use errln;

/// Output in addition to results, errors and warnings.
static VERBOSITY: AtomicU8 = AtomicU8::new(NORMAL);
const QUIET: u8 = 0;
const NORMAL: u8 = 1;
const VERBOSE: u8 = 2;

/// Sets what is printed in addition to results, errors and warnings; called once,
/// at startup.
pub fn set_verbosity(verbose: bool, quiet: bool) {
    let verbosity = match (verbose, quiet) {
        (_, true) => QUIET,
        (true, false) => VERBOSE,
        (false, false) => NORMAL,
    };
    VERBOSITY.store(verbosity, Ordering::Relaxed);
}

/// Whether details are requested.
pub fn is_verbose() -> bool {
    VERBOSITY.load(Ordering::Relaxed) == VERBOSE
}

/// Whether only results, errors and warnings are printed.
pub fn is_quiet() -> bool {
    VERBOSITY.load(Ordering::Relaxed) == QUIET
}

/// `errln!` for notes, unless `--quiet` is given.
macro_rules! note {
    ($($arg:tt)*) => {
        if !$crate::output::is_quiet() {
            $crate::output::errln!($($arg)*);
        }
    };
}
pub(crate) use note;

/// `errln!` for details, with `--verbose`.
macro_rules! detail {
    ($($arg:tt)*) => {
        if $crate::output::is_verbose() {
            $crate::output::errln!($($arg)*);
        }
    };
}
pub(crate) use detail;

/// A progress bar on standard error, hidden if that is not a terminal, and with
/// `--quiet`.
pub fn progress_bar(length: u64) -> ProgressBar {
    match is_quiet() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(length),
    }
}

/// Colour of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Doubtful,
    Bad,
}

/// Colours verdicts, if enabled.
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

    /// Colours `text`, which must not contain control characters from other
    /// sources.
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

/// Like [`print`], for coloured text in which every part from files is already
/// [`printable`].
pub fn print_painted(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = match out.is_terminal() {
        true => Cow::Owned(to_width(text)),
        false => Cow::Borrowed(text),
    };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// An option's value that clap cannot check. The exit code is that of an invalid
/// command line.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// `anyhow::bail!` for a [`UsageError`].
macro_rules! bail_usage {
    ($($arg:tt)*) => {
        return Err($crate::output::UsageError(format!($($arg)*)).into())
    };
}
pub(crate) use bail_usage;

/// `anyhow::ensure!` for a [`UsageError`].
macro_rules! ensure_usage {
    ($condition:expr, $($arg:tt)*) => {
        if !$condition {
            $crate::output::bail_usage!($($arg)*);
        }
    };
}
pub(crate) use ensure_usage;

/// Maximum length of an error line, in characters.
const LINE: usize = 1000;

/// Whether standard output was closed by its reader.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The error and its causes in one line; causes already quoted by the preceding
/// error are not repeated. Names and keys in it come from files and arguments,
/// and are escaped.
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

/// Reports an invalid command line, or prints the requested help; returns the
/// exit code. Arguments repeated in the report are escaped.
pub fn usage(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    let harmless = lines(&text, LINE);
    // A closed output is not an error.
    let _ = if harmless != text {
        std::io::stderr().write_all(harmless.as_bytes())
    } else if error.use_stderr() {
        error.print()
    } else {
        std::io::stdout().write_all(help(error, &text).as_bytes())
    };
    u8::from(error.use_stderr()) * 2
}

/// Widest help, in characters: longer lines are hard to read.
const HELP_MOST: usize = 100;

/// Help for standard output: in colour and broken to its width on a terminal.
fn help(error: &clap::Error, plain: &str) -> String {
    let text = match Palette::of_stdout().colour {
        true => error.render().ansi().to_string(),
        false => plain.to_owned(),
    };
    match terminal_width() {
        Some(width) => fit(&text, width.min(HELP_MOST)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn error_causes_are_one_line_without_repetition() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("cannot read a.toml: no such file")
            .context("arm x")
            .unwrap_err();
        assert_eq!(chain(&error), "arm x: cannot read a.toml: no such file");
    }

    #[test]
    fn errors_escape_control_characters() {
        let error = anyhow!("cannot read {}: \x1b[2J\n", "n".repeat(5000));
        let line = chain(&error);
        assert!(
            line.ends_with(": \\u{1b}[2J ") && line.len() < 300,
            "{line}"
        );
    }

    #[test]
    fn wrapping_keeps_numbers_with_units() {
        assert_eq!(harmless("5\u{a0}ms\x1b[2J"), "5\u{a0}ms\\u{1b}[2J");
    }

    #[test]
    fn paint_wraps_text_in_colour() {
        let palette = |colour| Palette { colour };
        assert_eq!(palette(false).paint(Tone::Bad, "missed"), "missed");
        assert_eq!(
            palette(true).paint(Tone::Bad, "missed"),
            "\x1b[1;31mmissed\x1b[0m"
        );
    }

    #[test]
    fn closed_pipe_is_not_an_error() {
        let gone = Err::<(), _>(std::io::Error::from(ErrorKind::BrokenPipe));
        let gone = gone.context("cannot write to standard output").unwrap_err();
        assert!(is_broken_pipe(&gone));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
