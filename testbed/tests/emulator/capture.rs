//! Captures of emulated runs, read back.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use l4sllm_abi::Params;
use l4sllm_model::EngineOptions;
use l4sllm_testbed::aqm::PieParams;
use l4sllm_testbed::capture::{About, CaptureCounts, EmulatorCapture};
use l4sllm_testbed::experiment::{ExperimentError, Options, run as run_experiment};
use l4sllm_testbed::result::Run;
use l4sllm_testbed::scenario::{Aqm, Arm, FlowGroup, Identity, Scenario};
use l4sllm_testbed::sim::Simulation;
use l4sllm_testbed::transport::Cc;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::shared_file::SharedFile;
use crate::support::{MBIT, MS, flow, scenario, udp};

const ABOUT: About<'_> = About {
    interface: "dualpi2",
    discipline: "dualpi2",
    comment: "a test",
};

/// Runs `arm` with a capture; returns the run, the capture's counters and the file.
fn captured(scenario: &Scenario, arm: &Arm) -> (Run, CaptureCounts, Vec<u8>) {
    let file = SharedFile::default();
    let mut simulation = Simulation::new(scenario, arm, 0, None).unwrap();
    simulation.capture(EmulatorCapture::begin(file.clone(), ABOUT).unwrap());
    simulation.run_until(scenario.duration_ns).unwrap();
    let counts = simulation.end_capture().unwrap().finish().unwrap();
    let run = simulation.finish().unwrap();
    let file = file.contents();
    (run, counts, file)
}

/// Packets of a file, and the numbers of received and lost packets at its end.
fn read(file: &[u8]) -> (Vec<EnhancedPacketBlock<'static>>, [u64; 2]) {
    let mut reader = PcapNgReader::new(file).unwrap();
    let (mut packets, mut statistics) = (Vec::new(), [0; 2]);
    while let Some(block) = reader.next_block() {
        match block.unwrap().into_owned() {
            Block::EnhancedPacket(packet) => packets.push(packet),
            Block::InterfaceStatistics(block) => {
                for option in block.options {
                    match option {
                        InterfaceStatisticsOption::IsbIfRecv(count) => statistics[0] = count,
                        InterfaceStatisticsOption::IsbIfDrop(count) => statistics[1] = count,
                        other => panic!("unexpected {other:?}"),
                    }
                }
            }
            _ => {}
        }
    }
    (packets, statistics)
}

fn comment<'a>(packet: &'a EnhancedPacketBlock<'_>) -> &'a str {
    let comment = packet.options.iter().find_map(|option| match option {
        EnhancedPacketOption::Comment(comment) => Some(comment.as_ref()),
        _ => None,
    });
    comment.unwrap()
}

/// TCP, datagrams that hop ports, a tunnel, and more than the link can send.
fn mixed() -> Scenario {
    let hopping = FlowGroup {
        identity: Identity::PortHop(500 * MS),
        rate_bps: Some(4 * MBIT),
        ..udp("hops", 4 * MBIT)
    };
    let tunnel = FlowGroup {
        count: 2,
        identity: Identity::Tunnel,
        ..FlowGroup::new("tunnel", Cc::NewReno)
    };
    let flows = vec![flow(Cc::Cubic), flow(Cc::Prague), hopping, tunnel];
    scenario(5 * MBIT, 20 * MS, 6, flows)
}

#[test]
fn every_packet_is_captured_with_its_verdict() {
    let (run, counts, file) = captured(&mixed(), &Arm::dualpi2("dualpi2", Params::default()));
    let (packets, statistics) = read(&file);
    let left = run.meta.packets.forwarded + run.meta.packets.dropped;
    assert_eq!((counts.written, counts.missing), (left, 0));
    assert_eq!(statistics, [left, 0]);
    assert_eq!(
        (packets.len() as u64, run.packets.len() as u64),
        (left, left)
    );
    let mut verdicts = BTreeMap::new();
    for (packet, row) in packets.iter().zip(&run.packets) {
        assert_eq!(packet.timestamp.as_nanos(), u128::from(row.time_ns));
        assert_eq!(packet.original_len, row.bytes);
        let comment = comment(packet);
        let verdict = ["enqueued", "dropped", "marked"][usize::from(row.action)];
        let sojourn = format!("sojourn {} ms; ", row.sojourn_ns as f64 / 1e6);
        assert!(
            comment.starts_with(verdict) && comment.contains(&sojourn),
            "{comment}"
        );
        assert!(comment.contains(["; classic queue; ", "; L4S queue; "][usize::from(row.queue)]));
        assert!(
            comment.contains("; no override; target 15 ms, "),
            "{comment}"
        );
        *verdicts.entry(verdict).or_insert(0) += 1;
        // Only headers are captured.
        let mut whole = packet.data.to_vec();
        assert!(whole.len() == 52 || whole.len() == 28, "{}", whole.len());
        whole.resize(packet.original_len as usize, 0);
        let Some(NetSlice::Ipv4(ip)) = SlicedPacket::from_ip(&whole).unwrap().net else {
            panic!("expected IPv4");
        };
        assert_eq!(u8::from(ip.header().ecn()), row.ecn);
    }
    assert!(
        verdicts.values().all(|count| *count > 10) && verdicts.len() == 3,
        "{verdicts:?}"
    );
}

