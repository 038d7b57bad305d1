//! `l4sllm testbed run` with scripts in place of ssh and of the machines' programs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use l4sllm_abi::{Ecn, Limits, Params};
use l4sllm_testbed::aqm::{Aqm, Packet};
use l4sllm_testbed::result::Stored;
use l4sllm_testbed::router::Router;
use l4sllmd::status::{Counters, Quantiles};
use pcap_file::pcap::{PcapPacket, PcapWriter};

/// Runs the remote command here, in a directory of the machine, whose programs are in
/// `remote`.
const SSH: &str = r#"export HERE=$PWD L4SLLM=$PPID
while [ "${1#-}" != "$1" ]; do
    [ "$1" != -p ] || export PORT=$2
    shift 2
done
shift
cd "machine-$PORT" || exit 255
PATH=$HERE/remote:$PATH exec sh -c "$*"
"#;
/// Programs of the machines. iperf3's server listens on a named pipe. Without the file
/// `resumed`, the third client kills the command, and then waits for its own end.
const PROGRAMS: [(&str, &str); 9] = [
    ("ipfw", r#"echo "ipfw $*" >>$HERE/log-$PORT"#),
    ("sysctl", r#"echo "sysctl $*" | tee -a $HERE/log-$PORT"#),
    ("install", ":"),
    (
        "cat",
        "[ \"$1\" = /dev/l4sllm ] || exec /bin/cat \"$@\"\n/bin/cat $HERE/records.bin\nexec sleep 1000\n",
    ),
    (
        "tcpdump",
        "for file in \"$@\"; do case $file in *.pcap) cp $HERE/link.pcap $file; esac; done\nexec sleep 1000\n",
    ),
    ("sockstat", "[ -p pipe-$4 ] && echo \"tcp4 *:$4\"\n"),
    (
        "iperf3",
        r#"case "$*" in
*--version*) ;;
*--server*)
    mkfifo pipe-$3; /bin/cat pipe-$3 ;;
*)
    echo "$*" >>$HERE/clients
    if [ ! -e $HERE/resumed ] && [ $(wc -l <$HERE/clients) -ge 3 ]; then
        kill -9 $L4SLLM; exec sleep 1000
    fi
    sed "s/PORT/$PORT/" $HERE/iperf3.json | tee $HERE/machine-10025/l4sllm-run/pipe-$3 ;;
esac
"#,
    ),
    ("l4sllmd", ": >running\nexec sleep 1000\n"),
    (
        "l4sllm",
        "[ \"$1\" = --version ] || [ -e running ] || [ -e l4sllm-run/running ] && /bin/cat $HERE/status.json\n",
    ),
];

const SCENARIO: &str = r#"
duration = "1 s"
start_jitter = "10 ms"
rtt = "10 ms"
[bottleneck]
rate = "8 Mbit/s"
[[client]]
name = "client-1"
[[client]]
name = "client-2"
[[flow]]
cc = "newreno"
[[flow]]
cc = "dctcp"
client = "client-2"
[[arm]]
aqm = "dualpi2"
"#;

/// iperf3's report, of either end.
const IPERF3: &str = r#"{"title": "machine PORT", "intervals": [
    {"streams": [{"socket": 5, "start": 0, "end": 0.5, "bytes": 200000, "retransmits": 3,
        "snd_cwnd": 14480, "rtt": 21000}]},
    {"streams": [{"socket": 5, "start": 0.5, "end": 1, "bytes": 300000, "retransmits": 0,
        "snd_cwnd": 28960, "rtt": 23000}]}
], "end": {}}
"#;
/// The router's uptime when the flows start, ns.
const UPTIME_NS: u64 = 5_000_000_000;
/// Data packets of each flow.
const DATA: u32 = 300;

/// The records of a queue through which two flows pass, and the packets on its link.
fn measured() -> (Vec<u8>, Vec<u8>) {
    let mut router = Router::new(&Params::default(), &Limits::default(), 1 << 12, 1).unwrap();
    let mut handle = router.open().unwrap();
    let mut link = PcapWriter::new(Vec::new()).unwrap();
    let (mut drops, mut now_ns) = (Vec::new(), UPTIME_NS);
    let mut records = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    for at in 0..=DATA {
        for port in [5201_u16, 5202] {
            let packet = Packet {
                cookie: port.into(),
                flow: 0,
                bytes: if at == 0 { 60 } else { 1500 },
                ecn: if port == 5202 { Ecn::Ect1 } else { Ecn::Ect0 },
                dscp: 0,
            };
            router.enqueue(now_ns, packet, &mut drops);
        }
        for _ in 0..2 {
            now_ns += 1_500_000;
            let Some(left) = router.dequeue(now_ns, &mut drops) else {
                continue;
            };
            let frame = frame(left.cookie as u16);
            let at = Duration::from_nanos(now_ns);
            link.write_packet(&PcapPacket::new(at, left.bytes + 14, &frame))
                .unwrap();
        }
        let read = handle.read(&mut buffer, now_ns).unwrap();
        records.extend_from_slice(&buffer[..read]);
    }
    assert!(drops.is_empty());
    (records, link.into_writer())
}

