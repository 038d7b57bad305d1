//! Reads the top level of a scenario file.

use std::path::Path;

use super::{Client, Scenario, ScenarioError, arm, flow, link, trace, values};
use crate::net::{Link, RateSchedule, RateStep};
use l4sllm_model::strict_toml::{Section, Source, TomlError};

type Result<T, E = ScenarioError> = std::result::Result<T, E>;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const GBIT: u64 = 1_000_000_000;

pub(super) fn parse(path: &Path, text: &str) -> Result<Scenario> {
    Source { path, text }.read(|section| read(section, path, text))
}

fn read(mut section: Section<'_>, path: &Path, text: &str) -> Result<Scenario> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("scenario");
    let given = section
        .field("name")
        .map(|field| values::name(&field))
        .transpose()?;
    let duration_ns = section
        .require("duration")?
        .duration(100 * MS..=86_400 * S)?;
    let rtt_ns = section.require("rtt")?.duration(values::RTT)?;
    let (bottleneck, link) =
        read_bottleneck(section.require("bottleneck")?.section()?, path, duration_ns)?;
    let mut scenario = Scenario {
        source: text.to_owned(),
        bottleneck,
        link,
        ..Scenario::new(given.as_deref().unwrap_or(stem), 1, rtt_ns)
    };
    scenario.set_duration(duration_ns);
    if let Some(field) = section.field("description") {
        scenario.description = field.text()?.to_owned();
    }
    if let Some(field) = section.field("seed") {
        scenario.seed = field.integer(0..=i64::MAX as u64)?;
    }
    if let Some(field) = section.field("repetitions") {
        scenario.repetitions = field.count(1..=10_000)?;
    }
    if let Some(field) = section.field("warmup") {
        scenario.warmup_ns = field.duration(0..=duration_ns - MS)?;
    }
    if let Some(field) = section.field("start_jitter") {
        scenario.start_jitter_ns = field.duration(0..=10 * S)?;
    }
    if let Some(field) = section.field("rtt_jitter") {
        scenario.rtt_jitter = field.number(0.0..=0.5)?;
    }
    if let Some(field) = section.field("sample") {
        scenario.sample_ns = field.duration(MS..=10 * S)?;
    }
    if let Some(field) = section.field("return_rate") {
        scenario.return_bps = field.rate(1_000..=1000 * GBIT)?;
    }
    let clients = section.sections("client")?;
    if !clients.is_empty() {
        scenario.clients.clear();
    }
    for client in clients {
        let client = read_client(client, &scenario.clients)?;
        scenario.clients.push(client);
    }
    let names: Vec<String> = scenario
        .clients
        .iter()
        .map(|client| client.name.clone())
        .collect();
    for group in section.sections("flow")? {
        let place = group.error("rtt", "less than the client's delay in both directions");
        let group = flow::read(group, &names, duration_ns)?;
        let rtt_ns = group.rtt_ns.unwrap_or(rtt_ns) as f64 * (1.0 - scenario.rtt_jitter);
        if (rtt_ns as u64) < 2 * scenario.clients[group.client].delay_ns {
            return Err(place.into());
        }
        if scenario.flows.iter().any(|other| other.name == group.name) {
            return Err(section
                .error("flow", format_args!("duplicate name \"{}\"", group.name))
                .into());
        }
        scenario.flows.push(group);
    }
    if scenario.flows.is_empty() {
        return Err(section
            .error("flow", "missing, but at least one [[flow]] is required")
            .into());
    }
    for entry in section.sections("arm")? {
        let arm = arm::read(entry, path, duration_ns)?;
        if scenario.arms.iter().any(|other| other.name == arm.name) {
            return Err(section
                .error("arm", format_args!("duplicate name \"{}\"", arm.name))
                .into());
        }
        scenario.arms.push(arm);
    }
    if scenario.arms.is_empty() {
        return Err(section
            .error("arm", "missing, but at least one [[arm]] is required")
            .into());
    }
    if let Some(field) = section.field("baselines") {
        let arms: Vec<(&str, &str)> = scenario
            .arms
            .iter()
            .map(|arm| (arm.name.as_str(), arm.name.as_str()))
            .collect();
        let names: Result<Vec<&str>, TomlError> = field
            .items()?
            .iter()
            .map(|item| item.choice(&arms))
            .collect();
        scenario.baselines = names?.into_iter().map(str::to_owned).collect();
    }
    section.finish()?;
    Ok(scenario)
}

