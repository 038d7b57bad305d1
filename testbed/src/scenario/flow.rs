//! Traffic of a scenario.

use l4sllm_abi::Ecn;

use crate::transport::{Cc, Chunks, DATAGRAM_HEADER_BYTES};
use l4sllm_model::strict_toml::{DURATION, Field, Section, TomlError};

/// Flows of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowGroup {
    /// Name; multiple flows are numbered.
    pub name: String,
    /// Congestion control.
    pub cc: Cc,
    /// Whether packets are ECN-capable.
    pub ecn: bool,
    /// Codepoint instead of the congestion control's own.
    pub codepoint: Option<Ecn>,
    /// Connections.
    pub count: u32,
    /// Flows of each connection.
    pub parallel: u32,
    /// Index of their client.
    pub client: usize,
    /// Start of the first flow, ns.
    pub start_ns: u64,
    /// Time between the starts of two connections, ns.
    pub stagger_ns: u64,
    /// Duration of each, ns; to the end if none.
    pub duration_ns: Option<u64>,
    /// Round-trip time without queueing, ns; the scenario's if none.
    pub rtt_ns: Option<u64>,
    /// Rate of `udp`, and ceiling of `udp-prague`, bits per second.
    pub rate_bps: Option<u64>,
    /// Payload bytes of each; endless if none.
    pub bytes: Option<u64>,
    /// Chunks offered by the application; all data at once if none.
    pub chunks: Option<Chunks>,
    /// Bytes of a datagram on the wire.
    pub packet_bytes: u32,
    /// HyStart++ of `newreno` and `cubic`.
    pub hystart: bool,
    /// Proportional rate reduction of `newreno` and `cubic`.
    pub prr: bool,
    /// Short flows with random arrivals, instead of `count` long ones.
    pub arrivals: Option<Arrivals>,
    /// Identity of its flows at the bottleneck.
    pub identity: Identity,
}

/// Identity of flows at the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Each is a separate flow.
    Own,
    /// All flows of the group share a tunnel and look like one flow.
    Tunnel,
    /// Each changes its port at this interval, ns, as a QUIC connection may,
    /// and then looks like a new flow.
    PortHop(u64),
}

/// Short flows with Poisson arrivals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    /// Flows per second, on average.
    pub per_s: f64,
    /// Payload bytes of each.
    pub size: SizeDistribution,
}

/// Size distribution of short flows, bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SizeDistribution {
    /// Constant.
    Fixed(u64),
    /// Exponential with this mean.
    Exponential(u64),
    /// Bounded Pareto: a heavy tail, as of web objects.
    Pareto {
        /// Tail index, above 1.
        shape: f64,
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
}

impl FlowGroup {
    /// One endless flow from the beginning, with the control's default for ECN.
    pub fn new(name: &str, cc: Cc) -> FlowGroup {
        let defaults = crate::transport::FlowConfig::new(0, cc);
        FlowGroup {
            name: name.to_owned(),
            cc,
            ecn: defaults.ecn,
            codepoint: None,
            count: 1,
            parallel: 1,
            client: 0,
            start_ns: 0,
            stagger_ns: 0,
            duration_ns: None,
            rtt_ns: None,
            rate_bps: None,
            bytes: None,
            chunks: None,
            packet_bytes: defaults.packet_bytes,
            hystart: defaults.hystart,
            prr: defaults.prr,
            arrivals: None,
            identity: Identity::Own,
        }
    }

    /// Number of flows; 0 for random arrivals.
    pub fn flows(&self) -> u32 {
        if self.arrivals.is_some() {
            0
        } else {
            self.count * self.parallel
        }
    }

    /// Whether it has transfers that end, with an end known to the receiver,
    /// which cannot know about missing datagrams.
    pub fn has_transfers(&self) -> bool {
        let ends = self.bytes.is_some() || self.arrivals.is_some() || self.chunks.is_some();
        ends && self.is_stream()
    }

