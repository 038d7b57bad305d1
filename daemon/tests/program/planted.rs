//! Files of unexpected types.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;

use l4sllm_model::{Feature, Policy, PolicyConfig, Tensors};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Emulated, Place, Program, check, policy_section};

const SCRIPT: &str = "[[engine.script]]\nat_ms = 0\ntarget = 0.5";

/// A configuration that is not a regular file, or has an impossible size.
fn plant(path: &Path, what: &str) {
    let _ = std::fs::remove_file(path);
    match what {
        "a FIFO" => mkfifo(path, Mode::S_IRWXU).unwrap(),
        "a device" => symlink("/dev/zero", path).unwrap(),
        "a directory" => symlink("/", path).unwrap(),
        // A sparse file.
        _ => File::create(path).unwrap().set_len(8 << 30).unwrap(),
    }
}

const PLANTED: [(&str, &str); 4] = [
    ("a FIFO", "it is a FIFO"),
    ("a device", "it is a device"),
    ("a directory", "it is a directory"),
    ("8 GB", "more than 1048576 bytes"),
];

#[test]
fn rejects_special_files_as_configuration() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    for (what, complaint) in PLANTED {
        plant(&place.path("l4sllmd.toml"), what);
        let (code, said) = check(&place);
        assert_eq!(code, Some(78), "{what}: {said}");
        assert!(said.contains(complaint), "{what}: {said}");
        program.signal(Signal::SIGHUP);
        let line = program.log("reload failed");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(complaint), "{what}: {error}");
    }
    let before = program.status("failures", |s| s.reloads.failed == 4);
    program.status("records", |s| s.counters.records > before.counters.records);
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

#[test]
fn rejects_special_files_as_policy() {
    let place = Place::new();
    let policy = place.policy("p", 1);
    place.configure("", &policy_section(&policy));
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    for file in ["config.json", "model.safetensors"] {
        let good = std::fs::read(policy.join(file)).unwrap();
        for (what, _) in PLANTED {
            plant(&policy.join(file), what);
            let (code, said) = check(&place);
            assert_eq!(code, Some(65), "{file} is {what}: {said}");
            assert!(said.contains(file), "{file} is {what}: {said}");
            program.signal(Signal::SIGHUP);
            let line = program.log("reload failed");
            assert!(line["error"].as_str().unwrap().contains(file), "{line}");
        }
        std::fs::remove_file(policy.join(file)).unwrap();
        std::fs::write(policy.join(file), good).unwrap();
    }
    program.signal(Signal::SIGHUP);
    program.log("reloaded");
    program.signal(Signal::SIGTERM);
    program.end_with(0);
}

#[test]
fn rejects_a_policy_with_non_finite_decisions() {
    let place = Place::new();
    let good = place.policy("good", 1);
    // Each weight is finite, but sums of their products are not.
    let config = PolicyConfig::new("overflow", &Feature::PAPER7);
    let mut tensors = Tensors::random(&config, 1).unwrap();
    for (_, values) in tensors.iter_mut() {
        values.fill(1e38);
    }
    let overflow = place.path("overflow");
    Policy::save(&overflow, &config, &tensors).unwrap();

    place.configure("", &policy_section(&good));
    let _device = Emulated::start(&place, 1024);
    let mut program = Program::start(&place);
    program.log("controlling the device");
    place.configure("", &policy_section(&overflow));
    let (code, said) = check(&place);
    assert_eq!(code, Some(65), "{said}");
    assert!(
        said.contains("overflow") && said.contains("weights are too large"),
        "{said}"
    );
    program.signal(Signal::SIGHUP);
    let error = program.log("reload failed")["error"].to_string();
    assert!(error.contains("weights are too large"), "{error}");
    program.status("the old policy", |s| {
        s.engine.to_string().contains("good") && s.reloads.failed == 1
    });
}
