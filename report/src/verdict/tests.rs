use super::*;
use l4sllm_testbed::sim::Random;

/// Hours of sleep gained by ten patients under two drugs (Student 1908), as in
/// R's `sleep`.
const SLEEP: [[f64; 10]; 2] = [
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
];

fn samples(values: &[f64]) -> Vec<Sample> {
    let sample = |(&value, seed)| Sample { seed, value };
    values.iter().zip(0..).map(sample).collect()
}

/// The same values of repetitions that share no seed with others.
fn unpaired(values: &[f64]) -> Vec<Sample> {
    let sample = |(&value, seed)| Sample { seed, value };
    values.iter().zip(1000..).map(sample).collect()
}

fn of(quantity: Quantity, own: &[f64], reference: &[f64]) -> Judgement {
    judge(quantity, &samples(own), &samples(reference)).unwrap()
}

#[test]
fn intervals_match_r() {
    let [first, second] = SLEEP;
    // t.test(extra ~ group, data = sleep)
    let welch = Interval::welch(&first, &second).unwrap();
    let ends = |of: Interval| {
        [
            of.mean - of.half_width.unwrap(),
            of.mean + of.half_width.unwrap(),
        ]
    };
    for (found, known) in ends(welch).into_iter().zip([-3.365_483_2, 0.205_483_2]) {
        assert!((found - known).abs() < 1e-5, "{found}");
    }
    // t.test(first, second, paired = TRUE)
    let paired = of(Quantity::Utilisation, &first, &second);
    for (found, known) in ends(paired.difference)
        .into_iter()
        .zip([-2.459_885_8, -0.700_114_2])
    {
        assert!((found - known).abs() < 1e-5, "{found}");
    }
    assert_eq!((paired.verdict, paired.count), (Verdict::Worse, 10));
    let apart = judge(Quantity::Utilisation, &samples(&first), &unpaired(&second)).unwrap();
    assert_eq!((apart.verdict, apart.count), (Verdict::Unclear, 10));
    assert_eq!(apart.difference, welch);
}

#[test]
fn one_repetition_gives_no_verdict_for_any_difference() {
    let one = of(Quantity::Utilisation, &[50.0], &[99.0]);
    assert_eq!(one.verdict, Verdict::NoConclusion);
    assert_eq!(one.difference.half_width, None);
    assert_eq!(one.shown(), "\u{2212}49\u{a0}pt");
    // Two repetitions, one of them without a counterpart.
    let partial = of(Quantity::Utilisation, &[50.0, 50.0], &[99.0]);
    assert_eq!((partial.verdict, partial.count), (Verdict::NoConclusion, 1));
    let apart = judge(
        Quantity::Utilisation,
        &samples(&[50.0, 50.0]),
        &unpaired(&[99.0]),
    );
    assert_eq!(apart.unwrap().verdict, Verdict::NoConclusion);
    assert_eq!(judge(Quantity::Delay, &[], &samples(&[1.0])), None);
}

#[test]
fn a_verdict_needs_certainty_and_size() {
    let verdict =
        |own: &[f64], reference: &[f64]| of(Quantity::Utilisation, own, reference).verdict;
    assert_eq!(
        verdict(&[50.0, 51.0, 50.5], &[99.0, 99.0, 99.0]),
        Verdict::Worse
    );
    assert_eq!(
        verdict(&[99.0, 99.0, 99.0], &[50.0, 51.0, 50.5]),
        Verdict::Better
    );
    // Certain, but less than a tenth of a point.
    assert_eq!(
        verdict(&[99.00, 99.01, 99.02], &[99.05, 99.06, 99.07]),
        Verdict::Same
    );
    // Certainly less than a tenth of a point, but possibly zero.
    assert_eq!(
        verdict(&[99.00, 99.01, 99.02], &[99.01, 99.00, 99.02]),
        Verdict::Same
    );
    assert_eq!(
        verdict(&[90.0, 98.0, 95.0], &[92.0, 97.0, 97.0]),
        Verdict::Unclear
    );
    assert_eq!(verdict(&[99.0, 99.0], &[99.0, 99.0]), Verdict::Same);
}

#[test]
fn less_delay_and_fewer_drops_are_better() {
    assert_eq!(
        of(Quantity::Delay, &[10.0, 10.1], &[15.0, 15.1]).verdict,
        Verdict::Better
    );
    assert_eq!(
        of(Quantity::Drops, &[7.5, 7.6], &[3.5, 3.5]).verdict,
        Verdict::Worse
    );
    // A hundredth of a millisecond is 6 % here, but irrelevant.
    assert_eq!(
        of(Quantity::Delay, &[0.18, 0.18], &[0.17, 0.17]).verdict,
        Verdict::Same
    );
}

