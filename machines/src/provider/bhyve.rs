//! bhyve(8), on FreeBSD, as root. The image is QEMU's, converted to a raw disk.
//! Each link is a bridge with two taps. A fourth bridge connects the first
//! interfaces to the host's uplink, which provides their addresses by DHCP.

use std::path::{Path, PathBuf};

use super::{Address, Kind, Provider, State, machines, need_image, text};
use crate::{Error, Host, Invocation, Plan, Role};

const MANAGEMENT: &str = "l4s-manage";

/// Machines of bhyve on this computer.
#[derive(Debug)]
pub struct Bhyve {
    image: PathBuf,
    dir: PathBuf,
    cpus: u32,
    memory: u32,
    uplink: Option<String>,
}

impl Bhyve {
    /// Creates a provider. `uplink` is the interface toward a DHCP server; `None`
    /// for that of the default route.
    pub fn new(plan: &Plan, uplink: Option<&str>) -> Bhyve {
        Bhyve {
            image: plan.dir.join("bhyve/l4sllm-freebsd.raw"),
            dir: machines(&plan.dir, Kind::Bhyve),
            cpus: plan.cpus,
            memory: plan.memory,
            uplink: uplink.map(str::to_owned),
        }
    }

    fn disk(&self, role: Role) -> PathBuf {
        self.dir.join(format!("{role}.raw"))
    }

    fn kept(&self, role: Role) -> PathBuf {
        self.dir.join(format!("{role}.configured.raw"))
    }

    fn uplink(&self, host: &mut dyn Host) -> Result<String, Error> {
        if let Some(uplink) = &self.uplink {
            return Ok(uplink.clone());
        }
        let ask = Invocation::new("route", ["-n", "get", "default"]);
        let Some(answer) = host.ask(&ask)? else {
            return Ok("UPLINK".to_owned());
        };
        let interface = |line: &str| line.trim().strip_prefix("interface: ").map(str::to_owned);
        answer.lines().find_map(interface).ok_or(Error::Unexpected {
            invocation: ask.to_string(),
            expected: "a line 'interface: NAME'",
            found: answer.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }

    /// Returns bhyve's command line.
    fn bhyve(&self, role: Role) -> Invocation {
        let iso = self.dir.join(format!("{role}.iso"));
        let mut bhyve = Invocation::new("bhyve", ["-A", "-H", "-P"])
            .and(["-c", &self.cpus.to_string()])
            .and(["-m", &format!("{}M", self.memory)])
            .and(["-s", "0,hostbridge", "-s", "1,lpc"])
            .and(["-s", &format!("2,virtio-blk,{}", text(self.disk(role)))])
            .and(["-s", &format!("3,ahci-cd,{}", text(iso))]);
        for (number, (tap, _)) in taps(role).into_iter().enumerate() {
            let slot = 4 + number;
            let card = format!("{slot},e1000,{tap},mac={}", role.mac(number));
            bhyve = bhyve.and(["-s", &card]);
        }
        let console = format!("com1,/dev/nmdm-{}-A", role.machine());
        bhyve.and(["-l", &console, &role.machine()])
    }
}

fn bridge(link: Role) -> String {
    format!("l4s-{link}")
}

fn bridges() -> Vec<String> {
    let links = Role::Router.links().iter();
    let mut bridges = vec![MANAGEMENT.to_owned()];
    bridges.extend(links.map(|&link| bridge(link)));
    bridges
}

/// Returns the taps of a machine's interfaces, each with its bridge. bhyve
/// requires names that begin with `tap`.
fn taps(role: Role) -> Vec<(String, String)> {
    let mut taps = vec![(format!("tap-{role}-0"), MANAGEMENT.to_owned())];
    for (number, &link) in (1..).zip(role.links()) {
        taps.push((format!("tap-{role}-{number}"), bridge(link)));
    }
    taps
}

fn ifconfig<const N: usize>(arguments: [&str; N]) -> Invocation {
    Invocation::new("ifconfig", arguments)
}

/// The interfaces that exist; `None` on a host that inspects nothing.
struct Interfaces(Option<String>);

impl Interfaces {
    fn list(host: &mut dyn Host) -> Result<Interfaces, Error> {
        host.ask(&ifconfig(["-l"])).map(Interfaces)
    }

    fn has(&self, name: &str) -> Option<bool> {
        let list = self.0.as_ref()?;
        Some(list.split_whitespace().any(|other| other == name))
    }

    fn destroy(&self, host: &mut dyn Host, name: &str) -> Result<(), Error> {
        if self.has(name) == Some(false) {
            return Ok(());
        }
        host.run(&ifconfig([name, "destroy"]))
    }
}

impl Provider for Bhyve {
    fn prepare(&self, host: &mut dyn Host) -> Result<(), Error> {
        need_image(host, &self.image, "vm-images/build.sh bhyve (on any host)")?;
        host.run(&Invocation::new(
            "kldload",
            ["-n", "vmm", "if_bridge", "if_tuntap"],
        ))?;
        host.run(&Invocation::new("sysctl", ["net.link.tap.up_on_open=1"]))?;
        let interfaces = Interfaces::list(host)?;
        for bridge in bridges() {
            if interfaces.has(&bridge) == Some(true) {
                continue;
            }
            // One command, so that no bridge exists without its uplink.
            let mut create = ifconfig(["bridge", "create", "name", &bridge]);
            if bridge == MANAGEMENT {
                create = create.and(["addm", &self.uplink(host)?]);
            }
            host.run(&create.and(["up"]))?;
        }
        Ok(())
    }

    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        let device = Path::new("/dev/vmm").join(role.machine());
        Ok(
            match (host.exists(&self.disk(role)), host.exists(&device)) {
                (None, _) | (_, None) => None,
                (Some(false), _) => Some(State::Absent),
                (_, Some(true)) => Some(State::Running),
                (_, Some(false)) => Some(State::Stopped),
            },
        )
    }

    fn create(&self, host: &mut dyn Host, role: Role, _: &Path) -> Result<(), Error> {
        let interfaces = Interfaces::list(host)?;
        for (tap, bridge) in taps(role) {
            // A tap left over from a killed command may not be in its bridge.
            if interfaces.has(&tap) == Some(true) {
                interfaces.destroy(host, &tap)?;
            }
            host.run(&ifconfig(["tap", "create", "name", &tap]))?;
            host.run(&ifconfig([&bridge, "addm", &tap]))?;
        }
        copy(host, &self.image, &self.disk(role))
    }

    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        let name = role.machine();
        let load = Invocation::new("bhyveload", ["-m", &format!("{}M", self.memory)]).and([
            "-d",
            &text(self.disk(role)),
            &name,
        ]);
        let bhyve = self.bhyve(role);
        // bhyve exits with 0 when the guest reboots, and must be started again.
        let destroy = format!("bhyvectl --destroy --vm={name}");
        let script = format!("while {load} && {bhyve}; do {destroy}; done; {destroy}");
        let pid = text(self.dir.join(format!("{role}.pid")));
        host.run(&Invocation::new(
            "daemon",
            ["-f", "-p", &pid, "sh", "-c", &script],
        ))
    }

