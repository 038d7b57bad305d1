//! Configuration of a policy: everything except its weights.

mod check;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use check::within;

use crate::backbone::{BackboneConfig, Gpt2Config, LoraConfig};
use crate::tensors::{module_specs, numbers};
use crate::{
    EncoderConfig, Feature, IdleBudget, InputFeature, PolicyError, Reward, Scaling, SetPointHead,
    Setting, SummaryFeature, Transform,
};

/// Version of the layout of `config.json` that this crate reads and writes.
pub const FORMAT: u32 = 2;

/// Number of actions: enqueue, drop, mark.
pub const ACTIONS: usize = 3;

/// Maximum number of outputs of a head.
pub const OUTPUTS_MAX: usize = 8;

/// Outputs of a head: [`HeadConfig::outputs`] numbers; the others are 0.
pub type Outputs = [f32; OUTPUTS_MAX];

/// Idle budget of new policies on summaries, share of time.
const DEFAULT_BUDGET: f64 = 0.005;

/// Epsilon of the norm of the tokens, PyTorch's default.
pub(crate) const EMBED_NORM_EPSILON: f32 = 1e-5;

/// `config.json` of a policy directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Layout of this file: [`FORMAT`].
    pub format: u32,
    /// A short name for logs and reports.
    pub name: String,
    /// Its input; records if the key is missing.
    #[serde(default, skip_serializing_if = "PolicyInput::is_records")]
    pub input: PolicyInput,
    /// Records or periods in the context of a decision, 1..=1024.
    pub window: usize,
    /// Order of the tokens of a record or period.
    pub layout: TokenLayout,
    /// Features of each record or summary, in token order; 1..=64, each once.
    pub features: Vec<FeatureConfig>,
    /// Return-to-go or budget.
    pub returns: ReturnConfig,
    /// The transformer, by its Hugging Face configuration.
    pub backbone: BackboneConfig,
    /// The trained weights.
    pub adaptation: Adaptation,
    /// Location of its frozen weights; none if they are in `model.safetensors`,
    /// with any adapter merged.
    pub base: Option<BaseConfig>,
    /// Head: from hidden state to outputs.
    pub head: HeadConfig,
    /// Rule that turns the outputs into a decision.
    pub decision_rule: DecisionRule,
    /// The training data.
    pub trained_on: Option<TrainedOn>,
}

/// Input of a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PolicyInput {
    /// Every record.
    #[default]
    Records,
    /// Summaries, merged to periods.
    Summaries {
        /// Length of a period, ms, 50..=5000.
        period_ms: u32,
    },
}

impl PolicyInput {
    fn is_records(&self) -> bool {
        *self == PolicyInput::Records
    }
}

/// Order of the tokens of a record or period in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLayout {
    /// Return or budget, one token per feature, action: R, s1 … sn, a.
    ReturnStatesAction,
}

/// One feature, its scaling and its path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureConfig {
    /// Field of the record, or number of the summary.
    pub name: InputFeature,
    /// Stored with the policy, so callers never normalise.
    pub scaling: Scaling,
    /// Encoder: from scaled values to a token.
    pub encoder: EncoderConfig,
}

/// The token R, which conditions a policy: the return, or on summaries the idle
/// budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnConfig {
    /// Reward of one record; none on summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Reward>,
    /// Discount per record, 0..1; none on summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Scaling of the return-to-go, or of the budget as a share of time.
    pub scaling: Scaling,
    /// Target return at inference, unscaled; the task is continuing, so it is
    /// the same at every record. On summaries, the default idle budget,
    /// [`IdleBudget::SHARES`].
    pub target: f64,
}

/// Which weights of a backbone are trained; those of encoder, norm and head
/// always are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptation {
    /// All of them.
    Full,
    /// Low-rank adapters on a frozen base.
    Lora(LoraConfig),
}

/// A frozen backbone in a separate Hugging Face directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// The directory; a relative path is relative to the policy's directory.
    pub path: PathBuf,
    /// SHA-256 of its weight files, in hex: see [`crate::base_hash`].
    pub sha256: String,
}

/// A linear layer over the hidden state before the newest action token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// The kind of decision.
    pub kind: HeadKind,
    /// Add the (normed) input token to the hidden state.
    pub residual: bool,
}

