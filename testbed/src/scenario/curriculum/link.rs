//! The bottleneck of conditions: its rate and its link's model.

use l4sllm_model::strict_toml::{Field, Section, TomlError};

use super::part::Part;
use super::range::{Names, Range};
use crate::net::{Bursts, Distribution, Link, RateSchedule, RateStep, Spread, Walk};
use crate::scenario::link::{JITTER, MAX_BURSTS};
use crate::sim::Random;

type Result<T, E = TomlError> = std::result::Result<T, E>;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const GBIT: u64 = 1_000_000_000;

/// Ranges of bottlenecks.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkRange {
    /// Rate, bits per second.
    pub rate_bps: Range,
    /// Changes of the rate: time between two, ns, and the drawn factor on the
    /// first rate.
    pub change: Option<(Range, Range)>,
    /// Bursts: times on and off, ns, and their shape.
    pub bursts: Option<(Range, Range, Names<Distribution>)>,
    /// A random walk of the rate.
    pub walk: Option<WalkRange>,
    /// Scheduling period, ns.
    pub grant_ns: Option<Range>,
    /// Probability of a loss beyond the link.
    pub loss: Option<Range>,
    /// Mean jitter, ns, and its shape.
    pub jitter: Option<(Range, Names<Distribution>)>,
}

/// Ranges of random walks.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkRange {
    /// Time between two steps, ns.
    pub every_ns: Range,
    /// Standard deviation of a step of the logarithm.
    pub sigma: Range,
    /// Least rate, as a factor on the first.
    pub least: Range,
    /// Greatest rate, likewise.
    pub most: Range,
}

impl LinkRange {
    /// Draws the model of a link with a given rate.
    pub(super) fn draw(&self, rate_bps: u64, random: &mut Random) -> Link {
        let bursts = self.bursts.as_ref().map(|(on, off, distribution)| {
            let distribution = distribution.draw(random);
            let on_ns = on.draw_whole(random);
            Bursts::new(on_ns, off.draw_whole(random), distribution)
        });
        let walk = self.walk.as_ref().map(|walk| {
            let bps = |factor: f64| ((rate_bps as f64 * factor) as u64).max(1000);
            Walk {
                every_ns: walk.every_ns.draw_whole(random),
                sigma: walk.sigma.draw(random),
                least_bps: bps(walk.least.draw(random)).min(rate_bps),
                most_bps: bps(walk.most.draw(random)).max(rate_bps),
            }
        });
        let grant = self.grant_ns.as_ref();
        let loss = self.loss.as_ref();
        Link {
            bursts,
            walk,
            grant_ns: grant.map(|range| range.draw_whole(random).max(1)),
            loss: loss.map_or(0.0, |range| range.draw(random)),
            jitter: self.jitter.as_ref().map(|(mean, distribution)| {
                let distribution = distribution.draw(random);
                Spread::new(mean.draw_whole(random), distribution)
            }),
        }
    }

    /// The scheduled rate of a link with a given first rate.
    pub(super) fn schedule(
        &self,
        rate_bps: u64,
        duration_ns: u64,
        random: &mut Random,
    ) -> RateSchedule {
        let Some((every, factor)) = &self.change else {
            return RateSchedule::constant(rate_bps);
        };
        let mut steps = vec![RateStep {
            from_ns: 0,
            bits_per_s: rate_bps,
        }];
        let mut at_ns = every.draw_whole(random);
        while at_ns < duration_ns {
            steps.push(RateStep {
                from_ns: at_ns,
                bits_per_s: ((rate_bps as f64 * factor.draw(random)) as u64).max(1000),
            });
            at_ns += every.draw_whole(random);
        }
        RateSchedule::new(steps).expect("the first is at 0, times increase, rates are above 0")
    }

