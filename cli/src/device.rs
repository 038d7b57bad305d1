//! `l4sllm device`: an emulated device for a daemon to control.

use std::io::{ErrorKind, IsTerminal};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use l4sllm_model::text::shown;
use l4sllm_testbed::device::{DeviceServer, LAG, Network};
use l4sllm_testbed::scenario::{Aqm, Arm, Scenario};

use crate::cancel;
use crate::output::{bail_usage, errln, note, outln};
use crate::shipped;

/// Emulate the queue's device, to try the daemon without FreeBSD.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm device serve /tmp/l4sllm-device.sock")]
pub struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    Serve(ServeArgs),
}

/// Run a scenario in real time and serve its queue's device on a Unix socket.
///
/// The queue is the module's own code, in this process. `l4sllmd` controls it if
/// its configuration has `socket = "SOCKET"` in [device]; `l4sllm doctor --device
/// SOCKET` examines it. The scenario's repetitions run one after another until
/// Ctrl-C or SIGTERM, which also remove the socket.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm device serve /tmp/l4sllm-device.sock
  l4sllm device serve /tmp/l4sllm-device.sock --scenario headroom
  l4sllm device serve device.sock --scenario mine.toml --arm dualpi2-tuned")]
struct ServeArgs {
    /// Socket to create; a stale one is replaced.
    #[arg(value_name = "SOCKET")]
    socket: PathBuf,
    /// Scenario to run: a file, or a built-in name.
    #[arg(long, value_name = "FILE", default_value = "paper")]
    scenario: PathBuf,
    /// Arm to serve, without its policy [default: the first with DualPI2].
    #[arg(long, value_name = "ARM")]
    arm: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: &DeviceArgs) -> anyhow::Result<()> {
    let DeviceCommand::Serve(args) = &args.command;
    serve(args)
}

fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let scenario = shipped::scenario(&args.scenario)?;
    // Loaded in advance, so that no files remain after a kill.
    shipped::remove();
    let arm = choose(&scenario, args.arm.as_deref())?;
    let socket = &args.socket;
    clear(socket)?;
    // After this a signal removes the socket.
    let ended = cancel::signals()?;
    let network = Network::start(&scenario, arm)
        .with_context(|| format!("scenario {}, arm {}", scenario.name, arm.name))?;
    let server = DeviceServer::start(socket, network.opener())
        .with_context(|| format!("cannot listen on {}", shown(socket)))?;
    outln!(
        "{}: serving scenario {}, arm {}; press Ctrl-C to stop",
        shown(socket),
        scenario.name,
        arm.name
    )?;
    if std::io::stdout().is_terminal() {
        note!("examine it with: l4sllm doctor --device {}", shown(socket));
    }
    // The handler is never dropped, so a message always comes first.
    let _ = ended.recv();
    drop(server);
    warn_of_pauses(&network);
    Ok(())
}

/// Warns if the host was too slow for a network.
pub fn warn_of_pauses(network: &Network) {
    let paused = network.paused();
    if paused > Duration::ZERO {
        errln!(
            "warning: this host was more than {} ms late: the network paused for {:.1} s",
            LAG.as_millis(),
            paused.as_secs_f64()
        );
    }
}

/// Selects the arm to serve.
pub fn choose<'a>(scenario: &'a Scenario, name: Option<&str>) -> anyhow::Result<&'a Arm> {
    let served = |arm: &&Arm| matches!(arm.aqm, Aqm::DualPi2(_));
    let with_device = || {
        let names = scenario.arms.iter().filter(served);
        let names: Vec<&str> = names.map(|arm| arm.name.as_str()).collect();
        names.join(", ")
    };
    match name {
        None => {
            let first = scenario.arms.iter().find(served);
            first.with_context(|| {
                format!(
                    "scenario {}: no DualPI2 arm; only DualPI2 has a device",
                    scenario.name
                )
            })
        }
        Some(name) => match scenario.arm(name) {
            Some(arm) if served(&arm) => Ok(arm),
            _ => bail_usage!(
                "--arm: scenario {} has no DualPI2 arm `{name}`; it has {}",
                scenario.name,
                with_device()
            ),
        },
    }
}

/// Removes a stale socket, and nothing else.
pub fn clear(socket: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = socket.symlink_metadata() else {
        return Ok(());
    };
    ensure!(
        metadata.file_type().is_socket(),
        "{}: exists and is not a socket",
        shown(socket)
    );
    match UnixStream::connect(socket) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(socket)
            .with_context(|| format!("cannot replace the unused socket {}", shown(socket))),
        Err(error) => Err(error).with_context(|| format!("cannot replace {}", shown(socket))),
        Ok(_) => bail!(
            "{}: another program serves this socket; stop it, or use another name",
            shown(socket)
        ),
    }
}
