//! A student in the queue.

use l4sllm_abi::{Decoder, Ecn, Interval, Limits, Message, Params, Streams, SummaryInterval, raw};
use l4sllm_model::SplitMix64;
use l4sllm_model::student::{OUTPUTS, SIGNALS, Student, StudentInput, StudentState, StudentUnit};
use l4sllm_testbed::aqm::{Aqm as _, Packet};
use l4sllm_testbed::router::Router;
use l4sllm_testbed::scenario::{Arm, ArmStudent};

use crate::support::*;

/// A network with random weights, whose set-points vary within and around the
/// limits.
fn random_student(random: &mut SplitMix64) -> Student {
    let mut below = |n: u64| random.next_u64() % n;
    let count = 1 + below(96) as usize;
    let inputs: Vec<StudentInput> = (0..count)
        .map(|_| StudentInput {
            signal: below(SIGNALS as u64) as u8,
            scale: below(4) as u8,
            mean: below(24 << 16) as i32,
            gain: below(1 << 14) as i32 - (1 << 13),
        })
        .collect();
    let hidden = [1 + below(64) as usize, 1 + below(64) as usize];
    let sizes = [
        (count, hidden[0]),
        (hidden[0], hidden[1]),
        (hidden[1], OUTPUTS),
    ];
    let weights = sizes.map(|(columns, rows)| {
        (0..columns * rows)
            .map(|_| (below(255) as i32 - 127) as i8)
            .collect()
    });
    let mut layer = 0;
    let units = sizes.map(|(_, rows)| {
        layer += 1;
        let (scale, bias, spread) = match layer {
            3 => (1 << 22, 18 << 16, 6 << 16),
            _ => (1 << 20, -(1 << 12), 1 << 13),
        };
        let unit = |_| StudentUnit {
            scale: below(scale) as i32,
            bias: bias + below(spread) as i32,
        };
        (0..rows).map(unit).collect()
    });
    Student {
        name: "random".to_owned(),
        teacher: [0; 32],
        period_ns: (16 + below(300)) * MS,
        idle_budget: 1000 + below(19_000) as u32,
        tupdate_ns: 4 * MS,
        slow_tupdate_ns: 16 * MS,
        slow_from: (23 << 16) + below(1 << 16) as i32,
        bounds: [(0, 40 << 16); OUTPUTS],
        inputs,
        units,
        weights,
    }
}

/// The set-points in force by the steer override `o`, as the queue computes them.
fn shifted(params: &Params, o: &raw::l4s_override) -> [u64; 5] {
    let of = |base: u64, factor: u32, bit: u32, least: u64, most: u64| match u32::from(o.steer_set)
        & bit
    {
        0 => base,
        _ => ((base * u64::from(factor)) >> 16).clamp(least, most),
    };
    let gain = u64::from(u32::MAX);
    let (alpha, beta) = (u64::from(params.alpha_uhz), u64::from(params.beta_uhz));
    [
        of(
            params.target_ns,
            o.target,
            raw::L4S_STEER_TARGET,
            1000,
            5000 * MS,
        ),
        of(
            params.tupdate_ns,
            o.tupdate,
            raw::L4S_STEER_TUPDATE,
            MS / 10,
            1000 * MS,
        ),
        of(alpha, o.alpha, raw::L4S_STEER_ALPHA, 0, gain),
        of(beta, o.beta, raw::L4S_STEER_BETA, 0, gain),
        of(
            u64::from(params.coupling_q8),
            o.coupling,
            raw::L4S_STEER_COUPLING,
            256,
            65_535,
        ),
    ]
}

/// For random networks and random traffic with pauses, the queue has the set-points
/// that the reference computes from the queue's summaries.
#[test]
fn queue_and_reference_agree_to_the_bit() {
    let mut random = SplitMix64::new(9);
    let (mut decided, mut different) = (0, 0);
    for number in 0..40 {
        let student = random_student(&mut random);
        let params = Params::default();
        let limits = Limits::default();
        let mut router = Router::new(&params, &limits, 1 << 12, number).unwrap();
        let mut handle = router.open().unwrap();
        let streams = Streams::Summaries(SummaryInterval {
            period_ns: 5 * MS,
            decisions: 0,
        });
        let interval = Interval {
            streams,
            ..Interval::of_records(1)
        };
        handle.interval(interval, 0).unwrap();
        let student = ArmStudent::new(student).unwrap();
        handle.enable_student(&student, 0).unwrap();
        let network = student.student();
        let mut state = StudentState::default();
        let mut expected = None;
        let mut decoder = Decoder::new();
        let mut now = 0;
        let (mut drops, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        for packet in 0..20_000u64 {
            now += random.next_u64()
                % match packet % 1000 {
                    0 => 3000 * MS,
                    1..100 => 2 * MS,
                    _ => MS,
                };
            let ecn = match random.next_u64() % 3 {
                0 => Ecn::Ect1,
                1 => Ecn::Ect0,
                _ => Ecn::NotEct,
            };
            let packet = Packet {
                cookie: packet,
                flow: (random.next_u64() % 20) as u32,
                bytes: 1500,
                ecn,
                dscp: 0,
            };
            router.enqueue(now, packet, &mut drops);
            if random.next_u64() % 5 < 3 {
                router.dequeue(now, &mut drops);
            }
            let got = handle.read(&mut buffer, now).unwrap();
            for message in decoder.messages(&buffer[..got]) {
                let summary = match message.unwrap() {
                    Message::Summary(summary) => summary,
                    Message::Loss { .. } => panic!("a summary was lost"),
                    _ => continue,
                };
                let budget = network.idle_budget;
                if state.add(&summary, network.period_ns, budget) {
                    let o = network.decide(&state, &params, &limits);
                    expected = Some(shifted(&params, &o));
                    decided += 1;
                }
            }
            // Expired decisions and delays above the ceiling are not compared.
            let status = handle.student(now).unwrap();
            if let (Some(expected), 1) = (expected, status.steering) {
                let p = router.set_points();
                let got = [
                    p.target_ns,
                    p.tupdate_ns,
                    u64::from(p.alpha_uhz),
                    u64::from(p.beta_uhz),
                    u64::from(p.coupling_q8),
                ];
                assert_eq!(got, expected, "network {number} at {now}");
                different += u64::from(got[0] != params.target_ns);
            }
        }
    }
    assert!(
        decided > 1000 && different > 10_000,
        "{decided} {different}"
    );
}

#[test]
fn a_run_with_a_student_reports_it() {
    let mut random = SplitMix64::new(3);
    let arm = Arm {
        student: ArmStudent::new(random_student(&mut random)),
        ..Arm::dualpi2("student", Params::default())
    };
    let flows = vec![flow(l4sllm_testbed::transport::Cc::Cubic)];
    let scenario = scenario(20 * MBIT, 20 * MS, 5, flows);
    let got = run(&scenario, &arm);
    assert!(got.set_points.len() > 5, "{}", got.set_points.len());
    assert_eq!(run(&scenario, &arm).packets, got.packets);
}
