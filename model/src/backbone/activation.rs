//! Activation functions, by Hugging Face's names.

use serde::{Deserialize, Serialize};

/// Between the two layers of a feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU by tanh, as in GPT-2.
    GeluNew,
    /// GELU by tanh, PyTorch's version.
    GeluPytorchTanh,
    /// GELU by tanh, with a shorter constant.
    GeluFast,
    /// GELU by the error function.
    Gelu,
    /// x σ(1.702 x).
    QuickGelu,
    /// max(x, 0).
    Relu,
    /// x σ(x).
    Silu,
    /// x σ(x).
    Swish,
}
