//! A differentiable policy in libtorch, over batches of windows.
//!
//! ```text
//! Batch ─▶ encoder ─▶ backbone ─▶ head ─▶ logits, or set-points' outputs
//!          R, s1 … sn, a, normed      at the token before each action
//! ```
//!
//! Encoder, norm and head are computed in f32, and the backbone in the type
//! requested by [`Options`]. Trained weights are f32, in one flat vector; a
//! frozen base is separate, in the backbone's type.

mod batch;
mod directory;
mod encoder;
mod frozen;
mod trace;
mod weights;

use tch::{Device, Kind, Tensor};

pub use batch::Batch;
pub use directory::random_base;
pub use frozen::Frozen;

use super::{TrainError, backbone};
use crate::tensors::wrong;
use crate::{ACTIONS, OUTPUTS_MAX, Outputs, PolicyConfig, Tensors, trained_specs};
use backbone::{Asked, Pass};
use encoder::Encoder;
pub(super) use weights::Trained;
use weights::View;

/// Device and computation options of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Device of all tensors.
    pub device: Device,
    /// Type of the backbone's activations and of its frozen weights: Float,
    /// BFloat16 or Half.
    pub kind: Kind,
    /// Compute gradients with the memory of one layer, in a third more time:
    /// see [`backbone::backward`].
    pub gradient_checkpointing: bool,
}

impl Default for Options {
    /// f32 on the CPU.
    fn default() -> Self {
        Options {
            device: Device::Cpu,
            kind: Kind::Float,
            gradient_checkpointing: false,
        }
    }
}

/// A policy's weights in libtorch.
pub struct Network {
    config: PolicyConfig,
    options: Options,
    trained: Trained,
    frozen: backbone::Weights, // the base of the adapters, otherwise empty
    encoder: Encoder,
}

impl Network {
    /// Creates a network in f32 with all its weights from memory.
    ///
    /// # Errors
    /// As [`Network::with`].
    pub fn new(
        config: PolicyConfig,
        tensors: &Tensors,
        device: Device,
    ) -> Result<Network, TrainError> {
        let options = Options {
            device,
            ..Options::default()
        };
        Network::with(config, tensors, backbone::Weights::new(), options)
    }

    /// Creates a network from the tensors of [`crate::trained_specs`] and the
    /// base required by an adapter.
    ///
    /// # Errors
    /// The configuration is invalid, a tensor is missing or has the wrong
    /// shape, or libtorch failed.
    pub fn with(
        config: PolicyConfig,
        tensors: &Tensors,
        base: backbone::Weights,
        options: Options,
    ) -> Result<Network, TrainError> {
        config.check()?;
        tensors.check(&trained_specs(&config)?)?;
        let frozen = match config.adapter() {
            None => backbone::Weights::new(),
            Some(_) => checked(&config, &base, options)?,
        };
        Ok(Network {
            trained: Trained::new(&config, tensors, options.device)?,
            encoder: Encoder::new(&config, options.device)?,
            frozen,
            options,
            config,
        })
    }

