//! What the command prints, and how it ends.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Finished,
    Interrupted,
    /// It looked, and found something to mend.
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

/// Prints to standard output. A reader that has gone away is an error here,
/// not a panic as in `print!`.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// `println!` by [`print`]: yields a result in place of a panic.
macro_rules! outln {
    ($($arg:tt)*) => {
        $crate::output::print(&format!("{}\n", format_args!($($arg)*)))
    };
}
pub(crate) use outln;

/// Whether standard output was closed by its reader.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The error and its causes in one line; a cause that the error before it
/// quotes already is not said twice.
pub fn chain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_one_line_and_said_once() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("cannot read a.toml: no such file")
            .context("arm x")
            .unwrap_err();
        assert_eq!(chain(&error), "arm x: cannot read a.toml: no such file");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let gone = anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&gone));
        assert!(!is_broken_pipe(&anyhow!("broken pipe")));
    }
}
