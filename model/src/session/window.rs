//! Windows for a network that runs elsewhere, such as on another host.

use std::sync::Arc;

use l4sllm_abi::{Record, Summary};

use super::Ring;
use super::feed::Feed;
use super::state::{SessionState, StateError};
use crate::{ACTIONS, IdleBudget, PolicyConfig, Step, Taken};

/// The input of one decision: the last records or periods, oldest first, scaled by
/// the policy's configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// Requested return or idle budget of each, `[steps]`.
    pub returns: Vec<f32>,
    /// Inputs of the features, `[steps][inputs]`: see [`PolicyConfig::fill_inputs`].
    pub inputs: Vec<f32>,
    /// Action tokens, `[steps][k]`: see [`PolicyConfig::action_inputs`].
    pub actions: Vec<f32>,
}

impl Window {
    /// Number of records or periods.
    pub fn len(&self) -> usize {
        self.returns.len()
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.returns.is_empty()
    }

    /// The steps that a [`crate::Policy`] decides on; `None` if the lengths do not
    /// belong together, a number is not finite, or an action token on records has
    /// another value than those of the actions.
    pub fn steps(&self, config: &PolicyConfig) -> Option<Vec<Step>> {
        let (n, k) = (config.inputs(), config.action_inputs());
        let steps = self.len();
        let fits = (1..=config.window).contains(&steps)
            && self.inputs.len() == steps * n
            && self.actions.len() == steps * k;
        let numbers = [&self.returns, &self.inputs, &self.actions];
        if !fits || !numbers.into_iter().flatten().all(|value| value.is_finite()) {
            return None;
        }
        let step = |i: usize| {
            Some(Step {
                return_to_go: self.returns[i],
                inputs: self.inputs[i * n..][..n].to_vec(),
                action: taken(&self.actions[i * k..][..k])?,
            })
        };
        (0..steps).map(step).collect()
    }
}

/// The action of a token.
fn taken(numbers: &[f32]) -> Option<Taken> {
    match *numbers {
        [value] => (0..ACTIONS)
            .map(Taken::Action)
            .find(|action| action.numbers()[0] == value),
        [target, alpha, beta, coupling] => Some(Taken::SetPoints([target, alpha, beta, coupling])),
        _ => None,
    }
}

/// A [`crate::Session`] without a network: it returns the window of each decision
/// instead of its outputs.
pub struct WindowSession {
    config: Arc<PolicyConfig>,
    feed: Feed,
    ring: Ring,
}

impl WindowSession {
    /// As [`crate::Session::new`], for a policy of which only the configuration is
    /// known.
    pub fn new(config: Arc<PolicyConfig>, interval: usize) -> WindowSession {
        WindowSession {
            feed: Feed::new(&config, interval),
            ring: Ring::new(&config),
            config,
        }
    }

    /// As [`crate::Session::observe`].
    pub fn observe(&mut self, record: &Record) -> Option<Window> {
        match self.feed.record(&self.config, record) {
            true => self.take(),
            false => None,
        }
    }

    /// As [`crate::Session::observe_summary`].
    pub fn observe_summary(&mut self, summary: &Summary) -> Option<Window> {
        match self.feed.summary(&self.config, summary) {
            true => self.take(),
            false => None,
        }
    }

    /// As [`crate::Session::skip`].
    pub fn skip(&mut self, record: &Record, ahead: u32) {
        if self.feed.skip(&self.config, record, ahead) {
            self.keep();
        }
    }

    /// As [`crate::Session::set_idle_budget`].
    pub fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.feed.set_idle_budget(&self.config, budget);
    }

    /// As [`crate::Session::reset`].
    pub fn reset(&mut self) {
        self.feed.reset();
    }

    /// As [`crate::Session::save`].
    pub fn save(&self) -> SessionState {
        self.feed.save(self.ring.save())
    }

    /// As [`crate::Session::restore`].
    ///
    /// # Errors
    /// As [`crate::Session::restore`].
    pub fn restore(&mut self, state: &SessionState) -> Result<(), StateError> {
        self.feed.restore(state)?;
        self.ring.restore(&state.windows)
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<PolicyConfig> {
        &self.config
    }

    fn keep(&mut self) {
        let (stream, action) = (self.feed.stream(), self.feed.action());
        self.ring.keep(&self.config, stream, action);
    }

    fn take(&mut self) -> Option<Window> {
        self.keep();
        self.ring.window(&self.config, self.feed.stream())
    }
}
