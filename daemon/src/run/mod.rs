//! The program in two threads.
//!
//! ```text
//! control task                                worker
//! signals, status socket, reloads ─ orders ─▶ device ─▶ pipeline ─▶ device
//!                                 ◀─ board ──
//! ```
//!
//! The worker reads, decides and sends, and takes as long as that takes. The
//! control task never waits for it: it answers questions from what the worker
//! published last, has a thread of its own load what a reload names, and ends
//! the program whatever the worker does.

mod backoff;
mod board;
mod connect;
mod control;
mod engines;
mod orders;
mod reload;
mod report;
mod serve;
mod turns;
mod worker;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::advice;
use crate::batch::Scheduler;
use crate::config::{Config, DeviceKind, EngineConfig};
use crate::engine::Engine;
use crate::error::Error;
use crate::files::{Files, Use};
use crate::logging::LogControl;
use crate::metrics::Counters;
use crate::sandbox;
use crate::status::{Reloads, StatusSocket};
use control::{Command, Control};
use orders::Order;
use reload::Reload;
use worker::{Running, Worker};

pub use engines::Engines;

/// Events come with the next packet. Without one, and in case one was lost,
/// the operator's settings are looked for so often.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the worker may take to end: a moment while it decides, and longer
/// where it only has to report.
const MOMENT: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(2);

/// A daemon that is ready to run.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    path: PathBuf,
    files: Arc<Files>,
    log: LogControl,
    worker: Option<Worker>,
    hangups: Option<Signal>,
    reloads: Reloads,
    started: Instant,
}

/// How a daemon ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What happened.
    pub counters: Counters,
    /// The worker was in the middle of a decision and is left to itself: the
    /// process should end without running what libraries do at exit.
    pub abandoned: bool,
}

impl Daemon {
    /// Loads what the configuration names.
    ///
    /// # Errors
    /// The policy does not load, or a directory that a sandbox needs is
    /// missing.
    pub fn new(path: PathBuf, config: Config, log: LogControl) -> Result<Daemon, Error> {
        let files = Arc::new(files(&path, &config)?);
        let engines = Engines::load(&config.engine, &files)?;
        let worker = Worker::new(config.clone(), Arc::clone(&files), engines);
        Ok(Daemon {
            worker: Some(worker),
            hangups: None,
            reloads: Reloads::default(),
            started: Instant::now(),
            config,
            path,
            files,
            log,
        })
    }

    /// Takes advice from there instead of from where the device's kind says.
    #[must_use]
    pub fn with_advice(mut self, source: Box<dyn advice::Source>) -> Daemon {
        if let Some(worker) = &mut self.worker {
            worker.advice_source = source;
        }
        self
    }

    /// Obeys these SIGHUPs, among them those that came before the daemon runs.
    #[must_use]
    pub fn with_hangups(mut self, hangups: Signal) -> Daemon {
        self.hangups = Some(hangups);
        self
    }

    /// Looks for what a standing stream does not report after this time.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Daemon {
        if let Some(worker) = &mut self.worker {
            worker.patience = patience;
        }
        self
    }

    /// Decides by engines of that make until the first reload, instead of by
    /// those that the configuration names.
    #[must_use]
    pub fn with_engines(
        mut self,
        make: impl Fn(Scheduler) -> Box<dyn Engine> + Send + Sync + 'static,
    ) -> Daemon {
        if let Some(worker) = &mut self.worker {
            worker.use_engines(Engines::made_by(make));
        }
        self
    }

    /// Runs until a signal ends it, and returns what happened.
    ///
    /// # Errors
    /// What cannot be helped by waiting; each has its exit code.
    pub async fn run(mut self) -> Result<Ended, Error> {
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
        let mut control = Control::new(questions, self.hangups.take())?;
        let worker = self.worker.take().expect("until the daemon runs");
        info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %self.path.display(),
            device = %self.config.device.path.display(),
            engine = %worker.engines.status(),
            interval = self.config.pipeline.interval,
            "started"
        );
        let event_loop = worker::event_loop()?;
        if self.config.sandbox {
            self.enter_sandbox(status.as_ref())?;
        }
        let mut running = worker.start(event_loop)?;
        let result = self.supervise(&mut running, &mut control).await;
        let why = result.as_ref().map_or("error", |(signal, _)| signal);
        self.summarise(&running.board, why);
        let abandoned = result?.1;
        let counters = running.board.live().counters;
        Ok(Ended {
            counters,
            abandoned,
        })
    }

    /// Obeys signals and answers questions until the end. Returns the signal,
    /// and whether the worker was left to itself.
    async fn supervise(
        &mut self,
        worker: &mut Running,
        control: &mut Control,
    ) -> Result<(&'static str, bool), Error> {
        let mut reload = Reload::None;
        let mut again = false;
        loop {
            tokio::select! {
                biased;
                command = control.next() => match command {
                    Command::Stop(signal) => return Ok((signal, stop(worker).await?)),
                    Command::Reload if reload.is_under_way() => again = true,
                    Command::Reload => {
                        reload = Reload::start(&self.path, &self.files, &self.config);
                    }
                    Command::Tell(question) => self.answer(&worker.board, question),
                },
                ended = &mut worker.ended => {
                    // It ends on its own with an error only.
                    ended.unwrap_or(Err(Error::Worker))?;
                    return Err(Error::Worker);
                }
                result = reload.finish(&worker.orders) => {
                    self.note_reload(result, worker);
                    if std::mem::take(&mut again) {
                        reload = Reload::start(&self.path, &self.files, &self.config);
                    }
                }
            }
        }
    }

    fn note_reload(&mut self, result: Result<Config, Error>, worker: &Running) {
        match result {
            Ok(config) => {
                self.log.set(config.log);
                self.config = config;
                self.reloads.succeeded += 1;
                let (engine, interval) = {
                    let live = worker.board.live();
                    (live.engine.clone(), live.interval)
                };
                info!(%engine, interval, "reloaded");
            }
            Err(error) => {
                self.reloads.failed += 1;
                self.reloads.last_error = Some(error.to_string());
                error!(%error, "reload failed, everything stays as it was");
            }
        }
    }

    /// From here on the process has what it holds open, and what is beneath.
    fn enter_sandbox(&self, status: Option<&StatusSocket>) -> Result<(), Error> {
        let listener = status.map(AsRawFd::as_raw_fd);
        let entered = sandbox::enter(&self.files, listener).map_err(Error::Sandbox)?;
        let directories: Vec<_> = self.files.held().iter().map(|d| &d.path).collect();
        if entered {
            info!(?directories, "in capability mode, with these directories");
        } else {
            warn!(
                ?directories,
                "no capsicum(4) here: files are opened in these directories only,                  and the process keeps its other rights"
            );
        }
        Ok(())
    }
}

/// Ends the worker; true: it did not end in time and is left to itself. Its
/// open device ends with the process, and the queue is plain DualPI2 then.
async fn stop(worker: &mut Running) -> Result<bool, Error> {
    // There is room for it: at most one reload is before it.
    let _ = worker.orders.try_send(Order::Stop);
    for patience in [MOMENT, GRACE] {
        match tokio::time::timeout(patience, &mut worker.ended).await {
            Ok(ended) => return ended.unwrap_or(Err(Error::Worker)).map(|()| false),
            Err(_) if worker.board.deciding_ns().is_some() => break,
            Err(_) => {}
        }
    }
    warn!("the worker does not end; its decision is abandoned");
    Ok(true)
}

/// Where files are opened: in a sandbox, in the directories of those that the
/// program was started with.
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
    Files::by_directory(&wanted).map_err(|(path, source)| Error::Directory { path, source })
}
