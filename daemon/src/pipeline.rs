//! Messages in, overrides out: the stages in their order.

use std::num::NonZeroU32;

use l4sllm_abi::{Limits, Message, Override, Params, Stream, Streams, SummaryInterval};
use l4sllm_model::IdleBudget;

use crate::apply::{Apply, Basis, OverrideMode, Scope};
use crate::batch::{Batch, Schedule, Scheduler};
use crate::engine::{Decision, Engine, Input};
use crate::metrics::{Metrics, Outcome};
use crate::plan::Plan;

/// What a pipeline does with decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineConfig {
    /// What the engines decide from.
    pub input: Input,
    /// Records of one scheduler instance between two decisions.
    pub interval: NonZeroU32,
    /// Time between two decisions on summaries, ns.
    pub period_ns: u64,
    /// Share of the link's time that may be idle; `None`: each engine's own.
    pub idle_budget: Option<IdleBudget>,
    /// How an action becomes an override. Set-point shifts are always `steer`.
    pub mode: OverrideMode,
    /// Whose packets an action is for.
    pub queue: Scope,
    /// Life of an override from the time of the record it is based on, ns.
    pub ttl_ns: u64,
    /// Scheduler instances that are decided for; records of others are counted
    /// and ignored, so that memory is bounded.
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
    /// The same for engines that decide from summaries of a period of their own.
    /// An override lives for two of these periods at least.
    #[must_use]
    pub fn with_period(self, period_ns: u64) -> PipelineConfig {
        PipelineConfig {
            input: Input::Summaries,
            period_ns,
            ttl_ns: self.ttl_ns.max(2 * period_ns),
            ..self
        }
    }

    /// The streams that have to be read.
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

    /// Milliseconds between two decisions on summaries; 0 where none are read.
    pub fn period_ms(&self) -> u64 {
        match self.input {
            Input::Records => 0,
            Input::Summaries | Input::Both => self.period_ns / 1_000_000,
        }
    }

    /// Whether an override of the rule ends before the next decision on
    /// summaries is due, and plain DualPI2 decides in between. (How long an
    /// interval of records lasts is the traffic's matter.)
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

/// A decision, and the record or summary that it is based on.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    decision: Decision,
    basis: Basis,
}

impl Pipeline {
    /// A pipeline that has seen nothing. `make_engine` is called for each
    /// scheduler instance on its first record.
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
    /// then. Set-points that engines decide on become factors on these
    /// parameters within these limits.
    pub fn set_base(&mut self, params: Params, limits: Limits) {
        self.apply.set_base(params, limits);
    }

    /// Takes one message of the stream, in order, and decides at once.
    /// `now_ns` is the device's monotonic clock. An override that is returned
    /// should be sent at once, and its outcome passed to
    /// [`Pipeline::outcome`].
    pub fn push(&mut self, message: &Message, now_ns: u64) -> Option<Override> {
        let decided = self.decide(message, &mut Plan::all())?;
        self.order(&decided, now_ns)
    }

    /// Chooses the intervals of a backlog to decide on: each instance's newest,
    /// unless an override on it would expire by `now_ns`, for at most `most`
    /// instances. The messages are then passed to [`Pipeline::decide`] in
    /// their order, with nothing in between.
    pub fn plan(&self, backlog: &[Message], most: usize, now_ns: u64) -> Plan {
        if backlog.len() < self.until_due() as usize {
            return Plan::all(); // completes no interval
        }
        let fresh = |time_ns| self.apply.expires_ns(time_ns) > now_ns;
        Plan::of(&self.batch, backlog, most, fresh)
    }

    /// Takes one message of the stream, in order. This is where the time goes
    /// that a decision takes.
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

    /// Makes an override of a decision; `None` when it would have expired by
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
    /// Returns its time since its record was written, ns, where it was
    /// outstanding.
    pub fn outcome(&mut self, order: &Override, outcome: Outcome, now_ns: u64) -> Option<u64> {
        self.apply
            .outcome(order.id, outcome, now_ns, &mut self.metrics)
    }

    /// Messages that must come before a decision can be due: a reader that
    /// waits for as many misses none and wakes for none in vain.
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
        self.batch
            .reconfigure(config.schedule(), Box::new(make_engine));
        self.apply
            .reconfigure(config.mode, config.queue, config.ttl_ns);
    }

    /// Changes how much of the link's time may be idle. Nothing restarts.
    pub fn set_idle_budget(&mut self, budget: Option<IdleBudget>) {
        self.batch.set_idle_budget(budget);
    }

    /// Counts unusable bytes of the stream: what they held is lost, so windows
    /// restart.
    pub fn torn(&mut self, bytes: usize) {
        let counters = &mut self.metrics.counters;
        counters.torn_reads += 1;
        counters.torn_bytes += bytes as u64;
        self.batch.reset(counters);
    }

    /// Starts with the first message of another stream, as after opening a
    /// device again.
    pub fn restart(&mut self) {
        self.batch.restart(&mut self.metrics.counters);
        self.apply.abandon(&mut self.metrics.counters);
    }

    /// What happened so far.
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
