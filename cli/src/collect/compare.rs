//! Comparison of behaviours with the first one, condition by condition.
//!
//! Better and worse are defined in [`l4sllm_report::verdict`], as in reports on
//! runs.

use std::collections::BTreeMap;

use l4sllm_model::Outcome;
use l4sllm_model::pool::EpisodeFacts;
use l4sllm_report::Rows;
use l4sllm_report::verdict::{DEFINITION, Interval, Judgement, Quantity, Sample, Verdict, judge};
use serde_json::{Map, Value, json};

/// Behaviours by name, in order, and their outcomes in each condition.
pub struct Comparison<'a> {
    names: Vec<&'a str>,
    conditions: BTreeMap<&'a str, Condition<'a>>,
}

/// One condition under all behaviours.
struct Condition<'a> {
    facts: &'a EpisodeFacts,
    /// Episodes of each behaviour.
    runs: BTreeMap<&'a str, Vec<&'a EpisodeFacts>>,
}

/// A quantity used to compare behaviours.
struct Metric {
    name: &'static str,
    /// Name in files, with the unit.
    key: &'static str,
    quantity: Quantity,
    /// The value of an episode, in the quantity's unit.
    of: fn(&Outcome) -> Option<f64>,
    digits: usize,
}

const METRICS: [Metric; 5] = [
    Metric {
        name: "utilisation",
        key: "utilisation_percent",
        quantity: Quantity::Utilisation,
        of: |outcome| Some(100.0 * outcome.utilisation),
        digits: 2,
    },
    Metric {
        name: "drops",
        key: "dropped_percent",
        quantity: Quantity::Drops,
        of: |outcome| outcome.drop_share.map(|share| 100.0 * share),
        digits: 2,
    },
    Metric {
        name: "classic mean",
        key: "classic_mean_ms",
        quantity: Quantity::Delay,
        of: |outcome| outcome.classic_mean_ms,
        digits: 2,
    },
    Metric {
        name: "L4S p99",
        key: "l4s_p99_ms",
        quantity: Quantity::Delay,
        of: |outcome| outcome.l4s_p99_ms,
        digits: 2,
    },
    Metric {
        name: "Jain",
        key: "jain",
        quantity: Quantity::Jain,
        of: |outcome| outcome.jain,
        digits: 3,
    },
];

/// Indices into [`METRICS`].
const UTILISATION: usize = 0;
const CLASSIC: usize = 2;

/// One behaviour compared with the first in one condition: a judgement for each
/// of [`METRICS`], none if either lacks the value.
type Judged = [Option<Judgement>; METRICS.len()];

/// One behaviour compared with the first, over all conditions.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    conditions: usize,
    /// Mean of each of [`METRICS`] over conditions.
    means: [Option<f64>; METRICS.len()],
    /// Difference of utilisation over conditions, points: its mean and its
    /// worst value.
    difference: Option<Interval>,
    worst: f64,
    /// Factors of delay, as natural logarithms: classic mean and 99th
    /// percentile, L4S 99th percentile.
    factors: [Option<Interval>; 3],
    /// Conditions in which each metric is worse and better.
    verdicts: [[usize; 2]; METRICS.len()],
    /// Conditions with less classic delay and nothing worse.
    better: usize,
}

