//! Reads tensors from safetensors files.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::{INDEX_FILE, WEIGHTS_FILE};
use crate::Spec;
use crate::backbone::BackboneError;
use crate::files::{open_regular, read_regular};
use crate::torch::TrainError;
use crate::torch::backbone::Weights;

/// Maximum size of an index, bytes; the largest models have 1 MB.
const INDEX_MAX: u64 = 64 << 20;

/// The files, with facts about their contents that are known before opening them.
pub(in crate::torch) enum Source {
    /// A single file.
    One(PathBuf),
    /// Shards, with the file of each tensor.
    Sharded {
        /// The index.
        index: PathBuf,
        /// File of a tensor.
        shards: BTreeMap<String, PathBuf>,
    },
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Source {
    /// Finds the files of a model's directory.
    pub(in crate::torch) fn open(dir: &Path) -> Result<Source, BackboneError> {
        let one = dir.join(WEIGHTS_FILE);
        if one.is_file() {
            return Ok(Source::One(one));
        }
        let index = dir.join(INDEX_FILE);
        if !index.is_file() {
            return Err(layout(dir, nothing_in(dir)));
        }
        let text = read_regular(&index, INDEX_MAX).map_err(|e| BackboneError::read(&index, e))?;
        let parsed: Index =
            serde_json::from_slice(&text).map_err(|e| layout(&index, e.to_string()))?;
        let mut shards = BTreeMap::new();
        for (tensor, file) in parsed.weight_map {
            // The index lists these files of the directory only.
            let mut parts = Path::new(&file).components();
            let plain = matches!(parts.next(), Some(Component::Normal(n)) if n == file.as_str());
            if !plain || !file.ends_with(".safetensors") {
                let reason = format!(
                    "tensor {tensor} is listed in {file:?}, expected a safetensors file of \
                     this directory"
                );
                return Err(layout(&index, reason));
            }
            shards.insert(tensor, dir.join(file));
        }
        Ok(Source::Sharded { index, shards })
    }
}

fn nothing_in(dir: &Path) -> String {
    let pickled = fs::read_dir(dir).into_iter().flatten().flatten().any(|e| {
        let name = e.file_name();
        let name = name.to_string_lossy();
        name.starts_with("pytorch_model") && name.ends_with(".bin")
    });
    match pickled {
        true => format!(
            "only pytorch_model.bin, a format that can run code; convert it to {WEIGHTS_FILE}, \
             e.g. with save_pretrained of transformers"
        ),
        false => format!("neither {WEIGHTS_FILE} nor {INDEX_FILE}"),
    }
}

/// Reads tensors; `aliases` returns the names that a tensor may have in the
/// files.
pub(in crate::torch) fn read(
    source: &Source,
    specs: &[Spec],
    aliases: impl Fn(&str) -> Vec<String>,
    kind: Kind,
    device: Device,
) -> Result<Weights, TrainError> {
    // By file: the name in the file and the resulting name.
    let mut wanted: BTreeMap<&Path, Vec<(String, &Spec)>> = BTreeMap::new();
    match source {
        Source::One(path) => {
            let file = open(path)?;
            let tensors = parse(path, &file)?;
            let known: HashSet<&str> = tensors.names().into_iter().collect();
            for spec in specs {
                let names = aliases(&spec.0);
                let found = names.iter().find(|n| known.contains(n.as_str()));
                let found = found.ok_or_else(|| missing(path, &names))?;
                wanted.entry(path).or_default().push((found.clone(), spec));
            }
        }
        Source::Sharded { index, shards } => {
            for spec in specs {
                let names = aliases(&spec.0);
                let found = names.iter().find_map(|n| shards.get_key_value(n));
                let (name, path) = found.ok_or_else(|| missing(index, &names))?;
                wanted.entry(path).or_default().push((name.clone(), spec));
            }
        }
    }
    let mut weights = Weights::new();
    for (path, tensors) in wanted {
        let file = open(path)?;
        let parsed = parse(path, &file)?;
        for (stored, (name, shape)) in tensors {
            let view = parsed
                .tensor(&stored)
                .map_err(|_| missing(path, std::slice::from_ref(&stored)))?;
            weights.insert(name, tensor(path, &stored, &view, shape, kind, device)?);
        }
    }
    Ok(weights)
}

/// Maps a file.
pub(in crate::torch) fn open(path: &Path) -> Result<Mmap, BackboneError> {
    let failed = |operation| {
        move |source| BackboneError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    let file = open_regular(path).map_err(failed("open"))?;
    // SAFETY: the map is read-only, and its contents are copied before it is
    // dropped. If someone changes a model's file during loading, the values
    // change, or a truncation causes a bus error, as for every reader of mapped
    // weights.
    unsafe { Mmap::map(&file) }.map_err(failed("map"))
}

/// Reads the header of a mapped file.
pub(in crate::torch) fn parse<'a>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<SafeTensors<'a>, BackboneError> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| layout(path, format!("not a complete safetensors file: {e}")))
}

/// Copies a tensor from its file.
fn tensor(
    path: &Path,
    name: &str,
    view: &TensorView<'_>,
    shape: &[usize],
    kind: Kind,
    device: Device,
) -> Result<Tensor, TrainError> {
    if view.shape() != shape {
        let reason = format!("shape {:?}, expected {shape:?}", view.shape());
        return Err(wrong(path, name, reason).into());
    }
    let stored = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        other => {
            let reason = format!("{other:?}, expected F32, F16 or BF16");
            return Err(wrong(path, name, reason).into());
        }
    };
    let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
    let data = view.data();
    let tensor = if data.as_ptr().align_offset(stored.elt_size_in_bytes()) == 0 {
        // SAFETY: the header's reader checked that the length of the data
        // matches shape and type; the data are aligned; the borrowing tensor is
        // copied and dropped before the map.
        let mapped =
            unsafe { Tensor::f_from_blob(data.as_ptr(), &shape, &[], stored, Device::Cpu) }?;
        mapped.f_to_device_(device, kind, false, true)?
    } else {
        let copy = Tensor::f_from_data_size(data, &shape, stored)?;
        copy.f_to_device_(device, kind, false, false)?
    };
    if tensor.numel() > 0 {
        let (least, most) = tensor.f_aminmax(None, false)?;
        let sum = least.f_double_value(&[])? + most.f_double_value(&[])?;
        if !sum.is_finite() {
            return Err(wrong(path, name, "contains values that are not finite").into());
        }
    }
    Ok(tensor)
}

fn missing(path: &Path, names: &[String]) -> BackboneError {
    let (name, others) = names.split_first().map_or(("", &[][..]), |(n, o)| (n, o));
    let reason = match others {
        [] => "missing".to_owned(),
        _ => format!("missing, also as {}", others.join(", ")),
    };
    wrong(path, name, reason)
}

pub(in crate::torch) fn wrong(
    path: &Path,
    tensor: &str,
    reason: impl Into<String>,
) -> BackboneError {
    BackboneError::Tensor {
        file: path.display().to_string(),
        tensor: tensor.to_owned(),
        reason: reason.into(),
    }
}

pub(in crate::torch) fn layout(path: &Path, reason: impl Into<String>) -> BackboneError {
    BackboneError::Layout {
        path: path.to_owned(),
        reason: reason.into(),
    }
}
