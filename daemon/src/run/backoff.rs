//! Pauses between attempts to open the device.

use std::time::Duration;

/// Doubles the pause with each failure, up to the longest. A connection that
/// fails soon after it was made also counts as a failure: only a connection
/// that lasted at least as long as the longest pause resets the count.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Backoff {
        Backoff {
            first,
            longest,
            next: first,
        }
    }

    /// The pause after another failure.
    pub(super) fn failed(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Records the lifetime of a lost connection.
    pub(super) fn served(&mut self, time: Duration) {
        if time >= self.longest {
            self.next = self.first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_service_does_not_reset_the_backoff() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new((ms(100), ms(1000)));
        let pauses = |backoff: &mut Backoff, served: u64| -> Vec<u128> {
            let mut pause = || {
                backoff.served(ms(served));
                backoff.failed().as_millis()
            };
            (0..6).map(|_| pause()).collect()
        };
        let doubling = [100, 200, 400, 800, 1000, 1000];
        assert_eq!(pauses(&mut backoff, 999), doubling);
        assert_eq!(pauses(&mut backoff, 0), [1000; 6]);
        backoff.served(ms(1000));
        assert_eq!(pauses(&mut backoff, 10), doubling);
    }
}
