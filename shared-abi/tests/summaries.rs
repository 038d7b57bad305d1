//! Summaries are a monoid: merging neighbours gives the summary of both
//! intervals.

#![allow(clippy::unwrap_used)]

use l4sllm_abi::bytes::from_bytes;
use l4sllm_abi::{AbiError, Message, Queue, SUMMARY_SIZE, Summary, header, raw};
use proptest::prelude::*;

/// One packet, and the controller's updates until the next.
#[derive(Debug, Clone)]
struct Step {
    gap_ns: u64,
    idle_ns: u64,
    queue: usize,
    bytes: u64,
    sojourn_ns: u64,
    marked: bool,
    flow: usize,
    p: u32,
    rate_log: u64,
}

prop_compose! {
    fn step()(
        gap_ns in 1..1_000_000u64, idle in 0..=100u64, queue in 0..2usize, bytes in 40..9000u64,
        sojourn_ns in 0..5_000_000_000u64, marked: bool, flow in 0..256usize,
        p in 0..=raw::L4S_PROB_ONE, rate_log in 0..2_000_000u64,
    ) -> Step {
        Step { gap_ns, idle_ns: gap_ns * idle / 100, queue, bytes, sojourn_ns, marked, flow, p, rate_log }
    }
}

/// Folds steps into a summary, like the queue; `begin_ns` and `p` are the
/// values at its beginning.
fn fold(begin_ns: u64, p: u32, seq: u64, steps: &[Step]) -> Summary {
    let mut s = raw::l4s_summary {
        hdr: header(raw::L4S_RECORD_SUMMARY, seq, begin_ns),
        begin_ns,
        p_begin: p,
        p_end: p,
        p_max: p,
        target_ns: 15_000_000,
        tupdate_ns: 16_000_000,
        ..Default::default()
    };
    s.queue.iter_mut().for_each(|q| q.sojourn_min_ns = u64::MAX);
    for step in steps {
        s.hdr.time_ns += step.gap_ns;
        s.idle_ns += step.idle_ns;
        s.decisions += 1;
        s.updates += 1;
        s.p_sum += u64::from(step.p);
        s.p_variation += u64::from(step.p.abs_diff(s.p_end));
        s.p_end = step.p;
        s.p_max = s.p_max.max(step.p);
        s.target_ns = u64::from(step.p) + 1;
        s.rate_windows += 1;
        s.rate_log_sum += step.rate_log;
        s.rate_log_sq += (step.rate_log * step.rate_log) >> 16;
        let q = &mut s.queue[step.queue];
        q.arrived += 1;
        q.arrived_bytes += step.bytes;
        q.forwarded += 1;
        q.forwarded_bytes += step.bytes;
        q.marks_aqm += u64::from(step.marked);
        q.sojourn_sum_ns += step.sojourn_ns;
        q.sojourn_sq += (step.sojourn_ns >> raw::L4S_SOJOURN_SHIFT).pow(2);
        q.sojourn_min_ns = q.sojourn_min_ns.min(step.sojourn_ns);
        q.sojourn_max_ns = q.sojourn_max_ns.max(step.sojourn_ns);
        q.backlog = step.flow as u32;
        q.backlog_max = q.backlog_max.max(step.flow as u32);
        q.flows[step.flow / 64] |= 1 << (step.flow % 64);
    }
    // Values "at the end" are set for both queues, whether or not they had
    // packets.
    let last = steps.last().map_or(0, |step| step.flow as u32);
    s.queue.iter_mut().for_each(|q| q.backlog = last);
    Summary::try_from(s).unwrap()
}

/// Arbitrary counters, in an interval that joins its neighbours.
fn arbitrary(times: [u64; 2]) -> impl Strategy<Value = Summary> {
    any::<[u8; SUMMARY_SIZE]>().prop_map(move |bytes| {
        let s: raw::l4s_summary = from_bytes(&bytes).unwrap();
        Summary::try_from(raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, s.hdr.seq, times[1]),
            begin_ns: times[0],
            idle_ns: s.idle_ns % (times[1] - times[0] + 1),
            p_begin: s.p_begin >> 1,
            p_end: s.p_end >> 1,
            p_max: s.p_max >> 1,
            status: s.status & 0x3f,
            target_ns: s.target_ns | 1,
            tupdate_ns: s.tupdate_ns | 1,
            pad: 0,
            ..s
        })
        .unwrap()
    })
}

