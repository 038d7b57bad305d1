//! Families and their conditions.

use super::Protocol;
use crate::net::{Distribution, Link, RateStep};
use crate::published::{Figure, Published, Source};
use crate::scenario::curriculum::{Curriculum, Part};
use crate::scenario::{FlowGroup, Scenario};
use crate::sim::derive_seed;
use crate::transport::Cc;

/// A family of related conditions.
#[derive(Debug, Clone)]
pub struct Family {
    /// Name.
    pub name: String,
    /// Description, one sentence.
    pub description: String,
    /// The part of a curriculum from which conditions are drawn; none for
    /// published measurements.
    pub part: Option<Part>,
    /// Sources of the published numbers of its conditions.
    pub sources: Vec<Source>,
    /// All its conditions.
    pub conditions: Vec<Condition>,
}

/// A network and its traffic.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The scenario without arms, with the condition's seed.
    pub scenario: Scenario,
    /// Published numbers for it.
    pub figures: Vec<Figure>,
}

/// Maximum relative variation of a repetition's round-trip times for published
/// setups; curricula define their own.
const RTT_JITTER: f64 = 0.03;

impl Family {
    /// The conditions drawn by a curriculum. Each family has a separate seed;
    /// otherwise conditions with the same number would have the same position
    /// in the ranges of all families.
    pub(super) fn of_curriculum(curriculum: &Curriculum, part: Part, seed: u64) -> Family {
        let seed = derive_seed(seed, &curriculum.name, 0);
        let curriculum = curriculum.part(part);
        let conditions = (0..curriculum.conditions).map(|number| Condition {
            scenario: curriculum.condition(seed, number),
            figures: Vec::new(),
        });
        Family {
            name: curriculum.name.clone(),
            description: curriculum.description.clone(),
            part: Some(part),
            sources: Vec::new(),
            conditions: conditions.collect(),
        }
    }

    /// The setups of published measurements, in which only unspecified values
    /// are drawn.
    pub(super) fn of_published(
        name: &str,
        description: &str,
        published: Published,
        seed: u64,
    ) -> Family {
        let conditions = published.cases.into_iter().map(|case| {
            let mut scenario = case.scenario;
            scenario.seed = derive_seed(seed, &case.name, 0);
            scenario.name = case.name;
            scenario.rtt_jitter = RTT_JITTER;
            scenario.arms.clear();
            Condition {
                scenario,
                figures: case.figures,
            }
        });
        Family {
            name: name.to_owned(),
            description: description.to_owned(),
            part: None,
            sources: published.sources,
            conditions: conditions.collect(),
        }
    }
}

/// Ranges of `conditions`, as in `5.2 Mbit/s to 94.4 Mbit/s, RTT 6.1 ms to 98
/// ms`.
pub(super) fn drawn(conditions: &[Condition]) -> String {
    let rates = conditions.iter().map(|of| {
        let steps = of.scenario.bottleneck.steps();
        steps[0].bits_per_s
    });
    let rtts = conditions.iter().map(|of| of.scenario.rtt_ns);
    format!(
        "{}, RTT {}",
        span(rates.collect(), shown_rate),
        span(rtts.collect(), ms)
    )
}

fn span(values: Vec<u64>, shown: fn(u64) -> String) -> String {
    let (least, most) = (values.iter().min(), values.iter().max());
    let ends = [least, most].map(|end| end.map_or(String::new(), |value| shown(*value)));
    match ends[0] == ends[1] {
        true => ends[0].clone(),
        false => ends.join(" to "),
    }
}

impl Condition {
    /// Repetition `number` with a set of draws, which determines seeds and
    /// round-trip times.
    pub(crate) fn repetition(&self, protocol: &Protocol, draws: u32, number: u32) -> Scenario {
        let mut scenario = self.scenario.clone();
        let name = format!("draws-{draws}");
        scenario.seed = derive_seed(scenario.seed, &name, number.into());
        scenario.repetitions = 1;
        let warmup_ns = u128::from(scenario.warmup_ns) * u128::from(protocol.warmup_percent) / 100;
        // A share of a u64.
        scenario.warmup_ns = warmup_ns as u64;
        scenario.duration_ns = scenario.warmup_ns + protocol.measured_ns;
        scenario
    }

    /// Approximate cost of emulating a repetition: the number of packets that
    /// the link can carry.
    pub(crate) fn weight(&self, protocol: &Protocol) -> u64 {
        1 + (self.capacity_bits(protocol) / 12_000.0) as u64
    }

    /// Mean rate of the link over a repetition, bit/s.
    pub(crate) fn mean_rate_bps(&self, protocol: &Protocol) -> f64 {
        let ns = protocol.measured_ns + self.scenario.warmup_ns;
        self.capacity_bits(protocol) / (ns as f64 / 1e9)
    }

