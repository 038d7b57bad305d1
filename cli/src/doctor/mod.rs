//! `l4sllm doctor`: finds the reason when the queue does not work as expected.
//!
//! Facts are collected from the device, the daemon and the system; findings are
//! a pure function of the facts.

mod collect;
mod diagnose;
mod facts;
#[cfg(any(test, target_os = "freebsd"))]
mod freebsd;

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use l4sllm_model::text::printable;
use l4sllm_report::Rows;
use l4sllmd::config::DEFAULT_SOCKET;
use serde::Serialize;
use serde_json::json;

use crate::duration;
use crate::format::{Format, FormatArgs, print_json, print_rows};
use crate::output::{Done, Palette, Tone, print_painted};
use diagnose::{Finding, Level, diagnose};

/// Diagnose what keeps the queue from working on this router, and print the
/// command that fixes each finding.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm doctor
  l4sllm doctor --device /tmp/l4sllm-device.sock --watch 5s
  l4sllm doctor --format json")]
pub struct DoctorArgs {
    /// The Unix socket of an emulated device, instead of /dev/l4sllm.
    #[arg(long, value_name = "SOCKET")]
    device: Option<PathBuf>,
    /// The daemon's status socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How long to watch the queue, 1ms to 1min.
    #[arg(long = "watch", value_name = "TIME", default_value = "1s",
          value_parser = duration::watch)]
    watch_ns: u64,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    findings: &'a [Finding],
}

/// Diagnoses, prints, and returns whether all is well.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Done> {
    let facts = collect::facts(args)?;
    let findings = diagnose(&facts);
    let healthy = findings.iter().all(|f| f.level != Level::Problem);
    match args.format.format {
        Format::Text => print_painted(&describe(&findings, Palette::of_stdout()))?,
        Format::Csv => {
            let mut rows = Rows::default();
            for finding in &findings {
                let row = [
                    ("level", json!(finding.level)),
                    ("about", finding.about.into()),
                    ("text", finding.text.clone().into()),
                    ("command", json!(finding.command)),
                ];
                rows.push(row, &());
            }
            print_rows(Format::Csv, &rows)?;
        }
        Format::Json => {
            let findings = findings.as_slice();
            print_json(&Report { healthy, findings })?;
        }
    }
    Ok(if healthy {
        Done::Finished
    } else {
        Done::Unhealthy
    })
}

fn describe(findings: &[Finding], palette: Palette) -> String {
    let mut out = String::new();
    for finding in findings {
        let (level, tone) = match finding.level {
            Level::Ok => ("ok", Tone::Good),
            Level::Note => ("note", Tone::Doubtful),
            Level::Problem => ("PROBLEM", Tone::Bad),
        };
        let level = palette.paint(tone, &format!("{level:<8}"));
        // The text contains paths and messages from the daemon.
        let text = printable(&finding.text);
        let _ = writeln!(out, "{level} {:<10} {text}", finding.about);
        if let Some(command) = &finding.command {
            let _ = writeln!(out, "{:<19} # {}", "", printable(command));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_coloured_and_control_characters_escaped() {
        let finding = Finding {
            level: Level::Problem,
            about: "daemon",
            text: "says \x1b[2J".to_owned(),
            command: None,
        };
        let text = describe(&[finding], Palette { colour: true });
        assert_eq!(
            text,
            "\x1b[1;31mPROBLEM \x1b[0m daemon     says \\u{1b}[2J\n"
        );
    }
}
