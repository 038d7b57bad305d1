//! Policies supported by the plain engine, and errors for others.

use crate::backbone::{Activation, BackboneConfig, Gpt2Config};
use crate::{PolicyConfig, PolicyError};

/// The sizes of a GPT-2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) mlp: usize,
    /// Rows of the position table; 0 without a table.
    pub(crate) positions: usize,
    /// Epsilon of the backbone's norms.
    pub(crate) epsilon: f32,
}

impl Shape {
    /// The shape of a policy that this engine can run; `policy` is its name in
    /// errors.
    pub(crate) fn of(policy: &str, config: &PolicyConfig) -> Result<Shape, PolicyError> {
        let refuse = |what: String, remedy: String| PolicyError::Unsupported {
            policy: policy.to_owned(),
            what,
            remedy,
        };
        let family = config.backbone.family();
        let adapter = match config.base {
            Some(_) => " with an adapter on a base",
            None => "",
        };
        let BackboneConfig::Gpt2(gpt2) = &config.backbone else {
            let what = format!(
                "its backbone is {family}{adapter}, and the plain engine runs only gpt2, merged"
            );
            return Err(refuse(what, elsewhere().to_owned()));
        };
        if let Some(what) = unusual(gpt2) {
            return Err(refuse(what, elsewhere().to_owned()));
        }
        if config.base.is_some() {
            let what =
                format!("its backbone is {family}{adapter}, and the plain engine runs it merged");
            return Err(refuse(what, format!("{}, or {MERGE}", elsewhere())));
        }
        Ok(Shape {
            layers: gpt2.n_layer,
            width: gpt2.n_embd,
            heads: gpt2.n_head,
            mlp: gpt2.inner(),
            positions: gpt2.n_positions,
            epsilon: gpt2.layer_norm_epsilon as f32,
        })
    }

    /// Width of a head.
    pub(crate) fn head(&self) -> usize {
        self.width / self.heads
    }
}

/// The remedy: merging an adapter into its base.
const MERGE: &str = "merge it with `l4sllm policy export'";

/// The remedy: an engine that runs the policy.
fn elsewhere() -> &'static str {
    match cfg!(feature = "torch") {
        true => "use engine libtorch",
        false => "build with `--features torch', for engine libtorch",
    }
}

/// The error for a policy with weights in several files.
pub(crate) fn not_merged(policy: &str) -> PolicyError {
    PolicyError::Unsupported {
        policy: policy.to_owned(),
        what: "its adapter is not merged into its base".to_owned(),
        remedy: MERGE.to_owned(),
    }
}

/// Options of GPT-2 that no published model uses.
fn unusual(gpt2: &Gpt2Config) -> Option<String> {
    let Gpt2Config {
        activation_function,
        scale_attn_weights,
        scale_attn_by_inverse_layer_idx,
        ..
    } = gpt2;
    match activation_function {
        Activation::GeluNew | Activation::GeluPytorchTanh | Activation::GeluFast => {}
        other => {
            return Some(format!(
                "its activation is {other:?}, and the plain engine has only GELU by tanh"
            ));
        }
    }
    let odd = !scale_attn_weights || *scale_attn_by_inverse_layer_idx;
    odd.then(|| "its attention scores are not scaled like GPT-2's".to_owned())
}
