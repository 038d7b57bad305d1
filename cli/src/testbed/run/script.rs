//! The commands of a repetition on FreeBSD's machines.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use l4sllm_abi::Params;
use l4sllm_lab::convert::{COUNTERS, COUNTERS_BEFORE, DAEMON, DEPARTURES, RECORDS};
use l4sllm_lab::{Host, Kind, Os, Sender, configuration, iperf, senders};
use l4sllm_machines::{Group, Program, Repetition, Role};
use l4sllm_testbed::net::Link;
use l4sllm_testbed::scenario::{Control, Plan, Scenario};
use l4sllm_testbed::sim::derive_seed;
use l4sllmd::engine::Preset;

const MS: u64 = 1_000_000;
/// Policies of the package of the daemon.
const POLICIES: &str = "/usr/local/share/l4sllm/policies";
/// The daemon's socket on FreeBSD.
const SOCKET: &str = "/var/run/l4sllmd/status.sock";
/// Congestion controls of the image's machines.
const CONTROLS: [&str; 3] = ["cubic", "newreno", "dctcp"];
/// Name of the server in the machines' hosts(5).
const SERVER: &str = "server";

/// An arm of a comparison on the machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name, and that of its directory.
    pub name: String,
    /// Profile of the queue's parameters.
    profile: &'static str,
    /// Engine that decides in it; a policy's path is that on the router.
    pub control: Option<Control>,
}

impl Arm {
    /// The arms that `word` of the command line means: a policy has one for each
    /// interval.
    ///
    /// # Errors
    /// A relative path, or a name that is not one.
    pub fn of(word: &str, intervals: &[NonZeroU32]) -> anyhow::Result<Vec<Arm>> {
        let arm = |name: &str, profile, control| Arm {
            name: name.to_owned(),
            profile,
            control,
        };
        let path = match word {
            "plain" => return Ok(vec![arm("dualpi2", "default", None)]),
            "tuned" => return Ok(vec![arm("dualpi2-tuned", "tuned", None)]),
            "adaptive" => {
                let rule = Control::adaptive(Preset::default());
                return Ok(vec![arm("adaptive", "default", Some(rule))]);
            }
            path if path.starts_with('/') => path.to_owned(),
            name => format!("{POLICIES}/{name}"),
        };
        let name = path.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !word.is_empty()
                && (word.starts_with('/') || !word.contains('/'))
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(plain),
            "expected plain, tuned, adaptive, a policy's name, or its absolute path on the router"
        );
        let of_interval = |interval: &NonZeroU32| {
            let control = Control::new(Path::new(&path), *interval);
            arm(&format!("{name}-{interval}"), "default", Some(control))
        };
        Ok(intervals.iter().map(of_interval).collect())
    }

    /// Parameters of its profile.
    pub fn params(&self) -> Params {
        match self.profile {
            "tuned" => Params::tuned(),
            _ => Params::default(),
        }
    }
}

/// Facts about the machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The router's interface toward the server.
    pub interface: String,
}

/// Recordings in addition to the router's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extras {
    /// siftr's logs.
    pub siftr: bool,
    /// Headers of packets.
    pub pcap: bool,
}

/// Returns the commands of repetition `number`, from 0.
///
/// # Errors
/// The first feature of the scenario that the machines do not have, by name.
pub fn repetition(
    scenario: &Scenario,
    arm: &Arm,
    number: u32,
    place: &Place,
    extras: Extras,
) -> anyhow::Result<Repetition> {
    let seed = scenario.repetition_seed(number);
    let plan = Plan::draw(scenario, seed);
    let flows = senders(scenario, &plan, &freebsd())?;
    check_link(scenario, &plan)?;
    let mut repetition = Repetition {
        settings: vec![(Role::Router, queue(scenario, arm, place))],
        ..Repetition::default()
    };
    repetition.settings.push((Role::Server, server_settings()));
    let mut router = vec![
        program(
            RECORDS.trim_end_matches(".out"),
            Duration::ZERO,
            &["cat", "/dev/l4sllm"],
        ),
        departures(place),
    ];
    // tcpdump writes the file's header when it captures.
    let mut check = format!("test -s {DEPARTURES}");
    if let Some(control) = &arm.control {
        let config = configuration(
            "path = \"/dev/l4sllm\"",
            Path::new(SOCKET),
            control,
            None,
            derive_seed(seed, "policy", 0),
        );
        repetition.settings.push((
            Role::Router,
            shell(&format!(
                "install -d /var/run/l4sllmd && printf %s {} >l4sllm-run/l4sllmd.toml",
                l4sllm_model::text::shell_word(&config)
            )),
        ));
        router.push(program(
            "l4sllmd",
            Duration::ZERO,
            &["l4sllmd", "--config", "l4sllmd.toml"],
        ));
        check += " && l4sllm status --format json | grep -Eq '\"state\": ?\"running\"'";
        let before = format!("sysctl net.inet.l4sllm.stats >l4sllm-run/{COUNTERS_BEFORE}");
        repetition.settings.push((Role::Router, shell(&before)));
    }
    if extras.pcap {
        let capture = [
            "tcpdump",
            "-i",
            &place.interface,
            "-s",
            "100",
            "-U",
            "-w",
            "router.pcap",
        ];
        router.push(program("tcpdump", Duration::ZERO, &capture));
    }
    let router = Group {
        programs: router,
        check: shell(&check),
    };
    repetition.receivers.push((Role::Router, router));
    let server = receivers(scenario, &flows, extras);
    repetition.receivers.push((Role::Server, server));
    for (at, role) in [Role::Client1, Role::Client2].into_iter().enumerate() {
        add_client(&mut repetition, scenario, &plan, &flows, at, role, extras)?;
    }
    repetition.counters = counters(arm);
    Ok(repetition)
}

