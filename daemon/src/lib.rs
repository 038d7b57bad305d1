//! The daemon that turns queue records into overrides.
//!
//! A record's way through it is the list of modules: [`batch`] sorts messages
//! into one stream per scheduler instance and says when a decision is due,
//! an [`engine`] makes the decision, [`apply`] makes an override of it and
//! [`metrics`] accounts for everything. [`Pipeline`] puts these together. It
//! does no I/O and has no clock: the emulator calls it in virtual time.

pub mod apply;
pub mod batch;
pub mod engine;
pub mod metrics;
mod pipeline;

pub use apply::{OverrideMode, Scope};
pub use batch::Scheduler;
pub use engine::{Decision, Engine};
pub use metrics::{Metrics, Outcome};
pub use pipeline::{Pipeline, PipelineConfig};
