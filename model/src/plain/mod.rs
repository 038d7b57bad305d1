//! The plain engine: GPT-2 in Rust, f32, without libtorch.
//!
//! ```text
//! session ─▶ forward ─▶ matmul ─▶ vector
//! windows    layers     panels    registers
//! ```

pub(crate) mod forward;
mod matmul;
pub(crate) mod scratch;
pub(crate) mod session;
pub(crate) mod shape;
mod vector;
pub(crate) mod weights;