impl<'a> Comparison<'a> {
    /// Compares the episodes of a pool with those of the first behaviour.
    pub fn new(episodes: &'a [EpisodeFacts]) -> Comparison<'a> {
        let mut names: Vec<&str> = Vec::new();
        let mut conditions: BTreeMap<&str, Condition<'_>> = BTreeMap::new();
        for episode in episodes {
            let name = episode.behaviour.name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
            let condition = conditions.entry(&episode.scenario).or_insert(Condition {
                facts: episode,
                runs: BTreeMap::new(),
            });
            condition.runs.entry(name).or_default().push(episode);
        }
        Comparison { names, conditions }
    }

    /// A Markdown table with a line per behaviour.
    pub fn table(&self) -> String {
        let lines: Vec<Line> = self.names.iter().map(|name| self.line(name)).collect();
        let Some(first) = lines.first() else {
            return String::new();
        };
        let mut text = format!(
            "\n{} conditions, {}; compared with {} in the same condition. Delays are \
             factors (geometric means over conditions) with their 95 % interval. Worse, better: \
             conditions with that verdict. {DEFINITION}\n\n\
             | behaviour | utilisation, % | difference, points: mean, worst | drops, % | classic mean \
             | classic p99 | L4S p99 | Jain | utilisation worse, better | drops worse, better \
             | L4S p99 worse, better | Jain worse, better | less classic delay, nothing worse |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
            first.conditions,
            self.repetitions_in_words(),
            first.name,
        );
        for line in &lines {
            text += &self.row(line);
        }
        text
    }

    /// The table as rows for CSV and JSON.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for line in self.names.iter().map(|name| self.line(name)) {
            let head = [
                ("behaviour", line.name.as_str().into()),
                ("conditions", line.conditions.into()),
            ];
            let [utilisation, drops, _, _, jain] = line.means;
            let [classic_mean, classic_p99, l4s_p99] = line.factors.map(|of| of.map(ratio));
            let verdicts = METRICS.iter().zip(line.verdicts).map(|(metric, of)| {
                let [worse, better] = of;
                (
                    metric.key.to_owned(),
                    json!({ "worse": worse, "better": better }),
                )
            });
            let values = json!({
                "utilisation_percent": utilisation,
                "utilisation_difference_points": line.difference.map(ends),
                "utilisation_difference_worst_points": line.difference.map(|_| line.worst),
                "dropped_percent": drops,
                "jain": jain,
                "classic_mean_ratio": classic_mean,
                "classic_p99_ratio": classic_p99,
                "l4s_p99_ratio": l4s_p99,
                "verdicts": verdicts.collect::<Map<_, _>>(),
                "less_classic_delay_and_nothing_worse": line.better,
            });
            rows.push(head, &values);
        }
        rows
    }

    /// Each condition for programs, in the order of [`Comparison::each`].
    pub fn each_rows(&self) -> Rows {
        let mut rows = Rows::default();
        for (name, condition, judged) in self.judged() {
            let facts = condition.facts;
            let head = [
                ("condition", name.into()),
                ("rate_bps", facts.rate_bps.into()),
                ("rtt_ns", facts.rtt_ns.into()),
                ("flows", flows(facts).into()),
            ];
            let metrics = METRICS.iter().zip(&judged).map(|(metric, of)| {
                let value = of.map(|of| {
                    json!({
                        "reference": of.reference,
                        "value": of.value,
                        "difference": ends(of.difference),
                        "verdict": of.verdict.word(),
                    })
                });
                (metric.key.to_owned(), json!(value))
            });
            rows.push(head, &metrics.collect::<Map<_, _>>());
        }
        rows
    }

    /// Each condition, the last behaviour compared with the first, the greatest loss
    /// first.
    fn judged(&self) -> Vec<(&'a str, &Condition<'a>, Judged)> {
        let (Some(first), Some(last)) = (self.names.first(), self.names.last()) else {
            return Vec::new();
        };
        let conditions = self.conditions.iter();
        let judged = conditions.filter_map(|(name, condition)| {
            Some((*name, condition, condition.judge(last, first)?))
        });
        let mut judged: Vec<_> = judged.collect();
        judged.sort_by(|a, b| loss(&b.2).total_cmp(&loss(&a.2)));
        judged
    }

    /// A Markdown table with a line per condition: the last behaviour compared
    /// with the first, the greatest loss first.
    pub fn each(&self) -> String {
        let (Some(first), Some(last)) = (self.names.first(), self.names.last()) else {
            return String::new();
        };
        let mut text = format!(
            "\nEach condition, the greatest loss first: {first}, and the difference of {last}, \
             {}.\n\n| condition | Mbit/s | RTT, ms | flows |",
            self.repetitions_in_words()
        );
        for metric in &METRICS {
            let unit = metric.quantity.unit().trim();
            let comma = if unit.is_empty() { "" } else { ", " };
            text += &format!(" {}{comma}{unit} | difference |", metric.name);
        }
        text += &format!("\n|---|---|---|---|{}\n", "---|".repeat(2 * METRICS.len()));
        for (name, condition, judged) in self.judged() {
            text += &condition.row(name, &judged);
        }
        text
    }

    /// Maximum number of repetitions of a behaviour in a condition.
    fn repetitions(&self) -> usize {
        let runs = self.conditions.values().flat_map(|c| c.runs.values());
        runs.map(Vec::len).max().unwrap_or(0)
    }

    fn repetitions_in_words(&self) -> String {
        match self.repetitions() {
            1 => "one repetition each: no conclusion about single conditions".to_owned(),
            several => format!("{several} repetitions each"),
        }
    }

    fn line(&self, name: &str) -> Line {
        let conditions: Vec<(&Condition<'_>, Judged)> = self
            .conditions
            .values()
            .filter_map(|condition| Some((condition, condition.judge(name, self.names[0])?)))
            .collect();
        let over = |of: &dyn Fn(&(&Condition<'_>, Judged)) -> Option<f64>| {
            Interval::of(&conditions.iter().filter_map(of).collect::<Vec<_>>())
        };
        let factor = |delay: fn(&Outcome) -> Option<f64>| {
            over(&|(condition, _)| {
                let factor = condition.mean(name, delay)? / condition.mean(self.names[0], delay)?;
                (factor > 0.0 && factor.is_finite()).then(|| factor.ln())
            })
        };
        let difference = |judged: &Judged| judged[UTILISATION].map(|of| of.difference.mean);
        let differences = conditions
            .iter()
            .filter_map(|(_, judged)| difference(judged));
        let count = |index: usize, verdict: Verdict| {
            let judged = conditions.iter().filter_map(|(_, judged)| judged[index]);
            judged.filter(|of| of.verdict == verdict).count()
        };
        let better = conditions.iter().filter(|(_, judged)| {
            let mut all = judged.iter().flatten();
            judged[CLASSIC].is_some_and(|of| of.verdict == Verdict::Better)
                && all.all(|of| of.verdict != Verdict::Worse)
        });
        Line {
            name: name.to_owned(),
            conditions: conditions.len(),
            means: std::array::from_fn(|index| {
                over(&|(_, judged)| judged[index].map(|of| of.value)).map(|of| of.mean)
            }),
            difference: over(&|(_, judged)| difference(judged)),
            worst: differences.fold(f64::INFINITY, f64::min),
            factors: [
                factor(|outcome| outcome.classic_mean_ms),
                factor(|outcome| outcome.classic_p99_ms),
                factor(|outcome| outcome.l4s_p99_ms),
            ],
            verdicts: std::array::from_fn(|index| {
                [count(index, Verdict::Worse), count(index, Verdict::Better)]
            }),
            better: better.count(),
        }
    }

    fn row(&self, line: &Line) -> String {
        let conclusive = self.repetitions() > 1;
        let [utilisation, drops, _, _, jain] = line.means;
        let difference = line.difference.map_or_else(dash, |of| {
            let shown = Quantity::Utilisation.shown(&of, 0.0);
            let shown = shown.trim_end_matches("\u{a0}pt");
            format!("{shown}, {:+.2}", line.worst).replace('-', "\u{2212}")
        });
        let factors = line.factors.map(|of| of.map_or_else(dash, factor));
        let verdicts = line.verdicts.map(|[worse, better]| match conclusive {
            true => format!("{worse}, {better}"),
            false => dash(),
        });
        let better = match conclusive {
            true => format!("{} of {}", line.better, line.conditions),
            false => dash(),
        };
        format!(
            "| {} | {} | {difference} | {} | {} | {} | {} | {} | {} | {} | {better} |\n",
            line.name,
            number(utilisation, 2),
            number(drops, 2),
            factors.join(" | "),
            number(jain, 3),
            verdicts[UTILISATION],
            verdicts[1],
            verdicts[3],
            verdicts[4],
        )
    }
}

impl Condition<'_> {
    /// Compares one behaviour with another; none without data of both.
    fn judge(&self, name: &str, other: &str) -> Option<Judged> {
        let (own, reference) = (self.runs.get(name)?, self.runs.get(other)?);
        let samples = |runs: &[&EpisodeFacts], metric: &Metric| -> Vec<Sample> {
            let sample = |run: &&EpisodeFacts| {
                Some(Sample {
                    seed: run.seed,
                    value: (metric.of)(&run.outcome)?,
                })
            };
            runs.iter().filter_map(sample).collect()
        };
        Some(METRICS.each_ref().map(|metric| {
            judge(
                metric.quantity,
                &samples(own, metric),
                &samples(reference, metric),
            )
        }))
    }

    /// Mean over a behaviour's repetitions; none if one lacks the value.
    fn mean(&self, name: &str, of: fn(&Outcome) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> = self
            .runs
            .get(name)?
            .iter()
            .map(|run| of(&run.outcome))
            .collect();
        Interval::of(&values?).map(|interval| interval.mean)
    }

    fn row(&self, name: &str, judged: &Judged) -> String {
        let facts = self.facts;
        let mut text = format!(
            "| {} | {:.1} | {:.0} | {} |",
            name.rsplit('-').next().unwrap_or(name),
            facts.rate_bps as f64 / 1e6,
            facts.rtt_ns as f64 / 1e6,
            flows(facts),
        );
        for (metric, judged) in METRICS.iter().zip(judged) {
            let reference = number(judged.map(|of| of.reference), metric.digits);
            text += &format!(
                " {reference} | {} |",
                judged.map_or_else(dash, |of| shown(&of))
            );
        }
        text + "\n"
    }
}

