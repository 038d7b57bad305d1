//! Log lines to standard error: text or one JSON object each.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

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

/// Limits messages of a kind to a few and then one a minute, so that external
/// events cannot fill the log.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Messages of the current burst.
    passed: u32,
    suppressed: u64,
    /// Times of the last message and of the last one written.
    attempted: Option<Instant>,
    last: Option<Instant>,
}

/// Messages of a kind before throttling.
const BURST: u32 = 8;

/// Interval of messages after that; a pause of this length allows another
/// burst.
const PAUSE: Duration = Duration::from_secs(60);

impl Throttle {
    /// Whether a message may be written now; if so, the number of messages
    /// suppressed before it.
    pub(crate) fn allow(&mut self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&mut self, now: Instant) -> Option<u64> {
        let over = |last: Option<Instant>| {
            last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE)
        };
        if over(self.attempted.replace(now)) {
            self.passed = 0;
        }
        if self.passed < BURST {
            self.passed += 1;
        } else if !over(self.last) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_messages_are_rate_limited() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let mut passed = Vec::new();
        for ms in 0..200_000 {
            if let Some(suppressed) = throttle.allow_at(start + Duration::from_millis(ms)) {
                passed.push((ms, suppressed));
            }
        }
        let burst: Vec<_> = (0..8).map(|ms| (ms, 0)).collect();
        assert_eq!(passed[..8], burst);
        let minutes = [(60_007, 59_999), (120_007, 59_999), (180_007, 59_999)];
        assert_eq!(passed[8..], minutes);
        // The burst has ended: the next one is logged from its beginning.
        let later = start + Duration::from_secs(400);
        let after: Vec<_> = (0..9).map(|_| throttle.allow_at(later)).collect();
        assert_eq!(after[0], Some(19_992));
        let calm = later + Duration::from_secs(100);
        assert!((0..8).all(|_| throttle.allow_at(calm).is_some()));
        assert_eq!(throttle.allow_at(calm), None);
    }
}
