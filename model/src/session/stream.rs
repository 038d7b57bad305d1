//! From records to the inputs of a network, whatever computes it: scaling,
//! history, and which windows a record is in.

use l4sllm_abi::Record;

use crate::PolicyConfig;

/// The newest record of a stream, and where the stream is.
pub(crate) struct Stream {
    interval: u64,
    seen: u64,        // records since the start or the last reset
    window: u64,      // records of a full window
    values: Vec<f32>, // [lookback + 1][n]: scaled, record r at r % (lookback + 1)
    inputs: Vec<f32>, // [inputs], of the newest record that a window holds
    target: f32,      // return asked for, scaled
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

    /// Takes the next record.  True when a window holds it: then its inputs
    /// are there.
    #[inline]
    pub(crate) fn take(&mut self, config: &PolicyConfig, record: &Record) -> bool {
        let now = self.seen + 1;
        self.advance(config, record, now.next_multiple_of(self.interval) - now)
    }

    /// The same for a stream of which `ahead` more records come, or more,
    /// before a boundary whose window matters.
    #[inline]
    pub(crate) fn advance(&mut self, config: &PolicyConfig, record: &Record, ahead: u64) -> bool {
        self.seen += 1;
        let now = self.seen;
        if ahead >= self.window + config.lookback() as u64 {
            return false; // before all that the next window sees
        }
        self.note(config, record);
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

    /// The return that is asked for, scaled.
    pub(crate) fn target(&self) -> f32 {
        self.target
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
    fn note(&mut self, config: &PolicyConfig, record: &Record) {
        let features = &config.features;
        let row = row(self.seen, self.values.len() / features.len()) * features.len();
        for (value, feature) in self.values[row..].iter_mut().zip(features) {
            *value = feature.scaling.apply(feature.name.value(record));
        }
    }
}

/// Where a ring of so many rows has a record.
pub(crate) fn row(record: u64, rows: usize) -> usize {
    (record % rows as u64) as usize
}
