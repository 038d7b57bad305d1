//! What a training cost, for `l4sllm report`.

use std::time::Instant;

use l4sllm_model::torch::{Trainer, device, parameters};
use l4sllm_testbed::report::{Costs, Latency};
use l4sllm_testbed::result::quantile;

use super::TrainArgs;

/// Decisions measured after a training.
const DECISIONS: usize = 50;

/// Runs while a training does.
pub(super) struct Clock {
    began: Instant,
    from: u64,
}

impl Clock {
    pub(super) fn start(trainer: &Trainer) -> Clock {
        Clock {
            began: Instant::now(),
            from: trainer.step_count(),
        }
    }
}

/// Measures decisions, and gathers the rest.  A training that was resumed has
/// no time of its own: its earlier part was on another clock.
pub(super) fn measure(args: &TrainArgs, trainer: &Trainer, clock: &Clock) -> anyhow::Result<Costs> {
    let trained_s = clock.began.elapsed().as_secs_f64();
    let steps = trainer.step_count() - clock.from;
    let network = trainer.network();
    let options = network.options();
    let count = parameters(network.config())?;
    trainer.decide()?;
    let mut decisions_ns = Vec::with_capacity(DECISIONS);
    for _ in 0..DECISIONS {
        let began = Instant::now();
        trainer.decide()?;
        decisions_ns.push(began.elapsed().as_nanos() as u64);
    }
    decisions_ns.sort_unstable();
    let ms = |q| quantile(&decisions_ns, q).map_or(0.0, |ns| ns as f64 / 1e6);
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
        decision_ms: Some(Latency {
            p50: ms(0.5),
            p99: ms(0.99),
            count: decisions_ns.len() as u64,
        }),
        step_ms: (steps > 0).then(|| trained_s * 1e3 / steps as f64),
        step_windows: (steps > 0).then(|| (config.batch * config.accumulate.max(1)) as u64),
        training_s: (clock.from == 0).then_some(trained_s),
    })
}
