//! Encoders from the values of a feature to its token: kinds and sizes of paths.
//!
//! ```text
//! scalar   x ─▶ [x, bins(x)] ─▶ linear ─▶ LeakyReLU ─────────────────▶ project ─▶ token
//! series   x(t-h+1) … x(t) ─▶ Conv1d of 3, 5, 7 ─▶ LeakyReLU ─▶ flatten ─▶ project ─▶ token
//! ```
//!
//! A series reads the values of the stream, not of the window: it includes up to h - 1
//! records before the window's first. If the stream (in training: the episode) began
//! less than h records ago, its first value replaces the missing ones.

use serde::{Deserialize, Serialize};

use crate::config::within;
use crate::tensors::Spec;
use crate::{PolicyConfig, PolicyError};

/// Slope of LeakyReLU below 0, PyTorch's default.
pub(crate) const LEAK: f32 = 0.01;

/// Maximum number of values of one series.
pub(crate) const HISTORY_MAX: usize = 256;

/// Maximum number of edges of an encoding.
const EDGES_MAX: usize = 1025;

/// Minimum distance of two edges, in scaled units, so that every bin's slope fits in
/// f32.
const EDGE_GAP: f32 = 1e-5;

/// The path of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EncoderConfig {
    /// The value at the record: linear, LeakyReLU, projection.
    Scalar {
        /// Units between value and projection, 1..=1024.
        width: usize,
        /// Encoding in addition to the value.
        #[serde(default)]
        encoding: Encoding,
    },
    /// The values of the newest records: convolutions, LeakyReLU, projection.
    Series {
        /// Channels of each convolution, 1..=1024.
        width: usize,
        /// Number of values read, including the record's, 1..=256.
        history: usize,
        /// Length of each convolution, 1..=`history`, each once; 1..=8 of
        /// them.  There is no padding: a kernel of k has `history` - k + 1
        /// outputs a channel.
        kernels: Vec<usize>,
    },
}

/// Encoding in addition to a scalar's value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encoding {
    /// Nothing.
    #[default]
    None,
    /// The part of each bin below the value, 0..=1 (piecewise-linear encoding, Gorishniy
    /// et al. 2022): with edges at quantiles, a small network can distinguish close
    /// values, like a tree.
    Bins {
        /// Borders of the bins in scaled units, rising by 1e-5 at least;
        /// 2..=1025 of them.
        edges: Vec<f32>,
    },
}

impl EncoderConfig {
    /// A plain scalar.
    pub const fn scalar(width: usize) -> EncoderConfig {
        EncoderConfig::Scalar {
            width,
            encoding: Encoding::None,
        }
    }

    /// A series with the published kernels.
    pub fn series(width: usize, history: usize) -> EncoderConfig {
        EncoderConfig::Series {
            width,
            history,
            kernels: vec![3, 5, 7],
        }
    }

    /// Number of values of a stream that the path reads: 1, or `history`.
    pub fn history(&self) -> usize {
        match self {
            EncoderConfig::Scalar { .. } => 1,
            EncoderConfig::Series { history, .. } => *history,
        }
    }

    /// Inputs of the projection.
    pub fn hidden(&self) -> usize {
        match self {
            EncoderConfig::Scalar { width, .. } => *width,
            EncoderConfig::Series {
                width,
                history,
                kernels,
            } => kernels.iter().map(|k| width * (history + 1 - k)).sum(),
        }
    }

    /// The path's tensors; `name` is the feature's, `d` the token's width.
    pub(crate) fn specs(&self, name: &str, d: usize, add: &mut impl FnMut(Spec)) {
        let e = self.width();
        match self {
            EncoderConfig::Scalar { encoding, .. } => {
                add((
                    format!("encoder.{name}.hidden.weight"),
                    vec![e, 1 + encoding.len()],
                ));
                add((format!("encoder.{name}.hidden.bias"), vec![e]));
            }
            EncoderConfig::Series { kernels, .. } => {
                for k in kernels {
                    add((format!("encoder.{name}.conv{k}.weight"), vec![e, 1, *k]));
                    add((format!("encoder.{name}.conv{k}.bias"), vec![e]));
                }
            }
        }
        add((
            format!("encoder.{name}.project.weight"),
            vec![d, self.hidden()],
        ));
        add((format!("encoder.{name}.project.bias"), vec![d]));
    }

    /// Checks every range; `key` is the position of the path in the configuration.
    pub(crate) fn check(&self, key: &str) -> Result<(), PolicyError> {
        match self {
            EncoderConfig::Scalar { width, encoding } => {
                let key = format!("{key}.scalar");
                within(&format!("{key}.width"), *width, 1, 1024)?;
                encoding.check(&format!("{key}.encoding"))
            }
            EncoderConfig::Series {
                width,
                history,
                kernels,
            } => {
                let key = format!("{key}.series");
                within(&format!("{key}.width"), *width, 1, 1024)?;
                within(&format!("{key}.history"), *history, 1, HISTORY_MAX)?;
                within(&format!("{key}.kernels.length"), kernels.len(), 1, 8)?;
                for (i, k) in kernels.iter().enumerate() {
                    let key = format!("{key}.kernels[{i}]");
                    within(&key, *k, 1, *history)?;
                    if kernels[..i].contains(k) {
                        return Err(PolicyError::config(key, k, "each kernel once"));
                    }
                }
                Ok(())
            }
        }
    }

