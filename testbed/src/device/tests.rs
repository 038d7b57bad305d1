use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use l4sllm_abi::bytes::{as_bytes, from_bytes};
use l4sllm_abi::{
    Decoder, Ecn, FRAME_SIZE, Interval, Limits, MESSAGE_SIZE, Message, Op, Params, Refusal, Reply,
    Request, SUMMARY_SIZE, Stats, Streams, SummaryInterval, Version, raw,
};

use l4sllmd::clock::now_ns;

use super::{DeviceServer, Load, Network, RealTime, SharedRouter};
use crate::router::Router;
use crate::scenario::Scenario;

/// Deadline, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

struct Client {
    stream: UnixStream,
    tag: u32,
}

impl Client {
    fn connect(path: &std::path::Path) -> Client {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { stream, tag: 0 }
    }

    fn send(&mut self, op: u16, body: &[u8]) -> u32 {
        self.tag += 1;
        let frame = Request {
            op,
            tag: self.tag,
            length: body.len() as u32,
        };
        self.stream.write_all(&frame.to_bytes()).unwrap();
        self.stream.write_all(body).unwrap();
        self.tag
    }

    fn receive(&mut self) -> (u32, Result<Vec<u8>, Refusal>) {
        let mut frame = [0; FRAME_SIZE];
        self.stream.read_exact(&mut frame).unwrap();
        let reply = Reply::from_bytes(&frame, 1 << 20).unwrap();
        let body = reply.result.map(|length| {
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body).unwrap();
            body
        });
        (reply.tag, body)
    }

    fn ask(&mut self, op: Op, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let tag = self.send(op.code(), body);
        let (answered, result) = self.receive();
        assert_eq!(answered, tag);
        result
    }
}

fn served() -> (tempfile::TempDir, DeviceServer, SharedRouter) {
    let dir = tempfile::tempdir().unwrap();
    let router = Router::new(&Params::default(), &Limits::default(), 1024, 1).unwrap();
    let router = Arc::new(Mutex::new(router));
    let server =
        DeviceServer::start(&dir.path().join("device"), router.lock().unwrap().opener()).unwrap();
    (dir, server, router)
}

fn load() -> Load {
    Load {
        packet_bytes: 1000,
        ecn: vec![Ecn::Ect1, Ecn::Ect0],
        offered_bps: 7_200_000,
        link_bps: 8_000_000,
    }
}

#[test]
fn requests_are_answered_while_a_read_waits() {
    let (dir, _server, router) = served();
    let mut client = Client::connect(&dir.path().join("device"));
    let answer = client
        .ask(Op::Version, as_bytes(&Version::question()))
        .unwrap();
    let version: raw::l4s_version = from_bytes(&answer).unwrap();
    assert!(Version::try_from(version).unwrap().is_compatible());

    client.ask(Op::Control, &[]).unwrap();
    let interval = Interval::of_records(20).to_raw().unwrap();
    assert!(
        client
            .ask(Op::Interval, as_bytes(&interval))
            .unwrap()
            .is_empty()
    );
    let read = client.send(Op::Read.code(), &(64 * MESSAGE_SIZE as u32).to_ne_bytes());
    let stats = client
        .ask(Op::Stats, as_bytes(&Stats::question(0, 0)))
        .unwrap();
    assert_eq!(stats.len(), size_of::<raw::l4s_stats>());

    let _packets = RealTime::start(router, load()).unwrap();
    let (tag, records) = client.receive();
    assert_eq!(tag, read);
    let records = records.unwrap();
    let mut decoder = Decoder::new();
    let records = decoder.messages(&records).collect::<Result<Vec<_>, _>>();
    let records = records.unwrap();
    assert!(records.len() >= 20, "{}", records.len());
}

#[test]
fn shorter_interval_completes_a_pending_read() {
    let (dir, _server, router) = served();
    let mut client = Client::connect(&dir.path().join("device"));
    let interval = |records| Interval::of_records(records).to_raw().unwrap();
    client
        .ask(Op::Interval, as_bytes(&interval(65_536)))
        .unwrap();
    let read = client.send(Op::Read.code(), &(MESSAGE_SIZE as u32).to_ne_bytes());
    let _packets = RealTime::start(router, load()).unwrap();
    let set = client.send(Op::Interval.code(), as_bytes(&interval(1)));
    let mut answered = [client.receive().0, client.receive().0];
    answered.sort_unstable();
    assert_eq!(answered, [read, set]);
}

#[test]
fn maximum_wait_completes_a_read_without_packets() {
    let (dir, _server, router) = served();
    let mut client = Client::connect(&dir.path().join("device"));
    let bounded = Interval {
        max_wait_ns: 1_000_000,
        ..Interval::of_records(65_536)
    }
    .to_raw()
    .unwrap();
    client.ask(Op::Interval, as_bytes(&bounded)).unwrap();
    let read = client.send(Op::Read.code(), &(MESSAGE_SIZE as u32).to_ne_bytes());
    let _packets = RealTime::start(router, load()).unwrap();
    assert_eq!(client.receive().0, read);
}

