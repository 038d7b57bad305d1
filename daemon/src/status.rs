//! What the daemon tells about itself: one JSON object a connection to the
//! status socket.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdrhistogram::Histogram;
use l4sllm_abi::Refusal;
use l4sllm_model::RunsOn;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::config::StatusConfig;
use crate::files::Files;
use crate::metrics::Metrics;

/// The object. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Release of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// Whether there is a device.
    pub state: State,
    /// Least and greatest version of the interface that it speaks.
    pub abi: (u16, u16),
    /// The device.
    pub device: DeviceStatus,
    /// Who decides.
    pub engine: EngineStatus,
    /// Records between two decisions.
    pub interval: u32,
    /// Successful reloads, failed ones, and why the last one failed.
    pub reloads: Reloads,
    /// Counters.
    pub counters: Counters,
    /// Decision latency: from the record that completes an interval being
    /// readable to the override being in force.
    pub latency_us: Quantiles,
    /// Of that, computing the decision.
    pub decision_us: Quantiles,
}

/// Whether there is a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waiting for one.
    Waiting,
    /// Reading and deciding.
    Running,
}

/// The device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its path.
    pub path: PathBuf,
    /// Its release, while there is one.
    pub module: Option<String>,
    /// Versions of the interface that it speaks.
    pub abi: Option<(u16, u16)>,
    /// How often it was opened.
    pub opened: u64,
}

/// Who decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EngineStatus {
    /// A trained policy.
    Policy {
        /// Its name.
        name: String,
        /// Its directory.
        path: PathBuf,
        /// SHA-256 over its files.
        hash: String,
        /// What runs it, where the daemon says so.
        #[serde(default)]
        runs_on: Option<RunsOn>,
    },
    /// A fixed list of decisions.
    Script {
        /// How many.
        steps: usize,
    },
}

impl std::fmt::Display for EngineStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EngineStatus::Policy {
                name,
                path,
                hash,
                runs_on,
            } => {
                let (path, hash) = (path.display(), &hash[..hash.len().min(12)]);
                write!(f, "policy {name} in {path} ({hash})")?;
                runs_on.iter().try_for_each(|on| write!(f, ", {on}"))
            }
            EngineStatus::Script { steps } => write!(f, "script of {steps} steps"),
        }
    }
}

/// Reloads of configuration and policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// Those that took effect.
    pub succeeded: u64,
    /// Those that left everything as it was.
    pub failed: u64,
    /// Why the last of these failed.
    pub last_error: Option<String>,
}

/// [`Metrics`] as names and numbers; see there for the identities that hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Counters {
    pub messages: u64,
    pub records: u64,
    pub losses: u64,
    pub events: u64,
    pub watchdog_events: u64,
    pub lost: u64,
    pub gaps: u64,
    pub torn_reads: u64,
    pub torn_bytes: u64,
    pub resets: u64,
    pub instances: u64,
    pub unrouted: u64,
    pub due: u64,
    pub unscheduled: u64,
    pub skipped: u64,
    pub decisions: u64,
    pub decided_enqueue: u64,
    pub decided_drop: u64,
    pub decided_mark: u64,
    pub decided_steer: u64,
    pub overrides: u64,
    pub stale: u64,
    pub accepted: u64,
    pub refused: u64,
    pub refused_permission: u64,
    pub refused_not_found: u64,
    pub refused_busy: u64,
    pub refused_invalid: u64,
    pub refused_protocol: u64,
    pub refused_beyond_limits: u64,
    pub refused_unsupported: u64,
    pub refused_no_memory: u64,
    pub failed: u64,
    pub outstanding: u64,
}

impl From<&Metrics> for Counters {
    fn from(m: &Metrics) -> Counters {
        let refused = |refusal: Refusal| m.refused_by(refusal);
        Counters {
            messages: m.messages,
            records: m.records,
            losses: m.losses,
            events: m.events,
            watchdog_events: m.watchdog_events,
            lost: m.lost,
            gaps: m.gaps,
            torn_reads: m.torn_reads,
            torn_bytes: m.torn_bytes,
            resets: m.resets,
            instances: m.instances,
            unrouted: m.unrouted,
            due: m.due,
            unscheduled: m.unscheduled,
            skipped: m.skipped,
            decisions: m.decisions(),
            decided_enqueue: m.actions[0],
            decided_drop: m.actions[1],
            decided_mark: m.actions[2],
            decided_steer: m.steers,
            overrides: m.overrides,
            stale: m.stale,
            accepted: m.accepted,
            refused: m.refused_total(),
            refused_permission: refused(Refusal::Permission),
            refused_not_found: refused(Refusal::NotFound),
            refused_busy: refused(Refusal::Busy),
            refused_invalid: refused(Refusal::Invalid),
            refused_protocol: refused(Refusal::Protocol),
            refused_beyond_limits: refused(Refusal::BeyondLimits),
            refused_unsupported: refused(Refusal::Unsupported),
            refused_no_memory: refused(Refusal::NoMemory),
            failed: m.failed,
            outstanding: m.outstanding,
        }
    }
}

/// Quantiles of a histogram, us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Values in it.
    pub count: u64,
    /// Half are at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Quantiles {
    /// Of a histogram of ns.
    pub fn of_ns(histogram: &Histogram<u64>) -> Quantiles {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        if histogram.is_empty() {
            return Quantiles::default();
        }
        Quantiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(histogram.max()),
        }
    }
}

/// A question to the main loop.
pub(crate) type Question = oneshot::Sender<Status>;

/// The status socket; its file is removed on drop.
pub(crate) struct StatusSocket {
    path: PathBuf,
    /// Its directory may have to be reached without its path.
    files: Arc<Files>,
    fd: RawFd,
    task: tokio::task::JoinHandle<()>,
}

impl StatusSocket {
    /// Listens. A file that nobody listens on any more is replaced.
    pub(crate) async fn open(
        config: &StatusConfig,
        files: Arc<Files>,
        questions: mpsc::Sender<Question>,
    ) -> io::Result<StatusSocket> {
        let path = &config.socket;
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon listens there",
            ));
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.mode))?;
        let fd = listener.as_raw_fd();
        let task = tokio::spawn(serve(listener, questions));
        Ok(StatusSocket {
            path: path.clone(),
            files,
            fd,
            task,
        })
    }
}

impl AsRawFd for StatusSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = self.files.remove(&self.path);
    }
}

/// Asks a running daemon.
///
/// # Errors
/// Nobody listens on the socket, or the answer is no status.
pub fn ask(socket: &Path) -> io::Result<Status> {
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    serde_json::from_reader(stream).map_err(io::Error::other)
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    loop {
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely; others come free with time.
                tracing::warn!(%error, "status socket: cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (question, answer) = oneshot::channel();
        if questions.send(question).await.is_err() {
            return;
        }
        let Ok(status) = answer.await else { return };
        tokio::spawn(async move {
            let mut line = serde_json::to_vec(&status).expect("plain names and numbers");
            line.push(b'\n');
            // A client that left early has not asked for an error.
            let _ = stream.write_all(&line).await;
        });
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is no socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
