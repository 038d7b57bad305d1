//! Several emulators that step in parallel, without Python's lock.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use l4sllm_abi::Params;
use l4sllm_model::{Outcome, SET_POINTS};
use l4sllm_testbed::scenario::{Arm, Scenario};
use l4sllm_testbed::sim::Simulation;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::environment::{Environment, INFO, Setup};
use crate::error::{EmulatorError, raise};
use crate::options::{EnvironmentError, Options};

/// `count` emulators with the same options, as JSON.
#[pyclass(module = "l4sllm._native", frozen)]
pub struct Emulators {
    setup: Arc<Setup>,
    count: usize,
    /// Never locked by a thread that waits for Python's lock.
    all: Mutex<Vec<Environment>>,
    /// None: the calling thread.
    pool: Option<ThreadPool>,
}

#[pymethods]
impl Emulators {
    #[new]
    fn new(python: Python<'_>, count: usize, options: &str) -> PyResult<Emulators> {
        if !(1..=4096).contains(&count) {
            let text = format!("{count} emulators: expected 1 to 4096");
            return Err(PyValueError::new_err(text));
        }
        let options: Options =
            serde_json::from_str(options).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let threads = options.threads;
        let setup = python
            .detach(|| Setup::new(options))
            .map_err(to_exception)?;
        let setup = Arc::new(setup);
        let pool = (count > 1).then(|| ThreadPoolBuilder::new().num_threads(threads).build());
        let pool = pool.transpose();
        Ok(Emulators {
            all: Mutex::new((0..count).map(|_| Environment::new(&setup)).collect()),
            count,
            setup,
            pool: pool.map_err(|e| EmulatorError::new_err(e.to_string()))?,
        })
    }

    /// The configuration of policies trained here: the text of config.json.
    #[getter]
    fn config(&self) -> String {
        self.setup.config().to_json()
    }

    /// Bounds of each number of an observation, f32; the lower ones are negated.
    #[getter]
    fn observation_bounds<'p>(&self, python: Python<'p>) -> Bound<'p, PyBytes> {
        PyBytes::new(python, &of_f32(&self.setup.observation_bounds()))
    }

    /// Lower and upper bounds of actions, f32.
    #[getter]
    fn action_bounds<'p>(&self, python: Python<'p>) -> [Bound<'p, PyBytes>; 2] {
        let bounds = self.setup.action_bounds();
        bounds.map(|bound| PyBytes::new(python, &of_f32(&bound)))
    }

    /// Events of the emulations so far.
    #[getter]
    fn events(&self) -> u64 {
        self.all().iter().map(Environment::events).sum()
    }

    /// Starts an episode in each emulator for which `mask` is true: the first of its seed
    /// or, without one, the next.
    fn reset(&self, python: Python<'_>, seeds: Vec<Option<u64>>, mask: Vec<bool>) -> PyResult<()> {
        self.check_length("seeds", seeds.len(), 1)?;
        self.check_length("mask", mask.len(), 1)?;
        let reset = |(at, one): (usize, &mut Environment)| match mask[at] {
            true => one.reset(seeds[at]),
            false => Ok(()),
        };
        python.detach(|| self.each(reset)).map_err(to_exception)?;
        Ok(())
    }

    /// Steps all emulators, with four f32 for each. One without an episode, because its
    /// last step ended it, starts the next one instead. Returns rewards, f64, and whether
    /// each episode ended, u8.
    fn step<'p>(
        &self,
        python: Python<'p>,
        actions: &[u8],
    ) -> PyResult<(Bound<'p, PyBytes>, Bound<'p, PyBytes>)> {
        let each = SET_POINTS * size_of::<f32>();
        self.check_length("actions", actions.len(), each)?;
        let step = |(at, one): (usize, &mut Environment)| {
            if !one.is_running() {
                one.reset(None)?;
                return Ok((0.0, 0));
            }
            let step = one.step(action(&actions[at * each..][..each]))?;
            Ok((step.reward, u8::from(step.truncated)))
        };
        let steps = python.detach(|| self.each(step)).map_err(to_exception)?;
        let (rewards, ends): (Vec<f64>, Vec<u8>) = steps.into_iter().unzip();
        let rewards: Vec<u8> = rewards
            .iter()
            .flat_map(|reward| reward.to_ne_bytes())
            .collect();
        Ok((PyBytes::new(python, &rewards), PyBytes::new(python, &ends)))
    }

    /// The last observations, f32.
    fn observations<'p>(&self, python: Python<'p>) -> Bound<'p, PyBytes> {
        let all = self.all();
        let bytes = all.iter().flat_map(|one| of_f32(one.observation()));
        PyBytes::new(python, &bytes.collect::<Vec<u8>>())
    }

    /// Numbers about the last period of each, f64, in the order of INFO.
    fn infos<'p>(&self, python: Python<'p>) -> Bound<'p, PyBytes> {
        let mut bytes = Vec::with_capacity(self.count * INFO.len() * size_of::<f64>());
        for value in self.all().iter().flat_map(|one| one.info()) {
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        PyBytes::new(python, &bytes)
    }

    /// Name of the scenario or condition of each.
    fn names(&self) -> Vec<String> {
        self.all().iter().map(|one| one.name().to_owned()).collect()
    }

    /// The measured part of the last episode of one, if it has ended.
    fn outcome<'p>(&self, python: Python<'p>, at: usize) -> PyResult<Option<Bound<'p, PyDict>>> {
        let outcome = self.all().get(at).and_then(Environment::outcome).copied();
        outcome
            .as_ref()
            .map(|outcome| to_dict(python, outcome))
            .transpose()
    }
}

