//! The forward pass: [`embed`] turns a record into tokens, and [`advance`] runs
//! them through the backbone, a few at a time.

use super::matmul::{Into, LANES, Lane, Panels, Vector, fma, gelu, layer_norm, matmul, softmax};
use super::scratch::Scratch;
use super::shape::Shape;
#[cfg(target_arch = "x86_64")]
use super::vector::Avx2;
use super::vector::Plain;
use super::weights::{Convolution, Hidden, Path, Weights};
use crate::config::EMBED_NORM_EPSILON;
use crate::encoder::LEAK;
use crate::set_points::SET_POINTS;
use crate::{OUTPUTS_MAX, Outputs, PolicyConfig};

/// Keys and values of the tokens of one context, laid out as packed matrices, so
/// that attention is two more products.
#[derive(Debug)]
pub(crate) struct State {
    /// Tokens cached.
    pub(crate) length: usize,
    capacity: usize,   // tokens, a multiple of 16
    keys: Vec<Lane>,   // [layer][head][capacity / 16][d / heads][16]
    values: Vec<Lane>, // [layer][head][ceil(d / heads / 16)][capacity][16]
}

impl State {
    pub(crate) fn new(config: &PolicyConfig, shape: &Shape) -> State {
        let capacity = config.tokens().next_multiple_of(LANES);
        let size = shape.head();
        let all = shape.layers * shape.heads;
        State {
            length: 0,
            capacity,
            keys: vec![[0.0; LANES]; all * (capacity / LANES) * size],
            values: vec![[0.0; LANES]; all * size.div_ceil(LANES) * capacity],
        }
    }

    /// Appends one token's key and value of one head.
    #[inline(always)]
    fn store(&mut self, index: usize, position: usize, key: &[f32], value: &[f32]) {
        let size = key.len();
        let panel = (index * (self.capacity / LANES) + position / LANES) * size;
        for (lane, k) in self.keys[panel..panel + size].iter_mut().zip(key) {
            lane[position % LANES] = *k;
        }
        let panel = index * size.div_ceil(LANES) * self.capacity + position;
        for (i, v) in value.chunks(LANES).enumerate() {
            self.values[panel + i * self.capacity][..v.len()].copy_from_slice(v);
        }
    }

    /// Keys of one head as a size × length matrix, padded to whole panels.
    #[inline(always)]
    fn keys(&self, index: usize, size: usize, length: usize) -> Panels<'_> {
        let each = self.capacity / LANES * size;
        let n = length.next_multiple_of(LANES);
        Panels {
            panels: &self.keys[index * each..][..each],
            pitch: size,
            k: size,
            n,
        }
    }

    /// Values of one head as a length × size matrix.
    #[inline(always)]
    fn values(&self, index: usize, size: usize, length: usize) -> Panels<'_> {
        let each = size.div_ceil(LANES) * self.capacity;
        let panels = &self.values[index * each..][..each];
        Panels {
            panels,
            pitch: self.capacity,
            k: length,
            n: size,
        }
    }
}

/// Defines a function that is compiled twice, with AVX2 and FMA and for the
/// baseline processor, and selects the version that the machine supports.
macro_rules! per_processor {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty) => {
        $(#[$doc])*
        pub(crate) fn $name($($arg: $type),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $type),*) -> $result {
                    $body::<Avx2>($($arg),*)
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor supports both.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $body::<Plain>($($arg),*)
        }
    };
}

per_processor! {
    /// Runs the first `count` tokens of `scratch` through the backbone, after
    /// those cached in `state`.  With `decide`, returns the head's outputs at
    /// the last of them; without, only data for later tokens is computed.
    advance = pass(
        residual: bool,
        weights: &Weights,
        state: &mut State,
        scratch: &mut Scratch,
        count: usize,
        decide: bool,
    ) -> Outputs
}

per_processor! {
    /// Writes the tokens of one record without their time embedding.
    embed = tokens_of(
        weights: &Weights,
        return_to_go: f32,
        inputs: &[f32],
        action: &[f32; SET_POINTS],
        hidden: &mut [f32],
        out: &mut [f32],
    ) -> ()
}

