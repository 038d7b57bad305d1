//! What a policy is: everything but its weights.

use serde::{Deserialize, Serialize};

use crate::{Feature, PolicyError, Reward, Scaling};

/// The layout of `config.json` that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// Number of actions: enqueue, drop, mark.
pub const ACTIONS: usize = 3;

/// `config.json` of a policy directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Layout of this file: [`FORMAT`].
    pub format: u32,
    /// A short name for logs and reports.
    pub name: String,
    /// Records that a decision sees, 1..=1024.
    pub window: usize,
    /// Order of a record's tokens.
    pub layout: TokenLayout,
    /// What is read from each record, in token order; 1..=64, each once.
    pub features: Vec<FeatureConfig>,
    /// Reward, and the return that the policy is asked for.
    pub returns: ReturnConfig,
    /// From scalar to token.
    pub encoder: EncoderConfig,
    /// The transformer.
    pub backbone: BackboneConfig,
    /// From hidden state to probabilities.
    pub head: HeadConfig,
    /// From probabilities to an action.
    pub decision_rule: DecisionRule,
    /// What the weights were fitted to.
    pub trained_on: Option<TrainedOn>,
}

/// Order of a record's tokens in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLayout {
    /// Return-to-go, one token per feature, action: R, s1 … sn, a.
    ReturnStatesAction,
}

/// One feature and its scaling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureConfig {
    /// Field of the record.
    pub name: Feature,
    /// Travels with the policy: no caller normalises.
    pub scaling: Scaling,
}

/// How well a decision turned out, and how well the next one should.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnConfig {
    /// Reward of one record.
    pub reward: Reward,
    /// Discount per record, 0..1.
    pub gamma: f64,
    /// Scaling of the return-to-go.
    pub scaling: Scaling,
    /// Return asked for at inference, unscaled; the task is continuing, so it
    /// is the same at every record.
    pub target: f64,
}

/// One path per scalar: linear, LeakyReLU (slope 0.01), projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Units between scalar and projection, 1..=1024.
    pub width: usize,
}

/// A GPT-2 stack without token and position embeddings: pre-norm blocks,
/// tanh-GELU, a last norm.  Position is told by the learned time embedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Kind of block.
    pub family: Family,
    /// Blocks, 1..=96.
    pub layers: usize,
    /// Width of a hidden state, 8..=8192, a multiple of `heads`.
    pub width: usize,
    /// Attention heads, 1..=128.
    pub heads: usize,
    /// Units of the feed-forward part, 8..=32768.
    pub mlp: usize,
    /// Of every layer norm, 1e-12..=1e-2.
    pub norm_epsilon: f32,
}

/// Kind of transformer block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Radford et al. 2019.
    Gpt2,
}

/// A linear layer over the actions, read before the newest action token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// What the head decides.
    pub kind: HeadKind,
    /// Add the (normed) input token to the hidden state.
    pub residual: bool,
}

/// What a head decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Probabilities of enqueue, drop and mark.
    Action,
}

/// How probabilities become one action.  See [`crate::Chooser`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionRule {
    /// The most probable.
    Argmax,
    /// At random, seeded.
    Sample,
    /// Deterministic, with the probabilities as long-run shares.
    Recur,
}

/// What the weights were fitted to.
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
    /// A configuration with the published layout and unfitted scaling.
    pub fn new(name: &str, features: &[Feature]) -> PolicyConfig {
        PolicyConfig {
            format: FORMAT,
            name: name.to_owned(),
            window: 20,
            layout: TokenLayout::ReturnStatesAction,
            features: features
                .iter()
                .map(|&name| FeatureConfig {
                    name,
                    scaling: Scaling::IDENTITY,
                })
                .collect(),
            returns: ReturnConfig {
                reward: Reward::default(),
                gamma: 0.95,
                scaling: Scaling::IDENTITY,
                target: 0.0,
            },
            encoder: EncoderConfig { width: 16 },
            backbone: BackboneConfig {
                family: Family::Gpt2,
                layers: 2,
                width: 48,
                heads: 3,
                mlp: 192,
                norm_epsilon: 1e-5,
            },
            head: HeadConfig {
                kind: HeadKind::Action,
                residual: false,
            },
            decision_rule: DecisionRule::Argmax,
            trained_on: None,
        }
    }

    /// Reads `config.json`.  Unknown and missing keys are errors; so is
    /// whatever [`PolicyConfig::check`] finds.
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
        config.check()?;
        Ok(config)
    }

    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("the struct holds no map with keys other than strings");
        text.push('\n');
        text
    }

    /// Tokens of one record: return, features, action.
    pub fn tokens_per_record(&self) -> usize {
        self.features.len() + 2
    }

    /// Tokens of a full window.
    pub fn tokens(&self) -> usize {
        self.window * self.tokens_per_record()
    }

    /// Checks every range and names the first key that is outside of it.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.format != FORMAT {
            return Err(PolicyError::config(
                "format",
                self.format,
                FORMAT.to_string(),
            ));
        }
        within("window", self.window, 1, 1024)?;
        within("features.length", self.features.len(), 1, 64)?;
        for (i, feature) in self.features.iter().enumerate() {
            if self.features[..i].iter().any(|f| f.name == feature.name) {
                let key = format!("features[{i}].name");
                return Err(PolicyError::config(
                    key,
                    feature.name.name(),
                    "each feature once",
                ));
            }
            check_scaling(&format!("features[{i}].scaling"), &feature.scaling)?;
        }
        self.returns.reward.check("returns.reward")?;
        if !(0.0..1.0).contains(&self.returns.gamma) {
            return Err(PolicyError::config(
                "returns.gamma",
                self.returns.gamma,
                "0 <= x < 1",
            ));
        }
        check_scaling("returns.scaling", &self.returns.scaling)?;
        finite("returns.target", self.returns.target)?;
        within("encoder.width", self.encoder.width, 1, 1024)?;
        let backbone = &self.backbone;
        within("backbone.layers", backbone.layers, 1, 96)?;
        within("backbone.width", backbone.width, 8, 8192)?;
        within("backbone.heads", backbone.heads, 1, 128)?;
        within("backbone.mlp", backbone.mlp, 8, 32768)?;
        if backbone.width % backbone.heads != 0 {
            let want = format!("a multiple of backbone.heads = {}", backbone.heads);
            return Err(PolicyError::config("backbone.width", backbone.width, want));
        }
        if !(1e-12..=1e-2).contains(&backbone.norm_epsilon) {
            let key = "backbone.norm_epsilon";
            return Err(PolicyError::config(
                key,
                backbone.norm_epsilon,
                "1e-12..=1e-2",
            ));
        }
        Ok(())
    }
}

fn within(key: &str, got: usize, min: usize, max: usize) -> Result<(), PolicyError> {
    if (min..=max).contains(&got) {
        return Ok(());
    }
    Err(PolicyError::config(key, got, format!("{min}..={max}")))
}

fn finite(key: &str, got: f64) -> Result<(), PolicyError> {
    if got.is_finite() {
        Ok(())
    } else {
        Err(PolicyError::config(key, got, "a finite number"))
    }
}

fn check_scaling(key: &str, scaling: &Scaling) -> Result<(), PolicyError> {
    finite(&format!("{key}.mean"), scaling.mean)?;
    for (name, value) in [("std", scaling.std), ("clip", scaling.clip)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(PolicyError::config(
                format!("{key}.{name}"),
                value,
                "above 0",
            ));
        }
    }
    Ok(())
}
