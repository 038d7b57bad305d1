//! Reasons for the program to end, with their exit codes.

use std::path::PathBuf;

use l4sllm_abi::Refusal;
use l4sllm_model::PolicyError;

use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::os_error::explain;

/// The reason why the program ends without a signal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy cannot be loaded.
    #[error("policy {path}: {source}", path = path.display())]
    Policy {
        /// Its directory.
        path: PathBuf,
        /// The error.
        source: PolicyError,
    },
    /// The device is missing, refuses, or disappeared.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The configuration exceeds the device's limits.
    #[error("{key} = {given}: the device allows at most {limit}; lower it or raise {limit_key}")]
    BeyondLimits {
        /// The key.
        key: &'static str,
        /// Its value.
        given: u64,
        /// The limit.
        limit: u64,
        /// The key that sets the limit.
        limit_key: &'static str,
    },
    /// An override would expire before the next decision.
    #[error(
        "pipeline.ttl_ms = {ttl_ms}: must be greater than the period of {period_ms} ms \
         (pipeline.period_ms, or sysctl net.inet.l4sllm.period), or an override ends before the \
         next decision of the adaptive rule"
    )]
    EndsEarly {
        /// Lifetime of an override, ms.
        ttl_ms: u64,
        /// Time between two decisions, ms.
        period_ms: u64,
    },
    /// The stream is unusable.
    #[error("{path}: gave up after {reads} consecutive torn reads", path = path.display())]
    Torn {
        /// The device.
        path: PathBuf,
        /// Number of torn reads.
        reads: u32,
    },
    /// The status socket cannot be opened.
    #[error("status socket {path}: {}", explain(source), path = path.display())]
    StatusSocket {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The control socket cannot be opened.
    #[error("control socket {path}: {}", explain(source), path = path.display())]
    ControlSocket {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The selected engine is not configured.
    #[error("no policy: expected `policy' in [engine] or [control] of the configuration")]
    NoPolicy,
    /// The engine `remote` is not in this build.
    #[error("engine \"remote\" is not in this build: build with --features remote")]
    NoRemote,
    /// The metrics endpoint cannot listen.
    #[error("metrics endpoint {address}: cannot listen: {}", explain(source))]
    Endpoint {
        /// The address.
        address: std::net::SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// A file of the flight recorder cannot be opened.
    #[error("flight recorder: {path}: cannot open: {}", explain(source), path = path.display())]
    Recorder {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A directory for the sandbox cannot be opened.
    #[error("directory {path}: cannot open: {}", explain(source), path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The sandbox cannot be entered.
    #[error("cannot enter the sandbox (to run without one, set sandbox = false): {0}")]
    Sandbox(std::io::Error),
    /// Signal handlers cannot be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(std::io::Error),
    /// A reload ended without a result.
    #[error("the reload ended without a result: its thread could not be started, or it failed")]
    Reload,
    /// The worker ended without a result.
    #[error("the thread that decides ended unexpectedly; its message is above")]
    Worker,
    /// The system resources for the event loop are unavailable.
    #[error("cannot start the event loop: {0}")]
    Runtime(std::io::Error),
}

impl Error {
    /// The process's exit code, after sysexits(3).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Policy { .. } => 65,                        // EX_DATAERR
            Error::Device(DeviceError::Missing { .. }) => 69,  // EX_UNAVAILABLE
            Error::Device(error) if error.is_shortage() => 71, // EX_OSERR
            Error::Device(DeviceError::Open { .. }) => 77,     // EX_NOPERM
            Error::Device(DeviceError::Version { .. }) => 76,  // EX_PROTOCOL
            Error::Device(DeviceError::Answer { .. }) => 76,
            Error::Device(DeviceError::Gone { .. }) => 75, // EX_TEMPFAIL
            Error::Device(DeviceError::Refused { refusal, .. }) => match refusal {
                Refusal::Busy => 75,
                Refusal::Permission => 77,
                Refusal::Invalid | Refusal::BeyondLimits => 78,
                _ => 76,
            },
            Error::Torn { .. } => 74, // EX_IOERR
            // EX_CANTCREAT
            Error::StatusSocket { .. }
            | Error::ControlSocket { .. }
            | Error::Endpoint { .. }
            | Error::Recorder { .. } => 73,
            Error::Reload | Error::Worker => 70, // EX_SOFTWARE
            // EX_OSERR
            Error::Signals(_) | Error::Runtime(_) | Error::Sandbox(_) => 71,
            // EX_CONFIG
            Error::Config(_)
            | Error::BeyondLimits { .. }
            | Error::EndsEarly { .. }
            | Error::NoPolicy
            | Error::NoRemote
            | Error::Directory { .. } => 78,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use nix::errno::Errno;

    use super::*;

    /// A supervisor can restart the program on any of these codes: invalid
    /// files are found before startup, and the program waits for temporary
    /// conditions to end.
    #[test]
    fn system_errors_have_descriptions() {
        let open = |errno: Errno| {
            Error::Device(DeviceError::Open {
                path: "/dev/l4sllm".into(),
                source: io::Error::from(errno),
            })
        };
        for (errno, code, words) in [
            (Errno::EMFILE, 71, "raise its limit"),
            (Errno::ENFILE, 71, "kern.maxfiles"),
            (Errno::EACCES, 77, "member of the group"),
            (Errno::EISDIR, 77, "Is a directory"),
        ] {
            let error = open(errno);
            assert_eq!(error.exit_code(), code, "{errno}");
            let text = error.to_string();
            assert!(text.contains("/dev/l4sllm: cannot open"), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
}