#[inline(always)]
fn pass<V: Vector>(
    residual: bool,
    weights: &Weights,
    state: &mut State,
    scratch: &mut Scratch,
    count: usize,
    decide: bool,
) -> Outputs {
    let Shape {
        width: d,
        mlp: m,
        heads,
        epsilon,
        ..
    } = weights.shape;
    let size = weights.shape.head();
    let length = state.length + count;
    let padded = length.next_multiple_of(LANES);
    let Scratch {
        tokens,
        x,
        normed,
        query,
        key,
        value,
        mixed,
        scores,
        hidden,
    } = scratch;

    // Embedding norm.
    let norm = &weights.embed_norm;
    layer_norm::<V>(
        &tokens[..count * d],
        d,
        &norm.weight,
        &norm.bias,
        EMBED_NORM_EPSILON,
        x,
    );
    if residual && decide {
        tokens[..d].copy_from_slice(&x[(count - 1) * d..count * d]); // the last input, for the head
    }
    if !weights.positions.is_empty() {
        let positions = &weights.positions[state.length * d..length * d];
        for (x, position) in x.iter_mut().zip(positions) {
            *x += position;
        }
    }

    let mut rows = count; // tokens still in the residual stream
    for (layer, block) in weights.blocks.iter().enumerate() {
        // Keys and values of all tokens.
        let norm = &block.norm1;
        layer_norm::<V>(&x[..rows * d], d, &norm.weight, &norm.bias, epsilon, normed);
        matmul::<V>(
            normed,
            d,
            rows,
            block.key.weight.view(),
            key,
            d,
            Into::Bias(&block.key.bias),
        );
        matmul::<V>(
            normed,
            d,
            rows,
            block.value.weight.view(),
            value,
            d,
            Into::Bias(&block.value.bias),
        );
        for row in 0..rows {
            for head in 0..heads {
                let part = row * d + head * size..row * d + (head + 1) * size;
                let position = state.length + row;
                state.store(
                    layer * heads + head,
                    position,
                    &key[part.clone()],
                    &value[part],
                );
            }
        }

        // Above the last layer's cache only the deciding token is needed.
        if layer + 1 == weights.blocks.len() {
            if !decide {
                break;
            }
            x.copy_within((rows - 1) * d..rows * d, 0);
            normed.copy_within((rows - 1) * d..rows * d, 0);
            rows = 1;
        }
        let first = length - rows; // position of the first row

        // Attention, a head at a time.
        matmul::<V>(
            normed,
            d,
            rows,
            block.query.weight.view(),
            query,
            d,
            Into::Bias(&block.query.bias),
        );
        for head in 0..heads {
            let index = layer * heads + head;
            let columns = head * size;
            let keys = state.keys(index, size, length);
            matmul::<V>(
                &query[columns..],
                d,
                rows,
                keys,
                scores,
                padded,
                Into::Store,
            );
            for (row, scores) in scores.chunks_exact_mut(padded).take(rows).enumerate() {
                softmax::<V>(scores, first + row + 1);
            }
            let values = state.values(index, size, length);
            matmul::<V>(
                scores,
                padded,
                rows,
                values,
                &mut mixed[columns..],
                d,
                Into::Store,
            );
        }
        let out = &block.attention;
        matmul::<V>(
            mixed,
            d,
            rows,
            out.weight.view(),
            x,
            d,
            Into::Add(&out.bias),
        );

        // Feed-forward.
        let norm = &block.norm2;
        layer_norm::<V>(&x[..rows * d], d, &norm.weight, &norm.bias, epsilon, normed);
        matmul::<V>(
            normed,
            d,
            rows,
            block.up.weight.view(),
            hidden,
            m,
            Into::Bias(&block.up.bias),
        );
        gelu::<V>(&mut hidden[..rows * m]);
        matmul::<V>(
            hidden,
            m,
            rows,
            block.down.weight.view(),
            x,
            d,
            Into::Add(&block.down.bias),
        );
    }
    state.length = length;
    if !decide {
        return [0.0; OUTPUTS_MAX];
    }

    // Head, at the position before the newest action token.
    let norm = &weights.last_norm;
    layer_norm::<V>(&x[..d], d, &norm.weight, &norm.bias, epsilon, normed);
    if residual {
        for (x, input) in normed[..d].iter_mut().zip(&tokens[..d]) {
            *x += input;
        }
    }
    let mut outputs = [0.0; LANES];
    matmul::<V>(
        normed,
        d,
        1,
        weights.head.weight.view(),
        &mut outputs,
        LANES,
        Into::Bias(&weights.head.bias),
    );
    let count = weights.head.bias.len();
    if weights.probabilities {
        softmax::<V>(&mut outputs, count);
    }
    std::array::from_fn(|i| if i < count { outputs[i] } else { 0.0 })
}

