//! Counters and measurements of a router.

use std::fmt;

use l4sllm_abi::{Queue, Stats};
use l4sllm_testbed::net::BottleneckCounts;
use l4sllm_testbed::result::Histogram;
use serde::Serialize;

use crate::Side;

/// Packets by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Read at IN.
    pub received: u64,
    /// Read at OUT.
    pub back_received: u64,
    /// Read at either end and not forwarded.
    pub refused: Refused,
    /// Dropped by the queue: classic, L4S.
    pub dropped: [u64; 2],
    /// Marked by the queue and forwarded: classic, L4S.
    pub marked: [u64; 2],
    /// Lost behind the link, at the scenario's loss rate.
    pub lost: u64,
    /// Written at OUT.
    pub sent: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Written at IN.
    pub back_sent: u64,
    /// Dropped by the buffer of the return path.
    pub back_dropped: u64,
    /// Refused by the outgoing interface.
    pub undelivered: u64,
}

/// Packets that were not forwarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Not IPv4 or IPv6.
    pub not_ip: u64,
    /// Shorter than an IP header.
    pub short: u64,
    /// Longer than the MTU: the sender's host uses segmentation offload or a
    /// larger MTU.
    pub too_long: u64,
    /// The router's memory was full.
    pub no_memory: u64,
}

impl Refused {
    /// Total.
    pub fn total(&self) -> u64 {
        self.not_ip + self.short + self.too_long + self.no_memory
    }
}

impl Counts {
    pub(crate) fn received(&mut self, from: Side) {
        match from {
            Side::In => self.received += 1,
            Side::Out => self.back_received += 1,
        }
    }

    pub(crate) fn sent(&mut self, to: Side, bytes: usize, taken: bool) {
        match (to, taken) {
            (_, false) => self.undelivered += 1,
            (Side::In, true) => self.back_sent += 1,
            (Side::Out, true) => {
                self.sent += 1;
                self.sent_bytes += bytes as u64;
            }
        }
    }
}

/// Counters and distributions of a router up to some time.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Time since the start, ns.
    pub elapsed_ns: u64,
    /// Bits that the link could send in that time.
    pub capacity_bits: u128,
    /// Packets.
    pub counts: Counts,
    /// Packets counted by the bottleneck.
    pub queue: BottleneckCounts,
    /// Packets in the queue.
    pub queued: u64,
    /// Packets on the link, including its delay.
    pub under_way: u64,
    /// Time in the queue of packets forwarded, ns: classic, L4S.
    pub sojourns: [Histogram; 2],
    /// Time from a packet's departure time at OUT to its write, ns.
    pub lateness: Histogram,
}

impl Default for Measured {
    fn default() -> Measured {
        Measured {
            elapsed_ns: 0,
            capacity_bits: 0,
            counts: Counts::default(),
            queue: BottleneckCounts::default(),
            queued: 0,
            under_way: 0,
            sojourns: [Histogram::coarse(), Histogram::coarse()],
            lateness: Histogram::coarse(),
        }
    }
}

impl Measured {
    /// Bits written at OUT relative to the link's capacity.
    pub fn utilisation(&self) -> f64 {
        match self.capacity_bits {
            0 => 0.0,
            bits => self.counts.sent_bytes as f64 * 8.0 / bits as f64,
        }
    }

    /// The first sum that does not balance, with both sides; `None` if every packet
    /// is accounted for.
    pub fn imbalance(&self) -> Option<(&'static str, u64, u64)> {
        let counts = &self.counts;
        let queue = &self.queue;
        let all = counts.received + counts.back_received;
        let ends = counts.sent + counts.back_sent + counts.lost + counts.undelivered;
        let dropped = counts.dropped.iter().sum::<u64>();
        [
            (
                "received",
                all,
                counts.refused.total()
                    + ends
                    + dropped
                    + counts.back_dropped
                    + self.queued
                    + self.under_way,
            ),
            (
                "arrived at the queue",
                queue.arrived,
                queue.forwarded + queue.dropped + self.queued,
            ),
            ("dropped by the queue", queue.dropped, dropped),
        ]
        .into_iter()
        .find(|(_, left, right)| left != right)
    }

    /// The numbers for files, with the queue's own counters.
    pub fn summary(&self, stats: Option<&Stats>) -> Summary {
        let ms = |ns: u64| ns as f64 / 1e6;
        let seconds = self.elapsed_ns as f64 / 1e9;
        Summary {
            elapsed_s: seconds,
            rate_bits_per_s: self.counts.sent_bytes as f64 * 8.0 / seconds.max(1e-9),
            utilisation: self.utilisation(),
            counts: self.counts,
            queued: self.queued,
            under_way: self.under_way,
            drops: stats.map(|stats| Drops {
                tail: stats.drops_tail,
                aqm: stats.drops_base,
                overrides: stats.drops_override,
            }),
            marks: stats.map(|stats| Marks {
                classic: stats.marks_classic,
                native: stats.marks_native,
                coupled: stats.marks_coupled,
                overrides: stats.marks_override,
            }),
            overrides: stats.map(|stats| Overrides {
                received: stats.overrides_received,
                applied: stats.overrides_applied,
                expired: stats.overrides_expired,
                refused: stats.overrides_refused,
                replaced: stats.overrides_replaced,
            }),
            sojourn_ms: Queue::ALL
                .iter()
                .map(|queue| Percentiles::of(&self.sojourns[*queue as usize], ms))
                .collect(),
            lateness_us: Percentiles::of(&self.lateness, |ns| ns as f64 / 1e3),
        }
    }
}

