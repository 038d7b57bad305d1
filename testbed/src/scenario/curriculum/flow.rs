//! The traffic of conditions.

use l4sllm_abi::Ecn;
use l4sllm_model::strict_toml::{Field, Section, TomlError};

use super::part::Part;
use super::range::{Names, Range};
use crate::scenario::flow::{CODEPOINTS, MAX_ARRIVALS, read_size};
use crate::scenario::{Arrivals, FlowGroup, SizeDistribution, values};
use crate::sim::Random;
use crate::transport::{Cc, Chunks, HEADER_BYTES, MSS};

type Result<T, E = TomlError> = std::result::Result<T, E>;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Flows of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowRange {
    /// Name.
    pub name: String,
    /// Congestion controls.
    pub cc: Names<Cc>,
    /// Number of flows, possibly 0. With arrivals, whether there are any.
    pub count: Range,
    /// Their round-trip time, ns.
    pub rtt_ns: Option<Range>,
    /// Rate of `udp` as a share of the link's mean rate or, with bursts, of its
    /// rate while sending.
    pub load: Option<Range>,
    /// Start of the first, as a share of the duration.
    pub start: Range,
    /// Whether packets are ECN-capable; the control's default if none.
    pub ecn: Option<Names<bool>>,
    /// Codepoint instead of the control's own.
    pub codepoint: Option<Ecn>,
    /// Short flows with random arrivals.
    pub arrivals: Option<ArrivalsRange>,
    /// Chunks of an application: their rate as a share of the link's mean rate,
    /// and the time between two, ns.
    pub chunks: Option<(Range, Range)>,
}

/// Ranges of short flows.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrivalsRange {
    /// Their number.
    pub often: Often,
    /// Payload bytes of each.
    pub size: SizeDistribution,
}

/// Arrival rate of short flows.
#[derive(Debug, Clone, PartialEq)]
pub enum Often {
    /// Flows per second, on average.
    PerSecond(Range),
    /// Average load, as a share of the link's mean rate.
    Load(Range),
}

/// Properties of the link on which a condition's flows depend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Rate of the link while it sends, and over all, bits per second.
    pub rate_bps: u64,
    pub mean_bps: u64,
    pub duration_ns: u64,
}

impl FlowRange {
    pub(super) fn draw(&self, random: &mut Random, setting: Setting) -> Option<FlowGroup> {
        let cc = self.cc.draw(random);
        let count = self.count.draw_whole(random) as u32;
        let rtt_ns = self.rtt_ns.as_ref().map(|range| range.draw_whole(random));
        let load = self.load.as_ref().map(|range| range.draw(random));
        let start = self.start.draw(random);
        let loaded_bps = match self.chunks {
            Some(_) => setting.rate_bps,
            None => setting.mean_bps,
        };
        let mut group = FlowGroup {
            count,
            rtt_ns,
            rate_bps: load.map(|load| ((loaded_bps as f64 * load) as u64).max(1000)),
            start_ns: (setting.duration_ns as f64 * start) as u64,
            codepoint: self.codepoint,
            ..FlowGroup::new(&self.name, cc)
        };
        group.ecn |= self.codepoint.is_some();
        if let Some(ecn) = &self.ecn {
            group.ecn = ecn.draw(random);
        }
        if let Some(arrivals) = &self.arrivals {
            group.arrivals = Some(arrivals.draw(random, setting));
            group.count = count.min(1);
        }
        if let Some((share, every)) = &self.chunks {
            let share = share.draw(random);
            let every_ns = every.draw_whole(random);
            group.chunks = Some(chunks(share, every_ns, group.rate_bps, setting));
        }
        (count > 0).then_some(group)
    }

    /// Restricts it to `part`.
    pub(super) fn part(&self, part: Part) -> FlowRange {
        let of = |range: &Option<Range>| range.as_ref().map(|range| range.part(part));
        FlowRange {
            name: self.name.clone(),
            cc: self.cc.part(part),
            count: self.count.part(part),
            rtt_ns: of(&self.rtt_ns),
            load: of(&self.load),
            start: self.start.part(part),
            ecn: self.ecn.as_ref().map(|ecn| ecn.part(part)),
            codepoint: self.codepoint,
            arrivals: self.arrivals.as_ref().map(|arrivals| ArrivalsRange {
                often: match &arrivals.often {
                    Often::PerSecond(range) => Often::PerSecond(range.part(part)),
                    Often::Load(range) => Often::Load(range.part(part)),
                },
                size: arrivals.size,
            }),
            chunks: (self.chunks.as_ref())
                .map(|(share, every)| (share.part(part), every.part(part))),
        }
    }
}

