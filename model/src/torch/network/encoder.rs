//! Converts records to tokens: the paths of `crate::encoder`, batched.

use tch::{Device, Kind, Tensor};

use super::Batch;
use super::weights::View;
use crate::config::EMBED_NORM_EPSILON;
use crate::torch::TrainError;
use crate::{ACTIONS, EncoderConfig, Encoding, PolicyConfig};

/// The constant part of the encoder.
pub(super) struct Encoder {
    groups: Vec<Group>,
    order: Tensor, // [n], i64: index of each feature's token among those of the groups
}

/// Features with jointly computed paths.
enum Group {
    /// Scalars of one width.
    Scalars {
        names: Vec<&'static str>,
        inputs: Tensor,         // [g], i64: columns of the batch's inputs
        bins: Vec<i64>,         // of each
        edges: Option<Tensor>,  // [g, most bins], lower ones
        slopes: Option<Tensor>, // [g, most bins], 1 / width; 0 where there is no bin
    },
    /// Series of one shape.
    Series {
        names: Vec<&'static str>,
        inputs: Tensor, // [g h], i64: columns of the batch's inputs
        history: i64,
        kernels: Vec<usize>,
    },
}

impl Encoder {
    pub(super) fn new(config: &PolicyConfig, device: Device) -> Result<Encoder, TrainError> {
        let mut input = 0;
        let mut scalars: Vec<(usize, Vec<Scalar<'_>>)> = Vec::new(); // by width
        let mut series: Vec<(&EncoderConfig, Vec<Series>)> = Vec::new(); // by shape
        for (place, feature) in config.features.iter().enumerate() {
            let name = feature.name.name();
            match &feature.encoder {
                EncoderConfig::Scalar { width, encoding } => {
                    let scalar = Scalar {
                        place,
                        name,
                        input,
                        encoding,
                    };
                    match scalars.iter_mut().find(|(w, _)| w == width) {
                        Some((_, group)) => group.push(scalar),
                        None => scalars.push((*width, vec![scalar])),
                    }
                }
                shape @ EncoderConfig::Series { .. } => {
                    let one = Series { place, name, input };
                    match series.iter_mut().find(|(s, _)| *s == shape) {
                        Some((_, group)) => group.push(one),
                        None => series.push((shape, vec![one])),
                    }
                }
            }
            input += feature.encoder.history() as i64;
        }
        let mut places = Vec::new(); // of the features, in the order of the groups
        let mut groups = Vec::new();
        for (_, group) in &scalars {
            places.extend(group.iter().map(|s| s.place));
            groups.push(scalar_group(group, device)?);
        }
        for (shape, group) in &series {
            places.extend(group.iter().map(|s| s.place));
            groups.push(series_group(shape, group, device)?);
        }
        let mut order = vec![0i64; places.len()];
        for (at, place) in places.into_iter().enumerate() {
            order[place] = at as i64;
        }
        Ok(Encoder {
            groups,
            order: Tensor::f_from_slice(&order)?.f_to_device(device)?,
        })
    }

    /// The tokens R, s1 … sn, a of each record with their time, normalised:
    /// [B, w (n + 2), d], f32.
    pub(super) fn tokens(&self, weights: &View, batch: &Batch) -> Result<Tensor, TrainError> {
        let w = batch.returns.size2()?.1;
        let returns = weights.linear(&batch.returns.f_unsqueeze(-1)?, "return")?;
        let states: Vec<Tensor> = self
            .groups
            .iter()
            .map(|group| group.tokens(weights, &batch.inputs))
            .collect::<Result<_, TrainError>>()?;
        let mut states = Tensor::f_cat(&states, 2)?; // [B, w, n, d]
        if self.groups.len() > 1 {
            states = states.f_index_select(2, &self.order)?;
        }
        let actions = weights.linear(&action_numbers(&batch.actions)?, "action")?;
        let time = weights.get("time.weight")?;
        let time = match &batch.times {
            None => time.f_narrow(0, 0, w)?.f_unsqueeze(0)?, // [1, w, d]
            Some(times) => Tensor::f_embedding(time, times, -1, false, false)?, // [B, w, d]
        };
        let (returns, actions) = (returns.f_unsqueeze(2)?, actions.f_unsqueeze(2)?);
        let tokens = Tensor::f_cat(&[returns, states, actions], 2)?;
        let tokens = tokens.f_add(&time.f_unsqueeze(2)?)?; // [B, w, n + 2, d]
        let d = tokens.size4()?.3;
        let norm = |part: &str| weights.get(&format!("embed_norm.{part}"));
        Ok(tokens.f_flatten(1, 2)?.f_layer_norm(
            d,
            Some(norm("weight")?),
            Some(norm("bias")?),
            f64::from(EMBED_NORM_EPSILON),
            true,
        )?)
    }
}

/// Values of the action tokens, [B, w, k], f32, from [`Batch::actions`].
fn action_numbers(actions: &Tensor) -> Result<Tensor, TrainError> {
    if actions.dim() > 2 {
        return Ok(actions.shallow_clone());
    }
    // The authors' encoding of actions: (a + 1) / 3.
    let actions = actions.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
    Ok(actions.f_add_scalar(1.0)?.f_div_scalar(ACTIONS as f64)?)
}

/// A series before grouping.
struct Series {
    place: usize,
    name: &'static str,
    input: i64, // its first column
}

fn series_group(
    shape: &EncoderConfig,
    series: &[Series],
    device: Device,
) -> Result<Group, TrainError> {
    let history = shape.history() as i64;
    let columns = series.iter().flat_map(|s| s.input..s.input + history);
    let columns: Vec<i64> = columns.collect();
    let kernels = match shape {
        EncoderConfig::Series { kernels, .. } => kernels.clone(),
        EncoderConfig::Scalar { .. } => Vec::new(),
    };
    Ok(Group::Series {
        names: series.iter().map(|s| s.name).collect(),
        inputs: Tensor::f_from_slice(&columns)?.f_to_device(device)?,
        history,
        kernels,
    })
}

/// A scalar before grouping.
struct Scalar<'a> {
    place: usize,
    name: &'static str,
    input: i64,
    encoding: &'a Encoding,
}

