//! `scripts/setup.sh`, which every build runs first, names missing packages.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A system with a few programs, as an ordinary user sees it.
struct System(tempfile::TempDir);

impl System {
    fn new() -> System {
        let system = System(tempfile::tempdir().unwrap());
        for tool in ["bash", "dirname", "sed", "xargs", "cat", "echo", "grep"] {
            symlink(installed(tool), system.0.path().join(tool)).unwrap();
        }
        system.program("id", "echo 1000");
        system
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Exit status and messages of the script.
    fn setup(&self, what: &[&str]) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/setup.sh");
        let out = Command::new(installed("bash"))
            .arg(script)
            .args(what)
            .env("PATH", self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    }
}

fn installed(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(tool));
    found.into_iter().find(|file| file.is_file()).unwrap()
}

#[test]
fn missing_packages_are_named_with_the_command_that_installs_them() {
    let system = System::new();
    system.program("apt-get", "exit 1");
    system.program("make", "");
    let (code, text) = system.setup(&[]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("missing: gcc; install with: sudo apt-get install gcc\n"),
        "{text}"
    );
}

#[test]
fn a_build_with_libtorch_also_needs_a_cpp_compiler_and_pip() {
    let system = System::new();
    system.program("apt-get", "exit 1");
    for tool in ["make", "cc", "cargo"] {
        system.program(tool, "");
    }
    system.program("rustc", "echo rustc 1.85.1");
    assert_eq!(system.setup(&[]), (Some(0), String::new()));
    let (code, text) = system.setup(&["torch"]);
    assert_eq!(code, Some(1));
    for package in ["g++", "python3", "python3-pip"] {
        let command = text.split("sudo apt-get install ").nth(1).unwrap();
        let named = command.split_whitespace().any(|name| name == package);
        assert!(named, "{package}: {text}");
    }
}

#[test]
fn without_a_recent_rust_the_message_says_how_to_get_one() {
    let system = System::new();
    for tool in ["make", "cc"] {
        system.program(tool, "");
    }
    let (code, text) = system.setup(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cargo was not found"), "{text}");
    assert!(text.contains("https://sh.rustup.rs"), "{text}");

    system.program("cargo", "");
    system.program("rustc", "echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'");
    let (code, text) = system.setup(&[]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("rustc 1.63.0 (4b91a6ea7 2022-08-08) is too old"),
        "{text}"
    );
    assert!(text.contains("https://sh.rustup.rs"), "{text}");
}
