//! Two namespaces with a TUN interface each, and what killed labs leave of them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use l4sllm_model::files::Claim;
use l4sllm_router::{Interface, Namespace, Net, Place};

use crate::LabError;

/// Names of everything that the lab makes begin with this.
const PREFIX: &str = "l4sllm-lab-";
/// Directory of the labs' directories, which hold sockets and locks.
const RUN: &str = "/run";
/// Directory of the namespaces of `ip netns`.
const NETNS: &str = "/run/netns";
/// Roles of the namespaces.
const ROLES: [&str; 2] = ["client", "server"];

/// Mount point of a small file system in a lab's directory.
pub const DISK: &str = "disk";

/// Packet length of both interfaces, bytes.
pub const MTU: u16 = 1500;
/// Address of the client.
pub const CLIENT: &str = "10.77.0.1";
/// Addresses of the server: TCP connections to the first request ECN.
pub const SERVER: [&str; 2] = ["10.77.0.2", "10.77.0.3"];

/// Most bytes of a TCP socket's buffers, as in the emulator (16 MiB of window;
/// Linux uses half of the receive buffer for it).
const BUFFER_BYTES: u32 = 32 << 20;

/// A client's and a server's namespace, removed on drop.
#[derive(Debug)]
pub struct Topology {
    name: String,
    dir: PathBuf,
    /// Of the client.
    pub client: Net,
    /// Of the server.
    pub server: Net,
    /// Locked while this lab lives.
    _claim: Claim,
}

impl Topology {
    /// Makes the namespaces, without interfaces yet.
    ///
    /// # Errors
    /// A namespace or directory cannot be made; nothing is left then.
    pub fn new() -> Result<Topology, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let dir = Path::new(RUN).join(&name);
        let claim = Claim::of(&dir).map_err(|error| LabError::System {
            operation: "make a directory for the lab".to_owned(),
            source: std::io::Error::other(error),
        })?;
        // If a later step fails, the guard removes both namespaces.
        let made = Guard(&name);
        let [client, server] = ROLES.map(|role| -> Result<Net, LabError> {
            let namespace = namespace(&name, role);
            ip(&format!("netns add {namespace}"))?;
            let opened = Namespace::Named(namespace).open();
            opened.map_err(LabError::system("open a network namespace"))
        });
        let (client, server) = (client?, server?);
        std::mem::forget(made);
        let topology = Topology {
            name,
            dir,
            client,
            server,
            _claim: claim,
        };
        for net in [&topology.client, &topology.server] {
            net.inside(configure)
                .and_then(|done| done)
                .map_err(LabError::system("set up a network namespace"))?;
        }
        Ok(topology)
    }

    /// Creates both interfaces, with addresses and routes.
    ///
    /// # Errors
    /// An interface cannot be created.
    pub fn open(&self) -> Result<(Interface, Interface), LabError> {
        let [client, server] = ROLES.map(|role| namespace(&self.name, role));
        let open = |namespace: &str, name: &str| {
            let place = Place {
                namespace: Some(Namespace::Named(namespace.to_owned())),
                name: name.to_owned(),
            };
            Interface::open(&place, MTU)
        };
        let (input, output) = (open(&client, "l4s0")?, open(&server, "l4s1")?);
        let [ecn, plain] = SERVER;
        ip(&format!("-n {client} link set lo up"))?;
        ip(&format!("-n {server} link set lo up"))?;
        ip(&format!("-n {client} address add {CLIENT}/24 dev l4s0"))?;
        ip(&format!("-n {server} address add {ecn}/24 dev l4s1"))?;
        ip(&format!("-n {server} address add {plain}/24 dev l4s1"))?;
        // One sysctl would decide for all connections of the client.
        ip(&format!(
            "-n {client} route add {ecn} dev l4s0 features ecn"
        ))?;
        Ok((input, output))
    }

    /// Directory for sockets and output of programs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Name of the client's namespace.
    pub fn client_name(&self) -> String {
        namespace(&self.name, ROLES[0])
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what has been made if the rest fails.
struct Guard<'a>(&'a str);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        remove(self.0);
    }
}

