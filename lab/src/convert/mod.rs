//! Converts the files of a repetition on FreeBSD's machines to the rows of a result.

mod attribution;
mod capture;
mod counters;
mod records;

use std::fs;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use l4sllm_testbed::result::{
    FlowMeta, FlowRow, NO_FLOW, PacketRow, Packets, ResultDir, Rows, RunMeta, RunWriter,
};
use l4sllm_testbed::scenario::{Plan, Scenario};
use l4sllmd::status::Status;

use crate::iperf::{Log, Reports};
use crate::repetition::{records as records_read, window};
use crate::{Host, LabError, Sender, senders};
use counters::Counters;

/// File of the router's records.
pub const RECORDS: &str = "records.out";
/// Capture of the packets that leave the router toward the server.
pub const DEPARTURES: &str = "departures.pcap";
/// Counters of the router's device before the repetition.
pub const COUNTERS_BEFORE: &str = "counters.txt";
/// The same, and other variables, at the end.
pub const COUNTERS: &str = "sysctl.txt";
/// Status of the daemon at the end.
pub const DAEMON: &str = "daemon.json";

/// The flow of packets that belong to no other, and of dropped ones.
const OTHER: &str = "other";

/// Files of one repetition, in a directory for each machine.
#[derive(Debug)]
pub struct Files<'a> {
    /// The network and its traffic.
    pub scenario: &'a Scenario,
    /// Name of the arm.
    pub arm: &'a str,
    /// From 0.
    pub repetition: u32,
    /// The machines that sent.
    pub host: &'a Host,
    /// The directory.
    pub dir: &'a Path,
}

impl Files<'_> {
    /// Writes the repetition to `result`. Returns the reason if packets have no flow:
    /// there is no capture, or it does not match the records.
    ///
    /// # Errors
    /// A file is missing or malformed; nothing is written then.
    pub fn convert(&self, result: &ResultDir) -> Result<Option<String>, LabError> {
        let (scenario, seed) = (
            self.scenario,
            self.scenario.repetition_seed(self.repetition),
        );
        let plan = Plan::draw(scenario, seed);
        let clients: Vec<usize> = plan.flows.iter().map(|flow| flow.client).collect();
        let senders = senders(scenario, &plan, self.host)?;
        let (mut rows, problem) = self.packets(&plan, &senders)?;
        let began_ns = began(&rows, &senders, plan.reported.len() as u32);
        let packets = clip(&mut rows, began_ns, scenario.duration_ns);

        let other = plan.reported.len();
        let window = window(scenario, seed);
        let mut writer = result.begin(self.arm, self.repetition, window.clone(), other + 1)?;
        let mut flows = plan.reported;
        let samples = self.reports(&senders, &clients, &rows, &mut flows, &writer)?;
        flows.push(other_flow(scenario));
        writer.add(&Rows {
            packets: rows,
            flows: samples,
            ..Rows::default()
        })?;
        let status = self.status(&writer)?;
        let counters = self.counters();
        let seconds = scenario.duration_ns as f64 / 1e9;
        let meta = RunMeta {
            seed,
            start_ns: window.start_ns,
            end_ns: window.end_ns,
            capacity: window.capacity,
            flows,
            packets,
            records: records_read(status.as_ref()),
            overrides: counters.overrides(),
            refusals: counters.refusals(),
            virtual_s: seconds,
            wall_s: seconds,
        };
        result.finish(self.arm, self.repetition, writer, &meta)?;
        Ok(problem)
    }

    /// The packets that left the queue, with their flows, in the router's time.
    fn packets(
        &self,
        plan: &Plan,
        senders: &[Sender],
    ) -> Result<(Vec<PacketRow>, Option<String>), LabError> {
        let path = self.dir.join("router").join(RECORDS);
        let stream = fs::read(&path).map_err(file("read", &path))?;
        let mut departures = records::parse(&stream)
            .map_err(|error| file("decode", &path)(std::io::Error::other(error)))?;
        let other = plan.reported.len() as u32;
        let flow_of = |port| {
            let mut own = senders.iter().filter(|sender| sender.port == port);
            own.next().map(|sender| sender.reported)
        };
        let path = self.dir.join("router").join(DEPARTURES);
        let problem = match File::open(&path) {
            Ok(open) => {
                let captured =
                    capture::read(BufReader::new(open)).map_err(file("decode", &path))?;
                attribution::attribute(&mut departures, &captured, other, flow_of).err()
            }
            Err(_) => {
                departures.rows.iter_mut().for_each(|row| row.flow = other);
                Some(format!("router/{DEPARTURES} is missing"))
            }
        };
        Ok((departures.rows, problem))
    }

    /// Adds what iperf3 measured to `flows`; returns the samples of the senders.
    fn reports(
        &self,
        senders: &[Sender],
        clients: &[usize],
        rows: &[PacketRow],
        flows: &mut [FlowMeta],
        writer: &RunWriter,
    ) -> Result<Vec<FlowRow>, LabError> {
        let mut samples = Vec::new();
        for (sender, client) in senders.iter().zip(clients) {
            let report = |machine: &str, role: &str| {
                let name = format!("iperf3-{}-{role}", sender.name);
                let path = self.dir.join(machine).join(format!("{name}.out"));
                let json = fs::read(&path).map_err(file("read", &path))?;
                let log = Log::parse(&json)
                    .map_err(|error| file("decode", &path)(std::io::Error::other(error)))?;
                if let Some(error) = log.error() {
                    return Err(file("use", &path)(std::io::Error::other(error.to_owned())));
                }
                writer.attach(&format!("{name}.json"), &json)?;
                Ok(log)
            };
            let reports = Reports {
                client: report(&format!("client{}", client + 1), "client")?,
                server: report("server", "server")?,
            };
            let data =
                |row: &&PacketRow| row.flow == sender.reported && row.bytes >= sender.data_bytes();
            let first = rows.iter().find(data).map(arrival);
            let first_ns = first.unwrap_or(sender.start_ns);
            let flow = &mut flows[sender.reported as usize];
            reports.add(sender, first_ns, self.scenario, flow, &mut samples);
        }
        samples.retain(|row| row.time_ns < self.scenario.duration_ns);
        samples.sort_by_key(|row| row.time_ns);
        Ok(samples)
    }

    /// The daemon's status, if there was a daemon.
    fn status(&self, writer: &RunWriter) -> Result<Option<Status>, LabError> {
        let path = self.dir.join(DAEMON);
        let Ok(json) = fs::read(&path) else {
            return Ok(None);
        };
        writer.attach(DAEMON, &json)?;
        let status = serde_json::from_slice(&json);
        status
            .map(Some)
            .map_err(|error| file("decode", &path)(error.into()))
    }

    /// Increases of the device's counters; none are stored in an arm without a daemon.
    fn counters(&self) -> Counters {
        let read = |name: PathBuf| fs::read_to_string(self.dir.join(name)).ok();
        match read(Path::new("router").join(COUNTERS_BEFORE)) {
            Some(before) => Counters::between(&before, &read(COUNTERS.into()).unwrap_or_default()),
            None => Counters::default(),
        }
    }
}

