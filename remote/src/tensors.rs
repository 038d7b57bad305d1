//! Tensors of requests and responses.
//!
//! | tensor | datatype | shape | |
//! |---|---|---|---|
//! | input `returns` | FP32 | [batch, steps, 1] | requested return or idle budget |
//! | input `inputs` | FP32 | [batch, steps, n] | features |
//! | input `actions` | FP32 | [batch, steps, k] | action tokens, k = 1 or 4 |
//! | output `outputs` | FP32 | [batch, m] | probabilities (m = 3), or the outputs of a set-point head (m = 8) |
//!
//! Steps are the records or periods of a window, oldest first, at most the policy's
//! window; the first windows of a stream are shorter. Features are scaled by the
//! policy's configuration, with the history of series, so the server needs no state.
//! Values are little-endian and row-major in `raw_input_contents` and
//! `raw_output_contents`; lists of values (`fp32_contents`) are read too.

mod error;

use std::sync::Arc;

use l4sllm_model::text::shown;
use l4sllm_model::{OUTPUTS_MAX, Outputs, PolicyConfig, Window};

use crate::proto::model_infer_request::InferInputTensor;
use crate::proto::model_infer_response::InferOutputTensor;
use crate::proto::model_metadata_response::TensorMetadata;
use crate::proto::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
};

pub use error::{AnswerError, MismatchError, RequestError};

/// The only data type.
pub const FP32: &str = "FP32";

/// The name of the output.
pub const OUTPUT: &str = "outputs";

/// Any length, in metadata.
const ANY: i64 = -1;

/// Windows of a request, and how its response is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// At least one, all of the same length.
    pub windows: Vec<Window>,
    /// Whether values are in `raw_input_contents`; the response's are then in
    /// `raw_output_contents`.
    pub raw: bool,
}

/// The tensors of one policy.
#[derive(Debug, Clone)]
pub struct Contract {
    config: Arc<PolicyConfig>,
}

impl Contract {
    /// The tensors of a policy with this configuration.
    pub fn of(config: Arc<PolicyConfig>) -> Contract {
        Contract { config }
    }

    /// The policy's configuration.
    pub fn config(&self) -> &Arc<PolicyConfig> {
        &self.config
    }

    /// Bytes of a full window's values.
    pub fn window_bytes(&self) -> usize {
        let each: usize = self.inputs().iter().map(|(_, width)| width).sum();
        4 * each * self.config.window
    }

