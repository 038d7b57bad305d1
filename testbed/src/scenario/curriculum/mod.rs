//! A curriculum: ranges that conditions and behaviours are drawn from, so
//! that a pool holds more than a few scenarios can show.
//!
//! A *condition* is a network and its traffic; an *episode* is a condition
//! under one behaviour.  The same seed draws the same, whichever episodes are
//! asked for and in which order.  `scenarios/README.md` documents every key.

mod behaviour;
mod explorer;
mod flow;
mod link;
mod noise;
mod parse;
mod part;
mod range;

#[cfg(test)]
mod tests;

pub use behaviour::{Behaviour, Controller, Drawn};
pub use flow::{ArrivalsRange, FlowRange, Often};
pub use link::{LinkRange, WalkRange};
pub use noise::{Noise, NoiseMode};
pub use part::{BANDS, BEYOND, Part};
pub use range::{Names, Range};

use std::path::Path;

use super::{Scenario, ScenarioError};
use crate::sim::{Random, derive_seed};
use flow::Setting;

/// Ranges to draw from.
#[derive(Debug, Clone, PartialEq)]
pub struct Curriculum {
    /// Name, which those of conditions begin with.
    pub name: String,
    /// One sentence on what it is.
    pub description: String,
    /// The file's text.
    pub source: String,
    /// Conditions.
    pub conditions: u32,
    /// Behaviours that each condition is run under.
    pub per_condition: PerCondition,
    /// Runs of each condition, each with traffic seeds of its own.
    pub repetitions: u32,
    /// Virtual time of an episode, ns.
    pub duration_ns: u64,
    /// Time at the beginning that an episode's outcome leaves out, ns.
    pub warmup_ns: u64,
    /// When the rows that are kept begin, ns.
    pub from_ns: Range,
    /// Rows that are kept of an episode at the most.
    pub records: usize,
    /// Round-trip time without queue of flows that have none of their own, ns.
    pub rtt_ns: Range,
    /// Part of a flow's round-trip time by which repetitions vary it.
    pub rtt_jitter: f64,
    /// The bottleneck.
    pub link: LinkRange,
    /// Traffic.
    pub flows: Vec<FlowRange>,
    /// Who decides.
    pub behaviours: Vec<Behaviour>,
    /// The part that conditions are drawn from; everything if none.
    pub part: Option<Part>,
}

/// Behaviours of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerCondition {
    /// So many, drawn by weight.
    Drawn(u32),
    /// Each one once, in their order: outcomes can then be compared.
    Each,
}

/// An episode, drawn.
pub struct Episode {
    /// Number of the condition.
    pub condition: u32,
    /// The condition, with the seed of its traffic.
    pub scenario: Scenario,
    /// Who decides.
    pub behaviour: Drawn,
    /// When the rows that are kept begin, ns.
    pub from_ns: u64,
}

