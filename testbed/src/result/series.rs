//! Rows aggregated into bins of time, for figures.

use super::histogram::Histogram;
use super::{PacketRow, RateStep, RunMeta, Window};

/// One bin of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Bin {
    /// Middle of the bin, s since the start of the measured time.
    pub time_s: f64,
    /// Bits sent, divided by the capacity.
    pub utilisation: f64,
    /// Bits sent in it: classic, L4S.
    pub sent_bits: [f64; 2],
    /// Capacity of the bin, bits.
    pub capacity_bits: f64,
    /// Sojourn times of packets that left in the bin, ns: classic, L4S.
    pub sojourn_ns: [Histogram; 2],
}

/// Aggregates packets into bins as they arrive.
#[derive(Debug)]
pub struct Series {
    window: Window,
    width_ns: u64,
    bits: Vec<[f64; 2]>,
    sojourn_ns: Vec<[Histogram; 2]>,
}

/// Aggregates `packets` into bins of `width_ns`.
pub fn bins(packets: &[PacketRow], meta: &RunMeta, width_ns: u64) -> Vec<Bin> {
    let mut series = Series::new(meta.window(), width_ns);
    series.add(packets);
    series.finish()
}

impl Series {
    /// Bins of `width_ns` over the measured time. An incomplete last bin is omitted.
    pub fn new(window: Window, width_ns: u64) -> Series {
        let width_ns = width_ns.max(1);
        let count = (window.end_ns.saturating_sub(window.start_ns) / width_ns) as usize;
        Series {
            window,
            width_ns,
            bits: vec![[0.0; 2]; count],
            sojourn_ns: (0..count).map(|_| none()).collect(),
        }
    }

    /// Like [`Series::new`], without sojourn times.
    pub fn of_utilisation(window: Window, width_ns: u64) -> Series {
        let mut series = Series::new(window, width_ns);
        series.sojourn_ns = Vec::new();
        series
    }

    /// Adds packets. A packet contributes to utilisation during its transmission, in
    /// every bin that it touches.
    pub fn add(&mut self, packets: &[PacketRow]) {
        for row in packets.iter().filter(|row| row.forwarded()) {
            let queue = usize::from(row.queue.min(1));
            for (index, share) in spread(row, &self.window, self.width_ns) {
                if let Some(bin) = self.bits.get_mut(index) {
                    bin[queue] += share;
                }
            }
            let Some(offset) = row.time_ns.checked_sub(self.window.start_ns) else {
                continue;
            };
            let index = (offset / self.width_ns) as usize;
            if let Some(bin) = self.sojourn_ns.get_mut(index) {
                bin[queue].add(row.sojourn_ns);
            }
        }
    }

    /// The bins.
    pub fn finish(self) -> Vec<Bin> {
        let sojourn_ns = self
            .sojourn_ns
            .into_iter()
            .chain(std::iter::repeat_with(none));
        let bins = self.bits.into_iter().zip(sojourn_ns).enumerate();
        bins.map(|(index, (sent_bits, sojourn_ns))| {
            let from = self.window.start_ns + index as u64 * self.width_ns;
            let capacity = capacity_bits(&self.window.capacity, from, from + self.width_ns);
            let sent: f64 = sent_bits.iter().sum();
            Bin {
                time_s: (index as f64 + 0.5) * self.width_ns as f64 / 1e9,
                utilisation: if capacity > 0.0 { sent / capacity } else { 0.0 },
                sent_bits,
                capacity_bits: capacity,
                sojourn_ns,
            }
        })
        .collect()
    }
}

fn none() -> [Histogram; 2] {
    [Histogram::coarse(), Histogram::coarse()]
}

/// Bits that the bottleneck can send from `from_ns` to `to_ns`.
pub(super) fn capacity_bits(steps: &[RateStep], from_ns: u64, to_ns: u64) -> f64 {
    let mut bits = 0.0;
    for (index, step) in steps.iter().enumerate() {
        let until = steps
            .get(index + 1)
            .map_or(u64::MAX, |next| next.from_ns)
            .min(to_ns);
        // The first rate also applies before its time.
        let since = if index == 0 {
            from_ns
        } else {
            step.from_ns.max(from_ns)
        };
        if until > since {
            bits += step.bits_per_s as f64 * (until - since) as f64 / 1e9;
        }
    }
    bits
}

