//! Compares the userspace router with Linux forwarding and a token bucket, in
//! network namespaces of this machine. Both are measured in turns with datagrams
//! that the kernel timestamps on arrival.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use l4sllm_abi::{Interval, MESSAGE_SIZE};
use l4sllm_router::probe::{Arrival, Receiver, Sender};
use l4sllm_router::{Interface, InterfaceCounters, Net, Place, Running};
use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::result::Histogram;
use l4sllm_testbed::router::Handle;
use l4sllm_testbed::scenario::{Aqm, DualPi2, Scenario};
use l4sllm_testbed::sim::discipline;
use l4sllmd::clock::now_ns;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::emulation::median;
use crate::duration;
use crate::format::{Format, FormatArgs, print_json, print_values};
use crate::output::{Done, Palette, Tone, errln, outln, print_painted};

/// Compare the userspace router with Linux forwarding and tbf: packets per second,
/// idle latency and pacing accuracy. Requires root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm bench router
  l4sllm bench router --turns 5 --format json")]
pub(super) struct RouterArgs {
    /// Number of measurements of each kind; medians are reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Duration of each measurement.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::measured)]
    turn: u64,
    #[command(flatten)]
    format: FormatArgs,
}

/// Targets. Missing one results in exit status 1.
const AIM_BITS_PER_S: f64 = 1e9;
const AIM_LATENCY_P99_US: f64 = 100.0;
const AIM_PACING_P99_US: f64 = 20.0;

const PACKET: usize = 1500;
/// Fast enough not to be the bottleneck.
const FAST_BPS: u64 = 10_000_000_000;
const PACED_BPS: u64 = 8_000_000;
/// Gap between datagrams for measurements on an idle path.
const IDLE_GAP: Duration = Duration::from_millis(2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);

/// Measures both, or prints why that is impossible.
pub(super) fn run(args: &RouterArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    if let Some(reason) = unable() {
        outln!("skipped: bench router ({reason})")?;
        return Ok(Done::Finished);
    }
    let turn = Duration::from_nanos(args.turn);
    let (mut own, mut linux) = (Samples::default(), Samples::default());
    let mut without = None;
    for _ in 0..args.turns {
        own.take_turn(turn, Topology::own)?;
        if without.is_none() {
            without = linux.take_turn(turn, Topology::tbf).err();
        }
        if cancel.load(Ordering::Relaxed) {
            break;
        }
    }
    let numbers = Numbers {
        own: own.numbers(),
        linux: match &without {
            None => Some(linux.numbers()),
            Some(error) => {
                errln!("warning: not compared with tbf: {error:#}");
                None
            }
        },
    };
    match args.format.format {
        Format::Text => print_painted(&numbers.text(Palette::of_stdout()))?,
        Format::Csv => print_values(&numbers.json())?,
        Format::Json => print_json(&numbers.json())?,
    }
    Ok(match (Done::of(cancel), numbers.missed().is_empty()) {
        (Done::Finished, false) => Done::Unhealthy,
        (done, _) => done,
    })
}

/// The reason why measuring is impossible here, if it is.
fn unable() -> Option<&'static str> {
    match () {
        () if !rustix::process::geteuid().is_root() => Some("needs root"),
        () if !Path::new("/dev/net/tun").exists() => Some("needs /dev/net/tun"),
        () if Net::new().is_err() => Some("needs network namespaces"),
        () => None,
    }
}

/// A path from the client's namespace to the server's.
struct Topology {
    client: Net,
    server: Net,
    /// The server's interface.
    interface: &'static str,
    /// The namespace that forwards in the kernel, deleted with this.
    _middle: Option<Net>,
    own: Option<(Running, Reader)>,
}

impl Topology {
    /// Sets up the userspace router, with a reader of its records.
    fn own(bits_per_s: u64) -> anyhow::Result<Topology> {
        let (client, server) = (Net::new()?, Net::new()?);
        let place = |net: &Net, name: &str| Place {
            namespace: Some(net.name()),
            name: name.to_owned(),
        };
        let input = Interface::open(&place(&client, "l4s0"), PACKET as u16)?;
        let output = Interface::open(&place(&server, "l4s1"), PACKET as u16)?;
        shell(&client, "ip address add 10.77.1.1/24 dev l4s0")?;
        shell(&server, "ip address add 10.77.1.2/24 dev l4s1")?;
        let queue = discipline(&Aqm::DualPi2(DualPi2::default()), true, 1)?;
        let Discipline::Router(router) = &queue else {
            bail!("DualPI2 has a device");
        };
        let reader = Reader::start(router.open()?)?;
        let scenario = Scenario::new("bench", bits_per_s, 0);
        let running = Running::start(&scenario, queue, PACKET as u16, (input, output))?;
        Ok(Topology {
            client,
            server,
            interface: "l4s1",
            _middle: None,
            own: Some((running, reader)),
        })
    }

