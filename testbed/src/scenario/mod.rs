//! Scenarios: TOML files, checked while being read, or values made in code.
//!
//! `scenarios/README.md` documents every key with its unit, range and default.

mod arm;
pub mod curriculum;
mod flow;
mod link;
mod parse;
mod plan;
mod student;
mod trace;
mod values;

#[cfg(test)]
mod tests;

pub use arm::{Aqm, Arm, Control, ControlEngine, DualPi2, Latency, Scripted};
pub use flow::{Arrivals, FlowGroup, Identity, SizeDistribution};
pub use plan::{FlowPlan, Plan};
pub use student::{ArmStudent, StudentFileError};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use l4sllm_model::files::read_regular;
use l4sllm_model::strict_toml::{RATE, TomlError};
use l4sllm_model::text::shown;
use thiserror::Error;

use crate::net::{Link, RateError, RateSchedule};
use crate::result::{
    ArmFacts, BOTTLENECK_NOT_SLOWEST, Facts, Floor, StudentFacts, Warning, usual_baselines,
};
use crate::transport::MSS;

/// One experiment: a network, its traffic, and the arms that are compared on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Description, one sentence.
    pub description: String,
    /// The file's text; empty if made in code.
    pub source: String,
    /// The file; none if made in code or from a text.
    pub file: Option<PathBuf>,
    /// Names under which the program can find files and policies with temporary
    /// paths, by path.
    pub aliases: BTreeMap<PathBuf, String>,
    /// Seed from which the seed of every repetition is derived.
    pub seed: u64,
    /// Repetitions of each arm.
    pub repetitions: u32,
    /// Virtual time of one repetition, ns.
    pub duration_ns: u64,
    /// Initial time excluded from statistics, ns.
    pub warmup_ns: u64,
    /// Maximum random delay of a flow's start, ns: without it, flows would start
    /// in lockstep, and all repetitions would be the same.
    pub start_jitter_ns: u64,
    /// Time between two samples of a flow's state, ns.
    pub sample_ns: u64,
    /// Default round-trip time of flows without queueing, ns.
    pub rtt_ns: u64,
    /// Maximum relative variation of each flow's round-trip time between
    /// repetitions, which draw factors uniformly in both directions, so that no
    /// two are equal.
    pub rtt_jitter: f64,
    /// The bottleneck's rate, before its link's model changes it.
    pub bottleneck: RateSchedule,
    /// The bottleneck's link.
    pub link: Link,
    /// Rate of the return path, bits per second; 0: not limited.
    pub return_bps: u64,
    /// Clients; a flow names one by its index.
    pub clients: Vec<Client>,
    /// Traffic.
    pub flows: Vec<FlowGroup>,
    /// The arms to compare.
    pub arms: Vec<Arm>,
    /// Names of the reference arms for comparisons; empty for the usual ones
    /// ([`Facts::baselines`]).
    pub baselines: Vec<String>,
}

/// A host with its own link to the bottleneck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Name.
    pub name: String,
    /// Rate of its link, bits per second; 0: not limited.
    pub rate_bps: u64,
    /// Propagation delay of its link in each direction, ns.
    pub delay_ns: u64,
    /// Buffer of its link, bytes.
    pub buffer_bytes: u64,
}

impl Client {
    /// A client behind 1 Gbit/s with 4 MiB of buffer.
    pub fn new(name: &str) -> Client {
        Client {
            name: name.to_owned(),
            rate_bps: 1_000_000_000,
            delay_ns: 0,
            buffer_bytes: 4 << 20,
        }
    }
}

/// The absolute path of an existing file, as text. A link keeps its name, which
/// may be that of a policy or scenario.
fn absolute(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let (parent, name) = (path.parent()?, path.file_name()?);
    let path = parent.canonicalize().ok()?.join(name);
    path.exists()
        .then(|| path.into_os_string().into_string().ok())?
}

/// An error in a scenario.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file, or one named in it, cannot be read.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not TOML, or a key is unknown, missing or out of range.
    #[error(transparent)]
    Toml(#[from] TomlError),
    /// An invalid line of a trace.
    #[error("{}:{line}: {message}", shown(path))]
    Trace {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The error and the expected content.
        message: String,
    },
    /// Invalid times or rates of a trace as a whole.
    #[error("{}: {source}", shown(path))]
    Schedule {
        /// The file.
        path: PathBuf,
        /// The violated rule.
        source: RateError,
    },
}

impl Scenario {
    /// A scenario with one client and no flows or arms yet: 60 s with a warm-up
    /// of 5 s, one repetition.
    pub fn new(name: &str, bottleneck_bps: u64, rtt_ns: u64) -> Scenario {
        Scenario {
            name: name.to_owned(),
            description: String::new(),
            source: String::new(),
            file: None,
            aliases: BTreeMap::new(),
            seed: 1,
            repetitions: 1,
            duration_ns: 60_000_000_000,
            warmup_ns: 5_000_000_000,
            start_jitter_ns: 100_000_000,
            sample_ns: 100_000_000,
            rtt_ns,
            rtt_jitter: 0.0,
            bottleneck: RateSchedule::constant(bottleneck_bps),
            link: Link::default(),
            return_bps: 0,
            clients: vec![Client::new("client")],
            flows: Vec::new(),
            arms: Vec::new(),
            baselines: Vec::new(),
        }
    }

