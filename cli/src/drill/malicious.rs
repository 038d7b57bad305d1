//! `l4sllm drill malicious`.

use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_report::Rows;
use l4sllm_testbed::drill::malicious::{Cell, Options, conditions, run as measure, worst};
use serde_json::{Value, json};

use crate::duration;
use crate::format::{Format, FormatArgs, print_rows};
use crate::output::Done;

/// Measure how much worse than plain DualPI2 the queue is under malicious policies.
///
/// The policies drop, mark or forward every packet, move all set-points from one
/// limit to the other once a second, or hold them at one limit. They renew
/// their overrides continuously and are bound only by the queue's default limits. The table
/// has, for each policy and quantity, the condition with the greatest harm.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm drill malicious
  l4sllm drill malicious --each --format csv
  l4sllm drill malicious --duration 10s --repetitions 1")]
pub struct MaliciousArgs {
    /// Measured virtual time of each run, after a warm-up of 5 s.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::measured)]
    duration: u64,
    /// Repetitions of each policy in each condition.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// Print every policy in every condition.
    #[arg(long)]
    each: bool,
    /// Threads [default: one per core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs all conditions and prints the table.
pub fn run(args: &MaliciousArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let options = Options {
        measured_ns: args.duration,
        repetitions: args.repetitions,
        threads: args.threads,
        cancel,
    };
    if let Some(cells) = measure(&conditions(), options)? {
        let format = args.format.format;
        print_rows(format, &table(&cells, args.each, format))?;
    }
    Ok(Done::of(cancel))
}

/// A row for each policy and quantity, or for each policy and condition: exact
/// numbers for programs, rounded ones for people.
pub fn table(cells: &[Cell], each: bool, format: Format) -> Rows {
    let mut table = Rows::default();
    let number = |value: f64, digits: usize| match format {
        Format::Text => json!(format!("{value:.digits$}")),
        Format::Csv | Format::Json => json!(value),
    };
    if each {
        for cell in cells {
            let of = &cell.outcome;
            let some = |value: Option<f64>| value.map_or(Value::Null, |value| number(value, 2));
            let row = [
                ("condition", json!(cell.condition)),
                ("policy", json!(cell.policy)),
                ("mean_ms", some(of.classic_mean_ms)),
                ("p99_ms", some(of.classic_p99_ms)),
                ("l4s_p99", some(of.l4s_p99_ms)),
                ("util_%", number(100.0 * of.utilisation, 1)),
                ("drop_%", some(of.drop_share.map(|share| 100.0 * share))),
                ("jain", some(of.jain)),
            ];
            table.push(row, &());
        }
        return table;
    }
    for row in worst(cells) {
        let row = [
            ("policy", json!(row.policy)),
            ("quantity", json!(row.quantity)),
            ("plain", number(row.plain, 2)),
            ("with_policy", number(row.with_policy, 2)),
            ("harm", number(row.harm, 2)),
            ("worst_in", json!(row.condition)),
        ];
        table.push(row, &());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_model::Outcome;

    #[test]
    fn both_tables_fit_80_columns() {
        let cell = |policy: &str, utilisation| Cell {
            condition: "not-ect-20M-20ms".to_owned(),
            policy: policy.to_owned(),
            outcome: Outcome {
                utilisation,
                classic_mean_ms: Some(123.456),
                classic_p99_ms: Some(300.0 / utilisation),
                l4s_p99_ms: Some(12.3456),
                jain: Some(utilisation),
                drop_share: Some(0.123),
                ..Outcome::default()
            },
        };
        let cells = [cell("plain", 1.0), cell("oscillate", 0.5)];
        for each in [false, true] {
            let text = table(&cells, each, Format::Text).text();
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
        let csv = table(&cells, false, Format::Csv).csv();
        assert!(
            csv.contains("oscillate,\"utilisation, %\",100.0,50.0,50.0,"),
            "{csv}"
        );
    }
}
