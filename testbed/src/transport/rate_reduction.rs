//! Proportional rate reduction (RFC 9937, section 6; before RFC 6937), as in Linux.
//!
//! Spreads a reduction of the window over the acknowledgements of a round trip.
//! Without it a sender is silent until the packets in flight fit the new window, and
//! then sends at the old rate. As in Linux, it applies to reductions for ECN too, and
//! the flight size at the start (RecoverFS) is the window.

/// A reduction in progress. All quantities are segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateReduction {
    /// Window before the reduction.
    prior: u32,
    /// Window after it (ssthresh).
    target: u32,
    /// Delivered since its start (prr_delivered).
    delivered: u32,
    /// Sent since its start (prr_out).
    sent: u32,
    /// May be in flight now (cwnd); none before the first delivery.
    allowance: u32,
}

impl RateReduction {
    /// From a window of `prior` to one of `target`.
    pub fn new(prior: u32, target: u32) -> RateReduction {
        RateReduction {
            prior: prior.max(1),
            target,
            delivered: 0,
            sent: 0,
            allowance: 0,
        }
    }

    /// An acknowledgement that delivered `segments`, after which `in_flight` are in
    /// flight. `safe` if it advances and reports no further loss (SafeACK).
    pub fn deliver(&mut self, segments: u32, in_flight: u32, safe: bool) {
        if segments == 0 {
            return;
        }
        self.delivered += segments;
        let send = if in_flight > self.target {
            // Proportional: the target's share of what was delivered.
            let due = u64::from(self.delivered) * u64::from(self.target);
            (due.div_ceil(u64::from(self.prior)) as u32).saturating_sub(self.sent)
        } else {
            // Losses brought the flight below the target: grow back to it, as in slow
            // start at most.
            let owed = self.delivered.saturating_sub(self.sent);
            (owed.max(segments) + u32::from(safe)).min(self.target - in_flight)
        };
        // The first retransmission does not wait.
        let least = u32::from(self.sent == 0);
        self.allowance = in_flight + send.max(least);
    }

    /// A segment was sent.
    pub fn send(&mut self) {
        self.sent += 1;
    }

    /// Segments that may be in flight.
    pub fn allowance(&self) -> u32 {
        self.allowance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends what is allowed after each acknowledgement of a segment; returns how much
    /// that was each time, and the segments in flight at the end.
    fn sent(prior: u32, target: u32, mut in_flight: u32, acks: u32, safe: bool) -> (String, u32) {
        let mut reduction = RateReduction::new(prior, target);
        let mut sent = String::new();
        for _ in 0..acks {
            in_flight -= 1;
            reduction.deliver(1, in_flight, safe);
            let more = reduction.allowance().saturating_sub(in_flight);
            (0..more).for_each(|_| reduction.send());
            in_flight += more;
            sent += &more.to_string();
        }
        (sent, in_flight)
    }

    #[test]
    fn one_loss_in_a_window_of_20_sends_every_second_acknowledgement() {
        // RFC 6937, section 4, first figure: segment X1 of 20 is lost, so 19 arrive,
        // and the first acknowledgement releases the retransmission. Once the target is
        // in flight, each acknowledgement releases one.
        let (pattern, in_flight) = sent(20, 10, 19, 19, false);
        assert_eq!(pattern, "1010101010101010011");
        assert_eq!(in_flight, 10);
    }

    #[test]
    fn cubic_sends_seven_for_ten() {
        // ceil(0.7 n) - sent.
        let (pattern, in_flight) = sent(100, 70, 100, 100, true);
        assert_eq!(&pattern[..10], "1110110110");
        assert_eq!(in_flight, 70);
    }

    #[test]
    fn flight_below_the_target_grows_back_to_it() {
        // RFC 6937, section 4, second figure: a burst of 15 of 20 segments is lost and 5
        // acknowledgements follow. Without SafeACK the flight is conserved (CRB): a
        // segment for each that arrived.
        assert_eq!(sent(20, 10, 5, 4, false), ("1111".to_owned(), 5));
        // With SafeACK it grows by one more for each (SSRB), up to the target.
        assert_eq!(sent(20, 10, 5, 8, true), ("22222111".to_owned(), 10));
    }

    #[test]
    fn acknowledgements_without_deliveries_are_ignored() {
        let mut reduction = RateReduction::new(20, 10);
        reduction.deliver(2, 18, true);
        assert_eq!(reduction.allowance(), 19);
        reduction.send();
        let before = reduction;
        reduction.deliver(0, 18, true);
        assert_eq!(reduction, before);
    }

    #[test]
    fn delayed_acknowledgements_release_the_share_of_all_their_segments() {
        let mut reduction = RateReduction::new(20, 10);
        let mut in_flight = 20;
        // The fourth leaves the target in flight, the fifth less.
        for expected in [2, 2, 2, 0, 4] {
            in_flight -= 4;
            reduction.deliver(4, in_flight, true);
            assert_eq!(reduction.allowance(), in_flight + expected);
            (0..expected).for_each(|_| reduction.send());
            in_flight += expected;
        }
        assert_eq!(in_flight, 10);
    }
}