/// Scalars with fewer bins than others are padded with bins of slope 0.
fn scalar_group(scalars: &[Scalar<'_>], device: Device) -> Result<Group, TrainError> {
    let bins: Vec<i64> = scalars.iter().map(|s| s.encoding.len() as i64).collect();
    let most = bins.iter().copied().max().unwrap_or(0);
    let (mut edges, mut slopes) = (Vec::new(), Vec::new());
    for scalar in scalars {
        let padding = std::iter::repeat((0.0, 0.0));
        for (edge, slope) in scalar.encoding.slopes().chain(padding).take(most as usize) {
            edges.push(edge);
            slopes.push(slope);
        }
    }
    let inputs: Vec<i64> = scalars.iter().map(|s| s.input).collect();
    let tensor = |values: &[f32]| -> Result<Option<Tensor>, TrainError> {
        if most == 0 {
            return Ok(None);
        }
        let tensor = Tensor::f_from_slice(values)?.f_view([-1, most])?;
        Ok(Some(tensor.f_to_device(device)?))
    };
    Ok(Group::Scalars {
        names: scalars.iter().map(|s| s.name).collect(),
        inputs: Tensor::f_from_slice(&inputs)?.f_to_device(device)?,
        bins,
        edges: tensor(&edges)?,
        slopes: tensor(&slopes)?,
    })
}

impl Group {
    /// [B, w, g, d] for inputs [B, w, inputs].
    fn tokens(&self, weights: &View, inputs: &Tensor) -> Result<Tensor, TrainError> {
        match self {
            Group::Scalars {
                names,
                inputs: columns,
                bins,
                edges,
                slopes,
            } => {
                let x = inputs.f_index_select(2, columns)?.f_unsqueeze(-1)?; // [B, w, g, 1]
                let x = match (edges, slopes) {
                    (Some(edges), Some(slopes)) => {
                        let bins = x.f_sub(edges)?.f_mul(slopes)?.f_clamp(0.0, 1.0)?;
                        Tensor::f_cat(&[x, bins], -1)? // [B, w, g, 1 + bins]
                    }
                    _ => x,
                };
                let most = bins.iter().copied().max().unwrap_or(0);
                let stack = |part: &str| -> Result<Tensor, TrainError> {
                    let of = |(name, bins): (&&str, &i64)| -> Result<Tensor, TrainError> {
                        let tensor = weights.get(&format!("encoder.{name}.{part}"))?;
                        if part != "hidden.weight" || *bins == most {
                            return Ok(tensor.shallow_clone());
                        }
                        Ok(tensor.f_constant_pad_nd([0, most - bins])?)
                    };
                    let all = names.iter().zip(bins).map(of);
                    Ok(Tensor::f_stack(&all.collect::<Result<Vec<_>, _>>()?, 0)?)
                };
                let hidden = if most == 0 {
                    x.f_mul(&stack("hidden.weight")?.f_squeeze_dim(-1)?)?
                } else {
                    product("bwgi,gei->bwge", x, stack("hidden.weight")?)?
                };
                let hidden = hidden.f_add(&stack("hidden.bias")?)?.f_leaky_relu()?;
                let tokens = product("bwge,gde->bwgd", hidden, stack("project.weight")?)?;
                Ok(tokens.f_add(&stack("project.bias")?)?)
            }
            Group::Series {
                names,
                inputs: columns,
                history,
                kernels,
            } => {
                let (g, w) = (names.len() as i64, inputs.size3()?.1);
                let stack = |part: &str| -> Result<Tensor, TrainError> {
                    let of = |name: &&str| {
                        Ok(weights
                            .get(&format!("encoder.{name}.{part}"))?
                            .shallow_clone())
                    };
                    let all: Result<Vec<_>, TrainError> = names.iter().map(of).collect();
                    Ok(Tensor::f_stack(&all?, 0)?)
                };
                let x = inputs.f_flatten(0, 1)?.f_index_select(1, columns)?;
                let x = x.f_unflatten(1, [g, *history])?; // [B w, g, h]
                let hidden = kernels.iter().map(|k| -> Result<Tensor, TrainError> {
                    let weight = stack(&format!("conv{k}.weight"))?.f_flatten(0, 1)?;
                    let bias = stack(&format!("conv{k}.bias"))?.f_flatten(0, 1)?;
                    let y = x.f_conv1d(&weight, Some(&bias), 1, 0, 1, g)?; // [B w, g e, h - k + 1]
                    let y = y.f_leaky_relu()?.f_unflatten(1, [g, -1])?;
                    Ok(y.f_flatten(2, 3)?)
                });
                let hidden = Tensor::f_cat(&hidden.collect::<Result<Vec<_>, _>>()?, 2)?;
                let tokens = product("bgi,gdi->bgd", hidden, stack("project.weight")?)?;
                let tokens = tokens.f_add(&stack("project.bias")?)?;
                Ok(tokens.f_unflatten(0, [-1, w])?)
            }
        }
    }
}

fn product(how: &str, x: Tensor, w: Tensor) -> Result<Tensor, TrainError> {
    Ok(Tensor::f_einsum(how, &[x, w], None::<i64>)?)
}