impl Emulators {
    fn all(&self) -> MutexGuard<'_, Vec<Environment>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `of` for each emulator, in parallel.
    fn each<T: Send>(
        &self,
        of: impl Fn((usize, &mut Environment)) -> Result<T, EnvironmentError> + Sync + Send,
    ) -> Result<Vec<T>, EnvironmentError> {
        let mut all = self.all();
        let all: &mut Vec<Environment> = &mut all;
        match &self.pool {
            None => all.iter_mut().enumerate().map(of).collect(),
            Some(pool) => pool.install(|| all.par_iter_mut().enumerate().map(of).collect()),
        }
    }

    fn check_length(&self, what: &str, got: usize, each: usize) -> PyResult<()> {
        let want = self.count * each;
        match got == want {
            true => Ok(()),
            false => {
                let text = format!("{what}: length {got}, expected {want}");
                Err(PyValueError::new_err(text))
            }
        }
    }
}

/// Runs plain DualPI2 in a scenario without a learner, as the Rust loop that steps are
/// compared with; returns the events and the seconds.
///
/// # Errors
/// The scenario.
#[pyfunction]
pub fn run_rust_loop(python: Python<'_>, scenario: PathBuf, duration: f64) -> PyResult<(u64, f64)> {
    let run = || -> Result<(u64, f64), EnvironmentError> {
        let mut scenario = Scenario::load(&scenario)?;
        scenario.set_duration((duration * 1e9) as u64);
        let failed = |source| EnvironmentError::Run {
            scenario: scenario.name.clone(),
            source,
        };
        let arm = Arm::dualpi2("dualpi2", Params::default());
        let mut simulation = Simulation::new(&scenario, &arm, 0, None).map_err(failed)?;
        let began = Instant::now();
        while !simulation
            .run_some(scenario.duration_ns, 1 << 16)
            .map_err(failed)?
        {
            simulation.take_rows();
        }
        Ok((simulation.events(), began.elapsed().as_secs_f64()))
    };
    python.detach(run).map_err(to_exception)
}

fn to_exception(error: EnvironmentError) -> PyErr {
    match &error {
        EnvironmentError::Option { .. } => PyValueError::new_err(error.to_string()),
        _ => raise::<EmulatorError>(&error),
    }
}

fn of_f32(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

fn action(bytes: &[u8]) -> [f32; SET_POINTS] {
    let mut action = [0.0; SET_POINTS];
    for (to, bytes) in action.iter_mut().zip(bytes.chunks_exact(size_of::<f32>())) {
        *to = f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    action
}

fn to_dict<'p>(python: Python<'p>, outcome: &Outcome) -> PyResult<Bound<'p, PyDict>> {
    let dict = PyDict::new(python);
    dict.set_item("utilisation", outcome.utilisation)?;
    dict.set_item("classic_mean_ms", outcome.classic_mean_ms)?;
    dict.set_item("classic_p50_ms", outcome.classic_p50_ms)?;
    dict.set_item("classic_p99_ms", outcome.classic_p99_ms)?;
    dict.set_item("l4s_mean_ms", outcome.l4s_mean_ms)?;
    dict.set_item("l4s_p99_ms", outcome.l4s_p99_ms)?;
    dict.set_item("jain", outcome.jain)?;
    dict.set_item("drop_share", outcome.drop_share)?;
    Ok(dict)
}