/// With a source of 90 % of the link's rate, the link is idle for a tenth of
/// the time.
#[test]
fn summaries_include_the_idle_time_of_the_link() {
    let (dir, _server, router) = served();
    let mut client = Client::connect(&dir.path().join("device"));
    let interval = Interval {
        records: 4,
        max_wait_ns: 0,
        streams: Streams::Summaries(SummaryInterval {
            period_ns: 50_000_000,
            decisions: 0,
        }),
    };
    let interval = interval.to_raw().unwrap();
    client.ask(Op::Interval, as_bytes(&interval)).unwrap();
    let _packets = RealTime::start(router, load()).unwrap();
    let most = (16 * SUMMARY_SIZE as u32).to_ne_bytes();
    let bytes = client.ask(Op::Read, &most).unwrap();
    let mut decoder = Decoder::new();
    let (mut idle_ns, mut all_ns) = (0, 0);
    for message in decoder.messages(&bytes) {
        if let Message::Summary(summary) = message.unwrap() {
            idle_ns += summary.idle_ns;
            all_ns += summary.duration_ns();
        }
    }
    let share = idle_ns as f64 / all_ns as f64;
    assert!((0.08..0.3).contains(&share), "{idle_ns} of {all_ns} ns");
}

#[test]
fn control_is_exclusive_and_released_on_close() {
    let (dir, _server, router) = served();
    let path = dir.path().join("device");
    // The packet path writes events into the stream.
    let _packets = RealTime::start(router, load()).unwrap();
    let mut first = Client::connect(&path);
    first.ask(Op::Control, &[]).unwrap();
    let mut second = Client::connect(&path);
    assert_eq!(second.ask(Op::Control, &[]), Err(Refusal::Busy));
    assert_eq!(
        second.ask(Op::Override, &[0; size_of::<raw::l4s_override>()]),
        Err(Refusal::Permission)
    );
    drop(first);
    // The server soon detects that the first one was closed; an event reports
    // it.
    let most = (64 * MESSAGE_SIZE as u32).to_ne_bytes();
    let closed = |bytes: Vec<u8>| {
        Decoder::new().messages(&bytes).any(
            |m| matches!(m, Ok(Message::Event(e)) if e.code == l4sllm_abi::EventCode::ControlClose),
        )
    };
    while !closed(second.ask(Op::Read, &most).unwrap()) {}
    second.ask(Op::Control, &[]).unwrap();
}

#[test]
fn invalid_requests_are_refused_or_close_the_connection() {
    let (dir, _server, _router) = served();
    let path = dir.path().join("device");
    let mut client = Client::connect(&path);
    client.send(999, &[1, 2, 3]);
    assert_eq!(client.receive().1, Err(Refusal::Unsupported));
    assert_eq!(client.ask(Op::Read, &[1, 2]), Err(Refusal::Invalid));
    assert_eq!(
        client.ask(Op::Read, &10u32.to_ne_bytes()),
        Err(Refusal::Invalid)
    );
    assert!(client.ask(Op::Stats, &[0; 7]).is_err());
    client.stream.write_all(&[0xff; FRAME_SIZE]).unwrap();
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
    Client::connect(&path)
        .ask(Op::Version, as_bytes(&Version::question()))
        .unwrap();
}

#[test]
fn stopped_server_removes_its_socket_and_connections() {
    let (dir, server, _router) = served();
    let path = dir.path().join("device");
    let mut client = Client::connect(&path);
    client.ask(Op::Control, &[]).unwrap();
    drop(server);
    assert!(!path.exists());
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
}

/// A scenario of 0.3 s with a classic and a scalable flow.
fn scenario() -> Scenario {
    let text = r#"
        name = "loop"
        duration = "300 ms"
        warmup = "100 ms"
        rtt = "10 ms"
        bottleneck.rate = "10 Mbit/s"
        flow = [{ name = "a", cc = "cubic" }, { name = "b", cc = "prague" }]
        arm = [{ name = "fifo", aqm = "fifo" }, { name = "dualpi2", aqm = "dualpi2" }]
    "#;
    Scenario::parse("loop.toml".as_ref(), text).unwrap()
}

/// The scenario repeats in the host's time, and the queue's counters continue.
#[test]
fn network_repeats_its_scenario_in_real_time() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = scenario();
    let before = now_ns();
    let network = Network::start(&scenario, scenario.arm("dualpi2").unwrap()).unwrap();
    let _server = DeviceServer::start(&dir.path().join("device"), network.opener()).unwrap();
    let mut client = Client::connect(&dir.path().join("device"));
    let most = (256 * MESSAGE_SIZE as u32).to_ne_bytes();
    let (mut decoder, mut seen, mut queues) = (Decoder::new(), 0, [0; 2]);
    while seen < before + 3 * scenario.duration_ns {
        let bytes = client.ask(Op::Read, &most).unwrap();
        for message in decoder.messages(&bytes) {
            if let Message::Decision(record) = message.unwrap() {
                let at = record.time_ns();
                assert!(seen <= at && at <= now_ns(), "{seen} {at}");
                seen = at;
                queues[record.queue() as usize] += 1;
            }
        }
    }
    assert!(queues.iter().all(|&records| records > 100), "{queues:?}");
}

#[test]
fn a_network_without_a_device_is_refused() {
    let scenario = scenario();
    let error = Network::start(&scenario, scenario.arm("fifo").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "fifo has no device: only dualpi2 does");
}
