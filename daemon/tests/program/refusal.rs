//! Fatal errors end the program immediately, with a message and a distinct exit
//! code.

use std::process::Command;

use l4sllm_abi::{Op, Refusal};

use crate::fake::{Fake, Read};
use crate::harness::{Emulated, Place, Program, check, policy_section};

const SCRIPT: &str = "[[engine.script]]\nat_ms = 0\ntarget = 0.5";

fn ends(place: &Place, code: i32, complaint: &str) {
    let mut program = Program::start(place);
    program.end_with(code);
    let said = format!("{:?}", program.rest());
    assert!(said.contains(complaint), "{said}");
}

#[test]
fn a_missing_device() {
    let place = Place::new();
    place.configure("", SCRIPT);
    ends(
        &place,
        69,
        "no device: no emulated device is listening there",
    );
}

#[test]
fn a_missing_module() {
    let place = Place::new();
    let text = format!("[device]\npath = {:?}\n{SCRIPT}\n", place.path("l4sllm"));
    std::fs::write(place.path("l4sllmd.toml"), text).unwrap();
    ends(&place, 69, "the module is not loaded; kldload dualpi2_llm");
}

#[test]
fn not_a_device() {
    let place = Place::new();
    let text = format!("[device]\npath = {:?}\n{SCRIPT}\n", place.path("."));
    std::fs::write(place.path("l4sllmd.toml"), text).unwrap();
    ends(&place, 77, "cannot open");
}

#[test]
fn another_version() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let _device = Fake::of_version(&place, 7, 9);
    ends(&place, 76, "supports versions 7 to 9, this program 4 to 4");
}

#[test]
fn another_controller() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let _device = Emulated::start(&place, 1024);
    let mut first = Program::start(&place);
    first.log("controlling the device");

    // A second daemon with a different status socket.
    let other = Place::new();
    let text = format!("[device]\nsocket = {:?}\n{SCRIPT}\n", place.path("device"));
    std::fs::write(other.path("l4sllmd.toml"), text).unwrap();
    ends(
        &other,
        75,
        "cannot take control: another controller has the device",
    );
    // Another one with the same status socket.
    ends(&place, 73, "another daemon is listening there");
}

#[test]
fn limits_without_privilege() {
    let place = Place::new();
    place.configure("", &format!("[limits]\nmax_hold = 7\n{SCRIPT}"));
    let _device = Fake::refusing(&place, Op::SetLimits, Refusal::Permission);
    ends(
        &place,
        77,
        "cannot set limits: not the controller, or not privileged",
    );
}

#[test]
fn an_override_longer_than_the_device_allows() {
    let place = Place::new();
    let hold = "[pipeline]\nmode = \"hold\"\nhold = 5000";
    place.configure("", &format!("{hold}\n{SCRIPT}"));
    let _device = Emulated::start(&place, 1024);
    ends(
        &place,
        78,
        "pipeline.hold = 5000: the device allows at most 1000",
    );
    place.configure("", &format!("[limits]\nmax_hold = 5000\n{hold}\n{SCRIPT}"));
    Program::start(&place).log("controlling the device");
}

#[test]
fn invalid_version_reply() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let _device = Fake::start(&place, vec![Read::Frame(vec![0xee; 16])]);
    ends(&place, 76, "unexpected reply");
}

#[test]
fn a_policy_that_does_not_load() {
    let place = Place::new();
    place.configure("", &policy_section(&place.path("nowhere")));
    ends(&place, 65, "config.json");
    let policy = place.policy("cut", 1);
    let weights = std::fs::read(policy.join("model.safetensors")).unwrap();
    std::fs::write(
        policy.join("model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .unwrap();
    place.configure("", &policy_section(&policy));
    ends(&place, 65, "model.safetensors");
}

#[test]
fn a_wrong_configuration() {
    let place = Place::new();
    ends(&place, 78, "cannot read");
    place.configure("", "[pipeline]\nintervall = 10");
    ends(&place, 78, "unknown key \\\"intervall\\\", did you mean");
}

#[test]
fn the_check_needs_no_device() {
    let place = Place::new();
    place.configure("", &policy_section(&place.policy("mine", 1)));
    let (code, said) = check(&place);
    assert_eq!(code, Some(0));
    assert!(said.contains("ok, policy mine"), "{said}");
    place.configure("wake = \"late\"", SCRIPT);
    let (code, said) = check(&place);
    assert_eq!(code, Some(78));
    assert!(
        said.contains("device.wake: unknown value \"late\""),
        "{said}"
    );
}

#[test]
fn too_few_descriptors_is_an_error() {
    let place = Place::new();
    place.configure("", SCRIPT);
    let command = format!(
        "exec {} -c {}",
        env!("CARGO_BIN_EXE_l4sllmd"),
        place.path("l4sllmd.toml").display()
    );
    let mut short = 0;
    for limit in 3..16 {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit}; {command}")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let code = output.status.code();
        let known = [Some(69), Some(71), Some(73), Some(78), Some(127)];
        assert!(known.contains(&code), "{limit}: {code:?}: {said}");
        assert!(!said.contains("panicked"), "{limit}: {said}");
        if code == Some(71) {
            assert!(said.contains("Too many open files"), "{limit}: {said}");
            short += 1;
        }
    }
    assert!(short > 0);
}
