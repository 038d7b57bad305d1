//! Policies for programs of others: a TorchScript file, and a model
//! repository for a Triton inference server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tch::{CModule, Device, Kind, Tensor};

use super::{Batch, Network, TrainError};
use crate::files::{AtomicDir, AtomicFile, Existing, create_new};
use crate::splitmix::SplitMix64;
use crate::{ACTIONS, PolicyConfig};

/// The module's file in a version of a Triton model.
const MODEL_FILE: &str = "model.pt";

/// A model of a Triton model repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TritonModel {
    /// Its name, and that of its directory: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Most windows that the server puts together, at least 1.
    pub max_batch: u32,
    /// Longest time that it waits for more, µs.
    pub queue_delay_us: u32,
}

/// Writes the policy as a TorchScript file ([`Network::trace`]).  `file` must
/// not exist.
pub fn torchscript(network: &Network, file: &Path) -> Result<(), TrainError> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(|e| failed("make", dir, e))?;
    }
    let to = AtomicFile::create(file, Existing::Keep).map_err(|e| failed("write", file, e))?;
    network.trace()?.save(to.temporary())?;
    to.commit().map_err(|e| failed("write", file, e))
}

/// Writes `NAME/` with `config.pbtxt`, `1/model.pt` and `README.md` into a
/// model repository, which is made if need be; `NAME/` must not exist.
/// Returns the model's directory.
pub fn triton(
    network: &Network,
    repository: &Path,
    model: &TritonModel,
) -> Result<PathBuf, TrainError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if model.name.is_empty() || model.name.starts_with('.') || !model.name.chars().all(allowed) {
        let reason = "letters, digits, _, - and . only, the first no .".to_owned();
        return Err(refused(&repository.join(&model.name), reason));
    }
    let dir = repository.join(&model.name);
    let to = AtomicDir::create(&dir).map_err(|e| failed("write", &dir, e))?;
    let version = to.temporary().join("1");
    fs::create_dir_all(&version).map_err(|e| failed("make", &version, e))?;
    network.trace()?.save(version.join(MODEL_FILE))?;
    let config = network.config();
    for (name, text) in [
        ("config.pbtxt", model.config(config, network.device())),
        ("README.md", model.readme(config)),
    ] {
        let file = to.temporary().join(name);
        create_new(&file, text.as_bytes()).map_err(|e| failed("write", &file, e))?;
    }
    to.commit().map_err(|e| failed("write", &dir, e))?;
    Ok(dir)
}

/// Reads a TorchScript file again and compares its probabilities of made-up
/// records with the network's, for several numbers of windows: the largest
/// difference.
pub fn difference(network: &Network, file: &Path) -> Result<f64, TrainError> {
    let module = CModule::load_on_device(file, network.device())?;
    let mut worst: f64 = 0.0;
    for windows in [1, 3, 5] {
        let made = Raw::made_up(network.config(), windows, windows as u64);
        let got = made.run(&module, network.config(), network.device())?;
        let want = network.probabilities(&made.batch(network.config(), network.device())?)?;
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            worst = worst.max(f64::from((got - want).abs()));
        }
    }
    Ok(worst)
}

impl TritonModel {
    /// `config.pbtxt`.
    fn config(&self, policy: &PolicyConfig, device: Device) -> String {
        let (w, inputs) = (policy.window, inputs(policy));
        // Constants in the module lie on one device.
        let group = match device {
            Device::Cuda(index) => format!("kind: KIND_GPU\n    gpus: [ {index} ]"),
            _ => "kind: KIND_CPU".to_owned(),
        };
        let input = |index: usize, kind: &str, dims: &str| {
            format!(
                "  {{\n    name: \"INPUT__{index}\"\n    data_type: {kind}\n    dims: [ {dims} ]\n  }}"
            )
        };
        let inputs = [
            input(0, "TYPE_FP64", &format!("{w}")),
            input(1, "TYPE_FP64", &format!("{w}, {inputs}")),
            input(2, "TYPE_INT64", &format!("{w}")),
        ];
        format!(
            "# {w} records of policy \"{policy_name}\": README.md says what goes in and comes out.\n\
             name: \"{name}\"\n\
             platform: \"pytorch_libtorch\"\n\
             default_model_filename: \"{MODEL_FILE}\"\n\
             max_batch_size: {max}\n\
             input [\n{inputs}\n]\n\
             output [\n  {{\n    name: \"OUTPUT__0\"\n    data_type: TYPE_FP32\n    dims: [ {ACTIONS} ]\n  }}\n]\n\
             dynamic_batching {{\n  max_queue_delay_microseconds: {delay}\n}}\n\
             instance_group [\n  {{\n    count: 1\n    {group}\n  }}\n]\n\
             # Batches differ in size; a graph made anew for each would cost seconds.\n\
             parameters {{\n  key: \"DISABLE_OPTIMIZED_EXECUTION\"\n  value {{ string_value: \"true\" }}\n}}\n\
             parameters {{\n  key: \"INFERENCE_MODE\"\n  value {{ string_value: \"true\" }}\n}}\n",
            policy_name = policy.name.escape_default(),
            name = self.name,
            max = self.max_batch.max(1),
            inputs = inputs.join(",\n"),
            delay = self.queue_delay_us,
        )
    }

