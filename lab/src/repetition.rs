//! One repetition of one arm, in real time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use l4sllm_abi::Stats;
use l4sllm_router::{Delay, Forwarder, Net, Priority, Report, Running};
use l4sllm_testbed::device::DeviceServer;
use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::result::{
    FlowMeta, FlowRow, Overrides, Packets, RateStep, Records, Refusals, ResultDir, Rows, RunMeta,
    RunWriter, Window,
};
use l4sllm_testbed::router::Handle;
use l4sllm_testbed::scenario::{Arm, Plan, Scenario};
use l4sllm_testbed::sim::{derive_seed, discipline};
use l4sllmd::clock::now_ns;
use l4sllmd::status::Status;
use rustix::process::Signal;
use serde::Serialize;

use crate::host::find;
use crate::iperf::{Log, Reports};
use crate::topology::MTU;
use crate::{
    Daemon, Host, LabError, Process, Recorder, RoundTrips, Sender, Topology, ping, senders, tool,
};

/// Time for the servers to listen.
const START: Duration = Duration::from_secs(10);
/// Longest time between two looks at the programs.
const POLL: Duration = Duration::from_millis(50);
/// Time added to the duration of iperf3's clients, which the lab stops earlier, s.
const SPARE_S: u64 = 60;

/// One repetition of one arm.
pub struct Job<'a> {
    /// The network and its traffic.
    pub scenario: &'a Scenario,
    /// The queue and what controls it.
    pub arm: &'a Arm,
    /// From 0.
    pub repetition: u32,
    /// This host.
    pub host: &'a Host,
    /// The program `l4sllmd`, if the arm needs it.
    pub daemon: Option<&'a Path>,
    /// The program `l4sllm`, for UDP Prague.
    pub program: &'a Path,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
    /// Called with the time since the start, ns.
    pub progress: &'a dyn Fn(u64),
}

/// Precision of the host in a repetition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Precision {
    /// Packets that the kernel dropped because the router did not read them.
    pub dropped_before: u64,
    /// 99th percentile of the time from a packet's departure to its write, us.
    pub late_p99_us: f64,
}

/// The flow of packets that belong to no other: ping's.
const PING: &str = "ping";

