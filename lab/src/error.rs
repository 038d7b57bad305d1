//! Errors of the lab.

use std::io;
use std::path::PathBuf;

use l4sllm_model::text::shown;
use l4sllm_router::InterfaceError;
use l4sllm_testbed::experiment::ExperimentError;
use l4sllm_testbed::result::ResultError;
use l4sllm_testbed::router::RouterError;
use thiserror::Error;

/// An error of the lab, with the remedy where there is one.
#[derive(Debug, Error)]
pub enum LabError {
    /// This host cannot run a lab.
    #[error("this host cannot run a lab: {0}")]
    Host(&'static str),
    /// The scenario has traffic that real hosts cannot send here.
    #[error("flow {flow}: {reason}")]
    Traffic {
        /// The flow's name.
        flow: String,
        /// The unsupported feature, with the remedy.
        reason: String,
    },
    /// The scenario has an arm that the lab cannot run.
    #[error("arm {arm}: {reason}")]
    Arm {
        /// The arm's name.
        arm: String,
        /// The unsupported feature.
        reason: &'static str,
    },
    /// A program cannot be started, or ended early.
    #[error("{program}: {reason}")]
    Program {
        /// Name of the program.
        program: String,
        /// The failure, with the program's output.
        reason: String,
    },
    /// A program did not become ready in time.
    #[error("{what}: not ready within {seconds} s")]
    Late {
        /// The event.
        what: String,
        /// The time waited, s.
        seconds: u64,
    },
    /// An operation of the system failed.
    #[error("cannot {operation}: {source}")]
    System {
        /// Such as "enter the namespace".
        operation: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} {}: {source}", shown(path))]
    File {
        /// Such as "write".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The forwarding thread lost an interface.
    #[error("{interface}: cannot be read: {source}; was it deleted?")]
    Forwarding {
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
    /// Packets are missing.
    #[error("arm {arm}, repetition {repetition}: {what} {left}, but {right} found")]
    Accounting {
        /// The arm.
        arm: String,
        /// From 0.
        repetition: u32,
        /// The sums that differ.
        what: &'static str,
        /// Expected.
        left: u64,
        /// Found.
        right: u64,
    },
    /// A TUN interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The queue or its device.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A policy.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// The result directory.
    #[error(transparent)]
    Result(#[from] ResultError),
}

impl LabError {
    /// For `map_err`: an operation of the system failed.
    pub(crate) fn system(operation: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        move |source| LabError::System {
            operation: operation.into(),
            source,
        }
    }
}
