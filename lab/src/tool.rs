//! The two programs of a flow.

use std::path::{Path, PathBuf};

use crate::host::find;
use crate::iperf;
use crate::topology::SERVER;
use crate::traffic::{Kind, Sender};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The receiver of `sender`; `own` is the program `l4sllm`.
pub fn server(sender: &Sender, sample_ns: u64, own: &Path) -> Tool {
    match &sender.kind {
        Kind::Prague { .. } => prague(own, "receive", sender, sample_ns),
        Kind::Tcp(_) | Kind::Udp { .. } => iperf3(iperf::server(sender, sample_ns)),
    }
}

/// The sender, which would end after `seconds`.
pub fn client(sender: &Sender, sample_ns: u64, seconds: u64, own: &Path) -> Tool {
    match &sender.kind {
        Kind::Prague {
            max_bps,
            packet_bytes,
        } => {
            let mut tool = prague(own, "send", sender, sample_ns);
            let mut add = |key: &str, value: String| tool.arguments.extend([key.to_owned(), value]);
            add("--packet", packet_bytes.to_string());
            add("--duration", format!("{seconds}s"));
            if let Some(bps) = max_bps {
                add("--max-rate", format!("{bps}bit/s"));
            }
            tool
        }
        Kind::Tcp(_) | Kind::Udp { .. } => {
            let server = SERVER[usize::from(!sender.ecn)];
            iperf3(iperf::client(sender, sample_ns, seconds, server))
        }
    }
}

fn iperf3(arguments: Vec<String>) -> Tool {
    Tool {
        program: find("iperf3").unwrap_or_default(),
        arguments,
    }
}

fn prague(own: &Path, role: &str, sender: &Sender, sample_ns: u64) -> Tool {
    let address = format!("{}:{}", SERVER[1], sender.port);
    let interval = format!("{}ms", (sample_ns / 1_000_000).max(1));
    Tool {
        program: own.to_owned(),
        arguments: [
            "prague",
            role,
            &address,
            "--format",
            "json",
            "--interval",
            &interval,
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}
