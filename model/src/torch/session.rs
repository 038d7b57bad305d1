//! Policies that run through libtorch: loading, windows of a stream, batches.
//!
//! Nothing is computed until a boundary; then the window goes through the
//! network in one dense pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Batch, Frozen, Network, Options, TrainError, device, set_threads};
use crate::session::stream::{Stream, row};
use crate::{ACTIONS, EngineKind, EngineOptions, PolicyConfig, PolicyError, RunsOn, Step};

/// Windows that go through a network at a time.
const BATCH: usize = 64;

/// A network that several sessions share.
pub(crate) struct Shared(Frozen);

impl Shared {
    /// Reads a policy directory.
    pub(crate) fn load(
        dir: &Path,
        options: &EngineOptions,
    ) -> Result<(Shared, RunsOn), PolicyError> {
        set_threads(options.threads);
        let precision = options.precision();
        let network = Network::load(
            dir,
            Options {
                device: device::open(options.device())?,
                kind: precision.kind(),
                ..Options::default()
            },
        )?;
        let shared = Shared(Frozen::new(network)?);
        let runs_on = RunsOn {
            engine: EngineKind::Libtorch,
            device: options.device().to_owned(),
            precision,
        };
        Ok((shared, runs_on))
    }

    /// What it computes.
    pub(crate) fn config(&self) -> &PolicyConfig {
        self.0.config()
    }

    /// Probabilities after each window of at most the policy's length.
    pub(crate) fn decide_all(
        &self,
        windows: &[&[Step]],
    ) -> Result<Vec<[f32; ACTIONS]>, PolicyError> {
        // Windows of a batch are of one length.
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, window) in windows.iter().enumerate() {
            by_length.entry(window.len()).or_default().push(i);
        }
        let mut all = vec![[0.0; ACTIONS]; windows.len()];
        for places in by_length.values().flat_map(|places| places.chunks(BATCH)) {
            let windows: Vec<_> = places.iter().map(|place| windows[*place]).collect();
            let batch = Batch::new(&windows, self.0.options().device)?;
            for (place, probabilities) in places.iter().zip(self.0.probabilities(&batch)?) {
                all[*place] = probabilities;
            }
        }
        Ok(all)
    }

    fn decide(
        &self,
        returns: &[f32],
        inputs: &[f32],
        actions: &[i64],
    ) -> Result<[f32; ACTIONS], TrainError> {
        let device = self.0.options().device;
        let batch = Batch::of(1, returns, inputs, actions, device)?;
        let all = self.0.probabilities(&batch)?;
        Ok(all.first().copied().unwrap_or([f32::NAN; ACTIONS]))
    }
}

/// The last records of one stream.
pub(crate) struct Windows {
    network: Arc<Shared>,
    inputs: Vec<f32>,  // [w][inputs]: scaled, record r at r % w
    actions: Vec<i64>, // [w], the same
    returns: Vec<f32>, // [w]: the target, which is the same at every record
}

impl Windows {
    pub(crate) fn new(config: &PolicyConfig, network: Arc<Shared>) -> Windows {
        let w = config.window;
        Windows {
            network,
            inputs: vec![0.0; w * config.inputs()],
            actions: vec![0; w],
            returns: vec![0.0; w],
        }
    }

    /// Takes the newest record of the stream; `action` is its action's code.
    pub(crate) fn take(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: usize,
    ) -> Result<Option<[f32; ACTIONS]>, PolicyError> {
        self.keep(config, stream, action);
        let (w, each, now) = (config.window, config.inputs(), stream.now());
        let at = row(now, w);
        if stream.boundaries().next() != Some(now) {
            return Ok(None);
        }
        // Oldest first: what is behind the newest in the ring, then up to it.
        let start = row(stream.start(now), w);
        let turn = match start <= at {
            true => [start..at + 1, 0..0],
            false => [start..w, 0..at + 1],
        };
        let rows = || turn.iter().cloned();
        let actions: Vec<i64> = rows().flat_map(|r| &self.actions[r]).copied().collect();
        let inputs: Vec<f32> = rows()
            .flat_map(|r| &self.inputs[r.start * each..r.end * each])
            .copied()
            .collect();
        self.returns.fill(stream.target());
        let returns = &self.returns[..actions.len()];
        Ok(Some(self.network.decide(returns, &inputs, &actions)?))
    }

    /// Takes the newest record of the stream without deciding.
    pub(crate) fn keep(&mut self, config: &PolicyConfig, stream: &Stream, action: usize) {
        let (at, each) = (row(stream.now(), config.window), config.inputs());
        self.inputs[at * each..][..each].copy_from_slice(stream.inputs());
        self.actions[at] = action as i64;
    }
}

impl From<TrainError> for PolicyError {
    fn from(error: TrainError) -> PolicyError {
        match error {
            TrainError::Policy(error) => error,
            TrainError::Backbone(error) => PolicyError::Backbone(error),
            // Without the name of the library, which stands before it there.
            TrainError::Torch(error) => PolicyError::Libtorch {
                reason: error.to_string(),
            },
            other => PolicyError::Libtorch {
                reason: other.to_string(),
            },
        }
    }
}
