//! A policy directory from which training can be resumed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::TrainError;
use super::network::Network;
use super::train_config::TrainConfig;
use crate::PolicyConfig;
use crate::files::{AtomicDir, create_new, read_regular, remove_leftovers};

/// Trained weights and optimiser moments, as in the trainer.
const TENSORS_FILE: &str = "training.safetensors";

/// Progress of the training.
const PROGRESS_FILE: &str = "progress.json";

/// Maximum size of the progress file and of the header with the tensors' names
/// and shapes; both usually have a few kB.
const PROGRESS_MAX: u64 = 1 << 20;
const HEADER_MAX: u64 = 1 << 20;

/// The newest checkpoint of a training …
const LAST: &str = "last";

/// … and the previous one, while it is replaced.
const BEFORE: &str = "last.before";

/// All state of a training except tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Completed optimiser steps.
    pub(super) step: u64,
    /// State of the generator that draws windows.
    pub(super) random: u64,
    /// Lowest evaluation loss so far.
    pub(super) best_loss: Option<f64>,
    /// Evaluations since then.
    pub(super) waited: u64,
    /// Options with which the training was started.
    pub(super) config: TrainConfig,
}

impl Position {
    /// The initial state.
    pub(super) fn new(config: &TrainConfig) -> Position {
        Position {
            step: 0,
            random: config.seed,
            best_loss: None,
            waited: 0,
            config: config.clone(),
        }
    }
}

/// The newest checkpoint of the training in `dir`.
pub fn find(dir: &Path) -> Option<PathBuf> {
    let places = [LAST, BEFORE].map(|name| dir.join(name));
    places.into_iter().find(|p| p.join(PROGRESS_FILE).exists())
}

/// Writes a checkpoint: `network` as a policy, and `tensors`, the flat vectors
/// needed to resume. A complete checkpoint exists at all times, even after an
/// interruption.
pub(super) fn save(
    dir: &Path,
    network: &Network,
    config: &PolicyConfig,
    tensors: &[(&str, &Tensor)],
    position: &impl Serialize,
) -> Result<(), TrainError> {
    let [last, before] = [LAST, BEFORE].map(|name| dir.join(name));
    // A training has claimed its directory.
    fs::create_dir_all(dir).map_err(failed(dir))?;
    remove_leftovers(dir, |name| name == LAST).map_err(failed(dir))?;
    let next = AtomicDir::next(&last).map_err(failed(&last))?;
    network.save(next.temporary(), config)?;
    let file = next.temporary().join(TENSORS_FILE);
    create_new(&file, &to_bytes(tensors)?).map_err(failed(&file))?;
    let file = next.temporary().join(PROGRESS_FILE);
    let text = serde_json::to_string_pretty(position)
        .expect("the struct contains no map with keys other than strings");
    create_new(&file, (text + "\n").as_bytes()).map_err(failed(&file))?;

    remove(&before)?;
    if last.exists() {
        fs::rename(&last, &before).map_err(failed(&last))?;
    }
    next.commit().map_err(failed(&last))?;
    remove(&before)
}

/// Progress stored in a checkpoint.
pub(super) fn position<P: DeserializeOwned>(dir: &Path) -> Result<P, TrainError> {
    let path = dir.join(PROGRESS_FILE);
    let wrong = |reason| TrainError::Checkpoint {
        path: path.clone(),
        reason,
    };
    let bytes = read_regular(&path, PROGRESS_MAX).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))
}

/// Refuses to resume a checkpoint of a training with other options and
/// describes the difference.
pub(super) fn same<C: Serialize>(dir: &Path, was: &C, is: &C) -> Result<(), TrainError> {
    match difference(was, is) {
        None => Ok(()),
        Some(reason) => Err(TrainError::Checkpoint {
            path: dir.join(PROGRESS_FILE),
            reason,
        }),
    }
}

