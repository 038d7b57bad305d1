//! A curriculum: ranges from which conditions and behaviours are drawn, so that
//! a pool covers more than a few scenarios.
//!
//! A *condition* is a network and its traffic; an *episode* is a condition
//! under one behaviour. Draws depend only on the seed, not on which episodes
//! are requested or in which order. `scenarios/README.md` documents every key.

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

/// A curriculum.
#[derive(Debug, Clone, PartialEq)]
pub struct Curriculum {
    /// Name, also the prefix of the names of conditions.
    pub name: String,
    /// Description, one sentence.
    pub description: String,
    /// The file's text.
    pub source: String,
    /// Number of conditions.
    pub conditions: u32,
    /// Behaviours for each condition.
    pub per_condition: PerCondition,
    /// Runs of each condition, with different traffic seeds.
    pub repetitions: u32,
    /// Virtual time of an episode, ns.
    pub duration_ns: u64,
    /// Initial time excluded from an episode's outcome, ns.
    pub warmup_ns: u64,
    /// Time from which rows are kept, ns.
    pub from_ns: Range,
    /// Maximum number of rows kept per episode.
    pub records: usize,
    /// Default round-trip time of flows without queueing, ns.
    pub rtt_ns: Range,
    /// Relative variation of a flow's round-trip time between repetitions.
    pub rtt_jitter: f64,
    /// The bottleneck.
    pub link: LinkRange,
    /// Traffic.
    pub flows: Vec<FlowRange>,
    /// Behaviours.
    pub behaviours: Vec<Behaviour>,
    /// The part from which conditions are drawn; everything if none.
    pub part: Option<Part>,
}

/// Behaviours of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerCondition {
    /// This number, drawn by weight.
    Drawn(u32),
    /// Each one once, in order, so that outcomes can be compared.
    Each,
}

/// An episode, drawn.
pub struct Episode {
    /// Number of the condition.
    pub condition: u32,
    /// The condition, with the seed of its traffic.
    pub scenario: Scenario,
    /// The behaviour.
    pub behaviour: Drawn,
    /// Time from which rows are kept, ns.
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

    /// Sets the duration of episodes, and scales their warm-up and kept time in
    /// proportion.
    pub fn last(&mut self, duration_ns: u64) {
        let factor = duration_ns as f64 / self.duration_ns as f64;
        self.warmup_ns = (self.warmup_ns as f64 * factor) as u64;
        self.from_ns = self.from_ns.scaled(factor);
        self.duration_ns = duration_ns;
    }

    /// The curriculum restricted to `part`: no range of a condition has a value
    /// in both parts.
    pub fn part(&self, part: Part) -> Curriculum {
        Curriculum {
            rtt_ns: self.rtt_ns.part(part),
            link: self.link.part(part),
            flows: self.flows.iter().map(|flow| flow.part(part)).collect(),
            part: Some(part),
            ..self.clone()
        }
    }

    /// A scenario with an arm for each policy named by the behaviours.
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
        // Access links are never slower than the bottleneck.
        for client in &mut scenario.clients {
            client.rate_bps = client.rate_bps.max(10 * rate_bps);
        }
        let duty = scenario.link.bursts.map_or(1.0, |bursts| bursts.duty());
        let setting = Setting {
            rate_bps,
            mean_bps: (rate_bps as f64 * duty) as u64,
            duration_ns: self.duration_ns,
        };
        // Redrawn if all counts are 0; the parser ensures that other draws
        // exist.
        while scenario.flows.is_empty() {
            for range in &self.flows {
                scenario.flows.extend(range.draw(random, setting));
            }
        }
        scenario.bottleneck = self.link.schedule(rate_bps, self.duration_ns, random);
        scenario
    }

    /// The same condition, with different traffic seeds from the second
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
        // Reached only by rounding.
        &self.behaviours[self.behaviours.len() - 1]
    }
}