/// The image's machines.
pub fn freebsd() -> Host {
    Host {
        os: Os::FreeBsd,
        controls: CONTROLS.map(str::to_owned).to_vec(),
        kernel: String::new(),
        iperf: String::new(),
    }
}

/// Fails if dummynet's pipes of the testbed cannot emulate the path.
fn check_link(scenario: &Scenario, plan: &Plan) -> anyhow::Result<()> {
    if scenario.bottleneck.steps().len() > 1 {
        bail!("bottleneck: its rate changes; the machines have a constant one");
    }
    if scenario.link != Link::default() {
        bail!(
            "bottleneck: the machines have no bursts, walk, grant, loss or jitter; remove these \
             keys out"
        );
    }
    if scenario.return_bps != 0 {
        bail!("return_rate: the machines do not limit the return path; remove the key");
    }
    if let Some(client) = scenario.clients.get(2) {
        bail!("client {}: the testbed has two clients", client.name);
    }
    if let Some(client) = scenario.clients.iter().find(|client| client.delay_ns > 0) {
        bail!(
            "client {}: the machines' access links have no delay",
            client.name
        );
    }
    ensure!(
        scenario.rtt_ns % MS == 0,
        "rtt: dummynet delays by whole milliseconds, not {} ns",
        scenario.rtt_ns
    );
    for flow in &plan.flows {
        let rtt_ns = flow.forward_ns + flow.return_ns;
        if rtt_ns != scenario.rtt_ns {
            bail!(
                "flow {}: its round-trip time is {rtt_ns} ns, but the router delays all packets \
                 alike, by {} ns; leave out its `rtt`, and `rtt_jitter`",
                plan.reported[flow.reported as usize].name,
                scenario.rtt_ns
            );
        }
    }
    Ok(())
}

/// Creates the bottleneck as vm-images/files/role does, with the arm's profile.
fn queue(scenario: &Scenario, arm: &Arm, place: &Place) -> Vec<String> {
    let (rate, rtt_ms) = (scenario.bottleneck.max(), scenario.rtt_ns / MS);
    let (there, interface) = (rtt_ms / 2, &place.interface);
    let profile = arm.profile;
    shell(&format!(
        "ipfw -q -f flush && ipfw -q -f pipe flush && \
         sysctl net.inet.ip.redirect=0 net.inet.ip.fw.one_pass=1 \
         net.inet.ip.dummynet.io_fast=0 net.inet.ip.dummynet.dualpi2.profile={profile} && \
         ipfw -q pipe 1 config bw {rate}bit/s delay {there} && \
         ipfw -q sched 1 config pipe 1 type dualpi2 && \
         ipfw -q queue 1 config sched 1 && \
         ipfw -q pipe 2 config delay {back} && \
         ipfw -q add 2000 queue 1 ip from any to any out xmit {interface} && \
         ipfw -q add 2010 pipe 2 ip from any to any in recv {interface} && \
         ipfw -q add 65000 allow ip from any to any",
        back = rtt_ms - there,
    ))
}

/// Captures the headers of the packets that leave toward the server, which assign
/// records to flows: link, IP and ports.
fn departures(place: &Place) -> Program {
    let command = [
        "tcpdump",
        "-Q",
        "out",
        "-i",
        &place.interface,
        "-s",
        "68",
        "-B",
        "512",
        "-U",
        "-w",
        DEPARTURES,
        "ip or ip6",
    ];
    program("departures", Duration::ZERO, &command)
}

/// The server accepts ECN, and sends acknowledgements of accurate ECN.
fn server_settings() -> Vec<String> {
    ["sysctl", "net.inet.tcp.ecn.enable=3"]
        .map(str::to_owned)
        .to_vec()
}