    /// Names of the inputs with their numbers per step.
    fn inputs(&self) -> [(&'static str, usize); 3] {
        [
            ("returns", 1),
            ("inputs", self.config.inputs()),
            ("actions", self.config.action_inputs()),
        ]
    }

    /// The metadata of a model that serves the policy.
    pub fn metadata(&self, version: &str) -> ModelMetadataResponse {
        let tensor = |name: &str, shape: Vec<i64>| TensorMetadata {
            name: name.to_owned(),
            datatype: FP32.to_owned(),
            shape,
        };
        let inputs = self.inputs();
        let input =
            |(name, width): (&'static str, usize)| tensor(name, vec![ANY, ANY, width as i64]);
        ModelMetadataResponse {
            name: self.config.name.clone(),
            versions: vec![version.to_owned()],
            platform: "l4sllm".to_owned(),
            inputs: inputs.into_iter().map(input).collect(),
            outputs: vec![tensor(OUTPUT, vec![ANY, self.config.head.outputs() as i64])],
        }
    }

    /// Checks a server's metadata. Returns the number of steps if the server takes
    /// full windows only.
    ///
    /// # Errors
    /// The model has other tensors.
    pub fn check(&self, metadata: &ModelMetadataResponse) -> Result<Option<usize>, MismatchError> {
        let window = self.config.window as i64;
        let mut fixed = false;
        for (name, width) in self.inputs() {
            let shape = [ANY, ANY, width as i64];
            let found = find("input", name, &metadata.inputs, &shape)?;
            let [batch, steps, each] = found.shape[..] else {
                return Err(mismatch("input", name, found, &shape));
            };
            let fits = found.datatype == FP32
                && [ANY, 1].contains(&batch)
                && [ANY, window].contains(&steps)
                && [ANY, width as i64].contains(&each);
            if !fits {
                return Err(mismatch("input", name, found, &[ANY, window, width as i64]));
            }
            fixed |= steps != ANY;
        }
        let known = self.inputs().map(|(name, _)| name);
        let mut others = metadata.inputs.iter().map(|tensor| &tensor.name);
        if let Some(other) = others.find(|name| !known.contains(&name.as_str())) {
            return Err(MismatchError::Unknown(shown(other).to_string()));
        }
        let outputs = self.config.head.outputs() as i64;
        let found = find("output", OUTPUT, &metadata.outputs, &[ANY, outputs])?;
        match found.shape[..] {
            [batch, each]
                if found.datatype == FP32
                    && [ANY, 1].contains(&batch)
                    && [ANY, outputs].contains(&each) =>
            {
                Ok(fixed.then_some(self.config.window))
            }
            _ => Err(mismatch("output", OUTPUT, found, &[ANY, outputs])),
        }
    }

    /// The request for a decision on one window.
    pub fn request(&self, model: &str, window: &Window) -> ModelInferRequest {
        let values = [&window.returns, &window.inputs, &window.actions];
        let input = |(name, width): (&'static str, usize)| InferInputTensor {
            name: name.to_owned(),
            datatype: FP32.to_owned(),
            shape: vec![1, window.len() as i64, width as i64],
            ..InferInputTensor::default()
        };
        ModelInferRequest {
            model_name: model.to_owned(),
            inputs: self.inputs().into_iter().map(input).collect(),
            raw_input_contents: values.map(|values| bytes(values)).into(),
            ..ModelInferRequest::default()
        }
    }

    /// Reads the windows of a request, at most `most`.
    ///
    /// # Errors
    /// Inputs are missing, or have other types, shapes or values.
    pub fn asked(&self, request: &ModelInferRequest, most: usize) -> Result<Asked, RequestError> {
        if let Some(other) = request.outputs.iter().find(|output| output.name != OUTPUT) {
            return Err(RequestError::Output(shown(&other.name).to_string()));
        }
        let raw = !request.raw_input_contents.is_empty();
        let entries = request.raw_input_contents.len();
        if request.inputs.len() != 3 || (raw && entries != 3) {
            return Err(unknown(&request.inputs));
        }
        let (mut batch, mut steps) = (0, 0);
        let mut values: [Vec<f32>; 3] = Default::default();
        for (at, (name, width)) in self.inputs().into_iter().enumerate() {
            let place = request.inputs.iter().position(|input| input.name == name);
            let place = place.ok_or_else(|| unknown(&request.inputs))?;
            let input = &request.inputs[place];
            let expected = || match at {
                0 => shape_text(FP32, &[ANY, ANY, width as i64]),
                _ => shape_text(FP32, &[batch as i64, steps as i64, width as i64]),
            };
            let shape = self
                .shape(input, width)
                .filter(|shape| at == 0 || *shape == (batch, steps));
            let Some(shape) = shape else {
                let expected = expected();
                let found = shape_text(&input.datatype, &input.shape);
                return Err(RequestError::Tensor {
                    name,
                    expected,
                    found,
                });
            };
            (batch, steps) = shape;
            if batch > most {
                return Err(RequestError::Windows { found: batch, most });
            }
            let length = batch * steps * width;
            let read = match raw {
                true => floats(&request.raw_input_contents[place], length),
                false => listed(input.contents.as_ref(), length),
            };
            values[at] = read.map_err(|found| RequestError::Length {
                name,
                expected: length,
                found,
            })?;
        }
        let [returns, inputs, actions] = values;
        let part = |values: &[f32], window: usize| {
            let each = values.len() / batch;
            values[window * each..][..each].to_vec()
        };
        let windows = (0..batch).map(|window| Window {
            returns: part(&returns, window),
            inputs: part(&inputs, window),
            actions: part(&actions, window),
        });
        Ok(Asked {
            windows: windows.collect(),
            raw,
        })
    }

    /// Batch and steps of an input; `None` if its type or shape is another.
    fn shape(&self, input: &InferInputTensor, width: usize) -> Option<(usize, usize)> {
        let [batch, steps, each] = input.shape[..] else {
            return None;
        };
        let steps = usize::try_from(steps).ok();
        let steps = steps.filter(|steps| (1..=self.config.window).contains(steps))?;
        let batch = usize::try_from(batch).ok().filter(|batch| *batch >= 1)?;
        (input.datatype == FP32 && each == width as i64).then_some((batch, steps))
    }

    /// The response with the outputs of each window.
    pub fn response(
        &self,
        request: &ModelInferRequest,
        version: &str,
        outputs: &[Outputs],
        raw: bool,
    ) -> ModelInferResponse {
        let each = self.config.head.outputs();
        let values: Vec<f32> = outputs.iter().flat_map(|o| &o[..each]).copied().collect();
        let (contents, raw) = match raw {
            true => (None, vec![bytes(&values)]),
            false => {
                let contents = InferTensorContents {
                    fp32_contents: values,
                    ..InferTensorContents::default()
                };
                (Some(contents), Vec::new())
            }
        };
        ModelInferResponse {
            model_name: request.model_name.clone(),
            model_version: version.to_owned(),
            id: request.id.clone(),
            outputs: vec![InferOutputTensor {
                name: OUTPUT.to_owned(),
                datatype: FP32.to_owned(),
                shape: vec![outputs.len() as i64, each as i64],
                contents,
                ..InferOutputTensor::default()
            }],
            raw_output_contents: raw,
            ..ModelInferResponse::default()
        }
    }

    /// Reads the outputs of the only window of a request.
    ///
    /// # Errors
    /// They are missing, have another shape, or are not finite, or those of a head
    /// with probabilities are not probabilities.
    pub fn outputs(&self, response: &ModelInferResponse) -> Result<Outputs, AnswerError> {
        let each = self.config.head.outputs();
        let place = response
            .outputs
            .iter()
            .position(|output| output.name == OUTPUT);
        let Some(place) = place else {
            let names = response.outputs.iter().map(|output| output.name.as_str());
            return Err(AnswerError::Missing(listing(names)));
        };
        let output = &response.outputs[place];
        if output.datatype != FP32 || output.shape != [1, each as i64] {
            return Err(AnswerError::Tensor {
                expected: shape_text(FP32, &[1, each as i64]),
                found: shape_text(&output.datatype, &output.shape),
            });
        }
        let read = match response.raw_output_contents.get(place) {
            Some(raw) => floats(raw, each),
            None => listed(output.contents.as_ref(), each),
        };
        let values = read.map_err(|found| AnswerError::Length {
            expected: each,
            found,
        })?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(AnswerError::NotFinite(values));
        }
        if self.config.head.has_probabilities() && !are_probabilities(&values) {
            return Err(AnswerError::NotProbabilities(values));
        }
        let mut outputs = [0.0; OUTPUTS_MAX];
        outputs[..each].copy_from_slice(&values);
        Ok(outputs)
    }
}

/// Whether values are in 0 to 1 and their sum is 1, within the rounding of bf16.
fn are_probabilities(values: &[f32]) -> bool {
    let sum: f32 = values.iter().sum();
    values.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() < 0.02
}

fn find<'a>(
    kind: &'static str,
    name: &'static str,
    tensors: &'a [TensorMetadata],
    shape: &[i64],
) -> Result<&'a TensorMetadata, MismatchError> {
    let found = tensors.iter().find(|tensor| tensor.name == name);
    found.ok_or_else(|| MismatchError::Missing {
        kind,
        name,
        expected: shape_text(FP32, shape),
        found: listing(tensors.iter().map(|tensor| tensor.name.as_str())),
    })
}