/// Ports identify flows as the bottleneck sees them.
#[test]
fn captured_ports_identify_flows() {
    let (run, _, file) = captured(&mixed(), &Arm::dualpi2("dualpi2", Params::default()));
    let mut ports: BTreeMap<u32, Vec<(u16, u16)>> = BTreeMap::new();
    for (packet, row) in read(&file).0.iter().zip(&run.packets) {
        let mut whole = packet.data.to_vec();
        whole.resize(packet.original_len as usize, 0);
        let port = match SlicedPacket::from_ip(&whole).unwrap().transport.unwrap() {
            TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
            TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
            other => panic!("unexpected {other:?}"),
        };
        ports.entry(row.flow).or_default().push(port);
    }
    let distinct: Vec<(String, Vec<(u16, u16)>)> = ports
        .into_iter()
        .map(|(flow, mut ports)| {
            ports.sort_unstable();
            ports.dedup();
            (run.meta.flows[flow as usize].name.clone(), ports)
        })
        .collect();
    let counts: Vec<(&str, usize)> = distinct
        .iter()
        .map(|(name, ports)| (name.as_str(), ports.len()))
        .collect();
    let expected = [
        ("cubic", 1),
        ("prague", 1),
        ("hops", 12),
        ("tunnel-1", 1),
        ("tunnel-2", 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!(distinct[3].1, distinct[4].1, "one tunnel");
    assert_ne!(distinct[0].1, distinct[1].1);
}

#[test]
fn captures_repeat_with_their_seed_and_do_not_change_the_run() {
    let arm = Arm::dualpi2("dualpi2", Params::default());
    let (run, _, file) = captured(&mixed(), &arm);
    assert!(captured(&mixed(), &arm).2 == file);
    let simulation = Simulation::new(&mixed(), &arm, 0, None).unwrap();
    assert!(simulation.finish().unwrap().packets == run.packets);
}

#[test]
fn other_disciplines_are_captured_without_an_override() {
    let mut arm = Arm::dualpi2("pie", Params::default());
    arm.aqm = Aqm::Pie(PieParams::default());
    let (run, counts, file) = captured(&mixed(), &arm);
    assert_eq!(counts.written, run.packets.len() as u64);
    for packet in read(&file).0 {
        let comment = comment(&packet);
        assert!(
            !comment.contains("override") && !comment.contains("target"),
            "{comment}"
        );
    }
}

#[test]
fn a_capture_needs_exactly_one_repetition() {
    let mut scenario = mixed();
    (scenario.duration_ns, scenario.warmup_ns) = (100 * MS, 0);
    scenario.arms = vec![Arm::dualpi2("dualpi2", Params::default())];
    let file = tempfile::tempfile().unwrap();
    let run = |scenario: &Scenario, out: &Path| {
        let options = Options {
            threads: 1,
            engine: &EngineOptions::default(),
            force: false,
            cancel: &AtomicBool::new(false),
            capture: Some(&file),
            progress: &|_| {},
        };
        run_experiment(scenario, out, options)
    };
    let outs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    scenario.repetitions = 2;
    let error = run(&scenario, outs[0].path()).unwrap_err();
    assert!(
        matches!(error, ExperimentError::CaptureRuns { runs: 2 }),
        "{error}"
    );
    scenario.repetitions = 1;
    assert!(run(&scenario, outs[1].path()).unwrap().complete);
    let error = run(&scenario, outs[1].path()).unwrap_err();
    assert!(
        matches!(error, ExperimentError::CaptureRuns { runs: 0 }),
        "{error}"
    );
}

#[test]
fn a_failed_write_ends_the_capture_with_its_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = EmulatorCapture::begin(Full, ABOUT).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
