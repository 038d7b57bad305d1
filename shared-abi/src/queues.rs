//! Statistics of the two queues (RFC 9332, section 2.5.2.2).

use crate::bytes::Plain;
use crate::{AbiError, Queue, check, check_layout, raw};

/// Both queues of an instance and their controller, or the sum over all
/// instances; accessible through `Deref`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(transparent)]
pub struct Queues(raw::l4s_queues);

impl Queues {
    /// The request for one instance or, with `sched` 0, for all.
    pub fn question(sched: u32, instance: u32) -> raw::l4s_queues {
        raw::l4s_queues {
            version: raw::L4S_ABI_VERSION as u16,
            length: size_of::<raw::l4s_queues>() as u32,
            sched,
            instance,
            ..Default::default()
        }
    }

    /// One of the two queues.
    pub fn queue(&self, queue: Queue) -> QueueStats<'_> {
        QueueStats(&self.0.queue[queue as usize])
    }

    /// The first violated accounting identity of the header, with its queue and
    /// its two sides; `None` if all hold.
    pub fn imbalance(&self) -> Option<(Queue, &'static str, u64, u64)> {
        Queue::ALL.iter().find_map(|queue| {
            let (name, left, right) = self.queue(*queue).imbalance()?;
            Some((*queue, name, left, right))
        })
    }
}

impl std::ops::Deref for Queues {
    type Target = raw::l4s_queues;
    fn deref(&self) -> &raw::l4s_queues {
        &self.0
    }
}

impl TryFrom<raw::l4s_queues> for Queues {
    type Error = AbiError;
    /// Checks version, length and probabilities; counters have no range.
    fn try_from(q: raw::l4s_queues) -> Result<Self, AbiError> {
        let what = raw::l4s_queues::NAME;
        check_layout(what, q.version, q.pad0, q.length, size_of_val(&q))?;
        for (field, p) in [
            ("base_probability", q.base_probability),
            ("classic_probability", q.classic_probability),
            ("coupled_probability", q.coupled_probability),
        ] {
            let ok = p <= raw::L4S_PROB_ONE;
            check(ok, what, field, u64::from(p), "0..=2147483647 (Q31)")?;
        }
        Ok(Queues(q))
    }
}

/// One queue of [`Queues`], accessible through `Deref`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueStats<'a>(&'a raw::l4s_queue_stats);

impl QueueStats<'_> {
    /// Mean delay of forwarded packets, ns; `None` before the first.
    pub fn mean_delay_ns(&self) -> Option<f64> {
        (self.0.forwarded != 0).then(|| self.0.delay_sum_ns as f64 / self.0.forwarded as f64)
    }

    /// The lower bound of a bin of `delays`, ns.
    pub fn bin_from_ns(&self, bin: usize) -> u64 {
        bin_edge_ns(bin)
    }

    /// The delay quantile of forwarded packets for a share from 0 to 1, ns:
    /// linear within a bin, so the error is less than the bin's width; the last
    /// bin ends at the maximum delay. `None` before the first packet.
    pub fn delay_quantile_ns(&self, share: f64) -> Option<f64> {
        let total: u64 = self.0.delays.iter().sum();
        let mut left = share.clamp(0.0, 1.0) * total as f64;
        for (bin, &count) in self.0.delays.iter().enumerate() {
            let count = count as f64;
            if count > 0.0 && left <= count {
                let from = bin_edge_ns(bin) as f64;
                let to = match bin + 1 {
                    next if next < self.0.delays.len() => bin_edge_ns(next) as f64,
                    _ => (self.0.delay_max_ns as f64).max(from),
                };
                let delay = from + (to - from) * left / count;
                return Some(delay.min((self.0.delay_max_ns as f64).max(from)));
            }
            left -= count;
        }
        None
    }

    fn imbalance(&self) -> Option<(&'static str, u64, u64)> {
        let q = self.0;
        let sum = |parts: &[u64]| parts.iter().fold(0u64, |a, b| a.wrapping_add(*b));
        [
            (
                "packets_in",
                q.packets_in,
                sum(&[q.forwarded, q.dropped, q.queued]),
            ),
            (
                "bytes_in",
                q.bytes_in,
                sum(&[q.forwarded_bytes, q.dropped_bytes, q.queued_bytes]),
            ),
            (
                "dropped",
                q.dropped,
                sum(&[q.drops_tail, q.drops_ecn, q.drops_not_ect, q.drops_flush]),
            ),
            ("forwarded", q.forwarded, sum(&q.delays)),
        ]
        .into_iter()
        .find(|(_, left, right)| left != right)
    }
}

impl std::ops::Deref for QueueStats<'_> {
    type Target = raw::l4s_queue_stats;
    fn deref(&self) -> &raw::l4s_queue_stats {
        self.0
    }
}

/// `L4S_DELAY_BIN_NS`: the lower bound of a bin.
fn bin_edge_ns(bin: usize) -> u64 {
    match bin {
        0 => 0,
        _ => (2 + ((bin as u64 - 1) & 1)) << (13 + (bin - 1) / 2),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn queues(change: impl Fn(&mut raw::l4s_queue_stats)) -> Queues {
        let mut raw = Queues::question(0, 0);
        change(&mut raw.queue[Queue::L4s as usize]);
        Queues::try_from(raw).unwrap()
    }

    #[test]
    fn mean_and_quantiles_come_from_the_histogram() {
        let none = queues(|_| ());
        assert_eq!(none.queue(Queue::L4s).mean_delay_ns(), None);
        assert_eq!(none.queue(Queue::L4s).delay_quantile_ns(0.99), None);

        // 98 packets of 20 us, and 2 of 3 ms.
        let some = queues(|q| {
            q.forwarded = 100;
            q.packets_in = 100;
            q.delay_sum_ns = 98 * 20_000 + 2 * 3_000_000;
            q.delay_max_ns = 3_000_000;
            q.delays[1] = 98;
            q.delays[15] = 2;
        });
        assert_eq!(some.imbalance(), None);
        let l4s = some.queue(Queue::L4s);
        assert_eq!(l4s.mean_delay_ns(), Some(79_600.0));
        let median = l4s.delay_quantile_ns(0.5).unwrap();
        assert!((16_384.0..24_576.0).contains(&median), "{median}");
        let p99 = l4s.delay_quantile_ns(0.99).unwrap();
        assert!((2_097_152.0..=3_000_000.0).contains(&p99), "{p99}");
        assert_eq!(l4s.delay_quantile_ns(1.0), Some(3_000_000.0));
        assert_eq!(some.queue(Queue::Classic).forwarded, 0);

        // Beyond the last edge: up to the observed maximum.
        let last = queues(|q| {
            q.forwarded = 100;
            q.packets_in = 100;
            q.delay_max_ns = 5_000_000_000;
            q.delays[31] = 100;
        });
        let l4s = last.queue(Queue::L4s);
        assert_eq!(l4s.delay_quantile_ns(1.0), Some(5_000_000_000.0));
        assert!(l4s.delay_quantile_ns(0.5).unwrap() > 2_000_000_000.0);
    }

    #[test]
    fn names_the_violated_identity_and_its_queue() {
        let lost = queues(|q| q.packets_in = 1);
        assert_eq!(lost.imbalance(), Some((Queue::L4s, "packets_in", 1, 0)));
    }

    #[test]
    fn rejects_probability_above_one() {
        let mut raw = Queues::question(0, 0);
        raw.classic_probability = raw::L4S_PROB_ONE + 1;
        let error = Queues::try_from(raw).unwrap_err().to_string();
        assert!(error.contains("classic_probability"), "{error}");
    }
}
