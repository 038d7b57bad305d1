//! What runs the machines.

mod bhyve;
mod qemu;
mod ssh;
mod virtualbox;
mod vmware;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use bhyve::Bhyve;
pub use qemu::Qemu;
pub use ssh::Ssh;
pub use virtualbox::VirtualBox;
pub use vmware::Vmware;

use crate::{Error, Host, Invocation, Role};

/// Whether a machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not made yet.
    Absent,
    /// Made, and switched off.
    Stopped,
    /// Switched on.
    Running,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Absent => "absent",
            State::Stopped => "stopped",
            State::Running => "running",
        })
    }
}

/// Where ssh finds a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A host's name or address, or a name of ssh_config(5).
    pub host: String,
    /// Its port, if it is not ssh's own choice.
    pub port: Option<u16>,
}

/// A hypervisor, or machines that exist.
///
/// Steps are called for machines in the state that they need: [`create`] for one
/// that is absent, [`start`] and [`remove`] for one that is there.
///
/// [`create`]: Provider::create
/// [`start`]: Provider::start
/// [`remove`]: Provider::remove
pub trait Provider {
    /// Makes what all machines need; does nothing where it is there already.
    fn prepare(&self, host: &mut dyn Host) -> Result<(), Error>;
    /// The state of a machine; `None` from a host that does not look.
    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error>;
    /// Makes a machine that starts from the image, with a configuration disk.
    fn create(&self, host: &mut dyn Host, role: Role, disk: &Path) -> Result<(), Error>;
    /// Switches a machine on.
    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Has a machine shut down.
    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Whether it makes the machines, and so has their disks.
    fn owns_machines(&self) -> bool {
        true
    }
    /// Keeps a stopped machine's disk as it is, under the name `configured`.
    fn snapshot(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Returns a stopped machine's disk to that.
    fn reset(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Switches a machine off, if it is on, and deletes it.
    fn remove(&self, host: &mut dyn Host, role: Role, running: bool) -> Result<(), Error>;
    /// Removes what [`Provider::prepare`] made.
    fn cleanup(&self, host: &mut dyn Host) -> Result<(), Error>;
    /// Where ssh finds a running machine; `None` from a host that does not look.
    fn address(&self, host: &mut dyn Host, role: Role) -> Result<Option<Address>, Error>;
}

/// A kind of provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// QEMU.
    Qemu,
    /// VirtualBox.
    VirtualBox,
    /// VMware Workstation or Fusion.
    Vmware,
    /// FreeBSD's bhyve.
    Bhyve,
    /// Machines that exist.
    Ssh,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 5] = [
        Kind::Qemu,
        Kind::VirtualBox,
        Kind::Vmware,
        Kind::Bhyve,
        Kind::Ssh,
    ];

    /// Its name on the command line, and of its directories.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Qemu => "qemu",
            Kind::VirtualBox => "virtualbox",
            Kind::Vmware => "vmware",
            Kind::Bhyve => "bhyve",
            Kind::Ssh => "ssh",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            format!("no provider is called '{text}'; known: {names}")
        })
    }
}

/// ssh(1) to root of a machine. Its host key is a new machine's, and is kept
/// apart from the user's own.
fn ssh(address: &Address, known_hosts: &Path, command: &[&str]) -> Invocation {
    let mut ssh = Invocation::new("ssh", ["-o", "BatchMode=yes"]).and([
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        &format!("UserKnownHostsFile={}", known_hosts.display()),
    ]);
    if let Some(port) = address.port {
        ssh = ssh.and(["-p", &port.to_string()]);
    }
    ssh.and([format!("root@{}", address.host)])
        .and(command.iter().copied())
}

/// Fails if there is no image; a host that does not look finds one.
fn need_image(host: &mut dyn Host, image: &Path, how: &'static str) -> Result<(), Error> {
    if host.exists(image) == Some(false) {
        return Err(Error::NoImage {
            path: image.to_owned(),
            how,
        });
    }
    Ok(())
}

/// `path` as an argument.
fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Directory of the machines of one kind of provider.
pub fn machines(dir: &Path, kind: Kind) -> PathBuf {
    dir.join("machines").join(kind.name())
}
