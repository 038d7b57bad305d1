//! The starting point of a training run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use l4sllm_model::backbone::{BackboneConfig, Gpt2Config, LoraConfig};
use l4sllm_model::pool::{Dataset, Episode, Split};
use l4sllm_model::torch::{Device, Kind, Network, Options, Portion, random_base};
use l4sllm_model::{
    Adaptation, BaseConfig, DecisionRule, EncoderConfig, Encoding, HeadKind, Policy, PolicyConfig,
    TrainedOn, base_config,
};
use serde_json::Value;

use super::TrainArgs;
use super::args::{PolicyArgs, Precision, Preset};
use super::steer::{self, Lesson};
use crate::backbone::described;

/// A policy without its weights.
pub struct Start {
    pub policy: PolicyConfig,
    /// Directory that the path of a frozen base is relative to.
    dir: PathBuf,
    /// Hugging Face directory of initial weights.
    weights: Option<PathBuf>,
}

impl Start {
    /// Creates it from the options, with scaling fitted to the training rows,
    /// and with the weights of the checkpoint `last` if there is one for the
    /// same policy.
    pub fn new(
        args: &TrainArgs,
        episodes: &[Episode],
        split: &Split,
        portions: &[Portion],
        lesson: Option<&Lesson>,
        last: Option<PathBuf>,
    ) -> anyhow::Result<Start> {
        let options = &args.policy;
        let mut policy = PolicyConfig::new(&options.name, options.features.list());
        policy.window = options.window;
        for feature in &mut policy.features {
            feature.encoder = EncoderConfig::Scalar {
                width: options.encoder_width,
                encoding: Encoding::None,
            };
        }
        policy.head.residual = options.residual;
        policy.decision_rule = options.rule.rule();
        if let Some(lesson) = lesson {
            policy.head.kind = HeadKind::Steer(lesson.curves.settings);
            policy.decision_rule = DecisionRule::Mean;
        }
        let (backbone, mut weights) = backbone(options, args.preset)?;
        policy.backbone = backbone;
        policy.adaptation = adaptation(options, args.preset);
        policy.check()?;
        Dataset::fit(&mut policy, &args.pool, split, options.bins, options.target)?;
        let trained = || portions.iter().flat_map(|p| &p.ranges);
        let episode = |range: &std::ops::Range<usize>| {
            episodes.get(episodes.partition_point(|e| e.rows.end <= range.start))
        };
        let scenarios: BTreeSet<_> = trained()
            .filter_map(|range| Some(episode(range)?.scenario.clone()))
            .collect();
        policy.trained_on = Some(TrainedOn {
            records: trained().map(|range| range.len() as u64).sum(),
            episodes: trained().count() as u64,
            scenarios: steer::under_their_curriculum(scenarios),
            steps: 0,
            seed: args.optimiser.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        if let Some(last) = last {
            return resumed(last, &policy);
        }
        if policy.adaptation != Adaptation::Full {
            policy.base = Some(base(args, &policy, weights.take())?);
            policy.check()?;
        }
        Ok(Start {
            policy,
            dir: args.out.join("best"),
            weights,
        })
    }

    /// The network, with random weights unless given.
    pub fn network(self, seed: u64, options: Options) -> anyhow::Result<Network> {
        let start = self.weights.as_deref();
        Ok(Network::create(
            self.policy,
            &self.dir,
            start,
            seed,
            options,
        )?)
    }
}

/// Creates it from a checkpoint that must match `policy`, the policy requested
/// by the options and pools.
fn resumed(last: PathBuf, policy: &PolicyConfig) -> anyhow::Result<Start> {
    Ok(Start {
        policy: same_policy(&last, policy)?,
        dir: last,
        weights: None,
    })
}

/// The configuration in a checkpoint, if it matches `policy`.
pub(super) fn same_policy(last: &Path, policy: &PolicyConfig) -> anyhow::Result<PolicyConfig> {
    let was = Policy::load_config(last)?;
    if let Some((key, was, is)) = difference(&comparable(&was)?, &comparable(policy)?, "") {
        bail!(
            "{}: the training was started with {key} = {was}, not {is}; --resume requires the \
             same options and pools; use --restart to start over",
            last.display()
        );
    }
    Ok(was)
}

/// The part of a policy determined by options and pools.
fn comparable(policy: &PolicyConfig) -> anyhow::Result<Value> {
    let mut policy = policy.clone();
    policy.base = None;
    if let Some(trained_on) = &mut policy.trained_on {
        trained_on.steps = 0;
        trained_on.version.clear();
    }
    Ok(serde_json::to_value(policy)?)
}

/// The first difference between two configurations, with both values.
fn difference(was: &Value, is: &Value, place: &str) -> Option<(String, Value, Value)> {
    let none = Value::Null;
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let (a, b) = (of(a).unwrap_or_default(), of(b).unwrap_or_default());
                let dot = if place.is_empty() { "" } else { "." };
                difference(&a, &b, &format!("{place}{dot}{key}"))
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|i| {
            let (a, b) = (a.get(i).unwrap_or(&none), b.get(i).unwrap_or(&none));
            difference(a, b, &format!("{place}[{i}]"))
        }),
        _ => (was != is).then(|| (place.to_owned(), was.clone(), is.clone())),
    }
}