/// The arrival of a packet at the queue, ns.
fn arrival(row: &PacketRow) -> u64 {
    row.time_ns.saturating_sub(row.sojourn_ns)
}

/// The start of the repetition in the router's time: the flow that was started earliest
/// has its first packet at its planned start.
fn began(rows: &[PacketRow], senders: &[Sender], other: u32) -> u64 {
    let of = |sender: &Sender| {
        let first = rows.iter().find(|row| row.flow == sender.reported)?;
        Some(arrival(first).saturating_sub(sender.start_ns))
    };
    let first = || {
        let start_ns = senders.iter().map(|sender| sender.start_ns).min();
        let packet = rows.iter().find(|row| row.flow == other);
        packet.map(|row| arrival(row).saturating_sub(start_ns.unwrap_or(0)))
    };
    let began = senders.iter().filter_map(of).min();
    began.or_else(first).unwrap_or(0)
}

/// Makes times relative to `began_ns`, and removes rows before it, and from the end on.
/// Returns the number of packets.
fn clip(rows: &mut Vec<PacketRow>, began_ns: u64, duration_ns: u64) -> Packets {
    rows.retain(|row| row.time_ns >= began_ns);
    let mut packets = Packets::default();
    for row in rows.iter_mut() {
        row.time_ns -= began_ns;
        match (row.time_ns < duration_ns, row.dropped()) {
            (true, true) => packets.dropped += 1,
            (true, false) => packets.forwarded += 1,
            (false, _) if arrival(row) < duration_ns => packets.queued += 1,
            (false, _) => {}
        }
    }
    rows.retain(|row| row.time_ns < duration_ns);
    packets.arrived = packets.forwarded + packets.dropped + packets.queued;
    packets
}

fn other_flow(scenario: &Scenario) -> FlowMeta {
    FlowMeta {
        name: OTHER.to_owned(),
        cc: NO_FLOW.to_owned(),
        queue: 0,
        start_ns: scenario.duration_ns,
        end_ns: scenario.duration_ns,
        goodput_bytes: 0,
        retransmits: 0,
        fair: false,
        transfers: None,
    }
}

/// For `map_err`: an operation on a file failed.
fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LabError {
    let path = path.to_owned();
    move |source| LabError::File {
        operation,
        path,
        source,
    }
}
