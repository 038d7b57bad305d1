//! The program as a process, and its emulated device.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use l4sllm_abi::{
    Decoder, Ecn, Interval, Limits, MESSAGE_SIZE, Message, Op, Params, Record, Stats, raw,
};
use l4sllm_model::{Feature, Policy, PolicyConfig, PolicyInput, SummaryFeature, Tensors};
use l4sllm_testbed::device::{DeviceServer, Load, RealTime, SharedRouter};
use l4sllm_testbed::router::{Handle, Router};
use l4sllmd::clock::now_ns;
use l4sllmd::config::Config;
use l4sllmd::logging::LogControl;
use l4sllmd::run::Daemon;
use l4sllmd::status::{self, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Deadline for expected events, even on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `check` returns a value.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory for one test: sockets, configuration, policies.
pub struct Place {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl Place {
    pub fn new() -> Place {
        let place = Place {
            dir: tempfile::tempdir().unwrap(),
            name: "here",
        };
        std::fs::create_dir(place.path("")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(self.name).join(name)
    }

    /// Moves the directory away from its path.
    pub fn move_away(&mut self) {
        let before = self.path("");
        self.name = "there";
        std::fs::rename(before, self.path("")).unwrap();
    }

    /// Inserts a line before the configuration.
    pub fn configure_first(&self, line: &str) {
        let path = self.path("l4sllmd.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{line}\n{text}")).unwrap();
    }

    /// Writes the configuration: the place's sockets, and `more`.
    pub fn configure(&self, device: &str, more: &str) {
        let text = format!(
            "[device]\nsocket = {:?}\nretry_max_ms = 100\n{device}\n\
             [status]\nsocket = {:?}\n[log]\nformat = \"json\"\nlevel = \"debug\"\n{more}\n",
            self.path("device"),
            self.path("status"),
        );
        // Replaced atomically, as by an operator's editor.
        std::fs::write(self.path("new.toml"), text).unwrap();
        std::fs::rename(self.path("new.toml"), self.path("l4sllmd.toml")).unwrap();
    }

    /// A small policy with random weights.
    pub fn policy(&self, name: &str, seed: u64) -> PathBuf {
        let config = PolicyConfig::new(name, &Feature::PAPER7);
        let path = self.path(name);
        Policy::save(&path, &config, &Tensors::random(&config, seed).unwrap()).unwrap();
        path
    }

    /// A small policy on summaries with random weights.
    pub fn summary_policy(&self, name: &str, period_ms: u32) -> PathBuf {
        let mut config = PolicyConfig::on_summaries(name, SummaryFeature::ALL);
        config.input = PolicyInput::Summaries { period_ms };
        let path = self.path(name);
        Policy::save(&path, &config, &Tensors::random(&config, 1).unwrap()).unwrap();
        path
    }
}

/// The running program.
pub struct Program {
    child: Child,
    lines: Receiver<Value>,
    status: PathBuf,
    seen: Vec<Value>,
}

impl Program {
    pub fn start(place: &Place) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_l4sllmd"))
            .arg("--config")
            .arg(place.path("l4sllmd.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Before there is a log, errors are plain text.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Program {
            child,
            lines,
            status: place.path("status"),
            seen: Vec::new(),
        }
    }

    /// Waits for a log line whose message contains `text`.
    pub fn log(&mut self, text: &str) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let line = match self.lines.recv_timeout(end - Instant::now().min(end)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no log line {text:?}; there were {:#?}", self.seen)
                }
            };
            self.seen.push(line.clone());
            let message = line
                .as_str()
                .or(line["message"].as_str())
                .unwrap_or_default();
            if message.contains(text) {
                return line;
            }
        }
    }

    /// Waits until the status satisfies a condition.
    pub fn status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        until(what, || status::ask(&self.status).ok().filter(&wanted))
    }

    /// Queries the status at the current path of the place.
    pub fn follow(&mut self, place: &Place) {
        self.status = place.path("status");
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        until("the program's end", || self.child.try_wait().unwrap())
    }

    pub fn end_with(&mut self, code: i32) {
        let status = self.end();
        assert_eq!(status.code(), Some(code), "{:#?}", self.rest());
    }

    /// Log lines not yet consumed.
    pub fn rest(&mut self) -> &[Value] {
        self.seen.extend(self.lines.iter());
        &self.seen
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code and output of `l4sllmd --check` for a place's configuration.
pub fn check(place: &Place) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_l4sllmd"))
        .arg("--check")
        .arg("-c")
        .arg(place.path("l4sllmd.toml"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// An emulated device under load, with a separate reader.
pub struct Emulated {
    _packets: RealTime,
    _server: DeviceServer,
    reader: Handle,
    decoder: Decoder,
    buffer: Vec<Record>,
}

impl Emulated {
    pub fn start(place: &Place, ring_records: u32) -> Emulated {
        let router = Router::new(&Params::default(), &Limits::default(), ring_records, 1).unwrap();
        let mut reader = router.open().unwrap();
        reader.interval(Interval::of_records(1), now_ns()).unwrap();
        let router: SharedRouter = Arc::new(Mutex::new(router));
        let server =
            DeviceServer::start(&place.path("device"), router.lock().unwrap().opener()).unwrap();
        let load = Load {
            packet_bytes: 1000,
            ecn: vec![Ecn::Ect1, Ecn::Ect0],
            offered_bps: 7_200_000, // 900 packets/s
            link_bps: 8_000_000,
        };
        let packets = RealTime::start(router, load).unwrap();
        Emulated {
            _packets: packets,
            _server: server,
            reader,
            decoder: Decoder::new(),
            buffer: Vec::new(),
        }
    }

    /// Waits for a record that satisfies a condition.
    pub fn record(&mut self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        until(what, || {
            let mut bytes = vec![0; 256 * MESSAGE_SIZE];
            let got = self.reader.read(&mut bytes, now_ns()).unwrap();
            for message in self.decoder.messages(&bytes[..got]) {
                if let Message::Decision(record) = message.unwrap() {
                    self.buffer.push(record);
                }
            }
            let found = self.buffer.iter().position(&wanted)?;
            self.buffer.drain(..=found).next_back()
        })
    }

    pub fn stats(&mut self) -> Stats {
        let mut raw = Stats::question(0, 0);
        let bytes = l4sllm_abi::bytes::as_bytes_mut(&mut raw);
        self.reader
            .request(Op::Stats.code(), bytes, now_ns())
            .unwrap();
        Stats::try_from(raw).unwrap()
    }
}

pub fn steered(record: &Record) -> bool {
    u32::from(record.status) & raw::L4S_STATUS_STEERED != 0
}

/// A configuration's engine section for a policy.
pub fn policy_section(path: &Path) -> String {
    format!("[engine]\npolicy = {path:?}")
}

/// A daemon of this process.
pub fn new_daemon(path: PathBuf) -> Daemon {
    static LOG: OnceLock<LogControl> = OnceLock::new();
    let config = Config::load(&path).unwrap();
    let log = LOG.get_or_init(|| LogControl::start(config.log)).clone();
    Daemon::new(path, config, log).unwrap()
}

/// A daemon in a thread of this process.
pub struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    pub fn start(daemon: Daemon) -> Running {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = daemon.run() => panic!("{ended:?}"),
                    _ = stopped => {}
                }
            });
        });
        Running { stop, thread }
    }

    pub fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}