/// The precision selected by an option.
pub fn kind(precision: Precision, device: Device, backbone: &BackboneConfig) -> Kind {
    let bf16 = match precision {
        Precision::F32 => false,
        Precision::Bf16 => true,
        Precision::Auto => device.is_cuda() || (backbone.width() >= 256 && cpu_has_bf16()),
    };
    if bf16 { Kind::BFloat16 } else { Kind::Float }
}

#[cfg(target_arch = "x86_64")]
fn cpu_has_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_has_bf16() -> bool {
    false
}

/// Selects the weights to train.
pub(super) fn adaptation(options: &PolicyArgs, preset: Preset) -> Adaptation {
    let rank = options.lora_rank.unwrap_or(match preset {
        Preset::Small => 0,
        Preset::Published => LoraConfig::default().r,
    });
    if rank == 0 {
        return Adaptation::Full;
    }
    Adaptation::Lora(LoraConfig {
        r: rank,
        alpha: options.lora_alpha,
        dropout: options.lora_dropout,
        target_modules: options.lora_targets.clone(),
        ..LoraConfig::default()
    })
}

/// The backbone, and the directory of its weights, if any.
pub(super) fn backbone(
    options: &PolicyArgs,
    preset: Preset,
) -> anyhow::Result<(BackboneConfig, Option<PathBuf>)> {
    let name = match (&options.backbone, preset) {
        (Some(name), _) => name.as_str(),
        (None, Preset::Published) => "gpt2",
        (None, Preset::Small) => {
            let small = BackboneConfig::Gpt2(Gpt2Config {
                vocab_size: 0,
                n_positions: 0,
                n_embd: options.width,
                n_layer: options.layers,
                n_head: options.heads,
                n_inner: Some(options.mlp),
                resid_pdrop: options.dropout,
                embd_pdrop: 0.0,
                attn_pdrop: 0.0,
                ..Gpt2Config::default()
            });
            return Ok((small, None));
        }
    };
    let path = Path::new(name);
    if path.is_dir() {
        return Ok((BackboneConfig::from_dir(path)?, Some(path.to_owned())));
    }
    Ok((described(name)?, None))
}

/// The frozen base: the given directory, or random weights in `base/` of the
/// training run.
pub(super) fn base(
    args: &TrainArgs,
    policy: &PolicyConfig,
    given: Option<PathBuf>,
) -> anyhow::Result<BaseConfig> {
    if let Some(dir) = given {
        return Ok(base_config(&dir, &std::path::absolute(&dir)?)?);
    }
    let (dir, seed) = (args.out.join("base"), args.optimiser.seed);
    // Relative to both best/ and last/.
    let path = Path::new("../base");
    // Stored in its computing precision: bf16 halves the size.
    let kind = kind(
        args.machine.precision,
        args.machine.open()?,
        &policy.backbone,
    );
    let options = Options {
        kind,
        ..Options::default()
    };
    Ok(random_base(&dir, path, &policy.backbone, seed, options)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_model::Feature;

    #[test]
    fn names_options_that_differ_on_resume() {
        let was = PolicyConfig::new("a", &Feature::PAPER7);
        let text = |is: &PolicyConfig| {
            let difference = difference(&comparable(&was).unwrap(), &comparable(is).unwrap(), "");
            difference.map(|(key, was, is)| format!("{key} = {was}, not {is}"))
        };
        assert_eq!(text(&was), None);
        let mut is = was.clone();
        is.window += 1;
        let want = format!("window = {}, not {}", was.window, is.window);
        assert_eq!(text(&is), Some(want));
        let mut is = was.clone();
        is.features[2].scaling.mean = 4.5;
        let found = text(&is).unwrap();
        assert!(found.starts_with("features[2].scaling.mean = "), "{found}");
        let mut is = was.clone();
        is.features.pop();
        let found = text(&is).unwrap();
        assert!(
            found.starts_with("features[6] = ") && found.ends_with("not null"),
            "{found}"
        );
    }
}