/// Summary for output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Run time, seconds.
    pub elapsed_s: f64,
    /// Rate written at OUT, bits per second.
    pub rate_bits_per_s: f64,
    /// The same relative to the link's capacity.
    pub utilisation: f64,
    /// Packets.
    #[serde(flatten)]
    pub counts: Counts,
    /// Now in the queue.
    pub queued: u64,
    /// Now on the link, including its delay.
    pub under_way: u64,
    /// By cause; `None` for a queue without a device.
    pub drops: Option<Drops>,
    /// Likewise.
    pub marks: Option<Marks>,
    /// Overrides sent by a controller.
    pub overrides: Option<Overrides>,
    /// Sojourn time, ms: classic, L4S.
    pub sojourn_ms: Vec<Option<Percentiles>>,
    /// Lateness of packets written at OUT, us.
    pub lateness_us: Option<Percentiles>,
}

/// Packets that the queue dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// On arrival, at the queue limit.
    pub tail: u64,
    /// By DualPI2.
    pub aqm: u64,
    /// By overrides.
    pub overrides: u64,
}

/// Packets that the queue marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// In the classic queue.
    pub classic: u64,
    /// In the L4S queue, by its threshold.
    pub native: u64,
    /// In the L4S queue, by the coupled probability.
    pub coupled: u64,
    /// By overrides.
    pub overrides: u64,
}

/// Overrides by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Overrides {
    /// Accepted by the device.
    pub received: u64,
    /// Applied to a packet, or active until replaced.
    pub applied: u64,
    /// Received too late.
    pub expired: u64,
    /// Out of range.
    pub refused: u64,
    /// Replaced before they took effect.
    pub replaced: u64,
}

/// Quantiles of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

impl Percentiles {
    fn of(histogram: &Histogram, unit: impl Fn(u64) -> f64) -> Option<Percentiles> {
        let at = |q| histogram.quantile(q).map(&unit);
        Some(Percentiles {
            p50: at(0.5)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            max: unit(histogram.most()?),
        })
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles {
            p50,
            p99,
            p999,
            max,
        } = self;
        write!(
            f,
            "p50 {p50:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {max:.3}"
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "time         {:.1} s, {:.3} Mbit/s, utilisation {:.1} %",
            self.elapsed_s,
            self.rate_bits_per_s / 1e6,
            100.0 * self.utilisation
        )?;
        writeln!(
            f,
            "packets      {} in, {} out; back {} in, {} out; {} queued, {} in transit",
            c.received, c.sent, c.back_received, c.back_sent, self.queued, self.under_way
        )?;
        write!(
            f,
            "dropped      classic {}, L4S {}",
            c.dropped[0], c.dropped[1]
        )?;
        if let Some(drops) = &self.drops {
            write!(
                f,
                " (limit {}, DualPI2 {}, overrides {})",
                drops.tail, drops.aqm, drops.overrides
            )?;
        }
        write!(
            f,
            "\nmarked       classic {}, L4S {}",
            c.marked[0], c.marked[1]
        )?;
        if let Some(marks) = &self.marks {
            write!(
                f,
                " (classic {}, threshold {}, coupled {}, overrides {})",
                marks.classic, marks.native, marks.coupled, marks.overrides
            )?;
        }
        if let Some(overrides) = self.overrides.filter(|overrides| overrides.received > 0) {
            write!(
                f,
                "\noverrides    {} received: {} applied, {} expired, {} refused, {} replaced",
                overrides.received,
                overrides.applied,
                overrides.expired,
                overrides.refused,
                overrides.replaced
            )?;
        }
        writeln!(
            f,
            "\nlost         {} after the link, {} on the return path, {} refused by an interface",
            c.lost, c.back_dropped, c.undelivered
        )?;
        let r = &c.refused;
        writeln!(
            f,
            "refused      {} not IP, {} shorter than a header, {} longer than the MTU, {} no memory",
            r.not_ip, r.short, r.too_long, r.no_memory
        )?;
        for (queue, sojourn) in ["classic", "L4S"].into_iter().zip(&self.sojourn_ms) {
            if let Some(sojourn) = sojourn {
                writeln!(f, "{:<12} {sojourn} ms in the queue", queue)?;
            }
        }
        match &self.lateness_us {
            Some(late) => writeln!(f, "late         {late} us"),
            None => Ok(()),
        }
    }
}
