//! `l4sllm router`: the kernel's queue as a bottleneck for real packets.

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::Args;
use l4sllm_abi::Stats;
use l4sllm_model::files::AtomicFile;
use l4sllm_model::strict_toml::{DURATION, RATE};
use l4sllm_model::text::shown;
use l4sllm_router::{
    CaptureObserver, CaptureThread, Forwarder, Interface, Place, Priority, Report, Running, Summary,
};
use l4sllm_testbed::capture::About;
use l4sllm_testbed::device::DeviceServer;
use l4sllm_testbed::net::{Discipline, Distribution, Spread};
use l4sllm_testbed::router::Handle;
use l4sllm_testbed::scenario::{Aqm, Arm, DualPi2, Scenario};
use l4sllm_testbed::sim::{derive_seed, discipline};
use l4sllmd::clock::now_ns;

use crate::format::{Format, FormatArgs, print_json, print_values};
use crate::output::{bail_usage, ensure_usage, note, print};
use crate::{cancel, device, duration, pcap, shipped};

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Forward real packets through the queue, between two TUN interfaces.
///
/// Packets that enter at IN pass through the queue and a shaped link and leave at
/// OUT; packets that enter at OUT take the return path. Both interfaces are
/// created, or attached to if `ip tuntap add` created them, and brought up.
/// Namespaces must exist, and addresses and routes are not set. Ctrl-C or SIGTERM
/// ends the router with a summary. Requires CAP_NET_ADMIN, and CAP_SYS_ADMIN for
/// namespaces.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ip netns add client
  ip netns add server
  l4sllm router client:l4s0 server:l4s1 --rate 20Mbit/s --rtt 20ms
  l4sllm router client:l4s0 server:l4s1 --scenario wifi.toml --device router.sock
  l4sllm router client:l4s0 server:l4s1 --rate 20Mbit/s --pcap queue.pcapng")]
pub struct RouterArgs {
    /// Interface of the senders: [NAMESPACE:]INTERFACE, where NAMESPACE is a name
    /// known to `ip netns` or a path.
    #[arg(value_name = "IN")]
    input: Place,
    /// Interface of the receivers.
    #[arg(value_name = "OUT")]
    output: Place,
    /// Rate of the link.
    #[arg(long, value_name = "RATE", value_parser = rate, required_unless_present = "scenario", conflicts_with = "scenario")]
    rate: Option<u64>,
    /// Scenario that sets the bottleneck, link, round-trip time and return path: a
    /// file or the name of a built-in one. Its repetitions run in sequence.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Arm whose queue is used, without its policy [default: the first with
    /// DualPI2].
    #[arg(long, value_name = "ARM", requires = "scenario")]
    arm: Option<String>,
    /// Round-trip time without queueing, half in each direction [default: the
    /// scenario's, or 0].
    #[arg(long, value_name = "TIME", value_parser = rtt)]
    rtt: Option<u64>,
    /// Mean of an additional, exponentially distributed delay after the link.
    #[arg(long, value_name = "TIME", value_parser = jitter)]
    jitter: Option<u64>,
    /// Share of packets lost after the link.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    loss: Option<f64>,
    /// Rate of the return path [default: the scenario's, or unlimited].
    #[arg(long, value_name = "RATE", value_parser = rate)]
    return_rate: Option<u64>,
    /// Maximum packet length, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..=9000))]
    mtu: u16,
    /// Offer the queue's device on this Unix socket, for `l4sllmd` and `l4sllm
    /// doctor`; an unused existing socket is replaced.
    #[arg(long, value_name = "SOCKET")]
    device: Option<PathBuf>,
    /// Write the headers of every packet that leaves the queue to this pcapng file, with
    /// the verdict, its reason, the sojourn time and the override in force as comments
    /// for Wireshark. A slow disk does not delay forwarding; packets missing from the
    /// capture are counted.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Replace an existing file of --pcap.
    #[arg(long, requires = "pcap")]
    force: bool,
    /// End after this time.
    #[arg(long, value_name = "TIME", value_parser = duration::repetition)]
    duration: Option<u64>,
    #[command(flatten)]
    format: FormatArgs,
}

