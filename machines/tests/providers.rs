//! Commands of every provider, against recorded answers of their programs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use l4sllm_machines::provider::{Bhyve, Qemu, Ssh, VirtualBox, Vmware};
use l4sllm_machines::{
    Address, DryRun, Error, Host, HostKeys, Invocation, Kind, Plan, Provider, Role, Session, State,
    Testbed,
};

const DIR: &str = "/testbed";

fn plan() -> Plan {
    Plan {
        dir: PathBuf::from(DIR),
        cpus: 2,
        memory: 2048,
        settings: None,
        keys: None,
        host_keys: HostKeys::AcceptNew,
    }
}

fn provider(kind: Kind) -> Box<dyn Provider> {
    let plan = plan();
    let hosts = Role::ALL.map(|role| (role, Address::root(&format!("{role}.example"), None)));
    match kind {
        Kind::Qemu => Box::new(Qemu::new(&plan, "kvm")),
        Kind::VirtualBox => Box::new(VirtualBox::new(&plan)),
        Kind::Vmware => Box::new(Vmware::new(&plan, "ws")),
        Kind::Bhyve => Box::new(Bhyve::new(&plan, Some("em0"))),
        Kind::Ssh => Box::new(Ssh::new(&plan, BTreeMap::from(hosts)).unwrap()),
    }
}

const HYPERVISORS: [Kind; 4] = [Kind::Qemu, Kind::VirtualBox, Kind::Vmware, Kind::Bhyve];

/// Succeeds if VirtualBox's image has its snapshot.
const IMAGE_SNAPSHOT: &str = "VBoxManage snapshot l4sllm-image showvminfo built";

fn machines(kind: Kind) -> PathBuf {
    Path::new(DIR).join("machines").join(kind.name())
}

/// A computer whose programs give recorded answers; a query without a recording
/// fails the test.
#[derive(Default)]
struct Recorded {
    answers: BTreeMap<String, Result<&'static str, &'static str>>,
    files: BTreeMap<PathBuf, String>,
    ran: Vec<String>,
    /// Answers that replace others after this many pauses.
    later: Vec<(u32, String, Result<&'static str, &'static str>)>,
    pauses: u32,
    clock: Option<Instant>,
}

impl Recorded {
    /// Creates a computer with the images of all providers and no machines.
    fn empty() -> Recorded {
        let mut host = Recorded::default();
        for image in [
            "qemu/l4sllm-freebsd.qcow2",
            "virtualbox/l4sllm-freebsd.ova",
            "vmware/l4sllm-freebsd.vmx",
            "bhyve/l4sllm-freebsd.raw",
        ] {
            host.file(Path::new(DIR).join(image), "");
        }
        host.says("VBoxManage list vms", "");
        host.says("VBoxManage list runningvms", "");
        host.says("vmrun -T ws list", "Total running VMs: 0\n");
        host.says(
            "vmrun -T ws listSnapshots /testbed/vmware/l4sllm-freebsd.vmx",
            "Total snapshots: 0\n",
        );
        host.says("ifconfig -l", "em0 lo0\n");
        host.fails(IMAGE_SNAPSHOT, "Could not find a snapshot named 'built'");
        host
    }

    fn says(&mut self, command: &str, answer: &'static str) {
        self.answers.insert(command.to_owned(), Ok(answer));
    }

    fn fails(&mut self, command: &str, message: &'static str) {
        self.answers.insert(command.to_owned(), Err(message));
    }

    fn file(&mut self, path: PathBuf, contents: &str) {
        self.files.insert(path, contents.to_owned());
    }

    /// Adds the file that shows that a machine of `kind` exists.
    fn made(&mut self, kind: Kind, role: Role) {
        let path = match kind {
            Kind::Qemu => format!("{role}.qcow2"),
            Kind::Vmware => format!("{role}/l4sllm-{role}.vmx"),
            _ => format!("{role}.raw"),
        };
        self.file(machines(kind).join(path), "");
    }

    fn answer(&self, invocation: &Invocation) -> &Result<&'static str, &'static str> {
        let command = invocation.to_string();
        let answer = self.answers.get(&command);
        answer.unwrap_or_else(|| panic!("no recording of: {command}"))
    }
}

