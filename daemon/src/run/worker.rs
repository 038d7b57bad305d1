//! The thread that reads records, decides and sends overrides.
//!
//! A decision may take microseconds or, with a large model, seconds. It is made
//! in the thread that reads the record and sends the override, because handing
//! it over to another thread would add latency. Nothing else happens there:
//! signals, status requests and reloads belong to the control task, which sends
//! orders through a queue of two and reads the [`Board`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use l4sllm_abi::Refusal;
use l4sllm_model::throttle::Throttle;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::Engines;
use super::backoff::Backoff;
use super::board::{Board, Live};
use super::orders::{End, Order};
use super::turns::Turns;
use crate::advice::{self, Advice};
use crate::config::Config;
use crate::control::Choice;
use crate::error::Error;
use crate::files::Files;
use crate::pipeline::{Pipeline, PipelineConfig};
use crate::recorder::Recorder;
use crate::status::{DeviceStatus, State};

/// Capacity of the order queue: at most one reload, and the stop.
const ORDERS: usize = 2;

/// The device's side of the program.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) config: Config,
    pub(super) files: Arc<Files>,
    pub(super) pipeline: Pipeline,
    /// The configured engines.
    pub(super) configured: Engines,
    /// The engines in use: the configured ones, or those selected by the
    /// operator.
    pub(super) engines: Engines,
    /// The engines selected last.
    pub(super) choice: Choice,
    /// Whether the device must be released, to end overrides and the watchdog.
    pub(super) releases: bool,
    pub(super) advice_source: Box<dyn advice::Source>,
    /// The last advice that was read successfully.
    pub(super) advice_read: Option<Advice>,
    /// The advice in effect.
    pub(super) advice: Advice,
    /// Polling interval for advice if the stream is idle.
    pub(super) patience: Duration,
    /// The configuration with the advice applied.
    pub(super) in_force: PipelineConfig,
    pub(super) board: Arc<Board>,
    pub(super) turns: Turns,
    pub(super) backoff: Backoff,
    pub(super) opened: u64,
    pub(super) torn_in_a_row: u32,
    /// The flight recorder, if it is on.
    pub(super) recorder: Option<Recorder>,
    pub(super) logs: Logs,
}

/// Throttles for log messages.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) lost_device: Throttle,
    pub(super) opened: Throttle,
    pub(super) loss: Throttle,
    pub(super) torn: Throttle,
    pub(super) watchdog: Throttle,
    pub(super) event: Throttle,
    pub(super) advice: Throttle,
    pub(super) missing: Throttle,
    /// Refusals by [`Refusal`]; the first is logged as a warning, further ones
    /// at debug level.
    pub(super) refusals: [bool; Refusal::ALL.len()],
}

impl Worker {
    pub(super) fn new(config: Config, files: Arc<Files>, engines: Engines) -> Worker {
        let in_force = engines.over(&config.pipeline);
        let live = Live {
            state: State::Waiting,
            device: DeviceStatus {
                path: config.device.path.clone(),
                module: None,
                abi: None,
                opened: 0,
            },
            engine: engines.status().clone(),
            interval: in_force.interval.get(),
            period_ms: in_force.period_ms(),
            ttl_ms: in_force.ttl_ns / 1_000_000,
            idle_budget: in_force.idle_budget,
            counters: Default::default(),
            remote: engines.remote_counters(),
            steered: None,
            latency: Default::default(),
            decision: Default::default(),
        };
        Worker {
            pipeline: Pipeline::new(in_force.clone(), engines.maker(in_force.interval)),
            configured: engines.clone(),
            engines,
            choice: Choice::default(),
            releases: false,
            advice_source: advice::source(config.device.kind),
            advice_read: None,
            advice: Advice::default(),
            patience: super::PATIENCE,
            in_force,
            board: Arc::new(Board::new(live)),
            turns: Turns::default(),
            backoff: Backoff::new(config.device.retry),
            opened: 0,
            torn_in_a_row: 0,
            recorder: None,
            logs: Logs::default(),
            config,
            files,
        }
    }

    /// Switches to other engines.
    pub(super) fn use_engines(&mut self, engines: Engines) {
        self.configured = engines.clone();
        self.engines = engines;
        self.put_in_force(self.in_force.clone());
    }

    /// Starts the thread on an event loop made by [`event_loop`].
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(self, runtime: Runtime) -> Result<Running, Error> {
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (result, ended) = oneshot::channel();
        let board = Arc::clone(&self.board);
        std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || {
                let end = runtime.block_on(self.follow_device(ordered));
                // If the receiver is gone, the control task has ended too.
                let _ = result.send(end);
            })
            .map_err(Error::Runtime)?;
        Ok(Running {
            orders,
            ended,
            board,
        })
    }

    /// Serves the device, reconnecting as configured, until a stop is
    /// requested.
    async fn follow_device(mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), Error> {
        let result = self.serve_all(&mut orders).await;
        self.publish();
        // Ends the recorder's thread once it has written everything.
        self.recorder = None;
        result
    }

    async fn serve_all(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<(), Error> {
        loop {
            let Some(device) = self.connect(orders).await? else {
                return Ok(());
            };
            self.board.live().state = State::Running;
            let since = Instant::now();
            let end = self.serve(device, orders).await;
            {
                let mut live = self.board.live();
                live.state = State::Waiting;
                live.device.module = None;
                live.device.abi = None;
            }
            match end? {
                End::Stop => return Ok(()),
                End::Released => self.board.live().steered = None,
                End::Gone(error) if !self.config.device.reconnect => return Err(error.into()),
                End::Gone(error) => {
                    self.backoff.served(since.elapsed());
                    let pause = self.backoff.failed();
                    if let Some(suppressed) = self.logs.lost_device.allow() {
                        warn!(%error, suppressed, retry_in_ms = pause.as_millis() as u64,
                            "device lost, waiting for it to return");
                    }
                    if self.pause(pause, orders).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Publishes the state to the control task.
    pub(super) fn publish(&self) {
        self.board.live().counters = self.pipeline.metrics().counters;
    }
}

/// The event loop of a worker, created before the sandbox restricts rights.
///
/// # Errors
/// The system resources are unavailable.
pub(super) fn event_loop() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)
}

/// The control task's handle of the worker.
pub(super) struct Running {
    pub(super) orders: mpsc::Sender<Order>,
    /// The worker's result; a channel error means that it panicked.
    pub(super) ended: oneshot::Receiver<Result<(), Error>>,
    pub(super) board: Arc<Board>,
}
