//! Measurements of a part of a drill.

use l4sllm_model::Outcome;
use l4sllm_testbed::result::{Histogram, PacketRow, jain};

/// Packets that left the queue since a time.
#[derive(Debug)]
pub struct Phase {
    since_ns: u64,
    /// Of forwarded packets, ns: classic, L4S.
    sojourns: [Histogram; 2],
    /// Forwarded, by flow.
    bits: Vec<f64>,
    left: u64,
    dropped: u64,
}

impl Phase {
    /// An empty one.
    pub fn new(since_ns: u64) -> Phase {
        Phase {
            since_ns,
            sojourns: Default::default(),
            bits: Vec::new(),
            left: 0,
            dropped: 0,
        }
    }

    /// Adds a packet.
    pub fn add(&mut self, row: &PacketRow) {
        if row.time_ns < self.since_ns {
            return;
        }
        self.left += 1;
        if row.dropped() {
            self.dropped += 1;
            return;
        }
        if let Some(sojourns) = self.sojourns.get_mut(usize::from(row.queue)) {
            sojourns.add(row.sojourn_ns);
        }
        let flow = row.flow as usize;
        if self.bits.len() <= flow {
            self.bits.resize(flow + 1, 0.0);
        }
        self.bits[flow] += f64::from(row.bytes) * 8.0;
    }

    /// The numbers up to `until_ns`, on a link of `bits_per_s`. Jain's index is over
    /// all flows that sent, by bytes on the wire.
    pub fn outcome(&self, until_ns: u64, bits_per_s: u64) -> Outcome {
        let seconds = until_ns.saturating_sub(self.since_ns) as f64 / 1e9;
        let [classic, l4s] = &self.sojourns;
        let ms = |ns: u64| ns as f64 / 1e6;
        let mean = |of: &Histogram| of.mean().map(|ns| ns / 1e6);
        Outcome {
            utilisation: self.bits.iter().sum::<f64>() / (bits_per_s as f64 * seconds).max(1.0),
            classic_mean_ms: mean(classic),
            classic_p50_ms: classic.quantile(0.5).map(ms),
            classic_p99_ms: classic.quantile(0.99).map(ms),
            l4s_mean_ms: mean(l4s),
            l4s_p99_ms: l4s.quantile(0.99).map(ms),
            jain: jain(&self.bits),
            drop_share: (self.left > 0).then(|| self.dropped as f64 / self.left as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_has_its_own_packets_only() {
        let row = |time_ms: u64, flow, action, sojourn_ms: u64| PacketRow {
            time_ns: time_ms * 1_000_000,
            flow,
            queue: 0,
            action,
            ecn: 0,
            bytes: 1250,
            sojourn_ns: sojourn_ms * 1_000_000,
        };
        let mut phase = Phase::new(1_000_000_000);
        for row in [
            row(999, 0, 0, 900),
            row(1000, 0, 0, 10),
            row(1500, 1, 2, 20),
            row(1600, 1, 1, 0),
        ] {
            phase.add(&row);
        }
        let outcome = phase.outcome(2_000_000_000, 40_000);
        assert_eq!(outcome.utilisation, 0.5);
        assert_eq!(outcome.classic_mean_ms.map(f64::round), Some(15.0));
        assert_eq!(outcome.l4s_mean_ms, None);
        assert_eq!(outcome.jain, Some(1.0));
        assert_eq!(outcome.drop_share, Some(1.0 / 3.0));
    }
}