impl Host for Recorded {
    fn run(&mut self, invocation: &Invocation) -> Result<(), Error> {
        self.ran.push(invocation.to_string());
        Ok(())
    }

    fn ask(&mut self, invocation: &Invocation) -> Result<Option<String>, Error> {
        match self.answer(invocation) {
            Ok(answer) => Ok(Some((*answer).to_owned())),
            Err(message) => Err(Error::Failed {
                invocation: invocation.to_string(),
                status: "exit status: 255".to_owned(),
                code: Some(if message.starts_with("cat: ") { 1 } else { 255 }),
                message: (*message).to_owned(),
            }),
        }
    }

    fn save(&mut self, invocation: &Invocation, path: &Path) -> Result<(), Error> {
        let answer = self.ask(invocation)?.unwrap();
        self.file(path.to_owned(), &answer);
        Ok(())
    }

    fn start(&mut self, invocation: &Invocation, _: &str) -> Result<Option<Session>, Error> {
        self.run(invocation).map(|()| None)
    }

    fn succeeds(&mut self, invocation: &Invocation) -> Result<Option<bool>, Error> {
        Ok(Some(self.answer(invocation).is_ok()))
    }

    fn exists(&mut self, path: &Path) -> Option<bool> {
        Some(self.files.contains_key(path))
    }

    fn read(&mut self, path: &Path) -> Result<Option<String>, Error> {
        Ok(self.files.get(path).cloned())
    }

    fn write(&mut self, path: &Path, contents: &[u8]) -> Result<(), Error> {
        self.file(path.to_owned(), &String::from_utf8_lossy(contents));
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let paths = [from.to_string_lossy(), to.to_string_lossy()];
        self.run(&Invocation::new("mv", paths))
    }

    fn make_dir(&mut self, path: &Path) -> Result<(), Error> {
        self.run(&Invocation::new("mkdir", ["-p", &path.to_string_lossy()]))
    }

    fn remove_dir(&mut self, path: &Path) -> Result<(), Error> {
        self.run(&Invocation::new("rm", ["-rf", &path.to_string_lossy()]))
    }

    fn now(&mut self) -> Instant {
        *self.clock.get_or_insert_with(Instant::now)
    }

    fn pause(&mut self, time: Duration) {
        self.clock = Some(self.now() + time);
        self.pauses += 1;
        for (pauses, command, answer) in &self.later {
            if *pauses == self.pauses {
                self.answers.insert(command.clone(), *answer);
            }
        }
    }
}

fn with<T>(kind: Kind, work: impl FnOnce(&Testbed<'_>) -> T) -> T {
    let (plan, provider) = (plan(), provider(kind));
    work(&Testbed {
        provider: &*provider,
        plan: &plan,
        dir: machines(kind),
    })
}

/// Commands of a dry run, without its messages about files.
fn dry(kind: Kind, step: fn(&Testbed<'_>, &mut dyn Host) -> Result<(), Error>) -> Vec<String> {
    let mut out = Vec::new();
    with(kind, |testbed| step(testbed, &mut DryRun::new(&mut out))).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn up(testbed: &Testbed<'_>, host: &mut dyn Host) -> Result<(), Error> {
    testbed.up(host)
}

fn down(testbed: &Testbed<'_>, host: &mut dyn Host) -> Result<(), Error> {
    testbed.down(host)
}

/// The word after each `flag` of a command.
fn values<'a>(command: &'a str, flag: &str) -> Vec<&'a str> {
    let mut words = command.split(' ').peekable();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if word.starts_with(flag) {
            found.extend(words.peek());
        }
    }
    found
}

/// The link and the tap of a command that adds a tap to a bridge.
fn addition(command: &str) -> Option<(&str, &str)> {
    let rest = command.strip_prefix("ifconfig l4s-")?;
    rest.split_once(" addm tap-")
}

