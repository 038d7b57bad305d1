//! Providers: hypervisors, and machines reached by ssh.

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

use l4sllm_model::text::shell_word;

use crate::{Error, Host, Invocation, Role};

/// State of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does not exist.
    Absent,
    /// It exists and is powered off.
    Stopped,
    /// It is powered on.
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

/// Destination of ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or address, or a `Host` of ssh_config(5).
    pub host: String,
    /// Port; `None` for ssh's default.
    pub port: Option<u16>,
    /// Login name.
    pub user: String,
    /// File with the private key; `None` for ssh's default.
    pub identity: Option<PathBuf>,
    /// Runs commands as root, for a login that is not root's.
    pub become_root: Option<Become>,
}

/// A program that runs a command as root without asking for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Become {
    /// sudo(8).
    Sudo,
    /// doas(1).
    Doas,
}

impl Become {
    /// Both.
    pub const ALL: [Become; 2] = [Become::Sudo, Become::Doas];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Become::Sudo => "sudo",
            Become::Doas => "doas",
        }
    }
}

impl Address {
    /// Creates the address of root's login with the default key.
    pub fn root(host: &str, port: Option<u16>) -> Address {
        Address {
            host: host.to_owned(),
            port,
            user: "root".to_owned(),
            identity: None,
            become_root: None,
        }
    }
}

/// Which host keys ssh accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeys {
    /// Keys of known hosts, and of unknown hosts, whose keys are stored.
    AcceptNew,
    /// Only keys of known hosts.
    Strict,
}

/// The testbed's own file of known hosts, and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownHosts {
    pub path: PathBuf,
    pub accepted: HostKeys,
}

/// A hypervisor, or existing machines.
///
/// The caller checks the state first: [`create`] requires an absent machine,
/// [`start`] and [`remove`] an existing one.
///
/// [`create`]: Provider::create
/// [`start`]: Provider::start
/// [`remove`]: Provider::remove
pub trait Provider {
    /// Creates what all machines share, unless it exists.
    fn prepare(&self, host: &mut dyn Host) -> Result<(), Error>;
    /// Returns the state of a machine; `None` on a host that inspects nothing.
    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error>;
    /// Creates a machine from the image, with a configuration disk.
    fn create(&self, host: &mut dyn Host, role: Role, disk: &Path) -> Result<(), Error>;
    /// Powers a machine on.
    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Requests a clean shutdown of a machine.
    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Returns whether it creates the machines and so controls their disks.
    fn owns_machines(&self) -> bool {
        true
    }
    /// Takes a snapshot of a stopped machine's disk, named `configured`.
    fn snapshot(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Restores a stopped machine's disk from that snapshot.
    fn reset(&self, host: &mut dyn Host, role: Role) -> Result<(), Error>;
    /// Deletes a machine, after powering it off if it is `running`.
    fn remove(&self, host: &mut dyn Host, role: Role, running: bool) -> Result<(), Error>;
    /// Removes what [`Provider::prepare`] created.
    fn cleanup(&self, host: &mut dyn Host) -> Result<(), Error>;
    /// Returns the ssh address of a running machine; `None` on a host that inspects
    /// nothing.
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
    /// Existing machines, reached by ssh.
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

    /// Returns its name, used on the command line and for directories.
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
            format!("unknown provider '{text}'; expected one of {names}")
        })
    }
}

/// Returns an ssh(1) command that runs `command` on a machine. Host keys are
/// compared with the testbed's file only. A booting machine may accept connections
/// without an answer, so attempts have a timeout; a dead one ends a session after a
/// minute.
pub(crate) fn ssh(address: &Address, known: &KnownHosts, command: &[&str]) -> Invocation {
    let strict = match known.accepted {
        HostKeys::AcceptNew => "accept-new",
        HostKeys::Strict => "yes",
    };
    let mut ssh = Invocation::new("ssh", ["-o", "BatchMode=yes"]).and([
        "-o",
        &format!("StrictHostKeyChecking={strict}"),
        "-o",
        &format!("UserKnownHostsFile={}", option_value(&known.path)),
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        // People edit the file.
        "-o",
        "HashKnownHosts=no",
        "-o",
        "ConnectTimeout=10",
        "-o",
        "ServerAliveInterval=20",
    ]);
    if let Some(identity) = &address.identity {
        ssh = ssh.and(["-o", "IdentitiesOnly=yes", "-i", &text(identity)]);
    }
    if let Some(port) = address.port {
        ssh = ssh.and(["-p", &port.to_string()]);
    }
    ssh = ssh.and([format!("{}@{}", address.user, address.host)]);
    if let Some(program) = address.become_root {
        // Both fail if they need a password.
        ssh = ssh.and([program.name(), "-n"]);
    }
    ssh
        // ssh joins the words with spaces, for the shell of the machine.
        .and(command.iter().map(|word| shell_word(word)))
}