    /// Bits that the link can carry in a repetition.
    fn capacity_bits(&self, protocol: &Protocol) -> f64 {
        let ns = protocol.measured_ns + self.scenario.warmup_ns;
        let bits = self.scenario.bottleneck.capacity_bits(0, ns);
        let duty = self.scenario.link.bursts.map_or(1.0, |of| of.duty());
        bits as f64 * duty
    }

    /// The network and its traffic in a few words: `50 Mbit/s, RTT 20 ms, 2
    /// cubic`.
    pub fn facts(&self) -> String {
        let scenario = &self.scenario;
        let mut facts = rate_facts(scenario.bottleneck.steps());
        facts.extend(link_facts(&scenario.link));
        facts.push(format!("RTT {}", ms(scenario.rtt_ns)));
        facts.extend(scenario.flows.iter().map(flow_facts));
        facts.join(", ")
    }
}

/// `50 Mbit/s`; with the range for a rate that changes at set times.
fn rate_facts(steps: &[RateStep]) -> Vec<String> {
    let mut facts = vec![shown_rate(steps[0].bits_per_s)];
    let rates = || steps[1..].iter().map(|step| step.bits_per_s);
    if let (Some(least), Some(most)) = (rates().min(), rates().max()) {
        facts[0] += " at first";
        facts.push(format!(
            "changing {} between {} and {}",
            times(steps.len() - 1),
            shown_rate(least),
            shown_rate(most)
        ));
    }
    facts
}

fn link_facts(link: &Link) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(bursts) = link.bursts {
        let (on, off) = (ms(bursts.on.mean_ns), ms(bursts.off.mean_ns));
        let form = match bursts.on.distribution {
            Distribution::Fixed => "always",
            Distribution::Uniform | Distribution::Exponential => "on average",
        };
        facts.push(format!("in bursts, {form} {on} on and {off} off"));
    }
    if let Some(walk) = link.walk {
        facts.push(format!(
            "random walk between {} and {} with steps of {} % every {}",
            shown_rate(walk.least_bps),
            shown_rate(walk.most_bps),
            (walk.sigma * 100.0).round(),
            ms(walk.every_ns)
        ));
    }
    let grants = |ns| format!("scheduling grants every {}", ms(ns));
    facts.extend(link.grant_ns.map(grants));
    if link.loss > 0.0 {
        facts.push(format!("{} % loss", round(link.loss * 100.0)));
    }
    facts
}

/// `2 cubic at 20 ms`, `12.5 short cubic flows a second`, `1 udp of 5 Mbit/s`.
fn flow_facts(group: &FlowGroup) -> String {
    let mut text = match group.arrivals {
        Some(arrivals) => format!(
            "{} short {} flows a second",
            round(arrivals.per_s),
            group.cc
        ),
        None => format!("{} {}", group.count * group.parallel, group.cc),
    };
    if !group.ecn && group.cc != Cc::Udp {
        text += " without ECN";
    }
    if let Some(rate) = group.rate_bps {
        text += &format!(" of {}", shown_rate(rate));
    }
    if let Some(chunks) = group.chunks {
        let (bytes, every) = (bytes(chunks.bytes), ms(chunks.every_ns));
        text += &format!(" with {bytes} every {every}");
    }
    if group.ecn && group.cc == Cc::Udp {
        text += " in the L4S queue";
    }
    if let Some(rtt_ns) = group.rtt_ns {
        text += &format!(" at {}", ms(rtt_ns));
    }
    text
}

/// `once`, `7 times`.
fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// `812 B`, `9.6 kB`, `1.6 MB`.
fn bytes(bytes: u64) -> String {
    let tenths = |unit: f64| (bytes as f64 / unit * 10.0).round() / 10.0;
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} kB", tenths(1e3)),
        _ => format!("{} MB", tenths(1e6)),
    }
}

/// A duration with at most one decimal: `12.5 ms`.
fn ms(ns: u64) -> String {
    format!("{} ms", (ns as f64 / 1e5).round() / 10.0)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A rate with three digits: `43.7 Mbit/s`.
fn shown_rate(bits_per_s: u64) -> String {
    let (value, unit) = match bits_per_s {
        0..1_000_000 => (bits_per_s as f64 / 1e3, "kbit/s"),
        1_000_000..1_000_000_000 => (bits_per_s as f64 / 1e6, "Mbit/s"),
        _ => (bits_per_s as f64 / 1e9, "Gbit/s"),
    };
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let shown = format!("{value:.decimals$}");
    let shown = match decimals {
        0 => &shown,
        _ => shown.trim_end_matches('0').trim_end_matches('.'),
    };
    format!("{shown} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits() {
        let cases = [
            (1_000_000, "1 Mbit/s"),
            (43_687_123, "43.7 Mbit/s"),
            (160_000_000, "160 Mbit/s"),
            (1_000_000_000, "1 Gbit/s"),
            (512_000, "512 kbit/s"),
        ];
        for (rate, text) in cases {
            assert_eq!(shown_rate(rate), text);
        }
    }
}
