//! Existing machines, reached by ssh. They are not created or deleted; the
//! operator assigns their roles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Address, Kind, Provider, State, machines, ssh};
use crate::{Error, Host, Plan, Role};

/// Four existing machines.
#[derive(Debug)]
pub struct Ssh {
    known_hosts: PathBuf,
    hosts: BTreeMap<Role, String>,
}

impl Ssh {
    /// Creates a provider with the host of each role.
    ///
    /// # Errors
    /// A role has no host.
    pub fn new(plan: &Plan, hosts: BTreeMap<Role, String>) -> Result<Ssh, Error> {
        for role in Role::ALL {
            if !hosts.contains_key(&role) {
                return Err(Error::NoHost { role });
            }
        }
        Ok(Ssh {
            known_hosts: machines(&plan.dir, Kind::Ssh).join("known_hosts"),
            hosts,
        })
    }

    fn destination(&self, role: Role) -> Result<Address, Error> {
        let host = self.hosts.get(&role).ok_or(Error::NoHost { role })?;
        Ok(Address {
            host: host.clone(),
            port: None,
        })
    }
}

impl Provider for Ssh {
    fn prepare(&self, _: &mut dyn Host) -> Result<(), Error> {
        Ok(())
    }

    /// Running if it answers. Otherwise its state is unknown, and ssh's error is
    /// returned.
    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        let ssh = ssh(&self.destination(role)?, &self.known_hosts, &["true"]);
        Ok(host.ask(&ssh)?.map(|_| State::Running))
    }

    fn create(&self, _: &mut dyn Host, _: Role, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&ssh(&self.destination(role)?, &self.known_hosts, &["true"]))
    }

    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        let shutdown = ["shutdown", "-p", "now"];
        host.run(&ssh(&self.destination(role)?, &self.known_hosts, &shutdown))
    }

    fn owns_machines(&self) -> bool {
        false
    }

    fn snapshot(&self, _: &mut dyn Host, _: Role) -> Result<(), Error> {
        Err(Error::Unsupported { action: "snapshot" })
    }

    fn reset(&self, _: &mut dyn Host, _: Role) -> Result<(), Error> {
        Err(Error::Unsupported { action: "reset" })
    }

    /// Does nothing: the machines are not deleted.
    fn remove(&self, _: &mut dyn Host, _: Role, _: bool) -> Result<(), Error> {
        Ok(())
    }

    fn cleanup(&self, _: &mut dyn Host) -> Result<(), Error> {
        Ok(())
    }

    fn address(&self, _: &mut dyn Host, role: Role) -> Result<Option<Address>, Error> {
        self.destination(role).map(Some)
    }
}