    /// Sets up Linux forwarding between two veth pairs, with tbf.
    fn tbf(bits_per_s: u64) -> anyhow::Result<Topology> {
        let (client, server, middle) = (Net::new()?, Net::new()?, Net::new()?);
        for (net, name, peer, subnet) in [
            (&client, "c0", "m0", "10.77.0"),
            (&server, "s0", "m1", "10.77.1"),
        ] {
            shell(
                net,
                &format!("ip link add name {name} type veth peer name {peer}"),
            )?;
            shell(net, &format!("ip link set {peer} netns {}", middle.name()))?;
            shell(&middle, &format!("ip address add {subnet}.1/24 dev {peer}"))?;
            shell(&middle, &format!("ip link set {peer} up"))?;
            shell(net, &format!("ip address add {subnet}.2/24 dev {name}"))?;
            shell(net, &format!("ip link set {name} up"))?;
            shell(net, &format!("ip route add default via {subnet}.1"))?;
        }
        let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
        middle
            .inside(forward)?
            .context("cannot enable forwarding")?;
        // One packet where pacing is measured; otherwise enough for one tick of
        // the kernel's clock.
        let burst = (bits_per_s / 8 / 250).max(1600);
        shell(
            &middle,
            &format!(
                "tc qdisc add dev m1 root tbf rate {bits_per_s}bit burst {burst} limit 300000"
            ),
        )?;
        Ok(Topology {
            client,
            server,
            interface: "s0",
            _middle: Some(middle),
            own: None,
        })
    }

    fn sender(&self, bytes: usize) -> anyhow::Result<Sender> {
        Ok(Sender::new(&self.client, SERVER, bytes)?)
    }

    /// Sends a datagram every `gap` for `turn` and returns the arrivals.
    fn probe(&self, bytes: usize, gap: Duration, turn: Duration) -> anyhow::Result<Vec<Arrival>> {
        let receiver = Receiver::new(&self.server, Duration::from_millis(500))?;
        let mut sender = self.sender(bytes)?;
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || -> std::io::Result<()> {
                let began = Instant::now();
                let mut next = began;
                while next < began + turn {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    sender.send()?;
                    next += gap;
                }
                Ok(())
            });
            let mut arrivals = Vec::new();
            loop {
                match receiver.receive()? {
                    Some(arrival) => arrivals.push(arrival),
                    None if sending.is_finished() => break,
                    None => {}
                }
            }
            match sending.join() {
                Ok(sent) => sent?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
            Ok(arrivals)
        })
    }

    fn received(&self) -> anyhow::Result<u64> {
        let counters = self
            .server
            .inside(|| InterfaceCounters::here(self.interface))?;
        Ok(counters
            .context("the server's interface has disappeared")?
            .received)
    }

    /// Sends packets as fast as possible for `turn`.
    fn flood(self, turn: Duration) -> anyhow::Result<Flood> {
        // An unread socket receives the packets and drops them when it is full.
        let _sink = Receiver::new(&self.server, turn)?;
        let mut sender = self.sender(PACKET)?;
        let (began, before) = (Instant::now(), self.received()?);
        let cpu_before = cpu();
        while began.elapsed() < turn {
            for _ in 0..64 {
                sender.send()?;
            }
        }
        let (elapsed, received) = (began.elapsed(), self.received()? - before);
        ensure!(received > 0, "no packet arrived");
        let used = cpu() - cpu_before;
        let report = self.own.map(|(running, _)| running.stop());
        Ok(Flood {
            packets_per_s: received as f64 / elapsed.as_secs_f64(),
            cpu_us: used.as_secs_f64() * 1e6 / received as f64,
            core_packets_per_s: report
                .map(|report| report.measured.counts.sent as f64 / report.cpu.as_secs_f64()),
        })
    }
}