impl Curriculum {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ScenarioError`], with file, line and key.
    pub fn load(path: &Path) -> Result<Curriculum, ScenarioError> {
        Curriculum::parse(path, &super::read_text(path)?)
    }

    /// Reads a file's text; `path` is for names and errors.
    ///
    /// # Errors
    /// [`ScenarioError`], with file, line and key.
    pub fn parse(path: &Path, text: &str) -> Result<Curriculum, ScenarioError> {
        parse::parse(path, text)
    }

    /// Has episodes last this long, their warm-up and what is kept in
    /// proportion.
    pub fn last(&mut self, duration_ns: u64) {
        let factor = duration_ns as f64 / self.duration_ns as f64;
        self.warmup_ns = (self.warmup_ns as f64 * factor) as u64;
        self.from_ns = self.from_ns.scaled(factor);
        self.duration_ns = duration_ns;
    }

    /// The same curriculum, whose conditions are drawn from `part` alone: no
    /// range of a condition has a value in both parts.
    pub fn part(&self, part: Part) -> Curriculum {
        Curriculum {
            rtt_ns: self.rtt_ns.part(part),
            link: self.link.part(part),
            flows: self.flows.iter().map(|flow| flow.part(part)).collect(),
            part: Some(part),
            ..self.clone()
        }
    }

    /// A scenario with an arm for each policy that the behaviours name.
    pub fn policies(&self) -> Scenario {
        let mut scenario = Scenario::new(&self.name, 1, 1);
        let with_policy = self
            .behaviours
            .iter()
            .filter(|b| matches!(b.controller, Some(Controller::Policy { .. })));
        scenario.arms = with_policy.map(|b| b.draw(0).arm).collect();
        scenario
    }

    /// Number of episodes.
    pub fn episodes(&self) -> u32 {
        let each = self.each().saturating_mul(self.repetitions);
        self.conditions.saturating_mul(each)
    }

    /// Draws episode `index`, below [`Curriculum::episodes`].
    pub fn episode(&self, seed: u64, index: u32) -> Episode {
        let run = index / self.each();
        let condition = run / self.repetitions;
        let own = derive_seed(seed, &self.name, u64::from(index));
        let behaviour = match self.per_condition {
            PerCondition::Each => &self.behaviours[(index % self.each()) as usize],
            PerCondition::Drawn(_) => self.choose(&mut Random::stream(own, "choice")),
        };
        let from_ns = self.from_ns.draw_whole(&mut Random::stream(own, "from"));
        Episode {
            condition,
            scenario: self.repetition(seed, condition, run % self.repetitions),
            behaviour: behaviour.draw(own),
            from_ns,
        }
    }

    /// Draws condition `number`: a scenario without arms.
    pub fn condition(&self, seed: u64, number: u32) -> Scenario {
        let seed = match self.part {
            Some(part) => derive_seed(seed, part.name(), 0),
            None => seed,
        };
        let seed = derive_seed(seed, "condition", u64::from(number));
        let random = &mut Random::stream(seed, "condition");
        let rate_bps = self.link.rate_bps.draw_whole(random);
        let mut scenario = Scenario {
            seed,
            duration_ns: self.duration_ns,
            warmup_ns: self.warmup_ns,
            rtt_jitter: self.rtt_jitter,
            link: self.link.draw(rate_bps, &mut Random::stream(seed, "link")),
            ..Scenario::new(
                &format!("{}-{number:05}", self.name),
                rate_bps,
                self.rtt_ns.draw_whole(random),
            )
        };
        // An access link never narrower than what it leads to.
        for client in &mut scenario.clients {
            client.rate_bps = client.rate_bps.max(10 * rate_bps);
        }
        let duty = scenario.link.bursts.map_or(1.0, |bursts| bursts.duty());
        let setting = Setting {
            rate_bps,
            mean_bps: (rate_bps as f64 * duty) as u64,
            duration_ns: self.duration_ns,
        };
        // Another draw where all counts are 0, which the parser has made sure
        // is not all that there is.
        while scenario.flows.is_empty() {
            for range in &self.flows {
                scenario.flows.extend(range.draw(random, setting));
            }
        }
        scenario.bottleneck = self.link.schedule(rate_bps, self.duration_ns, random);
        scenario
    }

    /// The same condition, whose traffic meets other chances from the second
    /// repetition on.
    fn repetition(&self, seed: u64, condition: u32, number: u32) -> Scenario {
        let mut scenario = self.condition(seed, condition);
        if number > 0 {
            scenario.seed = derive_seed(scenario.seed, "repetition", u64::from(number));
        }
        scenario
    }

    fn each(&self) -> u32 {
        match self.per_condition {
            PerCondition::Drawn(count) => count,
            PerCondition::Each => self.behaviours.len() as u32,
        }
    }

    /// One of the behaviours, by weight.
    fn choose(&self, random: &mut Random) -> &Behaviour {
        let all: f64 = self.behaviours.iter().map(|b| b.weight).sum();
        let mut left = random.unit() * all;
        for behaviour in &self.behaviours {
            left -= behaviour.weight;
            if left < 0.0 {
                return behaviour;
            }
        }
        // Rounding alone comes here.
        &self.behaviours[self.behaviours.len() - 1]
    }
}
