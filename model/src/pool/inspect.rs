//! Statistics of a pool.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use std::ops::Range;

use super::{PoolError, Schema, Source};
use crate::ACTIONS;

/// Counts over all rows of some pools; needs 9 bytes per row and about 17 per
/// state.
#[derive(Debug)]
pub struct Inspection {
    schema: Schema,
    states: Vec<u64>, // hash of each row's features
    actions: Vec<u8>,
    episodes: Vec<Range<usize>>,
    scenarios: Vec<(String, u64)>,
    columns: Vec<ColumnSummary>,
    ended: u64,
    last_time_ns: u64,
}

/// Statistics of a numeric column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSummary {
    /// Name of the column.
    pub name: &'static str,
    /// Unit; empty for a code.
    pub unit: &'static str,
    /// Least value.
    pub least: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Greatest value.
    pub most: f64,
}

/// Overlap of the states of two sets of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Number of rows examined.
    pub rows: u64,
    /// Number of rows with a state that is also in the other set.
    pub known: u64,
}

impl Inspection {
    /// Empty statistics; states are compared by the features of `schema`.
    pub fn new(schema: &Schema) -> Inspection {
        let columns = schema.features().iter().map(|f| (f.name(), f.unit()));
        let reward = std::iter::once(("reward", ""));
        Inspection {
            schema: schema.clone(),
            states: Vec::new(),
            actions: Vec::new(),
            episodes: Vec::new(),
            scenarios: Vec::new(),
            columns: reward.chain(columns).map(ColumnSummary::new).collect(),
            ended: 0,
            last_time_ns: 0,
        }
    }

    /// Adds all rows of a pool with this schema.
    ///
    /// # Errors
    /// The pool cannot be read.
    pub fn add(
        &mut self,
        source: &mut impl Source,
        mut progress: impl FnMut(u64),
    ) -> Result<(), PoolError> {
        debug_assert_eq!(source.schema(), &self.schema);
        while let Some(rows) = source.next()? {
            let from = self.actions.len();
            if rows.first || self.episodes.is_empty() {
                self.episodes.push(from..from);
            }
            for i in 0..rows.len() {
                let mut hasher = DefaultHasher::new();
                for column in &rows.features {
                    hasher.write_u64(column[i].to_bits());
                }
                self.states.push(hasher.finish());
            }
            self.actions.extend(&rows.action);
            if let Some(last) = self.episodes.last_mut() {
                last.end = self.actions.len();
            }
            let known = self.scenarios.iter_mut().find(|(s, _)| *s == rows.scenario);
            match known {
                Some((_, count)) => *count += rows.len() as u64,
                None => self
                    .scenarios
                    .push((rows.scenario.clone(), rows.len() as u64)),
            }
            self.ended += rows.done.iter().filter(|done| **done).count() as u64;
            self.last_time_ns = rows
                .time_ns
                .iter()
                .copied()
                .fold(self.last_time_ns, u64::max);
            let values = std::iter::once(&rows.reward).chain(&rows.features);
            for (column, values) in self.columns.iter_mut().zip(values) {
                column.add(values, from);
            }
            progress(source.position());
        }
        Ok(())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.actions.len()
    }

    /// Schema of the rows.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Episodes as ranges of rows over all pools.
    pub fn episodes(&self) -> &[Range<usize>] {
        &self.episodes
    }

    /// Rows that end an episode.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Scenarios in order of first appearance, with their numbers of rows.
    pub fn scenarios(&self) -> &[(String, u64)] {
        &self.scenarios
    }

    /// Greatest time, ns.
    pub fn last_time_ns(&self) -> u64 {
        self.last_time_ns
    }

    /// Statistics of the reward and the features.
    pub fn columns(&self) -> &[ColumnSummary] {
        &self.columns
    }

    /// Number of rows of each action.
    pub fn actions(&self) -> [u64; ACTIONS] {
        self.actions_of(std::slice::from_ref(&(0..self.rows())))
    }

    /// Number of rows of each action within `ranges`.
    pub fn actions_of(&self, ranges: &[Range<usize>]) -> [u64; ACTIONS] {
        let mut counts = [0; ACTIONS];
        for range in ranges {
            for action in &self.actions[range.clone()] {
                counts[usize::from(*action)] += 1;
            }
        }
        counts
    }

    /// Number of distinct states, and of those with more than one action.
    pub fn distinct(&self) -> (u64, u64) {
        let mut states: HashMap<u64, u8, Hashed> = HashMap::default();
        for (state, action) in self.states.iter().zip(&self.actions) {
            *states.entry(*state).or_default() |= 1 << action;
        }
        let several = states.values().filter(|actions| actions.count_ones() > 1);
        (states.len() as u64, several.count() as u64)
    }

    /// Number of rows of `test` with a state that also occurs in `train`.
    pub fn overlap(&self, train: &[Range<usize>], test: &[Range<usize>]) -> Overlap {
        let of = |ranges: &[Range<usize>]| {
            let ranges = ranges.to_vec();
            ranges.into_iter().flat_map(|range| &self.states[range])
        };
        let known: HashSet<u64, Hashed> = of(train).copied().collect();
        Overlap {
            rows: of(test).count() as u64,
            known: of(test).filter(|state| known.contains(state)).count() as u64,
        }
    }
}

impl ColumnSummary {
    fn new((name, unit): (&'static str, &'static str)) -> ColumnSummary {
        ColumnSummary {
            name,
            unit,
            least: f64::INFINITY,
            mean: 0.0,
            most: f64::NEG_INFINITY,
        }
    }

    fn add(&mut self, values: &[f64], before: usize) {
        for (i, value) in values.iter().enumerate() {
            self.least = self.least.min(*value);
            self.most = self.most.max(*value);
            self.mean += (value - self.mean) / (before + i + 1) as f64;
        }
    }
}

/// Identity hasher, since states are hashes already.
type Hashed = BuildHasherDefault<Identity>;

#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes);
    }

    fn write_u64(&mut self, state: u64) {
        self.0 = state;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
