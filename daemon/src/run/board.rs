//! State published by the worker for the control task.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use l4sllm_abi::Override;
use l4sllm_model::IdleBudget;

use crate::clock::now_ns;
use crate::metrics::{Counters, Latency};
use crate::status::{DeviceStatus, EngineStatus, RemoteStatus, State};

/// Shared by the two threads. The lock is held only for copying, never while
/// deciding, reading or sending.
#[derive(Debug)]
pub(super) struct Board {
    live: Mutex<Live>,
    /// Start of the decision in progress, ns; 0: none is.
    deciding_since_ns: AtomicU64,
}

/// The state of the worker.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) state: State,
    pub(super) device: DeviceStatus,
    pub(super) engine: EngineStatus,
    pub(super) interval: u32,
    /// Time between decisions on summaries, ms; 0 if none are read.
    pub(super) period_ms: u64,
    pub(super) ttl_ms: u64,
    /// Budget set by the operator; none if each engine uses its own.
    pub(super) idle_budget: Option<IdleBudget>,
    pub(super) counters: Counters,
    /// The counters of a server's client, if the engine has one.
    pub(super) remote: Option<RemoteCounters>,
    /// The last override of set-points that was accepted.
    pub(super) steered: Option<Override>,
    /// Latency from a record until its override takes effect.
    pub(super) latency: Latency,
    /// Part of the latency spent computing the decision.
    pub(super) decision: Latency,
}

/// Reads the counters of the client of a server.
#[derive(Clone)]
pub(super) struct RemoteCounters(Arc<dyn Fn() -> RemoteStatus + Send + Sync>);

impl RemoteCounters {
    #[cfg(feature = "remote")]
    pub(super) fn new(read: impl Fn() -> RemoteStatus + Send + Sync + 'static) -> RemoteCounters {
        RemoteCounters(Arc::new(read))
    }

    pub(super) fn read(&self) -> RemoteStatus {
        (self.0)()
    }
}

impl std::fmt::Debug for RemoteCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.read().fmt(f)
    }
}

impl Board {
    pub(super) fn new(live: Live) -> Board {
        Board {
            live: Mutex::new(live),
            deciding_since_ns: AtomicU64::new(0),
        }
    }

    /// Locks the state.
    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        // The values are plain, so they stay consistent after a panic
        // elsewhere.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the start of a decision.
    pub(super) fn begin(&self, now_ns: u64) {
        // Only displayed; orders no other memory access.
        self.deciding_since_ns
            .store(now_ns.max(1), Ordering::Relaxed);
    }

    /// Marks the end of a decision.
    pub(super) fn end(&self) {
        self.deciding_since_ns.store(0, Ordering::Relaxed);
    }

    /// Duration of the current decision so far, ns.
    pub(super) fn deciding_ns(&self) -> Option<u64> {
        let since = self.deciding_since_ns.load(Ordering::Relaxed);
        (since != 0).then(|| now_ns().saturating_sub(since))
    }
}
