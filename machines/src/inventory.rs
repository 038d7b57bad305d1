//! The inventory: a TOML file that describes existing machines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use l4sllm_model::strict_toml::{Field, Section, Source, TomlError};
use l4sllm_model::text::shown;

use crate::provider::Become;
use crate::{Address, Error, Role};

/// Length of the longest interface name of FreeBSD (IFNAMSIZ - 1).
const INTERFACE: usize = 15;

/// A machine of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Where and how ssh logs in.
    pub address: Address,
    /// Its interfaces by link ([`Role::links`]), without those not given.
    pub interfaces: BTreeMap<Role, String>,
}

/// The four machines of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory(BTreeMap<Role, Machine>);

impl Inventory {
    /// Reads an inventory.
    ///
    /// # Errors
    /// The file cannot be read; or a key is unknown, missing or invalid, named with
    /// file and line.
    pub fn read(path: &Path) -> Result<Inventory, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            action: "cannot be read",
            source,
        })?;
        Inventory::parse(path, &text)
    }

    /// Parses the text of the file `path`.
    ///
    /// # Errors
    /// A key is unknown, missing or invalid, named with file and line.
    pub fn parse(path: &Path, text: &str) -> Result<Inventory, Error> {
        Source { path, text }.read(|mut top| {
            let mut machines = BTreeMap::new();
            for role in Role::ALL {
                let section = top.require(role.name())?.section()?;
                let machine = machine(section, role, path)?;
                machines.insert(role, machine);
            }
            distinct(&machines, &top)?;
            top.finish()?;
            Ok(Inventory(machines))
        })
    }

    /// Returns the machine of a role.
    pub fn machine(&self, role: Role) -> &Machine {
        // `parse` requires all roles.
        &self.0[&role]
    }

    /// Returns the addresses of all machines.
    pub fn addresses(&self) -> BTreeMap<Role, Address> {
        let address = |(role, machine): (&Role, &Machine)| (*role, machine.address.clone());
        self.0.iter().map(address).collect()
    }
}

/// Fails if two roles have the same sshd.
fn distinct(machines: &BTreeMap<Role, Machine>, top: &Section<'_>) -> Result<(), TomlError> {
    let mut seen: BTreeMap<(&str, Option<u16>), Role> = BTreeMap::new();
    for (role, machine) in machines {
        let address = &machine.address;
        if let Some(other) = seen.insert((&address.host, address.port), *role) {
            let message = format!("the host and port of {other}; each role has its own machine");
            return Err(top.error(role.name(), message));
        }
    }
    Ok(())
}

fn machine(mut section: Section<'_>, role: Role, file: &Path) -> Result<Machine, TomlError> {
    let host = section.require("host")?;
    let user = section.field("user");
    let port = section.field("port");
    let identity = section.field("identity");
    let program = section.field("become");
    let address = Address {
        host: word(&host, "a host name or address", is_host)?,
        port: port
            .map(|port| port.integer(1..=65535))
            .transpose()?
            .map(|port| port as u16),
        user: match &user {
            Some(user) => word(user, "a login name", is_user)?,
            None => "root".to_owned(),
        },
        identity: identity.map(|key| private_key(&key, file)).transpose()?,
        become_root: program.map(|program| become_root(&program)).transpose()?,
    };
    let interfaces = section
        .field("interfaces")
        .map(|field| interfaces(field, role))
        .transpose()?
        .unwrap_or_default();
    section.finish()?;
    Ok(Machine {
        address,
        interfaces,
    })
}

fn interfaces(field: Field<'_>, role: Role) -> Result<BTreeMap<Role, String>, TomlError> {
    let mut section = field.section()?;
    let mut names = BTreeMap::new();
    for link in role.links() {
        if let Some(name) = section.field(link.name()) {
            names.insert(
                *link,
                word(&name, "an interface, such as em1", is_interface)?,
            );
        }
    }
    section.finish()?;
    Ok(names)
}