/// Links by machine in the order of its interfaces, from its commands.
fn links(kind: Kind) -> BTreeMap<String, Vec<String>> {
    let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut host = Recorded::empty();
    with(kind, |testbed| testbed.up(&mut host)).unwrap();
    let mut add = |role: &str, link: &str| {
        links
            .entry(role.to_owned())
            .or_default()
            .push(link.to_owned());
    };
    for command in &host.ran {
        if command.starts_with("qemu-system-x86_64 ") {
            let role = values(command, "-name")[0].trim_start_matches("l4sllm-");
            for netdev in values(command, "-netdev") {
                if let Some(rest) = netdev.strip_prefix("socket,id=") {
                    add(role, rest.split(',').next().unwrap());
                }
            }
        } else if command.starts_with("VBoxManage modifyvm ") {
            let role = values(command, "modifyvm")[0].trim_start_matches("l4sllm-");
            for net in values(command, "--intnet") {
                add(role, net.trim_start_matches("l4sllm-"));
            }
        } else if let Some((link, tap)) = addition(command) {
            match tap.rsplit_once('-') {
                Some((_, "0")) => {}
                Some((role, _)) => add(role, link),
                None => panic!("{command}"),
            }
        }
    }
    for role in Role::ALL {
        let path = machines(Kind::Vmware).join(format!("{role}/l4sllm-{role}.vmx"));
        for line in host
            .files
            .get(&path)
            .map(String::as_str)
            .unwrap_or_default()
            .lines()
        {
            if line.contains(".pvnID = ") {
                let link = match line.trim_end_matches('"').rsplit(' ').next() {
                    Some("01") => "client1",
                    Some("02") => "client2",
                    _ => "server",
                };
                add(role.name(), link);
            }
        }
    }
    links
}

#[test]
fn every_provider_makes_the_same_three_links() {
    let expected = Role::ALL.map(|role| {
        let links = role.links().iter().map(ToString::to_string).collect();
        (role.to_string(), links)
    });
    for kind in HYPERVISORS {
        assert_eq!(
            links(kind),
            BTreeMap::from(expected.clone()),
            "{}",
            kind.name()
        );
    }
}

#[test]
fn vagrant_makes_the_same_links() {
    let one = |line: &str| {
        let (role, rest) = line.trim().split_once(" => %w[")?;
        let links = rest.split_once(']')?.0.split(' ').map(str::to_owned);
        Some((role.trim_matches('"').to_owned(), links.collect()))
    };
    let vagrantfile = include_str!("../../vm-images/Vagrantfile");
    let found: BTreeMap<String, Vec<String>> = vagrantfile.lines().filter_map(one).collect();
    assert_eq!(found, links(Kind::Qemu));
}

#[test]
fn both_ends_of_a_qemu_link_send_to_each_other() {
    let commands = dry(Kind::Qemu, up).join(" ");
    let ends = |first: &str, second: &str| -> BTreeSet<(String, String)> {
        let sockets = values(&commands, "-netdev").into_iter();
        let part = |socket: &str, name: &str| {
            let found = socket.split(',').find_map(|part| part.strip_prefix(name));
            found.unwrap().to_owned()
        };
        let links = sockets.filter(|socket| socket.starts_with("socket,"));
        links
            .map(|socket| (part(socket, first), part(socket, second)))
            .collect()
    };
    assert_eq!(ends("localaddr=", "udp="), ends("udp=", "localaddr="));
    assert_eq!(ends("localaddr=", "udp=").len(), 6);
}

#[test]
fn ethernet_addresses_are_unique() {
    for kind in [Kind::Qemu, Kind::Bhyve] {
        let commands = dry(kind, up).join(" ");
        let addresses: Vec<&str> = commands
            .split([',', ' '])
            .filter(|part| part.starts_with("mac="))
            .collect();
        let distinct: BTreeSet<&&str> = addresses.iter().collect();
        assert_eq!(
            (addresses.len(), distinct.len()),
            (10, 10),
            "{}",
            kind.name()
        );
    }
}

#[test]
fn dry_run_prints_the_commands_for_an_empty_computer() {
    for kind in HYPERVISORS {
        let mut host = Recorded::empty();
        with(kind, |testbed| testbed.up(&mut host)).unwrap();
        assert_eq!(dry(kind, up), host.ran, "{}", kind.name());
        let disk = &host.files[&machines(kind).join("router.iso")];
        assert!(disk.contains("router\n"), "{}", kind.name());
    }
}

