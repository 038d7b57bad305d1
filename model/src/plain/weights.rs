//! The tensors of a policy, packed for the forward pass.

use std::sync::{Mutex, PoisonError};

use super::matmul::Packed;
use super::scratch::Scratch;
use super::shape::Shape;
use crate::{EncoderConfig, PolicyConfig, Tensors};

/// d, m: width and feed-forward units of the backbone; w: window; e, h: width
/// and hidden units of a path.
pub(crate) struct Weights {
    pub(crate) shape: Shape,
    pub(crate) returns: Affine,
    pub(crate) action: Affine,
    pub(crate) time: Vec<f32>,     // [w][d]
    pub(crate) encoder: Vec<Path>, // one per feature
    pub(crate) embed_norm: Norm,
    pub(crate) positions: Vec<f32>, // [tokens of a window][d], or nothing
    pub(crate) blocks: Vec<Block>,
    pub(crate) last_norm: Norm,
    pub(crate) head: Linear,        // d -> outputs
    pub(crate) probabilities: bool, // of the head, rather than set-points
    /// Memory for passes over a window. One thread needs one, for any number of
    /// sessions.
    spare: Mutex<Vec<Scratch>>,
}

impl Weights {
    /// Runs a pass over a window in spare memory.
    pub(crate) fn with_scratch<T>(
        &self,
        config: &PolicyConfig,
        pass: impl FnOnce(&mut Scratch) -> T,
    ) -> T {
        // The lock is not held during the pass; a list of unused buffers is
        // consistent even after a panic.
        let lock = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = lock().pop();
        let mut scratch =
            spare.unwrap_or_else(|| Scratch::new(config, &self.shape, config.tokens()));
        let result = pass(&mut scratch);
        lock().push(scratch);
        result
    }
}

/// A token computed from a few numbers.
pub(crate) struct Affine {
    pub(crate) weight: Vec<f32>, // [inputs][d]
    pub(crate) bias: Vec<f32>,   // [d]
}

impl Affine {
    /// Inputs beyond its own count are ignored.
    #[inline(always)]
    pub(crate) fn apply(&self, inputs: &[f32], out: &mut [f32]) {
        let d = self.bias.len();
        out.copy_from_slice(&self.bias);
        for (x, weight) in inputs.iter().zip(self.weight.chunks_exact(d)) {
            for (o, w) in out.iter_mut().zip(weight) {
                *o += x * w;
            }
        }
    }
}

/// Path from the values of one feature to its token.
pub(crate) struct Path {
    pub(crate) inputs: usize, // values read
    pub(crate) hidden: Hidden,
    pub(crate) project: Linear, // h -> d
}

/// The first half of a [`Path`].
pub(crate) enum Hidden {
    /// Only a value.
    Plain(Affine), // 1 -> e
    /// A value and its bins.
    Bins {
        slopes: Vec<(f32, f32)>, // lower edge and 1 / width of each bin
        linear: Linear,          // 1 + bins -> e
    },
    /// A series; hidden units are [kernel][channel][time].
    Convolutions(Vec<Convolution>),
}

/// Convolutions of one length over a series, without padding.
pub(crate) struct Convolution {
    pub(crate) weight: Vec<f32>, // [channels][length]
    pub(crate) bias: Vec<f32>,   // [channels]
}

impl Path {
    /// Hidden units.
    pub(crate) fn hidden(&self) -> usize {
        self.project.weight.view().k
    }
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
    /// Buffer size for the widest path.
    pub(crate) fn path_scratch(&self) -> usize {
        let of = |path: &Path| match &path.hidden {
            Hidden::Bins { slopes, .. } => path.hidden() + 1 + slopes.len(),
            _ => path.hidden(),
        };
        self.encoder.iter().map(of).max().unwrap_or(0)
    }

    /// Adds the time embedding of window position `position` to each token.
    pub(crate) fn add_time(&self, position: usize, tokens: &mut [f32]) {
        let d = self.shape.width;
        let time = &self.time[position * d..][..d];
        for token in tokens.chunks_exact_mut(d) {
            for (x, t) in token.iter_mut().zip(time) {
                *x += t;
            }
        }
    }

    /// Packs the tensors of a policy whose backbone has this shape.
    pub(crate) fn pack(config: &PolicyConfig, shape: Shape, tensors: &Tensors) -> Weights {
        let Shape {
            layers,
            width: d,
            heads,
            mlp: m,
            positions,
            ..
        } = shape;
        let get = |name: &str| tensors.values(name).to_vec();
        // Outputs × inputs in the file.
        let affine = |name: &str| {
            let (weight, bias) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
            let inputs = weight.len() / bias.len();
            let column = |i| weight.iter().skip(i).step_by(inputs).copied();
            Affine {
                weight: (0..inputs).flat_map(column).collect(),
                bias,
            }
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
        let scale = 1.0 / ((d / heads) as f32).sqrt();
        let path = |name: &str, encoder: &EncoderConfig| {
            let name = format!("encoder.{name}");
            let inputs = encoder.history();
            match encoder {
                EncoderConfig::Scalar { width, encoding } => Path {
                    inputs,
                    hidden: match encoding.len() {
                        0 => Hidden::Plain(affine(&format!("{name}.hidden"))),
                        bins => Hidden::Bins {
                            slopes: encoding.slopes().collect(),
                            linear: linear(&format!("{name}.hidden"), 1 + bins, *width),
                        },
                    },
                    project: linear(&format!("{name}.project"), *width, d),
                },
                EncoderConfig::Series { kernels, .. } => {
                    let convolution = |k: &usize| Convolution {
                        weight: get(&format!("{name}.conv{k}.weight")),
                        bias: get(&format!("{name}.conv{k}.bias")),
                    };
                    Path {
                        inputs,
                        hidden: Hidden::Convolutions(kernels.iter().map(convolution).collect()),
                        project: linear(&format!("{name}.project"), encoder.hidden(), d),
                    }
                }
            }
        };
        Weights {
            spare: Mutex::default(),
            shape,
            returns: affine("return"),
            action: affine("action"),
            time: get("time.weight"),
            encoder: config
                .features
                .iter()
                .map(|feature| path(feature.name.name(), &feature.encoder))
                .collect(),
            embed_norm: norm("embed_norm"),
            positions: match positions {
                0 => Vec::new(),
                // A window needs no further positions.
                _ => get("backbone.wpe.weight")[..config.tokens() * d].to_vec(),
            },
            blocks: (0..layers)
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
            head: linear("head", d, config.head.outputs()),
            probabilities: config.head.has_probabilities(),
        }
    }
}
