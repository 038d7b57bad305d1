//! Which intervals of a backlog are decided on.
//!
//! A daemon that keeps up reads one interval at a time and decides on each.
//! One that fell behind finds several intervals of an instance waiting. Only
//! the newest of them is worth a decision: the override that the next older
//! one would bring is replaced as soon as it is sent. So each instance gets at
//! most one decision out of a backlog, on its newest boundary, unless that too
//! is older than an override lives. Where time does not suffice for all
//! instances, those come first whose last decision is longest ago.

use std::collections::HashMap;
use std::num::NonZeroU32;

use l4sllm_abi::Message;

use crate::batch::{Batch, Scheduler};

/// Leaves out decisions that would come too late.
#[derive(Debug, Default)]
pub struct Plan {
    targets: HashMap<Scheduler, Target>,
}

/// The newest boundary of an instance in the backlog.
#[derive(Debug)]
struct Target {
    /// Records of the instance up to and including the one at the boundary.
    left: u32,
    decide: bool,
}

/// What the backlog holds of one instance.
struct Scan {
    /// Records so far.
    records: u32,
    /// Records that complete the interval under way.
    to_boundary: u32,
    /// `records` at the newest boundary, and the time of its record, ns.
    newest: Option<(u32, u64)>,
    /// When it was last decided for; less is longer ago.
    decided: u64,
}

impl Plan {
    /// Every interval is decided on.
    pub fn all() -> Plan {
        Plan::default()
    }

    /// Scans a backlog. At most `most` instances are decided for, none on a
    /// record whose time, ns, is not `fresh`.
    pub(crate) fn of(
        batch: &Batch,
        backlog: &[Message],
        most: usize,
        fresh: impl Fn(u64) -> bool,
    ) -> Plan {
        let mut due: Vec<(Scheduler, Scan)> = scan(batch, backlog)
            .into_iter()
            .filter(|(_, scan)| scan.newest.is_some())
            .collect();
        due.sort_by_key(|(scheduler, scan)| (scan.decided, *scheduler));
        let mut decisions = 0;
        let targets = due.into_iter().filter_map(|(scheduler, scan)| {
            let (left, time_ns) = scan.newest?;
            let decide = decisions < most && fresh(time_ns);
            decisions += usize::from(decide);
            Some((scheduler, Target { left, decide }))
        });
        Plan {
            targets: targets.collect(),
        }
    }

    /// Counts a record of an instance. Returns how many more records of it
    /// come, at least, before one that is decided on; 0 when this one is
    /// decided on if it completes an interval.
    pub(crate) fn records_to_decision(
        &mut self,
        scheduler: Scheduler,
        interval: NonZeroU32,
    ) -> u32 {
        if self.targets.is_empty() {
            return 0;
        }
        let Some(target) = self.targets.get_mut(&scheduler) else {
            return 0;
        };
        target.left -= 1;
        let &mut Target { left, decide } = target;
        if left == 0 {
            self.targets.remove(&scheduler);
        }
        left + if decide { 0 } else { interval.get() }
    }
}

fn scan(batch: &Batch, backlog: &[Message]) -> HashMap<Scheduler, Scan> {
    let mut scans: HashMap<Scheduler, Scan> = HashMap::new();
    let mut expected = batch.next_seq();
    let mut restarted = false;
    let mut new_instances = batch.free();
    let interval = batch.interval().get();
    for message in backlog {
        let (seq, next) = message.place();
        let hole = expected.is_some_and(|expected| expected != seq);
        expected = Some(next);
        if hole || matches!(message, Message::Loss { .. }) {
            restarted = true;
            scans.values_mut().for_each(|s| s.to_boundary = interval);
        }
        let Message::Decision(record) = message else {
            continue;
        };
        let scheduler = Scheduler::of(record);
        let scan = match scans.entry(scheduler) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let (to_boundary, decided) = match batch.progress(scheduler) {
                    Some(progress) => progress,
                    // Beyond the bound it gets no engine.
                    None if new_instances == 0 => continue,
                    None => {
                        new_instances -= 1;
                        (interval, 0)
                    }
                };
                entry.insert(Scan {
                    records: 0,
                    to_boundary: if restarted { interval } else { to_boundary },
                    newest: None,
                    decided,
                })
            }
        };
        scan.records += 1;
        scan.to_boundary -= 1;
        if scan.to_boundary == 0 {
            scan.to_boundary = interval;
            scan.newest = Some((scan.records, record.time_ns()));
        }
    }
    scans
}