#[test]
fn down_undoes_up() {
    let bhyve = dry(Kind::Bhyve, up);
    let made: BTreeSet<&str> = bhyve.iter().flat_map(|line| values(line, "name")).collect();
    let gone = dry(Kind::Bhyve, down);
    let destroyed = gone
        .iter()
        .filter_map(|line| line.strip_prefix("ifconfig ")?.strip_suffix(" destroy"));
    assert_eq!(destroyed.collect::<BTreeSet<_>>(), made);
    // Names of interfaces have at most 15 characters.
    assert!(made.iter().all(|name| name.len() <= 15), "{made:?}");

    let virtualbox = dry(Kind::VirtualBox, down);
    for name in [
        "l4sllm-router",
        "l4sllm-client1",
        "l4sllm-client2",
        "l4sllm-server",
    ] {
        assert!(virtualbox.contains(&format!("VBoxManage unregistervm {name} --delete")));
    }
    assert!(virtualbox.contains(&"VBoxManage unregistervm l4sllm-image --delete".to_owned()));
    for kind in HYPERVISORS {
        let last = dry(kind, down).pop().unwrap();
        assert_eq!(last, format!("rm -rf {}", machines(kind).display()));
    }
}

/// As VirtualBox 7 prints it.
const LIST_VMS: &str = "\
\"Windows 11\" {0a1c3a4f-7f4c-4c39-9f3b-2d1f0e6f1a11}
\"l4sllm-image\" {1b2c3d4e-0000-4c39-9f3b-2d1f0e6f1a12}
\"l4sllm-router\" {2b2c3d4e-0000-4c39-9f3b-2d1f0e6f1a13}
\"l4sllm-client1\" {3b2c3d4e-0000-4c39-9f3b-2d1f0e6f1a14}
\"l4sllm-client2-old\" {4b2c3d4e-0000-4c39-9f3b-2d1f0e6f1a15}
\"old l4sllm-server\" {5b2c3d4e-0000-4c39-9f3b-2d1f0e6f1a16}
";
const LIST_RUNNING: &str = "\
\"l4sllm-router\" {2b2c3d4e-0000-4c39-9f3b-2d1f0e6f1a13}
";

#[test]
fn up_resumes_after_a_kill() {
    let mut host = Recorded::empty();
    host.says("VBoxManage list vms", LIST_VMS);
    host.says("VBoxManage list runningvms", LIST_RUNNING);
    host.says(IMAGE_SNAPSHOT, "");
    with(Kind::VirtualBox, |testbed| testbed.up(&mut host)).unwrap();
    let ran = host.ran.join("\n");
    assert!(!ran.contains("import"), "{ran}");
    assert!(!ran.contains("l4sllm-router"), "{ran}");
    let of_client1 = host
        .ran
        .iter()
        .filter(|line| line.contains("l4sllm-client1 "));
    assert_eq!(
        of_client1.collect::<Vec<_>>(),
        ["VBoxManage startvm l4sllm-client1 --type headless"]
    );
    for role in ["client2", "server"] {
        assert!(
            ran.contains(&format!("--name l4sllm-{role} --register")),
            "{ran}"
        );
    }
}

#[test]
fn down_resumes_after_a_kill() {
    let mut host = Recorded::empty();
    host.says("VBoxManage list vms", LIST_VMS);
    host.says("VBoxManage list runningvms", LIST_RUNNING);
    with(Kind::VirtualBox, |testbed| testbed.down(&mut host)).unwrap();
    assert_eq!(
        host.ran,
        [
            "VBoxManage controlvm l4sllm-router poweroff",
            "VBoxManage unregistervm l4sllm-router --delete",
            "VBoxManage unregistervm l4sllm-client1 --delete",
            "VBoxManage unregistervm l4sllm-image --delete",
            "rm -rf /testbed/machines/virtualbox",
        ]
    );
}