/// The daemon's status.
fn status() -> String {
    let status = serde_json::json!({
        "version": "1", "pid": 1, "uptime_s": 1.0, "state": "running", "abi": [1, 1],
        "device": { "path": "/d", "module": null, "abi": null, "opened": 0 },
        "engine": { "kind": "script", "steps": 1 },
        "interval": 1,
        "reloads": { "succeeded": 0, "failed": 0, "last_error": null },
        "counters": Counters::default(),
        "latency_us": Quantiles::default(),
        "decision_us": Quantiles::default(),
    });
    status.to_string()
}

/// The captured beginning of a TCP packet to `port`.
fn frame(port: u16) -> Vec<u8> {
    let mut frame = vec![0; 68];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    (frame[14], frame[23]) = (0x45, 6);
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame
}

struct Computer(tempfile::TempDir);

impl Computer {
    fn new() -> Computer {
        let computer = Computer(tempfile::tempdir().unwrap());
        for dir in [
            "bin",
            "remote",
            "machine-10022",
            "machine-10023",
            "machine-10024",
        ] {
            fs::create_dir(computer.path(dir)).unwrap();
        }
        fs::create_dir(computer.path("machine-10025")).unwrap();
        computer.program("bin/ssh", SSH);
        for (name, script) in PROGRAMS {
            computer.program(&format!("remote/{name}"), script);
        }
        computer.write("two.toml", SCENARIO);
        computer.write("iperf3.json", IPERF3);
        computer.write("status.json", &status());
        let (records, link) = measured();
        fs::write(computer.path("records.bin"), records).unwrap();
        fs::write(computer.path("link.pcap"), link).unwrap();
        computer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        self.write(name, &format!("#!/bin/sh\n{script}"));
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Returns the exit code, `None` after a signal, and standard error.
    fn run(&self, line: &str) -> (Option<i32>, String) {
        let (bin, path) = (self.path("bin"), std::env::var("PATH").unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
            .args(["testbed", "run", "--provider", "qemu", "--out", "out"])
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    }
}

#[test]
fn run_stores_files_of_repetitions_and_resumes_after_a_kill() {
    let computer = Computer::new();
    let line = "two.toml --arms plain,default --interval 10 --repetitions 2";
    let (code, stderr) = computer.run(line);
    assert_eq!(code, None, "{stderr}");
    assert!(
        stderr.contains("two, dualpi2, repetition 0: stored"),
        "{stderr}"
    );
    assert!(!computer.path("out/two/default-10/000").exists());

    computer.write("resumed", "");
    let (code, stderr) = computer.run(line);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("two, dualpi2, repetition 0: kept"),
        "{stderr}"
    );
    assert!(
        stderr.contains("two, default-10, repetition 1: stored"),
        "{stderr}"
    );
    // Two clients in each of four repetitions, and those of the killed one.
    let clients = computer.read("clients");
    assert!((9..=10).contains(&clients.lines().count()), "{clients}");

    let of = |file: &str| computer.read(&format!("out/two/default-10/001/{file}"));
    let records = fs::read(computer.path("out/two/default-10/001/router/records.out"));
    assert_eq!(records.unwrap(), measured().0);
    assert!(of("client1/iperf3-newreno-client.out").contains("machine 10023"));
    assert!(of("server/iperf3-dctcp-server.out").contains("machine 10024"));
    assert!(of("daemon.json").contains("running"));
    let config = of("router/l4sllmd.toml");
    assert!(
        config.contains("policy = \"/usr/local/share/l4sllm/policies/default\""),
        "{config}"
    );
    assert!(config.contains("interval = 10\n"), "{config}");
    let manifest = of("manifest.txt");
    assert!(
        manifest.contains("client1 sender iperf3-newreno-client: iperf3 "),
        "{manifest}"
    );
    assert!(!computer.path("out/two/dualpi2/000/daemon.json").exists());

    let router = computer.read("log-10022");
    for setting in [
        "sysctl net.inet.ip.redirect=0 net.inet.ip.fw.one_pass=1 \
         net.inet.ip.dummynet.io_fast=0 net.inet.ip.dummynet.dualpi2.profile=default\n",
        "ipfw -q pipe 1 config bw 8000000bit/s delay 5\n",
        "ipfw -q add 2000 queue 1 ip from any to any out xmit em3\n",
    ] {
        assert!(router.contains(setting), "{router}");
    }
    let client = computer.read("log-10024");
    let dctcp = "sysctl net.inet.tcp.ecn.enable=3 net.inet.tcp.cc.dctcp.ect1=1\n";
    assert!(client.contains(dctcp), "{client}");

    let (code, stderr) = computer.run(&format!("{line} --duration 2s"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("is of another scenario, seed or duration"),
        "{stderr}"
    );
}

#[test]
fn repetitions_are_converted_once_to_a_result_with_flows() {
    let computer = Computer::new();
    computer.write("resumed", "");
    let line = "two.toml --arms plain --repetitions 1";
    let (code, stderr) = computer.run(line);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("warning"), "{stderr}");
    let path = computer.path("out/two/result");
    let stored = Stored::open(&path).unwrap();
    assert!(stored.summary.complete);
    let run = stored.run("dualpi2", 0).unwrap();
    assert_eq!(run.meta.packets.forwarded, run.packets.len() as u64);
    // The first packets are at the planned start, within the jitter of 10 ms.
    assert!(run.packets[0].time_ns < 20_000_000);
    for (flow, queue) in [(0, 0), (1, 1)] {
        let own: Vec<_> = run.packets.iter().filter(|row| row.flow == flow).collect();
        assert!(own.len() as u32 > DATA, "{}", own.len());
        assert!(own.iter().all(|row| row.queue == queue));
    }
    let names: Vec<&str> = run
        .meta
        .flows
        .iter()
        .map(|flow| flow.name.as_str())
        .collect();
    assert_eq!(names, ["newreno", "dctcp", "other"]);
    assert_eq!(run.meta.flows[0].retransmits, 3);
    // The warm-up is not counted.
    let goodput = run.meta.flows[0].goodput_bytes;
    assert!((250_000..500_000).contains(&goodput), "{goodput}");
    assert_eq!(run.flows[0].cwnd_bytes, 14_480);
    let page = fs::read_to_string(path.join("report.html")).unwrap();
    assert!(page.contains("l4sllm testbed run "), "no command");

    // The next run converts only what is missing.
    let rows = path.join("arms/dualpi2/0/run.json");
    let before = fs::metadata(&rows).unwrap().modified().unwrap();
    let (code, stderr) = computer.run(line);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(fs::metadata(&rows).unwrap().modified().unwrap(), before);
    // A result of fewer repetitions is replaced.
    let (code, stderr) = computer.run("two.toml --arms plain --repetitions 2");
    assert_eq!(code, Some(0), "{stderr}");
    let stored = Stored::open(&path).unwrap();
    assert_eq!(stored.summary.arms[0].repetitions.len(), 2);
}

#[test]
fn unusable_files_are_reported_and_kept() {
    let computer = Computer::new();
    computer.write("resumed", "");
    computer.write("iperf3.json", "no JSON");
    let (code, stderr) = computer.run("two.toml --arms plain --repetitions 1");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("error: two, dualpi2, repetition 0: cannot decode")
            && stderr.contains("1 repetitions could not be converted"),
        "{stderr}"
    );
    // Repaired files are converted, and a capture of other packets gives no flows.
    let files = computer.path("out/two/dualpi2/000");
    for (machine, flow) in [("client1", "newreno"), ("client2", "dctcp")] {
        fs::write(
            files.join(format!("{machine}/iperf3-{flow}-client.out")),
            IPERF3,
        )
        .unwrap();
        fs::write(
            files.join(format!("server/iperf3-{flow}-server.out")),
            IPERF3,
        )
        .unwrap();
    }
    let empty = PcapWriter::new(Vec::new()).unwrap().into_writer();
    fs::write(files.join("router/departures.pcap"), empty).unwrap();
    let (code, stderr) = computer.run("two.toml --arms plain --repetitions 1");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("no flows: 602 packets were forwarded, and 0 captured"),
        "{stderr}"
    );
}

