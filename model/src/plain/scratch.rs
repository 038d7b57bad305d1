//! Memory of a pass.

use super::matmul::LANES;
use super::shape::Shape;
use crate::PolicyConfig;

/// Memory for the intermediate results of up to `rows` tokens.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Tokens with their time embedding; the input of a pass.
    pub(crate) tokens: Vec<f32>, // [rows][d]
    pub(super) x: Vec<f32>,      // [rows][d], the residual stream
    pub(super) normed: Vec<f32>, // [rows][d]
    pub(super) query: Vec<f32>,  // [rows][d]
    pub(super) key: Vec<f32>,    // [rows][d]
    pub(super) value: Vec<f32>,  // [rows][d]
    pub(super) mixed: Vec<f32>,  // [rows][d]
    pub(super) scores: Vec<f32>, // [rows][capacity], one head at a time
    pub(super) hidden: Vec<f32>, // [rows][m]
}

impl Scratch {
    pub(crate) fn new(config: &PolicyConfig, shape: &Shape, rows: usize) -> Scratch {
        let zeros = |width: usize| vec![0.0; rows * width];
        let d = shape.width;
        Scratch {
            tokens: zeros(d),
            x: zeros(d),
            normed: zeros(d),
            query: zeros(d),
            key: zeros(d),
            value: zeros(d),
            mixed: zeros(d),
            scores: zeros(config.tokens().next_multiple_of(LANES)),
            hidden: zeros(shape.mlp),
        }
    }
}
