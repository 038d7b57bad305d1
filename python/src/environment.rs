//! One emulator: episodes of runs whose decisions a learner makes.

use std::sync::Arc;

use l4sllm_abi::{Queue, raw};
use l4sllm_model::{
    HeadKind, IdleBudget, Outcome, PeriodCost, Policy, PolicyConfig, PolicyInput, SET_POINTS,
    SetPointHead,
};
use l4sllm_testbed::rollout::{
    InteractiveRun, Observation, Selection, TrainingCondition, conditions,
};
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::sim::derive_seed;
use l4sllm_testbed::suite::Suite;

use crate::options::{EnvironmentError, Options, wrong};

/// Names of the numbers about each period, in order.
pub const INFO: [&str; 14] = [
    "time",
    "classic_delay_ms",
    "classic_delay_max_ms",
    "l4s_delay_ms",
    "l4s_delay_max_ms",
    "utilisation",
    "marks",
    "drops",
    "bursty",
    "target_ms",
    "alpha_hz",
    "beta_hz",
    "coupling",
    "idle_budget",
];

/// Measured time of an episode in a condition of the suite, ns, as in training in the
/// loop.
const MEASURED_NS: u64 = 40_000_000_000;

/// Options and files shared by the emulators of a vector.
pub struct Setup {
    options: Options,
    config: Arc<PolicyConfig>,
    head: SetPointHead,
    /// The policy's default.
    budget: IdleBudget,
    source: Source,
}

/// The source of scenarios.
enum Source {
    Scenario(Box<Scenario>),
    Condition(Box<TrainingCondition>),
    /// Families with conditions.
    Families(Vec<String>),
}

/// An emulator with its sequence of episodes.
pub struct Environment {
    setup: Arc<Setup>,
    seed: u64,
    /// Number of the current episode since the seed was set.
    episode: u64,
    run: Option<InteractiveRun>,
    name: String,
    cost: PeriodCost,
    observation: Vec<f32>,
    info: [f64; INFO.len()],
    outcome: Option<Outcome>,
    /// Events of finished episodes.
    events: u64,
}

/// Result of a step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Reward of the period that ended.
    pub reward: f64,
    /// Whether the episode has no further period.
    pub truncated: bool,
}

impl Setup {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// An option out of range, or a file.
    pub fn new(options: Options) -> Result<Setup, EnvironmentError> {
        options.check()?;
        let mut config = Policy::load_config(&options.policy)?;
        let (HeadKind::SetPoints(head), Some(budget)) = (config.head.kind, config.idle_budget())
        else {
            let want = "a policy on summaries, which chooses set-points";
            return Err(wrong("policy", config.name, want));
        };
        if config.window != 1 {
            let got = format!("{} with a window of {}", config.name, config.window);
            return Err(wrong("policy", got, "a window of 1"));
        }
        if let Some(interval) = options.interval {
            let period_ms = (interval * 1e3).round() as u32;
            config.input = PolicyInput::Summaries { period_ms };
        }
        let source = Source::new(&options)?;
        Ok(Setup {
            options,
            config: Arc::new(config),
            head,
            budget,
            source,
        })
    }

    /// The configuration of policies trained here.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// Bounds of each number of an observation, which are symmetric.
    pub fn observation_bounds(&self) -> Vec<f32> {
        let features = self.config.features.iter();
        let inputs = features.flat_map(|feature| {
            std::iter::repeat_n(feature.scaling.clip as f32, feature.encoder.history())
        });
        let clip = l4sllm_model::Scaling::CLIP as f32;
        std::iter::once(self.config.returns.scaling.clip as f32)
            .chain(inputs)
            .chain(std::iter::repeat_n(clip, SET_POINTS))
            .collect()
    }

    /// Lower and upper bounds of actions: beyond them, set-points do not change.
    pub fn action_bounds(&self) -> [Vec<f32>; 2] {
        let of = |bound: fn(&l4sllm_model::SetPointRange) -> f64| {
            let ranges = self.head.ranges().into_iter();
            ranges
                .map(|(_, range)| ((bound(&range).ln() - range.mean) / range.std) as f32)
                .collect()
        };
        [of(|range| range.min), of(|range| range.max)]
    }