#[test]
fn partially_created_machine_is_recreated() {
    for kind in HYPERVISORS {
        let up = |progress: &str| {
            let mut host = Recorded::empty();
            if kind == Kind::VirtualBox {
                host.says("VBoxManage list vms", LIST_VMS);
            } else {
                host.made(kind, Role::Router);
            }
            host.file(machines(kind).join("router.progress"), progress);
            with(kind, |testbed| testbed.up(&mut host)).unwrap();
            let written = &host.files[&machines(kind).join("router.progress")];
            assert_eq!(written, "created\n");
            host.ran
        };
        let create = match kind {
            Kind::Qemu => "qemu-img create ",
            Kind::VirtualBox => "VBoxManage modifyvm l4sllm-router ",
            Kind::Vmware => "vmrun -T ws clone ",
            _ => "cp ",
        };
        let created = |commands: &[String]| {
            let of_router = |line: &&String| line.starts_with(create) && line.contains("router");
            commands.iter().filter(of_router).count()
        };
        assert_eq!(created(&up("creating\n")), 1, "{}", kind.name());
        assert_eq!(created(&up("created\n")), 0, "{}", kind.name());
    }
}

#[test]
fn bhyve_destroys_the_remaining_interfaces() {
    let mut host = Recorded::empty();
    host.made(Kind::Bhyve, Role::Router);
    host.says("ifconfig -l", "em0 lo0 tap-router-3 l4s-server\n");
    with(Kind::Bhyve, |testbed| testbed.down(&mut host)).unwrap();
    assert_eq!(
        host.ran,
        [
            "ifconfig tap-router-3 destroy",
            "ifconfig l4s-server destroy",
            "rm -rf /testbed/machines/bhyve",
        ]
    );
}

#[test]
fn vmware_lists_running_machines_by_path() {
    let mut host = Recorded::empty();
    for role in [Role::Router, Role::Client1] {
        host.made(Kind::Vmware, role);
    }
    host.says(
        "vmrun -T ws list",
        "Total running VMs: 2\n/home/me/l4sllm-client1.vmx\n/testbed/machines/vmware/router/l4sllm-router.vmx\n",
    );
    let address = "vmrun -T ws getGuestIPAddress /testbed/machines/vmware/router/l4sllm-router.vmx";
    host.says(address, "192.168.11.128\n");
    let status = with(Kind::Vmware, |testbed| testbed.status(&mut host)).unwrap();
    let states: Vec<Option<State>> = status.iter().map(|machine| machine.state).collect();
    let absent = Some(State::Absent);
    assert_eq!(
        states,
        [Some(State::Running), Some(State::Stopped), absent, absent]
    );
    let expected = Address::root("192.168.11.128", None);
    assert_eq!(status[0].address, Some(expected));

    // No address yet, then an invalid answer.
    host.fails(
        address,
        "Error: The VMware Tools are not running in the virtual machine",
    );
    let status = with(Kind::Vmware, |testbed| testbed.status(&mut host)).unwrap();
    assert_eq!(status[0].address, None);
    host.says(address, "unknown\n");
    let error = provider(Kind::Vmware)
        .address(&mut host, Role::Router)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("expected an address, found 'unknown'"),
        "{error}"
    );
}

#[test]
fn image_snapshot_is_taken_once() {
    let mut host = Recorded::empty();
    host.says(
        "vmrun -T ws listSnapshots /testbed/vmware/l4sllm-freebsd.vmx",
        "Total snapshots: 1\nbuilt\n",
    );
    provider(Kind::Vmware).prepare(&mut host).unwrap();
    assert_eq!(host.ran, [""; 0]);

    // A kill after the import leaves an image without its snapshot.
    host.says("VBoxManage list vms", LIST_VMS);
    provider(Kind::VirtualBox).prepare(&mut host).unwrap();
    assert_eq!(host.ran, ["VBoxManage snapshot l4sllm-image take built"]);
    host.says(IMAGE_SNAPSHOT, "");
    provider(Kind::VirtualBox).prepare(&mut host).unwrap();
    assert_eq!(host.ran.len(), 1);
}

#[test]
fn missing_qemu_process_means_stopped() {
    let mut host = Recorded::empty();
    host.made(Kind::Qemu, Role::Router);
    host.made(Kind::Qemu, Role::Server);
    host.file(machines(Kind::Qemu).join("router.pid"), "4711\n");
    let process = "pgrep -F /testbed/machines/qemu/router.pid -f \
                   'qemu-system-x86_64 -name l4sllm-router '";
    let state = |host: &mut Recorded, role| provider(Kind::Qemu).state(host, role).unwrap();
    host.says(process, "4711\n");
    assert_eq!(state(&mut host, Role::Router), Some(State::Running));
    host.fails(process, "");
    assert_eq!(state(&mut host, Role::Router), Some(State::Stopped));
    assert_eq!(state(&mut host, Role::Server), Some(State::Stopped));
    assert_eq!(state(&mut host, Role::Client1), Some(State::Absent));
}