fn mismatch(
    kind: &'static str,
    name: &'static str,
    found: &TensorMetadata,
    shape: &[i64],
) -> MismatchError {
    MismatchError::Tensor {
        kind,
        name,
        expected: shape_text(FP32, shape),
        found: shape_text(&found.datatype, &found.shape),
    }
}

fn unknown(inputs: &[InferInputTensor]) -> RequestError {
    let names = inputs.iter().map(|input| input.name.as_str());
    RequestError::Inputs {
        found: listing(names),
    }
}

/// At most this many names or dimensions of another program are printed.
const SHOWN: usize = 8;

fn listing<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names
        .take(SHOWN)
        .map(|name| shown(name).to_string())
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

fn shape_text(datatype: &str, shape: &[i64]) -> String {
    let shown_sizes = &shape[..shape.len().min(SHOWN)];
    let more = if shape.len() > SHOWN { ", …" } else { "" };
    let sizes: Vec<_> = shown_sizes.iter().map(i64::to_string).collect();
    format!("{} [{}{more}]", shown(datatype), sizes.join(", "))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// `length` values; the error is the number of bytes.
fn floats(raw: &[u8], length: usize) -> Result<Vec<f32>, usize> {
    if raw.len() != 4 * length {
        return Err(raw.len());
    }
    let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(raw.chunks_exact(4).map(value).collect())
}

/// `length` values of a list; the error is their number.
fn listed(contents: Option<&InferTensorContents>, length: usize) -> Result<Vec<f32>, usize> {
    let values = contents.map_or(&[][..], |contents| &contents.fp32_contents);
    match values.len() == length {
        true => Ok(values.to_vec()),
        false => Err(values.len()),
    }
}

#[cfg(test)]
mod tests;