/// The bits of `row` that were sent between `from_ns` and `to_ns`.
pub(super) fn bits_within(row: &PacketRow, steps: &[RateStep], from_ns: u64, to_ns: u64) -> f64 {
    let bits = f64::from(row.bytes) * 8.0;
    let lasts = transmission_ns(row, steps);
    let end = row.time_ns.saturating_add(lasts);
    if lasts == 0 {
        let inside = row.time_ns >= from_ns && row.time_ns < to_ns;
        return if inside { bits } else { 0.0 };
    }
    let inside = end.min(to_ns).saturating_sub(row.time_ns.max(from_ns));
    bits * inside as f64 / lasts as f64
}

/// Transmission time of `row`. The rate is the one at its start; if it changes in the
/// meantime, the error is less than this packet.
fn transmission_ns(row: &PacketRow, steps: &[RateStep]) -> u64 {
    let index = steps
        .partition_point(|step| step.from_ns <= row.time_ns)
        .saturating_sub(1);
    let rate = steps.get(index).map_or(0, |step| step.bits_per_s);
    (u64::from(row.bytes) * 8_000_000_000)
        .checked_div(rate)
        .unwrap_or(0)
}

/// Bins that `row` touches and the bits that it sent in each.
fn spread<'a>(
    row: &'a PacketRow,
    meta: &'a Window,
    width_ns: u64,
) -> impl Iterator<Item = (usize, f64)> + 'a {
    let lasts = transmission_ns(row, &meta.capacity);
    let last = row
        .time_ns
        .saturating_add(lasts.saturating_sub(1))
        .min(meta.end_ns);
    let first = row.time_ns.max(meta.start_ns);
    let index = |time: u64| (time - meta.start_ns) / width_ns;
    let range = if last >= first {
        index(first)..index(last) + 1
    } else {
        0..0
    };
    range.map(move |bin| {
        let from = meta.start_ns + bin * width_ns;
        (
            bin as usize,
            bits_within(row, &meta.capacity, from, from + width_ns),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> RunMeta {
        RunMeta {
            start_ns: 1_000_000_000,
            end_ns: 2_000_000_000,
            capacity: vec![
                RateStep {
                    from_ns: 0,
                    bits_per_s: 12_000_000,
                },
                RateStep {
                    from_ns: 1_500_000_000,
                    bits_per_s: 6_000_000,
                },
            ],
            ..RunMeta::default()
        }
    }

    fn row(time_ns: u64) -> PacketRow {
        PacketRow {
            time_ns,
            bytes: 1500,
            sojourn_ns: 7,
            ..PacketRow::default()
        }
    }

    #[test]
    fn capacity_follows_the_schedule() {
        let bits = capacity_bits(&meta().capacity, 1_000_000_000, 2_000_000_000);
        assert!((bits - 9_000_000.0).abs() < 1e-6, "{bits}");
    }

    #[test]
    fn packet_is_split_between_its_bins() {
        // 1500 bytes at 12 Mbit/s last 1 ms; this one begins 0.25 ms before a border.
        let bins = bins(&[row(1_099_750_000)], &meta(), 100_000_000);
        assert_eq!(bins.len(), 10);
        assert!((bins[0].utilisation - 0.25 * 12_000.0 / 1_200_000.0).abs() < 1e-12);
        assert!((bins[1].utilisation - 0.75 * 12_000.0 / 1_200_000.0).abs() < 1e-12);
        assert_eq!(bins[1].sent_bits, [0.75 * 12_000.0, 0.0]);
        assert_eq!(bins[1].capacity_bits, 1_200_000.0);
        // The delay counts at the time of departure.
        assert_eq!(bins[0].sojourn_ns[0].quantile(0.5), Some(7));
        assert!(bins[1].sojourn_ns[0].is_empty());
    }

    #[test]
    fn busy_link_has_full_utilisation() {
        let mut rows = Vec::new();
        let mut time = 990_300_000;
        while time < 2_010_000_000 {
            rows.push(row(time));
            time += transmission_ns(&row(time), &meta().capacity);
        }
        for bin in bins(&rows, &meta(), 50_000_000) {
            assert!((bin.utilisation - 1.0).abs() < 0.02, "{bin:?}");
        }
    }

    #[test]
    fn drops_count_in_neither_utilisation_nor_delay() {
        let dropped = PacketRow {
            action: 1,
            ..row(1_200_000_000)
        };
        let bins = bins(&[dropped], &meta(), 100_000_000);
        assert!(
            bins.iter()
                .all(|bin| bin.utilisation == 0.0 && bin.sojourn_ns[0].is_empty())
        );
    }
}
