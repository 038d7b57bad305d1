//! Ranges of a policy's configuration.

use std::fmt::Display;

use l4sllm_abi::Limits;
use serde_json::Value;

use super::{Adaptation, DecisionRule, FORMAT, HeadKind, PolicyConfig, PolicyInput, ReturnConfig};
use crate::backbone::BackboneError;
use crate::{IdleBudget, InputFeature, PolicyError, Scaling, SetPointHead};

/// Maximum number of tokens of a window.
const TOKENS_MAX: usize = 1 << 15;

/// Maximum size of a session's caches when it decides on every record, with the
/// maximum number of windows in progress, bytes.
const CACHE_MAX: u64 = 64 << 30;

impl PolicyConfig {
    /// Checks every range; the error names the first key that is out of range.
    ///
    /// # Errors
    /// [`PolicyError::Config`].
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.format != FORMAT {
            let want = FORMAT.to_string();
            return Err(PolicyError::config("format", self.format, want));
        }
        if let PolicyInput::Summaries { period_ms } = self.input {
            within("input.summaries.period_ms", period_ms as usize, 50, 5000)?;
        }
        within("window", self.window, 1, 1024)?;
        within("features.length", self.features.len(), 1, 64)?;
        for (i, feature) in self.features.iter().enumerate() {
            let key = format!("features[{i}]");
            if self.features[..i].iter().any(|f| f.name == feature.name) {
                let name = feature.name.name();
                let key = format!("{key}.name");
                return Err(PolicyError::config(key, name, "each feature once"));
            }
            let of_summary = matches!(feature.name, InputFeature::Summary(_));
            if of_summary != self.is_on_summaries() {
                let want = match of_summary {
                    true => "a field of a record, since there is no input.summaries",
                    false => "a number of a summary, since input is summaries",
                };
                let key = format!("{key}.name");
                return Err(PolicyError::config(key, feature.name.name(), want));
            }
            check_scaling(&format!("{key}.scaling"), &feature.scaling)?;
            feature.encoder.check(&format!("{key}.encoder"))?;
        }
        self.check_returns()?;
        self.check_head()?;
        self.check_backbone()?;
        self.check_adaptation()
    }

    /// A session's caches when it decides after every `interval` records, bytes.
    pub fn cache_bytes(&self, interval: usize) -> u64 {
        let contexts = self.window.div_ceil(interval.max(1)) as u64;
        let tokens = self.tokens().next_multiple_of(16) as u64;
        let each = 2 * 4 * self.backbone.layers() as u64 * self.backbone.width() as u64;
        contexts * tokens * each
    }

    /// A backbone's reader ignores unknown keys, because Hugging Face has many;
    /// in a policy they are errors.
    pub(super) fn check_backbone_keys(&self, file: &str, text: &[u8]) -> Result<(), PolicyError> {
        let given: Value = serde_json::from_slice(text).unwrap_or_default();
        let known = serde_json::to_value(&self.backbone).unwrap_or_default();
        let given = given["backbone"].as_object().into_iter().flatten();
        for (key, _) in given {
            if known.get(key).is_none() {
                return Err(PolicyError::Syntax {
                    file: file.to_owned(),
                    key: "backbone".to_owned(),
                    reason: format!("unknown field `{key}`"),
                });
            }
        }
        Ok(())
    }

    fn check_returns(&self) -> Result<(), PolicyError> {
        let ReturnConfig {
            reward,
            gamma,
            scaling,
            target,
        } = self.returns;
        for (key, given) in [
            ("returns.reward", reward.is_some()),
            ("returns.gamma", gamma.is_some()),
        ] {
            match (given, self.is_on_summaries()) {
                (false, false) => return Err(PolicyError::config(key, "missing", "a value")),
                (true, true) => {
                    let want = "null: a policy on summaries has an idle budget instead";
                    return Err(PolicyError::config(key, "given", want));
                }
                _ => {}
            }
        }
        if let Some(reward) = reward {
            reward.check("returns.reward")?;
        }
        if let Some(gamma) = gamma.filter(|gamma| !(0.0..1.0).contains(gamma)) {
            return Err(PolicyError::config("returns.gamma", gamma, "0 <= x < 1"));
        }
        check_scaling("returns.scaling", &scaling)?;
        finite("returns.target", target)?;
        if self.is_on_summaries() && IdleBudget::new(target).is_none() {
            let (least, most) = (IdleBudget::SHARES.start(), IdleBudget::SHARES.end());
            let want = format!("an idle budget, {least}..={most}");
            return Err(PolicyError::config("returns.target", target, want));
        }
        Ok(())
    }

    fn check_head(&self) -> Result<(), PolicyError> {
        let rule = self.decision_rule;
        let named = |rule: DecisionRule| format!("{rule:?}").to_lowercase();
        let set_points = matches!(self.head.kind, HeadKind::SetPoints(_));
        if set_points != self.is_on_summaries() {
            let want = match set_points {
                true => "action or steer, since there is no input.summaries",
                false => "set_points, since input is summaries",
            };
            let got = match self.head.kind {
                HeadKind::Action => "action",
                HeadKind::Steer(_) => "steer",
                HeadKind::SetPoints(_) => "set_points",
            };
            return Err(PolicyError::config("head.kind", got, want));
        }
        let settings = match self.head.kind {
            HeadKind::SetPoints(head) => {
                if rule != DecisionRule::Mean {
                    let want = "mean for a head that decides on set-points";
                    return Err(PolicyError::config("decision_rule", named(rule), want));
                }
                return check_set_points(&head);
            }
            HeadKind::Action if rule != DecisionRule::Mean => return Ok(()),
            HeadKind::Action => {
                let want = "argmax, sample or recur for a head that decides actions";
                return Err(PolicyError::config("decision_rule", "mean", want));
            }
            HeadKind::Steer(settings) => settings,
        };
        if !matches!(rule, DecisionRule::Argmax | DecisionRule::Mean) {
            let want = "argmax or mean for a head that steers";
            return Err(PolicyError::config("decision_rule", named(rule), want));
        }
        for (i, setting) in settings.iter().enumerate() {
            for (name, factor) in setting.factors() {
                let range = Limits::default_factors(name);
                if !range.contains(&factor) {
                    let key = format!("head.kind.steer[{i}].{name}");
                    let want = format!("{}..={}", range.start(), range.end());
                    return Err(PolicyError::config(key, factor, want));
                }
            }
        }
        Ok(())
    }

    fn check_backbone(&self) -> Result<(), PolicyError> {
        self.backbone
            .check("config")
            .map_err(|e| keyed("backbone.", e))?;
        let (tokens, of) = (self.tokens(), "tokens, window x (features + 2)");
        let max = self.backbone.tokens_max().unwrap_or(TOKENS_MAX);
        if tokens > max.min(TOKENS_MAX) {
            let got = format!("{} ({tokens} {of})", self.window);
            let want = format!("at most {} {of}", max.min(TOKENS_MAX));
            return Err(PolicyError::config("window", got, want));
        }
        let cache = self.cache_bytes(1);
        if cache > CACHE_MAX {
            let got = format!("{} ({} GiB of caches)", self.window, cache >> 30);
            let want = format!("at most {} GiB of caches", CACHE_MAX >> 30);
            return Err(PolicyError::config("window", got, want));
        }
        Ok(())
    }

    fn check_adaptation(&self) -> Result<(), PolicyError> {
        if let Adaptation::Lora(lora) = &self.adaptation {
            lora.layers(&self.backbone, "config", "adaptation.lora.")
                .map_err(|e| keyed("", e))?;
        }
        let Some(base) = &self.base else {
            return Ok(());
        };
        if self.adaptation == Adaptation::Full {
            let want = "null: all weights are trained, and in model.safetensors";
            return Err(PolicyError::config("base", base.path.display(), want));
        }
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if base.sha256.len() != 64 || !base.sha256.chars().all(hex) {
            let want = "64 hexadecimal digits";
            return Err(PolicyError::config("base.sha256", &base.sha256, want));
        }
        Ok(())
    }
}

