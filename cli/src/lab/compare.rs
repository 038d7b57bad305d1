//! `l4sllm lab compare`: the emulator against real packets.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_lab::compare::{AGREEMENT, Compared, compare};
use l4sllm_report::Rows;
use l4sllm_testbed::scenario::Scenario;
use serde_json::{Value, json};

use super::cells::Grid;
use super::run as lab;
use crate::format::{Format, FormatArgs, print_rows};
use crate::output::{Done, outln};
use crate::{duration, run, shipped};

/// Run the same scenarios in the emulator and with real packets, and compare.
///
/// Without SCENARIO, a grid of two flows on plain DualPI2: CUBIC next to CUBIC,
/// NewReno, BBR and UDP Prague, at four rates and three round-trip times. The table
/// has the delays, the utilisation and the flows' shares with their ratio, lab over
/// emulator; a ratio outside 0.75 to 1.33 is marked with `!`. Requires root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm lab compare --out out/compare
  l4sllm lab compare --out out/quick --rates 20Mbit/s --rtts 10ms --duration 15s
  l4sllm lab compare mine.toml --out out/mine --format csv")]
pub struct CompareArgs {
    /// Scenarios: files, or built-in names [default: the grid].
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Directory for the results, in `emulator` and `lab`; finished ones are kept.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    grid: Grid,
    /// Time of each repetition.
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::repetition, default_value = "30s")]
    duration_ns: u64,
    /// Repetitions of each scenario.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// The daemon's program [default: next to this one, or in PATH].
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs missing repetitions in emulator and lab, and prints the table.
pub fn run(args: &CompareArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let host = super::host()?;
    let how = lab::How {
        host: &host,
        daemon: super::daemon(args.daemon.as_ref()),
        force: false,
    };
    let mut rows = Vec::new();
    for scenario in args.list()? {
        let place = |kind: &str| args.out.join(kind).join(&scenario.name);
        let emulated = run::How::default();
        let emulator = run::execute(&scenario, &place("emulator"), &emulated, cancel)?;
        let real = lab::execute(&scenario, &place("lab"), &how, cancel)?;
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
        rows.extend(compare(&emulator, &real));
    }
    print_rows(args.format.format, &table(&rows, args.format.format))?;
    if args.format.format == Format::Text {
        outln!("\n{}", conclusion(&rows))?;
    }
    Ok(Done::of(cancel))
}

impl CompareArgs {
    fn list(&self) -> anyhow::Result<Vec<Scenario>> {
        let mut list: Vec<Scenario> = match self.scenarios.is_empty() {
            true => self.grid.cells(),
            false => {
                let load = |file: &PathBuf| shipped::scenario(Path::new(file));
                self.scenarios
                    .iter()
                    .map(load)
                    .collect::<anyhow::Result<_>>()?
            }
        };
        for scenario in &mut list {
            scenario.set_duration(self.duration_ns);
            scenario.repetitions = self.repetitions;
        }
        Ok(list)
    }
}

/// A row for each quantity: exact numbers for programs, rounded ones for people.
fn table(rows: &[Compared], format: Format) -> Rows {
    let mut table = Rows::default();
    for row in rows {
        let number = |value: f64| match format {
            Format::Text => Value::String(format!("{value:.3}")),
            Format::Csv | Format::Json => json!(value),
        };
        let head = [
            ("scenario", json!(row.cell)),
            ("arm", json!(row.arm)),
            ("quantity", json!(row.quantity)),
            ("emulator", number(row.emulator)),
            ("lab", number(row.lab)),
            ("ratio", row.ratio.map_or(Value::Null, number)),
        ];
        let mark = match (format, row.disagrees()) {
            (Format::Text, true) => json!("!"),
            (Format::Text, false) => json!(""),
            (Format::Csv | Format::Json, disagrees) => json!(!disagrees),
        };
        let name = match format {
            Format::Text => " ",
            Format::Csv | Format::Json => "agrees",
        };
        table.push(head.into_iter().chain([(name, mark)]), &());
    }
    table
}

/// How many quantities agree.
fn conclusion(rows: &[Compared]) -> String {
    let compared = rows.iter().filter(|row| row.ratio.is_some()).count();
    let outside = rows.iter().filter(|row| row.disagrees()).count();
    format!(
        "{} of {compared} ratios are within {} to {}, {outside} are not",
        compared - outside,
        AGREEMENT.start(),
        AGREEMENT.end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64) -> Compared {
        Compared {
            cell: "udp-prague-100M-100ms".to_owned(),
            arm: "dualpi2".to_owned(),
            quantity: "share of udp-prague".to_owned(),
            emulator: 100.0,
            lab: 100.0 * ratio,
            ratio: Some(ratio),
        }
    }

    #[test]
    fn disagreement_is_marked_and_counted() {
        let rows = [row(1.0), row(1.5), row(0.7)];
        let text = table(&rows, Format::Text).text();
        let marked: Vec<bool> = text
            .lines()
            .skip(1)
            .map(|line| line.ends_with('!'))
            .collect();
        assert_eq!(marked, [false, true, true], "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(
            conclusion(&rows).starts_with("1 of 3 ratios"),
            "{}",
            conclusion(&rows)
        );
        let csv = table(&rows, Format::Csv).csv();
        assert!(
            csv.lines()
                .nth(2)
                .is_some_and(|line| line.ends_with("1.5,false")),
            "{csv}"
        );
    }
}
