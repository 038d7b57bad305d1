//! Existing machines, reached by ssh. They are not created or deleted; the
//! operator assigns their roles.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Address, Kind, KnownHosts, Provider, State, machines, ssh};
use crate::{Error, Host, Invocation, Plan, Role};

/// Four existing machines.
#[derive(Debug)]
pub struct Ssh {
    known_hosts: KnownHosts,
    addresses: BTreeMap<Role, Address>,
}

impl Ssh {
    /// Creates a provider with the address of each role.
    ///
    /// # Errors
    /// A role has no address.
    pub fn new(plan: &Plan, addresses: BTreeMap<Role, Address>) -> Result<Ssh, Error> {
        for role in Role::ALL {
            if !addresses.contains_key(&role) {
                return Err(Error::NoHost { role });
            }
        }
        Ok(Ssh {
            known_hosts: KnownHosts {
                path: machines(&plan.dir, Kind::Ssh).join("known_hosts"),
                accepted: plan.host_keys,
            },
            addresses,
        })
    }

    fn destination(&self, role: Role) -> Result<Address, Error> {
        let address = self.addresses.get(&role);
        address.cloned().ok_or(Error::NoHost { role })
    }

    fn command(&self, role: Role, command: &[&str]) -> Result<Invocation, Error> {
        Ok(ssh(&self.destination(role)?, &self.known_hosts, command))
    }

    /// Adds the machine and the remedy to an error about its host key.
    fn explained(&self, role: Role) -> impl FnOnce(Error) -> Error {
        move |error| error.about_host_key(role, &self.known_hosts.path)
    }
}

impl Provider for Ssh {
    fn prepare(&self, _: &mut dyn Host) -> Result<(), Error> {
        Ok(())
    }

    /// Running if it answers. Otherwise its state is unknown, and ssh's error is
    /// returned.
    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        let answer = host.ask(&self.command(role, &["true"])?);
        let answer = answer.map_err(self.explained(role))?;
        Ok(answer.map(|_| State::Running))
    }

    fn create(&self, _: &mut dyn Host, _: Role, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&self.command(role, &["true"])?)
            .map_err(self.explained(role))
    }

    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&self.command(role, &["shutdown", "-p", "now"])?)
            .map_err(self.explained(role))
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
