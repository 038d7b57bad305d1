//! Tests of the complete emulator: properties of DualPI2, baselines, overrides,
//! accounting and reproducibility.
//!
//! Runs are short and tolerances wide, because these tests check properties, not
//! exact numbers.

// Tests stop at the first error.
#![allow(clippy::unwrap_used)]

mod adaptive;
mod applications;
mod baselines;
mod bbr;
mod capture;
mod coexistence;
mod dualpi2;
mod experiment;
mod flow_weights;
mod links;
mod overrides;
mod policy;
mod reproducible;
mod shared_file;
mod student;
mod support;