/// Reads the tensors that [`save`] wrote next to the policy into those of the
/// same names.
pub(super) fn load(dir: &Path, tensors: &mut [(&str, &mut Tensor)]) -> Result<(), TrainError> {
    let wrong = |file: &str, reason: String| TrainError::Checkpoint {
        path: dir.join(file),
        reason,
    };
    let bytes = |file: &str, max: u64| {
        read_regular(&dir.join(file), max).map_err(|e| wrong(file, e.to_string()))
    };
    let values: usize = tensors.iter().map(|(_, to)| to.numel()).sum();
    let bytes = bytes(TENSORS_FILE, 4 * values as u64 + HEADER_MAX)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(TENSORS_FILE, e.to_string()))?;
    let _guard = tch::no_grad_guard();
    for (name, to) in tensors {
        let view = file
            .tensor(name)
            .map_err(|e| wrong(TENSORS_FILE, e.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != [to.numel()] {
            let reason = format!(
                "{name} is {:?} {:?}, expected F32 [{}]",
                view.dtype(),
                view.shape(),
                to.numel()
            );
            return Err(wrong(TENSORS_FILE, reason));
        }
        to.f_copy_(&Tensor::f_from_data_size(
            view.data(),
            &[to.numel() as i64],
            tch::Kind::Float,
        )?)?;
    }
    Ok(())
}

/// Describes the differences in the options of a resumed training: its losses
/// would match neither set of options.
fn difference<C: Serialize>(was: &C, is: &C) -> Option<String> {
    let map = |config| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (was, is) = (map(was), map(is));
    was.into_iter()
        .find(|(key, value)| is.get(key) != Some(value))
        .map(|(key, value)| {
            format!(
                "the training was started with {key} {value}, not {}",
                is.get(&key).unwrap_or(&serde_json::Value::Null)
            )
        })
}

fn to_bytes(tensors: &[(&str, &Tensor)]) -> Result<Vec<u8>, TrainError> {
    let bytes = tensors
        .iter()
        .map(|(_, tensor)| {
            let values = Vec::<f32>::try_from(tensor.f_detach()?.f_to_device(Device::Cpu)?)?;
            Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect::<Result<Vec<Vec<u8>>, TrainError>>()?;
    let views = tensors.iter().zip(&bytes).map(|((name, _), data)| {
        let view = TensorView::new(Dtype::F32, vec![data.len() / 4], data)
            .expect("the shape is the data's");
        (*name, view)
    });
    Ok(safetensors::serialize(views, None).expect("distinct names"))
}

fn remove(dir: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(dir)(e)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> TrainError + '_ {
    |e| TrainError::Checkpoint {
        path: path.to_owned(),
        reason: e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig::default();
        let position = serde_json::to_string(&Position::new(&config)).unwrap();
        let refused = |progress: &[u8], tensors: &[u8]| {
            fs::write(dir.path().join(PROGRESS_FILE), progress).unwrap();
            fs::write(dir.path().join(TENSORS_FILE), tensors).unwrap();
            let mut tensor = Tensor::zeros([3], (tch::Kind::Float, Device::Cpu));
            let result = super::position::<Position>(dir.path());
            let result = result.and_then(|_| load(dir.path(), &mut [("w", &mut tensor)]));
            result.unwrap_err().to_string()
        };
        let error = refused(&[b' '; PROGRESS_MAX as usize + 1], &[]);
        assert!(error.contains("progress.json: has more than"), "{error}");
        let error = refused(position.as_bytes(), &vec![0; HEADER_MAX as usize + 13]);
        assert!(
            error.contains("training.safetensors: has more than 1048588 bytes"),
            "{error}"
        );
    }

    #[test]
    fn names_differing_options() {
        let was = TrainConfig::default();
        assert_eq!(difference(&was, &was), None);
        let is = TrainConfig {
            batch: 64,
            ..was.clone()
        };
        let text = difference(&was, &is).unwrap();
        assert!(text.contains("batch 32, not 64"), "{text}");
    }
}
