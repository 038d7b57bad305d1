//! One repetition of a measurement on the machines.

use std::path::Path;

use crate::session::{DIR, Group, Session};
use crate::{Error, Host, Role, Testbed};

/// Programs and commands of a repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repetition {
    /// Commands that are run first, in this order.
    pub settings: Vec<(Role, Vec<String>)>,
    /// Programs that start next, one group after another, and are ended at the end:
    /// recorders, controllers, receivers.
    pub receivers: Vec<(Role, Group)>,
    /// Programs that start last; the repetition ends when they have ended.
    pub senders: Vec<(Role, Group)>,
    /// Commands whose output is stored at the end, with the file's name.
    pub counters: Vec<(Role, String, Vec<String>)>,
}

/// Every command of the repetition, one a line.
const MANIFEST: &str = "manifest.txt";

impl Testbed<'_> {
    /// Runs a repetition, and stores the files of its programs in `out/ROLE`. Returns
    /// whether it ran: not if `out` exists, which appears when it is complete.
    ///
    /// # Errors
    /// A machine does not answer; a command or a program failed. Programs on the
    /// machines are ended then.
    pub fn repeat(
        &self,
        host: &mut dyn Host,
        out: &Path,
        repetition: &Repetition,
    ) -> Result<bool, Error> {
        if host.exists(out) == Some(true) {
            return Ok(false);
        }
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let partial = out.with_file_name(format!(".{name}.partial"));
        host.remove_dir(&partial)?;
        host.make_dir(&partial)?;
        for role in Role::ALL {
            let script = format!("rm -rf {DIR} && mkdir {DIR}");
            self.command(host, role, &["sh", "-c", &script])?;
        }
        for (role, command) in &repetition.settings {
            self.command(host, *role, &borrowed(command))?;
        }
        let mut receivers = Vec::new();
        for (role, group) in &repetition.receivers {
            receivers.push((*role, self.session(host, *role, group)?));
        }
        let mut senders = Vec::new();
        for (role, group) in &repetition.senders {
            senders.push((*role, self.session(host, *role, group)?));
        }
        for (role, sender) in senders.iter_mut() {
            sender
                .as_mut()
                .map_or(Ok(()), Session::wait)
                .map_err(|error| error.of(*role))?;
        }
        for (role, file, command) in &repetition.counters {
            self.store(host, *role, &borrowed(command), &partial.join(file))?;
        }
        for (role, receiver) in receivers.iter_mut().rev() {
            receiver
                .as_mut()
                .map_or(Ok(()), Session::end)
                .map_err(|error| error.of(*role))?;
        }
        for role in Role::ALL {
            self.fetch(host, role, &partial)?;
        }
        host.write(&partial.join(MANIFEST), repetition.manifest().as_bytes())?;
        host.rename(&partial, out)?;
        Ok(true)
    }

    /// Runs a command on a machine.
    fn command(&self, host: &mut dyn Host, role: Role, command: &[&str]) -> Result<(), Error> {
        match self.shell(host, role, command)? {
            Some(ssh) => host.run(&ssh).map_err(|error| self.explained(role, error)),
            None => Ok(()),
        }
    }

    fn session(
        &self,
        host: &mut dyn Host,
        role: Role,
        group: &Group,
    ) -> Result<Option<Session>, Error> {
        match self.shell(host, role, &["sh", "-c", &group.script()])? {
            Some(ssh) => host
                .start(&ssh, &group.name())
                .map_err(|error| self.explained(role, error)),
            None => Ok(None),
        }
    }

    /// Stores the output of a command.
    fn store(
        &self,
        host: &mut dyn Host,
        role: Role,
        command: &[&str],
        file: &Path,
    ) -> Result<(), Error> {
        match self.shell(host, role, command)? {
            Some(ssh) => { host.save(&ssh, file) }.map_err(|error| self.explained(role, error)),
            None => Ok(()),
        }
    }

    /// Copies the files of a machine to `dir/ROLE`.
    fn fetch(&self, host: &mut dyn Host, role: Role, dir: &Path) -> Result<(), Error> {
        let (own, archive) = (dir.join(role.name()), dir.join("files.tar"));
        host.make_dir(&own)?;
        self.store(host, role, &["tar", "-cf", "-", "-C", DIR, "."], &archive)?;
        let (archive, own) = (archive.to_string_lossy(), own.to_string_lossy());
        host.run(&crate::Invocation::new(
            "tar",
            ["-xf", &archive, "-C", &own],
        ))?;
        host.run(&crate::Invocation::new("rm", ["-f", &archive]))
    }

    fn explained(&self, role: Role, error: Error) -> Error {
        let known_hosts = self.known_hosts(role);
        error.about_host_key(role, &known_hosts).of(role)
    }
}

impl Repetition {
    /// Lists every command and program with its machine.
    fn manifest(&self) -> String {
        let mut lines = Vec::new();
        let mut add = |role: Role, what: &str, words: &[String]| {
            let command = crate::Invocation::new(&words[0], &words[1..]);
            lines.push(format!("{role} {what}: {command}\n"));
        };
        for (role, command) in &self.settings {
            add(*role, "setting", command);
        }
        for (kind, groups) in [("receiver", &self.receivers), ("sender", &self.senders)] {
            for (role, group) in groups {
                for program in &group.programs {
                    add(*role, &format!("{kind} {}", program.name), &program.command);
                }
            }
        }
        for (role, file, command) in &self.counters {
            add(*role, &format!("counter {file}"), command);
        }
        lines.concat()
    }
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
