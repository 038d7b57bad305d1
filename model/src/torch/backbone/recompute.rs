//! Gradients with the memory of one layer: the forward pass keeps what goes
//! from layer to layer, and nothing of what is in them; each layer is
//! computed again when the backward pass comes to it (Chen et al. 2016,
//! "Training Deep Nets with Sublinear Memory Cost").

use tch::{Kind, Tensor};

use super::{Pass, State, Weights, begin, end, layer};
use crate::backbone::BackboneConfig;
use crate::torch::TrainError;

/// Adds to the gradients of what the weights and `embeds` were made of, as
/// `loss(hidden(embeds)).backward()` would, and returns the loss.
///
/// Leaves among the weights get their gradients layer by layer; what others
/// were made of gets its own in one backward pass at the end.
///
/// `loss` gets the last hidden state and the embeddings, and must use those
/// instead of `embeds` itself.  `seed` starts libtorch's generator, so that
/// dropout is the same both times; it is left in a state that follows from
/// `seed`.  That generator is one for all threads: nobody else may draw
/// meanwhile.
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
    // Not the mask of the first layer again for who draws next.
    before(layers + 1);
    Ok(loss.f_detach()?)
}

/// The same numbers, at which a gradient ends.
fn leaf(tensor: &Tensor) -> Result<Tensor, TrainError> {
    Ok(tensor.f_detach()?.f_set_requires_grad(true)?)
}

/// The weights, where all gradients end.
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

/// The backward pass of what gave these outputs, from their gradients.
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
    /// What gradients flow through.
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

    /// The same with other tensors where gradients flow.
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
