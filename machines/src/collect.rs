//! Copies versions, settings, counters and logs of every machine to this computer.

use std::path::Path;

use crate::wait::SSH_FAILED;
use crate::{Error, Host, Role, Testbed};

/// Commands that are run on every machine, and the files of their output.
const EVERYWHERE: [(&str, &[&str]); 8] = [
    ("uname.txt", &["uname", "-a"]),
    ("freebsd-version.txt", &["freebsd-version", "-kru"]),
    ("modules.txt", &["kldstat"]),
    ("sysctl.txt", &["sysctl", "-a"]),
    ("interfaces.txt", &["ifconfig", "-a"]),
    ("routes.txt", &["netstat", "-rn"]),
    (
        "testbed.conf",
        &["cat", "/usr/local/etc/l4sllm/testbed.conf"],
    ),
    ("messages.log", &["cat", "/var/log/messages"]),
];
/// Those of the router: the queue, its counters and its daemon.
const ROUTER: [(&str, &[&str]); 7] = [
    ("l4sllm-version.txt", &["l4sllm", "--version"]),
    (
        "l4sllmd-status.json",
        &["l4sllm", "status", "--format", "json"],
    ),
    ("l4sllmd.log", &["cat", "/var/log/l4sllmd.log"]),
    ("rules.txt", &["ipfw", "-a", "list"]),
    ("pipes.txt", &["ipfw", "pipe", "show"]),
    ("schedulers.txt", &["ipfw", "sched", "show"]),
    ("queues.txt", &["ipfw", "queue", "show"]),
];
/// Those of clients and the server.
const HOSTS: [(&str, &[&str]); 2] = [
    ("iperf3-version.txt", &["iperf3", "--version"]),
    // net.inet.siftr.logfile of the image.
    ("siftr.log", &["cat", "/var/log/siftr.log"]),
];
/// Commands that failed, one a line.
const FAILURES: &str = "failures.txt";

/// Files of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The machine.
    pub role: Role,
    /// Whether an earlier call collected them.
    pub earlier: bool,
    /// Commands that failed on the machine, such as `siftr.log: cat: …`.
    pub failures: Vec<String>,
}

impl Testbed<'_> {
    /// Copies versions, sysctls, counters and logs of every machine to `out/ROLE`,
    /// and calls `done` after each. A directory appears under its name when it is
    /// complete, so a call after a kill continues with the missing machines. A
    /// command that fails, for example because a log does not exist, is recorded in
    /// `failures.txt`.
    ///
    /// # Errors
    /// A machine does not answer; a file cannot be written.
    pub fn collect(
        &self,
        host: &mut dyn Host,
        out: &Path,
        done: &mut dyn FnMut(&Collected),
    ) -> Result<(), Error> {
        host.make_dir(&self.dir)?;
        host.make_dir(out)?;
        for role in Role::ALL {
            let complete = out.join(role.name());
            let earlier = host.exists(&complete) == Some(true);
            let mut failures = Vec::new();
            if !earlier {
                let partial = out.join(format!(".{role}.partial"));
                host.remove_dir(&partial)?;
                host.make_dir(&partial)?;
                failures = self
                    .collect_one(host, role, &partial)
                    .map_err(|error| error.about_host_key(role, &self.known_hosts(role)))
                    .map_err(|error| error.of(role))?;
                host.rename(&partial, &complete)?;
            }
            done(&Collected {
                role,
                earlier,
                failures,
            });
        }
        Ok(())
    }

    /// Writes the files of a machine to `dir`. Returns the commands that failed.
    fn collect_one(
        &self,
        host: &mut dyn Host,
        role: Role,
        dir: &Path,
    ) -> Result<Vec<String>, Error> {
        let of_role: &[(&str, &[&str])] = match role {
            Role::Router => &ROUTER,
            Role::Client1 | Role::Client2 | Role::Server => &HOSTS,
        };
        let mut failures = Vec::new();
        for (file, command) in EVERYWHERE.iter().chain(of_role) {
            let Some(ssh) = self.shell(host, role, command)? else {
                continue;
            };
            match host.save(&ssh, &dir.join(file)) {
                Ok(()) => {}
                Err(Error::Failed { code, message, .. })
                    if code.is_some_and(|code| code != SSH_FAILED) =>
                {
                    failures.push(format!("{file}: {message}"));
                }
                Err(error) => return Err(error),
            }
        }
        if !failures.is_empty() {
            let text = failures.join("\n") + "\n";
            host.write(&dir.join(FAILURES), text.as_bytes())?;
        }
        Ok(failures)
    }
}
