//! `l4sllm testbed` with scripts in place of ssh and QEMU.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A working directory with programs that come first in PATH.
struct Computer(tempfile::TempDir);

impl Computer {
    /// Creates a computer whose ssh is `script`.
    fn new(script: &str) -> Computer {
        let computer = Computer(tempfile::tempdir().unwrap());
        fs::create_dir(computer.path("bin")).unwrap();
        computer.program("ssh", script);
        computer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns the exit code, `None` after a signal, and standard error.
    fn run(&self, line: &str) -> (Option<i32>, String) {
        let (bin, path) = (self.path("bin"), std::env::var("PATH").unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    }
}

/// Answers with the role of the machine whose ssh port QEMU forwards. Without the
/// file `resumed`, it kills the program when that asks the server.
const ROLES: &str = r#"case "$*" in
*" -p 10022 root@127.0.0.1 cat /var/db/l4sllm/role") echo router ;;
*" -p 10023 "*) echo client1 ;;
*" -p 10024 "*) echo client2 ;;
*" -p 10025 "*) [ -e resumed ] || kill -9 $PPID; echo server ;;
*) exit 255 ;;
esac
"#;

#[test]
fn up_waits_for_roles_and_resumes_after_a_kill() {
    let computer = Computer::new(ROLES);
    fs::create_dir_all(computer.path("out/vm/qemu")).unwrap();
    fs::write(computer.path("out/vm/qemu/l4sllm-freebsd.qcow2"), "").unwrap();
    // The last argument is the disk that qemu-img creates.
    computer.program(
        "qemu-img",
        "for disk; do :; done\necho $disk >>disks\n: >$disk\n",
    );
    computer.program("qemu-system-x86_64", "");
    let (code, stderr) = computer.run("testbed up --provider qemu");
    assert_eq!(code, None, "{stderr}");
    assert!(stderr.contains("client2 answers"), "{stderr}");
    assert!(!stderr.contains("server answers"), "{stderr}");

    fs::write(computer.path("resumed"), "").unwrap();
    let (code, stderr) = computer.run("testbed up --provider qemu");
    assert_eq!(code, Some(0), "{stderr}");
    for role in ["router", "client1", "client2", "server"] {
        assert!(stderr.contains(&format!("{role} answers")), "{stderr}");
    }
    let disks = computer.read("disks");
    assert_eq!(disks.lines().count(), 4, "{disks}");
}

/// Answers every command of every machine. siftr's log is absent on client1. Without
/// the file `resumed`, it kills the program when that asks client2 for its sysctls.
const COMMANDS: &str = r#"case "$*" in
*" -p 10024 "*" sysctl -a") [ -e resumed ] || kill -9 $PPID ;;
*" -p 10023 "*" cat /var/log/siftr.log")
    echo "cat: /var/log/siftr.log: No such file or directory" >&2; exit 1 ;;
esac
case "$*" in
*" -p 1002"[2-5]" root@127.0.0.1 "*) echo "$*" >>asked; echo "${*#*root@127.0.0.1 }" ;;
*) exit 255 ;;
esac
"#;

#[test]
fn collect_copies_files_of_machines_and_resumes_after_a_kill() {
    let computer = Computer::new(COMMANDS);
    let line = "testbed collect --provider qemu --out files";
    let (code, stderr) = computer.run(line);
    assert_eq!(code, None, "{stderr}");
    assert!(stderr.contains("client1: collected"), "{stderr}");
    assert!(!computer.path("files/client2").exists());

    fs::write(computer.path("resumed"), "").unwrap();
    let (code, stderr) = computer.run(line);
    assert_eq!(code, Some(0), "{stderr}");
    for role in [
        "router: kept",
        "client1: kept",
        "client2: coll",
        "server: coll",
    ] {
        assert!(stderr.contains(role), "{stderr}");
    }
    let asked = computer.read("asked");
    let versions = asked.lines().filter(|line| line.ends_with("uname -a"));
    // client2 was asked again.
    assert_eq!(versions.count(), 5, "{asked}");

    assert_eq!(computer.read("files/router/sysctl.txt"), "sysctl -a\n");
    assert_eq!(
        computer.read("files/router/schedulers.txt"),
        "ipfw sched show\n"
    );
    let siftr = "cat /var/log/siftr.log\n";
    assert_eq!(computer.read("files/server/siftr.log"), siftr);
    assert!(!computer.path("files/client1/siftr.log").exists());
    let failure = "siftr.log: cat: /var/log/siftr.log: No such file or directory\n";
    assert_eq!(computer.read("files/client1/failures.txt"), failure);
    assert!(!computer.path("files/server/failures.txt").exists());
    let mut entries: Vec<_> = fs::read_dir(computer.path("files"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    entries.sort();
    assert_eq!(entries, ["client1", "client2", "router", "server"]);
}

#[test]
fn collect_names_a_machine_that_does_not_answer() {
    let computer = Computer::new("echo 'Connection refused' >&2; exit 255\n");
    let (code, stderr) = computer.run("testbed collect --provider qemu --out files");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("router"), "{stderr}");
    assert!(stderr.contains("Connection refused"), "{stderr}");
    assert!(!computer.path("files/router").exists());
}

#[test]
fn inventory_errors_name_file_line_and_key() {
    let computer = Computer::new("exit 255\n");
    fs::write(computer.path("m.toml"), "[router]\nhost = 7\n").unwrap();
    let (code, stderr) = computer.run("testbed up --provider ssh --inventory m.toml");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("m.toml:2: router.host: "), "{stderr}");
    let (code, stderr) = computer.run("testbed up --provider qemu --inventory m.toml");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--inventory: only for"), "{stderr}");
}
