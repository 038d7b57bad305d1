//! Low-rank adapters (Hu et al. 2021) on linear layers of a backbone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::{BackboneConfig, BackboneError, Linear};
use crate::Spec;

/// Which layers are adapted, and how.  With x of width `in`, the layer adds
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
        }
    }
}

impl LoraConfig {
    /// What B · A · x is multiplied by.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.alpha / if self.rslora { r.sqrt() } else { r }
    }

    /// The targets, or the family's default ones.
    pub fn targets(&self, backbone: &BackboneConfig) -> Vec<String> {
        if self.target_modules.is_empty() {
            let default = backbone.default_targets();
            return default.iter().map(|&t| t.to_owned()).collect();
        }
        self.target_modules.clone()
    }

    /// The layers that get adapters, in the order of the model.  Every
    /// target must name one.  `file` and `at` (a prefix of keys, e.g.
    /// `adaptation.`) are for errors.
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
        Ok(linears
            .into_iter()
            .filter(|l| targets.iter().any(|t| named(&l.name, t)))
            .collect())
    }

    /// Names and shapes of the adapters' weights, A before B.
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
                    [
                        (format!("{name}.lora_A.weight"), vec![self.r, inputs]),
                        (format!("{name}.lora_B.weight"), vec![outputs, self.r]),
                    ]
                },
            )
            .collect())
    }
}

/// As PEFT matches: the whole name, or its last parts.
fn named(name: &str, target: &str) -> bool {
    name.strip_suffix(target)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
