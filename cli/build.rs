//! Embeds the commit printed by `--version` and the built-in files and, with
//! feature `torch`, sets the run path of libtorch.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit() {
        Some(commit) => format!("{version} (commit {commit})"),
        None => version.to_owned(),
    };
    println!("cargo:rustc-env=L4SLLM_VERSION={version}");
    embed();
}

/// Directories embedded in the program.
const SHIPPED: [&str; 2] = ["scenarios", "policies"];

/// Writes `shipped_files.rs`: a slice of the paths and contents of every file
/// below [`SHIPPED`].
fn embed() {
    let root = package().join("..");
    let mut list = String::from("&[\n");
    for name in SHIPPED {
        for file in files(&root.join(name)) {
            let file = file.canonicalize().expect("a file that was listed");
            let root = root.canonicalize().expect("the directory above this one");
            let name = file.strip_prefix(root).expect("a file below it");
            let _ = writeln!(list, "    ({name:?}, include_bytes!({file:?})),");
        }
    }
    list += "]\n";
    let out = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("shipped_files.rs"), list).expect("OUT_DIR is writable");
}

/// This package's current directory: the build script may have been compiled in
/// another one.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .expect("cargo sets it")
        .into()
}

/// Scenarios, policies and the files that they name, ordered by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    println!("cargo:rerun-if-changed={}", dir.display());
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            None if path.is_dir() => found.extend(files(&path)),
            Some("toml" | "json" | "safetensors" | "csv" | "l4s") => found.push(path),
            _ => {}
        }
    }
    found
}

/// The commit that is checked out; none outside a checkout of this repository,
/// such as in an archive unpacked within another repository.
fn commit() -> Option<String> {
    let package = package();
    let root = package.parent()?;
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // Each commit, checkout and rebase appends a line to this file.
    if let Some(log) = git(root, &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={}", root.join(log).display());
    }
    git(root, &["rev-parse", "--short=10", "HEAD"])
}

/// The output of git; none if git is unavailable or fails.
fn git(dir: &Path, line: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(dir).args(line).output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
