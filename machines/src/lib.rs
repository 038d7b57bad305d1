//! The published testbed on four machines, virtual or physical.
//!
//! [`Testbed`] creates, starts, stops and deletes the machines, waits until they
//! answer, and collects their logs. It skips steps
//! that are already done, so a command that was killed can be repeated.
//! [`Provider`] abstracts the hypervisor. [`Host`] abstracts this computer: it
//! runs commands, prints them, or replays recorded answers.
//!
//! `vm-images/` builds the image that the machines start from.

mod collect;
pub mod config_disk;
pub mod host;
mod inventory;
pub mod provider;
mod repetition;
mod role;
mod session;
mod testbed;
mod wait;

use std::io;
use std::path::{Path, PathBuf};

use l4sllm_model::strict_toml::TomlError;
use thiserror::Error;

pub use collect::Collected;
pub use host::{DryRun, Host, Invocation, System};
pub use inventory::{Inventory, Machine};
pub use provider::{Address, HostKeys, Kind, Provider, State};
pub use repetition::Repetition;
pub use role::Role;
pub use session::{Group, Program, Session};
pub use testbed::{Status, Testbed};

/// Resources, directories and configuration of the machines.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Absolute directory of the images; machines are in `machines/PROVIDER` below it.
    pub dir: PathBuf,
    /// Processors of each machine.
    pub cpus: u32,
    /// Memory of each machine, in MiB.
    pub memory: u32,
    /// Contents of a `testbed.conf` that overrides the image's settings.
    pub settings: Option<Vec<u8>>,
    /// Contents of an `authorized_keys` that replaces root's in the image.
    pub keys: Option<Vec<u8>>,
    /// Host keys that ssh accepts.
    pub host_keys: HostKeys,
}

/// An error of a testbed command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {action}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("cannot start {program}; is it installed?")]
    Spawn {
        /// Its name.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// A program exited with an error.
    #[error("{invocation}: {status}: {message}")]
    Failed {
        /// The command line.
        invocation: String,
        /// Its exit status.
        status: String,
        /// Its exit code; `None` if a signal ended it.
        code: Option<i32>,
        /// Its output, on one line.
        message: String,
    },
    /// A program's output has an unexpected form.
    #[error("{invocation}: expected {expected}, found '{found}'")]
    Unexpected {
        /// The command line.
        invocation: String,
        /// The expected output.
        expected: &'static str,
        /// The actual output.
        found: String,
    },
    /// The image does not exist.
    #[error("{}: no image; build it with: {how}", path.display())]
    NoImage {
        /// The image's path.
        path: PathBuf,
        /// The command that builds it.
        how: &'static str,
    },
    /// A step requires another state of a machine.
    #[error("{role} is {state}; {advice}")]
    WrongState {
        /// The machine.
        role: Role,
        /// Its state.
        state: State,
        /// The remedy.
        advice: &'static str,
    },
    /// The provider does not support a step.
    #[error("{action} is not supported by the provider ssh")]
    Unsupported {
        /// The step.
        action: &'static str,
    },
    /// A command failed on a machine or about it.
    #[error("{role}")]
    Machine {
        /// The machine.
        role: Role,
        /// The cause.
        source: Box<Error>,
    },
    /// A machine does not answer over ssh in time.
    #[error("{role}: no answer over ssh within {seconds} s")]
    NoAnswer {
        /// The machine.
        role: Role,
        /// The time waited, in seconds.
        seconds: u64,
        /// The error of the last attempt.
        source: Box<Error>,
    },
    /// A machine answers but has not configured itself.
    #[error("{role}: answers but has no role ({message}); see its console and /var/log/messages")]
    NoRole {
        /// The machine.
        role: Role,
        /// The output of the command that reads the role.
        message: String,
    },
    /// A machine answers in another role.
    #[error("{role}: expected the role '{role}', found '{found}'")]
    OtherRole {
        /// The machine.
        role: Role,
        /// Its role.
        found: String,
    },
    /// A machine's host key is not the stored one, or none is stored.
    #[error(
        "{role}: its host key is not in {}, or another one is; `testbed up` stores the keys of \
         new machines, and keys that were replaced must be removed from the file",
        known_hosts.display()
    )]
    HostKey {
        /// The machine.
        role: Role,
        /// The file of known hosts.
        known_hosts: PathBuf,
        /// The error of ssh.
        source: Box<Error>,
    },
    /// An inventory is invalid.
    #[error(transparent)]
    Inventory(#[from] TomlError),
    /// No host was given for a machine.
    #[error("missing host of {role}; expected --host {role}=HOST, or --inventory FILE")]
    NoHost {
        /// The machine.
        role: Role,
    },
    /// A file is too large for a configuration disk.
    #[error("{name}: {bytes} bytes exceed the maximum of a configuration disk, {most}")]
    TooLarge {
        /// The file.
        name: &'static str,
        /// Its size, in bytes.
        bytes: usize,
        /// The largest size, in bytes.
        most: usize,
    },
}

impl Error {
    /// Adds the machine and the remedy if ssh rejected its host key.
    pub(crate) fn about_host_key(self, role: Role, known_hosts: &Path) -> Error {
        match &self {
            Error::Failed { message, .. } if message.contains(REJECTED) => Error::HostKey {
                role,
                known_hosts: known_hosts.to_owned(),
                source: Box::new(self),
            },
            _ => self,
        }
    }

    /// Adds the machine.
    pub(crate) fn of(self, role: Role) -> Error {
        Error::Machine {
            role,
            source: Box::new(self),
        }
    }
}

/// Part of ssh's message about a host key.
const REJECTED: &str = "Host key verification failed";