impl Job<'_> {
    /// Runs it and writes it to `dir`; `None` if cancelled.
    ///
    /// # Errors
    /// A program or the router failed; nothing is written then.
    pub fn run(&self, dir: &ResultDir) -> Result<Option<Precision>, LabError> {
        let seed = self.scenario.repetition_seed(self.repetition);
        let plan = Plan::draw(self.scenario, seed);
        let senders = senders(self.scenario, &plan, self.host)?;
        let topology = Topology::new()?;
        let ends = topology.open()?;
        let servers = self.servers(&topology, &senders)?;
        let queue = discipline(
            &self.arm.aqm,
            self.arm.is_controlled(),
            derive_seed(seed, "aqm", 0),
        )?;
        let device = Device::start(self, &topology, &queue, seed)?;

        let other = plan.reported.len() as u32;
        let by_port = |sender: &Sender| (sender.port, sender.reported);
        let sample_ns = self.arm.is_controlled().then_some(self.scenario.sample_ns);
        let flows: HashMap<u16, u32> = senders.iter().map(by_port).collect();
        let (recorder, rows) = Recorder::new(flows, other, sample_ns);
        let delays = |sender: &Sender| (sender.port, sender.delay);
        let delays: HashMap<u16, Delay> = senders.iter().map(delays).collect();

        let window = window(self.scenario, seed);
        let writer = dir.begin(&self.arm.name, self.repetition, window, other as usize + 1)?;
        let mut forwarder =
            Forwarder::repeating(self.scenario, self.repetition, queue, MTU.into(), now_ns());
        forwarder.set_delays(delays);
        forwarder.observe(Box::new(recorder));
        let running = Running::with(forwarder, ends, Priority::RealTime);
        let mut live = Live {
            job: self,
            topology: &topology,
            senders: &senders,
            clients: senders.iter().map(|_| None).collect(),
            servers,
            began: Instant::now(),
            first_ns: vec![None; senders.len()],
            rows,
            writer,
        };
        let running = running.map_err(LabError::system("start the forwarding thread"))?;
        let ping = find("ping").unwrap_or_default();
        let mut ping = Process::start(
            Some(&topology.client),
            topology.dir(),
            PING,
            &ping,
            &ping::arguments(),
        )?;
        live.drive(&running)?;
        let status = device.daemon.as_ref().and_then(Daemon::status);
        live.stop_programs();
        ping.signal(Signal::INT);
        ping.wait();
        let report = running.stop();
        live.take_rows()?;
        if self.cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let stats = device.stats()?;
        let ping = String::from_utf8_lossy(&ping.output()).into_owned();
        self.finish(
            dir,
            live,
            plan,
            seed,
            &Ended {
                report,
                stats,
                status,
                ping,
            },
        )
    }

    /// Starts the servers of all flows and waits until they listen.
    fn servers(&self, topology: &Topology, senders: &[Sender]) -> Result<Vec<Process>, LabError> {
        let servers: Result<Vec<Process>, LabError> = senders
            .iter()
            .map(|sender| {
                let tool = tool::server(sender, self.scenario.sample_ns, self.program);
                Process::start(
                    Some(&topology.server),
                    topology.dir(),
                    &file(sender, "server"),
                    &tool.program,
                    &tool.arguments,
                )
            })
            .collect();
        let servers = servers?;
        let ports: Vec<u16> = senders.iter().map(|sender| sender.port).collect();
        wait_listening(&topology.server, &ports)?;
        Ok(servers)
    }

    /// Checks the counters and writes everything.
    fn finish(
        &self,
        dir: &ResultDir,
        live: Live<'_>,
        plan: Plan,
        seed: u64,
        ended: &Ended,
    ) -> Result<Option<Precision>, LabError> {
        let measured = &ended.report.measured;
        if let Some((interface, error)) = &ended.report.failure {
            return Err(LabError::Forwarding {
                interface: interface.clone(),
                source: std::io::Error::new(error.kind(), error.to_string()),
            });
        }
        if let Some((what, left, right)) = measured.imbalance() {
            return Err(LabError::Accounting {
                arm: self.arm.name.clone(),
                repetition: self.repetition,
                what,
                left,
                right,
            });
        }
        let (mut flows, writer) = live.collect(plan.reported)?;
        flows.push(self.ping_flow());
        let summary = measured.summary(ended.stats.as_ref());
        writer.attach("router.json", &json(&summary))?;
        // The flow's packets before the measured time are known by their number.
        let skip = self.scenario.warmup_ns / 200_000_000;
        if let Some(times) = RoundTrips::parse(&ended.ping, skip) {
            writer.attach("ping.json", &json(&times))?;
        }
        if let Some(status) = &ended.status {
            writer.attach("daemon.json", &json(status))?;
        }
        let meta = self.meta(seed, flows, ended);
        dir.finish(&self.arm.name, self.repetition, writer, &meta)?;
        Ok(Some(Precision {
            dropped_before: ended.report.dropped_before.into_iter().flatten().sum(),
            late_p99_us: summary.lateness_us.map_or(0.0, |late| late.p99),
        }))
    }

    fn ping_flow(&self) -> FlowMeta {
        FlowMeta {
            name: PING.to_owned(),
            cc: "icmp".to_owned(),
            queue: 0,
            start_ns: 0,
            end_ns: self.scenario.duration_ns,
            goodput_bytes: 0,
            retransmits: 0,
            fair: false,
            transfers: None,
        }
    }

    fn meta(&self, seed: u64, flows: Vec<FlowMeta>, ended: &Ended) -> RunMeta {
        let Window {
            start_ns,
            end_ns,
            capacity,
        } = window(self.scenario, seed);
        let queue = ended.report.measured.queue;
        let seconds = self.scenario.duration_ns as f64 / 1e9;
        RunMeta {
            seed,
            start_ns,
            end_ns,
            capacity,
            flows,
            packets: Packets {
                arrived: queue.arrived,
                forwarded: queue.forwarded,
                dropped: queue.dropped,
                queued: ended.report.measured.queued,
            },
            records: records(ended.status.as_ref()),
            overrides: ended.overrides(),
            refusals: ended.refusals(),
            virtual_s: seconds,
            wall_s: seconds,
        }
    }
}

/// Messages of the daemon's stream. The device counts those of each reader for that
/// reader alone, so these are the daemon's own counters.
pub(crate) fn records(status: Option<&Status>) -> Records {
    let counters = status.map(|status| status.counters).unwrap_or_default();
    Records {
        written: counters.messages + counters.lost,
        read: counters.messages,
        lost: counters.lost,
        waiting: 0,
    }
}

