//! Policy directories.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use l4sllm_model::{self as model, PolicyConfig, SET_POINTS, Tensors, Window, specs};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{PolicyError, raise};

/// A policy on summaries in the plain engine, which the daemon and the emulator use.
#[pyclass(module = "l4sllm._native", frozen)]
pub struct Policy(Arc<model::Policy>);

#[pymethods]
impl Policy {
    /// Loads a directory.
    #[new]
    fn new(python: Python<'_>, directory: PathBuf) -> PyResult<Policy> {
        let policy = python.detach(|| model::Policy::load(&directory));
        policy.map(Policy).map_err(|e| raise::<PolicyError>(&e))
    }

    /// The text of config.json.
    #[getter]
    fn config(&self) -> String {
        self.0.config().to_json()
    }

    /// SHA-256 of its files.
    #[getter]
    fn hash(&self) -> &str {
        self.0.hash()
    }

    /// The first four outputs of the head for each observation of an environment: f32 to
    /// f32.
    fn outputs<'p>(&self, python: Python<'p>, observations: &[u8]) -> PyResult<Bound<'p, PyBytes>> {
        let config = self.0.config();
        let (inputs, actions) = (config.inputs(), config.action_inputs());
        let each = 1 + inputs + actions;
        let numbers: Vec<f32> = observations
            .chunks_exact(size_of::<f32>())
            .map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let wrong = |what: &str| PyValueError::new_err(format!("observations: {what}"));
        if observations.len() % (each * size_of::<f32>()) != 0 {
            return Err(wrong(&format!("expected {each} numbers for each")));
        }
        let windows = numbers.chunks_exact(each).map(|numbers| {
            let window = Window {
                returns: numbers[..1].to_vec(),
                inputs: numbers[1..1 + inputs].to_vec(),
                actions: numbers[1 + inputs..].to_vec(),
            };
            window.steps(config)
        });
        let windows: Option<Vec<_>> = windows.collect();
        let windows = windows.ok_or_else(|| wrong("a number is not finite"))?;
        let outputs = python
            .detach(|| self.0.outputs_all(&windows))
            .map_err(|e| raise::<PolicyError>(&e))?;
        let bytes = outputs.iter().flat_map(|outputs| &outputs[..SET_POINTS]);
        let bytes: Vec<u8> = bytes.flat_map(|output| output.to_ne_bytes()).collect();
        Ok(PyBytes::new(python, &bytes))
    }
}

/// Writes a policy directory from the text of config.json and tensors, as f32 in native
/// order, and checks that the plain engine runs it.
///
/// # Errors
/// The configuration or a tensor; an output that is not finite.
#[pyfunction]
pub fn save_policy(
    python: Python<'_>,
    directory: PathBuf,
    config: &str,
    tensors: BTreeMap<String, Vec<u8>>,
) -> PyResult<()> {
    let tensors = tensors.into_iter().map(|(name, bytes)| {
        let values = bytes.chunks_exact(size_of::<f32>());
        let values = values.map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        (name, values.collect())
    });
    let tensors: BTreeMap<String, Vec<f32>> = tensors.collect();
    let save = || -> Result<(), model::PolicyError> {
        let config = PolicyConfig::from_json("config.json", config.as_bytes())?;
        model::Policy::check_plain(&config)?;
        let tensors = Tensors::new(&config, tensors)?;
        model::Policy::save(&directory, &config, &tensors)?;
        model::Policy::load(&directory).map(drop)
    };
    python.detach(save).map_err(|e| raise::<PolicyError>(&e))
}

/// A tensor: name, shape, f32 in native order.
type NamedTensor<'p> = (String, Vec<usize>, Bound<'p, PyBytes>);

/// The tensors of a policy directory.
///
/// # Errors
/// A file, or a policy with an unmerged adapter.
#[pyfunction]
pub fn read_tensors(python: Python<'_>, directory: PathBuf) -> PyResult<Vec<NamedTensor<'_>>> {
    let read = python.detach(|| model::Policy::load_tensors(&directory));
    let (config, tensors) = read.map_err(|e| raise::<PolicyError>(&e))?;
    let named = specs(&config).into_iter().map(|(name, shape)| {
        let values = tensors.values(&name).iter();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_ne_bytes()).collect();
        (name, shape, PyBytes::new(python, &bytes))
    });
    Ok(named.collect())
}