impl HeadConfig {
    /// Number of outputs, at most [`OUTPUTS_MAX`].
    pub fn outputs(&self) -> usize {
        match self.kind {
            HeadKind::Action | HeadKind::Steer(_) => ACTIONS,
            HeadKind::SetPoints(_) => OUTPUTS_MAX,
        }
    }

    /// Whether its outputs are probabilities.
    pub fn has_probabilities(&self) -> bool {
        !matches!(self.kind, HeadKind::SetPoints(_))
    }
}

/// The kind of a head's decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Probabilities of enqueue, drop and mark.
    Action,
    /// Probabilities of settings of DualPI2's controller, which then decides.
    Steer([Setting; ACTIONS]),
    /// Set-points of DualPI2's controller, which then decides.
    SetPoints(SetPointHead),
}

/// Rule that turns probabilities into one decision. See [`crate::Chooser`] and
/// [`PolicyConfig::steer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionRule {
    /// The most probable outcome.
    Argmax,
    /// A seeded random draw.
    Sample,
    /// Deterministic, with the probabilities as long-run shares.
    Recur,
    /// For settings, their probability-weighted mean on a logarithmic scale;
    /// for set-points, the most likely values.
    Mean,
}

/// The training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// Records used for fitting.
    pub records: u64,
    /// Episodes used for fitting.
    pub episodes: u64,
    /// Scenarios they come from.
    pub scenarios: Vec<String>,
    /// Optimiser steps of the weights in this directory.
    pub steps: u64,
    /// Seed of initialisation and order.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
}

impl PolicyConfig {
    /// A configuration with the published layout, unfitted scaling and a
    /// small GPT-2 with positions from the time embedding.
    pub fn new(name: &str, features: &[Feature]) -> PolicyConfig {
        PolicyConfig {
            format: FORMAT,
            name: name.to_owned(),
            input: PolicyInput::Records,
            window: 20,
            layout: TokenLayout::ReturnStatesAction,
            features: features
                .iter()
                .map(|&name| FeatureConfig {
                    name: name.into(),
                    scaling: Scaling::IDENTITY,
                    encoder: EncoderConfig::scalar(16),
                })
                .collect(),
            returns: ReturnConfig {
                reward: Some(Reward::default()),
                gamma: Some(0.95),
                scaling: Scaling::IDENTITY,
                target: 0.0,
            },
            backbone: small_gpt2(2, 48, 3, 192),
            adaptation: Adaptation::Full,
            base: None,
            head: HeadConfig {
                kind: HeadKind::Action,
                residual: false,
            },
            decision_rule: DecisionRule::Argmax,
            trained_on: None,
        }
    }

    /// A configuration on summaries of 250 ms with unfitted scaling: 8 s of
    /// each feature through one convolution, and a GPT-2 of one layer over one
    /// group of tokens.
    pub fn on_summaries(name: &str, features: &[SummaryFeature]) -> PolicyConfig {
        let unfitted = |transform| Scaling {
            transform,
            clip: Scaling::CLIP,
            ..Scaling::IDENTITY
        };
        let feature = |&feature: &SummaryFeature| FeatureConfig {
            name: feature.into(),
            scaling: unfitted(feature.transform()),
            encoder: EncoderConfig::Series {
                width: 2,
                history: 32,
                kernels: vec![4],
            },
        };
        PolicyConfig {
            input: PolicyInput::Summaries { period_ms: 250 },
            window: 1,
            features: features.iter().map(feature).collect(),
            returns: ReturnConfig {
                reward: None,
                gamma: None,
                scaling: Scaling {
                    mean: DEFAULT_BUDGET.ln(),
                    ..unfitted(Transform::Log)
                },
                target: DEFAULT_BUDGET,
            },
            backbone: small_gpt2(1, 32, 2, 128),
            head: HeadConfig {
                kind: HeadKind::SetPoints(SetPointHead::DEFAULT),
                residual: false,
            },
            decision_rule: DecisionRule::Mean,
            ..PolicyConfig::new(name, &[])
        }
    }

