//! The forward pass of `forward.rs` over batches, differentiable.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::TrainError;
use crate::{ACTIONS, PolicyConfig, Step, Tensors, specs};

/// A policy's weights in libtorch.  They are one flat vector, so that the
/// optimiser is a few operations however many tensors there are.
pub struct Network {
    config: PolicyConfig,
    device: Device,
    pub(super) flat: Tensor, // [P], requires grad
    shapes: Vec<(String, Vec<i64>)>,
}

/// Windows of equal length; B of w records each.
#[derive(Debug)]
pub struct Batch {
    returns: Tensor,            // [B, w]
    features: Tensor,           // [B, w, n]
    pub(super) actions: Tensor, // [B, w], i64
}

impl Batch {
    /// A batch from windows of equal length.
    pub fn new(windows: &[Vec<Step>], device: Device) -> Result<Batch, TrainError> {
        let b = windows.len() as i64;
        let steps = || windows.iter().flatten();
        let returns: Vec<f32> = steps().map(|s| s.return_to_go).collect();
        let features: Vec<f32> = steps().flat_map(|s| s.features.iter().copied()).collect();
        let actions: Vec<i64> = steps().map(|s| s.action as i64).collect();
        let w = returns.len() as i64 / b.max(1);
        let n = features.len() as i64 / (b * w).max(1);
        Ok(Batch {
            returns: Tensor::f_from_slice(&returns)?
                .f_view([b, w])?
                .f_to_device(device)?,
            features: Tensor::f_from_slice(&features)?
                .f_view([b, w, n])?
                .f_to_device(device)?,
            actions: Tensor::f_from_slice(&actions)?
                .f_view([b, w])?
                .f_to_device(device)?,
        })
    }
}

impl Network {
    /// A network with the given weights.
    pub fn new(
        config: PolicyConfig,
        tensors: &Tensors,
        device: Device,
    ) -> Result<Network, TrainError> {
        let shapes: Vec<(String, Vec<i64>)> = specs(&config)
            .into_iter()
            .map(|(name, shape)| (name, shape.iter().map(|n| *n as i64).collect()))
            .collect();
        let values: Vec<f32> = shapes
            .iter()
            .flat_map(|(name, _)| tensors.values(name).iter().copied())
            .collect();
        let flat = Tensor::f_from_slice(&values)?
            .f_to_device(device)?
            .f_set_requires_grad(true)?;
        Ok(Network {
            config,
            device,
            flat,
            shapes,
        })
    }

    /// What the network computes.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// A copy of the weights, e.g. to save them.
    pub fn tensors(&self) -> Result<Tensors, TrainError> {
        let values = Vec::<f32>::try_from(self.flat.f_detach()?.f_to_device(Device::Cpu)?)?;
        let mut rest = values.as_slice();
        let mut tensors = std::collections::BTreeMap::new();
        for (name, shape) in &self.shapes {
            let (data, after) = rest.split_at(shape.iter().product::<i64>() as usize);
            tensors.insert(name.clone(), data.to_vec());
            rest = after;
        }
        Ok(Tensors::new(&self.config, tensors)?)
    }

    /// 1 for the weights that decay, 0 for biases, norms and embeddings.
    pub(super) fn decays(&self) -> Result<Tensor, TrainError> {
        let mask: Vec<f32> = self
            .shapes
            .iter()
            .flat_map(|(name, shape)| {
                let decays = shape.len() == 2 && shape[1] > 1 && !name.starts_with("time");
                std::iter::repeat_n(
                    f32::from(u8::from(decays)),
                    shape.iter().product::<i64>() as usize,
                )
            })
            .collect();
        Ok(Tensor::f_from_slice(&mask)?.f_to_device(self.device)?)
    }

