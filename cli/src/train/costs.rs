//! The cost of a training run, for `l4sllm report`.

use l4sllm_model::torch::{Trainer, device, parameters};
use l4sllm_report::Costs;

use super::TrainArgs;
use crate::latency;

/// Decisions measured after training.
const DECISIONS: u32 = 50;

/// Measures decisions and collects the other costs. The time of a resumed
/// training run covers all its parts.
pub(super) fn measure(args: &TrainArgs, trainer: &Trainer) -> anyhow::Result<Costs> {
    let trained_s = trainer.seconds();
    let steps = trainer.step_count();
    let network = trainer.network();
    let options = network.options();
    let count = parameters(network.config())?;
    let decision_ms = latency::decisions(DECISIONS, || Ok(trainer.decide().map(drop)?))?;
    let config = args.config();
    Ok(Costs {
        name: network.config().name.clone(),
        parameters: count.all,
        trainable_parameters: count.trained,
        device: device::describe(options.device),
        threads: if options.device.is_cuda() {
            0
        } else {
            u32::try_from(args.machine.threads).unwrap_or(u32::MAX)
        },
        precision: device::Precision::of(options.kind).name().to_owned(),
        memory_bytes: device::memory(options.device).map(|memory| memory.peak),
        decision_ms: Some(decision_ms),
        step_ms: (steps > 0).then(|| trained_s * 1e3 / steps as f64),
        step_windows: (steps > 0).then(|| (config.batch * config.grad_accum_steps.max(1)) as u64),
        training_s: Some(trained_s),
    })
}