    /// The scenario of an episode.
    fn draw(&self, seed: u64, episode: u64) -> Result<Scenario, EnvironmentError> {
        let draws = derive_seed(seed, "episode", episode);
        let options = &self.options;
        let measured_ns = options.duration.map_or(MEASURED_NS, ns);
        match &self.source {
            Source::Scenario(scenario) => {
                let mut scenario = (**scenario).clone();
                scenario.seed = draws;
                if options.duration.is_some() {
                    scenario.set_duration(measured_ns);
                }
                Ok(scenario)
            }
            Source::Condition(condition) => {
                let number = (draws >> 33) as u32;
                Ok(condition.repetition(measured_ns, number))
            }
            Source::Families(families) => {
                let first = derive_seed(draws, "family", 0) as usize % families.len();
                let in_turn = families[first..].iter().chain(&families[..first]);
                for family in in_turn {
                    let selection = options.selection(std::slice::from_ref(family));
                    let part = options.part()?;
                    let drawn = conditions(
                        &options.suite,
                        part,
                        &selection,
                        draws,
                        "environment",
                        episode,
                    )?;
                    let at = derive_seed(draws, "condition", 0) as usize;
                    if let Some(condition) = drawn.get(at % drawn.len().max(1)) {
                        return Ok(condition.repetition(measured_ns, 0));
                    }
                }
                Err(options.no_conditions())
            }
        }
    }
}

impl Source {
    fn new(options: &Options) -> Result<Source, EnvironmentError> {
        if let Some(file) = &options.scenario {
            return Ok(Source::Scenario(Box::new(Scenario::load(file)?)));
        }
        let part = options.part()?;
        if let Some(name) = &options.condition {
            let suite = Suite::load(&options.suite, part, options.suite_seed)?;
            let families = suite.families.into_iter();
            let mut all = families
                .filter(|family| family.part == Some(part))
                .flat_map(|family| {
                    let name = family.name;
                    let conditions = family.conditions.into_iter();
                    conditions.map(move |condition| TrainingCondition {
                        family: name.clone(),
                        condition,
                    })
                });
            let found = all.find(|of| of.condition.scenario.name == *name);
            let want = "a family and a number, such as stationary-00003";
            let condition = found.ok_or_else(|| wrong("condition", name, want))?;
            return Ok(Source::Condition(Box::new(condition)));
        }
        let selection = options.selection(&options.families);
        let drawn = conditions(
            &options.suite,
            part,
            &selection,
            options.suite_seed,
            "environment",
            0,
        )?;
        let mut families: Vec<String> = drawn.into_iter().map(|of| of.family).collect();
        families.dedup();
        match families.is_empty() {
            true => Err(options.no_conditions()),
            false => Ok(Source::Families(families)),
        }
    }
}

impl Options {
    fn selection<'a>(&self, families: &'a [String]) -> Selection<'a> {
        Selection {
            families,
            per_family: usize::MAX,
            most_bps: Some(self.max_rate * 1e6),
            measured_ns: self.duration.map_or(MEASURED_NS, ns),
        }
    }

    fn no_conditions(&self) -> EnvironmentError {
        let want = "the rate of at least one of the suite's conditions, Mbit/s";
        wrong("max_rate", self.max_rate, want)
    }
}

impl Environment {
    /// An emulator without an episode.
    pub fn new(setup: &Arc<Setup>) -> Environment {
        Environment {
            cost: PeriodCost {
                budget: setup.budget,
                caution: setup.options.caution,
                margin: setup.options.margin,
            },
            setup: Arc::clone(setup),
            seed: 0,
            episode: 0,
            run: None,
            name: String::new(),
            observation: Vec::new(),
            info: [0.0; INFO.len()],
            outcome: None,
            events: 0,
        }
    }