#[test]
fn snapshots_require_all_machines_stopped() {
    let mut host = Recorded::empty();
    for role in Role::ALL {
        host.made(Kind::Bhyve, role);
    }
    host.file(PathBuf::from("/dev/vmm/l4sllm-client2"), "");
    let error = with(Kind::Bhyve, |testbed| testbed.snapshot(&mut host)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "client2 is running; shut it down with stop first"
    );
    assert_eq!(host.ran, [""; 0]);

    host.files.remove(Path::new("/dev/vmm/l4sllm-client2"));
    with(Kind::Bhyve, |testbed| testbed.snapshot(&mut host)).unwrap();
    assert_eq!(host.ran.len(), 4);
    host.files.remove(&machines(Kind::Bhyve).join("server.raw"));
    let error = with(Kind::Bhyve, |testbed| testbed.reset(&mut host)).unwrap_err();
    assert_eq!(error.to_string(), "server is absent; create it with up");
    assert_eq!(host.ran.len(), 4);
}

#[test]
fn missing_image_error_names_the_build_command() {
    for kind in HYPERVISORS {
        let mut host = Recorded::empty();
        host.files.clear();
        let error = with(kind, |testbed| testbed.up(&mut host)).unwrap_err();
        let command = format!("vm-images/build.sh {}", kind.name());
        assert!(error.to_string().contains(&command), "{error}");
    }
}

#[test]
fn bhyve_connects_bridges_with_the_uplink_and_taps() {
    let mut host = Recorded::empty();
    host.says(
        "ifconfig -l",
        "em0 igb1 lo0 l4s-client1 l4s-client2 l4s-server\n",
    );
    host.says(
        "route -n get default",
        "   route to: default\ndestination: default\n    gateway: 10.0.0.1\n  interface: igb1\n",
    );
    let bhyve = Bhyve::new(&plan(), None);
    bhyve.prepare(&mut host).unwrap();
    assert_eq!(
        host.ran[2..],
        ["ifconfig bridge create name l4s-manage addm igb1 up"]
    );

    // A tap left outside its bridge by a kill is replaced.
    host.says("ifconfig -l", "em0 lo0 tap-server-0 tap-client1-0\n");
    host.ran.clear();
    bhyve
        .create(&mut host, Role::Server, Path::new(""))
        .unwrap();
    assert_eq!(
        host.ran[..3],
        [
            "ifconfig tap-server-0 destroy",
            "ifconfig tap create name tap-server-0",
            "ifconfig l4s-manage addm tap-server-0",
        ]
    );
}

#[test]
fn existing_machines_are_queried_by_ssh_and_unchanged() {
    let mut host = Recorded::empty();
    let ssh = |role: Role| {
        format!(
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o \
             UserKnownHostsFile=/testbed/machines/ssh/known_hosts -o GlobalKnownHostsFile=/dev/null \
             -o HashKnownHosts=no -o ConnectTimeout=10 -o ServerAliveInterval=20 \
             root@{role}.example true"
        )
    };
    for role in Role::ALL {
        host.says(&ssh(role), "");
    }
    with(Kind::Ssh, |testbed| testbed.up(&mut host)).unwrap();
    let status = with(Kind::Ssh, |testbed| testbed.status(&mut host)).unwrap();
    assert!(
        status
            .iter()
            .all(|machine| machine.state == Some(State::Running))
    );
    assert_eq!(host.ran, ["mkdir -p /testbed/machines/ssh"]);
    let error = with(Kind::Ssh, |testbed| testbed.snapshot(&mut host)).unwrap_err();
    assert!(
        error.to_string().starts_with("snapshot is not supported"),
        "{error}"
    );

    host.fails(
        &ssh(Role::Client1),
        "ssh: connect to host client1.example: Connection refused",
    );
    let error = with(Kind::Ssh, |testbed| testbed.up(&mut host)).unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let missing = Ssh::new(&plan(), BTreeMap::new()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "missing host of router; expected --host router=HOST, or --inventory FILE"
    );
}

