#![allow(clippy::unwrap_used, reason = "tests")]

use l4sllm_abi::{Limits, Params, Summary, header, raw};

use super::*;
use crate::SplitMix64;

const MS: u64 = 1_000_000;

/// A small network with arbitrary weights.
pub(crate) fn student(seed: u64) -> Student {
    let mut random = SplitMix64::new(seed);
    let mut below = |n: u64| random.next_u64() % n;
    let inputs: Vec<StudentInput> = (0..SIGNALS as u64 * 4)
        .map(|i| StudentInput {
            signal: (i / 4) as u8,
            scale: (i % 4) as u8,
            mean: below(20 << 16) as i32,
            gain: below(1 << 12) as i32,
        })
        .collect();
    let sizes = [(inputs.len(), 12), (12, 8), (8, OUTPUTS)];
    let weights = sizes.map(|(columns, rows)| {
        let mut weight = |_| (below(255) as i32 - 127) as i8;
        (0..columns * rows).map(&mut weight).collect()
    });
    let mut layer = 0;
    let units = sizes.map(|(_, rows)| {
        layer += 1;
        let mut unit = |_| StudentUnit {
            scale: match layer {
                3 => below(1 << 22) as i32,
                _ => below(1 << 20) as i32,
            },
            bias: match layer {
                3 => (18 << 16) + below(4 << 16) as i32,
                _ => below(1 << 13) as i32 - (1 << 12),
            },
        };
        (0..rows).map(&mut unit).collect()
    });
    Student {
        name: "random".to_owned(),
        teacher: [7; 32],
        period_ns: 250 * MS,
        idle_budget: 5000,
        tupdate_ns: 4 * MS,
        slow_tupdate_ns: 16 * MS,
        slow_from: 23 << 16,
        bounds: [(0, 40 << 16); OUTPUTS],
        inputs,
        units,
        weights,
    }
}

/// A busy 100 ms.
fn summary(number: u64) -> Summary {
    let mut s = raw::l4s_summary {
        hdr: header(raw::L4S_RECORD_SUMMARY, 0, (number + 1) * 100 * MS),
        begin_ns: number * 100 * MS,
        idle_ns: MS,
        target_ns: 15 * MS,
        tupdate_ns: 16 * MS,
        beta_uhz: 3_200_000,
        updates: 6,
        p_sum: 6 << 24,
        p_variation: 1 << 22,
        ..Default::default()
    };
    s.queue[0].forwarded = 400;
    s.queue[0].forwarded_bytes = 600_000;
    s.queue[0].sojourn_sum_ns = 400 * 3 * MS;
    s.queue[0].flows[1] = 6;
    Summary::try_from(s).unwrap()
}

#[test]
fn a_file_is_read_as_written() {
    let student = student(1);
    let bytes = student.to_bytes().unwrap();
    assert_eq!(Student::from_bytes(&bytes).unwrap(), student);
    for length in 0..bytes.len() {
        assert!(Student::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(Student::from_bytes(&changed).is_err(), "{at}");
    }
}

#[test]
fn errors_name_the_field() {
    let error = |change: fn(&mut Student)| {
        let mut student = student(1);
        change(&mut student);
        student.to_bytes().unwrap_err().to_string()
    };
    let weight = error(|s| s.weights[1][3] = -128);
    assert_eq!(
        weight,
        "weights[1][3]: -128 is out of range, expected -127..=127"
    );
    let scale = error(|s| s.units[2][1].scale = -1);
    assert_eq!(
        scale,
        "units[2][1].scale: -1 is out of range, expected 0..=2^26"
    );
    let name = error(|s| s.name.clear());
    assert_eq!(
        name,
        "length of the name: 0 is out of range, expected 1..=31 bytes"
    );
    let bounds = error(|s| s.bounds[1] = (5, 4));
    assert_eq!(
        bounds,
        "max[1]: 4 is out of range, expected min..=40 in Q16"
    );
    let checksum = {
        let mut bytes = student(1).to_bytes().unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        Student::from_bytes(&bytes).unwrap_err().to_string()
    };
    assert!(checksum.ends_with("the file is damaged"), "{checksum}");
}

#[test]
fn a_decision_follows_each_period() {
    let mut state = StudentState::default();
    let periods: Vec<bool> = (0..10)
        .map(|n| state.add(&summary(n), 250 * MS, 5000))
        .collect();
    let ends = [
        false, false, true, false, false, true, false, false, true, false,
    ];
    assert_eq!(periods, ends);
    let of = |signal: u32, scale| f64::from(state.signal(signal as u8, scale)) / 65_536.0;
    for scale in 0..4 {
        // 10 permille; 3 ms; two flows; 4000 packets/s.
        assert!((of(raw::L4S_SIGNAL_IDLE, scale) - 11f64.log2()).abs() < 0.01);
        assert!((of(raw::L4S_SIGNAL_DELAY, scale) - 2.0).abs() < 1e-3);
        assert!((of(raw::L4S_SIGNAL_FLOWS, scale) - 3f64.log2()).abs() < 1e-3);
        assert!((of(raw::L4S_SIGNAL_PACKETS, scale) - 4001f64.log2()).abs() < 1e-3);
        assert!((of(raw::L4S_SIGNAL_BUDGET, scale) - 5001f64.log2()).abs() < 1e-3);
    }
    // 6 MB/s while busy.
    let rate = (6e6_f64 / 0.99).log2();
    assert!((of(raw::L4S_SIGNAL_RATE, 0) - rate).abs() < 1e-3);
}

#[test]
fn set_points_stay_within_limits() {
    let limits = Limits::default();
    for seed in 0..50 {
        let student = student(seed);
        let mut state = StudentState::default();
        for n in 0..30 {
            if !state.add(&summary(n), student.period_ns, 1000) {
                continue;
            }
            let o = student.decide(&state, &Params::default(), &limits);
            for factor in [o.target, o.coupling, o.tupdate] {
                assert!((limits.factor_min..=limits.factor_max).contains(&factor));
            }
            for factor in [o.alpha, o.beta] {
                assert!((limits.gain_min..=limits.gain_max).contains(&factor));
            }
        }
    }
}

/// Logarithms of RFC 9332's own set-points give factors of one.
#[test]
fn factors_are_relative_to_the_parameters() {
    let params = Params::default();
    let log = |x: u64| fixed::log2(x);
    let y = [
        log(params.target_ns),
        log(u64::from(params.alpha_uhz)) + (1 << 16),
        log(u64::from(params.beta_uhz)) - (1 << 16),
        log(u64::from(params.coupling_q8)),
    ];
    let o = factors(&y, 4 * MS, &params, &Limits::default());
    assert_eq!([o.target, o.coupling], [65_536; 2]);
    assert_eq!([o.alpha, o.beta, o.tupdate], [131_072, 32_768, 16_384]);
}
