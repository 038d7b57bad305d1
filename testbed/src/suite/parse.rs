//! `suite.toml`.

use std::path::Path;

use super::{Family, Protocol, Suite};
use crate::published::Published;
use crate::scenario::curriculum::{Curriculum, Part};
use crate::scenario::{ScenarioError, read_text};
use l4sllm_model::strict_toml::{Section, Source, TomlError};

type Result<T, E = TomlError> = std::result::Result<T, E>;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

pub(super) fn load(dir: &Path, part: Part, seed: u64) -> Result<Suite, ScenarioError> {
    let path = dir.join("suite.toml");
    let text = read_text(&path)?;
    let source = Source {
        path: &path,
        text: &text,
    };
    source.read(|mut section| {
        let description = section.require("description")?.text()?.to_owned();
        let protocol = read_protocol(section.table("protocol")?)?;
        let quick = read_protocol(section.table("quick")?)?;
        let mut families: Vec<Family> = Vec::new();
        for entry in section.sections("family")? {
            let place = entry.error("curriculum", "another family has this name");
            let family = read_family(entry, dir, part, seed)?;
            if families.iter().any(|other| other.name == family.name) {
                return Err(place.into());
            }
            families.push(family);
        }
        if families.is_empty() {
            return Err(section
                .error("family", "missing, but at least one is required")
                .into());
        }
        section.finish()?;
        Ok(Suite {
            description,
            protocol,
            quick,
            families,
        })
    })
}

fn read_protocol(mut section: Section<'_>) -> Result<Protocol> {
    let conditions = section.field("conditions");
    let warmup = section.field("warmup_percent");
    let protocol = Protocol {
        conditions: conditions
            .map(|field| field.count(1..=10_000))
            .transpose()?,
        repetitions: section.require("repetitions")?.count(1..=1000)?,
        measured_ns: section.require("measured")?.duration(100 * MS..=3600 * S)?,
        warmup_percent: warmup.map_or(Ok(100), |field| field.count(1..=1000))?,
    };
    section.finish()?;
    Ok(protocol)
}

/// A curriculum, or the published measurements of a directory.
fn read_family(
    mut section: Section<'_>,
    dir: &Path,
    part: Part,
    seed: u64,
) -> Result<Family, ScenarioError> {
    let curriculum = section.field("curriculum");
    let family = match curriculum {
        Some(file) => {
            let curriculum = Curriculum::load(&dir.join(file.text()?))?;
            Family::of_curriculum(&curriculum, part, seed)
        }
        None => {
            let name = section.require("published")?.text()?;
            let description = section.require("description")?.text()?;
            let published = Published::load(&dir.join(name))?;
            Family::of_published(name, description, published, seed)
        }
    };
    section.finish()?;
    Ok(family)
}
