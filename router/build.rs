//! Compiles the module's code for IP headers.

use std::env;
use std::path::Path;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let kmod = Path::new(&root).join("../kmod");
    let include = Path::new(&root).join("../shared-abi/include");
    cc::Build::new()
        .include(&kmod)
        .include(&include)
        .std("gnu11")
        .opt_level(2)
        .flag_if_supported("-fvisibility=hidden")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .file("src/iphdr.c")
        .compile("l4s_iphdr");
    println!("cargo:rerun-if-changed={}", kmod.display());
    println!("cargo:rerun-if-changed={}", include.display());
    println!("cargo:rerun-if-changed=src/iphdr.c");
}
