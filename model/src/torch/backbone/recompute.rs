//! Gradient checkpointing, with the memory of one layer: the forward pass
//! stores only the states between layers, and each layer is recomputed when the
//! backward pass reaches it (Chen et al. 2016, "Training Deep Nets with
//! Sublinear Memory Cost").

use tch::{Kind, Tensor};

use super::{Pass, State, Weights, begin, end, layer};
use crate::backbone::BackboneConfig;
use crate::torch::TrainError;

/// Adds the gradients of the weights' and `embeds`' inputs, as
/// `loss(hidden(embeds)).backward()` would, and returns the loss.
///
/// Gradients of leaves among the weights are computed layer by layer; those of
/// the inputs of other weights in one backward pass at the end.
///
/// `loss` receives the last hidden state and the embeddings, and must use
/// these instead of `embeds` itself. `seed` seeds libtorch's generator, so that
/// both passes draw the same dropout; its final state depends only on `seed`.
/// The generator is shared by all threads: no other thread may draw at the same
/// time.
///
/// # Errors
/// As [`super::hidden`], and those of `loss`.
pub fn backward(
    config: &BackboneConfig,
    weights: &Weights,
    embeds: &Tensor,
    pass: &Pass<'_>,
    seed: i64,
    loss: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, TrainError>,
) -> Result<Tensor, TrainError> {
    let layers = config.layers();
    let before = |index: usize| tch::manual_seed(seed.wrapping_add(1 + index as i64));
    let input = leaf(embeds)?;
    let made_of = weights;
    let weights = &leaves(weights)?;

    let mut states = Vec::with_capacity(layers + 1);
    {
        let _guard = tch::no_grad_guard();
        tch::manual_seed(seed);
        let mut state = begin(config, weights, &input, pass)?;
        for index in 0..layers {
            let kept = state.map(|t| Ok(t.shallow_clone()))?;
            states.push(kept);
            before(index);
            state = layer(config, weights, index, state, pass)?;
        }
        states.push(state);
    }

    let state = states.pop().expect("the last was pushed").map(leaf)?;
    before(layers);
    let last = end(config, weights, state.map(|t| Ok(t.shallow_clone()))?, pass)?;
    let loss = loss(&last, &input)?;
    loss.f_backward()?;
    let mut gradients = state.gradients()?;

    for index in (0..layers).rev() {
        let state = states.pop().expect("one was pushed per layer").map(leaf)?;
        before(index);
        let kept = state.map(|t| Ok(t.shallow_clone()))?;
        let output = layer(config, weights, index, kept, pass)?;
        push_back(
            output
                .flow()
                .into_iter()
                .zip(gradients.iter().map(Option::as_ref)),
        )?;
        gradients = state.gradients()?;
    }

    tch::manual_seed(seed);
    let output = begin(config, weights, &input, pass)?;
    push_back(
        output
            .flow()
            .into_iter()
            .zip(gradients.iter().map(Option::as_ref)),
    )?;

    let mut ends = vec![(embeds, gradient(&input)?)];
    for (name, tensor) in made_of.iter() {
        if !tensor.f_is_leaf()? {
            ends.push((tensor, gradient(weights.get(name)?)?));
        }
    }
    push_back(ends.iter().map(|(tensor, g)| (Some(*tensor), g.as_ref())))?;
    // Avoids repeating the first layer's mask in the caller's next draw.
    before(layers + 1);
    Ok(loss.f_detach()?)
}

/// The same values, detached, as a leaf.
fn leaf(tensor: &Tensor) -> Result<Tensor, TrainError> {
    Ok(tensor.f_detach()?.f_set_requires_grad(true)?)
}

/// The weights as leaves.
fn leaves(weights: &Weights) -> Result<Weights, TrainError> {
    let tensors = weights.iter().map(|(name, tensor)| {
        let tensor = match tensor.f_is_leaf()? {
            true => tensor.shallow_clone(),
            false => leaf(tensor)?,
        };
        Ok((name.to_owned(), tensor))
    });
    tensors.collect()
}

fn gradient(tensor: &Tensor) -> Result<Option<Tensor>, TrainError> {
    let gradient = tensor.f_grad()?;
    Ok(gradient.defined().then_some(gradient))
}

/// Runs the backward pass of these outputs from their gradients.
fn push_back<'a>(
    outputs: impl Iterator<Item = (Option<&'a Tensor>, Option<&'a Tensor>)>,
) -> Result<(), TrainError> {
    let mut total: Option<Tensor> = None;
    for pair in outputs {
        let (Some(output), Some(gradient)) = pair else {
            continue;
        };
        if !output.requires_grad() {
            continue;
        }
        let part = output.f_mul(gradient)?.f_sum(Kind::Float)?;
        total = Some(match total {
            Some(total) => total.f_add(&part)?,
            None => part,
        });
    }
    match total {
        Some(total) => Ok(total.f_backward()?),
        None => Ok(()),
    }
}

impl State {
    /// The tensors that gradients flow through.
    fn flow(&self) -> [Option<&Tensor>; 3] {
        [Some(&self.hidden), self.memory.as_ref(), self.bias.as_ref()]
    }

    /// The gradients of leaves.
    fn gradients(&self) -> Result<[Option<Tensor>; 3], TrainError> {
        let [hidden, memory, bias] = self.flow().map(|t| t.map(gradient));
        Ok([
            hidden.transpose()?.flatten(),
            memory.transpose()?.flatten(),
            bias.transpose()?.flatten(),
        ])
    }

    /// The same state with other tensors for gradients to flow through.
    fn map(
        &self,
        change: impl Fn(&Tensor) -> Result<Tensor, TrainError>,
    ) -> Result<State, TrainError> {
        Ok(State {
            hidden: change(&self.hidden)?,
            memory: self.memory.as_ref().map(&change).transpose()?,
            bias: self.bias.as_ref().map(&change).transpose()?,
            fixed: self.fixed.share(),
        })
    }
}
