//! Whether one arm does better than another, and by how much.
//!
//! Repetitions with the same number have the same traffic in every arm, so
//! they are compared in pairs: a difference counts when the mean over pairs is
//! not zero at the 95 % level of Student's t, and is at least one percent of the
//! reference (a tenth of a point of utilisation). With one repetition there is
//! no spread to know, and that least difference alone decides.

use super::format::{number, signed};
use l4sllm_testbed::result::{Arm, Repetition, Statistics};

/// A number that arms are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Utilisation,
    ClassicP50,
    ClassicP99,
    L4sP50,
    L4sP99,
    Jain,
}

/// All of them, in the order of the table.
pub(super) const METRICS: [Metric; 6] = [
    Metric::Utilisation,
    Metric::ClassicP50,
    Metric::ClassicP99,
    Metric::L4sP50,
    Metric::L4sP99,
    Metric::Jain,
];

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    /// Within what repetitions differ by.
    Same,
}

/// One metric of an arm beside that of a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub metric: Metric,
    pub value: f64,
    pub reference: f64,
    pub verdict: Verdict,
}

impl Metric {
    /// Its value, in the unit that it is shown in: percent, ms, or the index.
    pub(super) fn of(self, statistics: &Statistics) -> Option<f64> {
        let delay = &statistics.queue_delay_ms;
        match self {
            Metric::Utilisation => Some(statistics.utilisation * 100.0),
            Metric::ClassicP50 => delay.classic.p50,
            Metric::ClassicP99 => delay.classic.p99,
            Metric::L4sP50 => delay.l4s.p50,
            Metric::L4sP99 => delay.l4s.p99,
            Metric::Jain => statistics.jain,
        }
    }

    /// Whether more is better.
    pub(super) fn rising(self) -> bool {
        matches!(self, Metric::Utilisation | Metric::Jain)
    }

    /// What it is called in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Metric::Utilisation => "utilisation",
            Metric::ClassicP50 => "classic median delay",
            Metric::ClassicP99 => "classic p99 delay",
            Metric::L4sP50 => "L4S median delay",
            Metric::L4sP99 => "L4S p99 delay",
            Metric::Jain => "Jain's index",
        }
    }

    /// Differences smaller than this are not worth a word.
    fn least(self, reference: f64) -> f64 {
        match self {
            Metric::Utilisation => 0.1,
            _ => reference.abs() * 0.01,
        }
    }
}

impl Difference {
    /// How large it is, with sign and unit: points of utilisation, else percent
    /// of the reference, or times it where percents are past reading.
    pub(super) fn shown(&self) -> String {
        let ratio = self.value / self.reference;
        match self.metric {
            Metric::Utilisation => format!("{}\u{a0}pt", signed(self.value - self.reference)),
            _ if self.reference == 0.0 => format!("from 0 to {}", number(self.value)),
            _ if ratio >= 10.0 => format!("\u{d7}\u{a0}{ratio:.0}"),
            _ => format!("{}\u{a0}%", signed((ratio - 1.0) * 100.0)),
        }
    }
}

/// `arm` beside `reference`, in every metric that both have.
pub(super) fn compare(arm: &Arm, reference: &Arm) -> Vec<Difference> {
    METRICS
        .iter()
        .filter_map(|&metric| difference(metric, arm, reference))
        .collect()
}