    /// Logits of the action of every record, from what precedes it: [B, w, 3].
    pub fn logits(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        let sizes: Vec<i64> = self
            .shapes
            .iter()
            .map(|(_, s)| s.iter().product())
            .collect();
        let parts = self.flat.f_split_with_sizes(&sizes, 0)?;
        let weights: HashMap<&str, Tensor> = self
            .shapes
            .iter()
            .zip(parts)
            .map(|((name, shape), part)| Ok((name.as_str(), part.f_view(shape.as_slice())?)))
            .collect::<Result<_, TrainError>>()?;
        let get = |name: &str| {
            weights
                .get(name)
                .expect("specs() names every tensor that the forward pass reads")
        };
        let of_encoder = |part: &str| -> Result<Tensor, TrainError> {
            let names = self.config.features.iter().map(|f| f.name.name());
            let all: Vec<&Tensor> = names.map(|f| get(&format!("encoder.{f}.{part}"))).collect();
            Ok(Tensor::f_stack(&all, 0)?)
        };
        let backbone = &self.config.backbone;
        let (d, heads) = (backbone.width as i64, backbone.heads as i64);
        let n = self.config.features.len() as i64;
        let (b, w) = batch.returns.size2()?;
        let tokens = w * (n + 2);
        let norm = |x: &Tensor, name: &str| -> Result<Tensor, TrainError> {
            let weight = Some(get(&format!("{name}.weight")));
            let bias = Some(get(&format!("{name}.bias")));
            Ok(x.f_layer_norm([d], weight, bias, f64::from(backbone.norm_epsilon), false)?)
        };
        let linear = |x: &Tensor, name: &str| -> Result<Tensor, TrainError> {
            let bias = Some(get(&format!("{name}.bias")));
            Ok(x.f_linear(get(&format!("{name}.weight")), bias)?)
        };
        let conv1d = |x: &Tensor, name: &str| -> Result<Tensor, TrainError> {
            let (weight, bias) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
            Ok(x.f_matmul(weight)?.f_add(bias)?)
        };

        // Tokens: R, s1 … sn, a of each record, plus its time.
        let returns = linear(&batch.returns.f_unsqueeze(-1)?, "return")?.f_unsqueeze(2)?; // [B, w, 1, d]
        let hidden = (batch.features.f_unsqueeze(-1)?
            * of_encoder("hidden.weight")?.f_squeeze_dim(-1)?
            + of_encoder("hidden.bias")?)
        .f_leaky_relu()?; // [B, w, n, e]
        let states = Tensor::f_einsum(
            "bwne,nde->bwnd",
            &[hidden, of_encoder("project.weight")?],
            None::<i64>,
        )? + of_encoder("project.bias")?; // [B, w, n, d]
        let actions = (batch.actions.f_to_kind(Kind::Float)? + 1.0) / ACTIONS as f64;
        let actions = linear(&actions.f_unsqueeze(-1)?, "action")?.f_unsqueeze(2)?; // [B, w, 1, d]
        let time = get("time.weight").f_narrow(0, 0, w)?.f_view([1, w, 1, d])?;
        let input = Tensor::f_cat(&[returns, states, actions], 2)?.f_add(&time)?;
        let input = norm(&input.f_view([b, tokens, d])?, "embed_norm")?;

        // Backbone.
        let mut x = input.shallow_clone(); // [B, T, d]
        for layer in 0..backbone.layers {
            let h = format!("backbone.h.{layer}");
            let qkv = conv1d(
                &norm(&x, &format!("{h}.ln_1"))?,
                &format!("{h}.attn.c_attn"),
            )?;
            let qkv = qkv
                .f_view([b, tokens, 3, heads, d / heads])?
                .f_permute([2, 0, 3, 1, 4])?;
            let mixed = Tensor::f_scaled_dot_product_attention(
                &qkv.f_get(0)?,
                &qkv.f_get(1)?,
                &qkv.f_get(2)?,
                None::<&Tensor>,
                0.0,
                true,
                None,
                false,
            )?; // [B, heads, T, d / heads]
            let mixed = mixed.f_transpose(1, 2)?.f_reshape([b, tokens, d])?;
            x = x.f_add(&conv1d(&mixed, &format!("{h}.attn.c_proj"))?)?;
            let up = conv1d(&norm(&x, &format!("{h}.ln_2"))?, &format!("{h}.mlp.c_fc"))?;
            x = x.f_add(&conv1d(&up.f_gelu("tanh")?, &format!("{h}.mlp.c_proj"))?)?;
        }

        // Head, at each record's last state token.
        let before_action = |x: &Tensor| x.f_view([b, w, n + 2, d])?.f_select(2, n);
        let mut x = norm(&before_action(&x)?, "backbone.ln_f")?;
        if self.config.head.residual {
            x = x.f_add(&before_action(&input)?)?;
        }
        linear(&x, "head")
    }

    /// Probabilities after the last record of each window.
    pub fn probabilities(&self, batch: &Batch) -> Result<Vec<[f32; ACTIONS]>, TrainError> {
        let _guard = tch::no_grad_guard();
        let logits = self.logits(batch)?.f_select(1, -1)?;
        let values = logits
            .f_softmax(-1, Kind::Float)?
            .f_to_device(Device::Cpu)?;
        let values = Vec::<f32>::try_from(values.f_contiguous()?.f_view([-1])?)?;
        Ok(values
            .chunks_exact(ACTIONS)
            .map(|p| [p[0], p[1], p[2]])
            .collect())
    }
}
