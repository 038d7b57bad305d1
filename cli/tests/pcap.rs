//! `l4sllm run --pcap`: captures of the emulator. Without tshark and capinfos
//! (Debian's package tshark), the comparison with them is skipped by name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use serde_json::Value;

use common::{comments, done, refused, text, two_flows, verdicts, wireshark};

/// The emulator's capture has every packet of the run, for our reader and for
/// Wireshark's.
#[test]
fn emulated_packets_are_captured_for_wireshark() {
    let place = tempfile::tempdir().unwrap();
    let (scenario, out) = (place.path().join("s.toml"), place.path().join("out"));
    let capture = place.path().join("run.pcapng");
    let arms = [("dualpi2", "aqm = \"dualpi2\""), ("pie", "aqm = \"pie\"")];
    fs::write(&scenario, two_flows("s", &arms)).unwrap();
    done(&[
        "run",
        text(&scenario),
        "--out",
        text(&out),
        "--arms",
        "dualpi2",
        "--repetitions",
        "1",
        "--pcap",
        text(&capture),
    ]);
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let packets = &summary["arms"][0]["repetitions"][0]["packets"];
    let (forwarded, dropped) = (packets["forwarded"].as_u64(), packets["dropped"].as_u64());
    let found = comments(&capture);
    assert_eq!(Some(verdicts(&found, "dropped; ")), dropped);
    let passed = verdicts(&found, "enqueued; ") + verdicts(&found, "marked; ");
    assert_eq!(Some(passed), forwarded);
    let marked = verdicts(&found, "marked; ");
    assert!(marked > 0 && passed > 1000, "{marked} of {passed}");

    let file = text(&capture);
    let fields = ["-T", "fields", "-e", "frame.comment", "-e", "frame.len"];
    let strict = ["-r", file, "-o", "ip.check_checksum:TRUE"];
    let Some(lines) = wireshark("tshark", &[&strict[..], &fields[..]].concat()) else {
        println!("skipped: emulated_packets_are_captured_for_wireshark (no tshark)");
        return;
    };
    assert_eq!(lines.len(), found.len());
    assert!(
        lines
            .iter()
            .zip(&found)
            .all(|(line, comment)| line.starts_with(comment))
    );
    let count = |filter: &str| {
        let lines = wireshark("tshark", &[&strict[..], &["-Y", filter][..]].concat());
        lines.unwrap().len() as u64
    };
    assert_eq!(count("ip.checksum.status == 0 or _ws.malformed"), 0);
    assert_eq!(
        count("frame.comment contains \"marked\" and ip.dsfield.ecn == 3"),
        marked
    );
    assert_eq!(
        count("tcp and frame.cap_len == 52 and frame.len == 1500"),
        passed
    );
    let said = wireshark("capinfos", &["-c", "-M", "-N", file])
        .unwrap()
        .join("\n");
    let packets = format!("Number of packets:   {}", found.len());
    assert!(said.contains(&packets), "{said}");
}

#[test]
fn captures_need_a_single_run_and_a_new_file() {
    let place = tempfile::tempdir().unwrap();
    let (scenario, out) = (place.path().join("s.toml"), place.path().join("out"));
    let capture = place.path().join("run.pcapng");
    let arms = [("plain", "aqm = \"dualpi2\""), ("pie", "aqm = \"pie\"")];
    fs::write(&scenario, two_flows("s", &arms)).unwrap();
    let mut line = vec![
        "run",
        text(&scenario),
        "--out",
        text(&out),
        "--pcap",
        text(&capture),
    ];
    let error = refused(&line);
    assert!(
        error.contains("select one, such as --arms plain --repetitions 1"),
        "{error}"
    );
    line.extend(["--arms", "pie", "--repetitions", "1", "--duration", "1s"]);
    fs::write(&capture, "mine").unwrap();
    let error = refused(&line);
    assert!(
        error.contains("already exists; --force replaces it"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&capture).unwrap(), "mine");
    fs::remove_file(&capture).unwrap();
    done(&line);
    // The result has the run, so there is nothing to capture.
    fs::remove_file(&capture).unwrap();
    let error = refused(&line);
    assert!(error.contains("or pass --force to repeat it"), "{error}");
    assert!(!capture.exists());
    line.push("--force");
    done(&line);
    assert!(verdicts(&comments(&capture), "enqueued; pie; ") > 100);
}