    /// Whether it is a byte stream rather than datagrams.
    pub fn is_stream(&self) -> bool {
        !matches!(self.cc, Cc::Udp | Cc::UdpPrague)
    }

    /// Whether it sustains a queue: responsive, without its own end, and always
    /// with data to send.
    pub fn is_lasting(&self) -> bool {
        let ends = self.bytes.is_some() || self.arrivals.is_some();
        self.cc != Cc::Udp && !ends && self.chunks.is_none()
    }
}

/// Maximum number of short flows per repetition: all are drawn before it runs.
pub(super) const MAX_ARRIVALS: f64 = 1e6;

/// ECN-capable codepoints.
pub(super) const CODEPOINTS: [(&str, Ecn); 2] = [("ect0", Ecn::Ect0), ("ect1", Ecn::Ect1)];

pub(super) fn read(
    mut section: Section<'_>,
    clients: &[String],
    duration_ns: u64,
) -> Result<FlowGroup, TomlError> {
    const HOUR: u64 = 3_600_000_000_000;
    const GBIT: u64 = 1_000_000_000;
    let controls = Cc::ALL.map(|cc| (cc.name(), cc));
    let cc = section.require("cc")?.choice(&controls)?;
    let mut group = FlowGroup::new(cc.name(), cc);
    if let Some(field) = section.field("name") {
        group.name = super::values::name(&field)?;
    }
    if let Some(field) = section.field("ecn") {
        group.ecn = field.boolean()?;
    }
    if let Some(field) = section.field("codepoint") {
        group.codepoint = Some(field.choice(&CODEPOINTS)?);
        group.ecn = true;
    }
    if let Some(field) = section.field("client") {
        let names: Vec<(&str, usize)> = clients
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at))
            .collect();
        group.client = field.choice(&names)?;
    }
    if let Some(field) = section.field("start") {
        group.start_ns = field.duration(0..=duration_ns)?;
    }
    if let Some(field) = section.field("duration") {
        group.duration_ns = Some(field.duration(1_000_000..=HOUR)?);
    }
    if let Some(field) = section.field("rtt") {
        group.rtt_ns = Some(field.duration(super::values::RTT)?);
    }
    if let Some(field) = section.field("hystart") {
        group.hystart = field.boolean()?;
    }
    if let Some(field) = section.field("prr") {
        group.prr = field.boolean()?;
    }
    if let Some(field) = section.field("tunnel") {
        if field.boolean()? {
            group.identity = Identity::Tunnel;
        }
    }
    if let Some(field) = section.field("port_hop") {
        if group.identity == Identity::Tunnel {
            return Err(field.error("not allowed with tunnel"));
        }
        group.identity = Identity::PortHop(field.duration(1_000_000..=HOUR)?);
    }
    if let Some(field) = section.field("packet") {
        let packet = field.size(150..=9000)?;
        group.packet_bytes = u32::try_from(packet).unwrap_or(u32::MAX);
    }
    if let Some(field) = section.field("rate") {
        if !matches!(cc, Cc::Udp | Cc::UdpPrague) {
            return Err(field.error(format_args!(
                "not allowed with {cc}, only with udp and \
            udp-prague"
            )));
        }
        group.rate_bps = Some(field.rate(1_000..=100 * GBIT)?);
    } else if cc == Cc::Udp {
        return Err(section.error("rate", "missing, but udp needs one"));
    }
    if let Some(field) = section.field("chunks") {
        group.chunks = Some(read_chunks(field, &group, duration_ns)?);
        for key in ["bytes", "arrivals"] {
            if section.has(key) {
                return Err(section.error(key, "not allowed with chunks"));
            }
        }
    }
    if let Some(field) = section.field("arrivals") {
        let arrivals = read_arrivals(field.section()?)?;
        if arrivals.per_s * duration_ns as f64 / 1e9 > MAX_ARRIVALS {
            return Err(section.error(
                "arrivals",
                format_args!("more than {MAX_ARRIVALS} flows in the scenario's duration"),
            ));
        }
        group.arrivals = Some(arrivals);
        for key in ["count", "parallel", "stagger", "bytes"] {
            if section.has(key) {
                return Err(section.error(key, "not allowed with arrivals"));
            }
        }
    } else {
        if let Some(field) = section.field("count") {
            group.count = field.count(1..=1000)?;
        }
        if let Some(field) = section.field("parallel") {
            group.parallel = field.count(1..=100)?;
        }
        if let Some(field) = section.field("stagger") {
            group.stagger_ns = field.duration(0..=duration_ns)?;
            let last = group.start_ns + group.stagger_ns * u64::from(group.count - 1);
            if last > duration_ns {
                let at = DURATION.show(last);
                return Err(field.error(format_args!(
                    "the last flow would start at {at}, after the end"
                )));
            }
        }
        if let Some(field) = section.field("bytes") {
            group.bytes = Some(field.size(1..=1 << 50)?);
        }
    }
    section.finish()?;
    Ok(group)
}

