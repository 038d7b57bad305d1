//! Writes files of Hugging Face directories.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensorError, View};
use tch::{Device, Kind, Tensor};

use crate::backbone::BackboneError;
use crate::files::{AtomicFile, Existing, replace};

/// Writes a text file.
pub(in crate::torch) fn text(path: &Path, text: &str) -> Result<(), BackboneError> {
    replace(path, text.as_bytes()).map_err(|e| failed(path, e))
}

/// Writes tensors in sequence, each with its own type.
pub(in crate::torch) fn tensors(
    path: &Path,
    tensors: &[(String, &Tensor)],
) -> Result<(), BackboneError> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| match dtype(tensor.kind()) {
            Some(dtype) => Ok((name.as_str(), Stored::new(tensor, dtype))),
            None => Err(BackboneError::Tensor {
                file: path.display().to_string(),
                tensor: name.clone(),
                reason: format!("{:?}, expected f32, f16 or bf16", tensor.kind()),
            }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let file = AtomicFile::create(path, Existing::Replace).map_err(|e| failed(path, e))?;
    // transformers refuses files without this entry.
    let facts = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(facts), file.temporary()).map_err(|e| match e {
        SafeTensorError::IoError(e) => failed(path, e),
        other => failed(path, io::Error::other(other.to_string())),
    })?;
    file.commit().map_err(|e| failed(path, e))
}

pub(in crate::torch) fn failed(path: &Path, source: io::Error) -> BackboneError {
    BackboneError::Io {
        operation: "write",
        path: path.to_owned(),
        source,
    }
}

fn dtype(kind: Kind) -> Option<Dtype> {
    match kind {
        Kind::Float => Some(Dtype::F32),
        Kind::Half => Some(Dtype::F16),
        Kind::BFloat16 => Some(Dtype::BF16),
        _ => None,
    }
}

/// A tensor that is copied from its device when it is written.
struct Stored<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Stored<'_> {
    fn new(tensor: &Tensor, dtype: Dtype) -> Stored<'_> {
        Stored {
            tensor,
            shape: tensor.size().iter().map(|n| *n as usize).collect(),
            dtype,
        }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu).contiguous();
        let mut bytes = vec![0; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}