    /// Reads `config.json`. Unknown and missing keys are errors, and so are
    /// those of [`PolicyConfig::check`].
    ///
    /// # Errors
    /// [`PolicyError::Syntax`] for text that is not such a configuration, and
    /// those of [`PolicyConfig::check`].
    pub fn from_json(file: &str, text: &[u8]) -> Result<PolicyConfig, PolicyError> {
        let mut parser = serde_json::Deserializer::from_slice(text);
        let config: PolicyConfig =
            serde_path_to_error::deserialize(&mut parser).map_err(|e| PolicyError::Syntax {
                file: file.to_owned(),
                key: e.path().to_string(),
                reason: e.inner().to_string(),
            })?;
        parser.end().map_err(|e| PolicyError::Syntax {
            file: file.to_owned(),
            key: ".".to_owned(),
            reason: e.to_string(),
        })?;
        config.check_backbone_keys(file, text)?;
        config.check()?;
        Ok(config)
    }

    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("the struct contains no map with keys other than strings");
        text.push('\n');
        text
    }

    /// The adapter of a frozen base; `None` without one or if it was merged.
    pub fn adapter(&self) -> Option<&LoraConfig> {
        match (&self.adaptation, &self.base) {
            (Adaptation::Lora(lora), Some(_)) => Some(lora),
            _ => None,
        }
    }

    /// Number of trained parameters: all of them, or those outside the backbone
    /// plus the adapters, merged or not.
    ///
    /// # Errors
    /// The adapter does not fit the backbone.
    pub fn trained_parameters(&self) -> Result<u64, PolicyError> {
        let adapted = match &self.adaptation {
            Adaptation::Full => self.backbone.parameters(),
            Adaptation::Lora(lora) => numbers(&lora.specs(&self.backbone)?),
        };
        Ok(numbers(&module_specs(self)) + adapted)
    }

    /// Whether it is a policy on summaries, which chooses set-points.
    pub fn is_on_summaries(&self) -> bool {
        self.input != PolicyInput::Records
    }

    /// Length of a period, ns; none for a policy on records.
    pub fn period_ns(&self) -> Option<u64> {
        match self.input {
            PolicyInput::Records => None,
            PolicyInput::Summaries { period_ms } => Some(1_000_000 * u64::from(period_ms)),
        }
    }

    /// The default idle budget; none for a policy on records.
    pub fn idle_budget(&self) -> Option<IdleBudget> {
        let budget = self
            .is_on_summaries()
            .then(|| IdleBudget::new(self.returns.target));
        budget.flatten()
    }

    /// The features of a policy on records.
    ///
    /// # Errors
    /// It is a policy on summaries, which pools do not contain.
    pub fn record_features(&self) -> Result<Vec<Feature>, PolicyError> {
        let of = |feature: &FeatureConfig| match feature.name {
            InputFeature::Record(feature) => Ok(feature),
            InputFeature::Summary(_) => Err(self.not_on_records()),
        };
        self.features.iter().map(of).collect()
    }

    /// Reward and discount of a policy on records.
    ///
    /// # Errors
    /// See [`PolicyConfig::record_features`].
    pub fn reward(&self) -> Result<(Reward, f64), PolicyError> {
        let ReturnConfig { reward, gamma, .. } = self.returns;
        reward.zip(gamma).ok_or_else(|| self.not_on_records())
    }

    fn not_on_records(&self) -> PolicyError {
        PolicyError::Unsupported {
            policy: self.name.clone(),
            what: "it sees summaries".to_owned(),
            remedy: "this takes a policy on records".to_owned(),
        }
    }

    /// Tokens of one record or period: return or budget, features, action.
    pub fn tokens_per_record(&self) -> usize {
        self.features.len() + 2
    }

    /// Tokens of a full window.
    pub fn tokens(&self) -> usize {
        self.window * self.tokens_per_record()
    }
}

/// A GPT-2 for policies trained from scratch, with positions from the time
/// embedding and without dropout.
pub fn small_gpt2(layers: usize, width: usize, heads: usize, mlp: usize) -> BackboneConfig {
    BackboneConfig::Gpt2(Gpt2Config {
        vocab_size: 0,
        n_positions: 0,
        n_embd: width,
        n_layer: layers,
        n_head: heads,
        n_inner: Some(mlp),
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::default()
    })
}
