//! Reads a curriculum's file.

use std::path::Path;

use l4sllm_abi::{Action, Factors, Limits};

use super::noise::{MAX_HOLD, MAX_INTERVAL};
use super::range::{Range, read_choice};
use super::{Behaviour, Controller, Curriculum, FlowRange, Noise, NoiseMode, PerCondition};
use crate::scenario::arm::{check_life, read_rule};
use crate::scenario::{ScenarioError, values};
use l4sllm_model::strict_toml::{Field, Section, Source, TomlError};

type Result<T, E = TomlError> = std::result::Result<T, E>;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

pub(super) fn parse(path: &Path, text: &str) -> Result<Curriculum, ScenarioError> {
    Ok(Source { path, text }.read(|section| read(section, path, text))?)
}

fn read(mut section: Section<'_>, path: &Path, text: &str) -> Result<Curriculum> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let name = match section.field("name") {
        Some(field) => values::name(&field)?,
        None => stem.unwrap_or("curriculum").to_owned(),
    };
    let description = match section.field("description") {
        Some(field) => field.text()?.to_owned(),
        None => String::new(),
    };
    let conditions = section.require("conditions")?.count(1..=1_000_000)?;
    let duration_ns = section.require("duration")?.duration(100 * MS..=3600 * S)?;
    let warmup_ns = match section.field("warmup") {
        Some(field) => field.duration(0..=duration_ns - MS)?,
        None => (5 * S).min(duration_ns / 2),
    };
    let from_ns = match section.field("from") {
        Some(field) => Range::read(field, |f| Ok(f.duration(0..=duration_ns - MS)? as f64))?,
        None => Range::Fixed(0.0),
    };
    let records = match section.field("records") {
        Some(field) => field.count(1..=10_000_000)? as usize,
        None => usize::MAX,
    };
    let rtt_ns = Range::read(section.require("rtt")?, values::rtt)?;
    let rtt_jitter = match section.field("rtt_jitter") {
        Some(field) => field.number(0.0..=0.5)?,
        None => 0.0,
    };
    let link = super::link::read(section.require("bottleneck")?.section()?, duration_ns)?;
    let mut flows: Vec<FlowRange> = Vec::new();
    for group in section.sections("flow")? {
        let place = group.error("name", "another flow has this name");
        let group = super::flow::read(group)?;
        if flows.iter().any(|other| other.name == group.name) {
            return Err(place);
        }
        flows.push(group);
    }
    if !flows.iter().any(|flow| flow.count.most() >= 1.0) {
        return Err(section.error(
            "flow",
            "expected at least one group whose `count` can be 1 or more",
        ));
    }
    let mut behaviours: Vec<Behaviour> = Vec::new();
    for entry in section.sections("behaviour")? {
        let place = entry.error("name", "another behaviour has this name");
        let behaviour = read_behaviour(entry, path)?;
        if behaviours.iter().any(|other| other.name == behaviour.name) {
            return Err(place);
        }
        behaviours.push(behaviour);
    }
    if behaviours.is_empty() {
        behaviours.push(plain("dualpi2"));
    }
    let per_condition = match section.field("behaviours") {
        Some(field) if field.text().is_ok() => field.choice(&[("each", PerCondition::Each)])?,
        Some(field) => PerCondition::Drawn(field.count(1..=10_000)?),
        None => PerCondition::Drawn(1),
    };
    if per_condition != PerCondition::Each && behaviours.iter().all(|b| b.weight == 0.0) {
        return Err(section.error("behaviour", "all weights are 0"));
    }
    let repetitions = match section.field("repetitions") {
        Some(field) => field.count(1..=1000)?,
        None => 1,
    };
    section.finish()?;
    Ok(Curriculum {
        name,
        description,
        source: text.to_owned(),
        conditions,
        per_condition,
        repetitions,
        duration_ns,
        warmup_ns,
        from_ns,
        records,
        rtt_ns,
        rtt_jitter,
        link,
        flows,
        behaviours,
        part: None,
    })
}

/// RFC 9332's settings.
fn plain(name: &str) -> Behaviour {
    Behaviour {
        target_ns: Range::Fixed(l4sllm_abi::Params::default().target_ns as f64),
        gain: Range::Fixed(1.0),
        ..Behaviour::dualpi2(name)
    }
}