fn merged(parts: &[Summary]) -> Summary {
    let mut whole = parts[0];
    parts[1..].iter().for_each(|part| whole.merge(part));
    whole
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn merging_equals_folding_once(
        steps in prop::collection::vec(step(), 1..60), cuts in prop::collection::vec(0..60usize, 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| 1 + cut % steps.len()).collect();
        cuts.extend([0, steps.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let (mut at, mut p, mut parts) = (7, 0, Vec::new());
        for cut in cuts.windows(2) {
            let part = fold(at, p, 3 + parts.len() as u64, &steps[cut[0]..cut[1]]);
            (at, p) = (part.end_ns(), part.p_end);
            parts.push(part);
        }
        let whole = fold(7, 0, 2 + parts.len() as u64, &steps);
        prop_assert_eq!(merged(&parts), whole);
    }

    #[test]
    fn merging_is_associative(
        a in arbitrary([10, 500]), b in arbitrary([500, 501]), c in arbitrary([501, 9_000]),
    ) {
        let mut right = b;
        right.merge(&c);
        prop_assert_eq!(merged(&[merged(&[a, b]), c]), merged(&[a, right]));
    }

    #[test]
    fn bytes_are_rejected_or_round_trip(
        summary in arbitrary([10, 500]), at in 0..SUMMARY_SIZE, value: u8,
    ) {
        let mut bytes = summary.to_bytes();
        bytes[at] = value;
        if let Ok(read) = Message::from_bytes(&bytes) {
            let mut written = read.to_bytes();
            written[..2].copy_from_slice(&bytes[..2]);
            prop_assert_eq!(written, bytes);
        }
    }
}

#[test]
fn rejects_invalid_summaries() {
    let good = *fold(5, 0, 0, &[]).raw();
    type Change = fn(&mut raw::l4s_summary);
    let refused: [(&str, Change); 7] = [
        ("begin_ns", |s| s.begin_ns = 6),
        ("idle_ns", |s| s.idle_ns = 1),
        ("p_end", |s| s.p_end = 1 << 31),
        ("status", |s| s.status = 1 << 20),
        ("target_ns", |s| s.target_ns = 0),
        ("tupdate_ns", |s| s.tupdate_ns = 0),
        ("pad", |s| s.pad = 1),
    ];
    for (field, change) in refused {
        let mut bad = good;
        change(&mut bad);
        match Summary::try_from(bad) {
            Err(AbiError::Range { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let mut short = good;
    short.hdr.length = 168;
    assert!(matches!(
        Summary::try_from(short),
        Err(AbiError::Length { want: 512, .. })
    ));
}

#[test]
fn moments_come_from_the_sums() {
    let packet = |queue, sojourn_ns, bytes| Step {
        gap_ns: 1_000_000,
        idle_ns: 250_000,
        queue,
        bytes,
        sojourn_ns,
        marked: queue == 0,
        flow: queue * 100 + sojourn_ns as usize % 7,
        p: raw::L4S_PROB_ONE / 4,
        rate_log: 20 << 16, // 2^20 bytes a second
    };
    let steps = [
        packet(0, 10_000_000, 1500),
        packet(0, 14_000_000, 1500),
        packet(1, 500_000, 1000),
    ];
    let s = fold(0, 0, 0, &steps);
    assert_eq!((s.duration_ns(), s.busy_ns()), (3_000_000, 2_250_000));
    assert_eq!(s.l4s_share(), Some(0.25));
    assert!((s.drain_rate().unwrap() - 4000.0 / 0.00225).abs() < 1e-6);
    assert!((s.p_mean().unwrap() - 0.25).abs() < 1e-9);
    assert!((s.p_variation() - 0.25).abs() < 1e-9);
    let (windows, sum, squares) = s.rate_moments();
    let ln = 20.0 * std::f64::consts::LN_2;
    assert!((sum / windows - ln).abs() < 1e-9);
    assert!((squares / windows - ln * ln).abs() < 1e-3);
    let classic = s.queue(Queue::Classic);
    assert_eq!(classic.mean_sojourn_ns(), Some(12e6));
    // Squares are computed from times rounded down to 1024 ns.
    assert!((classic.sojourn_sd_ns().unwrap() - 2e6).abs() < 2e3);
    assert_eq!(classic.sojourn_range_ns(), Some((10_000_000, 14_000_000)));
    assert_eq!((classic.signals(), s.queue(Queue::L4s).signals()), (2, 0));

    let nothing = fold(0, 0, 0, &[]);
    assert_eq!(nothing.l4s_share(), None);
    assert_eq!(nothing.drain_rate(), None);
    assert_eq!(nothing.p_mean(), None);
    let queue = nothing.queue(Queue::L4s);
    assert_eq!(queue.mean_sojourn_ns(), None);
    assert_eq!(queue.sojourn_sd_ns(), None);
    assert_eq!(queue.sojourn_range_ns(), None);
    assert_eq!(queue.flows(), 0.0);
}

/// Linear counting's standard error at 64 flows in 256 bits is below 4 %.
#[test]
fn flows_are_estimated_by_linear_counting() {
    let mut raw = *fold(0, 0, 0, &[]).raw();
    for flow in 0..64u64 {
        let bit = (flow.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
        raw.queue[1].flows[bit / 64] |= 1 << (bit % 64);
    }
    let summary = Summary::try_from(raw).unwrap();
    let flows = summary.queue(Queue::L4s).flows();
    assert!((flows - 64.0).abs() < 12.0, "{flows}");
    raw.queue[1].flows = [u64::MAX; 4];
    let full = Summary::try_from(raw).unwrap();
    assert!(full.queue(Queue::L4s).flows() > 1000.0);
}

/// Counters have no range, as in the kernel.
#[test]
fn counter_sums_wrap() {
    let mut raw = *fold(0, 0, 0, &[]).raw();
    let q = &mut raw.queue[0];
    (q.marks_aqm, q.marks_native) = (u64::MAX, 3);
    (q.drops_tail, q.drops_aqm, q.drops_flush) = (u64::MAX, 5, u64::MAX);
    let summary = Summary::try_from(raw).unwrap();
    let q = summary.queue(Queue::Classic);
    assert_eq!((q.marks(), q.drops(), q.signals()), (2, 3, 6));
}