    /// bhyve sends the guest an ACPI shutdown on SIGTERM.
    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        let process = format!("bhyve: {}", role.machine());
        host.run(&Invocation::new("pkill", ["-x", "-f", &process]))
    }

    fn snapshot(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        copy(host, &self.disk(role), &self.kept(role))
    }

    fn reset(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        copy(host, &self.kept(role), &self.disk(role))
    }

    fn remove(&self, host: &mut dyn Host, role: Role, running: bool) -> Result<(), Error> {
        if running {
            let pid = text(self.dir.join(format!("{role}.pid")));
            host.run(&Invocation::new("pkill", ["-F", &pid]))?;
            let vm = format!("--vm={}", role.machine());
            host.run(&Invocation::new("bhyvectl", ["--destroy", &vm]))?;
        }
        let interfaces = Interfaces::list(host)?;
        taps(role)
            .iter()
            .try_for_each(|(tap, _)| interfaces.destroy(host, tap))
    }

    fn cleanup(&self, host: &mut dyn Host) -> Result<(), Error> {
        let interfaces = Interfaces::list(host)?;
        bridges()
            .iter()
            .try_for_each(|bridge| interfaces.destroy(host, bridge))
    }

    /// Returns the name that the machine registers by DHCP.
    fn address(&self, _: &mut dyn Host, role: Role) -> Result<Option<Address>, Error> {
        Ok(Some(Address::root(role.name(), None)))
    }
}

/// Copies a disk. ZFS with block cloning needs no space for the copy.
fn copy(host: &mut dyn Host, from: &Path, to: &Path) -> Result<(), Error> {
    host.run(&Invocation::new("cp", [text(from), text(to)]))
}