/// The text of a field that `valid` accepts.
fn word(field: &Field<'_>, expected: &str, valid: fn(&str) -> bool) -> Result<String, TomlError> {
    let text = field.text()?;
    match valid(text) {
        true => Ok(text.to_owned()),
        false => Err(field.error(format!("expected {expected}, found \"{}\"", shown(text)))),
    }
}

fn become_root(field: &Field<'_>) -> Result<Become, TomlError> {
    let text = field.text()?;
    let found = Become::ALL
        .into_iter()
        .find(|program| program.name() == text);
    found.ok_or_else(|| {
        field.error(format!(
            "expected \"sudo\" or \"doas\", found \"{}\"",
            shown(text)
        ))
    })
}

/// ssh would read a leading `-` as an option, and split at spaces.
fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn is_user(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn is_interface(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    (1..=INTERFACE).contains(&text.len()) && text.chars().all(plain)
}

/// The path of a private key, relative to the inventory's directory or `~/`.
fn private_key(field: &Field<'_>, file: &Path) -> Result<PathBuf, TomlError> {
    let text = field.text()?;
    let path = match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => file.parent().unwrap_or(Path::new("")).join(text),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(field.error(format!(
            "{} is not a file; expected a private key",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const FOUR: &str = "\
[router]
host = \"10.0.0.1\"
interfaces = { client1 = \"em1\", client2 = \"em2\", server = \"em3\" }
[client1]
host = \"client1.example\"
user = \"admin\"
port = 2222
become = \"doas\"
[client2]
host = \"fe80::2%em0\"
[server]
host = \"10.0.0.4\"
";

    fn parse(text: &str) -> Result<Inventory, String> {
        let parsed = Inventory::parse(Path::new("/etc/four.toml"), text);
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn machines_have_addresses_users_ports_and_interfaces() {
        let inventory = parse(FOUR).unwrap();
        let client = &inventory.machine(Role::Client1).address;
        assert_eq!((client.user.as_str(), client.port), ("admin", Some(2222)));
        assert_eq!(client.become_root, Some(Become::Doas));
        let router = inventory.machine(Role::Router);
        assert_eq!(router.address.become_root, None);
        assert_eq!(router.address.user, "root");
        assert_eq!(router.address.port, None);
        assert_eq!(router.interfaces[&Role::Server], "em3");
        assert_eq!(inventory.addresses().len(), 4);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let wrong = |from: &str, to: &str| parse(&FOUR.replace(from, to)).unwrap_err();
        for (from, to, expected) in [
            ("[server]", "[sever]", ":1: server: missing"),
            ("host = \"10.0.0.4\"", "", ":11: server.host: missing"),
            (
                "\"doas\"",
                "\"su\"",
                ":8: client1.become: expected \"sudo\"",
            ),
            ("port = 2222", "port = 0", ":7: client1.port: "),
            ("port = 2222", "prot = 2222", ":7: client1.prot: unknown"),
            ("\"10.0.0.1\"", "\"-oProxyCommand=x\"", ":2: router.host: "),
            ("\"admin\"", "\"a b\"", ":6: client1.user: "),
            (
                "server = \"em3\"",
                "server = \"em 3\"",
                ":3: router.interfaces.server: ",
            ),
            (
                "server = \"em3\"",
                "wan = \"em3\"",
                ":3: router.interfaces.wan: unknown",
            ),
            (
                "10.0.0.4",
                "10.0.0.1",
                ": server: the host and port of router",
            ),
            (
                "port = 2222",
                "identity = \"no-such-key\"",
                ":7: client1.identity: /etc/no-such-key",
            ),
            ("[router]", "[router", ":1: not TOML"),
        ] {
            let error = wrong(from, to);
            assert!(error.starts_with("/etc/four.toml:"), "{error}");
            assert!(
                error.contains(expected),
                "expected {expected}, found {error}"
            );
        }
    }

    #[test]
    fn keys_are_relative_to_the_inventory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("id"), "").unwrap();
        let text = FOUR.replace("port = 2222", "identity = \"id\"");
        let inventory = Inventory::parse(&dir.path().join("four.toml"), &text).unwrap();
        let identity = inventory.machine(Role::Client1).address.identity.clone();
        assert_eq!(identity, Some(dir.path().join("id")));
    }
}
