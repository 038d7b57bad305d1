//! The emulator as a whole: what DualPI2 promises, what the baselines do,
//! what an override changes, and that everything is accounted for and repeats.
//!
//! Runs are short and their tolerances wide: a promise is checked, not a number.

// Tests stop at the first surprise.
#![allow(clippy::unwrap_used)]

mod adaptive;
mod applications;
mod baselines;
mod coexistence;
mod dualpi2;
mod experiment;
mod flow_weights;
mod links;
mod overrides;
mod policy;
mod reproducible;
mod support;
