//! `l4sllm replay`: decisions of a flight recording, made again.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use l4sllm_abi::{Factor, Mode, Override};
use l4sllm_model::EngineOptions;
use l4sllm_report::Rows;
use l4sllmd::config::EngineConfig;
use l4sllmd::engine::Preset;
use l4sllmd::files::Files;
use l4sllmd::recorder::{Bits, segments};
use l4sllmd::replay::{BaseValues, Made, Totals, replay};
use l4sllmd::run::Engines;
use serde::Serialize;
use serde_json::Value;

use crate::format::{Format, FormatArgs, print_json};
use crate::output::{Done, note, print};
use crate::shipped::{self, Kind};

/// Make the decisions of a daemon's flight recording again, and compare them with those
/// of another policy.
///
/// Every decision is made again from the recorded messages, and must be the same to
/// the bit; the first difference is reported, with exit code 1. Another policy
/// decides on the recorded messages and windows, which include the effects of the
/// recorded decisions and not of its own.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm replay /var/lib/l4sllmd
  l4sllm replay flight-3.l4sllm --format json
  l4sllm replay /var/lib/l4sllmd --policy adaptive
  l4sllm replay /var/lib/l4sllmd --policy default --format csv")]
pub struct ReplayArgs {
    /// Directory of a recording (`[recorder] directory` of the daemon), or one of
    /// its files.
    #[arg(value_name = "FILE|DIR")]
    recording: PathBuf,
    /// Another policy to decide on the same messages: a directory, a built-in name,
    /// or `adaptive` and `low-delay`, the presets of the adaptive rule.
    #[arg(long, value_name = "POLICY")]
    policy: Option<PathBuf>,
    /// Rows of the table as text, the largest differences; 0: all, in order.
    #[arg(long, value_name = "ROWS", default_value_t = 20, requires = "policy")]
    rows: usize,
    #[command(flatten)]
    format: FormatArgs,
}

/// Replays and prints.
pub fn run(args: &ReplayArgs) -> anyhow::Result<Done> {
    let segments = segments(&args.recording)?;
    let other = args.policy.as_deref().map(engines).transpose()?;
    let mut rows: Vec<Compared> = Vec::new();
    let mut first: Option<Made> = None;
    let mut origin_ns = None;
    let totals = replay(&segments, other.as_ref(), |made| {
        if other.is_some() {
            let origin_ns = *origin_ns.get_or_insert(made.now_ns);
            rows.extend(Compared::of(&made, origin_ns));
        }
        if !made.same && first.is_none() {
            first = Some(made);
        }
    })?;
    let differing = rows.iter().filter(|row| row.difference > 0.0).count();
    let other = other.map(|engines| engines.status().to_string());
    match args.format.format {
        Format::Text => {
            let mut text = describe(&totals, first.as_ref());
            if let Some(other) = &other {
                compare(&mut text, other, rows, differing, args.rows);
            }
            print(&text)?;
        }
        Format::Csv if other.is_some() => print(&table(&rows).csv())?,
        Format::Csv => print(&Rows::of_values(&Whole::new(&totals, first.as_ref())).csv())?,
        Format::Json => {
            let whole = Whole::new(&totals, first.as_ref());
            let mut value = serde_json::to_value(&whole)?;
            if let Some(other) = &other {
                value["other"] = serde_json::json!({
                    "engine": other, "compared": rows.len(), "differing": differing,
                    "decisions": table(&rows).json(),
                });
            }
            print_json(&value)?;
        }
    }
    if totals.decisions == 0 {
        note!("the recording has no decision");
    }
    let all = totals.same == totals.decisions && totals.additional == 0;
    Ok(if all { Done::Finished } else { Done::Unhealthy })
}

/// The engines of `--policy`.
fn engines(policy: &Path) -> anyhow::Result<Engines> {
    let config = match policy.to_str() {
        Some("adaptive") => EngineConfig::Adaptive(Preset::Balanced),
        Some("low-delay") => EngineConfig::Adaptive(Preset::LowDelay),
        _ => EngineConfig::Policy {
            path: shipped::find(Kind::Policy, policy)?,
            engine: EngineOptions::default(),
            seed: 0,
            // The daemon's default.
            fallback: Some(Preset::default()),
        },
    };
    Engines::load(&config, &Files::by_path()).context("--policy")
}