/// The command that reads the role of a machine of QEMU.
fn ask_role(role: Role) -> String {
    format!(
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o \
         UserKnownHostsFile=/testbed/machines/qemu/{role}.known_hosts -o GlobalKnownHostsFile=/dev/null \
             -o HashKnownHosts=no -o ConnectTimeout=10 -o ServerAliveInterval=20 \
         -p {} root@127.0.0.1 cat /var/db/l4sllm/role",
        role.ssh_port()
    )
}

/// Waits up to 60 s for machines of QEMU; returns those that answer.
fn wait(host: &mut Recorded) -> Result<Vec<Role>, Error> {
    let mut answered = Vec::new();
    with(Kind::Qemu, |testbed| {
        testbed.wait(host, Duration::from_secs(60), &mut |role| {
            answered.push(role)
        })
    })?;
    Ok(answered)
}

/// A computer with four machines of QEMU that answer in their roles.
fn four_that_answer() -> Recorded {
    let mut host = Recorded::empty();
    for role in Role::ALL {
        host.says(&ask_role(role), role.name());
    }
    host
}

#[test]
fn wait_polls_until_every_machine_answers_in_its_role() {
    let mut host = four_that_answer();
    assert_eq!(wait(&mut host).unwrap(), Role::ALL);
    assert_eq!(host.pauses, 0);

    host.fails(
        &ask_role(Role::Router),
        "Connection timed out during banner exchange",
    );
    host.fails(
        &ask_role(Role::Server),
        "Connection reset by 127.0.0.1 port 10025",
    );
    host.later.push((3, ask_role(Role::Router), Ok("router\n")));
    host.later.push((5, ask_role(Role::Server), Ok("server\n")));
    assert_eq!(wait(&mut host).unwrap(), Role::ALL);
    assert_eq!(host.pauses, 5);
}

#[test]
fn wait_ends_at_its_timeout_with_the_last_error() {
    let mut host = four_that_answer();
    host.fails(&ask_role(Role::Client2), "Connection refused");
    let error = wait(&mut host).unwrap_err();
    assert_eq!(error.to_string(), "client2: no answer over ssh within 60 s");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("-p 10024 root@127.0.0.1"), "{source}");
    assert!(source.ends_with("Connection refused"), "{source}");
    assert_eq!(host.pauses, 12);
}

#[test]
fn wait_fails_at_once_if_another_attempt_cannot_help() {
    let failure = |role: Role, answer: Result<&'static str, &'static str>| {
        let mut host = four_that_answer();
        host.answers.insert(ask_role(role), answer);
        let error = wait(&mut host).unwrap_err();
        assert_eq!(host.pauses, 0, "{error}");
        error.to_string()
    };
    let refused = failure(
        Role::Router,
        Err("root@127.0.0.1: Permission denied (publickey)."),
    );
    assert!(refused.contains("Permission denied"), "{refused}");
    let key = failure(Role::Server, Err("Host key verification failed."));
    let stored = "server: its host key is not in /testbed/machines/qemu/server.known_hosts";
    assert!(key.starts_with(stored), "{key}");
    assert_eq!(
        failure(Role::Client1, Ok("client2\n")),
        "client1: expected the role 'client1', found 'client2'"
    );
    assert_eq!(
        failure(
            Role::Client1,
            Err("cat: /var/db/l4sllm/role: No such file or directory")
        ),
        "client1: answers but has no role (cat: /var/db/l4sllm/role: No such file or directory); \
         see its console and /var/log/messages"
    );
}

#[test]
fn new_machine_has_no_known_host_key() {
    let mut host = four_that_answer();
    let known_hosts = machines(Kind::Qemu).join("router.known_hosts");
    host.file(known_hosts.clone(), "[127.0.0.1]:10022 ssh-ed25519 AAAA");
    with(Kind::Qemu, |testbed| testbed.up(&mut host)).unwrap();
    assert_eq!(host.files[&known_hosts], "");
}