#[inline(always)]
fn tokens_of<V: Vector>(
    weights: &Weights,
    return_to_go: f32, // scaled
    inputs: &[f32],    // [PolicyConfig::inputs], scaled
    action: &[f32; SET_POINTS],
    hidden: &mut [f32], // [hidden_max]
    out: &mut [f32],    // [n + 2][d]
) {
    let d = weights.shape.width;
    let (first, rest) = out.split_at_mut(d);
    weights.returns.apply(&[return_to_go], first);
    let (states, last) = rest.split_at_mut(weights.encoder.len() * d);
    let mut inputs = inputs;
    for (path, out) in weights.encoder.iter().zip(states.chunks_exact_mut(d)) {
        let (own, after) = inputs.split_at(path.inputs);
        inputs = after;
        token_of::<V>(path, own, hidden, out);
    }
    weights.action.apply(action, last);
}

/// Writes the channels of a convolution over `series`, each over all times, and
/// returns the rest of `out`.
#[inline(always)]
fn convolve<'a, V: Vector>(
    convolution: &Convolution,
    series: &[f32],
    mut out: &'a mut [f32],
) -> &'a mut [f32] {
    let length = convolution.weight.len() / convolution.bias.len();
    let times = series.len() + 1 - length;
    let channels = convolution.weight.chunks_exact(length);
    for (weight, bias) in channels.zip(&convolution.bias) {
        let (channel, rest) = out.split_at_mut(times);
        // Times, not channels, fill the lanes: there are more of them.
        let mut lanes = channel.chunks_exact_mut(LANES / 2);
        let mut time = 0;
        for lane in &mut lanes {
            let mut sums = [*bias; LANES / 2]; // in registers
            for (w, from) in weight.iter().zip(time..) {
                for (y, x) in sums.iter_mut().zip(&series[from..from + LANES / 2]) {
                    *y = fma::<V>(*w, *x, *y);
                }
            }
            lane.copy_from_slice(&sums);
            time += LANES / 2;
        }
        for (y, time) in lanes.into_remainder().iter_mut().zip(time..) {
            *y = *bias;
            for (w, x) in weight.iter().zip(&series[time..]) {
                *y = fma::<V>(*w, *x, *y);
            }
        }
        out = rest;
    }
    out
}

/// One feature's token.
#[inline(always)]
fn token_of<V: Vector>(path: &Path, inputs: &[f32], scratch: &mut [f32], out: &mut [f32]) {
    let h = path.hidden();
    let (hidden, encoded) = scratch.split_at_mut(h);
    match &path.hidden {
        Hidden::Plain(affine) => affine.apply(&inputs[..1], hidden),
        Hidden::Bins { slopes, linear } => {
            let k = 1 + slopes.len();
            encoded[0] = inputs[0];
            for (x, (edge, slope)) in encoded[1..k].iter_mut().zip(slopes) {
                *x = ((inputs[0] - edge) * slope).clamp(0.0, 1.0);
            }
            let weight = linear.weight.view();
            matmul::<V>(encoded, k, 1, weight, hidden, h, Into::Bias(&linear.bias));
        }
        Hidden::Convolutions(convolutions) => {
            let mut rest = &mut *hidden;
            for convolution in convolutions {
                rest = convolve::<V>(convolution, inputs, rest);
            }
        }
    }
    for h in hidden.iter_mut() {
        *h = if *h < 0.0 { LEAK * *h } else { *h };
    }
    let project = &path.project;
    let weight = project.weight.view();
    let d = out.len();
    matmul::<V>(hidden, h, 1, weight, out, d, Into::Bias(&project.bias));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::backbone::BackboneConfig;
    use crate::{Feature, Tensors};

    /// Every processor computes the same result.
    #[test]
    fn plain_and_fast_forward_pass_agree() {
        let mut config = PolicyConfig::new("test", &Feature::PAPER7);
        config.window = 4;
        let BackboneConfig::Gpt2(gpt2) = &mut config.backbone else {
            panic!("another backbone");
        };
        gpt2.n_embd = 40; // two panels and a half
        gpt2.n_head = 2;
        gpt2.n_positions = 40;
        let shape = Shape::of("test", &config).unwrap();
        let tensors = Tensors::random(&config, 1).unwrap();
        let weights = Weights::pack(&config, shape, &tensors);
        let run = |pass: fn(bool, &Weights, &mut State, &mut Scratch, usize, bool) -> Outputs| {
            let mut state = State::new(&config, &shape);
            let mut scratch = Scratch::new(&config, &shape, 36);
            for (i, x) in scratch.tokens.iter_mut().enumerate() {
                *x = ((i * 7919) % 1000) as f32 / 500.0 - 1.0;
            }
            pass(false, &weights, &mut state, &mut scratch, 17, false);
            pass(false, &weights, &mut state, &mut scratch, 18, true)
        };
        for (fast, plain) in run(advance).into_iter().zip(run(pass::<Plain>)) {
            assert!((fast - plain).abs() < 1e-6, "{fast} {plain}");
        }
    }
}
