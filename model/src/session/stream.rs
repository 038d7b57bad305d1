//! Converts records to network inputs for either engine: scaling, history,
//! and the assignment of records to windows. The periods of a policy on
//! summaries form a stream of such records, each of which ends an interval.

use super::state::{StateError, StreamState, copy};
use crate::{InputFeature, PolicyConfig};

/// State of a stream and its newest record.
pub(crate) struct Stream {
    interval: u64,
    seen: u64,        // records since the start or the last reset
    window: u64,      // records of a full window
    values: Vec<f32>, // [lookback + 1][n]: scaled, record r at r % (lookback + 1)
    inputs: Vec<f32>, // [inputs], of the newest record in a window
    target: f32,      // scaled request
}

impl Stream {
    pub(crate) fn new(config: &PolicyConfig, interval: usize) -> Stream {
        Stream {
            interval: interval.max(1) as u64,
            seen: 0,
            window: config.window as u64,
            values: vec![0.0; (config.lookback() + 1) * config.features.len()],
            inputs: vec![0.0; config.inputs()],
            target: config.returns.scaling.apply(config.returns.target),
        }
    }

    /// Adds the next record, with features read by `value`; a missing value
    /// is replaced by that of the previous record. Returns true if a window
    /// contains the record, so that its inputs are available.
    #[inline]
    pub(crate) fn take(
        &mut self,
        config: &PolicyConfig,
        value: impl Fn(InputFeature) -> Option<f64>,
    ) -> bool {
        let now = self.seen + 1;
        self.advance(config, value, now.next_multiple_of(self.interval) - now)
    }

    /// As above for a stream in which at least `ahead` more records precede the
    /// next decision.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        config: &PolicyConfig,
        value: impl Fn(InputFeature) -> Option<f64>,
        ahead: u64,
    ) -> bool {
        self.seen += 1;
        let now = self.seen;
        if ahead >= self.window + config.lookback() as u64 {
            return false; // before everything that the next window reads
        }
        self.note(config, value);
        if ahead >= self.window {
            return false; // before the start of the next window
        }
        let n = config.features.len();
        let (values, rows) = (&self.values, self.values.len() / n);
        // One division for all values; `back` is below `rows`.
        let newest = row(now, rows);
        let at = |back| match newest.checked_sub(back) {
            Some(row) => row,
            None => newest + rows - back,
        };
        // Records count from 1.
        config.fill_inputs(
            now as usize - 1,
            |feature, back| values[at(back) * n + feature],
            &mut self.inputs,
        );
        true
    }

    pub(crate) fn save(&self) -> StreamState {
        StreamState {
            seen: self.seen,
            values: self.values.clone(),
            inputs: self.inputs.clone(),
            target: self.target,
        }
    }

    pub(crate) fn restore(&mut self, state: &StreamState) -> Result<(), StateError> {
        copy("the stream", &state.values, &mut self.values)?;
        copy("the stream", &state.inputs, &mut self.inputs)?;
        // Leaves space for every number that is computed from it.
        if state.seen > u64::MAX / 2 {
            return Err(StateError::Shape("the stream"));
        }
        self.seen = state.seen;
        self.target = state.target;
        Ok(())
    }

    /// Discards all records.
    pub(crate) fn reset(&mut self) {
        self.seen = 0;
    }

    /// Number of the newest record, from 1.
    pub(crate) fn now(&self) -> u64 {
        self.seen
    }

    /// Inputs of the newest record, scaled: see [`PolicyConfig::fill_inputs`].
    pub(crate) fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// The scaled request: return or idle budget.
    pub(crate) fn target(&self) -> f32 {
        self.target
    }

    /// Changes the request, starting with the next record.
    pub(crate) fn set_target(&mut self, target: f32) {
        self.target = target;
    }

    /// Boundaries whose windows contain the newest record, next first.
    pub(crate) fn boundaries(&self) -> impl Iterator<Item = u64> {
        let next = self.seen.next_multiple_of(self.interval);
        (next..self.seen + self.window).step_by(self.interval as usize)
    }

    /// First record of a boundary's window.
    pub(crate) fn start(&self, boundary: u64) -> u64 {
        // Records count from 1.
        (boundary + 1).saturating_sub(self.window).max(1)
    }

    /// Stores the values of a record.
    fn note(&mut self, config: &PolicyConfig, value: impl Fn(InputFeature) -> Option<f64>) {
        let n = config.features.len();
        let rows = self.values.len() / n;
        let at = row(self.seen, rows) * n;
        let before = (self.seen > 1).then(|| row(self.seen - 1, rows) * n);
        for (i, feature) in config.features.iter().enumerate() {
            self.values[at + i] = match (value(feature.name), before) {
                (Some(raw), _) => feature.scaling.apply(raw),
                (None, Some(before)) => self.values[before + i],
                (None, None) => feature.scaling.apply(0.0),
            };
        }
    }
}

/// Row of a record in a ring with this many rows.
pub(crate) fn row(record: u64, rows: usize) -> usize {
    (record % rows as u64) as usize
}
