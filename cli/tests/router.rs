//! `l4sllm router` between two network namespaces of this machine. Packets stay
//! within them: they have no other interfaces. Without root or TUN, tests are
//! skipped by name.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use l4sllm_router::{InterfaceCounters, Net};
use l4sllmd::config::Config;
use l4sllmd::logging::LogControl;
use l4sllmd::run::Daemon;
use serde_json::Value;

use common::{comments, l4sllm, refused, verdicts, wireshark};

const DEADLINE: Duration = Duration::from_secs(60);
const CLIENT: &str = "10.77.0.1";
const SERVER: &str = "10.77.0.2";
const SERVER6: &str = "fd77::2";

/// Runs a command in a namespace and returns its output.
fn command(net: &Net, line: &str) -> String {
    let run = || {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap()).args(words).output()
    };
    let output = net.inside(run).unwrap().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Bytes that the interface `name` has received.
fn received_bytes(net: &Net, name: &str) -> u64 {
    let counters = net.inside(|| InterfaceCounters::here(name)).unwrap();
    counters.unwrap().received_bytes
}

/// Packets with CE that have arrived.
fn received_ce(net: &Net) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/netstat");
    let table = net.inside(read).unwrap().unwrap();
    let lines: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("IpExt"))
        .collect();
    let at = lines[0]
        .split(' ')
        .position(|name| name == "InCEPkts")
        .unwrap();
    lines[1].split(' ').nth(at).unwrap().parse().unwrap()
}

/// Two namespaces, or the reason why they cannot be created.
fn nets() -> Result<[Net; 2], String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("needs /dev/net/tun".to_owned());
    }
    let net = || Net::new().map_err(|error| format!("no network namespaces: {error}"));
    Ok([net()?, net()?])
}

/// The namespaces; otherwise reports the named test as skipped and returns from
/// it.
macro_rules! nets_or_skip {
    ($test:literal) => {
        match nets() {
            Ok(nets) => nets,
            Err(reason) => {
                println!("skipped: {} ({reason})", $test);
                return;
            }
        }
    };
}

/// A router between two namespaces, with addresses; killed if a test fails.
struct Routed {
    child: Child,
    client: Net,
    server: Net,
}

impl Routed {
    fn start([client, server]: [Net; 2], options: &str) -> Routed {
        let mut child = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
            .arg("router")
            .arg(format!("{}:l4s0", client.name()))
            .arg(format!("{}:l4s1", server.name()))
            .args(options.split(' '))
            .args(["--format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("press Ctrl-C to stop") {
            let got = stderr.read_line(&mut said).unwrap();
            assert!(got > 0, "{said}");
        }
        // The remaining output goes to the test's output.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        for (net, name, host) in [(&client, "l4s0", 1), (&server, "l4s1", 2)] {
            command(net, &format!("ip address add 10.77.0.{host}/24 dev {name}"));
            command(
                net,
                &format!("ip -6 address add fd77::{host}/64 dev {name} nodad"),
            );
            let set = net.inside(|| fs::write("/proc/sys/net/ipv4/tcp_ecn", "1"));
            set.unwrap().unwrap();
        }
        Routed {
            child,
            client,
            server,
        }
    }

    /// Sends a signal; exit status and summary.
    fn end(mut self, signal: &str) -> (Option<i32>, Value) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
        let mut said = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, serde_json::from_str(&said).unwrap_or_default())
    }

    /// Round-trip times of `count` datagrams to an echo in the server's
    /// namespace, shortest first.
    fn round_trips(&self, server: &str, count: usize) -> Vec<Duration> {
        let bound = self
            .server
            .inside(|| UdpSocket::bind((server, 7)))
            .unwrap()
            .unwrap();
        bound.set_read_timeout(Some(DEADLINE)).unwrap();
        let any = if server.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        let socket = self
            .client
            .inside(|| UdpSocket::bind((any, 0)))
            .unwrap()
            .unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..count {
                    let mut buffer = [0; 100];
                    let (length, from) = bound.recv_from(&mut buffer).unwrap();
                    bound.send_to(&buffer[..length], from).unwrap();
                }
            });
            let mut times: Vec<Duration> = (0..count)
                .map(|number| {
                    let began = Instant::now();
                    socket.send_to(&[number as u8; 64], (server, 7)).unwrap();
                    let mut buffer = [0; 100];
                    assert_eq!(socket.recv(&mut buffer).unwrap(), 64);
                    assert_eq!(buffer[0], number as u8);
                    began.elapsed()
                })
                .collect();
            times.sort_unstable();
            times
        })
    }

    /// Runs `work` while four TCP connections send from client to server.
    fn with_transfers<T>(&self, work: impl FnOnce() -> T) -> T {
        let listener = self
            .server
            .inside(|| TcpListener::bind((SERVER, 5001)))
            .unwrap()
            .unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Also if `work` panics: the scope waits for its threads.
            let _ends = Ends(&done);
            for _ in 0..4 {
                let sender = self
                    .client
                    .inside(|| TcpStream::connect((SERVER, 5001)))
                    .unwrap()
                    .unwrap();
                sender
                    .set_write_timeout(Some(Duration::from_millis(200)))
                    .unwrap();
                let (mut receiver, from) = listener.accept().unwrap();
                assert_eq!(from.ip().to_string(), CLIENT);
                scope.spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while receiver.read(&mut buffer).is_ok_and(|got| got > 0) {}
                });
                let done = &done;
                scope.spawn(move || {
                    let (mut sender, data) = (sender, vec![0; 1 << 16]);
                    while !done.load(Ordering::Relaxed) {
                        if let Err(error) = sender.write(&data) {
                            let kind = error.kind();
                            assert!(
                                matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
                                "{error}"
                            );
                        }
                    }
                });
            }
            work()
        })
    }
}

