//! Inference over the loopback interface: a server in this process, and routers that
//! always have one request in flight, compared with the same decisions made directly.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use l4sllm_model::{Policy, Window};
use l4sllm_remote::load::{Load, measure};
use l4sllm_remote::server::{Security, Server, ServerOptions};
use l4sllm_remote::tensors::Contract;
use l4sllm_report::Rows;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::descriptors;
use crate::duration;
use crate::engine::EngineArgs;
use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{Done, outln};
use crate::shipped::{self, Kind};

/// Measure inference over the loopback interface: latency, and decisions per second
/// over 1, 100 and 1000 emulated routers, compared with direct decisions.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm bench remote
  l4sllm bench remote --policy default --turn 5s --format json")]
pub(super) struct RemoteArgs {
    /// Policy: a directory, or a built-in name.
    #[arg(long, value_name = "DIR", default_value = "context")]
    policy: PathBuf,
    /// Duration of each measurement.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::measured)]
    turn: u64,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Numbers of emulated routers.
const ROUTERS: [usize; 3] = [1, 100, MOST];

/// The largest of them.
const MOST: usize = 1000;

/// Measures, and prints one row for each number of routers.
pub(super) fn run(args: &RemoteArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let dir = shipped::find(Kind::Policy, &args.policy)?;
    let policy = Policy::load_with(&dir, &args.engine.options())
        .with_context(|| args.policy.display().to_string())?;
    shipped::remove();
    // Each router needs two of this process.
    descriptors::allow_all();
    let turn = Duration::from_nanos(args.turn);
    let window = full_window(&policy);
    let local = direct(&policy, &window, turn)?;
    let contract = Contract::of(Arc::new(policy.config().clone()));
    let server = Running::start(Arc::clone(&policy))?;
    let runtime = event_loop()?;
    let mut loads = Vec::new();
    for routers in ROUTERS {
        if Done::of(cancel) == Done::Interrupted {
            return Ok(Done::Interrupted);
        }
        let load = measure(server.address, &contract, &window, routers, turn);
        loads.push((routers, runtime.block_on(load)?));
    }
    match args.format.format {
        Format::Text => outln!("{}", text(&policy.config().name, local, &loads)),
        format => print_rows(format, &rows(local, &loads)),
    }?;
    Ok(Done::of(cancel))
}

fn event_loop() -> anyhow::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the event loop")
}

/// A window of full length. Its values do not affect the time.
fn full_window(policy: &Policy) -> Window {
    let config = policy.config();
    let (w, k) = (config.window, config.action_inputs());
    Window {
        returns: vec![0.5; w],
        inputs: vec![0.25; w * config.inputs()],
        actions: vec![1.0 / 3.0; w * k],
    }
}

/// Decisions per second without a server.
fn direct(policy: &Policy, window: &Window, turn: Duration) -> anyhow::Result<f64> {
    let steps = [window.steps(policy.config()).context("a window")?];
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < turn {
        policy.outputs_all(&steps)?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// A server in a thread; stopped when dropped.
struct Running {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Running {
    fn start(policy: Arc<Policy>) -> anyhow::Result<Running> {
        let runtime = event_loop()?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServerOptions {
            max_connections: MOST,
            ..ServerOptions::default()
        };
        let server = Server::bind(any, policy, options, Security::default());
        let server = runtime.block_on(server)?;
        let address = server.address()?;
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("serve".into())
            .spawn(move || {
                runtime.block_on(server.run(async {
                    let _ = stopped.await;
                }))
            })?;
        Ok(Running {
            address,
            _stop: stop,
        })
    }
}

/// A quantile, µs.
fn quantile_us(load: &Load, share: f64) -> f64 {
    let last = load.latencies_ns.len().saturating_sub(1);
    let ns = load
        .latencies_ns
        .get((last as f64 * share).round() as usize);
    ns.map_or(f64::NAN, |ns| *ns as f64 / 1e3)
}

fn rows(local: f64, loads: &[(usize, Load)]) -> Rows {
    let mut rows = Rows::default();
    for (routers, load) in loads {
        let row = [
            ("routers", json!(routers)),
            ("latency_p50_us", json!(quantile_us(load, 0.5))),
            ("latency_p99_us", json!(quantile_us(load, 0.99))),
            ("decisions_per_s", json!(load.rate())),
            ("direct_per_s", json!(local)),
            ("share_of_direct", json!(load.rate() / local)),
        ];
        rows.push(row, &());
    }
    rows
}

fn text(policy: &str, local: f64, loads: &[(usize, Load)]) -> String {
    let mut out = format!(
        "Policy {policy} over the loopback interface; {local:.0} decisions per second directly\n\n\
         routers   p50, us   p99, us   decisions/s   share of direct"
    );
    for (routers, load) in loads {
        out += &format!(
            "\n{routers:>7}{:>10.0}{:>10.0}{:>14.0}{:>18.2}",
            quantile_us(load, 0.5),
            quantile_us(load, 0.99),
            load.rate(),
            load.rate() / local
        );
    }
    out
}
