use super::*;
use crate::result::fixture::{Shape, run};
use crate::result::{DecisionRow, FlowMeta, RateStep, Transfers};

const SHAPE: Shape = Shape {
    classic_ns: 15_000_000,
    l4s_ns: 900_000,
    idle: 5,
    interval: Some(10),
};

/// A literal implementation of the definition.
fn naive_quantile(values: &[u64], q: f64) -> Option<u64> {
    let enough = |candidate: u64| {
        let covered = values.iter().filter(|&&value| value <= candidate).count();
        covered as f64 >= q * values.len() as f64
    };
    values
        .iter()
        .copied()
        .filter(|&candidate| enough(candidate))
        .min()
}

#[test]
fn quantiles_match_the_definition() {
    let mut state = 1u64;
    for length in [1, 2, 3, 10, 99, 100, 101, 257] {
        let mut values: Vec<u64> = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 40) % 50
            })
            .collect();
        values.sort_unstable();
        for q in [0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0] {
            assert_eq!(
                quantile(&values, q),
                naive_quantile(&values, q),
                "{q} of {values:?}"
            );
        }
    }
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn jain_is_one_for_equal_flows_and_one_over_n_for_a_monopoly() {
    assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
    assert_eq!(jain(&[5.0, 0.0, 0.0, 0.0]), Some(0.25));
    assert_eq!(jain(&[1.0]), None);
    assert_eq!(jain(&[0.0, 0.0]), None);
}

#[test]
fn statistics_match_the_rows() {
    let run = run(3, 5, SHAPE);
    let summary = summarise(0, &run);
    let measured = run
        .packets
        .iter()
        .filter(|row| row.time_ns >= run.meta.start_ns);
    let measured: Vec<_> = measured.collect();
    let of_queue = |queue: Option<u8>| -> Vec<u64> {
        let own = measured
            .iter()
            .filter(|row| queue.is_none_or(|queue| row.queue == queue));
        own.filter(|row| row.forwarded())
            .map(|row| row.sojourn_ns)
            .collect()
    };
    let delays = &summary.statistics.queue_delay_ms;
    for (queue, delay) in [
        (Some(0), delays.classic),
        (Some(1), delays.l4s),
        (None, delays.all),
    ] {
        let values = of_queue(queue);
        for (q, found) in [(0.5, delay.p50), (0.9, delay.p90), (0.99, delay.p99)] {
            let exact = naive_quantile(&values, q).unwrap() as f64 / 1e6;
            assert!(
                (found.unwrap() / exact - 1.0).abs() <= 1.0 / 8192.0,
                "{found:?}"
            );
        }
        let mean = values.iter().sum::<u64>() as f64 / values.len() as f64 / 1e6;
        assert!((delay.mean.unwrap() - mean).abs() < 1e-9);
    }
    assert_eq!(
        summary.statistics.drops,
        measured.iter().filter(|row| row.dropped()).count() as u64
    );
    let left = measured
        .iter()
        .filter(|row| row.time_ns < run.meta.end_ns)
        .count();
    assert_eq!(
        summary.statistics.drop_share,
        Some(summary.statistics.drops as f64 / left as f64)
    );
    assert_eq!(
        summary.statistics.marks,
        measured.iter().filter(|row| row.marked()).count() as u64
    );
    let by_flow: u64 = summary.statistics.flows.iter().map(|flow| flow.marks).sum();
    assert_eq!(by_flow, summary.statistics.marks);
    let sent: u64 = measured
        .iter()
        .filter(|row| row.forwarded())
        .map(|row| u64::from(row.bytes) * 8)
        .sum();
    let expected = sent as f64 / (8e6 * 4.0);
    let error = (summary.statistics.utilisation - expected).abs();
    assert!(
        error < 1e-3,
        "{} or {expected}",
        summary.statistics.utilisation
    );
}

#[test]
fn utilisation_is_relative_to_current_capacity() {
    let mut meta = RunMeta {
        end_ns: 1_000_000_000,
        ..RunMeta::default()
    };
    let half = RateStep {
        from_ns: 500_000_000,
        bits_per_s: 3_000_000,
    };
    meta.capacity = vec![
        RateStep {
            from_ns: 0,
            bits_per_s: 1_000_000,
        },
        half,
    ];
    // One megabit in a second with a capacity of two.
    let row = |index: u64| PacketRow {
        time_ns: index * 12_000_000,
        bytes: 1500,
        ..PacketRow::default()
    };
    let packets = (0..83).map(row).collect();
    let summary = summarise(
        0,
        &Run {
            meta,
            packets,
            ..Run::default()
        },
    );
    assert!((summary.statistics.utilisation - 83.0 * 12_000.0 / 2e6).abs() < 1e-9);
}