struct Flood {
    packets_per_s: f64,
    /// Processor time of this process per packet: sending, forwarding, receiving.
    cpu_us: f64,
    /// Rate relative to the processor time of the forwarding thread.
    core_packets_per_s: Option<f64>,
}

/// Processor time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `ip` or `tc` in a namespace.
fn shell(net: &Net, line: &str) -> anyhow::Result<()> {
    let run = || {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap_or_default())
            .args(words)
            .output()
    };
    let output = net
        .inside(run)?
        .with_context(|| format!("cannot run {line}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line}: {}", said.trim());
    Ok(())
}

/// Reads a device's records as they become available.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(mut handle: Handle) -> anyhow::Result<Reader> {
        handle.interval(Interval::of_records(100), now_ns())?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 4096 * MESSAGE_SIZE];
            while !stopped.load(Ordering::Relaxed) {
                while handle.read(&mut buffer, now_ns()).is_ok_and(|got| got > 0) {}
                std::thread::sleep(READ_GAP);
            }
        });
        Ok(Reader {
            stop,
            thread: Some(thread),
        })
    }
}

/// Interval between reads, similar to the daemon's decision interval.
const READ_GAP: Duration = Duration::from_millis(5);

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr.
            let _ = thread.join();
        }
    }
}

/// Results of each turn.
#[derive(Default)]
struct Samples {
    packets_per_s: Vec<f64>,
    core_packets_per_s: Vec<f64>,
    cpu_us: Vec<f64>,
    latency_p50_us: Vec<f64>,
    latency_p99_us: Vec<f64>,
    pacing_p50_us: Vec<f64>,
    pacing_p99_us: Vec<f64>,
    gap_us: Vec<f64>,
}

impl Samples {
    fn take_turn(
        &mut self,
        turn: Duration,
        topology: impl Fn(u64) -> anyhow::Result<Topology>,
    ) -> anyhow::Result<()> {
        let flood = topology(FAST_BPS)?.flood(turn)?;
        self.packets_per_s.push(flood.packets_per_s);
        self.core_packets_per_s.extend(flood.core_packets_per_s);
        self.cpu_us.push(flood.cpu_us);

        let idle = topology(FAST_BPS)?.probe(100, IDLE_GAP, turn)?;
        let latency = idle
            .iter()
            .map(|arrival| arrival.received_ns - arrival.sent_ns);
        let latency = latency.collect::<Histogram>();
        self.latency_p50_us.push(us(&latency, 0.5)?);
        self.latency_p99_us.push(us(&latency, 0.99)?);

        // 25 % above the link's rate.
        let gap = Duration::from_secs_f64(PACKET as f64 * 8.0 / PACED_BPS as f64 / 1.25);
        let paced = topology(PACED_BPS)?.probe(PACKET, gap, turn)?;
        let (gap_ns, errors) = pacing_errors(&paced)?;
        self.gap_us.push(gap_ns / 1e3);
        self.pacing_p50_us.push(us(&errors, 0.5)?);
        self.pacing_p99_us.push(us(&errors, 0.99)?);
        Ok(())
    }

    fn numbers(self) -> Side {
        Side {
            packets_per_s: median(self.packets_per_s),
            core_bits_per_s: match self.core_packets_per_s.is_empty() {
                true => None,
                false => Some(median(self.core_packets_per_s) * PACKET as f64 * 8.0),
            },
            cpu_us_per_packet: median(self.cpu_us),
            latency_us: [median(self.latency_p50_us), median(self.latency_p99_us)],
            pacing_us: [median(self.pacing_p50_us), median(self.pacing_p99_us)],
            gap_us: median(self.gap_us),
        }
    }
}

fn us(histogram: &Histogram, q: f64) -> anyhow::Result<f64> {
    let ns = histogram.quantile(q).context("no datagram arrived")?;
    Ok(ns as f64 / 1e3)
}

/// The mean gap between packets sent by a link of constant rate, ns, and the
/// deviation of each gap from it.
fn pacing_errors(arrivals: &[Arrival]) -> anyhow::Result<(f64, Histogram)> {
    // Skip packets sent before the queue has built up.
    let steady = arrivals.get(arrivals.len() / 4..).unwrap_or_default();
    let (first, last) = match steady {
        [first, .., last] => (first.received_ns, last.received_ns),
        _ => bail!("too few datagrams arrived"),
    };
    let gap_ns = (last - first) as f64 / (steady.len() - 1) as f64;
    let gaps = steady.windows(2);
    let gaps = gaps.map(|pair| pair[1].received_ns.saturating_sub(pair[0].received_ns) as f64);
    Ok((
        gap_ns,
        gaps.map(|gap| (gap - gap_ns).abs() as u64).collect(),
    ))
}

