//! `l4sllm validate`: compares the emulator with published measurements.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Args;
use l4sllm_report::Rows;
use l4sllm_testbed::published::{Comparison, NEAR, Published};
use serde_json::json;

use crate::duration;
use crate::format::{Format, FormatArgs, print_json, print_rows};
use crate::output::{Done, bail_usage, print};
use crate::shipped;
use crate::threads::threads;

/// Run the setups of published measurements, and compare the numbers.
///
/// The numbers, their sources and the scenarios are in scenarios/published.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm validate
  l4sllm validate --case mixed-rtt-5-100 --case overload-l4s-140
  l4sllm validate --format csv > published.csv")]
pub struct ValidateArgs {
    /// Directory of figures.toml and its scenarios [default: the built-in ones].
    #[arg(long, value_name = "DIR")]
    published: Option<PathBuf>,
    /// Run only these cases; a part of a name selects all matching cases.
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Repetitions of each case [default: the scenario's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: Option<u32>,
    /// Virtual time of each repetition, such as 10s [default: the scenario's].
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::repetition)]
    duration_ns: Option<u64>,
    /// Repetitions to run at the same time, 0 to 1024; 0: one per core.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the cases, compares and prints.
pub fn run(args: &ValidateArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let dir = match &args.published {
        Some(dir) => dir.clone(),
        None => shipped::dir("scenarios/published")?,
    };
    let mut published = Published::load(&dir).context("published measurements")?;
    select(&mut published, &args.case)?;
    for case in &mut published.cases {
        let scenario = &mut case.scenario;
        scenario.repetitions = args.repetitions.unwrap_or(scenario.repetitions);
        if let Some(duration_ns) = args.duration_ns {
            scenario.set_duration(duration_ns);
        }
    }
    let Some(compared) = published.compare(args.threads, cancel)? else {
        return Ok(Done::Interrupted);
    };
    match args.format.format {
        Format::Text => print(&(table(&compared) + &sources(&published)))?,
        Format::Csv => print_rows(Format::Csv, &rows(&compared))?,
        Format::Json => print_json(&compared)?,
    }
    Ok(Done::Finished)
}

fn sources(published: &Published) -> String {
    let sources = published.sources.iter();
    let lines = sources.map(|of| format!("  {}: {}. {}\n", of.name, of.title, of.at));
    format!("\nSources:\n{}", lines.collect::<String>())
}

/// Keeps the selected cases.
fn select(published: &mut Published, names: &[String]) -> anyhow::Result<()> {
    let all: Vec<String> = published.cases.iter().map(|c| c.name.clone()).collect();
    // A complete name selects only that case.
    let named = |name: &str, case: &str| match all.iter().any(|other| other == name) {
        true => case == name,
        false => case.contains(name),
    };
    for name in names {
        if !published.cases.iter().any(|case| named(name, &case.name)) {
            let known: Vec<&str> = published.cases.iter().map(|c| c.name.as_str()).collect();
            bail_usage!(
                "--case: no case contains `{name}`; expected one of {}",
                known.join(", ")
            );
        }
    }
    if !names.is_empty() {
        (published.cases).retain(|case| names.iter().any(|name| named(name, &case.name)));
    }
    Ok(())
}

/// Table of both numbers, followed by the reasons for large differences.
fn table(compared: &[Comparison]) -> String {
    let width = |of: fn(&Comparison) -> usize| compared.iter().map(of).max().unwrap_or(0);
    let (case, measure) = (width(|c| c.case.len()), width(|c| c.measure.len()));
    let mut out = format!(
        "{:case$}  {:measure$}  {:>9}  {:>9}  {:>6}\n",
        "case", "measure", "theirs", "ours", "ratio"
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let mut reasons: Vec<&str> = Vec::new();
    for c in compared {
        let note = match &c.why {
            _ if c.near => String::new(),
            None => "  unexplained".to_owned(),
            Some(why) => {
                let known = reasons.iter().position(|reason| reason == why);
                let at = known.unwrap_or_else(|| {
                    reasons.push(why);
                    reasons.len() - 1
                });
                format!("  [{}]", at + 1)
            }
        };
        let _ = writeln!(
            out,
            "{:case$}  {:measure$}  {:>9}  {:>9}  {:>6}{note}",
            c.case,
            c.measure,
            number(Some(c.theirs)),
            number(c.ours),
            c.ratio
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
    }
    let near = compared.iter().filter(|c| c.near).count();
    let (least, most) = (NEAR.start(), NEAR.end());
    let _ = writeln!(
        out,
        "\n{near} of {} are {least} to {most} times the published value.",
        compared.len()
    );
    for (at, why) in reasons.iter().enumerate() {
        let _ = writeln!(out, "[{}] {why}", at + 1);
    }
    out
}

fn rows(compared: &[Comparison]) -> Rows {
    let mut rows = Rows::default();
    for c in compared {
        let row = [
            ("case", c.case.clone().into()),
            ("measure", c.measure.clone().into()),
            ("theirs", c.theirs.into()),
            ("ours", json!(c.ours)),
            ("ratio", json!(c.ratio)),
            ("near", c.near.into()),
            ("source", c.source.clone().into()),
            ("place", c.place.clone().into()),
            ("why", json!(c.why)),
        ];
        rows.push(row, &());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(ours: f64, why: Option<&str>) -> Comparison {
        let ratio = ours / 2.0;
        Comparison {
            case: "c".to_owned(),
            measure: "rate of a / b".to_owned(),
            theirs: 2.0,
            ours: Some(ours),
            ratio: Some(ratio),
            near: NEAR.contains(&ratio),
            source: "s".to_owned(),
            place: "\"p\"".to_owned(),
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn full_name_selects_one_case_and_substring_all_matches() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/published");
        let selected = |names: &[&str]| {
            let mut published = Published::load(dir.as_ref()).unwrap();
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            select(&mut published, &names).map(|()| published.cases.len())
        };
        assert_eq!(selected(&["mixed-rtt-5-5"]).unwrap(), 1);
        assert!(selected(&["mixed-rtt-5-"]).unwrap() > 1);
        let error = selected(&["nonsense"]).unwrap_err().to_string();
        assert!(error.contains("no case contains `nonsense`"), "{error}");
    }

    #[test]
    fn large_differences_are_explained_or_marked_unexplained() {
        let because = Some("because");
        let compared = [
            comparison(2.2, None),
            comparison(4.0, because),
            comparison(1.0, because),
            comparison(0.2, None),
        ];
        let text = table(&compared);
        let notes: Vec<&str> = text.lines().skip(1).take(4).collect();
        assert!(notes[0].ends_with("1.10"), "{text}");
        assert!(
            notes[1].ends_with("2.00  [1]") && notes[2].ends_with("0.50  [1]"),
            "{text}"
        );
        assert!(notes[3].ends_with("0.10  unexplained"), "{text}");
        assert!(
            text.contains("1 of 4 are 0.7 to 1.4 times the published value.\n[1] because"),
            "{text}"
        );
        let csv = rows(&compared).csv();
        let second = "c,rate of a / b,2.0,4.0,2.0,false,s,\"\"\"p\"\"\",because\n";
        assert!(csv.contains(second), "{csv}");
    }
}
