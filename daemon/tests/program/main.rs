//! The real program against emulated devices, in real time.
//!
//! Nothing here waits for a fixed time: each step waits for a log line, a
//! record or a counter, up to a deadline.

#![allow(clippy::unwrap_used)]

mod advice;
mod control;
mod engine;
mod fake;
mod flight;
mod flood;
mod harness;
mod loop_closed;
mod metrics;
mod misfortune;
mod overload;
mod planted;
mod promtool;
mod questions;
mod refusal;
mod sandbox;