#[test]
fn pooled_quantiles_are_over_all_rows() {
    let delays = |values: &[u64]| Samples {
        distributions: Distributions {
            sojourn_ns: [Histogram::of(values), Histogram::default()],
            ..Distributions::default()
        },
        ..Samples::default()
    };
    // Nine short ones and one long one, unevenly spread over two repetitions.
    let (a, b) = (delays(&[1_000_000; 9]), delays(&[100_000_000]));
    let pooled = pool(&[&a, &b]);
    let near = |found: Option<f64>, ms: f64| (found.unwrap() / ms - 1.0).abs() <= 1.0 / 8192.0;
    assert!(near(pooled.queue_delay_ms.classic.p50, 1.0));
    assert!(near(pooled.queue_delay_ms.classic.p99, 100.0));
    assert_eq!(pooled.queue_delay_ms.l4s.p50, None);
}

#[test]
fn pooling_keeps_a_single_repetition_and_ignores_order() {
    let runs = [run(1, 3, SHAPE), run(2, 3, SHAPE)];
    let [a, b] = runs.each_ref().map(Samples::of);
    assert_eq!(pool(&[&a]), summarise(0, &runs[0]).statistics);
    let (ab, ba) = (pool(&[&a, &b]), pool(&[&b, &a]));
    assert_eq!(ab.queue_delay_ms, ba.queue_delay_ms);
    assert_eq!(ab.packets, ba.packets);
    assert!((ab.utilisation - ba.utilisation).abs() < 1e-12);
    assert_eq!(
        ab.drops,
        summarise(0, &runs[0]).statistics.drops + summarise(1, &runs[1]).statistics.drops
    );
}

#[test]
fn alternating_winner_is_not_fair() {
    let repetition = |goodputs: [u64; 2]| {
        let flow = |(index, goodput_bytes): (usize, u64)| FlowMeta {
            name: format!("flow-{index}"),
            cc: "cubic".to_owned(),
            queue: 0,
            start_ns: 0,
            end_ns: 1_000_000_000,
            goodput_bytes,
            retransmits: 0,
            fair: true,
            transfers: None,
        };
        let flows = goodputs.into_iter().enumerate().map(flow).collect();
        Samples::of(&Run {
            meta: RunMeta {
                end_ns: 1_000_000_000,
                flows,
                ..RunMeta::default()
            },
            ..Run::default()
        })
    };
    let (a, b) = (repetition([1000, 0]), repetition([0, 1000]));
    assert_eq!(pool(&[&a, &b]).jain, Some(0.5));
}

/// Completion times of all repetitions are pooled; unfinished transfers are
/// counted but excluded.
#[test]
fn completion_times_are_pooled() {
    let repetition = |finished_ns: Vec<u64>, unfinished| {
        let web = FlowMeta {
            name: "web".to_owned(),
            cc: "cubic".to_owned(),
            queue: 0,
            start_ns: 0,
            end_ns: 1_000_000_000,
            goodput_bytes: 0,
            retransmits: 0,
            fair: false,
            transfers: Some(Transfers {
                finished_ns,
                unfinished,
            }),
        };
        let mut bulk = web.clone();
        bulk.name = "bulk".to_owned();
        bulk.transfers = None;
        Samples::of(&Run {
            meta: RunMeta {
                end_ns: 1_000_000_000,
                flows: vec![web, bulk],
                ..RunMeta::default()
            },
            ..Run::default()
        })
    };
    let ms = |from: u64, to: u64| (from..=to).map(|ms| ms * 1_000_000).collect();
    let (a, b) = (repetition(ms(1, 50), 2), repetition(ms(51, 100), 1));
    let pooled = pool(&[&a, &b]);
    let web = pooled.flows[0].completions.unwrap();
    assert_eq!((web.finished, web.unfinished), (100, 3));
    for (got, want) in [
        (web.mean_ms, 50.5),
        (web.p50_ms, 50.0),
        (web.p95_ms, 95.0),
        (web.p99_ms, 99.0),
    ] {
        assert_eq!(got, Some(want));
    }
    assert_eq!(pooled.flows[1].completions, None);
    let none = repetition(Vec::new(), 4);
    let none = pool(&[&none]).flows[0].completions.unwrap();
    assert_eq!((none.finished, none.unfinished, none.mean_ms), (0, 4, None));
}

#[test]
fn rows_outside_the_measured_time_are_excluded() {
    let meta = RunMeta {
        start_ns: 1_000,
        end_ns: 2_000,
        capacity: vec![RateStep {
            from_ns: 0,
            bits_per_s: 8_000_000_000,
        }],
        ..RunMeta::default()
    };
    let row = |time_ns| PacketRow {
        time_ns,
        bytes: 1,
        sojourn_ns: time_ns,
        action: 2,
        ..PacketRow::default()
    };
    let decision = |time_ns| DecisionRow {
        time_ns,
        latency_ns: time_ns,
        action: 0,
    };
    let run = Run {
        meta,
        packets: [500, 1_000, 1_999, 2_000].map(row).to_vec(),
        decisions: [999, 1_500, 2_000].map(decision).to_vec(),
        ..Run::default()
    };
    let statistics = summarise(0, &run).statistics;
    assert_eq!(statistics.marks, 2);
    assert_eq!(statistics.decision_latency_us.p99, Some(1.5));
}
