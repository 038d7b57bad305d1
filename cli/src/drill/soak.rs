//! `l4sllm drill soak`.

use std::sync::atomic::AtomicBool;

use clap::Args;
use l4sllm_report::Rows;
use l4sllm_testbed::drill::soak::{Soak, run as soak};
use l4sllm_testbed::drill::usage::Trend;
use serde_json::{Value, json};

use crate::duration;
use crate::format::{FormatArgs, print_rows};
use crate::output::{Done, errln, progress_bar};

/// Run mixed traffic for a day of virtual time with the adaptive rule in the loop.
///
/// Long flows of all congestion controls, a video, an unresponsive stream and short
/// flows share 10 Mbit/s. Memory and descriptors must not grow after the first
/// quarter, and everything must be accounted for. Exit status 1 if either fails.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm drill soak
  l4sllm drill soak --duration 10min")]
pub struct SoakArgs {
    /// Virtual time.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::soak)]
    duration: u64,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs it and prints the table.
pub fn run(args: &SoakArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let bar = progress_bar(args.duration / NS_PER_S);
    let soak = soak(args.duration, cancel, |now_ns| {
        bar.set_position(now_ns / NS_PER_S)
    });
    bar.finish_and_clear();
    let Some(soak) = soak? else {
        return Ok(Done::Interrupted);
    };
    print_rows(args.format.format, &table(&soak))?;
    let growth = soak.usage.and_then(|usage| usage.growth());
    if let Some(growth) = &growth {
        errln!("{growth}");
    }
    Ok(match growth {
        Some(_) => Done::Unhealthy,
        None => Done::of(cancel),
    })
}

const NS_PER_S: u64 = 1_000_000_000;

fn table(soak: &Soak) -> Rows {
    let mut table = Rows::default();
    count(&mut table, "virtual time, s", soak.virtual_s.round() as u64);
    count(&mut table, "real time, s", soak.wall_s.round() as u64);
    count(&mut table, "packets in", soak.packets.arrived);
    count(&mut table, "packets dropped", soak.packets.dropped);
    count(&mut table, "overrides", soak.overrides.received);
    used(&mut table, "", soak.usage);
    table
}

/// Adds a number that is only known at the end.
pub fn count(table: &mut Rows, quantity: &str, value: u64) {
    let row = [
        ("quantity", json!(quantity)),
        ("second_quarter", Value::Null),
        ("last_quarter", json!(value)),
    ];
    table.push(row, &());
}

/// Adds the memory and the descriptors of a process; nothing if unknown.
pub fn used(table: &mut Rows, process: &str, usage: Option<Trend>) {
    let Some(Trend { early, late }) = usage else {
        return;
    };
    let kib = |bytes: u64| bytes >> 10;
    for (quantity, early, late) in [
        (
            "memory, KiB",
            kib(early.memory_bytes),
            kib(late.memory_bytes),
        ),
        ("descriptors", early.descriptors, late.descriptors),
    ] {
        let row = [
            ("quantity", json!(format!("{process}{quantity}"))),
            ("second_quarter", json!(early)),
            ("last_quarter", json!(late)),
        ];
        table.push(row, &());
    }
}
