//! Policies that run through libtorch: loading, windows of a stream, batches.
//!
//! Nothing is computed until a boundary, where one dense pass evaluates the
//! window.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tch::Tensor;

use super::{Batch, Frozen, Network, Options, TrainError, device, set_threads};
use crate::session::state::{StateError, WindowsState, copy};
use crate::session::stream::{Stream, row};
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
    inputs: Vec<f32>,  // [w][inputs]: scaled, record r at r % w
    actions: Vec<f32>, // [w][k], the same
    returns: Vec<f32>, // [w], the same: the request at each
}

impl Windows {
    pub(crate) fn new(config: &PolicyConfig, network: Arc<Shared>) -> Windows {
        let w = config.window;
        Windows {
            network,
            inputs: vec![0.0; w * config.inputs()],
            actions: vec![0.0; w * config.action_inputs()],
            returns: vec![0.0; w],
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
        let (w, each, now) = (config.window, config.inputs(), stream.now());
        let at = row(now, w);
        if stream.boundaries().next() != Some(now) {
            return Ok(None);
        }
        // Oldest first: the records after the newest in the ring, then those
        // up to it.
        let start = row(stream.start(now), w);
        let turn = match start <= at {
            true => [start..at + 1, 0..0],
            false => [start..w, 0..at + 1],
        };
        let in_order = |ring: &[f32], each: usize| -> Vec<f32> {
            let rows = turn.iter().map(|r| &ring[r.start * each..r.end * each]);
            rows.flatten().copied().collect()
        };
        let actions = in_order(&self.actions, config.action_inputs());
        let inputs = in_order(&self.inputs, each);
        let returns = in_order(&self.returns, 1);
        Ok(Some(self.network.decide(&returns, &inputs, &actions)?))
    }

    /// Adds the newest record of the stream without deciding.
    pub(crate) fn keep(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: &[f32; SET_POINTS],
    ) {
        let (at, each) = (row(stream.now(), config.window), config.inputs());
        self.inputs[at * each..][..each].copy_from_slice(stream.inputs());
        let k = config.action_inputs();
        self.actions[at * k..][..k].copy_from_slice(&action[..k]);
        self.returns[at] = stream.target();
    }

    pub(crate) fn save(&self) -> WindowsState {
        WindowsState::Torch {
            inputs: self.inputs.clone(),
            actions: self.actions.clone(),
            returns: self.returns.clone(),
        }
    }

    pub(crate) fn restore(&mut self, state: &WindowsState) -> Result<(), StateError> {
        let WindowsState::Torch {
            inputs,
            actions,
            returns,
        } = state
        else {
            return Err(StateError::Engine);
        };
        copy("the windows", inputs, &mut self.inputs)?;
        copy("the windows", actions, &mut self.actions)?;
        copy("the windows", returns, &mut self.returns)
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
