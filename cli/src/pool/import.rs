//! `l4sllm pool import`: pools from logs, tables and captures.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use l4sllm_abi::{Decoder, Message};
use l4sllm_model::Reward;
use l4sllm_model::files::AtomicFile;
use l4sllm_model::log::{ClockOptions, Entry, LogReader, LogWriter, oldest_first};
use l4sllm_model::pool::{
    ACCEPTED, ActionCodes, CaptureReader, CsvReader, EpisodeRule, Format, KernelLog, Source,
    TableOptions, open,
};
use l4sllm_model::text::shown;

use super::{PoolOut, RewardArgs, bar, check, copy, finish, pour, report, size};
use crate::output::{ensure_usage, errln, existing, outln};

/// Average rows per episode below which a log may contain two schedulers.
const SHORT: u64 = 20;

/// Make a pool from kernel logs, a table (CSV) or a device capture.
///
/// File type and compression (gzip, Zstandard) are recognised by content.
/// Rotated logs may be given in any order: they are read oldest first,
/// following the names given by newsyslog and logrotate or, if names do not
/// determine the order, their first times. Each machine's log is a separate
/// episode. - is the standard input. Damaged lines, and lines without a
/// readable time, are counted and shown.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm pool import /var/log/messages* --out pool.parquet
  l4sllm pool import exp_pool.csv --out pool.parquet
  zcat messages.gz | l4sllm pool import - --out pool.json")]
pub struct ImportArgs {
    /// Logs, or a single table or capture.
    #[arg(required = true)]
    input: Vec<PathBuf>,
    #[command(flatten)]
    out: PoolOut,
    /// Name of the scenario [default: the file's name; in a log of several
    /// machines, that of each machine's file].
    #[arg(long)]
    scenario: Option<String>,
    /// Where episodes of a log begin.
    #[arg(long, value_enum, default_value_t = Episodes::Counters)]
    episodes: Episodes,
    /// Year of the first line of a log whose times lack the year ("Nov 20
    /// 10:11:12") [default: from file names and other lines].
    #[arg(long, value_parser = clap::value_parser!(i64).range(1970..=2261))]
    year: Option<i64>,
    /// Zone of times that lack one, such as +01:00 [default: from other lines].
    #[arg(long, allow_hyphen_values = true, value_parser = zone)]
    zone: Option<i32>,
    /// Whether a table's actions count from 0 (enqueue, drop, mark) or 1
    /// [default: from 0 in a column "action", from the values in a column
    /// "dequeue_action"].
    #[arg(long, value_enum)]
    actions_from: Option<ActionsFrom>,
    #[command(flatten)]
    reward: RewardArgs,
}

/// The code of enqueue.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ActionsFrom {
    /// 0 enqueue, 1 drop, 2 mark.
    #[value(name = "0")]
    Zero,
    /// 1 enqueue, 2 drop, 3 mark.
    #[value(name = "1")]
    One,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Episodes {
    /// Where a queue's packet count decreases: the scheduler was recreated.
    Counters,
    /// Only where another machine's log begins.
    One,
}

/// Imports; if `cancel` is set, no pool is written.
pub fn run(args: &ImportArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let reward = args.reward.reward()?;
    check_paths(args)?;
    let first = args.input.first().context("no input")?;
    let scenario = args.scenario.clone().unwrap_or_else(|| name(first));
    let bytes = args.input.iter().map(|path| size(path)).sum();
    match formats(&args.input)? {
        Format::Parquet | Format::Json => {
            // Damaged input and ignored columns are reported with the reason.
            open(first).with_context(|| {
                format!(
                    "{}: cannot be read as a pool; import a table as CSV, as written by \
                     df.to_csv(\"pool.csv\", index=False)",
                    shown(first)
                )
            })?;
            bail!(
                "{}: is already a pool; see l4sllm pool convert and merge",
                shown(first)
            )
        }
        Format::Foreign(what) => bail!("{}: {what}; accepted are {ACCEPTED}", shown(first)),
        Format::Table => {
            let options = TableOptions {
                scenario: &scenario,
                reward,
                actions: args.actions_from.map(|from| match from {
                    ActionsFrom::Zero => ActionCodes::FromZero,
                    ActionsFrom::One => ActionCodes::FromOne,
                }),
            };
            let table = CsvReader::open(first, options)?;
            copy(table, first, &args.out, bytes, cancel)
        }
        Format::Capture => {
            let capture = CaptureReader::open(first, &scenario, reward)?;
            let (lost, holes) = (capture.lost(), capture.holes());
            if lost > 0 || holes > 0 {
                errln!(
                    "{}: {lost} messages were lost, with {holes} gaps in the sequence; each gap \
                     begins a new episode",
                    shown(first)
                );
            }
            copy(capture, first, &args.out, bytes, cancel)
        }
        Format::Text(what) => import_log(args, reward, &what, cancel),
    }
}

