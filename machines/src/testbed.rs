//! Operations on all four machines.

use std::path::PathBuf;

use crate::config_disk;
use crate::provider::{Address, KnownHosts, Provider, State, ssh};
use crate::{Error, Host, Invocation, Plan, Role};

/// Contents of a machine's progress file while it is created, and after.
const CREATING: &str = "creating\n";
const CREATED: &str = "created\n";

/// State and address of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The machine.
    pub role: Role,
    /// Its state; `None` on a host that inspects nothing.
    pub state: Option<State>,
    /// Its ssh address, if it is running and the address is known.
    pub address: Option<Address>,
}

/// The machines of one provider.
pub struct Testbed<'a> {
    /// The provider.
    pub provider: &'a dyn Provider,
    /// Their resources and configuration.
    pub plan: &'a Plan,
    /// Directory of their disks.
    pub dir: PathBuf,
}

impl Testbed<'_> {
    /// Creates the machines that are absent and starts those that are not running.
    ///
    /// # Errors
    /// A step failed; the next call continues with it.
    pub fn up(&self, host: &mut dyn Host) -> Result<(), Error> {
        host.make_dir(&self.dir)?;
        self.provider.prepare(host)?;
        for role in Role::ALL {
            let mut state = self.provider.state(host, role)?;
            if self.provider.owns_machines() {
                state = self.create(host, role, state)?;
            }
            if state != Some(State::Running) {
                self.provider.start(host, role)?;
            }
        }
        Ok(())
    }

    /// Creates a machine if it is absent, and recreates it if, according to its
    /// progress file, its creation was interrupted. Returns its state.
    fn create(
        &self,
        host: &mut dyn Host,
        role: Role,
        state: Option<State>,
    ) -> Result<Option<State>, Error> {
        let progress = self.dir.join(format!("{role}.progress"));
        if !matches!(state, None | Some(State::Absent)) {
            if host.read(&progress)?.as_deref() != Some(CREATING) {
                return Ok(state);
            }
            self.provider
                .remove(host, role, state == Some(State::Running))?;
        }
        host.write(&progress, CREATING.as_bytes())?;
        let disk = self.write_disk(host, role)?;
        // The host key of the new machine replaces that of its predecessor.
        host.write(&self.known_hosts(role), b"")?;
        self.provider.create(host, role, &disk)?;
        host.write(&progress, CREATED.as_bytes())?;
        Ok(state.map(|_| State::Stopped))
    }

    /// Returns the file with the host key of a machine: one file for each machine
    /// that the provider creates, because its key changes with it.
    pub(crate) fn known_hosts(&self, role: Role) -> PathBuf {
        if self.provider.owns_machines() {
            self.dir.join(format!("{role}.known_hosts"))
        } else {
            self.dir.join("known_hosts")
        }
    }

    /// Returns an ssh command that runs `command` on a machine; `None` if its
    /// address is unknown, on a host that inspects nothing.
    pub(crate) fn shell(
        &self,
        host: &mut dyn Host,
        role: Role,
        command: &[&str],
    ) -> Result<Option<Invocation>, Error> {
        let address = self.provider.address(host, role)?;
        let known = KnownHosts {
            path: self.known_hosts(role),
            accepted: self.plan.host_keys,
        };
        Ok(address.map(|address| ssh(&address, &known, command)))
    }

    /// Writes the configuration disk of a machine.
    fn write_disk(&self, host: &mut dyn Host, role: Role) -> Result<PathBuf, Error> {
        let name = format!("{role}\n");
        let mut files = vec![("role", name.as_bytes())];
        if let Some(settings) = &self.plan.settings {
            files.push(("testbed.conf", settings));
        }
        if let Some(keys) = &self.plan.keys {
            files.push(("authorized_keys", keys));
        }
        let path = self.dir.join(format!("{role}.iso"));
        host.write(&path, &config_disk::image(&files)?)?;
        Ok(path)
    }

    /// Starts the machines that are not running.
    ///
    /// # Errors
    /// A machine is absent, or does not start.
    pub fn start(&self, host: &mut dyn Host) -> Result<(), Error> {
        for role in Role::ALL {
            match self.there(host, role)? {
                Some(State::Running) => {}
                _ => self.provider.start(host, role)?,
            }
        }
        Ok(())
    }

    /// Shuts down the running machines.
    ///
    /// # Errors
    /// A machine is absent, or the shutdown command failed.
    pub fn stop(&self, host: &mut dyn Host) -> Result<(), Error> {
        for role in Role::ALL {
            match self.there(host, role)? {
                Some(State::Stopped) => {}
                _ => self.provider.stop(host, role)?,
            }
        }
        Ok(())
    }

    /// Takes a snapshot of every disk.
    ///
    /// # Errors
    /// A machine is absent, or runs.
    pub fn snapshot(&self, host: &mut dyn Host) -> Result<(), Error> {
        self.all_stopped(host)?;
        Role::ALL
            .into_iter()
            .try_for_each(|role| self.provider.snapshot(host, role))
    }

    /// Restores every disk from its snapshot.
    ///
    /// # Errors
    /// A machine is absent, runs, or has no snapshot.
    pub fn reset(&self, host: &mut dyn Host) -> Result<(), Error> {
        self.all_stopped(host)?;
        Role::ALL
            .into_iter()
            .try_for_each(|role| self.provider.reset(host, role))
    }

    /// Deletes the machines and everything that was created for them.
    ///
    /// # Errors
    /// A step failed; the next call continues with the remaining ones.
    pub fn down(&self, host: &mut dyn Host) -> Result<(), Error> {
        for role in Role::ALL {
            match self.provider.state(host, role)? {
                Some(State::Absent) => {}
                state => self
                    .provider
                    .remove(host, role, state != Some(State::Stopped))?,
            }
        }
        self.provider.cleanup(host)?;
        host.remove_dir(&self.dir)
    }

    /// Returns the state of every machine.
    ///
    /// # Errors
    /// A query of the provider failed.
    pub fn status(&self, host: &mut dyn Host) -> Result<Vec<Status>, Error> {
        let one = |role| {
            let state = self.provider.state(host, role)?;
            let address = match state {
                // A booting machine has no address yet.
                Some(State::Running) => self.provider.address(host, role).ok().flatten(),
                _ => None,
            };
            Ok(Status {
                role,
                state,
                address,
            })
        };
        Role::ALL.into_iter().map(one).collect()
    }

    /// Returns the state of a machine that must exist.
    fn there(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        match self.provider.state(host, role)? {
            Some(State::Absent) => Err(Error::WrongState {
                role,
                state: State::Absent,
                advice: "create it with up",
            }),
            state => Ok(state),
        }
    }

    /// Fails unless every machine is stopped. Checked before the first change, because
    /// snapshots of only some machines are inconsistent.
    fn all_stopped(&self, host: &mut dyn Host) -> Result<(), Error> {
        if !self.provider.owns_machines() {
            return Ok(());
        }
        for role in Role::ALL {
            if self.there(host, role)? == Some(State::Running) {
                return Err(Error::WrongState {
                    role,
                    state: State::Running,
                    advice: "shut it down with stop first",
                });
            }
        }
        Ok(())
    }
}
