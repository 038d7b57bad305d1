//! `l4sllm pool import`: pools from logs, tables and captures.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use l4sllm_abi::{MESSAGE_SIZE, Message, messages};
use l4sllm_model::log::{Entry, Fault, LogWriter, Tally, oldest_first};
use l4sllm_model::pool::{
    CaptureReader, CsvReader, EpisodeRule, KernelLog, Part, Sink, Source, open,
};

use super::{RewardArgs, bar, check, copy, finish, pour, size};
use crate::output::outln;

/// Rows of an episode on average below which two schedulers may be in a log.
const SHORT: u64 = 20;

/// Make a pool of kernel logs, a table (CSV) or a device capture.
///
/// What a file is, and whether it is packed (gzip, Zstandard), is told by its
/// content.  Rotated logs may be named together in any order: messages.1.gz is
/// read before messages.0.gz, and that before messages; - is the standard
/// input.  Damaged lines of a log are counted, and the first few are shown.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Logs, or one table or capture.
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// The pool to write: JSON if it ends in .json, else Parquet.
    #[arg(long)]
    out: PathBuf,
    /// Name of what was run [default: the first file's].
    #[arg(long)]
    scenario: Option<String>,
    /// Where an episode of a log begins.
    #[arg(long, value_enum, default_value_t = Episodes::Counters)]
    episodes: Episodes,
    #[command(flatten)]
    reward: RewardArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Episodes {
    /// Where a queue's count of packets falls: the scheduler was made anew.
    Counters,
    /// Nowhere: all is one episode.
    One,
}

/// Imports; a set `cancel` leaves no pool.
pub fn run(args: &ImportArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let reward = args.reward.reward()?;
    check_paths(args)?;
    let first = args.input.first().context("no input")?;
    let scenario = args.scenario.clone().unwrap_or_else(|| name(first));
    let bytes = args.input.iter().map(|path| size(path)).sum();
    let kind = kind(first)?;
    let several = args.input.len() > 1 && kind != Kind::Log;
    ensure!(!several, "several files: only logs are read together");
    match kind {
        Kind::Pool => {
            // What is none has its reason told.
            open(first)?;
            bail!(
                "{}: is a pool already: see l4sllm pool convert and merge",
                first.display()
            )
        }
        Kind::Table => {
            let table = CsvReader::open(first, &scenario, reward)?;
            let ignored = table.ignored().join(", ");
            if !ignored.is_empty() {
                eprintln!("{}: columns not taken: {ignored}", first.display());
            }
            copy(table, &args.out, bytes, cancel)
        }
        Kind::Capture => {
            let capture = CaptureReader::open(first, &scenario, reward)?;
            let (lost, holes) = (capture.lost(), capture.holes());
            if lost > 0 || holes > 0 {
                eprintln!(
                    "{}: {lost} messages were lost, and {holes} times the numbers jump: \
                     episodes begin anew there",
                    first.display()
                );
            }
            copy(capture, &args.out, bytes, cancel)
        }
        Kind::Log => {
            let rule = match args.episodes {
                Episodes::Counters => EpisodeRule::Counters,
                Episodes::One => EpisodeRule::One,
            };
            let mut log = KernelLog::open(oldest_first(&args.input), &scenario, rule, reward)?;
            let mut sink = Sink::create(&args.out, log.schema())?;
            let bar = bar(bytes)?;
            let poured = pour(&mut log, &mut sink, &bar, 0, cancel);
            bar.suspend(|| tell(log.tally()));
            poured?;
            let (rows, episodes) = sink.size();
            if log.tally().entries == 0 {
                let hint = match first.is_file() {
                    true => "",
                    false => "; tables and captures are read from files only",
                };
                bail!("{}: no line of the kernel log{hint}", first.display());
            }
            if episodes > 1 && rows / u64::from(episodes) < SHORT {
                bar.suspend(|| {
                    eprintln!(
                        "{rows} rows in {episodes} episodes: do two schedulers share the log?  \
                         --episodes one leaves it whole"
                    );
                });
            }
            finish(sink, &args.out, &bar)
        }
    }
}

