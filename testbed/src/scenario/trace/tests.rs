#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::scenario::Scenario;

/// A scenario in the directory of the fixtures, with these keys of the bottleneck.
fn scenario(keys: &str) -> Result<Scenario, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let text = format!(
        "duration = \"10 s\"\nrtt = \"20 ms\"\n[bottleneck]\n{keys}\n\
         [[flow]]\ncc = \"cubic\"\n[[arm]]\naqm = \"dualpi2\"\n"
    );
    Scenario::parse(&dir.join("t.toml"), &text).map_err(|error| error.to_string())
}

/// Times, ms, and rates, kbit/s.
fn steps(keys: &str) -> Vec<(u64, u64)> {
    let scenario = scenario(keys).unwrap();
    let steps = scenario.bottleneck.steps().iter();
    steps
        .map(|s| (s.from_ns / MS, s.bits_per_s / 1000))
        .collect()
}

/// One slot per millisecond is 12 Mbit/s, for the duration of the scenario.
#[test]
fn mahimahis_format() {
    let constant = steps("trace = \"mahimahi.csv\"\ntrace_format = \"mahimahi\"");
    assert_eq!(constant[0], (0, 12_000));
    // The last slot and the first of the next round are in one millisecond.
    assert_eq!(constant[1].1, 24_000);
    let scenario = scenario("trace = \"mahimahi.csv\"\ntrace_format = \"mahimahi\"").unwrap();
    let capacity = scenario.bottleneck.capacity_bits(0, 10_000_000_000) as f64 / 10.0;
    assert!((12.0e6..12.3e6).contains(&capacity), "{capacity}");
}

#[test]
fn slots_carry_1500_bytes_in_their_millisecond() {
    let got = mahimahi(&[1, 1, 4], 9 * MS);
    let got: Vec<(u64, u64)> = got
        .iter()
        .map(|s| (s.from_ns / MS, s.bits_per_s / 1000))
        .collect();
    // Rounds begin at 0, 4 and 8.
    let want = [
        (0, 0),
        (1, 24_000),
        (2, 0),
        (4, 12_000),
        (5, 24_000),
        (6, 0),
        (8, 12_000),
        (9, 24_000),
        (10, 0),
        (12, 12_000),
        (13, 0),
    ];
    assert_eq!(got, want);
}

#[test]
fn byte_order_mark_and_numeric_columns() {
    assert_eq!(steps("trace = \"bom.csv\""), [(0, 8000), (1000, 4000)]);
    let csv = |file: &str, time: &str, rate: &str| {
        steps(&format!(
            "trace = \"{file}\"\ntrace_format = \"csv\"\ntime_unit = \"{time}\"\nrate_unit = \"{rate}\""
        ))
    };
    let pensieve = [(0, 4500), (500, 3200), (1000, 1000)];
    assert_eq!(csv("pensieve.csv", "s", "Mbit/s"), pensieve);
    assert_eq!(csv("nounit.csv", "s", "bit/s"), [(0, 8000), (1000, 4000)]);
    assert_eq!(csv("columns.csv", "ms", "kbit/s"), [(0, 8000), (10, 4000)]);
}

#[test]
fn unknown_format_error_lists_accepted_formats() {
    for file in ["header.csv", "mahimahi.csv", "nounit.csv", "pensieve.csv"] {
        let error = scenario(&format!("trace = \"{file}\"")).unwrap_err();
        for part in [
            &format!("{file}:1: expected a time and a rate with units"),
            "mahimahi",
            "csv",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
    for (keys, want) in [
        ("trace_format = \"csv\"", "bottleneck.time_unit: missing"),
        (
            "trace_format = \"csv\"\ntime_unit = \"s\"\nrate_unit = \"Mbps\"",
            "unknown value \"Mbps\", expected one of: Gbit/s, Mbit/s",
        ),
        (
            "trace_format = \"mahimahi\"\nrepeat = false",
            "bottleneck.repeat: mahimahi",
        ),
        (
            "time_unit = \"s\"",
            "bottleneck.time_unit: allowed only with trace_format = \"csv\"",
        ),
        ("trace_format = \"mahimahi\"", "expected mahimahi's format"),
    ] {
        let error = scenario(&format!("trace = \"header.csv\"\n{keys}")).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
    let error = scenario("rate = \"1 Mbit/s\"\ntrace_format = \"csv\"").unwrap_err();
    assert!(
        error.contains("trace_format: allowed only with a trace"),
        "{error}"
    );
}

/// Devices, pipes and endless traces cause an immediate error.
#[test]
fn special_files_and_endless_traces_are_rejected() {
    for file in ["/dev/zero", "/dev/stdin", "."] {
        let error = scenario(&format!("trace = \"{file}\"")).unwrap_err();
        assert!(error.contains("cannot read"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let fast = dir.path().join("fast.csv");
    std::fs::write(&fast, "0 s, 1 Mbit/s\n1 ns, 1 Mbit/s\n").unwrap();
    let error = load(&fast, Format::Rates, Some(MAX_NS))
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 4000000 changes"), "{error}");
}

/// A scenario may refer to a file with secrets.
#[test]
fn errors_do_not_quote_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    for text in ["root:hash, secret\n", "1 s, secret\n", "hash \u{1b}[2J\n"] {
        std::fs::write(&file, text).unwrap();
        let csv = Format::Csv {
            time_ns: 1e9,
            rate_bps: 1.0,
        };
        for format in [Format::Rates, Format::Mahimahi, csv] {
            let error = load(&file, format, None).unwrap_err().to_string();
            assert!(
                !error.contains("hash") && !error.contains('\u{1b}'),
                "{error}"
            );
        }
    }
    std::fs::write(&file, b"0 s, 1 Mbit/s\n\xff\xfe").unwrap();
    let error = load(&file, Format::Rates, None).unwrap_err().to_string();
    assert!(error.contains(":2: not UTF-8; expected"), "{error}");
}
