use super::*;
use l4sllm_model::RuleFacts;

/// An arm with these utilisations (shares), drop shares and a median classic
/// delay in ms per repetition.
pub(crate) fn arm(name: &str, interval: Option<u32>, runs: &[(f64, f64)], classic: f64) -> Arm {
    let statistics = |(utilisation, drops): (f64, f64)| {
        let mut statistics = Statistics {
            utilisation,
            drop_share: Some(drops),
            ..Statistics::default()
        };
        statistics.queue_delay_ms.classic.p50 = Some(classic);
        statistics
    };
    let repetitions = runs.iter().zip(0..).map(|(&run, repetition)| Repetition {
        repetition,
        seed: 100 + u64::from(repetition),
        statistics: statistics(run),
    });
    Arm {
        name: name.to_owned(),
        aqm: "dualpi2".to_owned(),
        interval,
        policy: None,
        pooled: statistics(runs[0]),
        repetitions: repetitions.collect(),
    }
}

/// Three repetitions with small differences.
pub(crate) fn steady(name: &str, interval: Option<u32>, of: (f64, f64), classic: f64) -> Arm {
    let runs = [0.0, 0.0002, 0.0001].map(|more| (of.0 + more, of.1 + more / 4.0));
    arm(name, interval, &runs, classic)
}

/// Facts and summary with these arms; the usual two are the baselines.
pub(crate) fn results(arms: Vec<Arm>) -> (Facts, Summary) {
    let names: Vec<_> = arms
        .iter()
        .map(|arm| (arm.name.as_str(), arm.interval))
        .collect();
    let facts = l4sllm_testbed::result::fixture::facts(&names, arms[0].repetitions.len() as u32);
    let summary = Summary {
        warnings: Vec::new(),
        version: String::new(),
        seed: 0,
        scenario: String::new(),
        policy: None,
        complete: true,
        repetitions: facts.repetitions,
        arms,
    };
    (facts, summary)
}

#[test]
fn more_utilisation_and_less_delay_are_better_and_drops_are_a_cost() {
    let low = steady("low", None, (0.95, 0.02), 10.0);
    let high = steady("high", None, (0.98, 0.01), 20.0);
    let verdicts = |own, reference| -> Vec<(Metric, Verdict)> {
        let pair = Pair::of(own, reference);
        let verdict = |of: &Difference| (of.metric, of.judgement.verdict);
        pair.differences.iter().map(verdict).collect()
    };
    assert_eq!(
        verdicts(&low, &high),
        [
            (Metric::Utilisation, Verdict::Worse),
            (Metric::Drops, Verdict::Worse),
            (Metric::ClassicP50, Verdict::Better)
        ]
    );
    assert_eq!(
        verdicts(&high, &low),
        [
            (Metric::Utilisation, Verdict::Better),
            (Metric::Drops, Verdict::Better),
            (Metric::ClassicP50, Verdict::Worse)
        ]
    );
}

#[test]
fn a_lone_jump_of_a_pooled_quantile_does_not_count() {
    let mut a = steady("a", None, (0.9, 0.01), 0.5);
    let b = steady("b", None, (0.9, 0.01), 0.5);
    a.pooled.queue_delay_ms.classic.p50 = Some(1.0);
    let pair = Pair::of(&a, &b);
    let delay = pair.find(Metric::ClassicP50).unwrap();
    assert_eq!(delay.judgement.verdict, Verdict::Same);
    assert_eq!(pair.standing(), Standing::Same);
}

#[test]
fn a_metric_that_one_arm_lacks_is_not_compared() {
    let a = steady("a", None, (0.9, 0.01), 1.0);
    let mut b = steady("b", None, (0.9, 0.01), 1.0);
    for repetition in &mut b.repetitions {
        repetition.statistics.queue_delay_ms.classic.p50 = None;
    }
    assert_eq!(Pair::of(&a, &b).find(Metric::ClassicP50), None);
}

#[test]
fn compares_with_every_baseline_worst_first() {
    let (facts, summary) = results(vec![
        steady("dualpi2", None, (0.99, 0.01), 15.0),
        steady("dualpi2-tuned", None, (0.988, 0.011), 10.0),
        steady("fifo", None, (0.99, 0.0), 80.0),
        steady("l4sllm-10", Some(10), (0.98, 0.01), 9.0),
        steady("l4sllm-100", Some(100), (0.50, 0.01), 9.0),
    ]);
    let comparison = Comparison::of(&facts, &summary);
    let rows: Vec<_> = comparison
        .pairs
        .iter()
        .map(|pair| (pair.arm.name.as_str(), pair.baseline.name.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            ("l4sllm-100", "dualpi2"),
            ("l4sllm-100", "dualpi2-tuned"),
            ("l4sllm-10", "dualpi2"),
            ("l4sllm-10", "dualpi2-tuned"),
            ("dualpi2-tuned", "dualpi2"),
        ]
    );
    assert!(comparison.is_conclusive());
}

/// Every comparison includes plain, tuned, the rule and the policy; policies
/// are also compared with the rule.
#[test]
fn rule_is_compared_and_serves_as_a_baseline_for_policies() {
    let (mut facts, summary) = results(vec![
        steady("dualpi2", None, (0.99, 0.01), 15.0),
        steady("dualpi2-tuned", None, (0.99, 0.01), 10.0),
        steady("adaptive", None, (0.99, 0.01), 8.0),
        steady("l4sllm-100", Some(100), (0.99, 0.01), 9.0),
        steady("fifo", None, (0.99, 0.01), 80.0),
    ]);
    facts.arms[2].rule = Some(RuleFacts {
        name: "adaptive".to_owned(),
        preset: "balanced".to_owned(),
        period_ns: 100_000_000,
        idle_budget: None,
    });
    let comparison = Comparison::of(&facts, &summary);
    let mut rows: Vec<_> = comparison
        .pairs
        .iter()
        .map(|pair| (pair.arm.name.as_str(), pair.baseline.name.as_str()))
        .collect();
    // The only loss: the policy's delay compared with the rule's.
    assert_eq!(rows[0], ("l4sllm-100", "adaptive"));
    rows.sort_unstable();
    assert_eq!(
        rows,
        [
            ("adaptive", "dualpi2"),
            ("adaptive", "dualpi2-tuned"),
            ("dualpi2-tuned", "dualpi2"),
            ("l4sllm-100", "adaptive"),
            ("l4sllm-100", "dualpi2"),
            ("l4sllm-100", "dualpi2-tuned"),
        ]
    );
}

#[test]
fn incomplete_pairs_are_excluded() {
    let a = arm("a", Some(10), &[(0.5, 0.0), (0.6, 0.0), (0.7, 0.0)], 1.0);
    let mut b = arm("b", None, &[(0.9, 0.0), (0.8, 0.0), (0.9, 0.0)], 1.0);
    b.repetitions.remove(0);
    let pair = Pair::of(&a, &b);
    let utilisation = pair.find(Metric::Utilisation).unwrap().judgement;
    assert_eq!(utilisation.count, 2);
    assert!(
        (utilisation.value - 65.0).abs() < 1e-9,
        "the first is left out"
    );
    b.repetitions.remove(0);
    assert_eq!(Pair::of(&a, &b).standing(), Standing::NoConclusion);
}