/// Sets its flag when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn packets_pass_both_ways_with_link_delay() {
    let nets = nets_or_skip!("packets_pass_both_ways_with_link_delay");
    let routed = Routed::start(nets, "--rate 100Mbit/s --rtt 20ms");
    for server in [SERVER, SERVER6] {
        let times = routed.round_trips(server, 20);
        assert!(times[0] >= Duration::from_millis(20), "{server}: {times:?}");
        assert!(times[5] < Duration::from_millis(40), "{server}: {times:?}");
    }
    let (code, summary) = routed.end("-TERM");
    assert_eq!(code, Some(0));
    assert!(summary["sent"].as_u64() >= Some(40), "{summary}");
    assert!(summary["back_sent"].as_u64() >= Some(40), "{summary}");
    assert_eq!(summary["refused"]["too_long"], 0, "{summary}");
}

/// Four CUBIC connections with ECN fill the link: the receiving host sees the
/// shaped rate and packets with CE.
#[test]
fn tcp_gets_the_shaped_rate_and_sees_marks() {
    let nets = nets_or_skip!("tcp_gets_the_shaped_rate_and_sees_marks");
    let routed = Routed::start(nets, "--rate 20Mbit/s --rtt 10ms");
    let rate = routed.with_transfers(|| {
        // After slow start: a second at 20 Mbit/s.
        let began = Instant::now();
        while received_bytes(&routed.server, "l4s1") < 2_500_000 {
            assert!(began.elapsed() < DEADLINE);
            std::thread::sleep(Duration::from_millis(10));
        }
        let (began, before) = (Instant::now(), received_bytes(&routed.server, "l4s1"));
        let mut now = before;
        while now < before + 10_000_000 {
            assert!(began.elapsed() < DEADLINE);
            std::thread::sleep(Duration::from_millis(10));
            now = received_bytes(&routed.server, "l4s1");
        }
        (now - before) as f64 * 8.0 / began.elapsed().as_secs_f64()
    });
    assert!((rate / 20e6 - 1.0).abs() < 0.02, "{rate}");
    assert!(received_ce(&routed.server) > 0);
    let (code, summary) = routed.end("-INT");
    assert_eq!(code, Some(0));
    let marked = &summary["marked"];
    assert!(marked[0].as_u64() > Some(0), "{summary}");
    assert_eq!(marked[0], summary["marks"]["classic"], "{summary}");
    assert!(summary["utilisation"].as_f64() <= Some(1.0), "{summary}");
    // The queue is as long as DualPI2 allows, not as long as the senders'
    // buffers.
    assert!(
        summary["sojourn_ms"][0]["p99"].as_f64() < Some(100.0),
        "{summary}"
    );
}