    /// The policy's configuration.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.options.device
    }

    /// Device and computation options.
    pub fn options(&self) -> Options {
        self.options
    }

    /// A copy of the trained weights, those of [`crate::trained_specs`].
    ///
    /// # Errors
    /// libtorch failed.
    pub fn tensors(&self) -> Result<Tensors, TrainError> {
        self.trained.tensors()
    }

    /// The frozen weights of an adapter's base; otherwise empty.
    pub fn base(&self) -> &backbone::Weights {
        &self.frozen
    }

    /// The gradient of the trained weights, [P], f32; 0 where undefined.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn gradient(&self) -> Result<Tensor, TrainError> {
        self.trained.gradient()
    }

    /// The trained weights, for the optimiser.
    pub(super) fn trained(&mut self) -> &mut Trained {
        &mut self.trained
    }

    /// Logits of the action of every record, or outputs for the set-points
    /// after every period, from the preceding tokens: [B, w, outputs]. A
    /// backbone that sees later tokens gives only those of the last record,
    /// without its action: [B, 1, outputs]. `train` enables dropout.
    ///
    /// # Errors
    /// libtorch failed, e.g. because the batch has other features.
    pub fn logits(&self, batch: &Batch, train: bool) -> Result<Tensor, TrainError> {
        let (own, weights) = self.weights()?;
        let input = self.input(&own, batch)?;
        self.forward(&own, &weights, &input, &self.pass(&input, train))
    }

    /// Adds the gradient of a loss of the logits, with dropout on, to that of
    /// the trained weights, and returns the loss. `seed` seeds libtorch's
    /// generator, so that a step is reproducible.
    ///
    /// # Errors
    /// As [`Network::logits`], and those of `loss`.
    pub fn backward(
        &self,
        batch: &Batch,
        seed: i64,
        loss: impl FnOnce(&Tensor) -> Result<Tensor, TrainError>,
    ) -> Result<Tensor, TrainError> {
        if !self.options.gradient_checkpointing {
            tch::manual_seed(seed);
            let loss = loss(&self.logits(batch, true)?)?;
            loss.f_backward()?;
            return Ok(loss.f_detach()?);
        }
        let (own, weights) = self.weights()?;
        let input = self.input(&own, batch)?;
        let pass = self.pass(&input, true);
        let embeds = input.tokens.f_to_kind(self.options.kind)?;
        let backbone = &self.config.backbone;
        backbone::backward(
            backbone,
            &weights,
            &embeds,
            &pass,
            seed,
            |hidden, embeds| loss(&self.head(&own, hidden, embeds, &pass)?),
        )
    }

    /// Targets of [`Network::logits`]: [B, w] or [B, 1], i64.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn labels(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.judged(batch.labels.as_ref().unwrap_or(&batch.actions))
    }

    /// Selects, from values per record [B, w, ...], the records of
    /// [`Network::logits`]: all or the last.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn judged(&self, by_record: &Tensor) -> Result<Tensor, TrainError> {
        if self.config.backbone.is_causal() {
            return Ok(by_record.shallow_clone());
        }
        Ok(by_record.f_narrow(1, -1, 1)?)
    }

    /// Probabilities after the last record of each window, for a policy on
    /// records.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn probabilities(&self, batch: &Batch) -> Result<Vec<[f32; ACTIONS]>, TrainError> {
        let _guard = tch::no_grad_guard();
        let (own, weights) = self.weights()?;
        let outputs = self.outputs_of(&own, &weights, batch)?;
        let probabilities = |[enqueue, drop, mark, ..]: Outputs| [enqueue, drop, mark];
        Ok(outputs.into_iter().map(probabilities).collect())
    }

    /// Head outputs after the last record or period of each window.
    fn outputs_of(
        &self,
        own: &View,
        weights: &backbone::Weights,
        batch: &Batch,
    ) -> Result<Vec<Outputs>, TrainError> {
        let newest = self.newest(own, weights, batch)?;
        let values = newest.f_to_device(Device::Cpu)?.f_reshape([-1])?;
        let values = Vec::<f32>::try_from(values)?;
        let rows = values.chunks_exact(self.config.head.outputs());
        let row = |row: &[f32]| {
            let mut outputs = [0.0; OUTPUTS_MAX];
            outputs[..row.len()].copy_from_slice(row);
            outputs
        };
        Ok(rows.map(row).collect())
    }

    /// Views of the weights: outside and inside the backbone.
    fn weights(&self) -> Result<(View, backbone::Weights), TrainError> {
        let (own, mut weights) = self.trained.view(self.options.kind)?;
        weights.extend(self.frozen.share());
        Ok((own, weights))
    }

    /// Input of the backbone.
    fn input(&self, own: &View, batch: &Batch) -> Result<Input, TrainError> {
        let each = self.config.tokens_per_record() as i64;
        let tokens = self.encoder.tokens(own, batch)?;
        let mask = match &batch.mask {
            None => None,
            Some(mask) => Some(mask.f_repeat_interleave_self_int(each, 1, None)?),
        };
        if self.config.backbone.is_causal() {
            return Ok(Input { tokens, mask });
        }
        let all_but_one = tokens.size3()?.1 - 1; // all but the newest action
        let cut = |x: &Tensor| x.f_narrow(1, 0, all_but_one);
        Ok(Input {
            tokens: cut(&tokens)?,
            mask: mask.as_ref().map(cut).transpose()?,
        })
    }

    /// Tokens of the outputs: the last state token of each record, or only of
    /// the newest if the backbone sees later tokens.
    fn pass<'a>(&'a self, input: &'a Input, train: bool) -> Pass<'a> {
        let n = self.config.features.len() as i64;
        let every = Asked {
            first: n,
            step: n + 2,
        };
        Pass {
            mask: input.mask.as_ref(),
            train,
            lora: self.config.adapter(),
            asked: Some(match self.config.backbone.is_causal() {
                true => every,
                false => self.last_state(input),
            }),
        }
    }

    /// The token before the newest action.
    fn last_state(&self, input: &Input) -> Asked {
        let tokens = input.tokens.size().get(1).copied().unwrap_or(0);
        let actions = i64::from(self.config.backbone.is_causal());
        Asked {
            first: tokens - 1 - actions,
            step: tokens,
        }
    }

    /// Probabilities, or outputs for set-points, after the last record or
    /// period of each window, [B, outputs], f32.
    fn newest(
        &self,
        own: &View,
        weights: &backbone::Weights,
        batch: &Batch,
    ) -> Result<Tensor, TrainError> {
        let input = self.input(own, batch)?;
        let pass = Pass {
            asked: Some(self.last_state(&input)),
            ..self.pass(&input, false)
        };
        let outputs = self.forward(own, weights, &input, &pass)?.f_select(1, -1)?;
        match self.config.head.has_probabilities() {
            true => Ok(outputs.f_softmax(-1, Kind::Float)?),
            false => Ok(outputs),
        }
    }

    fn forward(
        &self,
        own: &View,
        weights: &backbone::Weights,
        input: &Input,
        pass: &Pass<'_>,
    ) -> Result<Tensor, TrainError> {
        let embeds = input.tokens.f_to_kind(self.options.kind)?;
        let hidden = backbone::hidden(&self.config.backbone, weights, &embeds, pass)?;
        self.head(own, &hidden, &input.tokens, pass)
    }

    /// Applies the head at the requested tokens, [B, Q, outputs], from their
    /// hidden states and all tokens.
    fn head(
        &self,
        own: &View,
        hidden: &Tensor,
        tokens: &Tensor,
        pass: &Pass<'_>,
    ) -> Result<Tensor, TrainError> {
        let mut x = hidden.f_to_kind(Kind::Float)?;
        if self.config.head.residual {
            let tokens = match pass.asked {
                Some(asked) => asked.of(tokens)?,
                None => tokens.shallow_clone(),
            };
            x = x.f_add(&tokens.f_to_kind(Kind::Float)?)?;
        }
        own.linear(&x, "head")
    }
}

/// Input of a backbone.
struct Input {
    tokens: Tensor,       // [B, T, d], f32
    mask: Option<Tensor>, // [B, T], bool
}

/// A base with all required tensors, on the device and in the type of the
/// computation.
fn checked(
    config: &PolicyConfig,
    base: &backbone::Weights,
    options: Options,
) -> Result<backbone::Weights, TrainError> {
    let mut weights = backbone::Weights::new();
    for (name, shape) in config.backbone.specs() {
        let tensor = base.get(&name)?;
        let long: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        if tensor.size() != long {
            let reason = format!("shape {:?}, expected {shape:?}", tensor.size());
            return Err(wrong("base", &name, reason).into());
        }
        let tensor = tensor
            .f_detach()?
            .f_to_device(options.device)?
            .f_to_kind(options.kind)?;
        weights.insert(name, tensor);
    }
    Ok(weights)
}
