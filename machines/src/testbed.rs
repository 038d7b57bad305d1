//! Bringing the four machines up and down.

use std::path::PathBuf;

use crate::config_disk;
use crate::provider::{Address, Provider, State};
use crate::{Error, Host, Plan, Role};

/// What a machine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The machine.
    pub role: Role,
    /// Its state; `None` from a host that does not look.
    pub state: Option<State>,
    /// Where ssh finds it, if it runs and that is known.
    pub address: Option<Address>,
}

/// The machines of one provider.
pub struct Testbed<'a> {
    /// What runs them.
    pub provider: &'a dyn Provider,
    /// What they are made of.
    pub plan: &'a Plan,
    /// Directory of their disks.
    pub dir: PathBuf,
}

impl Testbed<'_> {
    /// Makes the machines that are absent and starts those that do not run.
    ///
    /// # Errors
    /// Any step failed; those before it need not be repeated.
    pub fn up(&self, host: &mut dyn Host) -> Result<(), Error> {
        host.make_dir(&self.dir)?;
        self.provider.prepare(host)?;
        for role in Role::ALL {
            let state = self.provider.state(host, role)?;
            if matches!(state, None | Some(State::Absent)) {
                let disk = self.write_disk(host, role)?;
                self.provider.create(host, role, &disk)?;
            }
            if state != Some(State::Running) {
                self.provider.start(host, role)?;
            }
        }
        Ok(())
    }

    /// The configuration disk of a machine.
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

    /// Starts the machines that do not run.
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

    /// Shuts down the machines that run.
    ///
    /// # Errors
    /// A machine is absent, or cannot be asked to.
    pub fn stop(&self, host: &mut dyn Host) -> Result<(), Error> {
        for role in Role::ALL {
            match self.there(host, role)? {
                Some(State::Stopped) => {}
                _ => self.provider.stop(host, role)?,
            }
        }
        Ok(())
    }

    /// Keeps the disks as they are.
    ///
    /// # Errors
    /// A machine is absent, or runs.
    pub fn snapshot(&self, host: &mut dyn Host) -> Result<(), Error> {
        self.all_stopped(host)?;
        Role::ALL
            .into_iter()
            .try_for_each(|role| self.provider.snapshot(host, role))
    }

    /// Returns the disks to the snapshot.
    ///
    /// # Errors
    /// A machine is absent, runs, or has no snapshot.
    pub fn reset(&self, host: &mut dyn Host) -> Result<(), Error> {
        self.all_stopped(host)?;
        Role::ALL
            .into_iter()
            .try_for_each(|role| self.provider.reset(host, role))
    }

    /// Deletes the machines that are there, and all that was made for them.
    ///
    /// # Errors
    /// Any step failed; the next call continues with what is left.
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

    /// The state of every machine.
    ///
    /// # Errors
    /// The provider cannot be asked.
    pub fn status(&self, host: &mut dyn Host) -> Result<Vec<Status>, Error> {
        let one = |role| {
            let state = self.provider.state(host, role)?;
            let address = match state {
                // A machine that is booting has no address yet.
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

    /// The state of a machine that has to be there.
    fn there(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        match self.provider.state(host, role)? {
            Some(State::Absent) => Err(Error::WrongState {
                role,
                state: State::Absent,
                advice: "make it with up",
            }),
            state => Ok(state),
        }
    }

    /// Before anything changes: snapshots of some machines only do not fit.
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