/// The totals as CSV and JSON.
#[derive(Debug, Serialize)]
struct Whole {
    segments: u64,
    gaps: u64,
    frames: u64,
    lost_frames: u64,
    torn_bytes: u64,
    messages: u64,
    engines: String,
    decisions: u64,
    reproduced: u64,
    additional: u64,
    first_difference: Option<String>,
}

impl Whole {
    fn new(totals: &Totals, first: Option<&Made>) -> Whole {
        Whole {
            segments: totals.segments,
            gaps: totals.gaps,
            frames: totals.frames,
            lost_frames: totals.lost,
            torn_bytes: totals.torn_bytes,
            messages: totals.messages,
            engines: totals.engines.join("; "),
            decisions: totals.decisions,
            reproduced: totals.same,
            additional: totals.additional,
            first_difference: first.map(difference),
        }
    }
}

fn describe(totals: &Totals, first: Option<&Made>) -> String {
    let mut out = String::new();
    let t = totals;
    let _ = writeln!(
        out,
        "recording  {} segments, {} frames, {} messages",
        t.segments, t.frames, t.messages
    );
    // The first segment never follows another.
    if t.gaps > 1 || t.lost > 0 || t.torn_bytes > 0 {
        let _ = writeln!(
            out,
            "missing    {} gaps between segments, {} frames lost, {} bytes of torn frames",
            t.gaps.saturating_sub(1),
            t.lost,
            t.torn_bytes
        );
    }
    for engine in &t.engines {
        let _ = writeln!(out, "engine     {engine}");
    }
    let _ = writeln!(
        out,
        "decisions  {}: {} reproduced to the bit, {} not, {} additional",
        t.decisions,
        t.same,
        t.decisions - t.same,
        t.additional
    );
    if let Some(first) = first {
        let _ = writeln!(out, "first      {}", difference(first));
    }
    out
}

/// Describes a decision that was not reproduced.
fn difference(made: &Made) -> String {
    let mut out = format!("segment {}, at {} ns", made.segment, made.now_ns);
    if let Some(scheduler) = made.scheduler {
        let _ = write!(out, ", sched {}.{}", scheduler.sched, scheduler.instance);
    }
    let replayed = made
        .replayed
        .map_or("no decision".to_owned(), |bits| words(&bits));
    let _ = write!(out, ": recorded {}, now {replayed}", words(&made.recorded));
    out
}

fn words(bits: &Bits) -> String {
    match bits {
        Bits::Action(code, probabilities) => {
            let name = ["enqueue", "drop", "mark"].get(usize::from(*code));
            let p = probabilities.map(f32::from_bits);
            format!("{} {p:?}", name.unwrap_or(&"?"))
        }
        Bits::Steer(q16) => format!("factors {:?}", q16.map(|q16| f64::from(q16) / 65_536.0)),
        Bits::SetPoints(bits) => format!("set-points {:?}", bits.map(f64::from_bits)),
    }
}

/// A decision, and what the other engine's last one was at that time.
#[derive(Debug, Clone, PartialEq)]
struct Compared {
    /// Time since the first decision, s.
    time_s: f64,
    queue: String,
    recorded: Setting,
    other: Setting,
    /// Largest relative difference of a set-point; 1 for another action.
    difference: f64,
}

/// The content of an override.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    Action(&'static str),
    SetPoints {
        target_ms: f64,
        alpha_hz: f64,
        beta_hz: f64,
        tupdate_ms: f64,
        coupling: f64,
    },
}

