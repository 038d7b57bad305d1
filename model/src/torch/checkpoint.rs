//! A policy directory from which training can go on.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::TrainError;
use super::optimiser::AdamW;
use crate::{Policy, PolicyConfig, Tensors};

/// Moments of the optimiser, beside `model.safetensors`.
const OPTIMISER_FILE: &str = "optimiser.safetensors";

/// Where training stands.
const PROGRESS_FILE: &str = "progress.json";

/// Everything of a training that is no tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Optimiser steps done.
    pub(super) step: u64,
    /// State of the generator that draws windows.
    pub(super) random: u64,
    /// Least evaluation loss so far.
    pub(super) best_loss: Option<f64>,
}

/// Writes a checkpoint; the directory `dir` is replaced whole.
pub(super) fn save(
    dir: &Path,
    config: &PolicyConfig,
    tensors: &Tensors,
    optimiser: &AdamW,
    position: &Position,
) -> Result<(), TrainError> {
    let part = dir.with_extension("part");
    let failed = |what: &Path| {
        let path = what.to_owned();
        move |e: std::io::Error| TrainError::Checkpoint {
            path,
            reason: e.to_string(),
        }
    };
    let remove = |dir: &Path| match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(dir)(e)),
        _ => Ok(()),
    };
    remove(&part)?;
    Policy::save(&part, config, tensors)?;
    let file = part.join(OPTIMISER_FILE);
    fs::write(&file, optimiser.to_bytes()?).map_err(failed(&file))?;
    let file = part.join(PROGRESS_FILE);
    let text = serde_json::to_string_pretty(position)
        .expect("the struct holds no map with keys other than strings");
    fs::write(&file, text + "\n").map_err(failed(&file))?;
    remove(dir)?;
    fs::rename(&part, dir).map_err(failed(dir))
}

/// Reads what [`save`] wrote beside the policy.
pub(super) fn load(dir: &Path, optimiser: &mut AdamW) -> Result<Position, TrainError> {
    let wrong = |file: &str, reason: String| TrainError::Checkpoint {
        path: dir.join(file),
        reason,
    };
    let bytes = |file: &str| fs::read(dir.join(file)).map_err(|e| wrong(file, e.to_string()));
    let position: Position = serde_json::from_slice(&bytes(PROGRESS_FILE)?)
        .map_err(|e| wrong(PROGRESS_FILE, e.to_string()))?;
    let bytes = bytes(OPTIMISER_FILE)?;
    let tensors =
        SafeTensors::deserialize(&bytes).map_err(|e| wrong(OPTIMISER_FILE, e.to_string()))?;
    optimiser.steps = position.step;
    for (name, moment) in [
        ("mean", &mut optimiser.mean),
        ("squares", &mut optimiser.squares),
    ] {
        let view = tensors
            .tensor(name)
            .map_err(|e| wrong(OPTIMISER_FILE, e.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != [moment.numel()] {
            let reason = format!("{name} is {:?} {:?}", view.dtype(), view.shape());
            return Err(wrong(OPTIMISER_FILE, reason));
        }
        moment.f_copy_(&Tensor::f_from_data_size(
            view.data(),
            &[moment.numel() as i64],
            tch::Kind::Float,
        )?)?;
    }
    Ok(position)
}

impl AdamW {
    fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let bytes = |tensor: &Tensor| -> Result<Vec<u8>, TrainError> {
            let values = Vec::<f32>::try_from(tensor.f_to_device(tch::Device::Cpu)?)?;
            Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
        };
        let (mean, squares) = (bytes(&self.mean)?, bytes(&self.squares)?);
        let views = [("mean", &mean), ("squares", &squares)].map(|(name, data)| {
            let view = TensorView::new(Dtype::F32, vec![data.len() / 4], data)
                .expect("the shape is the data's");
            (name, view)
        });
        Ok(safetensors::serialize(views, None).expect("two distinct names"))
    }
}