    /// Starts the first episode of a seed or, without one, the next episode.
    ///
    /// # Errors
    /// The suite, or a run without a period.
    pub fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvironmentError> {
        match seed {
            Some(seed) => (self.seed, self.episode) = (seed, 0),
            None => self.episode += 1,
        }
        self.events += self.run.take().map_or(0, |run| run.events());
        let setup = Arc::clone(&self.setup);
        let draw = || {
            let bits = derive_seed(self.seed, "idle budget", self.episode);
            (bits >> 11) as f64 / (1u64 << 53) as f64
        };
        self.cost.budget = setup.options.budget(draw)?.unwrap_or(setup.budget);
        let scenario = setup.draw(self.seed, self.episode)?;
        let failed = |source| EnvironmentError::Run {
            scenario: scenario.name.clone(),
            source,
        };
        let run = InteractiveRun::new(&scenario, &setup.config, self.cost.budget);
        let mut run = run.map_err(failed)?;
        let Some(observed) = run.advance().map_err(failed)? else {
            let got = scenario.duration_ns as f64 / 1e9;
            return Err(wrong("duration", got, "at least two intervals"));
        };
        self.name = scenario.name;
        self.outcome = None;
        self.run = Some(run);
        self.see(&observed);
        Ok(())
    }

    /// Decides on the last period, and runs to the end of the next one.
    ///
    /// # Errors
    /// The emulation failed, or there is no episode.
    pub fn step(&mut self, action: [f32; SET_POINTS]) -> Result<Step, EnvironmentError> {
        let name = self.name.clone();
        let failed = |source| EnvironmentError::Run {
            scenario: name.clone(),
            source,
        };
        let Some(run) = &mut self.run else {
            return Err(wrong("step", "without an episode", "reset first"));
        };
        run.decide(action).map_err(failed)?;
        let observed = run.advance().map_err(failed)?;
        let period_ns = self.setup.config.period_ns().unwrap_or_default();
        // The end is not part of the run.
        let truncated = observed.is_none() || run.now_ns() + period_ns >= run.duration_ns();
        let reward = observed
            .as_ref()
            .map_or(0.0, |seen| -self.cost.of(&seen.period));
        if let Some(observed) = &observed {
            self.see(observed);
        }
        if let Some(run) = self.run.take_if(|_| truncated) {
            self.events += run.events();
            self.outcome = Some(run.finish().map_err(failed)?);
        }
        Ok(Step { reward, truncated })
    }

    /// Whether an episode is in progress.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// The last observation: see [`Setup::observation_bounds`].
    pub fn observation(&self) -> &[f32] {
        &self.observation
    }

    /// Numbers about the last period, in the order of [`INFO`]; NaN for the delay of a
    /// queue that forwarded nothing.
    pub fn info(&self) -> &[f64; INFO.len()] {
        &self.info
    }

    /// Name of the episode's scenario or condition.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The measured part of a finished episode.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Number of events of the emulation, over all episodes.
    pub fn events(&self) -> u64 {
        self.events + self.run.as_ref().map_or(0, InteractiveRun::events)
    }

    fn see(&mut self, observed: &Observation) {
        let Observation {
            window,
            period,
            bursty,
        } = observed;
        self.observation.clear();
        for part in [&window.returns, &window.inputs, &window.actions] {
            self.observation.extend_from_slice(part);
        }
        let ms = |ns: f64| ns / 1e6;
        let queues = [Queue::Classic, Queue::L4s].map(|queue| period.queue(queue));
        let mean = |at: usize| queues[at].mean_sojourn_ns().map_or(f64::NAN, ms);
        let most = |at: usize| {
            let range = queues[at].sojourn_range_ns();
            range.map_or(f64::NAN, |(_, most)| ms(most as f64))
        };
        let seconds = period.duration_ns().max(1) as f64;
        let raw: &raw::l4s_summary = period.raw();
        self.info = [
            period.end_ns() as f64 / 1e9,
            mean(0),
            most(0),
            mean(1),
            most(1),
            period.busy_ns() as f64 / seconds,
            queues.iter().map(|queue| queue.marks() as f64).sum(),
            queues.iter().map(|queue| queue.drops() as f64).sum(),
            f64::from(u8::from(*bursty)),
            ms(raw.target_ns as f64),
            f64::from(raw.alpha_uhz) / 1e6,
            f64::from(raw.beta_uhz) / 1e6,
            f64::from(raw.coupling_q8) / 256.0,
            self.cost.budget.share(),
        ];
    }
}

/// A time in ns; options are checked.
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
