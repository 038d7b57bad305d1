//! The four machines and their links.

use std::fmt;
use std::str::FromStr;

/// One of the testbed's machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The bottleneck.
    Router,
    /// Sends CUBIC and NewReno flows.
    Client1,
    /// Sends DCTCP or UDP Prague.
    Client2,
    /// Receives.
    Server,
}

impl Role {
    /// All machines; the router first, so that the others find it.
    pub const ALL: [Role; 4] = [Role::Router, Role::Client1, Role::Client2, Role::Server];

    /// Returns its name, as in `vm-images/files/role`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::Client1 => "client1",
            Role::Client2 => "client2",
            Role::Server => "server",
        }
    }

    /// Returns the links of its interfaces, in order, without the first interface,
    /// which is for management. A link is named by the machine that it connects to
    /// the router.
    pub fn links(self) -> &'static [Role] {
        match self {
            Role::Router => &[Role::Client1, Role::Client2, Role::Server],
            Role::Client1 => &[Role::Client1],
            Role::Client2 => &[Role::Client2],
            Role::Server => &[Role::Server],
        }
    }

    /// Returns the machine's name in the hypervisor.
    pub fn machine(self) -> String {
        format!("l4sllm-{}", self.name())
    }

    /// Returns the port of 127.0.0.1 that some providers forward to its sshd.
    pub fn ssh_port(self) -> u16 {
        10022 + self as u16
    }

    /// Returns a locally administered Ethernet address for its interface `number`.
    pub fn mac(self, number: usize) -> String {
        format!("02:4c:34:53:{:02x}:{number:02x}", self as u8)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| {
            let names = Role::ALL.map(Role::name).join(", ");
            format!("unknown machine '{text}'; expected one of {names}")
        })
    }
}
