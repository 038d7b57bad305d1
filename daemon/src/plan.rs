//! Selection of the intervals of a backlog to decide on.
//!
//! A daemon that keeps up reads one interval at a time and decides on each. One
//! that has fallen behind finds several intervals of an instance waiting. Only
//! the newest needs a decision, because its override would immediately replace
//! that of an older one. So each instance gets at most one decision per
//! backlog, on its newest boundary, unless the override would have expired by
//! then. If there is not enough time for all instances, those with the oldest
//! last decision come first. Skipped summaries are merged into the next
//! decision's summary.

use l4sllm_abi::{Message, Stream};
use std::collections::HashMap;

use crate::batch::{Batch, Scheduler};

/// Skips decisions that would be too late.
#[derive(Debug, Default)]
pub struct Plan {
    targets: HashMap<Key, Target>,
}

/// An instance, and the stream on which its decisions are due.
pub(crate) type Key = (Scheduler, Stream);

/// The newest boundary of an instance in the backlog.
#[derive(Debug)]
struct Target {
    /// Records, or summaries, of the instance up to and including the one at the
    /// boundary.
    left: u32,
    decide: bool,
}

/// The backlog of one instance.
struct Scan {
    /// Records, or summaries, so far.
    seen: u32,
    /// Number of records that completes the current interval.
    to_boundary: u32,
    /// `seen` at the newest boundary, and its time, ns.
    newest: Option<(u32, u64)>,
    /// Number of its last decision; lower is older.
    decided: u64,
}

impl Plan {
    /// A plan that decides on every interval.
    pub fn all() -> Plan {
        Plan::default()
    }

    /// Scans a backlog. Decisions are planned for at most `most` instances, and
    /// only on records with `fresh` times, ns.
    pub(crate) fn of(
        batch: &Batch,
        backlog: &[Message],
        most: usize,
        fresh: impl Fn(u64) -> bool,
    ) -> Plan {
        let mut due: Vec<(Key, Scan)> = scan(batch, backlog)
            .into_iter()
            .filter(|(_, scan)| scan.newest.is_some())
            .collect();
        // Without ties, so that the same messages give the same plan.
        due.sort_by_key(|((scheduler, stream), scan)| {
            let summaries = *stream == Stream::Summaries;
            (scan.decided, *scheduler, summaries)
        });
        let mut decisions = 0;
        let targets = due.into_iter().filter_map(|(key, scan)| {
            let (left, time_ns) = scan.newest?;
            let decide = decisions < most && fresh(time_ns);
            decisions += usize::from(decide);
            Some((key, Target { left, decide }))
        });
        Plan {
            targets: targets.collect(),
        }
    }

    /// Counts a record or a summary of an instance. Returns the minimum number
    /// of further ones before the next decision; 0 if this one is to be decided
    /// on when it completes an interval.
    pub(crate) fn count_down(&mut self, key: Key, interval: u32) -> u32 {
        if self.targets.is_empty() {
            return 0;
        }
        let Some(target) = self.targets.get_mut(&key) else {
            return 0;
        };
        target.left -= 1;
        let &mut Target { left, decide } = target;
        if left == 0 {
            self.targets.remove(&key);
        }
        left + if decide { 0 } else { interval }
    }
}

fn scan(batch: &Batch, backlog: &[Message]) -> HashMap<Key, Scan> {
    let mut scans: HashMap<Key, Scan> = HashMap::new();
    let mut expected = batch.next_seq();
    let mut restarted = false;
    let mut new_instances = batch.free();
    for message in backlog {
        if batch.is_counted(message) {
            let (seq, next) = message.place();
            let hole = expected.is_some_and(|expected| expected != seq);
            expected = Some(next);
            if hole || matches!(message, Message::Loss { .. }) {
                restarted = true;
                for ((_, stream), scan) in &mut scans {
                    scan.to_boundary = interval_of(batch, *stream);
                }
            }
        }
        let (scheduler, stream, time_ns) = match message {
            Message::Decision(record) => (Scheduler::of(record), Stream::Records, record.time_ns()),
            Message::Summary(summary) => {
                let scheduler = Scheduler::of_summary(summary);
                (scheduler, Stream::Summaries, summary.end_ns())
            }
            Message::Context(_) | Message::Loss { .. } | Message::Event(_) => continue,
        };
        let interval = interval_of(batch, stream);
        if !scans.contains_key(&(scheduler, stream)) {
            let other = match stream {
                Stream::Records => Stream::Summaries,
                Stream::Summaries => Stream::Records,
            };
            let (left, decided) = match batch.progress(scheduler) {
                Some(progress) => progress,
                None if scans.contains_key(&(scheduler, other)) => (interval, 0),
                // Instances beyond the bound have no engine.
                None if new_instances == 0 => continue,
                None => {
                    new_instances -= 1;
                    (interval, 0)
                }
            };
            let scan = Scan {
                seen: 0,
                to_boundary: if restarted {
                    interval
                } else {
                    left.min(interval)
                },
                newest: None,
                decided,
            };
            scans.insert((scheduler, stream), scan);
        }
        let Some(scan) = scans.get_mut(&(scheduler, stream)) else {
            continue;
        };
        scan.seen += 1;
        scan.to_boundary -= 1;
        if scan.to_boundary == 0 {
            scan.to_boundary = interval;
            scan.newest = Some((scan.seen, time_ns));
        }
    }
    scans
}

/// Records between two decisions; each summary may complete a period.
fn interval_of(batch: &Batch, stream: Stream) -> u32 {
    match stream {
        Stream::Records => batch.interval().get(),
        Stream::Summaries => 1,
    }
}
