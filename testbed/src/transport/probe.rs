//! The tail loss probe (RFC 8985, section 7): its timer and its outcome.
//!
//! The last segments of a flight are not followed by segments whose delivery
//! would prove their loss. Without acknowledgements for two round trips, the
//! sender sends one more segment, so that its acknowledgement reveals missing
//! segments long before the retransmission timer expires.

/// Maximum time that a receiver may delay the acknowledgement of a single segment
/// (TLP.max_ack_delay), ns: the 200 ms that Linux assumes.
const MAX_ACK_DELAY_NS: u64 = 200_000_000;

/// A probe in flight.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// First byte not sent when it left (TLP.end_seq).
    end: u64,
    /// It repeated the last segment (TLP.is_retrans).
    retransmission: bool,
}

/// Timer and state of a connection's tail loss probes.
#[derive(Debug, Default)]
pub(super) struct TailLossProbe {
    /// Time of the probe, ns (the PTO timer).
    due_at: Option<u64>,
    /// It must be sent and has not left yet.
    due: bool,
    outstanding: Option<Probe>,
    /// There was a round-trip sample since the last probe.
    sampled: bool,
}

impl TailLossProbe {
    /// Counts a round-trip sample.
    pub fn sample(&mut self) {
        self.sampled = true;
    }

    /// Starts the timer, or restarts it (section 7.2), with `segments` in flight
    /// and a retransmission timer that expires at `timeout_at`.
    ///
    /// Does nothing while a probe is outstanding or the round-trip time was not
    /// measured since the last one. Such a timer would not send a probe (section
    /// 7.3), but only delay the retransmission timer.
    pub fn schedule(&mut self, now_ns: u64, srtt_ns: u64, segments: u32, timeout_at: u64) {
        self.cancel();
        if self.outstanding.is_some() || !self.sampled {
            return;
        }
        let ack_delay_ns = if segments == 1 { MAX_ACK_DELAY_NS } else { 0 };
        self.due_at = Some((now_ns + 2 * srtt_ns + ack_delay_ns).min(timeout_at));
    }

    /// Stops the timer.
    pub fn cancel(&mut self) {
        self.due_at = None;
        self.due = false;
    }

    /// Discards the probe because another recovery has begun (TLP_init()).
    pub fn reset(&mut self) {
        self.cancel();
        self.outstanding = None;
    }

    /// Expiry of the timer, ns.
    pub fn due_at(&self) -> Option<u64> {
        self.due_at
    }

    /// Whether a probe must be sent now.
    pub fn is_due(&self) -> bool {
        self.due
    }

    /// Returns whether the timer has expired, and a probe must be sent.
    pub fn on_timer(&mut self, now_ns: u64) -> bool {
        let due = self.due_at.is_some_and(|at| now_ns >= at);
        if due {
            self.due_at = None;
            self.due = true;
        }
        due
    }

    /// Records that the probe was sent, as a `retransmission` or as new data that
    /// ends at `end`, the first byte not sent.
    pub fn sent(&mut self, end: u64, retransmission: bool) {
        self.cancel();
        self.sampled = false;
        self.outstanding = Some(Probe {
            end,
            retransmission,
        });
    }

    /// Handles an acknowledgement; `duplicate` is the range that it reports as
    /// having arrived twice. Returns whether the probe repaired a loss that
    /// nothing else reveals (section 7.4.2).
    ///
    /// If the last segment had arrived, its repetition is reported as a duplicate.
    /// If that report is lost, a loss is presumed. The receiver always reports
    /// SACK and duplicates, so the case of a receiver without does not occur.
    pub fn on_ack(&mut self, cumulative: u64, duplicate: Option<(u64, u64)>) -> bool {
        let Some(probe) = self.outstanding.filter(|probe| cumulative >= probe.end) else {
            return false;
        };
        let duplicated = duplicate.is_some_and(|(_, end)| end == probe.end);
        let repaired = probe.retransmission && !duplicated && cumulative > probe.end;
        if !probe.retransmission || duplicated || repaired {
            self.outstanding = None;
        }
        repaired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sampled() -> TailLossProbe {
        let mut probe = TailLossProbe::default();
        probe.sample();
        probe
    }

    /// TLP_calc_PTO() of section 7.2.
    #[test]
    fn timer() {
        let mut probe = sampled();
        probe.schedule(5 * MS, 20 * MS, 2, 900 * MS);
        assert_eq!(probe.due_at(), Some(45 * MS));
        probe.schedule(6 * MS, 20 * MS, 1, 900 * MS);
        assert_eq!(probe.due_at(), Some(246 * MS));
        probe.schedule(7 * MS, 20 * MS, 2, 30 * MS);
        assert_eq!(probe.due_at(), Some(30 * MS));
        assert!(!probe.on_timer(30 * MS - 1));
        assert!(probe.on_timer(30 * MS) && probe.is_due());
        assert!(!probe.on_timer(31 * MS));
        probe.cancel();
        assert!(!probe.is_due());
    }

    /// Section 7.3: no second probe while one is in flight, or without a sample.
    #[test]
    fn one_at_a_time() {
        let mut probe = TailLossProbe::default();
        probe.schedule(0, 20 * MS, 2, 900 * MS);
        assert_eq!(probe.due_at(), None);
        probe.sample();
        probe.sent(100, false);
        probe.sample();
        probe.schedule(0, 20 * MS, 2, 900 * MS);
        assert_eq!(probe.due_at(), None);
        assert!(!probe.on_ack(100, None));
        probe.schedule(0, 20 * MS, 2, 900 * MS);
        assert_eq!(probe.due_at(), Some(40 * MS));
        probe.sent(200, false);
        probe.reset();
        probe.schedule(0, 20 * MS, 2, 900 * MS);
        assert_eq!(probe.due_at(), None, "no sample since");
    }

    /// TLP_process_ack() of section 7.4.2.
    #[test]
    fn acknowledgements_resolve_the_probe() {
        let mut probe = sampled();
        probe.sent(200, false);
        assert!(!probe.on_ack(300, None), "new data repairs nothing");

        probe.sent(200, true);
        assert!(!probe.on_ack(100, None));
        assert!(!probe.on_ack(200, None), "which copy arrived is open");
        assert!(!probe.on_ack(200, Some((100, 200))), "both arrived");
        assert!(!probe.on_ack(300, None));

        probe.sent(200, true);
        assert!(!probe.on_ack(200, Some((0, 100))), "of another segment");
        assert!(probe.on_ack(300, None), "one copy arrived");
        assert!(!probe.on_ack(400, None));
    }
}
