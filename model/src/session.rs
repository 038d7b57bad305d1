//! One stream of records, decided upon after every `interval` of them, or one
//! of summaries, decided upon after every period.
//!
//! ```text
//! Record, or Summaries ─▶ stream      ─▶ windows                          ─▶ outputs
//! merged to a period      scaled inputs  plain: cached, fed as records come
//!                                        libtorch: kept, one dense pass at the boundary
//! ```

pub(crate) mod stream;

use std::sync::Arc;

use l4sllm_abi::{Record, Summary};

use crate::plain::session::Windows as PlainWindows;
use crate::policy::Loaded;
use crate::set_points::SET_POINTS;
#[cfg(feature = "torch")]
use crate::torch::session::Windows as TorchWindows;
use crate::{ACTIONS, HeadKind, IdleBudget, Outputs, Policy, PolicyError, Taken};
use stream::Stream;

/// Makes decisions on one scheduler instance, with whatever engine its policy
/// was loaded into.
pub struct Session {
    policy: Arc<Policy>,
    stream: Stream,
    windows: Windows,
    /// What the newest action token is made of.
    action: [f32; SET_POINTS],
    /// Summaries of a period that is not over.
    pending: Option<Box<Summary>>,
}

/// The windows that are under way.
enum Windows {
    Plain(Box<PlainWindows>),
    #[cfg(feature = "torch")]
    Torch(TorchWindows),
}

/// What a network was shown of the newest record or period, scaled: the
/// numbers of one [`crate::Step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Newest<'a> {
    /// Return, or idle budget, asked for.
    pub return_to_go: f32,
    /// Inputs of the features: see [`crate::PolicyConfig::fill_inputs`].
    pub inputs: &'a [f32],
    /// Action token: one number on records, [`SET_POINTS`] on summaries.
    pub action: &'a [f32],
}

impl Session {
    /// A session that decides after every `interval` records, at least 1; of a
    /// policy on summaries, after every period of its own.
    pub fn new(policy: Arc<Policy>, interval: usize) -> Session {
        let config = policy.config();
        let interval = match config.is_on_summaries() {
            true => 1,
            false => interval,
        };
        let stream = Stream::new(config, interval);
        let windows = match policy.loaded() {
            Loaded::Plain(weights) => {
                let windows = PlainWindows::new(config, Arc::clone(weights), interval);
                Windows::Plain(Box::new(windows))
            }
            #[cfg(feature = "torch")]
            Loaded::Torch(network) => {
                Windows::Torch(TorchWindows::new(config, Arc::clone(network)))
            }
        };
        Session {
            policy,
            stream,
            windows,
            action: [0.0; SET_POINTS],
            pending: None,
        }
    }

    /// Takes the next record of the stream.  On the one that completes an
    /// interval, returns the probabilities of enqueue, drop and mark.  A policy
    /// on summaries has nothing to say to a record.
    ///
    /// The first windows after the start or a reset hold the records there are.
    ///
    /// # Errors
    /// libtorch refused; the plain engine has nothing to fail with.  The
    /// stream continues without this decision.
    #[inline]
    pub fn observe(&mut self, record: &Record) -> Result<Option<[f32; ACTIONS]>, PolicyError> {
        let config = self.policy.config();
        if config.is_on_summaries() || !self.stream.take(config, |f| f.of_record(record)) {
            return Ok(None);
        }
        self.action = Taken::Action(record.action() as usize).numbers();
        let outputs = self.decide()?;
        Ok(outputs.map(|[enqueue, drop, mark, ..]| [enqueue, drop, mark]))
    }

    /// Takes the next summary of the stream, which may be of any length.  On
    /// the one that completes a period, returns the head's outputs: see
    /// [`crate::SetPointHead::set_points`].  A policy on records has nothing to
    /// say to a summary.
    ///
    /// # Errors
    /// As [`Session::observe`].
    pub fn observe_summary(&mut self, summary: &Summary) -> Result<Option<Outputs>, PolicyError> {
        let config = self.policy.config();
        let (Some(period_ns), HeadKind::SetPoints(head)) = (config.period_ns(), &config.head.kind)
        else {
            return Ok(None);
        };
        let period = match self.pending.take() {
            Some(mut pending) => {
                pending.merge(summary);
                pending
            }
            None => Box::new(*summary),
        };
        if period.duration_ns() < period_ns {
            self.pending = Some(period);
            return Ok(None);
        }
        self.action = Taken::SetPoints(head.in_force(&period)).numbers();
        self.stream.take(config, |f| f.of_summary(&period));
        self.decide()
    }

    /// Decides, if the newest record of the stream ends an interval.
    #[inline]
    fn decide(&mut self) -> Result<Option<Outputs>, PolicyError> {
        let config = self.policy.config();
        match &mut self.windows {
            Windows::Plain(windows) => Ok(windows.take(config, &self.stream, &self.action)),
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.take(config, &self.stream, &self.action),
        }
    }

    /// Takes the next record of the stream without deciding, whether it
    /// completes an interval or not.  `ahead` more records follow, or more,
    /// before the one to decide on, whose window is complete nevertheless.
    /// Costs next to nothing where that window begins later, and no pass
    /// through the network in any case.
    pub fn skip(&mut self, record: &Record, ahead: u32) {
        let config = self.policy.config();
        let value = |f: crate::InputFeature| f.of_record(record);
        if config.is_on_summaries() || !self.stream.advance(config, value, ahead.into()) {
            return;
        }
        self.action = Taken::Action(record.action() as usize).numbers();
        match &mut self.windows {
            Windows::Plain(windows) => windows.keep(config, &self.stream, &self.action),
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.keep(config, &self.stream, &self.action),
        }
    }

    /// Asks a policy on summaries to keep this idle budget, from the next
    /// period on; `None`: its own.  Nothing to a policy on records.
    pub fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        let config = self.policy.config();
        if config.is_on_summaries() {
            let share = budget.map_or(config.returns.target, IdleBudget::share);
            self.stream.set_target(config.returns.scaling.apply(share));
        }
    }

    /// What the network was shown of the newest record or period that a window
    /// holds.
    pub fn newest(&self) -> Newest<'_> {
        Newest {
            return_to_go: self.stream.target(),
            inputs: self.stream.inputs(),
            action: &self.action[..self.policy.config().action_inputs()],
        }
    }

    /// Forgets all records: what comes next does not follow what came before.
    /// The next interval or period starts here.
    pub fn reset(&mut self) {
        self.stream.reset();
        self.pending = None;
    }

    /// The policy that decides.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}
