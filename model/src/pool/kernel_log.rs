//! Rows from the published kernel log.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{PoolError, Row, Rows, Schema, Source};
use crate::log::{Entry, LogReader, Logged, Run, Tally};
use crate::{Feature, Reward, Rewards};

/// Where a new episode of a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpisodeRule {
    /// Where a queue's packet count decreases: the scheduler was recreated.
    Counters,
    /// Only at the beginning of a machine's log.
    One,
}

/// Reads logs as the rows of a pool, with the features of
/// [`Entry::features`], without `base_action`, and with times if one of the
/// first entries has one. Under every rule, the log of another machine or of a
/// rebooted machine is a new episode with times from 0.
pub struct KernelLog<'a> {
    log: LogReader,
    schema: Schema,
    places: Vec<(Feature, usize)>,
    rule: EpisodeRule,
    scenario: Option<String>,
    rewards: Rewards,
    entries: Vec<Logged>,
    at: usize,
    more: bool,
    begun: bool,
    packets: [u64; 2], // total_packets of each queue
    time_ns: u64,
    stop: &'a AtomicBool,
}

impl<'a> KernelLog<'a> {
    /// Reads the first entries of a log. Rows belong to `scenario`; with
    /// `None`, to a scenario named after the log of their machine
    /// ([`LogReader::label`]), since each machine has its own link. If `stop`
    /// is set, reading ends with [`PoolError::Interrupted`].
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open(
        log: LogReader,
        scenario: Option<&str>,
        rule: EpisodeRule,
        reward: Reward,
        stop: &'a AtomicBool,
    ) -> Result<KernelLog<'a>, PoolError> {
        let places = Entry::features().filter_map(|f| Some((f, Entry::place(f)?)));
        let mut log = KernelLog {
            log,
            schema: Schema::new(Entry::features(), false, false),
            places: places.collect(),
            rule,
            scenario: scenario.map(str::to_owned),
            rewards: Rewards::new(reward),
            entries: Vec::new(),
            at: 0,
            more: true,
            begun: false,
            packets: [0; 2],
            time_ns: 0,
            stop,
        };
        log.fill()?;
        if log.entries.iter().any(|entry| entry.time_ns.is_some()) {
            log.schema = Schema::new(Entry::features(), true, false);
        }
        Ok(log)
    }

    /// Statistics of the log so far.
    pub fn tally(&self) -> &Tally {
        self.log.tally()
    }

    /// Buffers two entries if available: the next one shows whether an
    /// episode ended.
    fn fill(&mut self) -> Result<(), PoolError> {
        while self.more && self.entries.len() - self.at < 2 {
            if self.stop.load(Ordering::Relaxed) {
                return Err(PoolError::Interrupted);
            }
            self.entries.drain(..self.at);
            self.at = 0;
            self.more = self.log.read(&mut self.entries)?;
        }
        Ok(())
    }

    /// Returns whether an episode begins with `next`, the entry after the
    /// last one seen.
    fn begins(&self, next: &Logged) -> bool {
        let (queue, packets) = counter(&next.entry);
        next.run != Run::Continues
            || self.rule == EpisodeRule::Counters && packets < self.packets[queue]
    }

    fn row(&mut self, logged: &Logged) -> Row {
        let entry = &logged.entry;
        let mut values = [0.0; Feature::ALL.len()];
        for (feature, place) in &self.places {
            values[*feature as usize] = entry.fields()[*place] as f64;
        }
        let value = |feature: Feature| values[feature as usize];
        let (queue, packets) = counter(entry);
        self.packets[queue] = packets;
        if logged.run != Run::Continues {
            self.time_ns = 0;
        }
        // A line without a time stamp has the time of the line before it.
        self.time_ns = logged.time_ns.unwrap_or(self.time_ns);
        Row {
            time_ns: self.time_ns,
            action: entry.action(),
            base_action: 0,
            reason: 0,
            reward: self.rewards.next_of(
                queue as u8,
                entry.action(),
                value(Feature::PacketLength),
                value(Feature::CurrentQueueDelay),
            ),
            values,
        }
    }
}

impl Source for KernelLog<'_> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        self.fill()?;
        let Some(first) = self.entries.get(self.at).copied() else {
            return Ok(None);
        };
        let first_of_all = !std::mem::replace(&mut self.begun, true);
        let begins = first_of_all || self.begins(&first);
        if begins {
            self.packets = [0; 2];
            self.rewards.restart();
        }
        let label = self.scenario.clone();
        let label = label.unwrap_or_else(|| self.log.label(first.host));
        let mut rows = Rows::new(&self.schema, &label, begins);
        loop {
            // The last entry waits for the next.
            let last = self.at + 1 == self.entries.len();
            if last && self.more && !rows.is_empty() {
                break;
            }
            let Some(logged) = self.entries.get(self.at).copied() else {
                break;
            };
            let row = self.row(&logged);
            self.at += 1;
            let next = self.entries.get(self.at);
            let begins = next.is_some_and(|next| self.begins(next));
            // The end of a machine's log is treated as truncation.
            let ended = begins && next.is_some_and(|next| next.run != Run::Another);
            rows.push(&self.schema, &row, ended);
            if begins {
                break;
            }
        }
        Ok(Some(rows))
    }

    fn position(&self) -> u64 {
        self.log.raw_bytes()
    }
}

fn counter(entry: &Entry) -> (usize, u64) {
    const QUEUE: usize = 0;
    const TOTAL_PACKETS: usize = 17;
    let fields = entry.fields();
    (usize::from(fields[QUEUE] == 1), fields[TOTAL_PACKETS])
}