/// Writes a capture's records as lines of the kernel log.
pub fn write_log(capture: &Path, out: &Path, cancel: &AtomicBool) -> anyhow::Result<()> {
    const MESSAGES: u64 = 4096;
    let unread = || format!("cannot read {}", capture.display());
    let unwritten = || format!("cannot write {}", out.display());
    let mut file = File::open(capture).with_context(unread)?;
    let (part, log) = Part::create(out)?;
    let mut log = LogWriter::new(BufWriter::new(log));
    let mut bytes = Vec::new();
    let (mut at, mut lines) = (0, 0);
    loop {
        check(cancel)?;
        bytes.clear();
        let most = MESSAGES * MESSAGE_SIZE as u64;
        let got = (&mut file).take(most).read_to_end(&mut bytes);
        if got.with_context(unread)? == 0 {
            break;
        }
        // What the end of a capture cuts is no message.
        let whole = bytes.len() - bytes.len() % MESSAGE_SIZE;
        for message in messages(&bytes[..whole]) {
            let place = || format!("{}: byte {at}", capture.display());
            if let Message::Decision(record) = message.with_context(place)? {
                let entry = Entry::try_from(&record).with_context(place)?;
                log.write(&entry).with_context(unwritten)?;
                lines += 1;
            }
            at += MESSAGE_SIZE;
        }
    }
    ensure!(lines > 0, "{}: no message of a device", capture.display());
    let file = log.finish().with_context(unwritten)?;
    part.complete(file.get_ref())?;
    outln!("{}: {lines} lines", out.display())
}

#[derive(PartialEq)]
enum Kind {
    Log,
    Table,
    Capture,
    Pool,
}

/// What would lose rows, or count them twice, or be found only after others
/// were read for minutes.
fn check_paths(args: &ImportArgs) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for path in &args.input {
        let name = path.display();
        if path != Path::new("-") {
            let facts = std::fs::metadata(path);
            let facts = facts.with_context(|| format!("cannot open {name}"))?;
            ensure!(!facts.is_dir(), "{name}: is a directory");
        }
        // A pipe that has no name is known by the one given.
        let place = path.canonicalize().unwrap_or_else(|_| path.clone());
        ensure!(!known.contains(&place), "{name}: named twice");
        known.push(place);
    }
    let out = args.out.canonicalize();
    let is_input = out.is_ok_and(|out| known.contains(&out));
    ensure!(!is_input, "--out {}: is an input", args.out.display());
    Ok(())
}

/// By content; anything else is a log.
fn kind(path: &Path) -> anyhow::Result<Kind> {
    // What is looked at in a pipe is gone.
    if !path.is_file() {
        return Ok(Kind::Log);
    }
    let mut head = Vec::new();
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let read = (&mut file).take(4096).read_to_end(&mut head);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(if head.starts_with(b"PAR1") || head.starts_with(b"{") {
        Kind::Pool
    } else if CaptureReader::is_one(&head) {
        Kind::Capture
    } else if CsvReader::is_one(&head) {
        Kind::Table
    } else {
        Kind::Log
    })
}

fn name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "-".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

/// What of a log was not used, on standard error.
fn tell(tally: &Tally) {
    for shown in &tally.shown {
        let (path, line, fault) = (shown.path.display(), shown.line, shown.fault);
        if shown.text.is_empty() {
            eprintln!("{path}:{line}: {fault}");
        } else {
            eprintln!("{path}:{line}: {fault}: {:?}", shown.text);
        }
    }
    let bad = tally.bad();
    if bad > 0 {
        let s = if bad == 1 { "" } else { "s" };
        eprintln!("{bad} fault{s} in {} lines:", tally.lines);
    }
    for (reason, count) in Fault::REASONS.iter().zip(tally.faults) {
        if count > 0 {
            eprintln!("{count:>10}  {reason}");
        }
    }
    if tally.other_lines > 0 {
        eprintln!("{} lines of something else", tally.other_lines);
    }
    if tally.repeats > 0 {
        eprintln!(
            "{} repetitions that syslogd left out (it keeps them with -cc)",
            tally.repeats
        );
    }
}
