//! `l4sllmd` as a process, for arms with the adaptive rule or a policy.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use l4sllm_testbed::scenario::{Control, ControlEngine};
use l4sllmd::status::{self, State, Status};
use l4sllmd::{OverrideMode, Scope};

use crate::{LabError, Process};

/// Time for the daemon to load a policy and to open the device.
const START: Duration = Duration::from_secs(30);
/// Interval between two questions.
const POLL: Duration = Duration::from_millis(20);

const MS: u64 = 1_000_000;

/// Settings that a drill adds to a daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// Sections of its configuration.
    pub sections: String,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Starts `program` for the device at `device`, and waits until it controls
    /// the queue. Its files go to `dir`.
    ///
    /// # Errors
    /// It ends, or does not open the device within 30 s.
    pub fn start(
        program: &Path,
        dir: &Path,
        device: &Path,
        control: &Control,
        seed: u64,
    ) -> Result<Daemon, LabError> {
        Daemon::start_with(program, dir, device, control, seed, &Extras::default())
    }

    /// As [`Daemon::start`], with additions.
    pub(crate) fn start_with(
        program: &Path,
        dir: &Path,
        device: &Path,
        control: &Control,
        seed: u64,
        extras: &Extras,
    ) -> Result<Daemon, LabError> {
        let socket = dir.join(SOCKET);
        let config = write(dir, device, control, None, seed, &extras.sections)?
            .display()
            .to_string();
        let arguments = ["--config", &config];
        let process =
            Process::start_with(None, dir, NAME, program, &arguments, &extras.environment)?;
        let mut daemon = Daemon { process, socket };
        daemon.wait_for(START, |status| status.state == State::Running)?;
        Ok(daemon)
    }

    /// Its status; `None` while it does not answer.
    pub fn status(&self) -> Option<Status> {
        status::ask(&self.socket).ok()
    }

    /// Waits for a status.
    ///
    /// # Errors
    /// The daemon ends, or the time passes.
    pub fn wait_for(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status, LabError> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.status().filter(&wanted) {
                return Ok(status);
            }
            if let Some(status) = self.process.ended() {
                return Err(self.process.failure(&format!("ended with {status}")));
            }
            if Instant::now() > until {
                return Err(LabError::Late {
                    what: "l4sllmd".to_owned(),
                    seconds: patience.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.errors()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Name of its files of output.
const NAME: &str = "l4sllmd";
/// Name of the status socket.
const SOCKET: &str = "status.sock";

/// The status socket of the daemon in `dir`.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

/// Writes the daemon's configuration to `dir`; returns its path. `engine` replaces
/// the keys that select the engine, `sections` are added.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(
    dir: &Path,
    device: &Path,
    control: &Control,
    engine: Option<&str>,
    seed: u64,
    sections: &str,
) -> Result<PathBuf, LabError> {
    let path = dir.join("l4sllmd.toml");
    let device = format!("socket = {device:?}");
    let text = configuration(&device, &dir.join(SOCKET), control, engine, seed) + sections;
    match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(LabError::File {
            operation: "write",
            path,
            source,
        }),
    }
}

/// The configuration that decides as `control` does in the emulator. `device` is the
/// key of the device, with its value; `engine` replaces the keys that select the engine.
pub fn configuration(
    device: &str,
    socket: &Path,
    control: &Control,
    engine: Option<&str>,
    seed: u64,
) -> String {
    let mode = match control.mode {
        OverrideMode::Once => "\"once\"".to_owned(),
        OverrideMode::Hold(packets) => format!("\"hold\"\nhold = {packets}"),
    };
    let queue = match control.queue {
        Scope::Same => "same",
        Scope::Any => "any",
    };
    let own = match &control.engine {
        ControlEngine::Adaptive(preset) => {
            format!("engine = \"adaptive\"\npreset = {:?}", preset.name())
        }
        ControlEngine::Policy(dir) => {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
            format!("policy = {dir:?}\nseed = {seed}")
        }
    };
    let engine = engine.unwrap_or(&own);
    let budget = control.idle_budget.map_or(String::new(), |budget| {
        format!("idle_budget = {}\n", budget.share())
    });
    format!(
        "[device]\n{device}\nretry_max_ms = 500\n\n\
         [pipeline]\nmode = {mode}\nqueue = {queue:?}\ninterval = {}\nperiod_ms = {}\nttl_ms = {}\n\n\
         [engine]\n{engine}\n{budget}\n\
         [status]\nsocket = {socket:?}\n",
        control.interval,
        (control.period_ns / MS).max(1),
        (control.ttl_ns / MS).max(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_model::IdleBudget;
    use l4sllmd::config::{Config, EngineConfig};
    use l4sllmd::engine::Preset;
    use std::num::NonZeroU32;

    /// The daemon reads the settings of the arm from the file.
    #[test]
    fn the_daemon_reads_the_arms_settings() {
        let read = |control: &Control| {
            let (device, socket) = ("socket = \"/run/lab/d\"", Path::new("/run/lab/s"));
            let text = configuration(device, socket, control, None, 7);
            Config::parse(Path::new("l4sllmd.toml"), &text).unwrap()
        };
        let mut control = Control::adaptive(Preset::default());
        control.period_ns = 50 * MS;
        control.idle_budget = IdleBudget::new(0.01);
        let config = read(&control);
        assert_eq!(config.engine, EngineConfig::Adaptive(Preset::default()));
        assert_eq!(config.pipeline.period_ns, 50 * MS);
        assert_eq!(config.pipeline.ttl_ns, 1000 * MS);
        assert_eq!(config.pipeline.idle_budget, IdleBudget::new(0.01));
        assert_eq!(config.device.path, Path::new("/run/lab/d"));

        let mut control = Control::new(Path::new("/p/default"), NonZeroU32::new(20).unwrap());
        control.mode = OverrideMode::Hold(NonZeroU32::new(5).unwrap());
        control.queue = Scope::Any;
        let config = read(&control);
        assert_eq!(config.pipeline.interval.get(), 20);
        assert_eq!(config.pipeline.mode, control.mode);
        assert_eq!(config.pipeline.queue, Scope::Any);
        let EngineConfig::Policy { path, seed, .. } = config.engine else {
            panic!("a policy");
        };
        assert_eq!((path.as_path(), seed), (Path::new("/p/default"), 7));
    }
}
