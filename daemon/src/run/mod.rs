//! The program: device, pipeline, signals and status in one loop.
//!
//! Everything happens in one thread. A decision takes microseconds, so it is
//! made where the record is read: handing it to another thread would cost
//! more than it takes. With libtorch it may take milliseconds; records wait
//! in the ring for as long, and overrides in force hold or expire.

mod connect;
mod control;
mod engines;
mod reload;
mod report;
mod serve;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use l4sllm_abi::Refusal;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::advice::{self, Advice};
use crate::config::{Config, DeviceKind, EngineConfig};
use crate::device::DeviceError;
use crate::error::Error;
use crate::files::{Files, Use};
use crate::logging::LogControl;
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, PipelineConfig};
use crate::sandbox;
use crate::status::{DeviceStatus, Reloads, State, StatusSocket};
use control::Control;
use serve::Throttle;

pub use engines::Engines;

/// Events come with the next packet. While there is none, the operator's
/// settings are looked for so often.
const PATIENCE: Duration = Duration::from_secs(1);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    path: PathBuf,
    files: Arc<Files>,
    log: LogControl,
    pipeline: Pipeline,
    engines: Engines,
    advice_source: Box<dyn advice::Source>,
    /// What was read there last, if that went well.
    advice_read: Option<Advice>,
    /// What of it is heeded.
    advice: Advice,
    /// How long to wait for the stream before looking without it.
    patience: Duration,
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
    /// The policy does not load, or a directory that a sandbox needs is
    /// missing.
    pub fn new(path: PathBuf, config: Config, log: LogControl) -> Result<Daemon, Error> {
        let files = files(&path, &config)?;
        let engines = Engines::load(&config.engine, &files)?;
        let in_force = config.pipeline.clone();
        Ok(Daemon {
            pipeline: Pipeline::new(in_force.clone(), engines.maker(in_force.interval)),
            engines,
            advice_source: advice::source(config.device.kind),
            advice_read: None,
            advice: Advice::default(),
            patience: PATIENCE,
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
            files: Arc::new(files),
            log,
        })
    }

    /// Takes advice from there instead of where the device's kind says.
    #[must_use]
    pub fn with_advice(mut self, source: Box<dyn advice::Source>) -> Daemon {
        self.advice_source = source;
        self
    }

    /// Looks for what a standing stream does not tell after this time.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Daemon {
        self.patience = patience;
        self
    }

    /// Runs until a signal ends it, and returns what happened.
    ///
    /// # Errors
    /// What cannot be helped by waiting; each has its exit code.
    pub async fn run(mut self) -> Result<Metrics, Error> {
        let (ask, questions) = mpsc::channel(8);
        let status = match &self.config.status {
            None => None,
            Some(config) => {
                let files = Arc::clone(&self.files);
                let opened = StatusSocket::open(config, files, ask.clone()).await;
                Some(opened.map_err(|source| Error::StatusSocket {
                    path: config.socket.clone(),
                    source,
                })?)
            }
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
        if self.config.sandbox {
            self.give_up_the_rest(status.as_ref())?;
        }
        let stopped = self.follow_device(&mut control).await;
        self.summarise(stopped.as_ref().unwrap_or(&"error"));
        stopped.map(|_| self.pipeline.metrics().clone())
    }

    /// From here on the process has what it holds open, and what is beneath.
    fn give_up_the_rest(&self, status: Option<&StatusSocket>) -> Result<(), Error> {
        let listener = status.map(AsRawFd::as_raw_fd);
        let entered = sandbox::enter(&self.files, listener).map_err(Error::Sandbox)?;
        let directories: Vec<_> = self.files.held().iter().map(|d| &d.path).collect();
        if entered {
            info!(?directories, "in capability mode, with these directories");
        } else {
            warn!(
                ?directories,
                "no capsicum(4) here: files are opened in these directories only, \
                 and the process keeps its other rights"
            );
        }
        Ok(())
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

/// Where files are opened: in a sandbox, beside those that the program was
/// started with.
fn files(path: &Path, config: &Config) -> Result<Files, Error> {
    if !config.sandbox {
        return Ok(Files::by_path());
    }
    let device = match config.device.kind {
        DeviceKind::Character => Use::Device,
        DeviceKind::Socket => Use::Connect,
    };
    let mut wanted = vec![(Use::Read, path), (device, config.device.path.as_path())];
    if let EngineConfig::Policy { path, .. } = &config.engine {
        wanted.push((Use::Read, path));
    }
    if let Some(status) = &config.status {
        wanted.push((Use::Remove, &status.socket));
    }
    Files::beside(&wanted).map_err(|(path, source)| Error::Directory { path, source })
}
