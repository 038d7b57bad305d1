//! In-the-loop training of policies that choose set-points, from the costs of settings
//! in each condition and from what the policy observed there.
//!
//! ```text
//! runs of a condition at a grid of settings ─▶ scores ─▶ surfaces: delay, loss, harm
//! runs of the policy, and of its teachers ───▶ visits: what was seen, by period
//! lesson = surfaces + visits ─▶ trainer: Σ cost(surfaces, setting chosen, budget) ─▶ min
//! ```
//!
//! A lesson with visits from the policy's own runs trains it on the states that it
//! reaches (DAgger, Ross et al. 2011). A lesson with surfaces around the policy's own
//! actions improves it: evolution strategies in action space with antithetic
//! perturbations and common random numbers (Salimans et al. 2017). Between lessons,
//! dual ascent on each family's loss of utilisation sets the price of further losses,
//! and the worst conditions gain weight ([`Emphasis`]).

mod cost;
mod emphasis;
mod lesson;
mod setting;
mod surfaces;
mod trainer;

#[cfg(test)]
mod tests;

pub use crate::Judged;
pub use emphasis::{Emphasis, Multipliers, Standing};
pub use lesson::{Lesson, Visit, scaled};
pub use setting::{AXES, PlaneSetting};
pub use surfaces::{Grid, Surfaces};
pub use trainer::{LearnConfig, Learned, OnlineTrainer};
