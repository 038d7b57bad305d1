//! Changes at run time: SIGHUP loads a new configuration and policy, or keeps
//! the old ones if that fails; the control socket selects another engine; an event
//! from the device signals new advice.
//!
//! A change loads its files in a separate thread, and the worker applies it
//! between two decisions.

use std::path::Path;
use std::sync::Arc;

use l4sllm_model::IdleBudget;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::connect::{apply_limits, check_limits};
use super::engines::{Engines, chosen};
use super::orders::{Candidate, Order};
use super::worker::Worker;
use crate::advice::AdvisedMode;
use crate::config::Config;
use crate::control::Choice;
use crate::device::Device;
use crate::error::Error;
use crate::files::Files;
use crate::pipeline::PipelineConfig;
use crate::recorder::Frame;

/// The reason for reading the operator's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The device reported that they changed, or was just opened.
    Told,
    /// A periodic check; unchanged values are ignored.
    Looking,
}

/// The configuration in force after a change, and the selected engine.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) config: Config,
    pub(super) choice: Choice,
}

/// The current change.
#[derive(Debug, Default)]
pub(super) enum Reload {
    #[default]
    None,
    Loading(oneshot::Receiver<Result<Box<Candidate>, Error>>),
    Applying(Option<Box<Applied>>, oneshot::Receiver<Result<(), Error>>),
}

impl Reload {
    /// Starts loading the engine of `choice`, and before it the configuration at
    /// `path`, if given.
    pub(super) fn start(
        path: Option<&Path>,
        files: &Arc<Files>,
        before: &Config,
        choice: Choice,
    ) -> Reload {
        let (result, loaded) = oneshot::channel();
        let path = path.map(Path::to_owned);
        let (files, before) = (Arc::clone(files), before.clone());
        let thread = std::thread::Builder::new().name("reload".into());
        // If the thread cannot be started, the sender is dropped, which the
        // receiver detects.
        let _ = thread.spawn(move || {
            let candidate = load(path.as_deref(), &files, before, choice);
            // If the receiver is gone, the program is ending.
            let _ = result.send(candidate.map(Box::new));
        });
        Reload::Loading(loaded)
    }

    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Reload::None)
    }

    /// Waits for the change and returns what was applied or the error. Waits
    /// forever without a change. Cancel safe.
    pub(super) async fn finish(&mut self, orders: &mpsc::Sender<Order>) -> Result<Applied, Error> {
        loop {
            match self {
                Reload::None => return std::future::pending().await,
                Reload::Loading(loaded) => {
                    let candidate = loaded.await.unwrap_or(Err(Error::Reload));
                    let candidate = candidate.inspect_err(|_| *self = Reload::None)?;
                    let (answer, applied) = oneshot::channel();
                    let result = Applied {
                        config: candidate.config.clone(),
                        choice: candidate.choice,
                    };
                    // The channel has space, because there is no other change.
                    // If the worker has ended, the answer's sender is dropped.
                    let _ = orders.try_send(Order::Apply(candidate, answer));
                    *self = Reload::Applying(Some(Box::new(result)), applied);
                }
                Reload::Applying(result, applied) => {
                    let applied = applied.await.unwrap_or(Err(Error::Reload));
                    let result = result.take();
                    *self = Reload::None;
                    applied?;
                    return result.map(|result| *result).ok_or(Error::Reload);
                }
            }
        }
    }
}

/// Loads the engine of `choice` for `before`, or for the configuration at `path`.
fn load(
    path: Option<&Path>,
    files: &Files,
    before: Config,
    choice: Choice,
) -> Result<Candidate, Error> {
    let config = match path {
        Some(path) => reread(path, files, &before)?,
        None => before,
    };
    let engine = chosen(choice, &config).ok_or(Error::NoPolicy)?;
    let engines = Engines::load(&engine, files)?;
    Ok(Candidate {
        config,
        engines,
        choice,
    })
}

/// Reads the configuration again; sections that require a restart are unchanged.
fn reread(path: &Path, files: &Files, before: &Config) -> Result<Config, Error> {
    let mut config = Config::load_from(files, path)?;
    for (section, changed) in [
        ("device", config.device != before.device),
        ("status", config.status != before.status),
        ("control", config.control != before.control),
        ("metrics", config.metrics != before.metrics),
        ("recorder", config.recorder != before.recorder),
        ("sandbox", config.sandbox != before.sandbox),
    ] {
        if changed {
            warn!(section, "changes take effect on restart");
        }
    }
    config.device = before.device.clone();
    config.status = before.status.clone();
    config.control = before.control.clone();
    config.metrics = before.metrics;
    config.recorder = before.recorder.clone();
    config.sandbox = before.sandbox;
    Ok(config)
}