fn namespace(name: &str, role: &str) -> String {
    format!("{name}-{role}")
}

/// Settings of a new namespace: TCP accepts ECN and requests it on routes with
/// the `ecn` feature, and large windows are possible.
///
/// iperf3 selects the congestion control of a connection that is established. A
/// connection that began with BBR, the default of some kernels, remains paced, and
/// CUBIC's HyStart then ignores trains of acknowledgements.
fn configure() -> std::io::Result<()> {
    let set = |key: &str, value: &str| fs::write(format!("/proc/sys/net/ipv4/{key}"), value);
    set("tcp_ecn", "2")?;
    set("tcp_congestion_control", "reno")?;
    set("tcp_rmem", &format!("4096 131072 {BUFFER_BYTES}"))?;
    set("tcp_wmem", &format!("4096 16384 {BUFFER_BYTES}"))
}

/// Removes the namespaces and the directory of a lab, as far as they exist.
fn remove(name: &str) {
    for role in ROLES {
        let namespace = namespace(name, role);
        if Path::new(NETNS).join(&namespace).exists() {
            // Programs of a killed lab get a signal from the kernel already.
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
    let dir = Path::new(RUN).join(name);
    // Of a drill that was killed.
    unmount(&dir.join(DISK));
    let _ = fs::remove_dir_all(dir);
}

/// Unmounts a file system if there is one; later, if it is in use.
pub(crate) fn unmount(dir: &Path) {
    if dir.is_dir() {
        let _ = Command::new("umount").arg("-l").arg(dir).output();
    }
}

/// Removes what labs that were killed have left; returns their names.
///
/// # Errors
/// `/run` cannot be read.
pub fn clean() -> Result<Vec<String>, LabError> {
    let mut names = leftovers()?;
    names.retain(|name| {
        // A lab that runs holds the lock.
        let claim = Claim::of(&Path::new(RUN).join(name));
        claim.is_ok_and(|_claim| {
            remove(name);
            true
        })
    });
    Ok(names)
}

/// Names of labs with a directory or a namespace.
fn leftovers() -> Result<Vec<String>, LabError> {
    let mut names = Vec::new();
    for dir in [RUN, NETNS] {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // There never was a named namespace.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LabError::system(format!("list {dir}"))(error)),
        };
        let entries = entries.filter_map(Result::ok);
        names.extend(entries.filter_map(|entry| lab_of(&entry.file_name())));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The lab that a directory or a namespace with this name belongs to.
fn lab_of(file: &OsStr) -> Option<String> {
    let file = file.to_str()?;
    let own = file.strip_prefix(PREFIX)?;
    let roles = ROLES.iter().map(|role| format!("-{role}"));
    let own = { roles }
        .find_map(|role| own.strip_suffix(role.as_str()))
        .unwrap_or(own);
    let (process, number) = own.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(process) && is_number(number)).then(|| format!("{PREFIX}{own}"))
}

/// Runs `ip`.
fn ip(arguments: &str) -> Result<(), LabError> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let failed = |reason: String| LabError::Program {
        program: format!("ip {arguments}"),
        reason,
    };
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing else may be deleted.
    #[test]
    fn other_names_are_not_leftovers_of_labs() {
        let lab = |name: &str| lab_of(OsStr::new(name));
        let own = Some("l4sllm-lab-12-3".to_owned());
        assert_eq!(lab("l4sllm-lab-12-3"), own);
        assert_eq!(lab("l4sllm-lab-12-3-client"), own);
        assert_eq!(lab("l4sllm-lab-12-3-server"), own);
        for other in [
            "client",
            "l4sllm-lab",
            "l4sllm-lab-",
            "l4sllm-lab-12",
            "l4sllm-lab-12-",
            "l4sllm-lab-x-3",
            "l4sllm-lab-12-3-router",
            "l4sllm-lab-12-3/../x",
            "my-l4sllm-lab-12-3",
        ] {
            assert_eq!(lab(other), None, "{other}");
        }
    }
}