fn read_behaviour(mut section: Section<'_>, file: &Path) -> Result<Behaviour> {
    let mut behaviour = plain(&values::name(&section.require("name")?)?);
    if let Some(field) = section.field("weight") {
        behaviour.weight = field.number(0.0..=1e6)?;
    }
    if let Some(field) = section.field("target") {
        behaviour.target_ns = Range::read(field, |f| Ok(f.duration(US..=5 * S)? as f64))?;
    }
    if let Some(field) = section.field("gain") {
        behaviour.gain = Range::read(field, |field| field.number(0.01..=100.0))?;
    }
    for (key, factor) in [
        ("alpha", &mut behaviour.alpha),
        ("beta", &mut behaviour.beta),
    ] {
        if let Some(field) = section.field(key) {
            *factor = Some(Range::read(field, |field| field.number(0.01..=100.0))?);
        }
    }
    if let Some(field) = section.field("tupdate") {
        let read = |f: &Field<'_>| Ok(f.duration(100 * US..=S)? as f64);
        behaviour.tupdate_ns = Range::read(field, read)?;
    }
    if let Some(field) = section.field("coupling") {
        behaviour.coupling = Range::read(field, |field| field.number(1.0..=255.99))?;
    }
    if let Some(field) = section.field("l4s_threshold") {
        behaviour.l4s_threshold_ns = Range::read(field, |f| Ok(f.duration(0..=S)? as f64))?;
    }
    if let Some(field) = section.field("flow_weights") {
        behaviour.flow_weights = field.boolean()?;
    }
    if let Some(field) = section.field("noise") {
        behaviour.noise = Some(read_noise(field.section()?)?);
    }
    behaviour.controller = read_controller(&mut section, file)?;
    if behaviour.controller.is_some() && behaviour.noise.is_some() {
        return Err(section.error("noise", "not allowed with policy or engine"));
    }
    section.finish()?;
    Ok(behaviour)
}

/// `policy` with `interval`, or `engine` with its keys.
fn read_controller(section: &mut Section<'_>, file: &Path) -> Result<Option<Controller>> {
    if let Some(field) = section.field("policy") {
        let dir = values::near(file, field.text()?);
        let interval = Range::read(section.require("interval")?, interval)?;
        return Ok(Some(Controller::Policy { dir, interval }));
    }
    if section.has("interval") {
        return Err(section.error("interval", "allowed only with a policy or in noise"));
    }
    if section.has("engine") {
        let control = read_rule(section)?;
        check_life(section, &control)?;
        return Ok(Some(Controller::Fixed(control)));
    }
    for key in ["preset", "period"] {
        if section.has(key) {
            return Err(section.error(key, "allowed only with engine = \"adaptive\""));
        }
    }
    Ok(None)
}

fn read_noise(mut section: Section<'_>) -> Result<Noise> {
    #[derive(Clone, Copy)]
    enum Kind {
        Once,
        Hold,
        Steer,
    }
    let kinds = [
        ("once", Kind::Once),
        ("hold", Kind::Hold),
        ("steer", Kind::Steer),
    ];
    let kind = section.require("mode")?.choice(&kinds)?;
    let interval = Range::read(section.require("interval")?, interval)?;
    let share = match (section.field("share"), kind) {
        (Some(field), Kind::Steer) => {
            return Err(field.error("not allowed with steer: its setting lasts for `for`"));
        }
        (Some(field), _) => Range::read(field, |field| field.number(0.0..=1.0))?,
        (None, _) => Range::Fixed(1.0),
    };
    let mode = match kind {
        Kind::Once => NoiseMode::Once {
            actions: actions(&mut section)?,
        },
        Kind::Hold => NoiseMode::Hold {
            actions: actions(&mut section)?,
            packets: Range::read(section.require("packets")?, |field| {
                Ok(field.integer(1..=MAX_HOLD)? as f64)
            })?,
        },
        Kind::Steer => read_steer(&mut section)?,
    };
    section.finish()?;
    Ok(Noise {
        mode,
        interval,
        share,
    })
}

fn actions(section: &mut Section<'_>) -> Result<Vec<Action>> {
    let names = [
        ("enqueue", Action::Enqueue),
        ("drop", Action::Drop),
        ("mark", Action::Mark),
    ];
    section
        .field("action")
        .map_or(Ok(vec![Action::Mark]), |field| read_choice(field, &names))
}

fn read_steer(section: &mut Section<'_>) -> Result<NoiseMode> {
    let hold_ns = Range::read(section.require("for")?, |field| {
        Ok(field.duration(MS..=3600 * S)? as f64)
    })?;
    let mut gain = None;
    let factors = Factors::read(|key| -> Result<Option<Range>> {
        let number = |field: &Field<'_>| field.number(Limits::default_factors(key));
        let read = |field| Range::read(field, number);
        let range = section.field(key).map(read).transpose()?;
        if key == "gain" {
            gain = range;
            return Ok(None);
        }
        Ok(range)
    })?;
    if factors == Factors::NONE && gain.is_none() {
        let message = "missing, but steer needs at least one of target, threshold, coupling, \
                       gain, alpha, beta, tupdate";
        return Err(section.error("target", message));
    }
    Ok(NoiseMode::Steer {
        hold_ns,
        factors: Box::new(factors),
        gain,
    })
}

fn interval(field: &Field<'_>) -> Result<f64> {
    Ok(field.integer(1..=MAX_INTERVAL)? as f64)
}
