//! Existing machines behind a real sshd on loopback ports, with new keys.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use l4sllm_machines::provider::{Ssh, machines};
use l4sllm_machines::{Error, Host, HostKeys, Inventory, Kind, Plan, Role, System, Testbed};

/// A running sshd, killed on drop.
struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The path of sshd, which must be absolute.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(more);
    files.find_map(|dir| Some(dir.join("sshd")).filter(|file| file.is_file()))
}

fn generate_key(path: &Path) {
    let _ = fs::remove_file(path);
    let kind = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let keygen = Command::new("ssh-keygen").args(kind).arg(path).status();
    assert!(keygen.unwrap().success());
}

fn output(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

impl Sshd {
    /// Starts `program` on `ports`, and waits until it listens.
    fn start(program: &Path, dir: &Path, ports: &[u16]) -> Sshd {
        if output("id", "-u").trim() == "0" {
            // The service of the package creates it for root's sshd.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let place = dir.display();
        let mut text = format!(
            "ListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {place}/id.pub\nStrictModes no\nPasswordAuthentication no\n"
        );
        for port in ports {
            text += &format!("Port {port}\n");
        }
        let config = dir.join("sshd_config");
        fs::write(&config, text).unwrap();
        let mut child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let sshd = Sshd(child);
        for _ in ports {
            let listens = |line: &String| line.contains("Server listening");
            let line = log.by_ref().map(Result::unwrap).find(listens);
            assert!(line.is_some(), "sshd ended");
        }
        // sshd must be able to write to its log.
        std::thread::spawn(move || log.count());
        sshd
    }
}

/// Free ports: they were free a moment ago.
fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// An inventory of four machines, one for each port.
fn inventory(dir: &Path, ports: [u16; 4]) -> Inventory {
    let user = output("id", "-un");
    let mut text = String::new();
    for (role, port) in Role::ALL.into_iter().zip(ports) {
        text += &format!(
            "[{role}]\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"{}\"\nidentity = \"id\"\n",
            user.trim()
        );
    }
    let path = dir.join("inventory.toml");
    fs::write(&path, text).unwrap();
    Inventory::read(&path).unwrap()
}

/// Runs a step on existing machines with ssh's `host_keys`.
fn step<T>(
    dir: &Path,
    inventory: &Inventory,
    host_keys: HostKeys,
    step: impl FnOnce(&Testbed<'_>, &mut dyn Host) -> Result<T, Error>,
) -> Result<T, Error> {
    let plan = Plan {
        dir: dir.join("vm"),
        cpus: 1,
        memory: 512,
        settings: None,
        keys: None,
        host_keys,
    };
    let provider = Ssh::new(&plan, inventory.addresses())?;
    let testbed = Testbed {
        provider: &provider,
        plan: &plan,
        dir: machines(&plan.dir, Kind::Ssh),
    };
    step(&testbed, &mut System)
}

fn up(dir: &Path, inventory: &Inventory) -> Result<Vec<Role>, Error> {
    let mut answered = Vec::new();
    step(dir, inventory, HostKeys::AcceptNew, |testbed, host| {
        testbed.up(host)?;
        testbed.wait(host, Duration::from_secs(60), &mut |role| {
            answered.push(role);
        })
    })?;
    Ok(answered)
}

fn collect(dir: &Path, inventory: &Inventory) -> Result<(), Error> {
    step(dir, inventory, HostKeys::Strict, |testbed, host| {
        testbed.collect(host, &dir.join("files"), &mut |_| {})
    })
}

/// The error about a host key, wherever it is in the chain.
fn about_host_key(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        if error.to_string().contains("its host key") {
            return error.to_string();
        }
        error = source;
    }
    panic!("not about a host key: {error}");
}

#[test]
fn host_keys_are_stored_by_up_and_required_afterwards() {
    let Some(program) = program() else {
        println!("skipped: host_keys_are_stored_by_up_and_required_afterwards (no sshd)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    generate_key(&dir.join("host"));
    generate_key(&dir.join("id"));
    let ports = free_ports();
    let sshd = Sshd::start(&program, dir, &ports);
    let inventory = inventory(dir, ports);

    let unknown = collect(dir, &inventory).unwrap_err();
    let unknown = about_host_key(&unknown);
    assert!(
        unknown.starts_with("router: its host key is not in"),
        "{unknown}"
    );
    assert!(!dir.join("files/router").exists());

    assert_eq!(up(dir, &inventory).unwrap(), Role::ALL);
    let known_hosts = dir.join("vm/machines/ssh/known_hosts");
    let stored = fs::read_to_string(&known_hosts).unwrap();
    for port in ports {
        assert!(stored.contains(&format!("[127.0.0.1]:{port} ")), "{stored}");
    }
    collect(dir, &inventory).unwrap();
    for role in Role::ALL {
        let uname = fs::read_to_string(dir.join(format!("files/{role}/uname.txt"))).unwrap();
        assert_eq!(uname, output("uname", "-a"));
    }
    let failures = fs::read_to_string(dir.join("files/router/failures.txt")).unwrap();
    assert!(failures.contains("kldstat"), "{failures}");

    // The machine is replaced by another one.
    drop(sshd);
    generate_key(&dir.join("host"));
    let _sshd = Sshd::start(&program, dir, &ports);
    let replaced = about_host_key(&up(dir, &inventory).unwrap_err());
    assert!(
        replaced.contains(&*known_hosts.to_string_lossy()),
        "{replaced}"
    );
    assert_eq!(fs::read_to_string(&known_hosts).unwrap(), stored);
}

#[test]
fn refused_keys_are_reported() {
    let Some(program) = program() else {
        println!("skipped: refused_keys_are_reported (no sshd)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    generate_key(&dir.join("host"));
    generate_key(&dir.join("id"));
    let ports = free_ports();
    let _sshd = Sshd::start(&program, dir, &ports);
    // The private key changes after sshd has the public one.
    let public = fs::read(dir.join("id.pub")).unwrap();
    generate_key(&dir.join("id"));
    fs::write(dir.join("id.pub"), public).unwrap();
    let inventory = inventory(dir, ports);
    let error = up(dir, &inventory).unwrap_err().to_string();
    assert!(error.contains("Permission denied"), "{error}");
}