    fn width(&self) -> usize {
        match self {
            EncoderConfig::Scalar { width, .. } | EncoderConfig::Series { width, .. } => *width,
        }
    }
}

impl Encoding {
    /// At most `bins` bins whose edges are quantiles of the scaled values,
    /// which are sorted in place. Constant values need none.
    pub fn bins(values: &mut [f32], bins: usize) -> Encoding {
        values.sort_unstable_by(f32::total_cmp);
        let mut edges: Vec<f32> = Vec::new();
        let bins = bins.clamp(1, EDGES_MAX - 1);
        let last = values.len().saturating_sub(1);
        for edge in (0..=bins).filter_map(|i| values.get(last * i / bins)) {
            if edges.last().is_none_or(|before| edge - before >= EDGE_GAP) {
                edges.push(*edge);
            }
        }
        match edges.len() {
            0 | 1 => Encoding::None,
            _ => Encoding::Bins { edges },
        }
    }

    /// Number of inputs in addition to the value.
    pub fn len(&self) -> usize {
        match self {
            Encoding::None => 0,
            Encoding::Bins { edges } => edges.len().saturating_sub(1),
        }
    }

    /// Whether there is only the value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lower edge and slope (1 / width) of each bin.
    pub(crate) fn slopes(&self) -> impl Iterator<Item = (f32, f32)> {
        let edges = match self {
            Encoding::None => &[][..],
            Encoding::Bins { edges } => edges,
        };
        edges.windows(2).map(|e| (e[0], 1.0 / (e[1] - e[0])))
    }

    fn check(&self, key: &str) -> Result<(), PolicyError> {
        let Encoding::Bins { edges } = self else {
            return Ok(());
        };
        let key = format!("{key}.bins.edges");
        within(&format!("{key}.length"), edges.len(), 2, EDGES_MAX)?;
        for (i, edge) in edges.iter().enumerate() {
            let rises = i == 0 || edge - edges[i - 1] >= 0.5 * EDGE_GAP;
            if !edge.is_finite() || edge.abs() > 1e9 || !rises {
                let want = format!("a finite number, {EDGE_GAP} above the one before");
                return Err(PolicyError::config(format!("{key}[{i}]"), edge, want));
            }
        }
        Ok(())
    }
}

impl PolicyConfig {
    /// Number of network inputs of one record: one per scalar, `history` per series, in
    /// the order of the features.
    pub fn inputs(&self) -> usize {
        self.features.iter().map(|f| f.encoder.history()).sum()
    }

    /// Number of records before a window used by its inputs.
    pub fn lookback(&self) -> usize {
        let longest = self.features.iter().map(|f| f.encoder.history()).max();
        longest.unwrap_or(1) - 1
    }

    /// Writes the inputs of one record, oldest value first within a series.
    /// `value(feature, back)` is the scaled value of a feature `back` records
    /// ago; `before` is the number of earlier records in the stream; `value` is never
    /// called for more.
    pub fn fill_inputs(
        &self,
        before: usize,
        value: impl Fn(usize, usize) -> f32,
        inputs: &mut [f32],
    ) {
        let mut rest = inputs.iter_mut();
        for (i, feature) in self.features.iter().enumerate() {
            let history = feature.encoder.history();
            for (back, input) in (0..history).rev().zip(&mut rest) {
                *input = value(i, back.min(before));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Feature;

    #[test]
    fn bins_are_quantiles_without_repetition() {
        let mut values: Vec<f32> = (0..1000).map(|i| (i / 10) as f32).collect();
        let Encoding::Bins { edges } = Encoding::bins(&mut values, 4) else {
            panic!("no bins");
        };
        assert_eq!(edges, [0.0, 24.0, 49.0, 74.0, 99.0]);
        // Two values, and one of them rare.
        let mut values = [vec![-0.5; 99], vec![2.0]].concat();
        let edges = vec![-0.5, 2.0];
        assert_eq!(Encoding::bins(&mut values, 64), Encoding::Bins { edges });
        assert_eq!(Encoding::bins(&mut [1.0; 5], 8), Encoding::None);
        assert_eq!(Encoding::bins(&mut [], 8), Encoding::None);
    }

    #[test]
    fn a_stream_starts_with_its_first_value() {
        let mut config = PolicyConfig::new("test", &Feature::PAPER7[..2]);
        config.features[1].encoder = EncoderConfig::series(4, 7);
        assert_eq!((config.inputs(), config.lookback()), (8, 6));
        let values = [10.0, 11.0, 12.0]; // of both features, oldest first
        let mut inputs = [0.0; 8];
        for (now, want) in [
            (0, [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0]),
            (2, [12.0, 10.0, 10.0, 10.0, 10.0, 10.0, 11.0, 12.0]),
        ] {
            config.fill_inputs(now, |_, back| values[now - back], &mut inputs);
            assert_eq!(inputs, want);
        }
    }
}
