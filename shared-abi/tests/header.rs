//! Compares the C header with everything derived from it: bindings, Rust's
//! layout, the version.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use l4sllm_abi::{bytes, raw};
use sha2::{Digest, Sha256};

const HEADER: &str = include_str!("../include/l4sllm_abi.h");
const DIGESTS: &str = include_str!("../abi.digest");

#[test]
fn committed_bindings_match_bindgen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // The checks install it with `cargo install --root target/tools`.
    let tools = root.join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path))).unwrap();
    let version = Command::new("bindgen")
        .arg("--version")
        .env("PATH", &path)
        .output();
    if !version.is_ok_and(|v| v.status.success()) {
        return skip("bindgen or its libclang is not installed");
    }
    let fresh = temporary("raw.rs");
    let made = Command::new(root.join("scripts/bindgen.sh"))
        .arg(&fresh)
        .env("PATH", &path)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let fresh = std::fs::read_to_string(fresh).unwrap();
    let committed = std::fs::read_to_string(root.join("shared-abi/src/raw.rs")).unwrap();
    let release = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    assert_eq!(
        release(&fresh),
        release(&committed),
        "another release of bindgen"
    );
    assert!(
        fresh == committed,
        "src/raw.rs is stale: run scripts/bindgen.sh"
    );
}

#[test]
fn c_and_rust_struct_layouts_match() {
    let mut program =
        String::from("#include <stdio.h>\n#include <stddef.h>\n#include \"l4sllm_abi.h\"\n");
    program.push_str("int main(void) {\n");
    let mut expected = String::new();
    for layout in bytes::LAYOUTS {
        let name = layout.name;
        writeln!(
            program,
            "printf(\"{name} %zu %zu\\n\", sizeof(struct {name}), _Alignof(struct {name}));"
        )
        .unwrap();
        writeln!(expected, "{name} {} {}", layout.size, layout.align).unwrap();
        for (field, offset, size) in layout.fields {
            // bindgen appends `_' to Rust keywords.
            let field = field.trim_end_matches('_');
            writeln!(
                program,
                "printf(\"{name}.{field} %zu %zu\\n\", offsetof(struct {name}, {field}), \
                 sizeof(((struct {name} *)0)->{field}));"
            )
            .unwrap();
            writeln!(expected, "{name}.{field} {offset} {size}").unwrap();
        }
    }
    program.push_str("return 0; }\n");

    let (source, binary) = (temporary("layout.c"), temporary("layout"));
    std::fs::write(&source, program).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let compiled = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg(&source)
        .arg("-o")
        .arg(&binary)
        .output();
    let compiled = match compiled {
        Ok(output) => output,
        Err(error) => return skip(&format!("no C compiler: {compiler}: {error}")),
    };
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let printed = Command::new(&binary).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);
}

#[test]
fn layout_of_every_struct_is_checked() {
    let declared: Vec<&str> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("struct ")?.strip_suffix(" {"))
        .collect();
    let checked: Vec<&str> = bytes::LAYOUTS.iter().map(|l| l.name).collect();
    assert_eq!(declared, checked);
}

#[test]
fn header_change_requires_new_version() {
    let versions: Vec<(u32, &str)> = DIGESTS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (version, digest) = line.split_once(' ').expect("VERSION DIGEST");
            (version.parse().expect("a number"), digest)
        })
        .collect();
    let expected: Vec<u32> = (1..=raw::L4S_ABI_VERSION).collect();
    let listed: Vec<u32> = versions.iter().map(|(version, _)| *version).collect();
    assert_eq!(
        listed, expected,
        "abi.digest has one line per version, in order"
    );
    let now = hex(&normalise(HEADER));
    let (_, committed) = versions.last().expect("version 1 at least");
    assert_eq!(
        *committed,
        now,
        "the header differs from what version {0} was: raise L4S_ABI_VERSION and add \
         the line `{1} {now}' to abi.digest",
        raw::L4S_ABI_VERSION,
        raw::L4S_ABI_VERSION + 1,
    );
}

#[test]
fn digest_ignores_comments() {
    let digest_of = |text: &str| hex(&normalise(text));
    let header = digest_of(HEADER);
    assert_eq!(
        header,
        digest_of(&HEADER.replace("/* the caller's, not 0 */", "/* any */"))
    );
    assert_ne!(
        header,
        digest_of(&HEADER.replace("uint32_t\ttarget;", "uint64_t\ttarget;"))
    );
    assert_ne!(
        header,
        digest_of(&HEADER.replace("L4S_OP_STATS\t\t5", "L4S_OP_STATS\t\t6")),
    );
}

/// The header without comments, its white space collapsed, so that a change of
/// comments does not require a new version.
fn normalise(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        code.push(' ');
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines = code
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines
        .filter(|line| !line.is_empty())
        .fold(String::new(), |all, line| all + &line + "\n")
}

fn hex(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Reports why a test did not run; the checks count these messages.
fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    println!("skipped: {test}: {reason}");
}
