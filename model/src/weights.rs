//! The tensors of a policy, packed for the forward pass.

use crate::kernel::Packed;
use crate::{PolicyConfig, Tensors};

/// d = backbone.width, e = encoder.width, m = backbone.mlp, w = window.
pub(crate) struct Weights {
    pub(crate) returns: Scalar,
    pub(crate) action: Scalar,
    pub(crate) time: Vec<f32>,     // [w][d]
    pub(crate) encoder: Vec<Path>, // one per feature
    pub(crate) embed_norm: Norm,
    pub(crate) blocks: Vec<Block>,
    pub(crate) last_norm: Norm,
    pub(crate) head: Linear, // d -> 3
}

/// A token made of one number.
pub(crate) struct Scalar {
    pub(crate) weight: Vec<f32>, // [d]
    pub(crate) bias: Vec<f32>,   // [d]
}

impl Scalar {
    #[inline(always)]
    pub(crate) fn apply(&self, x: f32, out: &mut [f32]) {
        for (o, (w, b)) in out.iter_mut().zip(self.weight.iter().zip(&self.bias)) {
            *o = x * w + b;
        }
    }
}

/// From one feature to its token.
pub(crate) struct Path {
    pub(crate) hidden: Scalar,  // 1 -> e
    pub(crate) project: Linear, // e -> d
}

pub(crate) struct Block {
    pub(crate) norm1: Norm,
    pub(crate) query: Linear,     // d -> d, scaled by 1 / √(d / heads)
    pub(crate) key: Linear,       // d -> d
    pub(crate) value: Linear,     // d -> d
    pub(crate) attention: Linear, // d -> d
    pub(crate) norm2: Norm,
    pub(crate) up: Linear,   // d -> m
    pub(crate) down: Linear, // m -> d
}

pub(crate) struct Linear {
    pub(crate) weight: Packed,
    pub(crate) bias: Vec<f32>,
}

pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>, // [d]
    pub(crate) bias: Vec<f32>,   // [d]
}

impl Weights {
    pub(crate) fn pack(config: &PolicyConfig, tensors: &Tensors) -> Weights {
        let (d, m, e) = (
            config.backbone.width,
            config.backbone.mlp,
            config.encoder.width,
        );
        let get = |name: &str| tensors.values(name).to_vec();
        let scalar = |name: &str| Scalar {
            weight: get(&format!("{name}.weight")),
            bias: get(&format!("{name}.bias")),
        };
        let norm = |name: &str| Norm {
            weight: get(&format!("{name}.weight")),
            bias: get(&format!("{name}.bias")),
        };
        // Outputs × inputs in the file.
        let linear = |name: &str, inputs: usize, outputs: usize| {
            let weight = tensors.values(&format!("{name}.weight"));
            Linear {
                weight: Packed::new(inputs, outputs, |i, o| weight[o * inputs + i]),
                bias: get(&format!("{name}.bias")),
            }
        };
        // Inputs × outputs in the file; `part` of several side by side.
        let conv1d =
            |name: &str, inputs: usize, outputs: usize, part: usize, parts: usize, scale| {
                let weight = tensors.values(&format!("{name}.weight"));
                let bias = tensors.values(&format!("{name}.bias"));
                let at = part * outputs;
                Linear {
                    weight: Packed::new(inputs, outputs, |i, o| {
                        scale * weight[i * parts * outputs + at + o]
                    }),
                    bias: bias[at..at + outputs].iter().map(|b| scale * b).collect(),
                }
            };
        let scale = 1.0 / ((d / config.backbone.heads) as f32).sqrt();
        Weights {
            returns: scalar("return"),
            action: scalar("action"),
            time: get("time.weight"),
            encoder: config
                .features
                .iter()
                .map(|feature| {
                    let name = format!("encoder.{}", feature.name.name());
                    Path {
                        hidden: scalar(&format!("{name}.hidden")),
                        project: linear(&format!("{name}.project"), e, d),
                    }
                })
                .collect(),
            embed_norm: norm("embed_norm"),
            blocks: (0..config.backbone.layers)
                .map(|layer| {
                    let block = format!("backbone.h.{layer}");
                    let c_attn = format!("{block}.attn.c_attn");
                    Block {
                        norm1: norm(&format!("{block}.ln_1")),
                        query: conv1d(&c_attn, d, d, 0, 3, scale),
                        key: conv1d(&c_attn, d, d, 1, 3, 1.0),
                        value: conv1d(&c_attn, d, d, 2, 3, 1.0),
                        attention: conv1d(&format!("{block}.attn.c_proj"), d, d, 0, 1, 1.0),
                        norm2: norm(&format!("{block}.ln_2")),
                        up: conv1d(&format!("{block}.mlp.c_fc"), d, m, 0, 1, 1.0),
                        down: conv1d(&format!("{block}.mlp.c_proj"), m, d, 0, 1, 1.0),
                    }
                })
                .collect(),
            last_norm: norm("backbone.ln_f"),
            head: linear("head", d, crate::ACTIONS),
        }
    }
}
