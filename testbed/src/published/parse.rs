//! `figures.toml`.

use std::path::Path;

use l4sllm_abi::Queue;
use l4sllm_model::strict_toml::{self, Section, TomlError};

use super::{Case, Figure, Measure, Published, Source};
use crate::scenario::{Scenario, ScenarioError};
use crate::transport::Cc;

type Result<T, E = TomlError> = std::result::Result<T, E>;

pub(super) fn load(dir: &Path) -> Result<Published, ScenarioError> {
    let path = dir.join("figures.toml");
    let text = crate::scenario::read_text(&path)?;
    let source = strict_toml::Source {
        path: &path,
        text: &text,
    };
    source.read(|mut section| {
        let sources = section.sections("source")?.into_iter().map(source_of);
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let mut cases = Vec::new();
        for entry in section.sections("case")? {
            cases.push(case(entry, dir, &sources)?);
        }
        section.finish()?;
        Ok(Published { sources, cases })
    })
}

fn source_of(mut section: Section<'_>) -> Result<Source> {
    let mut text = |key| Ok(section.require(key)?.text()?.to_owned());
    let source = Source {
        name: text("name")?,
        title: text("title")?,
        at: text("at")?,
    };
    section.finish()?;
    Ok(source)
}

fn case(mut section: Section<'_>, dir: &Path, sources: &[Source]) -> Result<Case, ScenarioError> {
    let name = section.require("name")?.text()?.to_owned();
    let file = section.require("scenario")?;
    let mut scenario = Scenario::load(&dir.join(file.text()?))?;
    for flow in section.sections("flow")? {
        set(flow, &mut scenario)?;
    }
    let why = section.field("why").map(|field| field.text());
    let why = why.transpose()?.map(str::to_owned);
    let known: Vec<(&str, &str)> = sources
        .iter()
        .map(|source| (source.name.as_str(), source.name.as_str()))
        .collect();
    let source = section.require("source")?.choice(&known)?.to_owned();
    let names: Vec<String> = scenario
        .flows
        .iter()
        .map(|flow| flow.name.clone())
        .collect();
    let mut figures = Vec::new();
    for entry in section.sections("figure")? {
        figures.push(figure(entry, &names, &source, why.as_ref())?);
    }
    section.finish()?;
    Ok(Case {
        name,
        scenario,
        figures,
    })
}

/// Overrides of the scenario's flow of this name.
fn set(mut section: Section<'_>, scenario: &mut Scenario) -> Result<()> {
    let name = section.require("name")?;
    let wanted = name.text()?;
    let flow = scenario.flows.iter_mut().find(|flow| flow.name == wanted);
    let flow = flow.ok_or_else(|| name.error("the scenario has no flow of this name"))?;
    if let Some(field) = section.field("cc") {
        flow.cc = field.choice(&Cc::ALL.map(|cc| (cc.name(), cc)))?;
    }
    if let Some(field) = section.field("rtt") {
        flow.rtt_ns = Some(field.duration(1_000..=10_000_000_000)?);
    }
    if let Some(field) = section.field("rate") {
        flow.rate_bps = Some(field.rate(1_000..=100_000_000_000)?);
    }
    section.finish()
}

fn figure(
    mut section: Section<'_>,
    flows: &[String],
    source: &str,
    why: Option<&String>,
) -> Result<Figure> {
    let flows: Vec<(&str, &str)> = flows
        .iter()
        .map(|name| (name.as_str(), name.as_str()))
        .collect();
    let group = |section: &mut Section<'_>, key| -> Result<String> {
        Ok(section.require(key)?.choice(&flows)?.to_owned())
    };
    let kinds = [
        ("rate-ratio", 0),
        ("share", 1),
        ("classic-delay-mean", 2),
        ("l4s-delay-mean", 3),
        ("classic-delay-p99", 4),
        ("l4s-delay-p99", 5),
        ("utilisation", 6),
        ("rate", 7),
    ];
    let measure = match section.require("what")?.choice(&kinds)? {
        0 => Measure::RateRatio {
            of: group(&mut section, "of")?,
            to: group(&mut section, "to")?,
        },
        1 => Measure::Share {
            of: group(&mut section, "of")?,
        },
        2 => Measure::DelayMean(Queue::Classic),
        3 => Measure::DelayMean(Queue::L4s),
        4 => Measure::DelayP99(Queue::Classic),
        5 => Measure::DelayP99(Queue::L4s),
        6 => Measure::Utilisation,
        _ => Measure::Rate {
            of: group(&mut section, "of")?,
        },
    };
    let own = section.field("why").map(|field| field.text());
    let own = own.transpose()?.map(str::to_owned);
    let figure = Figure {
        measure,
        theirs: section.require("value")?.number(1e-6..=1e6)?,
        source: source.to_owned(),
        place: section.require("place")?.text()?.to_owned(),
        why: own.or_else(|| why.cloned()),
    };
    section.finish()?;
    Ok(figure)
}
