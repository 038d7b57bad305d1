//! `l4sllm lab grid`: controllers compared on real packets.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_abi::Params;
use l4sllm_lab::compare::quantities;
use l4sllm_report::Rows;
use l4sllm_report::verdict::Interval;
use l4sllm_testbed::result::{Arm as ArmSummary, Summary};
use l4sllm_testbed::scenario::{Arm, Control};
use l4sllmd::engine::Preset;
use serde_json::{Value, json};

use super::cells::Grid;
use super::run as lab;
use crate::duration;
use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{Done, outln};
use crate::shipped::{self, Kind};

/// Compare plain, tuned, adaptive and learned control on real packets.
///
/// Runs each scenario of the grid several times with every arm: `plain` DualPI2,
/// `tuned`, `adaptive` (the rule) and `learned` (a policy), all arms of a repetition
/// one after another. The table has the mean of each quantity over the repetitions,
/// half its 95 % confidence interval (Student's t), and the difference from `plain`
/// with its own (Welch's t); a difference larger than that is marked with `*`.
/// Requires root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm lab grid --out out/grid --repetitions 5
  l4sllm lab grid --out out/small --controls udp-prague --rates 20Mbit/s --rtts 10ms,40ms
  l4sllm lab grid --out out/mine --learned my-policy --format csv")]
pub struct GridArgs {
    /// Directory for the results, one for each scenario; finished repetitions are
    /// kept.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    grid: Grid,
    /// Policy of the arm `learned`: a directory, or a built-in name.
    #[arg(long, value_name = "POLICY", default_value = "context")]
    learned: PathBuf,
    /// Time of each repetition.
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::repetition, default_value = "30s")]
    duration_ns: u64,
    /// Repetitions of each arm.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=1000))]
    repetitions: u32,
    /// The daemon's program [default: next to this one, or in PATH].
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs missing repetitions, and prints the table.
pub fn run(args: &GridArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let host = super::host()?;
    let policy = shipped::find(Kind::Policy, &args.learned)?;
    let how = lab::How {
        host: &host,
        daemon: super::daemon(args.daemon.as_ref()),
        force: false,
    };
    let mut rows = Vec::new();
    for mut scenario in args.grid.cells() {
        scenario.arms = arms(&policy);
        scenario
            .aliases
            .extend(shipped::alias(Kind::Policy, &policy));
        scenario.set_duration(args.duration_ns);
        scenario.repetitions = args.repetitions;
        let summary = lab::execute(&scenario, &args.out.join(&scenario.name), &how, cancel)?;
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
        rows.extend(measured(&summary));
    }
    print_rows(args.format.format, &table(&rows, args.format.format))?;
    if args.format.format == Format::Text {
        outln!("\n*: differs from {PLAIN} with 95 % confidence")?;
    }
    Ok(Done::of(cancel))
}

/// The arm that the others are compared with.
const PLAIN: &str = "plain";
/// Records between decisions of a policy on records; one on summaries has a period.
const INTERVAL: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");

fn arms(policy: &Path) -> Vec<Arm> {
    let controlled = |name, control| Arm {
        control: Some(control),
        ..Arm::dualpi2(name, Params::default())
    };
    vec![
        Arm::dualpi2(PLAIN, Params::default()),
        Arm::dualpi2("tuned", Params::tuned()),
        controlled("adaptive", Control::adaptive(Preset::default())),
        controlled("learned", Control::new(policy, INTERVAL)),
    ]
}

/// A quantity of an arm over the repetitions.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    cell: String,
    arm: String,
    quantity: String,
    interval: Interval,
    /// From [`PLAIN`]; none for itself.
    difference: Option<Interval>,
}

impl Measured {
    /// Whether the difference is larger than its uncertainty.
    fn differs(&self) -> bool {
        let certain = |of: &Interval| of.half_width.is_some_and(|half| of.mean.abs() > half);
        self.difference.as_ref().is_some_and(certain)
    }
}

fn measured(summary: &Summary) -> Vec<Measured> {
    let plain = summary.arms.iter().find(|arm| arm.name == PLAIN);
    let mut rows = Vec::new();
    for arm in &summary.arms {
        let reference = plain.filter(|plain| plain.name != arm.name);
        for (quantity, _) in quantities(&arm.pooled) {
            let own = values(arm, &quantity);
            let Some(interval) = Interval::of(&own) else {
                continue;
            };
            let difference =
                reference.and_then(|plain| Interval::welch(&own, &values(plain, &quantity)));
            rows.push(Measured {
                cell: summary.scenario.clone(),
                arm: arm.name.clone(),
                quantity,
                interval,
                difference,
            });
        }
    }
    rows
}

