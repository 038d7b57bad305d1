//! VirtualBox. Machines are linked clones of the imported image; each link is an
//! internal network.

use std::path::{Path, PathBuf};

use super::qemu::forwarded;
use super::{Address, Provider, State, need_image, text};
use crate::{Error, Host, Invocation, Plan, Role};

/// Name of the imported image, from whose snapshot machines are cloned.
const IMAGE: &str = "l4sllm-image";

/// Machines of VirtualBox on this computer.
#[derive(Debug)]
pub struct VirtualBox {
    image: PathBuf,
    cpus: u32,
    memory: u32,
}

impl VirtualBox {
    /// Creates a provider with the plan's image.
    pub fn new(plan: &Plan) -> VirtualBox {
        VirtualBox {
            image: plan.dir.join("virtualbox/l4sllm-freebsd.ova"),
            cpus: plan.cpus,
            memory: plan.memory,
        }
    }
}

fn manage<const N: usize>(arguments: [&str; N]) -> Invocation {
    Invocation::new("VBoxManage", arguments)
}

/// Returns whether the output of `VBoxManage list vms` or `list runningvms`, lines
/// of `"NAME" {UUID}`, contains a machine.
fn lists(list: &str, name: &str) -> bool {
    let start = format!("\"{name}\" {{");
    list.lines().any(|line| line.starts_with(&start))
}

fn listed(host: &mut dyn Host, which: &str, name: &str) -> Result<Option<bool>, Error> {
    let list = host.ask(&manage(["list", which]))?;
    Ok(list.map(|list| lists(&list, name)))
}

impl Provider for VirtualBox {
    fn prepare(&self, host: &mut dyn Host) -> Result<(), Error> {
        if listed(host, "vms", IMAGE)? != Some(true) {
            need_image(host, &self.image, "vm-images/build.sh virtualbox")?;
            let image = text(&self.image);
            host.run(&manage([
                "import", &image, "--vsys", "0", "--vmname", IMAGE,
            ]))?;
        }
        let taken = host.succeeds(&manage(["snapshot", IMAGE, "showvminfo", "built"]))?;
        if taken == Some(true) {
            return Ok(());
        }
        host.run(&manage(["snapshot", IMAGE, "take", "built"]))
    }

    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        let name = role.machine();
        match listed(host, "vms", &name)? {
            None => return Ok(None),
            Some(false) => return Ok(Some(State::Absent)),
            Some(true) => {}
        }
        let running = listed(host, "runningvms", &name)?;
        Ok(running.map(|running| {
            if running {
                State::Running
            } else {
                State::Stopped
            }
        }))
    }

    fn create(&self, host: &mut dyn Host, role: Role, disk: &Path) -> Result<(), Error> {
        let name = role.machine();
        host.run(
            &manage(["clonevm", IMAGE, "--snapshot", "built", "--options", "Link"]).and([
                "--name",
                &name,
                "--register",
            ]),
        )?;
        let mut modify = manage(["modifyvm", &name])
            .and(["--cpus", &self.cpus.to_string()])
            .and(["--memory", &self.memory.to_string()])
            .and(["--nic1", "nat", "--nictype1", "82540EM", "--natpf1"])
            .and([format!("ssh,tcp,127.0.0.1,{},,22", role.ssh_port())]);
        for (number, &link) in (2..).zip(role.links()) {
            modify = modify.and([
                &format!("--nic{number}"),
                "intnet",
                &format!("--nictype{number}"),
                "82540EM",
                &format!("--intnet{number}"),
                &link.machine(),
            ]);
        }
        host.run(&modify)?;
        // Packer gives every machine this controller in addition to that of the disk.
        host.run(
            &manage(["storageattach", &name, "--storagectl", "IDE Controller"])
                .and(["--port", "1", "--device", "0"])
                .and(["--type", "dvddrive", "--medium", &text(disk)]),
        )
    }

    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&manage(["startvm", &role.machine(), "--type", "headless"]))
    }

    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&manage(["controlvm", &role.machine(), "acpipowerbutton"]))
    }

    fn snapshot(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&manage(["snapshot", &role.machine(), "take", "configured"]))
    }

    fn reset(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&manage([
            "snapshot",
            &role.machine(),
            "restore",
            "configured",
        ]))
    }

    fn remove(&self, host: &mut dyn Host, role: Role, running: bool) -> Result<(), Error> {
        let name = role.machine();
        if running {
            host.run(&manage(["controlvm", &name, "poweroff"]))?;
        }
        host.run(&manage(["unregistervm", &name, "--delete"]))
    }

    /// Unregisters the imported image, which only the clones need.
    fn cleanup(&self, host: &mut dyn Host) -> Result<(), Error> {
        if listed(host, "vms", IMAGE)? == Some(false) {
            return Ok(());
        }
        host.run(&manage(["unregistervm", IMAGE, "--delete"]))
    }

    fn address(&self, _: &mut dyn Host, role: Role) -> Result<Option<Address>, Error> {
        Ok(Some(forwarded(role)))
    }
}
