//! A repetition as a data file of flent (`flent/resultset.py`, format 4).

use std::collections::BTreeMap;

use l4sllm_testbed::result::{FlowRow, PacketRow, ResultError, Stored};
use serde_json::{Value, json};

/// Step between values of a series, s: flent's default.
const STEP_S: f64 = 0.2;

/// Start of virtual time for flent, which requires a date: 2000-01-01, in
/// seconds since 1970.
const EPOCH: (&str, f64) = ("2000-01-01T00:00:00.000000Z", 946_684_800.0);

/// One series: an optional value for each step.
struct Series {
    name: String,
    unit: &'static str,
    values: Vec<Option<f64>>,
}

/// The data file named `file` of one repetition, including the warm-up.
///
/// # Errors
/// The rows cannot be read.
pub fn data(result: &Stored, arm: &str, repetition: u32, file: &str) -> Result<Value, ResultError> {
    let meta = result.meta(arm, repetition)?;
    let steps = (meta.virtual_s / STEP_S).round() as usize;
    let mut delays = Delays::new(steps);
    result.for_each_packets(arm, repetition, |rows| delays.add(rows))?;
    let mut samples = Vec::new();
    result.for_each_flows(arm, repetition, |rows| samples.extend_from_slice(rows))?;
    let rates = rates(&samples, steps);
    let streams = rates.len();
    let sum = (0..steps).map(|step| {
        rates
            .values()
            .filter_map(|flow| flow[step])
            .reduce(|a, b| a + b)
    });
    let mut series = vec![Series {
        name: "TCP upload sum".to_owned(),
        unit: "Mbits/s",
        values: sum.collect(),
    }];
    // flent numbers streams from 1; SERIES_META describes them.
    let mut names = BTreeMap::new();
    for (number, (flow, values)) in (1..).zip(rates) {
        let name = format!("TCP upload::{number}");
        let flow = &meta.flows[flow as usize];
        names.insert(name.clone(), format!("{} ({})", flow.name, flow.cc));
        let unit = "Mbits/s";
        series.push(Series { name, unit, values });
    }
    series.extend(delays.series());
    let x_values: Vec<f64> = (0..steps).map(|step| step as f64 * STEP_S).collect();
    let about = series.iter().map(|series| {
        let about = json!({ "UNITS": series.unit, "NAME": names.get(&series.name) });
        (series.name.clone(), about)
    });
    let facts = &result.facts;
    Ok(json!({
        "version": 4,
        "metadata": {
            "NAME": "tcp_nup",
            "TITLE": format!("{}, {arm}, repetition {repetition}", facts.scenario),
            "DATA_FILENAME": file,
            "TIME": EPOCH.0, "T0": EPOCH.0, "BATCH_TIME": null,
            "LENGTH": meta.virtual_s, "TOTAL_LENGTH": meta.virtual_s, "STEP_SIZE": STEP_S,
            "HOST": "l4sllm", "LOCAL_HOST": "l4sllm", "HOSTS": ["l4sllm"],
            "IP_VERSION": 4, "FLENT_VERSION": "2.0.0",
            "NOTE": format!("l4sllm {}: {}", facts.version, facts.description),
            "TEST_PARAMETERS": { "upload_streams": streams.to_string() },
            "SERIES_META": about.collect::<serde_json::Map<_, _>>(),
        },
        "x_values": x_values,
        "results": by_name(&series, |series| json!(series.values)),
        "raw_values": by_name(&series, |series| raw(series, &x_values)),
    }))
}

fn by_name(series: &[Series], value: impl Fn(&Series) -> Value) -> serde_json::Map<String, Value> {
    let named = series.iter().map(|one| (one.name.clone(), value(one)));
    named.collect()
}

fn raw(series: &Series, x_values: &[f64]) -> Value {
    let values = series.values.iter().zip(x_values);
    let values =
        values.filter_map(|(value, x)| Some(json!({ "t": EPOCH.1 + x, "val": (*value)? })));
    values.collect()
}

/// Goodput of each sampled flow, Mbit/s per step.
fn rates(rows: &[FlowRow], steps: usize) -> BTreeMap<u32, Vec<Option<f64>>> {
    let mut samples: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let at = (row.time_ns as f64 / 1e9, row.delivered_bytes as f64);
        samples.entry(row.flow).or_default().push(at);
    }
    let rates = samples.into_iter().map(|(flow, samples)| {
        let rate = |step: usize| {
            let from = delivered(&samples, step as f64 * STEP_S)?;
            let to = delivered(&samples, (step + 1) as f64 * STEP_S)?;
            Some((to - from) * 8.0 / STEP_S / 1e6)
        };
        (flow, (0..steps).map(rate).collect())
    });
    rates.collect()
}

/// Bytes delivered until `at_s`, interpolated; none before the first or after
/// the last sample.
fn delivered(samples: &[(f64, f64)], at_s: f64) -> Option<f64> {
    // Steps and samples at the same time may differ by rounding.
    const EPSILON_S: f64 = 1e-6;
    let after = samples.partition_point(|(time, _)| *time < at_s - EPSILON_S);
    let (to_s, to) = *samples.get(after)?;
    if (to_s - at_s).abs() <= EPSILON_S {
        return Some(to);
    }
    let (from_s, from) = *samples.get(after.checked_sub(1)?)?;
    Some(from + (to - from) * (at_s - from_s) / (to_s - from_s))
}

/// Mean delay of the packets that left each queue in each step.
struct Delays {
    sums_ns: [Vec<(f64, u64)>; 2],
}

impl Delays {
    fn new(steps: usize) -> Delays {
        Delays {
            sums_ns: [vec![(0.0, 0); steps], vec![(0.0, 0); steps]],
        }
    }

    fn add(&mut self, rows: &[PacketRow]) {
        for row in rows.iter().filter(|row| row.forwarded()) {
            let step = (row.time_ns as f64 / 1e9 / STEP_S) as usize;
            let queue = self.sums_ns.get_mut(usize::from(row.queue));
            if let Some((sum, count)) = queue.and_then(|steps| steps.get_mut(step)) {
                *sum += row.sojourn_ns as f64;
                *count += 1;
            }
        }
    }

    fn series(self) -> impl Iterator<Item = Series> {
        let names = ["Ping (ms) ICMP", "Ping (ms) L4S"];
        names.into_iter().zip(self.sums_ns).map(|(name, sums)| {
            let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64 / 1e6);
            Series {
                name: name.to_owned(),
                unit: "ms",
                values: sums.into_iter().map(mean).collect(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_computed_from_delivered_bytes() {
        // 125 kB in each 100 ms: 10 Mbit/s, from 0.1 s on.
        let rows: Vec<FlowRow> = (1..=6)
            .map(|at| FlowRow {
                time_ns: at * 100_000_000,
                flow: 3,
                delivered_bytes: at * 125_000,
                ..FlowRow::default()
            })
            .collect();
        let rates = rates(&rows, 4);
        let near = |rate: Option<f64>| (rate.unwrap() - 10.0).abs() < 1e-6;
        let flow = &rates[&3];
        assert!(flow[0].is_none() && flow[3].is_none());
        assert!(near(flow[1]) && near(flow[2]), "{flow:?}");
    }
}