impl Compared {
    /// `None` if either had no override.
    fn of(made: &Made, origin_ns: u64) -> Option<Compared> {
        let scheduler = made.scheduler?;
        let recorded = Setting::of(&made.sent?, &made.base);
        let other = Setting::of(&made.other?, &made.base);
        Some(Compared {
            time_s: made.now_ns.saturating_sub(origin_ns) as f64 / 1e9,
            queue: format!("{}.{}", scheduler.sched, scheduler.instance),
            recorded,
            other,
            difference: recorded.difference(&other),
        })
    }
}

impl Setting {
    fn of(order: &Override, base: &BaseValues) -> Setting {
        let factors = match order.mode {
            Mode::Once { action, .. } | Mode::Hold { action, .. } => {
                return Setting::Action(["enqueue", "drop", "mark"][action.index()]);
            }
            Mode::Steer(steer) => steer.factors(),
        };
        let of = |factor: Option<Factor>| {
            factor.map_or(1.0, |factor| f64::from(factor.q16()) / 65_536.0)
        };
        Setting::SetPoints {
            target_ms: of(factors.target) * base.target_ns as f64 / 1e6,
            alpha_hz: of(factors.alpha) * f64::from(base.alpha_uhz) / 1e6,
            beta_hz: of(factors.beta) * f64::from(base.beta_uhz) / 1e6,
            tupdate_ms: of(factors.tupdate) * base.tupdate_ns as f64 / 1e6,
            coupling: of(factors.coupling) * f64::from(base.coupling_q8) / 256.0,
        }
    }

    fn values(&self) -> Option<[f64; 5]> {
        match *self {
            Setting::Action(_) => None,
            Setting::SetPoints {
                target_ms,
                alpha_hz,
                beta_hz,
                tupdate_ms,
                coupling,
            } => Some([target_ms, alpha_hz, beta_hz, tupdate_ms, coupling]),
        }
    }

    fn difference(&self, other: &Setting) -> f64 {
        match (self.values(), other.values()) {
            (Some(own), Some(other)) => {
                let ratios = own.iter().zip(other);
                let relative = ratios.map(|(own, other)| match *own == other {
                    true => 0.0,
                    false => (other / own - 1.0).abs(),
                });
                relative.fold(0.0, f64::max)
            }
            _ => f64::from(u8::from(self != other)),
        }
    }

    fn cells(&self) -> [Value; 4] {
        match *self {
            Setting::Action(name) => [name.into(), "".into(), "".into(), "".into()],
            Setting::SetPoints {
                target_ms,
                beta_hz,
                coupling,
                tupdate_ms,
                ..
            } => [
                Value::from(target_ms),
                Value::from(beta_hz),
                Value::from(coupling),
                Value::from(tupdate_ms),
            ],
        }
    }
}

/// The table of `--policy`: the recorded and the other decision.
fn table(rows: &[Compared]) -> Rows {
    let mut table = Rows::default();
    for row in rows {
        let [target, beta, k, tupdate] = row.recorded.cells();
        let [other_target, other_beta, other_k, other_tupdate] = row.other.cells();
        table.push(
            [
                ("time s", Value::from(row.time_s)),
                ("queue", row.queue.as_str().into()),
                ("target ms", target),
                ("other target ms", other_target),
                ("beta Hz", beta),
                ("other beta Hz", other_beta),
                ("k", k),
                ("other k", other_k),
                ("tupdate ms", tupdate),
                ("other tupdate ms", other_tupdate),
                ("difference", Value::from(row.difference)),
            ],
            &(),
        );
    }
    table
}

/// Appends the comparison with the other engine as text.
fn compare(out: &mut String, other: &str, mut rows: Vec<Compared>, differing: usize, most: usize) {
    let _ = writeln!(out, "other      {other}");
    let _ = writeln!(
        out,
        "compared   {} decisions with its last one before each; {differing} differ",
        rows.len()
    );
    let all = rows.len();
    if most > 0 && all > most {
        rows.sort_by(|a, b| b.difference.total_cmp(&a.difference));
        rows.truncate(most);
        let _ = writeln!(
            out,
            "shown      the {most} largest differences (--rows 0: all)"
        );
    }
    if all > 0 {
        out.push('\n');
        out.push_str(&table(&rows).text());
    }
}
