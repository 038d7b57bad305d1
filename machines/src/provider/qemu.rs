//! QEMU. Each link is a pair of UDP sockets on this computer, with one packet per
//! datagram. This needs no privileges, and machines can start in any order.

use std::path::{Path, PathBuf};

use super::{
    Address, HostKeys, Kind, KnownHosts, Provider, State, machines, need_image, ssh, text,
};
use crate::{Error, Host, Invocation, Plan, Role};

/// Machines of QEMU on this computer.
#[derive(Debug)]
pub struct Qemu {
    image: PathBuf,
    dir: PathBuf,
    cpus: u32,
    memory: u32,
    accelerator: String,
    host_keys: HostKeys,
}

impl Qemu {
    /// Creates a provider with one of QEMU's accelerators, such as `kvm`.
    pub fn new(plan: &Plan, accelerator: &str) -> Qemu {
        Qemu {
            image: plan.dir.join("qemu/l4sllm-freebsd.qcow2"),
            dir: machines(&plan.dir, Kind::Qemu),
            cpus: plan.cpus,
            memory: plan.memory,
            accelerator: accelerator.to_owned(),
            host_keys: plan.host_keys,
        }
    }

    fn file(&self, role: Role, extension: &str) -> PathBuf {
        self.dir.join(format!("{role}.{extension}"))
    }

    /// Returns arguments of pgrep and pkill that select the machine's process. They
    /// include its command line, because a stale file may have the identifier of
    /// another program.
    fn process(&self, role: Role) -> [String; 4] {
        let command = format!("qemu-system-x86_64 -name {} ", role.machine());
        [
            "-F".into(),
            text(self.file(role, "pid")),
            "-f".into(),
            command,
        ]
    }

    fn disk_snapshot(&self, host: &mut dyn Host, role: Role, flag: &str) -> Result<(), Error> {
        let disk = text(self.file(role, "qcow2"));
        host.run(&Invocation::new(
            "qemu-img",
            ["snapshot", flag, "configured", &disk],
        ))
    }
}

/// Returns the UDP port of one end of a link.
fn port(end: Role, link: Role) -> u16 {
    20100 + 10 * link as u16 + u16::from(end != Role::Router)
}

impl Provider for Qemu {
    fn prepare(&self, host: &mut dyn Host) -> Result<(), Error> {
        need_image(host, &self.image, "vm-images/build.sh qemu")
    }

    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        match host.exists(&self.file(role, "qcow2")) {
            None => return Ok(None),
            Some(false) => return Ok(Some(State::Absent)),
            Some(true) => {}
        }
        if host.exists(&self.file(role, "pid")) == Some(false) {
            return Ok(Some(State::Stopped));
        }
        let alive = host.succeeds(&Invocation::new("pgrep", self.process(role)))?;
        Ok(alive.map(|alive| {
            if alive {
                State::Running
            } else {
                State::Stopped
            }
        }))
    }

    fn create(&self, host: &mut dyn Host, role: Role, _: &Path) -> Result<(), Error> {
        host.run(
            &Invocation::new("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "qcow2"]).and([
                "-b",
                &text(&self.image),
                &text(self.file(role, "qcow2")),
            ]),
        )
    }

    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        let disk = text(self.file(role, "qcow2"));
        let iso = text(self.file(role, "iso"));
        let mut qemu = Invocation::new("qemu-system-x86_64", ["-name", &role.machine()])
            .and(["-machine", &format!("q35,accel={}", self.accelerator)])
            .and([
                "-smp",
                &self.cpus.to_string(),
                "-m",
                &self.memory.to_string(),
            ])
            .and(["-drive", &format!("file={disk},if=virtio,discard=unmap")])
            .and(["-drive", &format!("file={iso},media=cdrom,readonly=on")])
            .and(["-boot", "c"])
            .and([
                "-netdev",
                &format!(
                    "user,id=management,hostfwd=tcp:127.0.0.1:{}-:22",
                    role.ssh_port()
                ),
                "-device",
                &format!("e1000,netdev=management,mac={}", role.mac(0)),
            ]);
        for (number, &link) in (1..).zip(role.links()) {
            let peer = if role == Role::Router {
                link
            } else {
                Role::Router
            };
            let (own, other) = (port(role, link), port(peer, link));
            qemu = qemu.and([
                "-netdev",
                &format!("socket,id={link},localaddr=127.0.0.1:{own},udp=127.0.0.1:{other}"),
                "-device",
                &format!("e1000,netdev={link},mac={}", role.mac(number)),
            ]);
        }
        host.run(
            &qemu
                .and(["-display", "none", "-daemonize"])
                .and([
                    "-serial",
                    &format!("file:{}", text(self.file(role, "console"))),
                ])
                .and(["-pidfile", &text(self.file(role, "pid"))]),
        )
    }

    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        let shutdown = ["shutdown", "-p", "now"];
        host.run(&ssh(
            &forwarded(role),
            &KnownHosts {
                path: self.file(role, "known_hosts"),
                accepted: self.host_keys,
            },
            &shutdown,
        ))
    }

    fn snapshot(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        self.disk_snapshot(host, role, "-c")
    }

    fn reset(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        self.disk_snapshot(host, role, "-a")
    }

    /// Only stops the process: [`Testbed::down`] removes the directory of the disk.
    ///
    /// [`Testbed::down`]: crate::Testbed::down
    fn remove(&self, host: &mut dyn Host, role: Role, running: bool) -> Result<(), Error> {
        if running {
            host.run(&Invocation::new("pkill", self.process(role)))?;
        }
        Ok(())
    }

    fn cleanup(&self, _: &mut dyn Host) -> Result<(), Error> {
        Ok(())
    }

    fn address(&self, _: &mut dyn Host, role: Role) -> Result<Option<Address>, Error> {
        Ok(Some(forwarded(role)))
    }
}

/// Returns the port of this computer that is forwarded to a machine's sshd.
pub(super) fn forwarded(role: Role) -> Address {
    Address::root("127.0.0.1", Some(role.ssh_port()))
}