/// One iperf3 for each flow, which has its own port.
fn receivers(scenario: &Scenario, flows: &[Sender], extras: Extras) -> Group {
    let iperf3 = |flow: &Sender| {
        let arguments = iperf::server(flow, scenario.sample_ns);
        iperf3(flow, "server", Duration::ZERO, arguments)
    };
    let mut programs: Vec<Program> = flows.iter().map(iperf3).collect();
    programs.extend(extras.siftr.then(siftr));
    let listens = |flow: &Sender| format!("sockstat -4 -l -p {0} | grep -q :{0}", flow.port);
    let all: Vec<String> = flows.iter().map(listens).collect();
    Group {
        programs,
        check: shell(&all.join(" && ")),
    }
}

/// Adds the flows of a client, and its settings.
fn add_client(
    repetition: &mut Repetition,
    scenario: &Scenario,
    plan: &Plan,
    flows: &[Sender],
    at: usize,
    role: Role,
    extras: Extras,
) -> anyhow::Result<()> {
    let own = flows
        .iter()
        .zip(&plan.flows)
        .filter(|(_, flow)| flow.client == at);
    let own: Vec<&Sender> = own.map(|(sender, _)| sender).collect();
    let Some(first) = own.iter().find(|flow| matches!(flow.kind, Kind::Tcp(_))) else {
        if own.is_empty() {
            return Ok(());
        }
        return add_senders(repetition, scenario, &own, role, extras);
    };
    let same = |flow: &&&Sender| matches!(flow.kind, Kind::Tcp(_)) && flow.ecn != first.ecn;
    if let Some(other) = own.iter().find(same) {
        bail!(
            "flow {}: FreeBSD sets ECN for all connections of a machine, and {} of the same \
             client differs; use the other client, or the same `ecn`",
            other.name,
            first.name
        );
    }
    let ecn = if first.ecn { 3 } else { 0 };
    let mut words = vec![
        "sysctl".to_owned(),
        format!("net.inet.tcp.ecn.enable={ecn}"),
    ];
    if own
        .iter()
        .any(|flow| flow.kind == Kind::Tcp("dctcp".to_owned()))
    {
        words.push("net.inet.tcp.cc.dctcp.ect1=1".to_owned());
    }
    repetition.settings.push((role, words));
    add_senders(repetition, scenario, &own, role, extras)
}

fn add_senders(
    repetition: &mut Repetition,
    scenario: &Scenario,
    flows: &[&Sender],
    role: Role,
    extras: Extras,
) -> anyhow::Result<()> {
    let client = |flow: &&Sender| {
        let stop_ns = flow.stop_ns.unwrap_or(u64::MAX).min(scenario.duration_ns);
        // iperf3 counts whole seconds.
        let seconds = stop_ns
            .saturating_sub(flow.start_ns)
            .div_ceil(1_000_000_000)
            .max(1);
        let arguments = iperf::client(flow, scenario.sample_ns, seconds, SERVER);
        iperf3(
            flow,
            "client",
            Duration::from_nanos(flow.start_ns),
            arguments,
        )
    };
    let group = Group {
        programs: flows.iter().map(client).collect(),
        check: Vec::new(),
    };
    if extras.siftr {
        let log = Group {
            programs: vec![siftr()],
            check: Vec::new(),
        };
        repetition.receivers.push((role, log));
    }
    repetition.senders.push((role, group));
    Ok(())
}

fn iperf3(flow: &Sender, role: &str, delay: Duration, arguments: Vec<String>) -> Program {
    Program {
        name: format!("iperf3-{}-{role}", flow.name),
        delay,
        command: [vec!["iperf3".to_owned()], arguments].concat(),
    }
}

/// Writes siftr's log until it is ended.
fn siftr() -> Program {
    let script = "sysctl net.inet.siftr.logfile=\"$PWD/siftr.log\" net.inet.siftr.enabled=1; \
                  sleep 86400 & pid=$!; \
                  trap 'kill $pid; sysctl net.inet.siftr.enabled=0; exit 0' TERM; wait";
    program("siftr", Duration::ZERO, &["sh", "-c", script])
}

/// State of the queue and of its daemon at the end.
fn counters(arm: &Arm) -> Vec<(Role, String, Vec<String>)> {
    let variables = "sysctl net.inet.l4sllm net.inet.ip.dummynet.dualpi2";
    let mut list = vec![
        (COUNTERS, shell(variables)),
        ("rules.txt", shell("ipfw -a list")),
        ("schedulers.txt", shell("ipfw sched show")),
        ("pipes.txt", shell("ipfw pipe show")),
        (
            "versions.txt",
            shell("uname -a && l4sllm --version && iperf3 --version"),
        ),
    ];
    if arm.control.is_some() {
        list.push((DAEMON, shell("l4sllm status --format json")));
    }
    let on_router = |(file, command): (&str, _)| (Role::Router, file.to_owned(), command);
    list.into_iter().map(on_router).collect()
}

fn program(name: &str, delay: Duration, command: &[&str]) -> Program {
    Program {
        name: name.to_owned(),
        delay,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}
