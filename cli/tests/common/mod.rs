//! `l4sllm` as a program, from the repository's directory.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests, each of which uses some"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use l4sllmd::config::Config;
use l4sllmd::logging::LogControl;
use l4sllmd::run::Daemon;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};

/// A scenario without its name and arms: two flows for two seconds.
const TWO_FLOWS: &str = r#"
description = "Two flows for a moment"
seed = 3
repetitions = 2
duration = "2 s"
rtt = "10 ms"

[bottleneck]
rate = "10 Mbit/s"

[[flow]]
name = "cubic"
cc = "cubic"

[[flow]]
name = "prague"
cc = "prague"
"#;

/// The scenario [`TWO_FLOWS`] with a name and arms, each with its name and
/// further keys.
pub fn two_flows(name: &str, arms: &[(&str, &str)]) -> String {
    let arm = |(name, rest): &(&str, &str)| format!("\n[[arm]]\nname = \"{name}\"\n{rest}\n");
    let arms: String = arms.iter().map(arm).collect();
    format!("name = \"{name}\"\n{TWO_FLOWS}{arms}")
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Exit code, standard output, standard error.
pub fn l4sllm(line: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l4sllm"));
    let output = command.args(line).current_dir(root()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs a command that must succeed, and returns its output.
pub fn done(line: &[&str]) -> String {
    let (code, said, error) = l4sllm(line);
    assert_eq!(code, Some(0), "{line:?}: {error}");
    said
}

/// Runs a command that must fail, and returns its one-line error. The exit code is 2
/// only for an error about an option.
pub fn refused(line: &[&str]) -> String {
    let (code, _, error) = l4sllm(line);
    let about_option = error.contains("l4sllm: --");
    assert!(
        code == Some(1) || (code == Some(2) && about_option),
        "{line:?}, {code:?}: {error}"
    );
    let said: Vec<&str> = error
        .lines()
        .filter(|l| l.starts_with("l4sllm: "))
        .collect();
    assert_eq!(said.len(), 1, "{error}");
    said[0].to_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Comments of the packets of a capture, up to its end or first incomplete block.
pub fn comments(capture: &Path) -> Vec<String> {
    let file = fs::read(capture).unwrap();
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let mut comments = Vec::new();
    while let Some(Ok(block)) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block {
            let comment = packet.options.iter().find_map(|option| match option {
                EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                _ => None,
            });
            comments.push(comment.unwrap());
        }
    }
    comments
}

/// Number of comments that begin with `verdict`.
pub fn verdicts(comments: &[String], verdict: &str) -> u64 {
    let of = comments
        .iter()
        .filter(|comment| comment.starts_with(verdict));
    of.count() as u64
}

/// Lines that a program of Wireshark prints; `None` if it is not installed. It may
/// complain about the end of a file.
pub fn wireshark(program: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).unwrap();
    Some(said.lines().map(str::to_owned).collect())
}

/// Starts a daemon with this configuration in a thread of this process.
pub fn start_daemon(path: &Path) {
    // A process has one log.
    static LOG: OnceLock<LogControl> = OnceLock::new();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let config = Config::load(&path).unwrap();
        let log = LOG.get_or_init(|| LogControl::start(config.log)).clone();
        let daemon = Daemon::new(path, config, log).unwrap();
        runtime.block_on(daemon.run()).map(|_| ()).unwrap();
    });
}
