//! The daemon that turns queue records into overrides.
//!
//! A record passes through the modules in this order: a [`device`] returns
//! messages, [`batch`] sorts them into one stream per scheduler instance and
//! determines when a decision is due, an [`engine`] makes the decision,
//! [`apply`] turns it into an override, and [`metrics`] accounts for
//! everything. [`Pipeline`] combines the stages from batch to metrics. It does
//! no I/O and has no clock: the emulator calls it in virtual time. [`run`] is
//! the program around it. A [`Plan`] skips decisions that would be too late.
//!
//! ```text
//! device ─▶ batch ─▶ engine ─▶ apply ─▶ device
//!             └────────┴─────────┴─▶ metrics ─▶ status
//! ```

pub mod advice;
pub mod apply;
pub mod batch;
pub mod clock;
pub mod config;
pub mod control;
pub mod device;
pub mod engine;
pub mod error;
pub mod files;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod os_error;
mod pipeline;
mod plan;
pub mod recorder;
pub mod replay;
pub mod run;
mod sandbox;
pub mod status;
mod unix_socket;

pub use apply::{OverrideMode, Scope};
pub use batch::Scheduler;
pub use engine::{Decision, Engine};
pub use metrics::{Counters, Metrics, Outcome};
pub use pipeline::{Decided, Pipeline, PipelineConfig, PipelineState};
pub use plan::Plan;