/// The control, rate and packet size of `group` are set.
fn read_chunks(field: Field<'_>, group: &FlowGroup, duration_ns: u64) -> Result<Chunks, TomlError> {
    const MAX_CHUNKS: u64 = 1_000_000;
    if group.cc == Cc::UdpPrague {
        return Err(field.error("not allowed with udp-prague"));
    }
    let mut section = field.section()?;
    let chunks = Chunks {
        bytes: section.require("bytes")?.size(1..=10_000_000_000)?,
        every_ns: section
            .require("every")?
            .duration(1_000_000..=3_600_000_000_000)?,
    };
    if duration_ns / chunks.every_ns > MAX_CHUNKS {
        return Err(section.error(
            "every",
            format_args!("more than {MAX_CHUNKS} chunks in the scenario's duration"),
        ));
    }
    if let Some(rate_bps) = group.rate_bps {
        let payload = group.packet_bytes - DATAGRAM_HEADER_BYTES;
        let packets = chunks.bytes.div_ceil(u64::from(payload));
        let bits = u128::from(packets) * u128::from(group.packet_bytes) * 8;
        if bits * 1_000_000_000 > u128::from(rate_bps) * u128::from(chunks.every_ns) {
            return Err(section.error(
                "bytes",
                "a burst at the flow's rate lasts longer than every",
            ));
        }
    }
    section.finish()?;
    Ok(chunks)
}

fn read_arrivals(mut section: Section<'_>) -> Result<Arrivals, TomlError> {
    let per_s = section.require("per_s")?.number(0.001..=10_000.0)?;
    let size = read_size(&mut section)?;
    section.finish()?;
    Ok(Arrivals { per_s, size })
}

/// Reads the size distribution from the keys of arrivals.
pub(super) fn read_size(section: &mut Section<'_>) -> Result<SizeDistribution, TomlError> {
    #[derive(Clone, Copy)]
    enum Kind {
        Fixed,
        Exponential,
        Pareto,
    }
    const SIZES: std::ops::RangeInclusive<u64> = 1..=10_000_000_000;
    let kinds = [
        ("fixed", Kind::Fixed),
        ("exponential", Kind::Exponential),
        ("pareto", Kind::Pareto),
    ];
    Ok(match section.require("size")?.choice(&kinds)? {
        Kind::Fixed => SizeDistribution::Fixed(section.require("mean")?.size(SIZES)?),
        Kind::Exponential => SizeDistribution::Exponential(section.require("mean")?.size(SIZES)?),
        Kind::Pareto => {
            let least = section.require("least")?.size(SIZES)?;
            SizeDistribution::Pareto {
                shape: section.require("shape")?.number(1.01..=10.0)?,
                least,
                most: section.require("most")?.size(least + 1..=*SIZES.end())?,
            }
        }
    })
}
