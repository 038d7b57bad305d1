//! iperf3: its arguments and its JSON.

use serde::Deserialize;

use l4sllm_testbed::result::{FlowMeta, FlowRow};
use l4sllm_testbed::scenario::Scenario;

use crate::traffic::{Kind, Sender};

/// Bytes of a read and a write. Its default of 128 KiB is 0.3 s at 4 Mbit/s, and
/// it counts whole blocks.
const BLOCK: &str = "8192";
/// Shortest interval that it reports, s.
const LEAST_INTERVAL_S: f64 = 0.1;

/// Arguments of the server of `sender`, with a report every `sample_ns`.
pub fn server(sender: &Sender, sample_ns: u64) -> Vec<String> {
    let mut arguments = common(sender, sample_ns);
    arguments.extend(["--server", "--one-off"].map(str::to_owned));
    arguments
}

/// Arguments of the client of `sender`, which sends to `server` for `seconds`.
pub fn client(sender: &Sender, sample_ns: u64, seconds: u64, server: &str) -> Vec<String> {
    let mut arguments = common(sender, sample_ns);
    let mut add = |key: &str, value: String| arguments.extend([key.to_owned(), value]);
    add("--client", server.to_owned());
    add("--time", seconds.to_string());
    match &sender.kind {
        Kind::Tcp(control) => {
            add("--congestion", control.clone());
            add("--length", BLOCK.to_owned());
        }
        Kind::Udp {
            payload,
            bits_per_s,
            codepoint,
        } => {
            add("--bitrate", bits_per_s.to_string());
            add("--length", payload.to_string());
            add("--tos", codepoint.to_string());
            arguments.push("--udp".to_owned());
        }
        // Another program.
        Kind::Prague { .. } => {}
    }
    arguments
}

fn common(sender: &Sender, sample_ns: u64) -> Vec<String> {
    let interval = (sample_ns as f64 / 1e9).max(LEAST_INTERVAL_S);
    let (port, interval) = (sender.port.to_string(), interval.to_string());
    ["--json", "--port", &port, "--interval", &interval]
        .map(str::to_owned)
        .to_vec()
}

/// Both ends' reports on a flow.
pub(crate) struct Reports {
    pub client: Log,
    pub server: Log,
}

impl Reports {
    /// Adds goodput and retransmissions to `flow`, and the sender's samples to
    /// `samples`. The first data arrived at the queue at `first_ns`.
    pub(crate) fn add(
        &self,
        sender: &Sender,
        first_ns: u64,
        scenario: &Scenario,
        flow: &mut FlowMeta,
        samples: &mut Vec<FlowRow>,
    ) {
        let received_ns = first_ns + sender.delay.forward_ns;
        let second = |ns: u64| (ns as f64 - received_ns as f64) / 1e9;
        let end_ns = flow.end_ns.min(scenario.duration_ns);
        let (from_s, to_s) = (second(scenario.warmup_ns), second(end_ns));
        flow.goodput_bytes += self.server.bytes_within(from_s, to_s);
        flow.retransmits += self.client.retransmits();
        samples.extend(self.client.rows(sender.reported, first_ns));
    }
}

/// Report on one connection.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Log {
    #[serde(default)]
    intervals: Vec<Interval>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Interval {
    streams: Vec<Stream>,
}

/// Times are s after the start of the test, the round-trip time is in us.
#[derive(Debug, Clone, Deserialize)]
struct Stream {
    start: f64,
    end: f64,
    bytes: u64,
    #[serde(default)]
    retransmits: u64,
    #[serde(default)]
    snd_cwnd: u64,
    #[serde(default)]
    rtt: u64,
}

impl Log {
    /// Parses its JSON.
    ///
    /// # Errors
    /// The program printed something else.
    pub fn parse(json: &[u8]) -> Result<Log, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The error that it reports, other than the end that the lab causes.
    pub fn error(&self) -> Option<&str> {
        let error = self.error.as_deref()?;
        let expected = ["interrupt", "has terminated"];
        (!expected.iter().any(|part| error.contains(part))).then_some(error)
    }

    /// Bytes in the intervals from `from_s` to `to_s`; an interval that is partly
    /// in this time counts in proportion.
    pub fn bytes_within(&self, from_s: f64, to_s: f64) -> u64 {
        let share = |stream: &Stream| {
            let inside = stream.end.min(to_s) - stream.start.max(from_s);
            let share = inside / (stream.end - stream.start).max(1e-9);
            stream.bytes as f64 * share.clamp(0.0, 1.0)
        };
        self.streams().map(share).sum::<f64>() as u64
    }

    /// Segments that the sender sent again.
    pub fn retransmits(&self) -> u64 {
        self.streams().map(|stream| stream.retransmits).sum()
    }

    /// The sender's state at the end of each interval, for a test that began at
    /// `began_ns`.
    pub fn rows(&self, flow: u32, began_ns: u64) -> Vec<FlowRow> {
        let mut delivered_bytes = 0;
        let row = |stream: &Stream| {
            delivered_bytes += stream.bytes;
            FlowRow {
                time_ns: began_ns + (stream.end * 1e9) as u64,
                flow,
                cwnd_bytes: stream.snd_cwnd,
                srtt_ns: stream.rtt * 1000,
                delivered_bytes,
            }
        };
        self.streams().map(row).collect()
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.intervals.iter().flat_map(|interval| &interval.streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "start": {"version": "iperf 3.12"},
        "intervals": [
            {"streams": [{"socket": 5, "start": 0, "end": 0.5, "bytes": 1000, "retransmits": 1,
                "snd_cwnd": 2896, "rtt": 27, "sender": true}], "sum": {}},
            {"streams": [{"socket": 5, "start": 0.5, "end": 1.5, "bytes": 4000, "retransmits": 2,
                "snd_cwnd": 5792, "rtt": 40, "sender": true}], "sum": {}}
        ],
        "end": {},
        "error": "interrupt - the client has terminated"
    }"#;

    #[test]
    fn a_report_has_goodput_and_samples() {
        let log = Log::parse(REPORT.as_bytes()).unwrap();
        assert_eq!(log.error(), None);
        assert_eq!(log.bytes_within(0.0, 10.0), 5000);
        assert_eq!(log.bytes_within(0.25, 0.75), 1500);
        assert_eq!(log.bytes_within(2.0, 3.0), 0);
        assert_eq!(log.retransmits(), 3);
        let rows = log.rows(7, 1_000_000_000);
        assert_eq!(rows.len(), 2);
        let last = FlowRow {
            time_ns: 2_500_000_000,
            flow: 7,
            cwnd_bytes: 5792,
            srtt_ns: 40_000,
            delivered_bytes: 5000,
        };
        assert_eq!(rows[1], last);
    }

    #[test]
    fn a_refusal_is_an_error() {
        let json = br#"{"start": {}, "intervals": [], "end": {}, "error": "unable to connect"}"#;
        let log = Log::parse(json).unwrap();
        assert_eq!(log.error(), Some("unable to connect"));
        assert!(Log::parse(b"oops").is_err());
    }
}
