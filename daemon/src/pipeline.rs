//! Messages in, overrides out: the stages in their order.

use std::num::NonZeroU32;

use l4sllm_abi::{Message, Override};

use crate::apply::{Apply, OverrideMode, Scope};
use crate::batch::{Batch, Scheduler};
use crate::engine::Engine;
use crate::metrics::{Metrics, Outcome};

/// What a pipeline does with decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Records of one scheduler instance between two decisions.
    pub interval: NonZeroU32,
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
            interval: NonZeroU32::new(100).expect("not 0"),
            mode: OverrideMode::Once,
            queue: Scope::Same,
            ttl_ns: 1_000_000_000,
            max_instances: 1024,
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

impl Pipeline {
    /// A pipeline that has seen nothing. `make_engine` is called for each
    /// scheduler instance on its first record.
    pub fn new(
        config: PipelineConfig,
        make_engine: impl Fn(Scheduler) -> Box<dyn Engine> + Send + 'static,
    ) -> Pipeline {
        Pipeline {
            batch: Batch::new(config.interval, config.max_instances, Box::new(make_engine)),
            apply: Apply::new(config.mode, config.queue, config.ttl_ns),
            metrics: Metrics::default(),
        }
    }

    /// Takes one message of the stream, in order. `now_ns` is the device's
    /// monotonic clock. An override that is returned should be sent at once
    /// and its fate told to [`Pipeline::outcome`].
    pub fn push(&mut self, message: &Message, now_ns: u64) -> Option<Override> {
        self.batch.check_sequence(message, &mut self.metrics);
        let Message::Decision(record) = message else {
            return None;
        };
        let decision = self.batch.observe(record, &mut self.metrics)?;
        self.apply
            .order(&decision, record, now_ns, &mut self.metrics)
    }

    /// Tells what became of an override; `now_ns` is when that was known.
    pub fn outcome(&mut self, order: &Override, outcome: Outcome, now_ns: u64) {
        self.apply
            .outcome(order.id, outcome, now_ns, &mut self.metrics);
    }

    /// Messages that must come before a decision can be due: a reader that
    /// waits for as many misses none and wakes for none in vain.
    pub fn until_due(&self) -> u32 {
        self.batch.until_due()
    }

    /// Changes configuration and engines. The stream, the counters and the
    /// overrides' numbers go on; windows start anew.
    pub fn reconfigure(
        &mut self,
        config: PipelineConfig,
        make_engine: impl Fn(Scheduler) -> Box<dyn Engine> + Send + 'static,
    ) {
        self.batch
            .reconfigure(config.interval, config.max_instances, Box::new(make_engine));
        self.apply
            .reconfigure(config.mode, config.queue, config.ttl_ns);
    }

    /// Tells that bytes of the stream were unusable, and how many: what they
    /// held is lost, so windows start anew.
    pub fn torn(&mut self, bytes: usize) {
        self.metrics.torn_reads += 1;
        self.metrics.torn_bytes += bytes as u64;
        self.batch.reset(&mut self.metrics);
    }

    /// Tells that the stream begins again, as after opening a device anew.
    pub fn restart(&mut self) {
        self.batch.restart(&mut self.metrics);
        self.apply.abandon(&mut self.metrics);
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
