//! Warnings about results that show less than they seem to.

use serde::{Deserialize, Serialize};

/// Why a result, or a part of it, shows less than it seems to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is, for programs: one of this module's constants.
    pub code: String,
    /// What it is, for people.
    pub text: String,
    /// Name of the scenario.
    pub cell: String,
    /// The arm; none: every arm.
    pub arm: Option<String>,
}

/// The bottleneck is no slower than the access links together.
pub const BOTTLENECK_NOT_SLOWEST: &str = "bottleneck-not-slowest";
/// No packet waited longer than the transmission of one.
pub const QUEUE_NEVER_BUILT: &str = "queue-never-built";
/// A flow of the scenario sent nothing.
pub const FLOW_NEVER_STARTED: &str = "flow-never-started";