    /// Changes the duration, ns. A warm-up longer than half the duration is
    /// shortened.
    pub fn set_duration(&mut self, duration_ns: u64) {
        self.duration_ns = duration_ns;
        self.warmup_ns = self.warmup_ns.min(duration_ns / 2);
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ScenarioError`], with file, line and key.
    pub fn load(path: &Path) -> Result<Scenario, ScenarioError> {
        let mut scenario = Scenario::parse(path, &read_text(path)?)?;
        scenario.file = Some(path.to_owned());
        Ok(scenario)
    }

    /// Checks the text of a file. `path` is named in errors; files named in the
    /// scenario are looked up in its directory, then in the working directory.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Scenario, ScenarioError> {
        parse::parse(path, text)
    }

    /// The arm `name`.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The seed of repetition `repetition`: the same for every arm, so that
    /// arms are compared on the same traffic.
    pub fn repetition_seed(&self, repetition: u32) -> u64 {
        crate::sim::derive_seed(self.seed, "repetition", u64::from(repetition))
    }

    /// The bottleneck's rate over time in the repetition with this seed.
    pub fn link_rate(&self, seed: u64) -> RateSchedule {
        self.link.schedule(&self.bottleneck, self.duration_ns, seed)
    }

    /// The minimum rate at which the bottleneck sends, bits per second.
    fn least_bps(&self) -> Option<u64> {
        let steps = self.bottleneck.steps().iter().map(|step| step.bits_per_s);
        match &self.link.walk {
            Some(walk) => Some(walk.least_bps),
            None => steps.min(),
        }
    }

    /// Everything needed to run it again. Policies are filled in by the caller,
    /// which has loaded them.
    pub fn facts(&self) -> Facts {
        let arms = self.arms.iter().map(|arm| ArmFacts {
            name: arm.name.clone(),
            aqm: arm.aqm.name().to_owned(),
            interval: arm.control.as_ref().and_then(|control| {
                let interval = control.interval.get();
                control.policy().map(|_| interval)
            }),
            rule: arm.control.as_ref().and_then(Control::rule),
            policy: None,
            policy_dir: None,
            set_latency_ns: arm.control.as_ref().and_then(Control::set_latency_ns),
            student: arm.student.as_ref().map(StudentFacts::from),
        });
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: self.seed,
            scenario: self.name.clone(),
            description: self.description.clone(),
            scenario_toml: self.source.clone(),
            scenario_file: self.file.as_deref().and_then(|file| self.place(file)),
            repetitions: self.repetitions,
            duration_ns: self.duration_ns,
            arms: arms.collect(),
            baselines: self.baselines(),
            warnings: self.warnings(),
            floor: self.floor(),
            lab: None,
        }
    }

    /// Reference with which a later run finds the file or directory at `path`: a
    /// name, or an absolute path.
    pub(crate) fn place(&self, path: &Path) -> Option<String> {
        let name = self.aliases.get(path).cloned();
        name.or_else(|| absolute(path))
    }

    /// The named baselines among the arms; without any, plain and
    /// tuned DualPI2 by their usual names, or otherwise the first arm.
    fn baselines(&self) -> Vec<String> {
        let present = |names: &[String]| -> Vec<String> {
            let names = names.iter().filter(|name| self.arm(name).is_some());
            names.cloned().collect()
        };
        let first = || self.arms.iter().take(1).map(|arm| arm.name.clone());
        let named = present(&self.baselines);
        let found = match named.is_empty() {
            true => present(&usual_baselines()),
            false => named,
        };
        match found.is_empty() {
            true => first().collect(),
            false => found,
        }
    }

    /// Warnings about the network: a bottleneck that is not one.
    fn warnings(&self) -> Vec<Warning> {
        let used = self.clients.iter().enumerate();
        let used = used.filter(|(at, _)| self.flows.iter().any(|flow| flow.client == *at));
        let rates: Vec<u64> = used.map(|(_, client)| client.rate_bps).collect();
        let access_bps: u64 = rates.iter().sum();
        let Some(least_bps) = self.least_bps() else {
            return Vec::new();
        };
        // A client's rate of 0 means no limit.
        if rates.contains(&0) || least_bps < access_bps {
            return Vec::new();
        }
        let text = format!(
            "the bottleneck's {} are no slower than the access links, {} together: no queue \
             can build at it",
            RATE.show(least_bps),
            RATE.show(access_bps)
        );
        vec![Warning {
            code: BOTTLENECK_NOT_SLOWEST.to_owned(),
            text,
            cell: self.name.clone(),
            arm: None,
        }]
    }

    /// The queue caused by the flows' minimum windows, if any: responsive
    /// long-lived flows at the minimum rate of the bottleneck and the longest
    /// round-trip time.
    fn floor(&self) -> Option<Floor> {
        let lasting = self.flows.iter().filter(|group| group.is_lasting());
        let rtts = lasting
            .clone()
            .map(|group| group.rtt_ns.unwrap_or(self.rtt_ns));
        let duty = self.link.bursts.map_or(1.0, |bursts| bursts.duty());
        let floor = Floor {
            flows: lasting.map(FlowGroup::flows).sum(),
            min_window_packets: crate::transport::cc::MIN_WINDOW as u32,
            packet_bytes: MSS + crate::transport::HEADER_BYTES,
            bits_per_s: (self.least_bps()? as f64 * duty) as u64,
            base_rtt_ns: rtts.max()?,
        };
        (floor.delay_ns() > 0).then_some(floor)
    }
}

/// Maximum size of a scenario or curriculum file, bytes.
const MAX_TEXT: u64 = 4 << 20;

/// Reads a scenario's or a curriculum's file.
pub(crate) fn read_text(path: &Path) -> Result<String, ScenarioError> {
    let text = read_regular(path, MAX_TEXT).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| std::io::Error::other(error.utf8_error()))
    });
    text.map_err(|source| ScenarioError::Read {
        path: path.to_owned(),
        source,
    })
}
