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
