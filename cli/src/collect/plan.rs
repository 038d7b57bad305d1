//! The list of episodes to collect.

use anyhow::Context;
use l4sllm_abi::Action;
use l4sllm_testbed::experiment::Policies;
use l4sllm_testbed::result::PolicyFacts;
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::scenario::curriculum::{
    Behaviour, Curriculum, Episode, Noise, NoiseMode, PerCondition, Range,
};
use l4sllm_testbed::sim::{Random, derive_seed};
use serde::Serialize;

use super::CollectArgs;
use crate::shipped::{self, Kind};

/// Everything that determines a pool.
pub struct Plan {
    source: Source,
    policies: Policies,
    seed: u64,
    records: usize,
}

enum Source {
    Curriculum(Box<Curriculum>),
    Scenarios {
        scenarios: Vec<Scenario>,
        episodes: u32,
        explore: f64,
    },
}

/// Identity of a plan: equal identities make equal pools.
#[derive(Serialize)]
struct Identity<'a> {
    version: &'static str,
    seed: u64,
    records: usize,
    episodes: u32,
    explore: f64,
    durations_ns: Vec<u64>,
    files: Vec<&'a str>,
    policies: Vec<String>,
}

impl Plan {
    pub fn new(args: &CollectArgs) -> anyhow::Result<Plan> {
        let (source, records) = match &args.curriculum {
            Some(path) => {
                let mut curriculum = Curriculum::load(&shipped::find(Kind::Curriculum, path)?)?;
                if let Some(conditions) = args.conditions {
                    curriculum.conditions = conditions;
                }
                if let Some(duration_ns) = args.duration_ns {
                    curriculum.last(duration_ns);
                }
                let records = curriculum.records;
                (Source::Curriculum(Box::new(curriculum)), records)
            }
            None => {
                let scenarios = args
                    .scenario
                    .iter()
                    .map(|path| {
                        let mut scenario = shipped::scenario(path)?;
                        if let Some(duration_ns) = args.duration_ns {
                            scenario.set_duration(duration_ns);
                        }
                        Ok(scenario)
                    })
                    .collect::<anyhow::Result<Vec<_>>>()?;
                let source = Source::Scenarios {
                    scenarios,
                    episodes: args.episodes,
                    explore: args.explore,
                };
                (source, usize::MAX)
            }
        };
        let policies = match &source {
            Source::Curriculum(curriculum) => {
                Policies::load(&curriculum.policies(), &args.engine.options())?
            }
            Source::Scenarios { .. } => Policies::default(),
        };
        Ok(Plan {
            source,
            policies,
            seed: args.seed,
            records: args.records.map_or(records, |records| records as usize),
        })
    }

    /// Number of episodes.
    pub fn episodes(&self) -> u32 {
        match &self.source {
            Source::Curriculum(curriculum) => curriculum.episodes(),
            Source::Scenarios {
                scenarios,
                episodes,
                ..
            } => episodes.saturating_mul(scenarios.len() as u32),
        }
    }

    /// Maximum number of rows kept per episode.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Whether each condition is run under every behaviour.
    pub fn compares(&self) -> bool {
        match &self.source {
            Source::Curriculum(c) => c.per_condition == PerCondition::Each,
            Source::Scenarios { .. } => false,
        }
    }

    /// Draws an episode.
    pub fn episode(&self, index: u32) -> Episode {
        match &self.source {
            Source::Curriculum(curriculum) => {
                let mut episode = curriculum.episode(self.seed, index);
                let drawn = &mut episode.behaviour;
                if drawn.engine.is_none() {
                    drawn.engine = self.policies.engine(&drawn.arm, episode.scenario.seed);
                }
                episode
            }
            Source::Scenarios {
                scenarios, explore, ..
            } => {
                // Scenarios alternate, so that every part of the pool has all of
                // them.
                let count = scenarios.len() as u32;
                let scenario = &scenarios[(index % count) as usize];
                let seed = derive_seed(self.seed, &scenario.name, (index / count).into());
                let explores = Random::stream(seed, "explore").unit() < *explore;
                let behaviour = if explores { marks() } else { plain() };
                Episode {
                    condition: index,
                    scenario: Scenario {
                        seed,
                        ..scenario.clone()
                    },
                    behaviour: behaviour.draw(seed),
                    from_ns: 0,
                }
            }
        }
    }

    /// A text that differs between different pools.
    pub fn identity(&self) -> anyhow::Result<String> {
        let policies = match &self.source {
            Source::Curriculum(curriculum) => {
                let facts = self.policies.facts(&curriculum.policies());
                let used = facts.arms.into_iter().filter_map(|arm| arm.policy);
                let known_by = |policy: PolicyFacts| match policy.runs_on {
                    Some(on) => format!("{} ({on})", policy.sha256),
                    None => policy.sha256,
                };
                used.map(known_by).collect()
            }
            Source::Scenarios { .. } => Vec::new(),
        };
        let (explore, durations_ns, files) = match &self.source {
            Source::Curriculum(curriculum) => (
                0.0,
                vec![curriculum.duration_ns],
                vec![curriculum.source.as_str()],
            ),
            Source::Scenarios {
                scenarios, explore, ..
            } => (
                *explore,
                scenarios.iter().map(|s| s.duration_ns).collect(),
                scenarios.iter().map(|s| s.source.as_str()).collect(),
            ),
        };
        serde_json::to_string_pretty(&Identity {
            version: env!("CARGO_PKG_VERSION"),
            seed: self.seed,
            records: self.records,
            episodes: self.episodes(),
            explore,
            durations_ns,
            files,
            policies,
        })
        .context("cannot describe the collection")
    }
}

/// DualPI2 with settings around its default.
fn plain() -> Behaviour {
    Behaviour::dualpi2("dualpi2")
}

/// The same settings with random marks inserted.
fn marks() -> Behaviour {
    Behaviour {
        noise: Some(Noise {
            mode: NoiseMode::Once {
                actions: vec![Action::Mark],
            },
            interval: Range::Choice(vec![10.0, 30.0, 100.0]),
            share: Range::Uniform(0.0, 1.0),
        }),
        ..Behaviour::dualpi2("dualpi2-marks")
    }
}