#[test]
fn run_names_the_program_that_failed_and_its_machine() {
    let computer = Computer::new();
    computer.program(
        "remote/iperf3",
        "echo 'iperf3: no such option' >&2; exit 1\n",
    );
    let (code, stderr) = computer.run("two.toml --arms plain --repetitions 1");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("server"), "{stderr}");
    assert!(stderr.contains("iperf3: no such option"), "{stderr}");
    assert!(!computer.path("out/two/dualpi2/000").exists());
}

#[test]
fn run_names_unsupported_keys_and_flows() {
    let computer = Computer::new();
    for (from, to, expected) in [
        (
            "cc = \"newreno\"",
            "cc = \"bbr\"",
            "flow bbr: FreeBSD has no congestion control `bbr`",
        ),
        (
            "cc = \"newreno\"",
            "cc = \"udp-prague\"",
            "FreeBSD's machines have no UDP Prague",
        ),
        (
            "cc = \"newreno\"",
            "cc = \"newreno\"\nrtt = \"20 ms\"",
            "flow newreno: its round-trip",
        ),
        (
            "rtt = \"10 ms\"",
            "rtt = \"10 ms\"\nreturn_rate = \"1 Mbit/s\"",
            "return_rate: ",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nloss = 0.1",
            "no bursts, walk, grant, loss",
        ),
        (
            "client = \"client-2\"",
            "ecn = false",
            "flow dctcp: FreeBSD sets ECN for all",
        ),
    ] {
        computer.write("two.toml", &SCENARIO.replacen(from, to, 1));
        let (code, stderr) = computer.run("two.toml");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains("scenario two") && stderr.contains(expected),
            "{stderr}"
        );
        assert!(!computer.path("out").exists());
    }
}
