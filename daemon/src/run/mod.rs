//! The program: device, pipeline, signals and status in one loop.
//!
//! Everything happens in one thread. A decision takes microseconds, so it is
//! made where the record is read: handing it to another thread would cost
//! more than it takes.

mod connect;
mod control;
mod engines;
mod reload;
mod report;
mod serve;

use std::path::PathBuf;
use std::time::Instant;

use hdrhistogram::Histogram;
use l4sllm_abi::Refusal;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::advice::{self, Advice};
use crate::config::Config;
use crate::device::DeviceError;
use crate::error::Error;
use crate::logging::LogControl;
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, PipelineConfig};
use crate::status::{DeviceStatus, Reloads, State, StatusSocket};
use control::Control;
use serve::Throttle;

pub use engines::Engines;

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    path: PathBuf,
    log: LogControl,
    pipeline: Pipeline,
    engines: Engines,
    advice_source: Box<dyn advice::Source>,
    /// What was read there last.
    advice: Advice,
    /// The configuration's, with the advice over it.
    in_force: PipelineConfig,
    device: DeviceStatus,
    state: State,
    reloads: Reloads,
    started: Instant,
    /// Time to compute a decision, ns.
    decision_ns: Histogram<u64>,
    torn_in_a_row: u32,
    loss_log: Throttle,
    /// By [`Refusal`]: said once loudly, then quietly.
    refusals_told: [bool; Refusal::ALL.len()],
}

/// Why the stream of one opened device ended.
enum End {
    Stop(&'static str),
    Gone(DeviceError),
}

impl Daemon {
    /// Loads what the configuration names.
    ///
    /// # Errors
    /// The policy does not load.
    pub fn new(path: PathBuf, config: Config, log: LogControl) -> Result<Daemon, Error> {
        let engines = Engines::load(&config.engine)?;
        let in_force = config.pipeline.clone();
        Ok(Daemon {
            pipeline: Pipeline::new(in_force.clone(), engines.maker(in_force.interval)),
            engines,
            advice_source: advice::source(config.device.kind),
            advice: Advice::default(),
            in_force,
            device: DeviceStatus {
                path: config.device.path.clone(),
                module: None,
                abi: None,
                opened: 0,
            },
            state: State::Waiting,
            reloads: Reloads::default(),
            started: Instant::now(),
            decision_ns: Metrics::default().latency_ns,
            torn_in_a_row: 0,
            loss_log: Throttle::default(),
            refusals_told: Default::default(),
            config,
            path,
            log,
        })
    }

    /// Takes advice from there instead of where the device's kind says.
    #[must_use]
    pub fn with_advice(mut self, source: Box<dyn advice::Source>) -> Daemon {
        self.advice_source = source;
        self
    }

    /// Runs until a signal ends it, and returns what happened.
    ///
    /// # Errors
    /// What cannot be helped by waiting; each has its exit code.
    pub async fn run(mut self) -> Result<Metrics, Error> {
        let (ask, questions) = mpsc::channel(8);
        let _status = match &self.config.status {
            None => None,
            Some(config) => Some(StatusSocket::open(config, ask.clone()).await.map_err(
                |source| Error::StatusSocket {
                    path: config.socket.clone(),
                    source,
                },
            )?),
        };
        let mut control = Control::new(questions)?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %self.path.display(),
            device = %self.config.device.path.display(),
            engine = %self.engines.status(),
            interval = self.config.pipeline.interval,
            "started"
        );
        let stopped = self.follow_device(&mut control).await;
        self.summarise(stopped.as_ref().unwrap_or(&"error"));
        stopped.map(|_| self.pipeline.metrics().clone())
    }

    /// Serves the device as often as it comes; returns why it stopped.
    async fn follow_device(&mut self, control: &mut Control) -> Result<&'static str, Error> {
        loop {
            let device = match self.connect(control).await? {
                Ok(device) => device,
                Err(signal) => return Ok(signal),
            };
            self.state = State::Running;
            let end = self.serve(device, control).await;
            self.state = State::Waiting;
            self.device.module = None;
            self.device.abi = None;
            match end? {
                End::Stop(signal) => return Ok(signal),
                End::Gone(error) if !self.config.device.reconnect => return Err(error.into()),
                End::Gone(error) => warn!(%error, "device lost, waiting for it to come back"),
            }
        }
    }
}
