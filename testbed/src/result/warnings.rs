//! Warnings about results that may be meaningless.

use serde::{Deserialize, Serialize};

/// A reason why a result, or a part of it, may be meaningless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Code for programs: one of this module's constants.
    pub code: String,
    /// Explanation in words.
    pub text: String,
    /// Name of the scenario.
    pub cell: String,
    /// The arm; none for every arm.
    pub arm: Option<String>,
}

/// The bottleneck is no slower than the access links together.
pub const BOTTLENECK_NOT_SLOWEST: &str = "bottleneck-not-slowest";
/// No packet waited longer than the transmission of one.
pub const QUEUE_NEVER_BUILT: &str = "queue-never-built";
/// A flow of the scenario sent nothing.
pub const FLOW_NEVER_STARTED: &str = "flow-never-started";
