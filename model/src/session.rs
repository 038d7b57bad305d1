//! One stream of records with a decision after every `interval` records, or one
//! stream of summaries with a decision after every period.
//!
//! ```text
//! Record, or Summaries ─▶ stream      ─▶ windows                          ─▶ outputs
//! merged to a period      scaled inputs  plain: cached, fed as records come
//!                                        libtorch: kept, one dense pass at the boundary
//! ```

mod feed;
mod ring;
pub(crate) mod state;
pub(crate) mod stream;
mod window;

use std::sync::Arc;

use l4sllm_abi::{Record, Summary};

use crate::plain::session::Windows as PlainWindows;
use crate::policy::Loaded;
#[cfg(feature = "torch")]
use crate::torch::session::Windows as TorchWindows;
use crate::{ACTIONS, IdleBudget, Outputs, Policy, PolicyError};
use feed::Feed;
pub(crate) use ring::Ring;
use state::{SessionState, StateError, WindowsState};
pub use window::{Window, WindowSession};

/// Decides for one scheduler instance, with the engine into which its policy was
/// loaded.
pub struct Session {
    policy: Arc<Policy>,
    feed: Feed,
    windows: Windows,
}

/// The open windows.
enum Windows {
    Plain(Box<PlainWindows>),
    #[cfg(feature = "torch")]
    Torch(TorchWindows),
}

/// Scaled input of a network for the newest record or period: the values of one
/// [`crate::Step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Newest<'a> {
    /// Requested return or idle budget.
    pub return_to_go: f32,
    /// Inputs of the features: see [`crate::PolicyConfig::fill_inputs`].
    pub inputs: &'a [f32],
    /// Action token: one number for records, [`SET_POINTS`] numbers for summaries.
    pub action: &'a [f32],
}

impl Session {
    /// Creates a session that decides after every `interval` records, at least 1,
    /// or, for a policy on summaries, after every period.
    pub fn new(policy: Arc<Policy>, interval: usize) -> Session {
        let config = policy.config();
        let feed = Feed::new(config, interval);
        let windows = match policy.loaded() {
            Loaded::Plain(weights) => {
                let windows = PlainWindows::new(config, Arc::clone(weights), feed.interval());
                Windows::Plain(Box::new(windows))
            }
            #[cfg(feature = "torch")]
            Loaded::Torch(network) => {
                Windows::Torch(TorchWindows::new(config, Arc::clone(network)))
            }
        };
        Session {
            policy,
            feed,
            windows,
        }
    }

    /// Adds the next record of the stream. If it completes an interval, returns
    /// the probabilities of enqueue, drop and mark. A policy on summaries ignores
    /// records.
    ///
    /// The first windows after the start or a reset contain only the records
    /// available.
    ///
    /// # Errors
    /// libtorch failed; the plain engine never fails. The stream continues without
    /// this decision.
    #[inline]
    pub fn observe(&mut self, record: &Record) -> Result<Option<[f32; ACTIONS]>, PolicyError> {
        if !self.feed.record(self.policy.config(), record) {
            return Ok(None);
        }
        let outputs = self.decide()?;
        Ok(outputs.map(|[enqueue, drop, mark, ..]| [enqueue, drop, mark]))
    }

    /// Adds the next summary of the stream, of any length. If it completes a
    /// period, returns the head's outputs: see
    /// [`crate::SetPointHead::set_points`]. A policy on records ignores
    /// summaries.
    ///
    /// # Errors
    /// As [`Session::observe`].
    pub fn observe_summary(&mut self, summary: &Summary) -> Result<Option<Outputs>, PolicyError> {
        if !self.feed.summary(self.policy.config(), summary) {
            return Ok(None);
        }
        self.decide()
    }

    /// Decides if the newest record of the stream ends an interval.
    #[inline]
    fn decide(&mut self) -> Result<Option<Outputs>, PolicyError> {
        let config = self.policy.config();
        match &mut self.windows {
            Windows::Plain(windows) => {
                Ok(windows.take(config, self.feed.stream(), self.feed.action()))
            }
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.take(config, self.feed.stream(), self.feed.action()),
        }
    }

    /// Adds the next record of the stream without deciding, even if it
    /// completes an interval. At least `ahead` more records must follow before
    /// the next decision, which still has a complete window. The cost is
    /// negligible if that window begins later, and the network never runs.
    pub fn skip(&mut self, record: &Record, ahead: u32) {
        let config = self.policy.config();
        if !self.feed.skip(config, record, ahead) {
            return;
        }
        match &mut self.windows {
            Windows::Plain(windows) => windows.keep(config, self.feed.stream(), self.feed.action()),
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.keep(config, self.feed.stream(), self.feed.action()),
        }
    }

    /// Sets the idle budget requested from a policy on summaries, starting with
    /// the next period; `None`: the policy's own. Ignored by a policy on
    /// records.
    pub fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.feed.set_idle_budget(self.policy.config(), budget);
    }

    /// Network input of the newest record or period that a window contains.
    pub fn newest(&self) -> Newest<'_> {
        Newest {
            return_to_go: self.feed.stream().target(),
            inputs: self.feed.stream().inputs(),
            action: &self.feed.action()[..self.policy.config().action_inputs()],
        }
    }

    /// Discards all records, because the following ones do not continue them.
    /// The next interval or period starts here.
    pub fn reset(&mut self) {
        self.feed.reset();
    }

    /// The state from which another session of the same policy and interval
    /// continues to the bit.
    pub fn save(&self) -> SessionState {
        self.feed.save(match &self.windows {
            Windows::Plain(windows) => WindowsState::Plain(windows.recent().to_vec()),
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.save(),
        })
    }

    /// Continues from the state of another session of the same policy and
    /// interval.
    ///
    /// # Errors
    /// The state is that of another policy or engine, or damaged. The session
    /// must then be discarded.
    pub fn restore(&mut self, state: &SessionState) -> Result<(), StateError> {
        self.feed.restore(state)?;
        match (&mut self.windows, &state.windows) {
            (Windows::Plain(windows), WindowsState::Plain(recent)) => windows.restore(recent)?,
            #[cfg(feature = "torch")]
            (Windows::Torch(windows), WindowsState::Torch { .. }) => {
                windows.restore(&state.windows)?;
            }
            #[cfg_attr(not(feature = "torch"), allow(unreachable_patterns))]
            _ => return Err(StateError::Engine),
        }
        Ok(())
    }

    /// The policy.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}