fn rate(text: &str) -> Result<u64, String> {
    let bits_per_s = RATE.parse(text)?;
    match (1_000..=100_000_000_000).contains(&bits_per_s) {
        true => Ok(bits_per_s),
        false => Err("expected 1 kbit/s to 100 Gbit/s".to_owned()),
    }
}

fn rtt(text: &str) -> Result<u64, String> {
    duration::within(text, 0..=10 * S)
}

fn jitter(text: &str) -> Result<u64, String> {
    duration::within(text, 0..=S)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Forwards until a signal or the end of `--duration`.
pub fn run(args: &RouterArgs) -> anyhow::Result<()> {
    ensure!(
        args.input != args.output,
        "{}: IN and OUT are the same interface",
        args.input
    );
    let scenario = args.network()?;
    shipped::remove();
    let arm = args.choose(&scenario)?;
    let seed = derive_seed(scenario.seed, "aqm", 0);
    let queue = discipline(&arm.aqm, args.device.is_some(), seed)?;
    let input = Interface::open(&args.input, args.mtu)?;
    let output = Interface::open(&args.output, args.mtu)?;
    // After this a signal ends the router, not the program.
    let ended = cancel::signals()?;
    let (server, handle) = args.serve(&queue, &arm)?;
    let (epoch_ns, started) = (now_ns(), SystemTime::now());
    let mut forwarder = Forwarder::new(&scenario, queue, args.mtu.into(), epoch_ns);
    let capture = args.capture(started, &scenario, &arm)?;
    let capture = capture.map(|(observer, thread, file)| {
        forwarder.observe(Box::new(observer));
        (thread, file)
    });
    let running = Running::with(forwarder, (input, output), Priority::High)
        .context("cannot start the forwarding thread")?;
    note!(
        "{} -> {}: {}; press Ctrl-C to stop",
        args.input,
        args.output,
        describe(&scenario, &arm)
    );
    let until = args
        .duration
        .map(|ns| Instant::now() + Duration::from_nanos(ns));
    while !running.has_ended() && until.is_none_or(|until| Instant::now() < until) {
        match ended.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let report = running.stop();
    let stats = handle.and_then(|mut handle| handle.stats(now_ns()).ok());
    drop(server);
    let captured = capture.map_or(Ok(()), |(thread, file)| finish_capture(thread, file));
    args.finish(report, stats.as_ref())?;
    captured
}

/// Interval at which to check whether the router has failed.
const POLL: Duration = Duration::from_millis(50);

/// Waits until a capture is written, and gives its file its name.
fn finish_capture(thread: CaptureThread, file: AtomicFile) -> anyhow::Result<()> {
    let counts = thread.finish();
    let counts =
        counts.with_context(|| format!("{}: cannot write the capture", shown(file.path())))?;
    pcap::commit(file, &counts)
}

impl RouterArgs {
    /// Starts the capture of `--pcap`.
    fn capture(
        &self,
        started: SystemTime,
        scenario: &Scenario,
        arm: &Arm,
    ) -> anyhow::Result<Option<(CaptureObserver, CaptureThread, AtomicFile)>> {
        let Some(path) = &self.pcap else {
            return Ok(None);
        };
        let file = pcap::create(path, self.force)?;
        let interface = self.output.to_string();
        let about = About {
            interface: &interface,
            discipline: arm.aqm.name(),
            comment: &describe(scenario, arm),
        };
        let out = file.as_file().try_clone();
        let (observer, thread) = out
            .and_then(|out| CaptureObserver::start(out, started, about))
            .with_context(|| format!("{}: cannot write the capture", shown(path)))?;
        Ok(Some((observer, thread, file)))
    }

    /// The network around the queue.
    fn network(&self) -> anyhow::Result<Scenario> {
        let mut scenario = match &self.scenario {
            Some(file) => shipped::scenario(file)?,
            None => {
                // clap requires one of the two.
                let rate = self.rate.context("--rate or --scenario is required")?;
                Scenario::new("router", rate, 0)
            }
        };
        if let Some(rtt_ns) = self.rtt {
            scenario.rtt_ns = rtt_ns;
        }
        if let Some(mean_ns) = self.jitter {
            scenario.link.jitter = Some(Spread::new(mean_ns, Distribution::Exponential));
        }
        if let Some(loss) = self.loss {
            scenario.link.loss = loss;
        }
        if let Some(bits_per_s) = self.return_rate {
            scenario.return_bps = bits_per_s;
        }
        Ok(scenario)
    }

    /// The queue: that of an arm, or DualPI2 with the defaults of RFC 9332.
    fn choose(&self, scenario: &Scenario) -> anyhow::Result<Arm> {
        let arm = match (&self.scenario, &self.arm) {
            (None, _) => Some(Arm::new("dualpi2", Aqm::DualPi2(DualPi2::default()))),
            (Some(_), Some(name)) => scenario.arm(name).cloned(),
            (Some(_), None) => {
                let mut arms = scenario.arms.iter();
                arms.find(|arm| matches!(arm.aqm, Aqm::DualPi2(_))).cloned()
            }
        };
        let names = || {
            let names: Vec<&str> = scenario.arms.iter().map(|arm| arm.name.as_str()).collect();
            names.join(", ")
        };
        match (arm, &self.arm) {
            (Some(arm), _) => Ok(arm),
            (None, Some(name)) => bail_usage!(
                "--arm: scenario {} has no arm `{name}`; it has {}",
                scenario.name,
                names()
            ),
            (None, None) => bail!(
                "scenario {}: no DualPI2 arm; choose one with --arm: {}",
                scenario.name,
                names()
            ),
        }
    }

    /// Offers the queue's device, and opens it for the summary.
    fn serve(
        &self,
        queue: &Discipline,
        arm: &Arm,
    ) -> anyhow::Result<(Option<DeviceServer>, Option<Handle>)> {
        let router = match queue {
            Discipline::Router(router) => router,
            Discipline::Baseline(_) => {
                ensure_usage!(
                    self.device.is_none(),
                    "--device: arm {} is {}; only DualPI2 has a device",
                    arm.name,
                    arm.aqm.name()
                );
                return Ok((None, None));
            }
        };
        let server = match &self.device {
            None => None,
            Some(socket) => {
                device::clear(socket)?;
                let server = DeviceServer::start(socket, router.opener())
                    .with_context(|| format!("cannot listen on {}", shown(socket)))?;
                note!("examine it with: l4sllm doctor --device {}", shown(socket));
                Some(server)
            }
        };
        Ok((server, Some(router.open()?)))
    }

    fn finish(&self, report: Report, stats: Option<&Stats>) -> anyhow::Result<()> {
        let summary = report.measured.summary(stats);
        match self.format.format {
            Format::Text => print(&text(&summary, &report, [&self.input, &self.output]))?,
            Format::Csv => print_values(&summary)?,
            Format::Json => print_json(&summary)?,
        }
        if let Some((interface, error)) = report.failure {
            bail!("{interface}: cannot be read: {error}; was it deleted?");
        }
        if let Some((what, left, right)) = report.measured.imbalance() {
            bail!("packets are unaccounted for: {what} {left}, but {right} found");
        }
        Ok(())
    }
}

fn text(summary: &Summary, report: &Report, ends: [&Place; 2]) -> String {
    let mut text = summary.to_string();
    for (place, dropped) in ends.into_iter().zip(report.dropped_before) {
        if let Some(dropped @ 1..) = dropped {
            text.push_str(&format!(
                "before it    {dropped} dropped at {place}: this host did not read them in time\n"
            ));
        }
    }
    text
}

/// A short description of the network.
fn describe(scenario: &Scenario, arm: &Arm) -> String {
    let steps = scenario.bottleneck.steps();
    let rate = match steps {
        [step] => RATE.show(step.bits_per_s),
        _ => format!("up to {}", RATE.show(scenario.bottleneck.max())),
    };
    let rtt = match scenario.rtt_ns {
        ns if ns < MS => format!("{} us", ns / 1_000),
        ns => DURATION.show(ns),
    };
    format!("{rate}, round-trip time {rtt}, {}", arm.name)
}
