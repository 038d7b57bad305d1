//! The published testbed in four machines, whatever runs them.
//!
//! [`Testbed`] brings the machines up and down, each step only where it is
//! needed, so that a command that was killed can be given again. What differs
//! between hypervisors is behind [`Provider`]; what touches this computer is
//! behind [`Host`], which runs commands, prints them, or plays back a recording.
//!
//! The image that the machines are made of comes from `vm-images/`.

pub mod config_disk;
pub mod host;
pub mod provider;
mod role;
mod testbed;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use host::{DryRun, Host, Invocation, System};
pub use provider::{Address, Kind, Provider, State};
pub use role::Role;
pub use testbed::{Status, Testbed};

/// What the machines are made of and where they are.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Images, and below `machines/PROVIDER` the machines; absolute.
    pub dir: PathBuf,
    /// Processors of each machine.
    pub cpus: u32,
    /// Memory of each machine, in MiB.
    pub memory: u32,
    /// A `testbed.conf` that replaces values of the image's.
    pub settings: Option<Vec<u8>>,
    /// `authorized_keys` of root that replaces the image's.
    pub keys: Option<Vec<u8>>,
}

/// Something that the testbed cannot do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {action}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("cannot start {program}; is it installed?")]
    Spawn {
        /// Its name.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program failed.
    #[error("{invocation}: {status}: {message}")]
    Failed {
        /// The command line.
        invocation: String,
        /// How it ended.
        status: String,
        /// What it said, on one line.
        message: String,
    },
    /// What a program printed is not what it should print.
    #[error("{invocation}: expected {expected}, found '{found}'")]
    Unexpected {
        /// The command line.
        invocation: String,
        /// What should be there.
        expected: &'static str,
        /// What is.
        found: String,
    },
    /// There is no image to make machines of.
    #[error("{}: there is no image; build it with: {how}", path.display())]
    NoImage {
        /// Where it should be.
        path: PathBuf,
        /// The command.
        how: &'static str,
    },
    /// A step that needs the machine in another state.
    #[error("{role} is {state}; {advice}")]
    WrongState {
        /// The machine.
        role: Role,
        /// Its state.
        state: State,
        /// What to do.
        advice: &'static str,
    },
    /// The provider has no such step.
    #[error("{action} is not possible with machines that are only known by ssh")]
    Unsupported {
        /// The step.
        action: &'static str,
    },
    /// A machine has no address.
    #[error("no host is given for {role}; want --host {role}=HOST")]
    NoHost {
        /// The machine.
        role: Role,
    },
    /// A configuration disk would not fit.
    #[error("{name}: {bytes} bytes are too many for a configuration disk; at most {most}")]
    TooLarge {
        /// The file.
        name: &'static str,
        /// Its size.
        bytes: usize,
        /// What fits.
        most: usize,
    },
}
