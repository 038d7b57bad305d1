//! Requirements of the lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// Reason why a host cannot run a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement(pub &'static str);

/// The operating system that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// This host's.
    Linux,
    /// That of the testbed's machines.
    FreeBsd,
}

/// Facts about a host that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its operating system.
    pub os: Os,
    /// Congestion controls of its kernel.
    pub controls: Vec<String>,
    /// Version of its kernel.
    pub kernel: String,
    /// Version of iperf3.
    pub iperf: String,
}

impl Host {
    /// Examines this host.
    ///
    /// # Errors
    /// The first missing requirement, with the remedy.
    pub fn here() -> Result<Host, Requirement> {
        if !geteuid().is_root() {
            return Err(Requirement("creating network namespaces requires root"));
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err(Requirement("no /dev/net/tun: `modprobe tun`"));
        }
        for (program, remedy) in PROGRAMS {
            if find(program).is_none() {
                return Err(Requirement(remedy));
            }
        }
        let controls = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let output = Command::new("iperf3").arg("--version").output();
        let version = output.map(|output| output.stdout).unwrap_or_default();
        let version = String::from_utf8_lossy(&version).into_owned();
        Ok(Host {
            os: Os::Linux,
            controls: read(controls)
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            iperf: version.lines().next().unwrap_or_default().to_owned(),
        })
    }

    /// Whether the kernel has the congestion control `name`.
    pub fn has_control(&self, name: &str) -> bool {
        self.controls.iter().any(|control| control == name)
    }
}

/// Programs that the lab runs, with the error for a missing one.
const PROGRAMS: [(&str, &str); 3] = [
    ("ip", "no `ip` in PATH: install the package iproute2"),
    ("iperf3", "no `iperf3` in PATH: install the package iperf3"),
    (
        "ping",
        "no `ping` in PATH: install the package iputils-ping",
    ),
];

/// The program `name` in `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(name));
    files.find(|file| file.is_file())
}