fn read_bottleneck(
    mut section: Section<'_>,
    path: &Path,
    duration_ns: u64,
) -> Result<(RateSchedule, Link)> {
    let rates = 1_000..=100 * GBIT;
    if let Some(field) = section.field("trace") {
        for key in ["rate", "step"] {
            if section.has(key) {
                return Err(section.error(key, "not allowed with a trace").into());
            }
        }
        let file = values::near(path, field.text()?);
        let (format, repeat) = read_trace_format(&mut section)?;
        let schedule = trace::load(&file, format, repeat.then_some(duration_ns))?;
        let link = link::read(&mut section, None, duration_ns)?;
        section.finish()?;
        return Ok((schedule, link));
    }
    for key in ["repeat", "trace_format", "time_unit", "rate_unit"] {
        if section.has(key) {
            return Err(section.error(key, "allowed only with a trace").into());
        }
    }
    let mut steps = vec![RateStep {
        from_ns: 0,
        bits_per_s: section.require("rate")?.rate(rates.clone())?,
    }];
    for mut step in section.sections("step")? {
        let last = steps[steps.len() - 1].from_ns;
        steps.push(RateStep {
            from_ns: step.require("at")?.duration(last + 1..=86_400 * S)?,
            bits_per_s: step.require("rate")?.rate(0..=*rates.end())?,
        });
        step.finish()?;
    }
    let first_bps = (steps.len() == 1).then(|| steps[0].bits_per_s);
    let schedule = RateSchedule::new(steps).map_err(|error| section.error("step", error))?;
    let link = link::read(&mut section, first_bps, duration_ns)?;
    section.finish()?;
    Ok((schedule, link))
}

/// The format of a trace's file, and whether it repeats.
fn read_trace_format(section: &mut Section<'_>) -> Result<(trace::Format, bool), TomlError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Rates,
        Mahimahi,
        Csv,
    }
    let kinds = [
        ("rates", Kind::Rates),
        ("mahimahi", Kind::Mahimahi),
        ("csv", Kind::Csv),
    ];
    let kind = section
        .field("trace_format")
        .map_or(Ok(Kind::Rates), |field| field.choice(&kinds))?;
    let repeat = section.field("repeat").map(|field| field.boolean());
    let repeat = repeat.transpose()?;
    let format = match kind {
        Kind::Rates => trace::Format::Rates,
        Kind::Mahimahi if repeat == Some(false) => {
            return Err(section.error("repeat", "mahimahi's traces repeat, as mm-link plays them"));
        }
        Kind::Mahimahi => return Ok((trace::Format::Mahimahi, true)),
        Kind::Csv => trace::Format::Csv {
            time_ns: section.require("time_unit")?.choice(&TIME_UNITS)?,
            rate_bps: section.require("rate_unit")?.choice(&RATE_UNITS)?,
        },
    };
    if kind != Kind::Csv {
        for key in ["time_unit", "rate_unit"] {
            if section.has(key) {
                return Err(section.error(key, "allowed only with trace_format = \"csv\""));
            }
        }
    }
    Ok((format, repeat.unwrap_or(false)))
}

/// Units of a trace's columns, in ns.
const TIME_UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];

/// Units of rates, in bits per second.
const RATE_UNITS: [(&str, f64); 4] = [
    ("bit/s", 1.0),
    ("kbit/s", 1e3),
    ("Mbit/s", 1e6),
    ("Gbit/s", 1e9),
];

fn read_client(mut section: Section<'_>, others: &[Client]) -> Result<Client, TomlError> {
    let field = section.require("name")?;
    let mut client = Client::new(&values::name(&field)?);
    if others.iter().any(|other| other.name == client.name) {
        return Err(field.error("another client has this name"));
    }
    if let Some(field) = section.field("rate") {
        client.rate_bps = field.rate(1_000..=1000 * GBIT)?;
    }
    if let Some(field) = section.field("delay") {
        client.delay_ns = field.duration(0..=5 * S)?;
    }
    if let Some(field) = section.field("buffer") {
        client.buffer_bytes = field.size(0..=1 << 40)?;
    }
    section.finish()?;
    Ok(client)
}
