//! From records or summaries to the newest input of a network: what every session
//! does, wherever the network runs.

use l4sllm_abi::{Record, Summary};

use super::state::{SessionState, StateError, WindowsState};
use super::stream::Stream;
use crate::set_points::SET_POINTS;
use crate::{HeadKind, IdleBudget, InputFeature, Periods, PolicyConfig, Taken};

/// The stream of one scheduler instance.
pub(super) struct Feed {
    interval: usize,
    stream: Stream,
    /// Value of the newest action token.
    action: [f32; SET_POINTS],
    /// Merges summaries; none for a policy on records.
    periods: Option<Periods>,
}

impl Feed {
    /// As [`crate::Session::new`].
    pub(super) fn new(config: &PolicyConfig, interval: usize) -> Feed {
        let interval = match config.is_on_summaries() {
            true => 1,
            false => interval,
        };
        Feed {
            interval,
            stream: Stream::new(config, interval),
            action: [0.0; SET_POINTS],
            periods: config.period_ns().map(Periods::of),
        }
    }

    /// Records or periods between two decisions.
    pub(super) fn interval(&self) -> usize {
        self.interval
    }

    /// The newest record or period.
    #[inline]
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Value of its action token.
    #[inline]
    pub(super) fn action(&self) -> &[f32; SET_POINTS] {
        &self.action
    }

    /// Adds a record; true if a window contains it.
    #[inline]
    pub(super) fn record(&mut self, config: &PolicyConfig, record: &Record) -> bool {
        if config.is_on_summaries() || !self.stream.take(config, |f| f.of_record(record)) {
            return false;
        }
        self.action = Taken::Action(record.action() as usize).numbers();
        true
    }

    /// Adds a record at least `ahead` records before the next decision; true if a
    /// window contains it.
    pub(super) fn skip(&mut self, config: &PolicyConfig, record: &Record, ahead: u32) -> bool {
        let value = |f: InputFeature| f.of_record(record);
        if config.is_on_summaries() || !self.stream.advance(config, value, ahead.into()) {
            return false;
        }
        self.action = Taken::Action(record.action() as usize).numbers();
        true
    }

    /// Adds a summary of any length; true if it completes a period.
    pub(super) fn summary(&mut self, config: &PolicyConfig, summary: &Summary) -> bool {
        let (Some(periods), HeadKind::SetPoints(head)) = (&mut self.periods, &config.head.kind)
        else {
            return false;
        };
        let Some(period) = periods.add(summary) else {
            return false;
        };
        self.action = Taken::SetPoints(head.in_force(&period)).numbers();
        self.stream.take(config, |f| f.of_period(&period));
        true
    }

    /// As [`crate::Session::set_idle_budget`].
    pub(super) fn set_idle_budget(&mut self, config: &PolicyConfig, budget: Option<IdleBudget>) {
        if config.is_on_summaries() {
            let share = budget.map_or(config.returns.target, IdleBudget::share);
            self.stream.set_target(config.returns.scaling.apply(share));
        }
    }

    /// As [`crate::Session::reset`].
    pub(super) fn reset(&mut self) {
        self.stream.reset();
        if let Some(periods) = &mut self.periods {
            periods.reset();
        }
    }

    /// The state, with that of the windows.
    pub(super) fn save(&self, windows: WindowsState) -> SessionState {
        SessionState {
            stream: self.stream.save(),
            windows,
            action: self.action,
            periods: self.periods.as_ref().map(Periods::save),
        }
    }

    /// Continues from a state.
    pub(super) fn restore(&mut self, state: &SessionState) -> Result<(), StateError> {
        self.stream.restore(&state.stream)?;
        self.action = state.action;
        match (&mut self.periods, &state.periods) {
            (None, None) => Ok(()),
            (Some(periods), Some(state)) => periods.restore(state),
            _ => Err(StateError::Shape("periods")),
        }
    }
}