/// One of the two measured paths.
#[derive(Debug, Serialize)]
struct Side {
    packets_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    core_bits_per_s: Option<f64>,
    cpu_us_per_packet: f64,
    /// p50, p99.
    latency_us: [f64; 2],
    /// p50, p99.
    pacing_us: [f64; 2],
    gap_us: f64,
}

struct Numbers {
    own: Side,
    linux: Option<Side>,
}

impl Numbers {
    fn met(&self) -> [(&'static str, bool); 3] {
        let core = self.own.core_bits_per_s.unwrap_or(0.0);
        [
            ("core_bits_per_s", core >= AIM_BITS_PER_S),
            ("latency_us", self.own.latency_us[1] < AIM_LATENCY_P99_US),
            ("pacing_us", self.own.pacing_us[1] < AIM_PACING_P99_US),
        ]
    }

    /// The numbers that miss their targets, by their names in JSON.
    fn missed(&self) -> Vec<&'static str> {
        let met = self.met().into_iter();
        met.filter_map(|(name, met)| (!met).then_some(name))
            .collect()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "router": self.own,
            "tbf": self.linux,
            "aims_missed": self.missed(),
        })
    }

    fn text(&self, palette: Palette) -> String {
        let [core, latency, pacing] = self.met().map(|(_, met)| match met {
            true => palette.paint(Tone::Good, "met"),
            false => palette.paint(Tone::Bad, "missed"),
        });
        let tbf = |of: &dyn Fn(&Side) -> String| match &self.linux {
            Some(side) => format!("; tbf: {}", of(side)),
            None => String::new(),
        };
        let own = &self.own;
        let throughput = |side: &Side| {
            format!(
                "{:.0} packets a second, {:.1} us of processor time for each",
                side.packets_per_s, side.cpu_us_per_packet
            )
        };
        let quantiles = |[p50, p99]: [f64; 2]| format!("p50 {p50:.1} us, p99 {p99:.1} us");
        format!(
            "router, {PACKET} bytes, with records: {:.2} Gbit/s on one core (aim {}: {core})\n\
             router, at maximum rate: {}{}\n\
             router, latency when idle: {} (aim {AIM_LATENCY_P99_US} us: {latency}){}\n\
             router, pacing error at {} Mbit/s: {} (aim {AIM_PACING_P99_US} us: {pacing}){}\n",
            own.core_bits_per_s.unwrap_or(0.0) / 1e9,
            AIM_BITS_PER_S / 1e9,
            throughput(own),
            tbf(&throughput),
            quantiles(own.latency_us),
            tbf(&|side| quantiles(side.latency_us)),
            PACED_BPS / 1_000_000,
            quantiles(own.pacing_us),
            tbf(&|side| quantiles(side.pacing_us)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pacing_errors_are_differences_of_gaps() {
        let arrivals: Vec<Arrival> = (0..400)
            .map(|at| Arrival {
                sent_ns: 0,
                received_ns: at * 1_500_000 + 30_000 * u64::from(at == 350),
            })
            .collect();
        let (gap_ns, errors) = pacing_errors(&arrivals).unwrap();
        assert_eq!(gap_ns, 1_500_000.0);
        assert_eq!((errors.count(), errors.quantile(0.99)), (299, Some(0)));
        assert_eq!(errors.most(), Some(30_000));
        assert!(pacing_errors(&arrivals[..1]).is_err());
    }

    #[test]
    fn missed_aims_are_named() {
        let numbers = |core, latency, pacing| Numbers {
            own: Side {
                packets_per_s: 1e5,
                core_bits_per_s: Some(core),
                cpu_us_per_packet: 10.0,
                latency_us: [1.0, latency],
                pacing_us: [1.0, pacing],
                gap_us: 1500.0,
            },
            linux: None,
        };
        assert_eq!(numbers(1e9, 99.0, 19.0).missed(), [""; 0]);
        assert_eq!(
            numbers(0.9e9, 100.0, 20.0).missed(),
            ["core_bits_per_s", "latency_us", "pacing_us"]
        );
    }
}