/// The measured time of a repetition, and the link's capacity.
pub(crate) fn window(scenario: &Scenario, seed: u64) -> Window {
    let rate = scenario.link_rate(seed);
    let steps = rate.steps().iter().map(|step| RateStep {
        from_ns: step.from_ns,
        bits_per_s: step.bits_per_s,
    });
    Window {
        start_ns: scenario.warmup_ns,
        end_ns: scenario.duration_ns,
        capacity: steps.collect(),
    }
}

/// Values known only at the end, in addition to rows and flows.
struct Ended {
    report: Report,
    stats: Option<Stats>,
    status: Option<Status>,
    ping: String,
}

impl Ended {
    fn overrides(&self) -> Overrides {
        self.stats
            .as_deref()
            .map(Overrides::from)
            .unwrap_or_default()
    }

    fn refusals(&self) -> Refusals {
        self.stats
            .as_deref()
            .map(Refusals::from)
            .unwrap_or_default()
    }
}

/// Name of the files of a program.
fn file(sender: &Sender, role: &str) -> String {
    format!("{}-{}-{role}", sender.tool(), sender.name)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain structs are JSON");
    bytes.push(b'\n');
    bytes
}

/// The queue's device, and the daemon that controls it.
struct Device {
    handle: Option<Handle>,
    /// Before the server, so that the daemon ends first.
    daemon: Option<Daemon>,
    _server: Option<DeviceServer>,
}

impl Device {
    fn start(
        job: &Job<'_>,
        topology: &Topology,
        queue: &Discipline,
        seed: u64,
    ) -> Result<Device, LabError> {
        let Discipline::Router(router) = queue else {
            return Ok(Device {
                handle: None,
                daemon: None,
                _server: None,
            });
        };
        let handle = Some(router.open()?);
        let (Some(control), Some(program)) = (&job.arm.control, job.daemon) else {
            return Ok(Device {
                handle,
                daemon: None,
                _server: None,
            });
        };
        let socket = topology.dir().join("device.sock");
        let server = DeviceServer::start(&socket, router.opener())
            .map_err(LabError::system("serve the queue's device"))?;
        let seed = derive_seed(seed, "policy", 0);
        let daemon = Daemon::start(program, topology.dir(), &socket, control, seed)?;
        Ok(Device {
            handle,
            daemon: Some(daemon),
            _server: Some(server),
        })
    }

    /// The queue's counters, after the daemon has ended.
    fn stats(mut self) -> Result<Option<Stats>, LabError> {
        drop(self.daemon);
        let stats = self.handle.as_mut().map(|handle| handle.stats(now_ns()));
        Ok(stats.transpose()?)
    }
}

/// A repetition that runs.
struct Live<'a> {
    job: &'a Job<'a>,
    topology: &'a Topology,
    senders: &'a [Sender],
    /// The client of each sender, once started.
    clients: Vec<Option<Process>>,
    servers: Vec<Process>,
    began: Instant,
    /// When the first packet of each sender's data arrived at the queue, ns.
    first_ns: Vec<Option<u64>>,
    rows: Receiver<Rows>,
    writer: RunWriter,
}

