//! Messages in, overrides out: all stages in order.

use std::num::{NonZeroU32, NonZeroU64};

use l4sllm_abi::{Limits, Message, Override, Params, Stream, Streams, SummaryInterval};
use l4sllm_model::IdleBudget;
use serde::{Deserialize, Serialize};

use crate::apply::{Apply, Basis, OverrideMode, Scope};
use crate::batch::{Batch, BatchState, Schedule, Scheduler};
use crate::engine::{Decision, Engine, Input, RestoreError};
use crate::metrics::{Metrics, Outcome};
use crate::plan::Plan;

/// Configuration of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Input of the engines.
    pub input: Input,
    /// Records of one scheduler instance between two decisions.
    pub interval: NonZeroU32,
    /// Time between two decisions on summaries, ns.
    pub period_ns: u64,
    /// Share of the link's time that may be idle; `None`: each engine's own.
    pub idle_budget: Option<IdleBudget>,
    /// How an action becomes an override. Set-point shifts are always `steer`.
    pub mode: OverrideMode,
    /// The packets that an action applies to.
    pub queue: Scope,
    /// Lifetime of an override from the time of the record that it is based on,
    /// ns.
    pub ttl_ns: u64,
    /// Maximum number of scheduler instances; records of others are counted and
    /// ignored, which bounds memory.
    pub max_instances: usize,
}

impl Default for PipelineConfig {
    fn default() -> PipelineConfig {
        PipelineConfig {
            input: Input::Records,
            interval: NonZeroU32::new(100).expect("not 0"),
            period_ns: 100_000_000,
            idle_budget: None,
            mode: OverrideMode::Once,
            queue: Scope::Same,
            ttl_ns: 1_000_000_000,
            max_instances: 1024,
        }
    }
}

impl PipelineConfig {
    /// Adapts the configuration to engines that decide on summaries with their
    /// own period. An override lasts for at least two of these periods.
    #[must_use]
    pub fn with_period(self, period_ns: u64) -> PipelineConfig {
        PipelineConfig {
            input: Input::Summaries,
            period_ns,
            ttl_ns: self.ttl_ns.max(2 * period_ns),
            ..self
        }
    }

    /// The streams to read.
    pub fn streams(&self) -> Streams {
        let summaries = SummaryInterval {
            period_ns: self.period_ns,
            decisions: 0,
        };
        match self.input {
            Input::Records => Streams::Records,
            Input::Summaries => Streams::Summaries(summaries),
            Input::Both => Streams::All(summaries),
        }
    }

    /// Milliseconds between two decisions on summaries; 0 if none are read.
    pub fn period_ms(&self) -> u64 {
        match self.input {
            Input::Records => 0,
            Input::Summaries | Input::Both => self.period_ns / 1_000_000,
        }
    }

    /// Whether an override of the rule expires before the next decision on
    /// summaries is due, so that plain DualPI2 decides in between. (The
    /// duration of an interval of records depends on the traffic.)
    pub fn ends_early(&self) -> bool {
        self.input != Input::Records && self.ttl_ns <= self.period_ns
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            input: self.input,
            interval: self.interval,
            period_ns: self.period_ns,
            idle_budget: self.idle_budget,
            max_instances: self.max_instances,
        }
    }
}

/// The stages of the daemon without I/O: messages in, overrides out, time as
/// an argument.
pub struct Pipeline {
    batch: Batch,
    apply: Apply,
    metrics: Metrics,
}

/// The state from which another pipeline continues to the bit, without counters
/// and pending outcomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineState {
    batch: BatchState,
    next_id: NonZeroU64,
}

/// A decision, and the record or summary on which it is based.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    decision: Decision,
    basis: Basis,
}

impl Decided {
    /// The decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The scheduler instance.
    pub fn scheduler(&self) -> Scheduler {
        self.basis.scheduler()
    }

    /// Time of the record or summary, ns of the device's clock.
    pub fn basis_ns(&self) -> u64 {
        self.basis.time_ns()
    }
}

impl Pipeline {
    /// Creates a pipeline. `make_engine` is called for each scheduler instance
    /// on its first record.
    pub fn new(
        config: PipelineConfig,
        make_engine: impl Fn(Scheduler) -> Box<dyn Engine> + Send + 'static,
    ) -> Pipeline {
        Pipeline {
            batch: Batch::new(config.schedule(), Box::new(make_engine)),
            apply: Apply::new(config.mode, config.queue, config.ttl_ns),
            metrics: Metrics::default(),
        }
    }

    /// Sets the device's parameters and limits, which are the defaults until
    /// then. Set-points chosen by engines become factors on these parameters
    /// within these limits.
    pub fn set_base(&mut self, params: Params, limits: Limits) {
        self.apply.set_base(params, limits);
    }

