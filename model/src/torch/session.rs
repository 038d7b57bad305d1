//! Policies that run through libtorch: loading, windows of a stream, batches.
//!
//! Nothing is computed until a boundary, where one dense pass evaluates the
//! window.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tch::Tensor;

use super::{Batch, Frozen, Network, Options, TrainError, device, set_threads};
use crate::session::Ring;
use crate::session::state::{StateError, WindowsState};
use crate::session::stream::Stream;
use crate::set_points::SET_POINTS;
use crate::{
    EngineKind, EngineOptions, OUTPUTS_MAX, Outputs, PolicyConfig, PolicyError, RunsOn, Step,
};

/// Windows per pass through a network.
const BATCH: usize = 64;

/// A network shared by several sessions.
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

    /// The policy's configuration.
    pub(crate) fn config(&self) -> &PolicyConfig {
        self.0.config()
    }

    /// Head outputs after each window, of at most the policy's length.
    pub(crate) fn decide_all(&self, windows: &[&[Step]]) -> Result<Vec<Outputs>, PolicyError> {
        // Windows of a batch have the same length.
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, window) in windows.iter().enumerate() {
            by_length.entry(window.len()).or_default().push(i);
        }
        let mut all = vec![[0.0; OUTPUTS_MAX]; windows.len()];
        for places in by_length.values().flat_map(|places| places.chunks(BATCH)) {
            let windows: Vec<_> = places.iter().map(|place| windows[*place]).collect();
            let batch = Batch::new(&windows, self.0.options().device)?;
            for (place, outputs) in places.iter().zip(self.0.outputs(&batch)?) {
                all[*place] = outputs;
            }
        }
        Ok(all)
    }

    fn decide(
        &self,
        returns: &[f32],
        inputs: &[f32],
        actions: &[f32],
    ) -> Result<Outputs, TrainError> {
        let device = self.0.options().device;
        let actions = Tensor::f_from_slice(actions)?.f_view([1, returns.len() as i64, -1])?;
        let batch = Batch::with_actions(returns, inputs, actions, device)?;
        let all = self.0.outputs(&batch)?;
        Ok(all.first().copied().unwrap_or([f32::NAN; OUTPUTS_MAX]))
    }
}

/// The last records of one stream.
pub(crate) struct Windows {
    network: Arc<Shared>,
    ring: Ring,
}

impl Windows {
    pub(crate) fn new(config: &PolicyConfig, network: Arc<Shared>) -> Windows {
        Windows {
            network,
            ring: Ring::new(config),
        }
    }

    /// Adds the newest record of the stream; `action` is the value of its
    /// action token.
    pub(crate) fn take(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: &[f32; SET_POINTS],
    ) -> Result<Option<Outputs>, PolicyError> {
        self.keep(config, stream, action);
        let Some(window) = self.ring.window(config, stream) else {
            return Ok(None);
        };
        let outputs = self
            .network
            .decide(&window.returns, &window.inputs, &window.actions)?;
        Ok(Some(outputs))
    }

    /// Adds the newest record of the stream without deciding.
    pub(crate) fn keep(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: &[f32; SET_POINTS],
    ) {
        self.ring.keep(config, stream, action);
    }

    pub(crate) fn save(&self) -> WindowsState {
        self.ring.save()
    }

    pub(crate) fn restore(&mut self, state: &WindowsState) -> Result<(), StateError> {
        self.ring.restore(state)
    }
}

impl From<TrainError> for PolicyError {
    fn from(error: TrainError) -> PolicyError {
        match error {
            TrainError::Policy(error) => error,
            TrainError::Backbone(error) => PolicyError::Backbone(error),
            // Without the library's name, which is not a prefix in that error.
            TrainError::Torch(error) => PolicyError::Libtorch {
                reason: error.to_string(),
            },
            other => PolicyError::Libtorch {
                reason: other.to_string(),
            },
        }
    }
}
