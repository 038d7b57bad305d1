//! `l4sllm prague`: UDP Prague between hosts.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Subcommand};
use l4sllm_lab::prague::{self, Options, Report};
use l4sllm_model::strict_toml::RATE;

use crate::duration;
use crate::format::{Format, FormatArgs, print_json, print_values};
use crate::output::{note, print};

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Send or receive UDP Prague traffic, to measure a path with L4S.
///
/// Both ends interoperate with udp_prague (github.com/L4STeam/udp_prague). The
/// congestion control is the emulator's.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm prague receive 0.0.0.0:8080
  l4sllm prague send 192.0.2.1:8080 --duration 10s")]
pub struct PragueArgs {
    #[command(subcommand)]
    command: PragueCommand,
}

#[derive(Debug, Subcommand)]
enum PragueCommand {
    Send(SendArgs),
    Receive(ReceiveArgs),
}

/// Send to a receiver until Ctrl-C, SIGTERM or the end of `--duration`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm prague send 192.0.2.1:8080 --duration 10s
  l4sllm prague send 192.0.2.1:8080 --max-rate 5Mbit/s --format json")]
struct SendArgs {
    /// Address of the receiver.
    #[arg(value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// Maximum rate on the wire [default: none].
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_rate: Option<u64>,
    /// Maximum packet length with all headers, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(200..=9000))]
    packet: u32,
    /// End after this time.
    #[arg(long, value_name = "TIME", value_parser = duration::repetition)]
    duration: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Receive from the first sender until Ctrl-C, SIGTERM or the end of `--duration`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm prague receive 0.0.0.0:8080
  l4sllm prague receive [::]:8080 --duration 1min --format json")]
struct ReceiveArgs {
    /// Local address.
    #[arg(value_name = "ADDRESS:PORT")]
    local: SocketAddr,
    /// End after this time.
    #[arg(long, value_name = "TIME", value_parser = duration::repetition)]
    duration: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// Length of an interval of the report.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: u64,
    #[command(flatten)]
    format: FormatArgs,
}

fn rate(text: &str) -> Result<u64, String> {
    RATE.parse(text)
}

fn interval(text: &str) -> Result<u64, String> {
    duration::within(text, MS..=3600 * S)
}

/// Runs the subcommand and prints its report.
pub fn run(args: &PragueArgs, cancel: &AtomicBool) -> anyhow::Result<()> {
    let (report, output) = match &args.command {
        PragueCommand::Send(args) => {
            let options = Options {
                to: args.to,
                max_bps: args.max_rate,
                packet_bytes: args.packet,
                duration: args.duration.map(Duration::from_nanos),
                every_ns: args.output.interval,
            };
            (prague::send(&options, cancel)?, &args.output)
        }
        PragueCommand::Receive(args) => {
            let ready = |local: SocketAddr| note!("receives on {local}; Ctrl-C ends it");
            let most = args.duration.map(Duration::from_nanos);
            let every_ns = args.output.interval;
            (
                prague::receive(args.local, every_ns, most, cancel, ready)?,
                &args.output,
            )
        }
    };
    match output.format.format {
        Format::Text => print(&text(&report)),
        Format::Csv => print_values(&report),
        Format::Json => print_json(&report),
    }
}

/// A line for each interval, and the totals.
fn text(report: &Report) -> String {
    let mut text = "   from s     to s    Mbit/s  marked  window, B    RTT, ms\n".to_owned();
    for interval in &report.intervals {
        let [stream] = &interval.streams;
        let seconds = (stream.end - stream.start).max(1e-9);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:9.1}{:9.1}{:10.3}{:8}{:11}{:11.3}",
            stream.start,
            stream.end,
            stream.bytes as f64 * 8.0 / seconds / 1e6,
            stream.marked,
            stream.snd_cwnd,
            stream.rtt as f64 / 1e3
        );
    }
    let _ = writeln!(
        text,
        "{:.3} Mbit/s of payload in {:.1} s: {} packets received, {} marked, {} lost",
        report.goodput_bits_per_s / 1e6,
        report.seconds,
        report.received,
        report.marked,
        report.lost
    );
    if report.bleached {
        text.push_str("warning: the path clears ECN: packets arrived with neither ECT(1) nor CE\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_lab::prague::{Interval, Stream};

    #[test]
    fn a_report_fits_80_columns_and_warns() {
        let stream = Stream {
            start: 86_399.0,
            end: 86_400.0,
            bytes: 1_250_000_000,
            marked: 123_456,
            snd_cwnd: 100_000_000,
            rtt: 1_000_000,
        };
        let report = Report {
            intervals: vec![Interval { streams: [stream] }],
            received: 7,
            bleached: true,
            ..Report::default()
        };
        let text = text(&report);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("10000.000"), "{text}");
        assert!(text.contains("7 packets received"), "{text}");
        assert!(text.contains("warning: the path clears ECN"), "{text}");
    }
}
