//! Rows in memory, by column.

use std::ops::Range;
use std::path::Path;

use super::domain::Domain;
use super::{PoolError, Row, Schema, Source};
use crate::Feature;

/// Consecutive rows of one episode, by column: the unit in which pools are
/// read, changed and written.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Scenario of the episode.
    pub scenario: String,
    /// Whether the episode begins here.
    pub first: bool,
    /// Times of the decisions, ns; empty if the schema has no times.
    pub time_ns: Vec<u64>,
    /// Codes of the actions, below [`crate::ACTIONS`].
    pub action: Vec<u8>,
    /// Codes of the actions of DualPI2 alone; empty if the schema has none.
    pub base_action: Vec<u8>,
    /// Codes of the reasons; empty if the schema has none.
    pub reason: Vec<u8>,
    /// Rewards.
    pub reward: Vec<f64>,
    /// Whether the episode ended here.
    pub done: Vec<bool>,
    /// A column for each feature of the schema.
    pub features: Vec<Vec<f64>>,
}

impl Rows {
    /// Creates an empty set of rows.
    pub fn new(schema: &Schema, scenario: &str, first: bool) -> Rows {
        Rows {
            scenario: scenario.to_owned(),
            first,
            time_ns: Vec::new(),
            action: Vec::new(),
            base_action: Vec::new(),
            reason: Vec::new(),
            reward: Vec::new(),
            done: Vec::new(),
            features: vec![Vec::new(); schema.features().len()],
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.action.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.action.is_empty()
    }

    /// Appends the row of a record, limited to the columns of `schema`.
    pub fn push(&mut self, schema: &Schema, row: &Row, done: bool) {
        if schema.time() {
            self.time_ns.push(row.time_ns);
        }
        if schema.base() {
            self.base_action.push(row.base_action);
            self.reason.push(row.reason);
        }
        self.action.push(row.action);
        self.reward.push(row.reward);
        self.done.push(done);
        for (column, feature) in self.features.iter_mut().zip(schema.features()) {
            column.push(row.values[*feature as usize]);
        }
    }

    /// Appends a range of other rows of the same schema.
    pub fn extend(&mut self, other: &Rows, range: Range<usize>) {
        fn part<T: Copy>(to: &mut Vec<T>, from: &[T], range: &Range<usize>) {
            // A column that the schema does not have is empty in both.
            if let Some(from) = from.get(range.clone()) {
                to.extend_from_slice(from);
            }
        }
        part(&mut self.time_ns, &other.time_ns, &range);
        part(&mut self.action, &other.action, &range);
        part(&mut self.base_action, &other.base_action, &range);
        part(&mut self.reason, &other.reason, &range);
        part(&mut self.reward, &other.reward, &range);
        part(&mut self.done, &other.done, &range);
        for (to, from) in self.features.iter_mut().zip(&other.features) {
            part(to, from, &range);
        }
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.time_ns.clear();
        self.action.clear();
        self.base_action.clear();
        self.reason.clear();
        self.reward.clear();
        self.done.clear();
        self.features.iter_mut().for_each(Vec::clear);
    }

    /// Refuses values that are not allowed in a pool; `before` rows precede
    /// these in the pool `path`.
    pub(super) fn check(&self, schema: &Schema, path: &Path, before: u64) -> Result<(), PoolError> {
        let reward = (super::columns::REWARD, None, &self.reward);
        let features = schema.features().iter().zip(&self.features);
        let features = features.map(|(f, values)| (f.name(), Some(Domain::of(*f)), values));
        for (column, domain, values) in std::iter::once(reward).chain(features) {
            let good = |value: &f64| domain.map_or(value.is_finite(), |domain| domain.has(*value));
            if let Some(row) = values.iter().position(|value| !good(value)) {
                let want = domain.filter(|_| values[row].is_finite());
                return Err(PoolError::Value {
                    path: path.to_owned(),
                    row: before + row as u64,
                    column,
                    value: values[row],
                    want: want.map_or("a finite number".to_owned(), |domain| domain.to_string()),
                });
            }
        }
        Ok(())
    }

    /// Returns the rows with only the columns of `to`, a subset of their
    /// schema `from`.
    fn narrow(mut self, from: &Schema, to: &Schema) -> Rows {
        if !to.time() {
            self.time_ns.clear();
        }
        if !to.base() {
            self.base_action.clear();
            self.reason.clear();
        }
        let mut columns = from.features().iter().zip(self.features);
        let kept = columns.by_ref().filter(|(f, _)| to.place(**f).is_some());
        self.features = kept.map(|(_, column)| column).collect();
        self
    }
}

/// A source reduced to the columns of another schema.
pub struct Narrow<S> {
    source: S,
    schema: Schema,
}

impl<S: Source> Narrow<S> {
    /// Reduces `source` to the columns that `schema` also has.
    pub fn new(source: S, schema: &Schema) -> Narrow<S> {
        let schema = source.schema().common(schema);
        Narrow { source, schema }
    }
}

impl<S: Source> Source for Narrow<S> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        let rows = self.source.next()?;
        Ok(rows.map(|rows| rows.narrow(self.source.schema(), &self.schema)))
    }

    fn position(&self) -> u64 {
        self.source.position()
    }

    fn ignored(&self) -> &[String] {
        self.source.ignored()
    }
}

// `push` indexes by discriminant: the order of declaration is that of ALL.
const _: () = {
    let mut i = 0;
    while i < Feature::ALL.len() {
        assert!(Feature::ALL[i] as usize == i);
        i += 1;
    }
};
