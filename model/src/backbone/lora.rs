//! Low-rank adapters (Hu et al. 2021) on linear layers of a backbone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::{BackboneConfig, BackboneError, Linear};
use crate::Spec;

/// Adapted layers and adapter parameters. With x of width `in`, the layer adds
/// scale · B · A · dropout(x): A is [r, in], B is [out, r].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank, 1..=65536.
    pub r: usize,
    /// The scale is alpha / r, above 0; with `rslora` alpha / √r.
    pub alpha: f64,
    /// Dropout of the adapter's input in training, 0..1.
    pub dropout: f64,
    /// Scale by alpha / √r (Kalajdzievski 2023).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rslora: bool,
    /// Last parts of the names of the layers, e.g. `q_proj`; empty: the
    /// family's default (query and value projections).
    #[serde(default)]
    pub target_modules: Vec<String>,
    /// Ranks that differ from `r`, by the full names of their layers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas that differ from `alpha`, by the full names of their layers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl Default for LoraConfig {
    /// The published rank, alpha and dropout.
    fn default() -> Self {
        LoraConfig {
            r: 128,
            alpha: 32.0,
            dropout: 0.05,
            rslora: false,
            target_modules: Vec::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }
}

impl LoraConfig {
    /// Rank of the adapter on the layer of this name.
    pub fn rank(&self, layer: &str) -> usize {
        self.rank_pattern.get(layer).copied().unwrap_or(self.r)
    }

    /// Scale of B · A · x on the layer of this name.
    pub fn scale(&self, layer: &str) -> f64 {
        let r = self.rank(layer) as f64;
        let alpha = self.alpha_pattern.get(layer).copied();
        alpha.unwrap_or(self.alpha) / if self.rslora { r.sqrt() } else { r }
    }

    /// The targets, or the family's default ones.
    pub fn targets(&self, backbone: &BackboneConfig) -> Vec<String> {
        if self.target_modules.is_empty() {
            let default = backbone.default_targets();
            return default.iter().map(|&t| t.to_owned()).collect();
        }
        self.target_modules.clone()
    }

    /// The adapted layers, in model order. Every target must match one. `file`
    /// and `at` (a prefix of keys, e.g. `adaptation.`) are for errors.
    ///
    /// # Errors
    /// The rank, dropout or an alpha is out of range; a target matches no
    /// linear layer of the backbone; or a pattern names a layer without an
    /// adapter.
    pub fn layers(
        &self,
        backbone: &BackboneConfig,
        file: &str,
        at: &str,
    ) -> Result<Vec<Linear>, BackboneError> {
        let check = Check { file };
        check.within(&format!("{at}r"), self.r, 1, 1 << 16)?;
        check.share(&format!("{at}dropout"), self.dropout)?;
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(check.refuse(&format!("{at}alpha"), self.alpha, "above 0"));
        }
        let linears = backbone.linears();
        let targets = self.targets(backbone);
        for target in &targets {
            if !linears.iter().any(|l| named(&l.name, target)) {
                let known: BTreeSet<&str> = linears.iter().map(Linear::module).collect();
                let known: Vec<&str> = known.into_iter().collect();
                return Err(check.refuse(
                    &format!("{at}target_modules"),
                    target,
                    format!(
                        "linear layers of {}: {}",
                        backbone.family(),
                        known.join(", ")
                    ),
                ));
            }
        }
        let adapted: Vec<Linear> = linears
            .into_iter()
            .filter(|l| targets.iter().any(|t| named(&l.name, t)))
            .collect();
        self.check_patterns(&check, at, &adapted)?;
        Ok(adapted)
    }

    /// Refuses ranks and alphas that are out of range or of layers without an
    /// adapter.
    fn check_patterns(
        &self,
        check: &Check<'_>,
        at: &str,
        adapted: &[Linear],
    ) -> Result<(), BackboneError> {
        let names = self.rank_pattern.keys().map(|name| ("rank_pattern", name));
        let others = self.alpha_pattern.keys();
        for (key, name) in names.chain(others.map(|name| ("alpha_pattern", name))) {
            if !adapted.iter().any(|layer| layer.name == *name) {
                let want = "full names of layers with adapters";
                return Err(check.refuse(&format!("{at}{key}"), name, want));
            }
        }
        for (name, rank) in &self.rank_pattern {
            check.within(&format!("{at}rank_pattern.{name}"), *rank, 1, 1 << 16)?;
        }
        for (name, alpha) in &self.alpha_pattern {
            if !(alpha.is_finite() && *alpha > 0.0) {
                let key = format!("{at}alpha_pattern.{name}");
                return Err(check.refuse(&key, alpha, "above 0"));
            }
        }
        Ok(())
    }

    /// Names and shapes of the adapters' weights, A before B.
    ///
    /// # Errors
    /// As [`LoraConfig::layers`].
    pub fn specs(&self, backbone: &BackboneConfig) -> Result<Vec<Spec>, BackboneError> {
        let layers = self.layers(backbone, "lora", "")?;
        Ok(layers
            .into_iter()
            .flat_map(
                |Linear {
                     name,
                     inputs,
                     outputs,
                     ..
                 }| {
                    let r = self.rank(&name);
                    [
                        (format!("{name}.lora_A.weight"), vec![r, inputs]),
                        (format!("{name}.lora_B.weight"), vec![outputs, r]),
                    ]
                },
            )
            .collect())
    }
}

/// PEFT's matching: the full name, or its last parts.
pub(super) fn named(name: &str, target: &str) -> bool {
    name.strip_suffix(target)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
