//! The link's model in a scenario's `[bottleneck]`.

use l4sllm_model::strict_toml::{Section, TomlError};

use crate::net::{Bursts, Distribution, Link, Spread, Walk};

type Result<T, E = TomlError> = std::result::Result<T, E>;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const GBIT: u64 = 1_000_000_000;

/// Maximum number of bursts per repetition: all are drawn before it runs.
pub(super) const MAX_BURSTS: u64 = 1_000_000;

/// Reads the keys of `section` in addition to the rate's schedule. `first_bps` is
/// the rate of a constant schedule, from which a walk can start.
pub(super) fn read(
    section: &mut Section<'_>,
    first_bps: Option<u64>,
    duration_ns: u64,
) -> Result<Link> {
    let mut link = Link::default();
    if let Some(field) = section.field("bursts") {
        let place = section.error(
            "bursts",
            format_args!("more than {MAX_BURSTS} of them in the scenario's duration"),
        );
        let bursts = read_bursts(field.section()?)?;
        if duration_ns / (bursts.on.mean_ns + bursts.off.mean_ns) > MAX_BURSTS {
            return Err(place);
        }
        link.bursts = Some(bursts);
    }
    if let Some(field) = section.field("walk") {
        let Some(first_bps) = first_bps else {
            let message = "allowed only with a single rate, not with step or trace";
            return Err(section.error("walk", message));
        };
        link.walk = Some(read_walk(field.section()?, first_bps)?);
    }
    if let Some(field) = section.field("grant") {
        if link.bursts.is_some() {
            return Err(field.error("not allowed with bursts"));
        }
        link.grant_ns = Some(field.duration(100 * US..=100 * MS)?);
    }
    if let Some(field) = section.field("loss") {
        link.loss = field.number(0.0..=1.0)?;
    }
    if let Some(field) = section.field("jitter") {
        let mut section = field.section()?;
        let mean_ns = section.require("mean")?.duration(0..=S)?;
        let distribution = section.require("distribution")?.choice(&JITTER)?;
        section.finish()?;
        link.jitter = Some(Spread::new(mean_ns, distribution));
    }
    Ok(link)
}

/// Constant jitter would be propagation delay.
pub(super) const JITTER: [(&str, Distribution); 2] = [
    ("uniform", Distribution::Uniform),
    ("exponential", Distribution::Exponential),
];

fn read_bursts(mut section: Section<'_>) -> Result<Bursts> {
    let lengths = 100 * US..=10 * S;
    let distribution = match section.field("distribution") {
        Some(field) => field.choice(&Distribution::NAMES)?,
        None => Distribution::Fixed,
    };
    let mut mean_ns = |key| section.require(key)?.duration(lengths.clone());
    let (on_ns, off_ns) = (mean_ns("on")?, mean_ns("off")?);
    section.finish()?;
    Ok(Bursts::new(on_ns, off_ns, distribution))
}

fn read_walk(mut section: Section<'_>, first_bps: u64) -> Result<Walk> {
    let walk = Walk {
        every_ns: section.require("every")?.duration(MS..=3600 * S)?,
        sigma: section.require("sigma")?.number(0.0..=10.0)?,
        least_bps: section.require("least")?.rate(1_000..=first_bps)?,
        most_bps: section.require("most")?.rate(first_bps..=100 * GBIT)?,
    };
    section.finish()?;
    Ok(walk)
}
