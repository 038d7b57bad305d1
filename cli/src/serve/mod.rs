//! `l4sllm serve`: a policy for other hosts, over the Open Inference Protocol.

mod metrics;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use l4sllm_model::text::shown;
use l4sllm_model::{Policy, files};
use l4sllm_remote::server::{Security, Server, ServerOptions};
use l4sllmd::config::LogConfig;
use l4sllmd::logging::LogControl;
use l4sllmd::metrics::endpoint::Endpoint;
use tokio::sync::oneshot;

use crate::descriptors;
use crate::duration;
use crate::engine::EngineArgs;
use crate::output::{note, outln};
use crate::shipped::{self, Kind};

/// Serve a policy to the engine `remote` of daemons on other hosts.
///
/// The server speaks the Open Inference Protocol, version 2, over gRPC: ServerLive,
/// ServerReady, ModelReady, ServerMetadata, ModelMetadata and ModelInfer. The model has
/// the policy's name. It combines the requests of several routers into batches. Ctrl-C
/// and SIGTERM end it once the requests in flight are answered, at the latest after 10 s.
/// If the engine panics, the server is no longer ready and ends with exit code 1.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Other hosts need --listen with another address, and then a token and TLS.

Examples:
  l4sllm serve context
  l4sllm serve policies/context --metrics 127.0.0.1:9595
  l4sllm serve out/policy --accelerator cuda --max-batch 256 --max-wait 1ms
  l4sllm serve context --listen 0.0.0.0:8001 --token-file token --tls-cert cert.pem --tls-key key.pem")]
pub struct ServeArgs {
    /// Policy: a directory, or a built-in name.
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Address and port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// File with a bearer token that every request must have.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificate chain, PEM: encrypts connections.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Maximum number of windows in a batch.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_batch: u32,
    /// Time that the first window of a batch waits for others, at most 1 s. Windows that
    /// arrive while a batch is computed form the next one in any case.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = wait)]
    max_wait: u64,
    /// Maximum number of connections; further ones wait.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_connections: u32,
    /// Serve metrics at http://ADDRESS/metrics, in the OpenMetrics format.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    engine: EngineArgs,
}

fn wait(text: &str) -> Result<u64, String> {
    duration::within(text, 0..=1_000_000_000)
}

/// Maximum size of a file with a token, a certificate or a key, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Serves until a signal.
pub fn run(args: &ServeArgs, signals: Receiver<()>) -> anyhow::Result<()> {
    let dir = shipped::find(Kind::Policy, &args.policy)?;
    let policy = Policy::load_with(&dir, &args.engine.options())
        .with_context(|| args.policy.display().to_string())?;
    // Loaded, so that no files remain after a kill.
    shipped::remove();
    let security = security(args)?;
    descriptors::allow_all();
    let _log = LogControl::start(LogConfig {
        level: tracing::Level::WARN,
        json: false,
    });
    let options = ServerOptions {
        max_batch: args.max_batch as usize,
        max_wait: Duration::from_nanos(args.max_wait),
        max_connections: args.max_connections as usize,
        ..ServerOptions::default()
    };
    let (name, runs_on) = (policy.config().name.clone(), policy.runs_on().clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let server = Server::bind(args.listen, policy, options, security).await?;
        let _endpoint = match args.metrics {
            None => None,
            Some(address) => {
                let counters = server.counters();
                let endpoint = Endpoint::serving(address, move || metrics::text(counters())).await;
                let endpoint = endpoint.with_context(|| format!("{address}: cannot listen"))?;
                note!("metrics: http://{}/metrics", endpoint.address());
                Some(endpoint)
            }
        };
        outln!(
            "{}: serving policy {name} ({runs_on}); press Ctrl-C to stop",
            server.address()?
        )?;
        server.run(stopped(signals)).await?;
        anyhow::Ok(())
    })
}

/// Ready after a signal.
async fn stopped(signals: Receiver<()>) {
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        // The handler is never dropped, so a message comes first.
        let _ = signals.recv();
        let _ = stop.send(());
    });
    let _ = stopped.await;
}

fn security(args: &ServeArgs) -> anyhow::Result<Security> {
    let read = |path: &Path| {
        files::read_regular(path, MAX_FILE).with_context(|| format!("{}: cannot read", shown(path)))
    };
    let token = match &args.token_file {
        None => None,
        Some(path) => {
            let text = String::from_utf8(read(path)?).unwrap_or_default();
            let token = text.trim().to_owned();
            ensure!(
                !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()),
                "{}: not a token: expected one line of visible ASCII characters",
                shown(path)
            );
            Some(token)
        }
    };
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    if !args.listen.ip().is_loopback() && (token.is_none() || tls.is_none()) {
        note!(
            "{}: reachable from other hosts without {}",
            args.listen,
            if tls.is_none() {
                "encryption"
            } else {
                "a token"
            }
        );
    }
    Ok(Security { token, tls })
}