/// Runs transfers through a router with a capture until the receiver has got a second's
/// worth; returns its summary, the directory of the capture, and how it ended.
fn captured(nets: [Net; 2], signal: &str) -> (tempfile::TempDir, Option<i32>, Value) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("queue.pcapng");
    let options = format!("--rate 20Mbit/s --rtt 10ms --pcap {}", file.display());
    let routed = Routed::start(nets, &options);
    routed.with_transfers(|| {
        let began = Instant::now();
        while received_bytes(&routed.server, "l4s1") < 2_500_000 {
            assert!(began.elapsed() < DEADLINE);
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let (code, summary) = routed.end(signal);
    (place, code, summary)
}

/// The capture has all packets that left the queue, with the marks of the summary.
#[test]
fn captures_have_the_packets_of_the_summary() {
    const NAME: &str = "captures_have_the_packets_of_the_summary";
    let nets = nets_or_skip!("captures_have_the_packets_of_the_summary");
    let (place, code, summary) = captured(nets, "-TERM");
    assert_eq!(code, Some(0));
    let file = place.path().join("queue.pcapng");
    let found = comments(&file);
    let sum = |name: &str| {
        let both = summary[name].as_array().unwrap().iter();
        both.map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(verdicts(&found, "dropped; "), sum("dropped"), "{summary}");
    let marked = verdicts(&found, "marked; ");
    assert!(marked > 0 && marked == sum("marked"), "{marked}: {summary}");
    assert!(found.len() > 1500, "{}", found.len());
    let path = file.display().to_string();
    let filter = "ip.checksum.status == 0 or _ws.malformed";
    let strict = ["-r", &path, "-o", "ip.check_checksum:TRUE"];
    let fields = ["-T", "fields", "-e", "frame.comment"];
    let Some(lines) = wireshark("tshark", &[&strict[..], &fields[..]].concat()) else {
        println!("skipped: {NAME} (no tshark)");
        return;
    };
    assert_eq!(lines, found);
    let bad = wireshark("tshark", &[&strict[..], &["-Y", filter][..]].concat());
    assert_eq!(bad, Some(Vec::new()));
}

/// After SIGKILL, the capture has its temporary name and lacks only the last packets.
#[test]
fn captures_of_a_killed_router_are_readable() {
    let nets = nets_or_skip!("captures_of_a_killed_router_are_readable");
    let (place, code, _) = captured(nets, "-KILL");
    assert_eq!(code, None);
    let files: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].file_name().into_string().unwrap();
    assert!(
        name.starts_with("queue.pcapng.") && name.ends_with(".part"),
        "{name}"
    );
    let found = comments(&files[0].path());
    assert!(found.len() > 1000, "{}", found.len());
    let path = files[0].path().display().to_string();
    match wireshark(
        "tshark",
        &["-r", &path, "-T", "fields", "-e", "frame.comment"],
    ) {
        Some(lines) => assert_eq!(lines, found),
        None => println!("skipped: captures_of_a_killed_router_are_readable (no tshark)"),
    }
}

#[test]
fn a_daemon_controls_the_router() {
    let nets = nets_or_skip!("a_daemon_controls_the_router");
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let (device, socket) = (at("device.sock"), at("status.sock"));
    let options = format!("--rate 20Mbit/s --rtt 10ms --device {device}");
    let routed = Routed::start(nets, &options);
    let text = format!(
        "[device]\nsocket = {device:?}\n[engine]\nengine = \"adaptive\"\n[status]\nsocket = {socket:?}\n"
    );
    fs::write(at("l4sllmd.toml"), text).unwrap();
    let config = place.path().join("l4sllmd.toml");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let loaded = Config::load(&config).unwrap();
        let log = LogControl::start(loaded.log);
        let daemon = Daemon::new(config, loaded, log).unwrap();
        runtime.block_on(daemon.run()).map(drop).unwrap();
    });
    let said = routed.with_transfers(|| {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < DEADLINE, "no decision in time");
            let (code, said, _) = l4sllm(&["status", "--socket", &socket, "--format", "json"]);
            if code == Some(0) {
                let status: Value = serde_json::from_str(&said).unwrap();
                if status["counters"]["accepted"].as_u64() > Some(3) {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let line = ["doctor", "--device", &device, "--socket", &socket];
        let (code, said, error) = l4sllm(&line);
        assert_eq!(code, Some(0), "{said}{error}");
        said
    });
    for about in ["traffic", "daemon", "overrides"] {
        let line = said.lines().find(|line| line.contains(about)).unwrap();
        assert!(line.starts_with("ok "), "{said}");
    }
    let (code, summary) = routed.end("-INT");
    assert_eq!(code, Some(0));
    assert!(
        summary["overrides"]["applied"].as_u64() > Some(0),
        "{summary}"
    );
    assert!(!Path::new(&device).exists());
}

#[test]
fn names_the_deleted_interface_and_exits() {
    let nets = nets_or_skip!("names_the_deleted_interface_and_exits");
    let mut routed = Routed::start(nets, "--rate 20Mbit/s");
    command(&routed.server, "ip link delete l4s1");
    assert_eq!(routed.child.wait().unwrap().code(), Some(1));
}

#[test]
fn invalid_interfaces_are_rejected_with_a_remedy() {
    let [client, _] = nets_or_skip!("invalid_interfaces_are_rejected_with_a_remedy");
    let rate = ["--rate", "1Mbit/s"];
    let error = refused(&[&["router", "l4sllm-none:l4s0", "l4s1"], &rate[..]].concat());
    assert!(error.contains("ip netns add"), "{error}");
    let input = format!("{}:lo", client.name());
    let error = refused(&[&["router", &input, "l4s1"], &rate[..]].concat());
    assert!(
        error.contains("exists, but is not a TUN interface"),
        "{error}"
    );
    let error = refused(&[&["router", "l4s0", "l4s0"], &rate[..]].concat());
    assert!(error.contains("same interface"), "{error}");
}