fn difference(metric: Metric, arm: &Arm, reference: &Arm) -> Option<Difference> {
    let (value, against) = (metric.of(&arm.pooled)?, metric.of(&reference.pooled)?);
    let gain = |value: f64, against: f64| {
        if metric.rising() {
            value - against
        } else {
            against - value
        }
    };
    let pooled = gain(value, against);
    let pairs = pairs(metric, arm, reference);
    let gains: Vec<f64> = pairs.iter().map(|pair| gain(pair.0, pair.1)).collect();
    let mean = mean(&gains).unwrap_or(pooled);
    // Pooled quantiles may jump where those of most pairs do not.
    let agree = mean * pooled > 0.0 && mean.abs() > uncertainty(&gains);
    let verdict = if !agree || pooled.abs() < metric.least(against) {
        Verdict::Same
    } else if pooled > 0.0 {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    Some(Difference {
        metric,
        value,
        reference: against,
        verdict,
    })
}

/// The values of repetitions that both arms have.
fn pairs(metric: Metric, arm: &Arm, reference: &Arm) -> Vec<(f64, f64)> {
    let pair = |own: &Repetition| {
        let mut others = reference.repetitions.iter();
        let other = others.find(|other| other.repetition == own.repetition)?;
        Some((metric.of(&own.statistics)?, metric.of(&other.statistics)?))
    };
    arm.repetitions.iter().filter_map(pair).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Half the width of the 95 % confidence interval of the mean; 0 with fewer
/// than two values.
fn uncertainty(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (Some(mean), true) = (mean(values), values.len() >= 2) else {
        return 0.0;
    };
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    STUDENT.get(values.len() - 2).copied().unwrap_or(2.0) * error
}

/// Student's t, two-sided 95 %, for 1, 2, ... degrees of freedom; about 2 beyond.
const STUDENT: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(utilisations: &[f64], classic_p50: f64) -> Arm {
        let statistics = |utilisation: f64| {
            let mut statistics = Statistics {
                utilisation,
                ..Statistics::default()
            };
            statistics.queue_delay_ms.classic.p50 = Some(classic_p50);
            statistics
        };
        let repetitions = utilisations
            .iter()
            .zip(0..)
            .map(|(&utilisation, repetition)| Repetition {
                repetition,
                seed: 0,
                statistics: statistics(utilisation),
            });
        let mean = utilisations.iter().sum::<f64>() / utilisations.len() as f64;
        Arm {
            name: "a".to_owned(),
            aqm: "dualpi2".to_owned(),
            interval: None,
            policy: None,
            pooled: statistics(mean),
            repetitions: repetitions.collect(),
        }
    }

    fn verdicts(arm: &Arm, reference: &Arm) -> Vec<(Metric, Verdict)> {
        compare(arm, reference)
            .into_iter()
            .map(|d| (d.metric, d.verdict))
            .collect()
    }

    #[test]
    fn more_utilisation_and_less_delay_are_better() {
        let (low, high) = (arm(&[0.95, 0.95], 10.0), arm(&[0.98, 0.98], 20.0));
        assert_eq!(
            verdicts(&low, &high),
            [
                (Metric::Utilisation, Verdict::Worse),
                (Metric::ClassicP50, Verdict::Better)
            ]
        );
        assert_eq!(
            verdicts(&high, &low),
            [
                (Metric::Utilisation, Verdict::Better),
                (Metric::ClassicP50, Verdict::Worse)
            ]
        );
    }

    #[test]
    fn a_difference_that_pairs_do_not_agree_on_does_not_count() {
        let (a, b) = (
            arm(&[0.90, 0.98, 0.95], 10.0),
            arm(&[0.92, 0.97, 0.97], 10.0),
        );
        assert_eq!(verdicts(&a, &b)[0].1, Verdict::Same);
    }

    #[test]
    fn traffic_that_differs_between_repetitions_does_not_hide_a_difference_in_each() {
        let (a, b) = (
            arm(&[0.90, 0.98, 0.95], 10.0),
            arm(&[0.91, 0.991, 0.96], 10.0),
        );
        assert_eq!(verdicts(&a, &b)[0].1, Verdict::Worse);
        assert_eq!(verdicts(&b, &a)[0].1, Verdict::Better);
    }

    #[test]
    fn a_pooled_quantile_that_jumps_alone_does_not_count() {
        let (mut a, b) = (arm(&[0.9, 0.9, 0.9], 0.5), arm(&[0.9, 0.9, 0.9], 0.5));
        a.pooled.queue_delay_ms.classic.p50 = Some(1.0);
        assert_eq!(verdicts(&a, &b)[1], (Metric::ClassicP50, Verdict::Same));
    }

    #[test]
    fn sizes_are_points_percents_or_times() {
        let shown = |metric, reference, value| {
            let verdict = Verdict::Same;
            Difference {
                metric,
                value,
                reference,
                verdict,
            }
            .shown()
        };
        assert_eq!(
            shown(Metric::Utilisation, 99.0, 97.5),
            "\u{2212}1.5\u{a0}pt"
        );
        assert_eq!(shown(Metric::ClassicP50, 10.0, 12.5), "+25\u{a0}%");
        assert_eq!(shown(Metric::L4sP50, 0.5, 138.0), "\u{d7}\u{a0}276");
        assert_eq!(shown(Metric::L4sP50, 0.0, 1.0), "from 0 to 1.00");
    }

    #[test]
    fn a_metric_that_one_arm_lacks_is_not_compared() {
        let a = arm(&[0.9], 1.0);
        let mut b = arm(&[0.9], 1.0);
        b.pooled.queue_delay_ms.classic.p50 = None;
        assert_eq!(compare(&a, &b).len(), 1);
    }
}
