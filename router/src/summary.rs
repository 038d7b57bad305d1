//! What a router did.

use std::fmt;

use l4sllm_abi::{Queue, Stats};
use l4sllm_testbed::net::BottleneckCounts;
use l4sllm_testbed::result::Histogram;
use serde::Serialize;

use crate::Side;

/// Packets, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Read at IN.
    pub received: u64,
    /// Read at OUT.
    pub back_received: u64,
    /// Read and not forwarded, at either.
    pub refused: Refused,
    /// Dropped by the queue: classic, L4S.
    pub dropped: [u64; 2],
    /// Marked by the queue and forwarded: classic, L4S.
    pub marked: [u64; 2],
    /// Lost behind the link, as the scenario says.
    pub lost: u64,
    /// Written at OUT.
    pub sent: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Written at IN.
    pub back_sent: u64,
    /// Dropped by the buffer of the way back.
    pub back_dropped: u64,
    /// Not taken by the interface that they were for.
    pub undelivered: u64,
}

/// Packets that were not forwarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Neither IPv4 nor IPv6.
    pub not_ip: u64,
    /// Shorter than an IP header.
    pub short: u64,
    /// Longer than the MTU: segments that the sender's host left to the
    /// interface, or another MTU there.
    pub too_long: u64,
    /// The router's memory was full.
    pub no_memory: u64,
}

impl Refused {
    /// All of them.
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

/// Counts and distributions of a router, up to a moment.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Since its start, ns.
    pub elapsed_ns: u64,
    /// Bits that the link could send in that time.
    pub capacity_bits: u128,
    /// Packets.
    pub counts: Counts,
    /// Packets, as the bottleneck counts them.
    pub queue: BottleneckCounts,
    /// Packets that wait in the queue.
    pub queued: u64,
    /// Packets that are on the link or its delay.
    pub under_way: u64,
    /// Time in the queue of packets forwarded, ns: classic, L4S.
    pub sojourns: [Histogram; 2],
    /// From when a packet was due at OUT to when it was written, ns.
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
    /// Bits written at OUT over what the link could send.
    pub fn utilisation(&self) -> f64 {
        match self.capacity_bits {
            0 => 0.0,
            bits => self.counts.sent_bytes as f64 * 8.0 / bits as f64,
        }
    }

    /// The first sum that does not add up, with its two sides; none if every packet
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

    /// The numbers of this for files, with what the queue itself counted.
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

/// What is printed and written of a router.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Run time, seconds.
    pub elapsed_s: f64,
    /// Written at OUT, bits per second.
    pub rate_bits_per_s: f64,
    /// Over what the link could send.
    pub utilisation: f64,
    /// Packets.
    #[serde(flatten)]
    pub counts: Counts,
    /// In the queue now.
    pub queued: u64,
    /// On the link or its delay now.
    pub under_way: u64,
    /// By cause; none of a queue without a device.
    pub drops: Option<Drops>,
    /// Likewise.
    pub marks: Option<Marks>,
    /// What a controller sent.
    pub overrides: Option<Overrides>,
    /// Time in the queue, ms: classic, L4S.
    pub sojourn_ms: Vec<Option<Percentiles>>,
    /// Of packets written at OUT, us.
    pub lateness_us: Option<Percentiles>,
}

/// Packets that the queue dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// On arrival, by its limit.
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

/// Overrides, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Overrides {
    /// Taken by the device.
    pub received: u64,
    /// In force for a packet or until the next one.
    pub applied: u64,
    /// Too late.
    pub expired: u64,
    /// Beyond the limits.
    pub refused: u64,
    /// Followed by another before they came into force.
    pub replaced: u64,
}

/// Of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the values do not exceed it.
    pub p50: f64,
    /// 99 % do not.
    pub p99: f64,
    /// 99.9 % do not.
    pub p999: f64,
    /// The greatest.
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
            "packets      {} in, {} out; back {} in, {} out; {} queued, {} under way",
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
            "\nlost         {} behind the link, {} on the way back, {} not taken by an interface",
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