/// Returns a path as a value of ssh_config(5), where `%` starts a token and
/// unquoted spaces separate files.
fn option_value(path: &Path) -> String {
    let text = text(path).replace('%', "%%");
    if text.contains([' ', '\t', '"', '\'', '\\', '#']) {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    } else {
        text
    }
}

/// Fails if the image does not exist.
fn need_image(host: &mut dyn Host, image: &Path, how: &'static str) -> Result<(), Error> {
    if host.exists(image) == Some(false) {
        return Err(Error::NoImage {
            path: image.to_owned(),
            how,
        });
    }
    Ok(())
}

/// Returns `path` as an argument.
fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Returns the directory of the machines of a provider.
pub fn machines(dir: &Path, kind: Kind) -> PathBuf {
    dir.join("machines").join(kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_words_are_quoted_for_the_shell_of_the_machine() {
        let ssh = command(HostKeys::Strict, &["cat", "/a b;reboot", "$(x)"]);
        assert!(ssh.ends_with(&["cat", "'/a b;reboot'", "'$(x)'"].map(str::to_owned)));
    }

    #[test]
    fn ssh_has_the_key_the_user_and_the_host_keys_of_the_testbed() {
        let ssh = command(HostKeys::Strict, &["true"]).join(" ");
        let own =
            "StrictHostKeyChecking=yes -o UserKnownHostsFile=/k -o GlobalKnownHostsFile=/dev/null";
        assert!(ssh.contains(own), "{ssh}");
        let login = "-o IdentitiesOnly=yes -i /id -p 2222 admin@router true";
        assert!(ssh.ends_with(login), "{ssh}");
        let first = command(HostKeys::AcceptNew, &["true"]).join(" ");
        assert!(
            first.contains("StrictHostKeyChecking=accept-new"),
            "{first}"
        );
    }

    fn command(accepted: HostKeys, words: &[&str]) -> Vec<String> {
        let address = Address {
            host: "router".to_owned(),
            port: Some(2222),
            user: "admin".to_owned(),
            identity: Some(PathBuf::from("/id")),
            become_root: None,
        };
        let path = PathBuf::from("/k");
        ssh(&address, &KnownHosts { path, accepted }, words).arguments
    }

    #[test]
    fn commands_of_other_users_run_as_root() {
        for (program, words) in [
            (Become::Sudo, "admin@router sudo -n sh -c 'cd x && ls'"),
            (Become::Doas, "admin@router doas -n sh -c 'cd x && ls'"),
        ] {
            let address = Address {
                user: "admin".to_owned(),
                become_root: Some(program),
                ..Address::root("router", None)
            };
            let known = KnownHosts {
                path: PathBuf::from("/k"),
                accepted: HostKeys::Strict,
            };
            let command = ssh(&address, &known, &["sh", "-c", "cd x && ls"]);
            let text = command.arguments.join(" ");
            assert!(text.ends_with(words), "{text}");
        }
    }

    #[test]
    fn paths_are_quoted_as_values_of_ssh_config() {
        let value = |path: &str| option_value(Path::new(path));
        assert_eq!(value("/out/vm/known_hosts"), "/out/vm/known_hosts");
        assert_eq!(value("/my vm/100%"), "\"/my vm/100%%\"");
        assert_eq!(value(r#"/a"b\c"#), r#""/a\"b\\c""#);
    }
}
