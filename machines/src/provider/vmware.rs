//! VMware Workstation or Fusion. Machines are linked clones of the image; each
//! link is a LAN segment, identified by 16 bytes, which needs no setup.

use std::path::{Path, PathBuf};

use super::{Address, Kind, Provider, State, machines, need_image, text};
use crate::{Error, Host, Invocation, Plan, Role};

/// Machines of VMware on this computer.
#[derive(Debug)]
pub struct Vmware {
    image: PathBuf,
    dir: PathBuf,
    cpus: u32,
    memory: u32,
    product: String,
}

impl Vmware {
    /// Creates a provider for a product, as in `vmrun -T`: `ws` or `fusion`.
    pub fn new(plan: &Plan, product: &str) -> Vmware {
        Vmware {
            image: plan.dir.join("vmware/l4sllm-freebsd.vmx"),
            dir: machines(&plan.dir, Kind::Vmware),
            cpus: plan.cpus,
            memory: plan.memory,
            product: product.to_owned(),
        }
    }

    fn vmx(&self, role: Role) -> PathBuf {
        let machine = role.machine();
        self.dir.join(role.name()).join(format!("{machine}.vmx"))
    }

    fn vmrun<const N: usize>(&self, arguments: [&str; N]) -> Invocation {
        Invocation::new("vmrun", ["-T", &self.product]).and(arguments)
    }

    /// Returns the settings that a machine has in addition to the image's.
    fn settings(&self, role: Role, disk: &Path) -> Vec<(String, String)> {
        let mut settings = vec![
            ("numvcpus".to_owned(), self.cpus.to_string()),
            ("memsize".to_owned(), self.memory.to_string()),
            ("ide1:0.present".to_owned(), "TRUE".to_owned()),
            ("ide1:0.deviceType".to_owned(), "cdrom-image".to_owned()),
            ("ide1:0.fileName".to_owned(), text(disk)),
            ("ide1:0.startConnected".to_owned(), "TRUE".to_owned()),
        ];
        for (number, &link) in (1..).zip(role.links()) {
            let mut set = |key: &str, value: &str| {
                settings.push((format!("ethernet{number}.{key}"), value.to_owned()));
            };
            set("present", "TRUE");
            set("virtualDev", "e1000");
            set("addressType", "generated");
            set("connectionType", "pvn");
            set("pvnID", &segment(link));
        }
        settings
    }
}

/// Returns the identifier of a link's LAN segment.
fn segment(link: Role) -> String {
    format!(
        "52 4c 34 53 4c 4c 4d 00-00 00 00 00 00 00 00 {:02x}",
        link as u8
    )
}

/// Returns a .vmx file with the given settings in place of existing ones. VMware
/// rejects files with duplicate keys.
fn edited(old: &str, settings: &[(String, String)]) -> String {
    let replaced = |line: &&str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        !settings
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(key))
    };
    let mut new: String = old
        .lines()
        .filter(replaced)
        .flat_map(|line| [line, "\n"])
        .collect();
    for (key, value) in settings {
        new.push_str(&format!("{key} = \"{value}\"\n"));
    }
    new
}

impl Provider for Vmware {
    fn prepare(&self, host: &mut dyn Host) -> Result<(), Error> {
        need_image(host, &self.image, "vm-images/build.sh vmware")?;
        let image = text(&self.image);
        let snapshots = host.ask(&self.vmrun(["listSnapshots", &image]))?;
        if snapshots.is_some_and(|list| list.lines().any(|line| line.trim() == "built")) {
            return Ok(());
        }
        host.run(&self.vmrun(["snapshot", &image, "built"]))
    }

    fn state(&self, host: &mut dyn Host, role: Role) -> Result<Option<State>, Error> {
        let vmx = self.vmx(role);
        match host.exists(&vmx) {
            None => return Ok(None),
            Some(false) => return Ok(Some(State::Absent)),
            Some(true) => {}
        }
        // A count, then the path of each running machine.
        let list = host.ask(&self.vmrun(["list"]))?;
        let running = |list: String| list.lines().any(|line| Path::new(line.trim()) == vmx);
        Ok(list.map(|list| {
            if running(list) {
                State::Running
            } else {
                State::Stopped
            }
        }))
    }

    fn create(&self, host: &mut dyn Host, role: Role, disk: &Path) -> Result<(), Error> {
        let path = self.vmx(role);
        if let Some(parent) = path.parent() {
            host.make_dir(parent)?;
        }
        let clone = self.vmrun(["clone", &text(&self.image), &text(&path), "linked"]);
        let name = format!("-cloneName={}", role.machine());
        host.run(&clone.and(["-snapshot=built", &name]))?;
        let old = host.read(&path)?.unwrap_or_default();
        host.write(&path, edited(&old, &self.settings(role, disk)).as_bytes())
    }

    fn start(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&self.vmrun(["start", &text(self.vmx(role)), "nogui"]))
    }

    fn stop(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&self.vmrun(["stop", &text(self.vmx(role)), "soft"]))
    }

    fn snapshot(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&self.vmrun(["snapshot", &text(self.vmx(role)), "configured"]))
    }

    fn reset(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        host.run(&self.vmrun(["revertToSnapshot", &text(self.vmx(role)), "configured"]))
    }

    fn remove(&self, host: &mut dyn Host, role: Role, running: bool) -> Result<(), Error> {
        let vmx = text(self.vmx(role));
        if running {
            host.run(&self.vmrun(["stop", &vmx, "hard"]))?;
        }
        host.run(&self.vmrun(["deleteVM", &vmx]))
    }

    fn cleanup(&self, _: &mut dyn Host) -> Result<(), Error> {
        Ok(())
    }

    /// Asks the guest's VMware Tools.
    fn address(&self, host: &mut dyn Host, role: Role) -> Result<Option<Address>, Error> {
        let ask = self.vmrun(["getGuestIPAddress", &text(self.vmx(role))]);
        let Some(answer) = host.ask(&ask)? else {
            return Ok(None);
        };
        let found = answer.trim();
        if found.parse::<std::net::IpAddr>().is_err() {
            return Err(Error::Unexpected {
                invocation: ask.to_string(),
                expected: "an address",
                found: found.to_owned(),
            });
        }
        Ok(Some(Address::root(found, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_keys_are_unique_and_others_unchanged() {
        let old = "\
            .encoding = \"UTF-8\"\nmemsize = \"4096\"\nide1:0.present = \"FALSE\"\n\
            ethernet0.present = \"TRUE\"\nEthernet1.Present = \"FALSE\"\nmemsize.extra = \"1\"\n";
        let settings = [
            ("memsize", "2048"),
            ("ide1:0.present", "TRUE"),
            ("ethernet1.present", "TRUE"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            edited(old, &settings),
            "\
            .encoding = \"UTF-8\"\nethernet0.present = \"TRUE\"\nmemsize.extra = \"1\"\n\
            memsize = \"2048\"\nide1:0.present = \"TRUE\"\nethernet1.present = \"TRUE\"\n"
        );
    }
}
