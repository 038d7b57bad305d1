//! A limit on log messages of one kind.

use std::time::{Duration, Instant};

/// Limits messages of a kind to a few and then one a minute, so that external
/// events cannot fill the log.
#[derive(Debug, Default)]
pub struct Throttle {
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
    pub fn allow(&mut self) -> Option<u64> {
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
