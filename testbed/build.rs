//! Compiles the kernel's portable sources and their userspace front end.

use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let kmod = Path::new(&root).join("../kmod");
    let include = Path::new(&root).join("../shared-abi/include");
    let list = kmod.join("sources.txt");
    let text = fs::read_to_string(&list).unwrap_or_else(|error| {
        panic!(
            "cannot read {}, which lists the sources: {error}",
            list.display()
        )
    });
    let sources = text
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(".c"));
    let mut build = cc::Build::new();
    build
        .include(&kmod)
        .include(kmod.join("user"))
        .include(&include)
        .std("gnu11")
        // The tests compare records with version 1's description of them.
        .define("L4S_RECORD_TAP", None)
        // The packet path is measured, and an unoptimised queue would only slow
        // the tests down.
        .opt_level(2)
        // Position-independent code does not inline functions that may be
        // interposed; the packet path is one unit because nothing interposes
        // them.
        .flag_if_supported("-fvisibility=hidden")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true);
    for source in sources {
        build.file(kmod.join(source));
    }
    build.file("src/router/layout.c").compile("l4s_user");
    println!("cargo:rerun-if-changed={}", kmod.display());
    println!("cargo:rerun-if-changed={}", include.display());
    println!("cargo:rerun-if-changed=src/router/layout.c");
}