    /// Processes one message of the stream, in order, and decides immediately.
    /// `now_ns` is the device's monotonic clock. A returned override should be
    /// sent immediately, and its outcome passed to [`Pipeline::outcome`].
    pub fn push(&mut self, message: &Message, now_ns: u64) -> Option<Override> {
        let decided = self.decide(message, &mut Plan::all())?;
        self.order(&decided, now_ns)
    }

    /// Selects the intervals of a backlog to decide on: each instance's newest,
    /// unless its override would expire by `now_ns`, for at most `most`
    /// instances. The messages must then be passed to [`Pipeline::decide`] in
    /// order, without any other call in between.
    pub fn plan(&self, backlog: &[Message], most: usize, now_ns: u64) -> Plan {
        if backlog.len() < self.until_due() as usize {
            return Plan::all(); // completes no interval
        }
        let fresh = |time_ns| self.apply.expires_ns(time_ns) > now_ns;
        Plan::of(&self.batch, backlog, most, fresh)
    }

    /// Processes one message of the stream, in order. Decisions are computed
    /// here.
    pub fn decide(&mut self, message: &Message, plan: &mut Plan) -> Option<Decided> {
        let counters = &mut self.metrics.counters;
        self.batch.check_sequence(message, counters);
        match message {
            Message::Decision(record) => {
                let key = (Scheduler::of(record), Stream::Records);
                let left = plan.count_down(key, self.batch.interval().get());
                let decision = self.batch.observe(record, left, counters)?;
                let basis = Basis::record(record);
                Some(Decided { decision, basis })
            }
            Message::Summary(summary) => {
                let key = (Scheduler::of_summary(summary), Stream::Summaries);
                let left = plan.count_down(key, 1);
                let decision = self.batch.observe_summary(summary, left, counters)?;
                let basis = Basis::summary(summary);
                Some(Decided { decision, basis })
            }
            Message::Context(_) | Message::Loss { .. } | Message::Event(_) => None,
        }
    }

    /// Takes one decision that became ready after its record or summary, as those of
    /// a server do; `None` if there are no more.
    pub fn ready(&mut self) -> Option<Decided> {
        let (decision, basis) = self.batch.ready(&mut self.metrics.counters)?;
        Some(Decided { decision, basis })
    }

    /// Turns a decision into an override; `None` if it would have expired by
    /// `now_ns`.
    pub fn order(&mut self, decided: &Decided, now_ns: u64) -> Option<Override> {
        self.apply.order(
            &decided.decision,
            &decided.basis,
            now_ns,
            &mut self.metrics.counters,
        )
    }

    /// Counts the outcome of an override; `now_ns` is when it became known.
    /// Returns the time since its record was written, ns, if it was pending.
    pub fn outcome(&mut self, order: &Override, outcome: Outcome, now_ns: u64) -> Option<u64> {
        self.apply
            .outcome(order.id, outcome, now_ns, &mut self.metrics)
    }

    /// Number of messages before a decision can be due: a reader that waits for
    /// them misses none and does not wake needlessly.
    pub fn until_due(&self) -> u32 {
        self.batch.until_due()
    }

    /// Changes configuration and engines. Windows restart; the stream, the
    /// counters and the overrides' numbers continue.
    pub fn reconfigure(
        &mut self,
        config: PipelineConfig,
        make_engine: impl Fn(Scheduler) -> Box<dyn Engine> + Send + 'static,
    ) {
        let counters = &mut self.metrics.counters;
        self.batch
            .reconfigure(config.schedule(), Box::new(make_engine), counters);
        self.apply
            .reconfigure(config.mode, config.queue, config.ttl_ns);
    }

    /// Changes the idle budget without restarting windows.
    pub fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.batch.set_idle_budget(budget);
    }

    /// Counts unusable bytes of the stream; their messages are lost, so windows
    /// restart.
    pub fn torn(&mut self, bytes: usize) {
        let counters = &mut self.metrics.counters;
        counters.torn_reads += 1;
        counters.torn_bytes += bytes as u64;
        self.batch.reset(counters);
    }

    /// Starts with the first message of a new stream, as after reopening a
    /// device.
    pub fn restart(&mut self) {
        self.batch.restart(&mut self.metrics.counters);
        self.apply.abandon(&mut self.metrics.counters);
    }

    /// The state of all instances: windows, rules, merged summaries.
    pub fn save(&self) -> PipelineState {
        PipelineState {
            batch: self.batch.save(),
            next_id: self.apply.state().0,
        }
    }

    /// Continues from the state of another pipeline with the same configuration
    /// and engines.
    ///
    /// # Errors
    /// The state belongs to other engines, or is damaged.
    pub fn restore(&mut self, state: &PipelineState) -> Result<(), RestoreError> {
        self.batch
            .restore(&state.batch, &mut self.metrics.counters)?;
        self.apply.set_next_id(state.next_id);
        Ok(())
    }

    /// The parameters and limits that set-points are shifted from.
    pub fn base(&self) -> (&Params, &Limits) {
        let (_, params, limits) = self.apply.state();
        (params, limits)
    }

    /// Metrics so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}
