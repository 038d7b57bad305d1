//! `l4sllm pool inspect`: the contents of pools.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_model::pool::{Inspection, Narrow, Overlap, Split, open};
use l4sllm_report::Rows;
use serde_json::{Value, json};

use super::{bar, check, common, size};
use crate::format::{Format, FormatArgs, print_json, print_rows};
use crate::output::{ensure_usage, outln};

/// Count a pool's actions, episodes, ranges and duplicates, and leakage between
/// training and held-out parts.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm pool inspect pool.parquet
  l4sllm pool inspect pool.parquet --share 0.1 --format json")]
pub struct InspectArgs {
    /// Pools, combined as for training, with their common columns.
    #[arg(required = true)]
    pools: Vec<PathBuf>,
    /// Share of the episodes, and of each episode's time, held out by training:
    /// --val-fraction of `l4sllm train`.
    #[arg(long, default_value_t = 0.2)]
    share: f64,
    #[command(flatten)]
    format: FormatArgs,
}

/// Inspects.
pub fn run(args: &InspectArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let share = (0.0..=0.5).contains(&args.share);
    ensure_usage!(share, "--share {}: expected 0 to 0.5", args.share);
    let schema = common(&args.pools)?;
    let bar = bar(args.pools.iter().map(|pool| size(pool)).sum())?;
    let mut inspection = Inspection::new(&schema);
    let mut before = 0;
    for pool in &args.pools {
        let mut source = Narrow::new(open(pool)?, &schema);
        inspection.add(&mut source, |at| bar.set_position(before + at))?;
        check(cancel)?;
        before += size(pool);
    }
    bar.finish_and_clear();
    let split = Split::new(inspection.episodes(), args.share);
    let parts = [
        ("train", &split.train, None),
        ("late", &split.late, Some(())),
        ("unseen", &split.unseen, Some(())),
    ]
    .map(|(name, ranges, held_out)| Part {
        name,
        actions: inspection.actions_of(ranges),
        overlap: held_out.map(|()| inspection.overlap(&split.train, ranges)),
    });
    match args.format.format {
        Format::Text => print_text(&inspection, &parts, args.share),
        Format::Csv => print_rows(Format::Csv, &columns(&inspection)),
        Format::Json => print_json(&document(&inspection, &parts)),
    }
}

/// A part of training's split.
struct Part {
    name: &'static str,
    actions: [u64; 3],
    overlap: Option<Overlap>,
}

fn print_text(inspection: &Inspection, parts: &[Part], share: f64) -> anyhow::Result<()> {
    let rows = inspection.rows() as u64;
    let percent = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
    let schema = inspection.schema();
    outln!("{:<10} {rows}", "rows")?;
    let lengths = || inspection.episodes().iter().map(|e| e.len());
    outln!(
        "{:<10} {}, of {} to {} rows; {} end in the pool",
        "episodes",
        inspection.episodes().len(),
        lengths().min().unwrap_or(0),
        lengths().max().unwrap_or(0),
        inspection.ended()
    )?;
    for (scenario, rows) in inspection.scenarios() {
        outln!("{:<10} {scenario}: {rows} rows", "scenario")?;
    }
    if schema.time() {
        let seconds = inspection.last_time_ns() as f64 / 1e9;
        outln!("{:<10} up to {seconds} s", "time")?;
    }
    let absent: Vec<&str> = [
        (!schema.time(), "time_ns"),
        (!schema.base(), "base_action, reason"),
    ]
    .iter()
    .filter_map(|(absent, name)| absent.then_some(*name))
    .collect();
    if !absent.is_empty() {
        outln!("{:<10} {}", "without", absent.join(", "))?;
    }
    for (name, count) in NAMES.iter().zip(inspection.actions()) {
        outln!("{:<10} {count} ({:.2} %)", name, percent(count, rows))?;
    }
    let (states, several) = inspection.distinct();
    outln!(
        "{:<10} {states} distinct in {rows} rows, {several} with more than one action",
        "states"
    )?;
    outln!(
        "\n{:<24} {:<8} {:>14} {:>14} {:>14}",
        "column",
        "unit",
        "least",
        "mean",
        "greatest"
    )?;
    for column in inspection.columns() {
        outln!(
            "{:<24} {:<8} {:>14} {:>14} {:>14}",
            column.name,
            column.unit,
            short(column.least),
            short(column.mean),
            short(column.most)
        )?;
    }
    outln!("\nSplit of a training run with {share} held out:")?;
    for part in parts {
        let rows: u64 = part.actions.iter().sum();
        let most = part.actions.iter().max().copied().unwrap_or(0);
        let mut line = format!("{:<10} {rows} rows", part.name);
        if rows > 0 {
            line += &format!(", the most frequent action is {:.2} %", percent(most, rows));
        }
        if let Some(overlap) = part.overlap.filter(|overlap| overlap.rows > 0) {
            line += &format!(
                ", {} ({:.2} %) have a state that also occurs in training",
                overlap.known,
                percent(overlap.known, overlap.rows)
            );
        }
        outln!("{line}")?;
    }
    Ok(())
}

/// The ranges of columns.
fn columns(inspection: &Inspection) -> Rows {
    let mut rows = Rows::default();
    for column in inspection.columns() {
        let row = [
            ("name", column.name.into()),
            ("unit", column.unit.into()),
            ("least", column.least.into()),
            ("mean", column.mean.into()),
            ("greatest", column.most.into()),
        ];
        rows.push(row, &());
    }
    rows
}

fn document(inspection: &Inspection, parts: &[Part]) -> Value {
    let actions = |counts: &[u64; 3]| {
        let pairs = NAMES.iter().zip(counts);
        pairs
            .map(|(name, count)| ((*name).to_owned(), json!(count)))
            .collect::<serde_json::Map<_, _>>()
    };
    let (states, several) = inspection.distinct();
    let scenarios: Vec<_> = inspection
        .scenarios()
        .iter()
        .map(|(name, rows)| json!({"name": name, "rows": rows}))
        .collect();
    let split: serde_json::Map<_, _> = parts
        .iter()
        .map(|part| {
            let mut value = json!({"actions": actions(&part.actions)});
            if let Some(overlap) = part.overlap {
                value["rows_with_a_state_of_train"] = json!(overlap.known);
            }
            (part.name.to_owned(), value)
        })
        .collect();
    json!({
        "rows": inspection.rows(),
        "episodes": inspection.episodes().len(),
        "episodes_ended": inspection.ended(),
        "scenarios": scenarios,
        "has_time": inspection.schema().time(),
        "has_base_action": inspection.schema().base(),
        "last_time_ns": inspection.last_time_ns(),
        "actions": actions(&inspection.actions()),
        "distinct_states": states,
        "states_with_several_actions": several,
        "columns": columns(inspection).json(),
        "split": split,
    })
}

const NAMES: [&str; 3] = ["enqueue", "drop", "mark"];

/// At most eight significant digits.
fn short(value: f64) -> String {
    if value.trunc() == value && value.abs() < 1e15 {
        format!("{value}")
    } else if (1e-4..1e9).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.6e}")
    }
}
