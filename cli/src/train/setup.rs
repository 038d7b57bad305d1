//! What a training starts from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use l4sllm_model::backbone::{BackboneConfig, Gpt2Config, LoraConfig};
use l4sllm_model::pool::{Dataset, Episode, Split};
use l4sllm_model::torch::{Device, Kind, Network, Options, Portion, random_base};
use l4sllm_model::{
    Adaptation, BaseConfig, DecisionRule, EncoderConfig, Encoding, HeadKind, Policy, PolicyConfig,
    TrainedOn, base_config,
};

use super::TrainArgs;
use super::args::{PolicyArgs, Precision, Preset};
use super::steer::{self, Lesson};
use crate::backbone::described;

/// A policy without its weights.
pub struct Start {
    pub policy: PolicyConfig,
    /// What the path of a frozen base counts from.
    dir: PathBuf,
    /// Hugging Face directory of weights to train on.
    weights: Option<PathBuf>,
}

impl Start {
    /// From the options, scaled to the rows that are trained on.
    pub fn fresh(
        args: &TrainArgs,
        episodes: &[Episode],
        split: &Split,
        portions: &[Portion],
        lesson: Option<&Lesson>,
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
            policy.head.kind = HeadKind::Steer(lesson.settings);
            policy.decision_rule = DecisionRule::Mean;
        }
        let (backbone, mut weights) = backbone(options, args.preset)?;
        policy.backbone = backbone;
        let rank = options.lora_rank.unwrap_or(match args.preset {
            Preset::Small => 0,
            Preset::Published => LoraConfig::default().r,
        });
        policy.check()?;
        Dataset::fit(&mut policy, &args.pool, split, options.bins, options.target)?;
        if rank > 0 {
            policy.adaptation = Adaptation::Lora(LoraConfig {
                r: rank,
                alpha: options.lora_alpha,
                dropout: options.lora_dropout,
                target_modules: options.lora_targets.clone(),
                ..LoraConfig::default()
            });
            policy.base = Some(base(args, &policy, weights.take())?);
            policy.check()?;
        }
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
        Ok(Start {
            policy,
            dir: args.out.join("best"),
            weights,
        })
    }

    /// From a checkpoint.
    pub fn resumed(last: PathBuf) -> anyhow::Result<Start> {
        Ok(Start {
            policy: Policy::load_config(&last)?,
            dir: last,
            weights: None,
        })
    }

    /// The network, with random weights where none are given.
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

/// The arithmetic that an option stands for.
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

/// The backbone, and the directory of its weights if there are any.
fn backbone(
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

/// The frozen base: the directory given, or `base/` of the training, random.
fn base(
    args: &TrainArgs,
    policy: &PolicyConfig,
    given: Option<PathBuf>,
) -> anyhow::Result<BaseConfig> {
    if let Some(dir) = given {
        return Ok(base_config(&dir, &std::path::absolute(&dir)?)?);
    }
    let (dir, seed) = (args.out.join("base"), args.optimiser.seed);
    // Seen from best/ and last/ alike.
    let path = Path::new("../base");
    // Stored as it is computed with: a large one in bf16 has half the bytes.
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