impl Live<'_> {
    /// Starts and stops the senders until the end, a failure or a cancellation.
    fn drive(&mut self, running: &Running) -> Result<(), LabError> {
        let duration_ns = self.job.scenario.duration_ns;
        loop {
            let now_ns = self.began.elapsed().as_nanos() as u64;
            let cancelled = self.job.cancel.load(Ordering::Relaxed);
            if now_ns >= duration_ns || cancelled || running.has_ended() {
                return Ok(());
            }
            let mut next_ns = duration_ns;
            for at in 0..self.senders.len() {
                let due_ns = self.step(at, now_ns)?;
                next_ns = due_ns.map_or(next_ns, |due_ns| next_ns.min(due_ns));
            }
            self.take_rows()?;
            (self.job.progress)(now_ns);
            let wait = Duration::from_nanos(next_ns.saturating_sub(now_ns));
            std::thread::sleep(wait.min(POLL));
        }
    }

    /// Starts or stops a sender if that is due; returns when it is due next.
    fn step(&mut self, at: usize, now_ns: u64) -> Result<Option<u64>, LabError> {
        let sender = &self.senders[at];
        let stop_ns = sender.stop_ns.unwrap_or(u64::MAX);
        match &mut self.clients[at] {
            None if now_ns < sender.start_ns => return Ok(Some(sender.start_ns)),
            None => {
                let last_ns = stop_ns.min(self.job.scenario.duration_ns);
                let seconds = (last_ns - sender.start_ns) / 1_000_000_000 + SPARE_S;
                let sample_ns = self.job.scenario.sample_ns;
                let tool = tool::client(sender, sample_ns, seconds, self.job.program);
                self.clients[at] = Some(Process::start(
                    Some(&self.topology.client),
                    self.topology.dir(),
                    &file(sender, "client"),
                    &tool.program,
                    &tool.arguments,
                )?);
            }
            Some(client) if now_ns >= stop_ns => client.signal(Signal::INT),
            Some(client) => {
                if client.ended().is_some() {
                    return Err(client.failure("ended early"));
                }
            }
        }
        Ok((now_ns < stop_ns).then_some(stop_ns))
    }

    /// Writes the rows of the packets since the last call.
    fn take_rows(&mut self) -> Result<(), LabError> {
        while let Ok(rows) = self.rows.try_recv() {
            for (sender, first_ns) in self.senders.iter().zip(&mut self.first_ns) {
                if first_ns.is_none() {
                    let data = |bytes| bytes >= sender.data_bytes();
                    let mut own = rows.packets.iter();
                    *first_ns = own
                        .find(|row| row.flow == sender.reported && data(row.bytes))
                        .map(|row| row.time_ns - row.sojourn_ns);
                }
            }
            self.writer.add(&rows)?;
        }
        Ok(())
    }

    /// Ends all programs of all flows, which print their reports.
    fn stop_programs(&mut self) {
        let clients = self.clients.iter_mut().flatten();
        let mut all: Vec<&mut Process> = clients.chain(&mut self.servers).collect();
        for program in &mut all {
            program.signal(Signal::INT);
        }
        for program in &mut all {
            program.wait();
        }
    }

    /// The flows with what iperf3 measured; its reports are stored.
    fn collect(mut self, mut flows: Vec<FlowMeta>) -> Result<(Vec<FlowMeta>, RunWriter), LabError> {
        let scenario = self.job.scenario;
        let mut samples: Vec<FlowRow> = Vec::new();
        for (at, sender) in self.senders.iter().enumerate() {
            let Some(client) = &self.clients[at] else {
                continue;
            };
            let report = |role, program: &Process| {
                let name = file(sender, role);
                let json = program.output();
                let log = Log::parse(&json)
                    .map_err(|error| program.failure(&format!("printed no report ({error})")))?;
                if let Some(error) = log.error() {
                    return Err(program.failure(error));
                }
                self.writer.attach(&format!("{name}.json"), &json)?;
                Ok(log)
            };
            let reports = Reports {
                client: report("client", client)?,
                server: report("server", &self.servers[at])?,
            };
            let Some(first_ns) = self.first_ns[at] else {
                continue;
            };
            let flow = &mut flows[sender.reported as usize];
            reports.add(sender, first_ns, scenario, flow, &mut samples);
        }
        samples.retain(|row| row.time_ns < scenario.duration_ns);
        samples.sort_by_key(|row| row.time_ns);
        self.writer.add(&Rows {
            flows: samples,
            ..Rows::default()
        })?;
        Ok((flows, self.writer))
    }
}

/// Waits until sockets are open on all `ports` of a namespace.
///
/// # Errors
/// [`LabError::Late`] if one is not open in time, or the sockets cannot be read.
pub fn wait_listening(net: &Net, ports: &[u16]) -> Result<(), LabError> {
    let until = Instant::now() + START;
    loop {
        let tables = net.inside(|| {
            let read = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            // Without IPv6 there are two tables.
            Ok(["tcp", "tcp6", "udp", "udp6"]
                .map(|name| read(name).unwrap_or_default())
                .concat())
        });
        let table = tables
            .and_then(|table| table)
            .map_err(LabError::system("read the sockets of a namespace"))?;
        if ports.iter().all(|port| listens(&table, *port)) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(LabError::Late {
                what: "the receivers".to_owned(),
                seconds: START.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the tables of /proc/net (proc(5)) have an open UDP socket or a listening
/// TCP socket on `port`.
fn listens(table: &str, port: u16) -> bool {
    let end = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().is_some_and(|local| local.ends_with(&end));
        local && matches!(words.nth(1), Some("0A" | "07"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
            0: 00000000:1451 00000000:0000 0A 00000000:00000000\n   \
            1: 0100007F:1452 00000000:0000 01 00000000:00000000\n  \
            77: 0100007F:1454 00000000:0000 07 00000000:00000000\n";
        assert!(listens(table, 5201));
        assert!(!listens(table, 5202), "connected, not listening");
        assert!(!listens(table, 5203));
        assert!(listens(table, 5204), "UDP");
    }
}