/// Reads text as logs; `what` describes the type of the first file.
fn import_log(
    args: &ImportArgs,
    reward: Reward,
    what: &str,
    cancel: &AtomicBool,
) -> anyhow::Result<()> {
    let rule = match args.episodes {
        Episodes::Counters => EpisodeRule::Counters,
        Episodes::One => EpisodeRule::One,
    };
    let options = ClockOptions {
        year: args.year,
        zone: args.zone,
    };
    let order = oldest_first(&args.input, args.year);
    for conflict in &order.conflicts {
        errln!("order of files: {conflict}");
    }
    let reader = LogReader::ordered(order.files, options);
    let mut log = KernelLog::open(reader, args.scenario.as_deref(), rule, reward, cancel)?;
    let mut sink = args.out.create(log.schema())?;
    let bar = bar(args.input.iter().map(|path| size(path)).sum())?;
    let poured = pour(&mut log, &mut sink, &bar, 0, cancel);
    bar.suspend(|| report::print(log.tally()));
    poured?;
    let (rows, episodes) = sink.size();
    if log.tally().entries == 0 {
        let first = args.input.first().map(|path| shown(path).to_string());
        let first = first.unwrap_or_default();
        bail!("{first}: contains no line of the kernel log, but {what}; accepted are {ACCEPTED}");
    }
    // Another machine's log is always another episode.
    let machines = log.tally().hosts.len().max(1) as u64 + log.tally().restarts;
    let more = u64::from(episodes) > machines && args.episodes == Episodes::Counters;
    if more && rows / u64::from(episodes) < SHORT {
        bar.suspend(|| {
            errln!(
                "{rows} rows in {episodes} episodes: do two schedulers share the log?  Use \
                 --episodes one to keep it whole"
            );
        });
    }
    finish(sink, &args.out.path, &bar)
}

/// Writes a capture's records as lines of the kernel log.
pub fn write_log(
    capture: &Path,
    out: &Path,
    force: bool,
    cancel: &AtomicBool,
) -> anyhow::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let unread = || format!("cannot read {}", capture.display());
    let unwritten = || format!("cannot write {}", out.display());
    let mut file = File::open(capture).with_context(unread)?;
    let log = AtomicFile::create(out, existing(out, force)?).with_context(unwritten)?;
    let mut log = LogWriter::new(BufWriter::new(log));
    let mut decoder = Decoder::new();
    let mut bytes = Vec::new();
    let (mut at, mut lines) = (0, 0);
    loop {
        check(cancel)?;
        let got = (&mut file).take(CHUNK).read_to_end(&mut bytes);
        if got.with_context(unread)? == 0 {
            break;
        }
        let mut rest = &bytes[..];
        loop {
            let place = || format!("{}: byte {at}", capture.display());
            let length = Message::length(rest).with_context(place)?;
            // A message cut by the end of a capture is ignored.
            let Some((message, after)) = length.and_then(|n| rest.split_at_checked(n)) else {
                break;
            };
            if let Message::Decision(record) = decoder.decode(message).with_context(place)? {
                let entry = Entry::try_from(&record).with_context(place)?;
                log.write(&entry).with_context(unwritten)?;
                lines += 1;
            }
            at += message.len();
            rest = after;
        }
        let left = rest.len();
        bytes.drain(..bytes.len() - left);
    }
    ensure!(
        lines > 0,
        "{}: contains no message of a device",
        capture.display()
    );
    let file = log.finish().with_context(unwritten)?.into_inner();
    let file = file.map_err(|error| error.into_error());
    file.and_then(AtomicFile::commit).with_context(unwritten)?;
    outln!("{}: {lines} lines", out.display())
}

/// Refuses inputs that would lose or duplicate rows, and finds errors early
/// that would otherwise appear after minutes of reading.
fn check_paths(args: &ImportArgs) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for path in &args.input {
        let name = path.display();
        if path != Path::new("-") {
            let facts = std::fs::metadata(path);
            let facts = facts.with_context(|| format!("cannot open {name}"))?;
            ensure!(!facts.is_dir(), "{name}: is a directory");
        }
        // A pipe has no name, so the given one is used.
        let place = path.canonicalize().unwrap_or_else(|_| path.clone());
        ensure!(!known.contains(&place), "{name}: given twice");
        known.push(place);
    }
    let out = args.out.path.canonicalize();
    let is_input = out.is_ok_and(|out| known.contains(&out));
    ensure_usage!(!is_input, "--out {}: is an input", shown(&args.out.path));
    existing(&args.out.path, args.out.force)?;
    Ok(())
}

/// The type of the inputs; several inputs must be logs.
fn formats(inputs: &[PathBuf]) -> anyhow::Result<Format> {
    let mut first = None;
    for path in inputs {
        let format = match path.is_file() {
            true => Format::of(path)?,
            // A pipe cannot be inspected without consuming its data.
            false => Format::Text("tables and captures can be read only from files".to_owned()),
        };
        if inputs.len() > 1 && !matches!(format, Format::Text(_)) {
            if let Format::Foreign(what) = format {
                bail!("{}: {what}", shown(path));
            }
            bail!(
                "{}: several files: only logs can be read together",
                shown(path)
            );
        }
        first = first.or(Some(format));
    }
    first.context("no input")
}

fn name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "-".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

/// Seconds east of UTC of `+01:00`, `-0330`, `Z`.
fn zone(text: &str) -> Result<i32, String> {
    let want = || "expected Z or an offset as +01:00".to_owned();
    if text == "Z" {
        return Ok(0);
    }
    let sign = match text.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => return Err(want()),
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    let number = digits.parse::<i32>().ok();
    match number {
        Some(number) if digits.len() == 4 && number / 100 < 24 && number % 100 < 60 => {
            Ok(sign * (number / 100 * 3600 + number % 100 * 60))
        }
        _ => Err(want()),
    }
}

#[cfg(test)]
mod tests {
    use super::zone;

    #[test]
    fn time_zones_parse_as_offsets() {
        assert_eq!(zone("Z"), Ok(0));
        assert_eq!(zone("+01:00"), Ok(3600));
        assert_eq!(zone("-0330"), Ok(-12_600));
        for wrong in ["", "1", "CET", "+1", "+24:00", "+0160", "+é"] {
            assert!(zone(wrong).is_err(), "{wrong}");
        }
    }
}