fn check_set_points(head: &SetPointHead) -> Result<(), PolicyError> {
    for (name, range) in head.ranges() {
        let key = |part: &str| format!("head.kind.set_points.{name}.{part}");
        finite(&key("mean"), range.mean)?;
        above_zero(key("std"), range.std)?;
        above_zero(key("min"), range.min)?;
        if !range.max.is_finite() || range.max < range.min {
            let want = format!("at least min, {}", range.min);
            return Err(PolicyError::config(key("max"), range.max, want));
        }
    }
    let tupdate = head.tupdate_ms;
    if !(0.1..=1000.0).contains(&tupdate) {
        let key = "head.kind.set_points.tupdate_ms";
        return Err(PolicyError::config(key, tupdate, "0.1..=1000"));
    }
    Ok(())
}

/// Prefixes the key named by a backbone's check.
fn keyed(prefix: &str, error: BackboneError) -> PolicyError {
    match error {
        BackboneError::Value { key, got, want, .. } => {
            PolicyError::config(format!("{prefix}{key}"), got, want)
        }
        other => PolicyError::Backbone(other),
    }
}

pub(crate) fn within(key: &str, got: usize, min: usize, max: usize) -> Result<(), PolicyError> {
    if (min..=max).contains(&got) {
        return Ok(());
    }
    Err(PolicyError::config(key, got, format!("{min}..={max}")))
}

fn finite(key: &str, got: f64) -> Result<(), PolicyError> {
    if got.is_finite() {
        return Ok(());
    }
    Err(PolicyError::config(key, got, "a finite number"))
}

fn above_zero(key: impl Display, got: f64) -> Result<(), PolicyError> {
    if got.is_finite() && got > 0.0 {
        return Ok(());
    }
    Err(PolicyError::config(key.to_string(), got, "above 0"))
}

fn check_scaling(key: &str, scaling: &Scaling) -> Result<(), PolicyError> {
    finite(&format!("{key}.mean"), scaling.mean)?;
    above_zero(format_args!("{key}.std"), scaling.std)?;
    above_zero(format_args!("{key}.clip"), scaling.clip)
}
