//! Training in the loop of policies that choose set-points: from what settings
//! cost in conditions, and what a policy saw there, to a policy that chooses
//! them by what it sees.
//!
//! ```text
//! runs of a condition at a grid of settings ─▶ judged ─▶ surfaces: delay, loss, harm
//! runs of the policy, and of its teachers ───▶ visits: what was seen, by period
//! lesson = surfaces + visits ─▶ trainer: Σ cost(surfaces, setting chosen, budget) ─▶ min
//! ```
//!
//! A lesson whose visits include those of the policy's own runs trains it on
//! the states that it gets into (DAgger, Ross et al. 2011). A lesson whose
//! surfaces are around the policy's own actions improves it: evolution
//! strategies in the space of actions, with antithetic perturbations and common
//! random numbers (Salimans et al. 2017).

mod cost;
mod judged;
mod lesson;
mod setting;
mod surfaces;
mod trainer;

#[cfg(test)]
mod tests;

pub use judged::Judged;
pub use lesson::{Lesson, Visit, scaled};
pub use setting::{AXES, PlaneSetting};
pub use surfaces::{Grid, Surfaces};
pub use trainer::{LearnConfig, Learned, OnlineTrainer};