/// "2 cubic, 1 prague".
fn flows(facts: &EpisodeFacts) -> String {
    let flows = facts.flows.iter().map(|f| format!("{} {}", f.count, f.cc));
    flows.collect::<Vec<_>>().join(", ")
}

/// A mean and the ends of its interval.
fn ends(of: Interval) -> Value {
    let end = |sign: f64| of.half_width.map(|half| of.mean + sign * half);
    json!({ "mean": of.mean, "low": end(-1.0), "high": end(1.0) })
}

/// A geometric mean and the ends of its interval, from the logarithm of a ratio.
fn ratio(of: Interval) -> Value {
    let end = |sign: f64| of.half_width.map(|half| (of.mean + sign * half).exp());
    json!({ "mean": of.mean.exp(), "low": end(-1.0), "high": end(1.0) })
}

/// A difference with its verdict.
fn shown(judgement: &Judgement) -> String {
    match judgement.verdict {
        Verdict::Better => format!("{} better", judgement.shown()),
        Verdict::Worse => format!("{} worse", judgement.shown()),
        Verdict::Same => "\u{2248}".to_owned(),
        Verdict::Unclear | Verdict::NoConclusion => format!("({})", judgement.shown()),
    }
}

/// The greatest loss, in units of a severe one.
fn loss(judged: &Judged) -> f64 {
    judged
        .iter()
        .flatten()
        .map(Judgement::loss)
        .fold(0.0, f64::max)
}

/// Formats a mean of logarithms as "0.915 (0.852 to 0.982)".
fn factor(of: Interval) -> String {
    let mean = of.mean.exp();
    match of.half_width {
        Some(half) if half > 0.0 => {
            let (low, high) = ((of.mean - half).exp(), (of.mean + half).exp());
            format!("{mean:.3} ({low:.3} to {high:.3})")
        }
        _ => format!("{mean:.3}"),
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(dash, |v| format!("{v:.digits$}"))
}

/// Shown for a missing value.
fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests;