/// Values of a quantity, one for each repetition that reports it.
fn values(arm: &ArmSummary, name: &str) -> Vec<f64> {
    let all = arm.repetitions.iter();
    let all = all.flat_map(|repetition| quantities(&repetition.statistics));
    all.filter(|(quantity, _)| quantity == name)
        .map(|(_, value)| value)
        .collect()
}

/// A row for each quantity: exact numbers for programs, rounded ones for people.
fn table(rows: &[Measured], format: Format) -> Rows {
    let number = |value: Option<f64>| match (format, value) {
        (_, None) => Value::Null,
        (Format::Text, Some(value)) => Value::String(format!("{value:.3}")),
        (Format::Csv | Format::Json, Some(value)) => json!(value),
    };
    let names = match format {
        Format::Text => ["±", "change", "± ", " "],
        Format::Csv | Format::Json => [
            "half_width",
            "difference",
            "difference_half_width",
            "differs",
        ],
    };
    let mut table = Rows::default();
    for row in rows {
        let mark = match (format, row.differs()) {
            (Format::Text, true) => json!("*"),
            (Format::Text, false) => json!(""),
            (Format::Csv | Format::Json, differs) => json!(differs),
        };
        let difference = row.difference;
        let columns = [
            ("scenario", json!(row.cell)),
            ("arm", json!(row.arm)),
            ("quantity", json!(row.quantity)),
            ("mean", number(Some(row.interval.mean))),
            (names[0], number(row.interval.half_width)),
            (names[1], number(difference.map(|of| of.mean))),
            (names[2], number(difference.and_then(|of| of.half_width))),
            (names[3], mark),
        ];
        table.push(columns, &());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::result::{Repetition, Statistics};

    fn arm(name: &str, utilisations: &[f64]) -> ArmSummary {
        let of = |utilisation| Statistics {
            utilisation,
            ..Statistics::default()
        };
        let repetition = |(repetition, value): (u32, &f64)| Repetition {
            repetition,
            seed: 1,
            statistics: of(*value),
        };
        ArmSummary {
            name: name.to_owned(),
            aqm: "dualpi2".to_owned(),
            interval: None,
            policy: None,
            pooled: of(0.5),
            repetitions: (0..).zip(utilisations).map(repetition).collect(),
        }
    }

    fn summary() -> Summary {
        Summary {
            version: String::new(),
            seed: 1,
            scenario: "udp-prague-100M-100ms".to_owned(),
            policy: None,
            complete: true,
            repetitions: 3,
            warnings: Vec::new(),
            arms: vec![
                arm(PLAIN, &[0.90, 0.91, 0.92]),
                arm("tuned", &[0.90, 0.92, 0.93]),
                arm("adaptive", &[0.98, 0.99, 1.0]),
            ],
        }
    }

    /// t(0.975, 2) = 4.3027, times the standard error 0.01 / sqrt 3.
    #[test]
    fn means_have_students_intervals_over_the_repetitions() {
        let rows = measured(&summary());
        let plain = &rows[0];
        assert_eq!(plain.arm, PLAIN);
        assert!((plain.interval.mean - 0.91).abs() < 1e-12);
        let half = plain.interval.half_width.unwrap();
        assert!((half - 4.3027 * 0.01 / 3f64.sqrt()).abs() < 1e-5, "{half}");
        assert_eq!(plain.difference, None);
    }

    #[test]
    fn uncertain_differences_are_not_marked() {
        let rows = measured(&summary());
        let marks: Vec<bool> = rows.iter().map(Measured::differs).collect();
        assert_eq!(marks, [false, false, true]);
        let text = table(&rows, Format::Text).text();
        let last = text.lines().last();
        assert!(last.is_some_and(|line| line.ends_with('*')), "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
        let csv = table(&rows, Format::Csv).csv();
        assert!(csv.starts_with("scenario,arm,quantity,mean,half_width,"));
        let last = csv.lines().last();
        assert!(last.is_some_and(|line| line.ends_with("true")), "{csv}");
    }
}