    /// Restricts it to `part`.
    pub(super) fn part(&self, part: Part) -> LinkRange {
        let of = |range: &Option<Range>| range.as_ref().map(|range| range.part(part));
        LinkRange {
            rate_bps: self.rate_bps.part(part),
            change: (self.change.as_ref())
                .map(|(every, factor)| (every.part(part), factor.part(part))),
            bursts: (self.bursts.as_ref())
                .map(|(on, off, form)| (on.part(part), off.part(part), form.part(part))),
            walk: self.walk.as_ref().map(|walk| WalkRange {
                every_ns: walk.every_ns.part(part),
                sigma: walk.sigma.part(part),
                least: walk.least.part(part),
                most: walk.most.part(part),
            }),
            grant_ns: of(&self.grant_ns),
            loss: of(&self.loss),
            jitter: (self.jitter.as_ref()).map(|(mean, form)| (mean.part(part), form.part(part))),
        }
    }
}

/// Reads `[bottleneck]`, for episodes of the given duration.
pub(super) fn read(mut section: Section<'_>, duration_ns: u64) -> Result<LinkRange> {
    let rate_bps = Range::read(section.require("rate")?, |field| {
        Ok(field.rate(100_000..=10 * GBIT)? as f64)
    })?;
    let mut link = LinkRange {
        rate_bps,
        change: None,
        bursts: None,
        walk: None,
        grant_ns: None,
        loss: None,
        jitter: None,
    };
    if let Some(field) = section.field("change") {
        link.change = Some(read_change(field.section()?)?);
    }
    if let Some(field) = section.field("bursts") {
        link.bursts = Some(read_bursts(field.section()?, duration_ns)?);
    }
    if let Some(field) = section.field("walk") {
        if link.change.is_some() {
            return Err(field.error("not allowed with change"));
        }
        link.walk = Some(read_walk(field.section()?)?);
    }
    if let Some(field) = section.field("grant") {
        if link.bursts.is_some() {
            return Err(field.error("not allowed with bursts"));
        }
        link.grant_ns = Some(Range::read(field, duration(100 * US, 100 * MS))?);
    }
    if let Some(field) = section.field("loss") {
        link.loss = Some(Range::read(field, |field| field.number(0.0..=1.0))?);
    }
    if let Some(field) = section.field("jitter") {
        let mut section = field.section()?;
        let mean = Range::read(section.require("mean")?, duration(0, S))?;
        let form = Names::read(section.require("distribution")?, |f| f.choice(&JITTER))?;
        section.finish()?;
        link.jitter = Some((mean, form));
    }
    section.finish()?;
    Ok(link)
}

/// Reads a duration, ns.
fn duration(least_ns: u64, most_ns: u64) -> impl Fn(&Field<'_>) -> Result<f64> {
    move |field| Ok(field.duration(least_ns..=most_ns)? as f64)
}

fn read_change(mut section: Section<'_>) -> Result<(Range, Range)> {
    let every = Range::read(section.require("every")?, duration(100 * MS, 3600 * S))?;
    let factor = Range::read(section.require("factor")?, |f| f.number(0.01..=100.0))?;
    section.finish()?;
    Ok((every, factor))
}

fn read_bursts(
    mut section: Section<'_>,
    duration_ns: u64,
) -> Result<(Range, Range, Names<Distribution>)> {
    let on = Range::read(section.require("on")?, duration(100 * US, 10 * S))?;
    let off = Range::read(section.require("off")?, duration(100 * US, 10 * S))?;
    if duration_ns as f64 / (on.least() + off.least()) > MAX_BURSTS as f64 {
        let message = format!("more than {MAX_BURSTS} bursts in an episode's duration");
        return Err(section.error("on", message));
    }
    let form = match section.field("distribution") {
        Some(field) => Names::read(field, |field| field.choice(&Distribution::NAMES))?,
        None => Names::All(vec![Distribution::Fixed]),
    };
    section.finish()?;
    Ok((on, off, form))
}

fn read_walk(mut section: Section<'_>) -> Result<WalkRange> {
    let walk = WalkRange {
        every_ns: Range::read(section.require("every")?, duration(MS, 3600 * S))?,
        sigma: Range::read(section.require("sigma")?, |f| f.number(0.0..=10.0))?,
        least: Range::read(section.require("least")?, |f| f.number(0.001..=1.0))?,
        most: Range::read(section.require("most")?, |f| f.number(1.0..=1000.0))?,
    };
    section.finish()?;
    Ok(walk)
}