impl Worker {
    /// Applies a configuration. Windows restart; the stream, counters and
    /// active overrides continue.
    pub(super) async fn apply(
        &mut self,
        candidate: Candidate,
        device: Option<&mut Device>,
    ) -> Result<(), Error> {
        let Candidate {
            config,
            engines,
            choice,
        } = candidate;
        let in_force = match choice {
            Choice::Config => engines.advised(self.advice.engine),
            _ => engines.clone(),
        };
        let pipeline = in_force.over(&self.advice.over(&config.pipeline));
        let holds = device.is_some();
        if let Some(device) = device {
            apply_limits(device, &config.limits, &pipeline).await?;
        }
        // Nothing below can fail.
        self.releases = holds && in_force.is_plain() && !self.engines.is_plain();
        self.choice = choice;
        self.configured = engines;
        self.engines = in_force;
        self.put_in_force(pipeline);
        self.config = config;
        Ok(())
    }

    /// Applies the operator's settings if they differ from the effective ones.
    /// Settings that cannot be applied are logged and ignored.
    ///
    /// # Errors
    /// The device has disappeared.
    pub(super) async fn heed_advice(
        &mut self,
        device: &mut Device,
        asked: Asked,
    ) -> Result<(), Error> {
        let read = self.advice_source.read();
        let before = std::mem::replace(&mut self.advice_read, read.as_ref().ok().copied());
        if asked == Asked::Looking && before == self.advice_read {
            return Ok(());
        }
        let advice = match read {
            Ok(advice) => advice,
            Err(error) => {
                if let Some(suppressed) = self.logs.advice.allow() {
                    warn!(%error, suppressed, "cannot read the operator's settings; they are \
                    unchanged");
                }
                return Ok(());
            }
        };
        // An engine selected on the control socket takes precedence.
        let advised = match self.choice {
            Choice::Config => advice.engine,
            _ => None,
        };
        let engines = self.configured.advised(advised);
        let changes_engine = advised != self.advice.engine && self.choice == Choice::Config;
        let pipeline = engines.over(&advice.over(&self.config.pipeline));
        if pipeline != self.in_force {
            let limits = device.limits().await?;
            if let Err(error) = check_limits(&pipeline, &limits) {
                if let Some(suppressed) = self.logs.advice.allow() {
                    warn!(%error, ?advice, suppressed,
                        "cannot apply the operator's settings; they are unchanged");
                }
                return Ok(());
            }
        }
        if advice.mode == Some(AdvisedMode::Steer) && self.advice.mode != advice.mode {
            warn!(engine = %engines.status(),
                "mode steer: an engine that decides actions continues to do so; \
                 set-points are shifted by those that decide to");
        }
        self.advice = advice;
        if changes_engine || pipeline != self.in_force {
            if changes_engine {
                self.engines = engines;
                self.put_in_force(pipeline);
            } else {
                self.change_to(pipeline);
            }
            let (interval, mode) = (self.in_force.interval, self.in_force.mode);
            info!(
                engine = %self.engines.status(),
                interval,
                period_ms = self.in_force.period_ns / 1_000_000,
                ?mode,
                idle_budget = self.in_force.idle_budget.map(IdleBudget::share),
                ?advice,
                "applied the operator's settings"
            );
        }
        Ok(())
    }

    /// Applies another configuration with the same engines. A change of only
    /// the idle budget restarts no window.
    fn change_to(&mut self, pipeline: PipelineConfig) {
        let idle_budget = pipeline.idle_budget;
        let with_budget = PipelineConfig {
            idle_budget,
            ..self.in_force.clone()
        };
        if pipeline != with_budget {
            return self.put_in_force(pipeline);
        }
        self.pipeline.set_idle_budget(idle_budget);
        self.in_force = pipeline;
        self.board.live().idle_budget = idle_budget;
        let share = idle_budget.map(IdleBudget::share);
        self.record(Frame::IdleBudget(share));
    }

    pub(super) fn put_in_force(&mut self, pipeline: PipelineConfig) {
        let pipeline = self.engines.over(&pipeline);
        let make_engine = self.engines.maker(pipeline.interval);
        self.pipeline.reconfigure(pipeline.clone(), make_engine);
        self.in_force = pipeline;
        self.record_configuration();
        let mut live = self.board.live();
        live.engine = self.engines.status().clone();
        live.remote = self.engines.remote_counters();
        live.interval = self.in_force.interval.get();
        live.period_ms = self.in_force.period_ms();
        live.ttl_ms = self.in_force.ttl_ns / 1_000_000;
        live.idle_budget = self.in_force.idle_budget;
    }
}