impl ArrivalsRange {
    fn draw(&self, random: &mut Random, setting: Setting) -> Arrivals {
        let per_s = match &self.often {
            Often::PerSecond(range) => range.draw(random),
            Often::Load(range) => {
                let bits = self.size.mean() * 8.0 * f64::from(MSS + HEADER_BYTES) / f64::from(MSS);
                range.draw(random) * setting.mean_bps as f64 / bits
            }
        };
        let most = MAX_ARRIVALS / (setting.duration_ns as f64 / 1e9);
        Arrivals {
            per_s: per_s.min(most),
            size: self.size,
        }
    }
}

/// Chunks with the given share of the link. A burst at `rate_bps` ends before
/// the next.
fn chunks(share: f64, every_ns: u64, rate_bps: Option<u64>, setting: Setting) -> Chunks {
    /// At most the burst's rate, including headers.
    const BURST: f64 = 0.9;
    let bps = setting.mean_bps as f64 * share;
    let bps = rate_bps.map_or(bps, |rate_bps| bps.min(BURST * rate_bps as f64));
    Chunks {
        bytes: ((bps * every_ns as f64 / 8e9) as u64).max(1),
        every_ns,
    }
}

/// Reads a `[[flow]]`.
pub(super) fn read(mut section: Section<'_>) -> Result<FlowRange> {
    let controls = Cc::ALL.map(|cc| (cc.name(), cc));
    let cc = Names::read(section.require("cc")?, |field| field.choice(&controls))?;
    let first = cc.iter().next().map_or("flow", Cc::name);
    let mut flow = FlowRange {
        name: match section.field("name") {
            Some(field) => values::name(&field)?,
            None => first.to_owned(),
        },
        count: match section.field("count") {
            Some(field) => Range::read(field, |field| Ok(f64::from(field.count(0..=1000)?)))?,
            None => Range::Fixed(1.0),
        },
        rtt_ns: None,
        load: None,
        start: Range::Fixed(0.0),
        ecn: None,
        codepoint: None,
        arrivals: None,
        chunks: None,
        cc,
    };
    if let Some(field) = section.field("rtt") {
        flow.rtt_ns = Some(Range::read(field, crate::scenario::values::rtt)?);
    }
    if let Some(field) = section.field("start") {
        flow.start = Range::read(field, |field| field.number(0.0..=0.9))?;
    }
    if let Some(field) = section.field("ecn") {
        flow.ecn = Some(Names::read(field, |field| field.boolean())?);
    }
    if let Some(field) = section.field("codepoint") {
        flow.codepoint = Some(field.choice(&CODEPOINTS)?);
    }
    let udp = flow.cc.iter().any(|cc| cc == Cc::Udp);
    match section.field("load") {
        Some(field) if udp && flow.cc.iter().all(|cc| cc == Cc::Udp) => {
            flow.load = Some(Range::read(field, |field| field.number(0.001..=10.0))?);
        }
        Some(field) => return Err(field.error("allowed only with cc = \"udp\"")),
        None if udp => return Err(section.error("load", "missing, but udp needs one")),
        None => {}
    }
    if let Some(field) = section.field("arrivals") {
        flow.arrivals = Some(read_arrivals(field.section()?)?);
    }
    if let Some(field) = section.field("chunks") {
        if flow.arrivals.is_some() {
            return Err(field.error("not allowed with arrivals"));
        }
        if flow.cc.iter().any(|cc| cc == Cc::UdpPrague) {
            return Err(field.error("not allowed with udp-prague"));
        }
        flow.chunks = Some(read_chunks(field.section()?)?);
    }
    section.finish()?;
    Ok(flow)
}

fn read_arrivals(mut section: Section<'_>) -> Result<ArrivalsRange> {
    let often = match (section.field("load"), section.field("per_s")) {
        (Some(field), None) => {
            let share = |field: &Field<'_>| field.number(0.001..=2.0);
            Often::Load(Range::read(field, share)?)
        }
        (None, Some(field)) => {
            let per_s = |field: &Field<'_>| field.number(0.001..=10_000.0);
            Often::PerSecond(Range::read(field, per_s)?)
        }
        (None, None) => return Err(section.error("load", "missing, but load or per_s is required")),
        (Some(_), Some(field)) => return Err(field.error("not allowed with load")),
    };
    let size = read_size(&mut section)?;
    section.finish()?;
    Ok(ArrivalsRange { often, size })
}

fn read_chunks(mut section: Section<'_>) -> Result<(Range, Range)> {
    let share = Range::read(section.require("share")?, |f| f.number(0.0001..=10.0))?;
    let every = Range::read(section.require("every")?, |field| {
        Ok(field.duration(MS..=3600 * S)? as f64)
    })?;
    section.finish()?;
    Ok((share, every))
}
