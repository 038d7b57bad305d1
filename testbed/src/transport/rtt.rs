//! Round-trip time and retransmission timeout (RFC 6298).

/// Timeout before the first sample (RFC 6298, section 2.1), ns.
const INITIAL_RTO_NS: u64 = 1_000_000_000;
/// Minimum margin of the timeout above the smoothed round-trip time, ns. RFC
/// 6298, section 2.4, asks for a timeout of at least a second; common stacks use
/// less. Linux and FreeBSD both keep 200 ms above the smoothed time.
const MIN_VARIANCE_NS: u64 = 200_000_000;
/// Maximum timeout, ns (RFC 6298, section 2.5: at least a minute).
const MAX_RTO_NS: u64 = 60_000_000_000;

/// Estimates from samples; the timeout with its backoff.
#[derive(Debug, Default)]
pub(super) struct Rtt {
    latest_ns: u64,
    min_ns: u64,
    smoothed_ns: u64,
    variance_ns: u64,
    backoff: u32,
}

impl Rtt {
    /// Counts a sample (RFC 6298, sections 2.2 and 2.3). Samples come from echoed
    /// timestamps, so those of retransmissions count too (section 3).
    pub fn sample(&mut self, rtt_ns: u64) {
        self.latest_ns = rtt_ns;
        if self.smoothed_ns == 0 {
            self.min_ns = rtt_ns;
            self.smoothed_ns = rtt_ns.max(1);
            self.variance_ns = rtt_ns / 2;
        } else {
            self.min_ns = self.min_ns.min(rtt_ns);
            let error = self.smoothed_ns.abs_diff(rtt_ns);
            self.variance_ns = (3 * self.variance_ns + error) / 4;
            self.smoothed_ns = ((7 * self.smoothed_ns + rtt_ns) / 8).max(1);
        }
    }

    /// Latest sample, ns; 0 before the first.
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Minimum sample, ns; 0 before the first. Paths do not change during a run,
    /// so samples never expire (RFC 8985, section 6.2, step 1).
    pub fn min_ns(&self) -> u64 {
        self.min_ns
    }

    /// Smoothed, ns; 0 before the first sample.
    pub fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    /// Timeout, ns, backed off.
    pub fn timeout_ns(&self) -> u64 {
        let base = match self.smoothed_ns {
            0 => INITIAL_RTO_NS,
            smoothed => smoothed + (4 * self.variance_ns).max(MIN_VARIANCE_NS),
        };
        base.saturating_mul(1 << self.backoff).min(MAX_RTO_NS)
    }

    /// The timer expired (RFC 6298, section 5.5).
    pub fn back_off(&mut self) {
        // 60 s is within 2^9 times the smallest timeout.
        self.backoff = (self.backoff + 1).min(10);
    }

    /// New data was acknowledged.
    pub fn progress(&mut self) {
        self.backoff = 0;
    }

    /// Whether there has been no progress since the last timeout.
    pub fn backed_off(&self) -> bool {
        self.backoff > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn first_sample_and_smoothing() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout_ns(), 1000 * MS);
        rtt.sample(400 * MS);
        assert_eq!(rtt.smoothed_ns(), 400 * MS);
        assert_eq!(rtt.timeout_ns(), 400 * MS + 4 * 200 * MS);
        rtt.sample(480 * MS);
        assert_eq!(rtt.smoothed_ns(), 410 * MS);
        assert_eq!(rtt.timeout_ns(), 410 * MS + 4 * 170 * MS);
    }

    #[test]
    fn floor_and_backoff() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.sample(10 * MS);
        }
        assert_eq!(rtt.timeout_ns(), 210 * MS);
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.timeout_ns(), 840 * MS);
        for _ in 0..20 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout_ns(), 60_000 * MS);
        rtt.progress();
        assert_eq!(rtt.timeout_ns(), 210 * MS);
    }
}
