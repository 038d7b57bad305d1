//! Senders over time, from samples of their state.

use std::collections::{BTreeMap, BTreeSet};

use l4sllm_testbed::result::{FlowRow, RunMeta};

/// Maximum number of senders of each queue with a separate line.
pub(super) const MOST_LINES: usize = 6;

/// A sender over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FlowLine {
    /// Name, with its congestion control.
    pub name: String,
    /// 0 classic, 1 L4S.
    pub queue: u8,
    /// Points by bin; none if the sender was not sampled.
    pub points: Vec<Option<FlowPoint>>,
}

/// A sender in one bin of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FlowPoint {
    /// Time of the last sample in the bin, s.
    pub time_s: f64,
    /// Throughput since the last sample in an earlier bin, Mbit/s; none in the
    /// first bin.
    pub mbps: Option<f64>,
    /// Congestion window, kB.
    pub window_kb: f64,
}

/// Collects samples as they arrive.
#[derive(Debug)]
pub(super) struct FlowLines {
    /// Name and queue of every flow.
    flows: Vec<(String, u8)>,
    width_ns: u64,
    bins: usize,
    /// The last sample in each bin, by flow.
    last: BTreeMap<u32, Vec<Option<FlowRow>>>,
    /// Flows that were sampled.
    seen: BTreeSet<u32>,
}

impl FlowLines {
    /// Creates bins of `width_ns` from the start of the run.
    pub(super) fn new(meta: &RunMeta, width_ns: u64) -> FlowLines {
        let flows = meta.flows.iter();
        FlowLines {
            flows: flows
                .map(|flow| (named(&flow.name, &flow.cc), flow.queue))
                .collect(),
            width_ns: width_ns.max(1),
            bins: (meta.end_ns / width_ns.max(1)) as usize,
            last: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Adds samples, in time order.
    pub(super) fn add(&mut self, rows: &[FlowRow]) {
        for row in rows {
            if self.seen.insert(row.flow) && self.has_room(row.flow) {
                self.last.insert(row.flow, vec![None; self.bins]);
            }
            let bin = (row.time_ns / self.width_ns) as usize;
            let own = self.last.get_mut(&row.flow);
            if let Some(slot) = own.and_then(|own| own.get_mut(bin)) {
                *slot = Some(*row);
            }
        }
    }

    /// Whether a newly sampled flow gets a line.
    fn has_room(&self, flow: u32) -> bool {
        let queue = |flow: u32| self.flows.get(flow as usize).map(|(_, queue)| *queue);
        let own = self.last.keys().filter(|of| queue(**of) == queue(flow));
        queue(flow).is_some() && own.count() < MOST_LINES
    }

    /// The lines, and the number of sampled senders.
    pub(super) fn finish(self) -> (Vec<FlowLine>, usize) {
        let lines = self.last.iter().map(|(flow, rows)| {
            let (name, queue) = self.flows[*flow as usize].clone();
            FlowLine {
                name,
                queue,
                points: points(rows),
            }
        });
        (lines.collect(), self.seen.len())
    }
}

/// A flow's name with its congestion control, unless the name includes it.
pub(super) fn named(name: &str, cc: &str) -> String {
    match name.contains(cc) {
        true => name.to_owned(),
        false => format!("{name} ({cc})"),
    }
}

fn points(rows: &[Option<FlowRow>]) -> Vec<Option<FlowPoint>> {
    let mut before: Option<FlowRow> = None;
    let point = |row: &Option<FlowRow>| {
        let row = (*row)?;
        let mbps = before.replace(row).map(|before| {
            let bytes = row.delivered_bytes.saturating_sub(before.delivered_bytes);
            let ns = row.time_ns.saturating_sub(before.time_ns).max(1);
            bytes as f64 * 8e3 / ns as f64
        });
        Some(FlowPoint {
            time_s: row.time_ns as f64 / 1e9,
            mbps,
            window_kb: row.cwnd_bytes as f64 / 1e3,
        })
    };
    rows.iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::result::FlowMeta;

    const MS: u64 = 1_000_000;

    fn meta(flows: u32) -> RunMeta {
        let flow = |number: u32| FlowMeta {
            name: format!("f{number}"),
            cc: "cubic".to_owned(),
            queue: u8::from(number % 2 == 1),
            start_ns: 0,
            end_ns: 1000 * MS,
            goodput_bytes: 0,
            retransmits: 0,
            fair: true,
            transfers: None,
        };
        RunMeta {
            end_ns: 1000 * MS,
            flows: (0..flows).map(flow).collect(),
            ..RunMeta::default()
        }
    }

    fn row(flow: u32, ms: u64, delivered_bytes: u64) -> FlowRow {
        FlowRow {
            time_ns: ms * MS,
            flow,
            cwnd_bytes: 3000,
            srtt_ns: 0,
            delivered_bytes,
        }
    }

    /// 125 kB in 100 ms are 10 Mbit/s, although a bin has 200 ms.
    #[test]
    fn throughput_is_delivered_bytes_between_samples() {
        let mut lines = FlowLines::new(&meta(1), 200 * MS);
        lines.add(&[row(0, 100, 0), row(0, 300, 100_000), row(0, 400, 225_000)]);
        let (lines, count) = lines.finish();
        assert_eq!((lines.len(), count, lines[0].points.len()), (1, 1, 5));
        let mbps: Vec<Option<f64>> = (lines[0].points.iter())
            .map(|point| point.and_then(|point| point.mbps))
            .collect();
        assert_eq!(mbps, [None, Some(4.0), Some(10.0), None, None]);
        assert_eq!(lines[0].name, "f0 (cubic)");
        assert_eq!(lines[0].points[0].unwrap().window_kb, 3.0);
        assert!(lines[0].points[3].is_none());
    }

    #[test]
    fn each_queue_has_lines_and_the_rest_is_counted() {
        let mut lines = FlowLines::new(&meta(40), 200 * MS);
        let rows: Vec<FlowRow> = (0..40).map(|flow| row(flow, 100, 0)).collect();
        lines.add(&rows);
        let (lines, count) = lines.finish();
        assert_eq!((lines.len(), count), (2 * MOST_LINES, 40));
    }
}
