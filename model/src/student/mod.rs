//! Students: networks in fixed point that steer a queue from inside the kernel.
//!
//! A student chooses set-points at the end of each period of summaries, without a
//! daemon. The kernel runs it (`kmod/student.[ch]`, loaded by `l4sllm student load`);
//! this module reads and writes its file and computes the same decisions to the bit,
//! for training and tests.
//!
//! ```text
//! Summary ─▶ period ─▶ signals ─▶ means ─▶ two hidden layers ─▶ set-points
//!            (merge)   log2, Q16  4 scales  int8 weights, tanh   log2, Q16
//! ```
//!
//! The formats and formulas are in `shared-abi/include/l4sllm_abi.h`.

mod file;
pub mod fixed;
mod network;
mod signals;
#[cfg(test)]
mod tests;
mod train;

pub use file::{Student, StudentError, StudentInput, StudentUnit};
pub use network::{OUTPUTS, factors};
pub use signals::{SCALES, SIGNALS, StudentState};
pub use train::{Lesson, STATES, TrainConfig, Trainee};

/// Names of the signals, by number, as in the header and in reports.
pub const SIGNAL_NAMES: [&str; SIGNALS] = [
    "idle",
    "p_mean",
    "p_max",
    "p_ripple",
    "delay_change",
    "delay",
    "delay_sd",
    "delay_max",
    "l4s_delay",
    "marks",
    "l4s_marks",
    "drops",
    "l4s_share",
    "rate",
    "volatility",
    "rate_change",
    "flows",
    "long_flows",
    "long_l4s_flows",
    "packets",
    "age",
    "target",
    "beta",
    "budget",
];