#[test]
fn effect_sizes_distinguish_large_and_small_losses() {
    let large = of(Quantity::Utilisation, &[50.0, 50.2], &[99.0, 99.4]);
    let small = of(Quantity::Utilisation, &[99.0, 99.0], &[99.2, 99.2]);
    assert_eq!(large.shown(), "\u{2212}49\u{a0}\u{b1}\u{a0}1.3\u{a0}pt");
    assert_eq!(small.shown(), "\u{2212}0.2\u{a0}\u{b1}\u{a0}0\u{a0}pt");
    assert!(large.loss() > 9.0 && small.loss() < 0.1);
    assert_eq!(
        of(Quantity::Delay, &[12.5, 12.5], &[10.0, 10.0]).shown(),
        "+25\u{a0}\u{b1}\u{a0}0\u{a0}%"
    );
    assert_eq!(
        of(Quantity::Delay, &[138.0, 138.0], &[0.5, 0.5]).shown(),
        "\u{d7}\u{a0}276"
    );
    assert_eq!(
        of(Quantity::Delay, &[1.0, 1.0], &[0.0, 0.0]).shown(),
        "from 0 to 1.00"
    );
    assert_eq!(
        of(Quantity::Jain, &[0.934, 0.934], &[0.953, 0.953]).shown(),
        "\u{2212}0.019\u{a0}\u{b1}\u{a0}0.000"
    );
}

/// Draws a value around 0.
type Draw = fn(&mut Random) -> f64;

fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}

/// Share of trials in which two samples of the same distribution get a verdict.
fn false_verdicts(draw: Draw, counts: [usize; 2], paired: bool, trials: usize) -> f64 {
    let mut random = Random::stream(1, "null");
    let mut found = 0;
    for _ in 0..trials {
        // Large numbers, so that only certainty decides, not relevance.
        let mut values =
            |count: usize| -> Vec<f64> { (0..count).map(|_| 1e4 * draw(&mut random)).collect() };
        let (own, reference) = (values(counts[0]), values(counts[1]));
        let reference = match paired {
            true => samples(&reference),
            false => unpaired(&reference),
        };
        let judgement = judge(Quantity::Utilisation, &samples(&own), &reference).unwrap();
        found += usize::from(matches!(
            judgement.verdict,
            Verdict::Better | Verdict::Worse
        ));
    }
    found as f64 / trials as f64
}

#[test]
fn false_positive_rate_is_at_most_5_percent() {
    const TRIALS: usize = 10_000;
    // Student's t is exact only for normal values; 0.7 % allows for the
    // variation of 10,000 trials.
    const ALLOWED: f64 = 0.057;
    let uniform: Draw = |random| random.unit() - 0.5;
    let log_normal: Draw = |random| (0.5 * normal(random)).exp();
    for count in [2, 3, 5, 10] {
        for (name, draw) in [("normal", normal as Draw), ("log-normal", log_normal)] {
            for paired in [true, false] {
                let share = false_verdicts(draw, [count, count], paired, TRIALS);
                assert!(
                    share <= ALLOWED,
                    "{name}, {count}, paired {paired}: {share}"
                );
            }
        }
    }
    assert!(false_verdicts(uniform, [10, 10], true, TRIALS) <= 0.06);
    // Satterthwaite's degrees of freedom are an approximation, worst where
    // counts differ.
    assert!(false_verdicts(normal, [3, 10], false, TRIALS) <= 0.07);
    // The level must also be reached: an interval that is too wide hides real
    // differences.
    assert!(false_verdicts(normal, [5, 5], true, TRIALS) > 0.04);
    assert_eq!(false_verdicts(normal, [1, 1], true, 1000), 0.0);
}

#[test]
fn real_differences_are_found() {
    let mut random = Random::stream(2, "power");
    let found = (0..2000).filter(|_| {
        let mut values =
            |mean: f64| -> Vec<f64> { (0..5).map(|_| mean + normal(&mut random)).collect() };
        let (own, reference) = (values(95.0), values(99.0));
        of(Quantity::Utilisation, &own, &reference).verdict == Verdict::Worse
    });
    assert!(found.count() > 1900, "four standard deviations, five pairs");
}
