//! Values on the screen: differences of two samples, and the last ones.

use std::collections::VecDeque;

use l4sllm_abi::{Queue, Stats, raw};
use l4sllmd::metrics::openmetrics::DeviceSnapshot;
use l4sllmd::status::{Counters, Status};
use serde::Serialize;

/// Number of samples that the charts show.
const KEPT: usize = 200;

/// The daemon and its device at one time.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Time since the start, s.
    pub time_s: f64,
    pub status: Status,
    /// None if the device cannot be read.
    pub device: Option<DeviceSnapshot>,
}

/// The last samples.
#[derive(Debug, Default)]
pub struct History {
    before: Option<Sample>,
    now: Option<Sample>,
    /// 99th percentiles of the delay of the classic and the L4S queue, us.
    pub delays: [VecDeque<u64>; 2],
    /// The error of the last query, if it failed.
    pub error: Option<String>,
}

impl History {
    /// Adds a sample.
    pub fn push(&mut self, sample: Sample) {
        self.error = None;
        self.before = self.now.replace(sample);
        let Some(queues) = self.queues() else {
            return;
        };
        for (delays, queue) in self.delays.iter_mut().zip(&queues) {
            if delays.len() == KEPT {
                delays.pop_front();
            }
            delays.push_back(queue.p99_ms.map_or(0, |ms| (ms * 1e3) as u64));
        }
    }

    /// Notes that the daemon did not answer.
    pub fn fail(&mut self, error: String) {
        self.error = Some(error);
    }

    /// The newest sample.
    pub fn now(&self) -> Option<&Sample> {
        self.now.as_ref()
    }

    /// Time between the last two samples, s; none before the second, or if another
    /// daemon answered.
    fn interval_s(&self) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?, self.now.as_ref()?);
        let same = before.status.pid == now.status.pid;
        (same && now.time_s > before.time_s).then_some(now.time_s - before.time_s)
    }

    /// Events a second of a counter of the daemon.
    pub fn rate(&self, counter: fn(&Counters) -> u64) -> Option<f64> {
        let seconds = self.interval_s()?;
        let (before, now) = (self.before.as_ref()?, self.now.as_ref()?);
        let of = |sample: &Sample| counter(&sample.status.counters);
        Some(of(now).wrapping_sub(of(before)) as f64 / seconds)
    }

    /// Events a second of a counter of the device.
    pub fn device_rate(&self, counter: fn(&Stats) -> u64) -> Option<f64> {
        let (before, now) = self.devices()?;
        let events = counter(&now.stats).wrapping_sub(counter(&before.stats));
        Some(events as f64 / self.interval_s()?)
    }

    /// The classic and the L4S queue since the previous sample.
    pub fn queues(&self) -> Option<[QueueRates; 2]> {
        let (before, now) = self.devices()?;
        Some(queue_rates(before, now, self.interval_s()?))
    }

    /// The last two readings of the device; none if it restarted between them.
    fn devices(&self) -> Option<(&DeviceSnapshot, &DeviceSnapshot)> {
        let before = self.before.as_ref()?.device.as_ref()?;
        let now = self.now.as_ref()?.device.as_ref()?;
        (now.stats.packets_in >= before.stats.packets_in).then_some((before, now))
    }
}

/// The classic and the L4S queue between two readings of a device, `seconds` apart.
pub fn queue_rates(before: &DeviceSnapshot, now: &DeviceSnapshot, seconds: f64) -> [QueueRates; 2] {
    [Queue::Classic, Queue::L4s].map(|queue| {
        let (before, now) = (before.queues.queue(queue), now.queues.queue(queue));
        let rate = |value: fn(&raw::l4s_queue_stats) -> u64| {
            value(&now).wrapping_sub(value(&before)) as f64 / seconds
        };
        let mut bins = [0; 32];
        for (bin, (now, before)) in bins.iter_mut().zip(now.delays.iter().zip(before.delays)) {
            *bin = now.wrapping_sub(before);
        }
        let edge = |bin| now.bin_from_ns(bin);
        QueueRates {
            mbit_s: rate(|q| q.forwarded_bytes) * 8.0 / 1e6,
            packets_s: rate(|q| q.packets_in),
            marks_s: rate(|q| q.marked),
            drops_s: rate(|q| q.dropped),
            waiting: now.queued,
            p50_ms: quantile_ms(&bins, edge, 0.5),
            p99_ms: quantile_ms(&bins, edge, 0.99),
        }
    })
}

/// One queue in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QueueRates {
    pub mbit_s: f64,
    pub packets_s: f64,
    pub marks_s: f64,
    pub drops_s: f64,
    /// Packets waiting now.
    pub waiting: u64,
    /// Percentiles of the delay of packets that left; none without packets.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// A quantile of a histogram whose bins begin at `edge`, ns: linear within a bin;
/// the last bin counts as twice its beginning.
fn quantile_ms(bins: &[u64; 32], edge: impl Fn(usize) -> u64, share: f64) -> Option<f64> {
    let total: u64 = bins.iter().sum();
    let mut left = share * total as f64;
    for (bin, count) in bins.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && left <= count {
            let from = edge(bin) as f64;
            let to = match bin + 1 < bins.len() {
                true => edge(bin + 1) as f64,
                false => 2.0 * from,
            };
            return Some((from + (to - from) * left / count) / 1e6);
        }
        left -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_their_bin() {
        let edge = |bin: usize| bin as u64 * 1_000_000;
        let mut bins = [0; 32];
        assert_eq!(quantile_ms(&bins, edge, 0.5), None);
        bins[3] = 98;
        bins[7] = 2;
        let p50 = quantile_ms(&bins, edge, 0.5).expect("packets");
        assert!((3.0..4.0).contains(&p50), "{p50}");
        let p99 = quantile_ms(&bins, edge, 0.99).expect("packets");
        assert!((7.0..8.0).contains(&p99), "{p99}");
    }
}
