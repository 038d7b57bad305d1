//! Log lines to standard error: text or one JSON object each.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogConfig;

/// Changes the level of a running log.
#[derive(Clone)]
pub struct LogControl(reload::Handle<LevelFilter, Registry>);

impl LogControl {
    /// Starts the process's log.
    pub fn start(config: LogConfig) -> LogControl {
        let (level, control) = reload::Layer::new(LevelFilter::from_level(config.level));
        let registry = tracing_subscriber::registry().with(level);
        if config.json {
            registry
                .with(
                    fmt::layer()
                        .json()
                        .flatten_event(true)
                        .with_writer(|| Stderr),
                )
                .init();
        } else {
            let colour = std::io::stderr().is_terminal();
            let layer = fmt::layer().with_ansi(colour).with_target(false);
            registry.with(layer.with_writer(|| Stderr)).init();
        }
        LogControl(control)
    }

    /// Sets the level; the format does not change.
    pub fn set(&self, config: LogConfig) {
        // Fails only if the log no longer exists.
        let _ = self.0.reload(LevelFilter::from_level(config.level));
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl")
    }
}

/// Standard error without waiting for its reader: lines that do not fit into a
/// full pipe are dropped. If daemon(8) or a terminal stops reading, the program
/// still decides and can end.
#[derive(Debug, Clone, Copy)]
struct Stderr;

/// Minimum number of bytes that a pipe reported as writable by poll(2) accepts
/// at once (`_POSIX_PIPE_BUF`).
const AT_ONCE: usize = 512;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // Locked first, so that lines of other threads are not interleaved.
        let mut stderr = io::stderr().lock();
        let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        // Outputs that cannot be polled are written directly.
        if poll(&mut ready, PollTimeout::ZERO) == Ok(0) {
            return Ok(text.len());
        }
        stderr.write(&text[..text.len().min(AT_ONCE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
