//! Configuration of training in the loop.

use std::path::Path;

use l4sllm_model::torch::online::LearnConfig;
use l4sllm_model::torch::{Device, Network, Options};
use l4sllm_model::{Adaptation, EncoderConfig, Policy, PolicyConfig, SummaryFeature};
use serde_json::Value;

use super::TrainArgs;
use crate::train::setup::{adaptation, backbone, base, kind, same_policy};

/// Features of a period.
const FEATURES: [SummaryFeature; 22] = [
    SummaryFeature::IdleShare,
    SummaryFeature::PMean,
    SummaryFeature::PMax,
    SummaryFeature::PRipple,
    SummaryFeature::ClassicDelayMeanMs,
    SummaryFeature::ClassicDelaySdMs,
    SummaryFeature::ClassicDelayMaxMs,
    SummaryFeature::L4sDelayMeanMs,
    SummaryFeature::ClassicSignalsPerS,
    SummaryFeature::L4sSignalsPerS,
    SummaryFeature::DropsPerS,
    SummaryFeature::L4sShare,
    SummaryFeature::DrainRateMbps,
    SummaryFeature::RateVolatility,
    SummaryFeature::Flows,
    SummaryFeature::LongClassicFlows,
    SummaryFeature::LongL4sFlows,
    SummaryFeature::LongIdleShare,
    SummaryFeature::LongClassicSignalsPerS,
    SummaryFeature::ClassicPacketsPerS,
    SummaryFeature::TargetMs,
    SummaryFeature::BetaHz,
];

/// Length of each feature's series, in periods, and its convolution.
const HISTORY: usize = 32;
const KERNEL: usize = 4;

/// Standard deviation of the logarithm of idle budgets, which is uniform over
/// its range: ln(20) / √12.
const BUDGET_SPREAD: f64 = 0.865;

/// The policy requested by the options, without feature scaling and base.
pub fn policy(args: &TrainArgs) -> anyhow::Result<PolicyConfig> {
    let options = &args.policy;
    let mut policy = PolicyConfig::on_summaries(&options.name, &FEATURES);
    for feature in &mut policy.features {
        feature.encoder = EncoderConfig::Series {
            width: options.encoder_width,
            history: HISTORY,
            kernels: vec![KERNEL],
        };
    }
    policy.window = options.window;
    policy.returns.scaling.std = BUDGET_SPREAD;
    policy.head.residual = options.residual;
    policy.backbone = backbone(options, args.preset)?.0;
    // The emulator uses the merged policy.
    Policy::check_plain(&policy)?;
    policy.adaptation = adaptation(options, args.preset);
    policy.check()?;
    Ok(policy)
}

/// The initial network; its base is that of the checkpoint `last`, if there is
/// one for the same policy.
pub fn network(
    args: &TrainArgs,
    mut policy: PolicyConfig,
    device: Device,
    last: Option<&Path>,
) -> anyhow::Result<Network> {
    let mut weights = backbone(&args.policy, args.preset)?.1;
    if let Some(last) = last {
        policy.base = same_policy(last, &policy)?.base;
    } else if policy.adaptation != Adaptation::Full {
        policy.base = Some(base(args, &policy, weights.take())?);
    }
    if policy.base.is_some() {
        weights = None;
        policy.check()?;
    }
    let options = Options {
        device,
        kind: kind(args.machine.precision, device, &policy.backbone),
        gradient_checkpointing: args.machine.gradient_checkpointing,
    };
    let (dir, seed) = (args.out.join("best"), args.optimiser.seed);
    Ok(Network::create(
        policy,
        &dir,
        weights.as_deref(),
        seed,
        options,
    )?)
}

/// Learning options of the imitation; other lessons differ in part.
pub fn learning(args: &TrainArgs) -> LearnConfig {
    let config = args.config();
    LearnConfig {
        steps: config.steps,
        batch: config.batch,
        learning_rate: config.learning_rate,
        warmup: config.warmup,
        weight_decay: config.weight_decay,
        max_grad_norm: config.max_grad_norm,
        ema_decay: config.ema_decay,
        caution: args.policy.caution,
        margin: args.online.margin,
        proximity: 0.0,
        noise: args.data.noise,
        seed: args.optimiser.seed,
    }
}

/// Everything that determines the result except the policy.
pub fn facts(args: &TrainArgs) -> Value {
    let mut facts = args.online.facts(args);
    let learning = serde_json::to_value(learning(args));
    if let (Value::Object(facts), Ok(Value::Object(learning))) = (&mut facts, learning) {
        for (key, value) in learning {
            facts.entry(key).or_insert(value);
        }
    }
    facts
}