    /// How to call it.
    fn readme(&self, policy: &PolicyConfig) -> String {
        let (name, w, n) = (&self.name, policy.window, inputs(policy));
        let mut columns = String::new();
        let mut at = 0;
        for feature in &policy.features {
            let history = feature.encoder.history();
            let what = feature.name.name();
            columns += &match history {
                1 => format!("| {at} | `{what}` |\n"),
                _ => format!(
                    "| {at} to {} | `{what}` of the last {history} records, oldest first; where \
                     fewer came, the first repeated |\n",
                    at + history - 1
                ),
            };
            at += history;
        }
        format!(
            "# {name}\n\n\
             Policy `{policy_name}` of l4sllm as a model for Triton (`pytorch_libtorch`).  Put this\n\
             directory into the server's model repository.\n\n\
             A request has windows of exactly {w} records of one scheduler, oldest first, as the\n\
             records have them: nothing is to be scaled.\n\n\
             | tensor | type | shape | |\n|---|---|---|---|\n\
             | `INPUT__0` | FP64 | [{w}] | return-to-go of each record; the policy was fitted to be asked for {target} |\n\
             | `INPUT__1` | FP64 | [{w}, {n}] | features of each record, in the columns below |\n\
             | `INPUT__2` | INT64 | [{w}] | actions: 0 enqueue, 1 drop, 2 mark; the newest record's does not count |\n\
             | `OUTPUT__0` | FP32 | [{ACTIONS}] | probabilities of enqueue, drop and mark after the newest record |\n\n\
             | column | feature |\n|---|---|\n{columns}\n\
             ```python\n\
             import numpy, tritonclient.grpc as triton\n\n\
             client = triton.InferenceServerClient(\"localhost:8001\")\n\
             windows = 1\n\
             returns = numpy.full((windows, {w}), {target}, numpy.float64)\n\
             features = numpy.zeros((windows, {w}, {n}), numpy.float64)\n\
             actions = numpy.zeros((windows, {w}), numpy.int64)\n\
             inputs = []\n\
             for index, (array, kind) in enumerate([(returns, \"FP64\"), (features, \"FP64\"), (actions, \"INT64\")]):\n\
             \x20   tensor = triton.InferInput(f\"INPUT__{{index}}\", array.shape, kind)\n\
             \x20   tensor.set_data_from_numpy(array)\n\
             \x20   inputs.append(tensor)\n\
             print(client.infer(\"{name}\", inputs).as_numpy(\"OUTPUT__0\"))\n\
             ```\n",
            policy_name = policy.name,
            target = policy.returns.target,
        )
    }
}

/// Windows of records as they come, one after the other.
struct Raw {
    windows: usize,
    returns: Vec<f64>,
    features: Vec<f64>,
    actions: Vec<i64>,
}

impl Raw {
    /// Values about as large as those that the policy was fitted to.
    fn made_up(config: &PolicyConfig, windows: usize, seed: u64) -> Raw {
        let mut random = SplitMix64::new(seed);
        let mut raw = Raw {
            windows,
            returns: Vec::new(),
            features: Vec::new(),
            actions: Vec::new(),
        };
        for _ in 0..windows * config.window {
            raw.returns
                .push(config.returns.scaling.invert(random.normal()));
            for feature in &config.features {
                for _ in 0..feature.encoder.history() {
                    raw.features.push(feature.scaling.invert(random.normal()));
                }
            }
            raw.actions
                .push((random.next_u64() % ACTIONS as u64) as i64);
        }
        raw
    }

    /// The same, scaled by the policy's own code.
    fn batch(&self, config: &PolicyConfig, device: Device) -> Result<Batch, TrainError> {
        let scale = |scaling: &crate::Scaling, raw: f64| scaling.apply(raw);
        let returns: Vec<f32> = self
            .returns
            .iter()
            .map(|&raw| scale(&config.returns.scaling, raw))
            .collect();
        let of_record: Vec<_> = config
            .features
            .iter()
            .flat_map(|f| std::iter::repeat_n(f.scaling, f.encoder.history()))
            .collect();
        let features: Vec<f32> = self
            .features
            .iter()
            .zip(of_record.iter().cycle())
            .map(|(&raw, scaling)| scale(scaling, raw))
            .collect();
        Batch::of(self.windows, &returns, &features, &self.actions, device)
    }

    fn run(
        &self,
        module: &CModule,
        config: &PolicyConfig,
        device: Device,
    ) -> Result<Vec<[f32; ACTIONS]>, TrainError> {
        let (b, w) = (self.windows as i64, config.window as i64);
        let to = |tensor: Tensor, shape: &[i64]| -> Result<Tensor, TrainError> {
            Ok(tensor.f_view(shape)?.f_to_device(device)?)
        };
        let inputs = [
            to(Tensor::f_from_slice(&self.returns)?, &[b, w])?,
            to(Tensor::f_from_slice(&self.features)?, &[b, w, -1])?,
            to(Tensor::f_from_slice(&self.actions)?, &[b, w])?,
        ];
        let output = module.forward_ts(&inputs)?.f_to_device(Device::Cpu)?;
        let values = Vec::<f32>::try_from(output.f_to_kind(Kind::Float)?.f_reshape([-1])?)?;
        let rows = values.chunks_exact(ACTIONS);
        Ok(rows.map(|p| [p[0], p[1], p[2]]).collect())
    }
}

/// Values that the features of one record put in.
fn inputs(policy: &PolicyConfig) -> usize {
    policy.features.iter().map(|f| f.encoder.history()).sum()
}

fn refused(path: &Path, reason: String) -> TrainError {
    TrainError::Export {
        path: path.to_owned(),
        reason,
    }
}

fn failed(operation: &str, path: &Path, error: io::Error) -> TrainError {
    refused(path, format!("cannot {operation}: {error}"))
}
