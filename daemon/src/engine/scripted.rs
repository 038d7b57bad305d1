//! An engine that makes given decisions at given times.

use l4sllm_abi::Record;

use super::state::ScriptState;
use super::{Decision, Engine, EngineState, RestoreError};

/// One decision of a script.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Time, ns after the script's origin.
    pub at_ns: u64,
    /// The decision.
    pub decision: Decision,
}

/// Returns each step on the first record at or after its time.
#[derive(Debug, Clone)]
pub struct Scripted {
    origin_ns: Option<u64>,
    /// Steps in reverse order of time.
    steps: Vec<Step>,
}

impl Scripted {
    /// A script with times relative to `origin_ns` of the device's clock, or to
    /// the first record if that is `None`.
    pub fn new(origin_ns: Option<u64>, mut steps: Vec<Step>) -> Scripted {
        steps.sort_by_key(|s| std::cmp::Reverse(s.at_ns));
        Scripted { origin_ns, steps }
    }
}

impl Engine for Scripted {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        let origin = *self.origin_ns.get_or_insert(record.time_ns());
        let elapsed = record.time_ns().saturating_sub(origin);
        self.steps
            .last()
            .is_some_and(|s| s.at_ns <= elapsed)
            .then(|| self.steps.pop())?
            .map(|s| s.decision)
    }

    /// A step that becomes due here is kept for the next observed record.
    fn skip(&mut self, record: &Record, _ahead: u32) {
        self.origin_ns.get_or_insert(record.time_ns());
    }

    fn save(&self) -> EngineState {
        EngineState {
            script: Some(ScriptState {
                origin_ns: self.origin_ns,
                steps_left: self.steps.len() as u64,
            }),
            ..EngineState::default()
        }
    }

    fn restore(&mut self, state: &EngineState) -> Result<(), RestoreError> {
        let script = state.script.ok_or(RestoreError::Missing)?;
        self.origin_ns = script.origin_ns;
        self.steps.truncate(script.steps_left as usize);
        Ok(())
    }

    /// Lost records change nothing, because the script depends only on time.
    fn reset(&mut self) {}
}
