//! From records to the inputs of a network, whatever computes it: scaling,
//! history, and which windows a record is in.  The periods of a policy on
//! summaries are a stream of such records, each of which ends an interval.

use crate::{InputFeature, PolicyConfig};

/// The newest record of a stream, and where the stream is.
pub(crate) struct Stream {
    interval: u64,
    seen: u64,        // records since the start or the last reset
    window: u64,      // records of a full window
    values: Vec<f32>, // [lookback + 1][n]: scaled, record r at r % (lookback + 1)
    inputs: Vec<f32>, // [inputs], of the newest record that a window holds
    target: f32,      // what is asked for, scaled
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

    /// Takes the next record, whose features `value` reads; where it has none,
    /// that of the record before stands.  True when a window holds it: then
    /// its inputs are there.
    #[inline]
    pub(crate) fn take(
        &mut self,
        config: &PolicyConfig,
        value: impl Fn(InputFeature) -> Option<f64>,
    ) -> bool {
        let now = self.seen + 1;
        self.advance(config, value, now.next_multiple_of(self.interval) - now)
    }

    /// The same for a stream of which `ahead` more records come, or more,
    /// before a boundary whose window matters.
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
            return false; // before all that the next window sees
        }
        self.note(config, value);
        if ahead >= self.window {
            return false; // before the start of the next window
        }
        let n = config.features.len();
        let (values, rows) = (&self.values, self.values.len() / n);
        // Records count from 1.
        config.fill_inputs(
            now as usize - 1,
            |feature, back| values[row(now - back as u64, rows) * n + feature],
            &mut self.inputs,
        );
        true
    }

    /// Forgets all records.
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

    /// What is asked for, scaled: the return, or the idle budget.
    pub(crate) fn target(&self) -> f32 {
        self.target
    }

    /// Asks for something else from the next record on.
    pub(crate) fn set_target(&mut self, target: f32) {
        self.target = target;
    }

    /// Boundaries whose windows hold the newest record, the next one first.
    pub(crate) fn boundaries(&self) -> impl Iterator<Item = u64> {
        let next = self.seen.next_multiple_of(self.interval);
        (next..self.seen + self.window).step_by(self.interval as usize)
    }

    /// First record of a boundary's window.
    pub(crate) fn start(&self, boundary: u64) -> u64 {
        // Records count from 1.
        (boundary + 1).saturating_sub(self.window).max(1)
    }

    /// Keeps a record's values.
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

/// Where a ring of so many rows has a record.
pub(crate) fn row(record: u64, rows: usize) -> usize {
    (record % rows as u64) as usize
}
