//! `facts.json`: everything needed to run it again.

use l4sllm_model::{IdleBudget, RuleFacts, RunsOn};
use serde::{Deserialize, Serialize};

use super::warnings::Warning;
use crate::scenario::ArmStudent;

/// The facts of a run, fixed before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of l4sllm.
    pub version: String,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// The scenario's description, one sentence.
    pub description: String,
    /// The scenario file's text as read; also stored in `scenario/`.
    pub scenario_toml: String,
    /// The scenario file: its absolute path, or the name of a built-in one;
    /// none if it has no path, or a path that is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario_file: Option<String>,
    /// Repetitions of each arm.
    pub repetitions: u32,
    /// Virtual time of one repetition, ns.
    pub duration_ns: u64,
    /// The arms, in order.
    pub arms: Vec<ArmFacts>,
    /// Names of the reference arms for comparisons, in order.
    #[serde(default = "usual_baselines")]
    pub baselines: Vec<String>,
    /// Warnings that depend only on the scenario.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Minimum queue delay caused by the flows' minimum windows, ms; none if
    /// the path can hold them. Computed from the scenario.
    pub floor: Option<Floor>,
    /// The host whose packets were measured; none if the run was emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<LabFacts>,
}

/// The host of a run with real packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabFacts {
    /// Release of its kernel, whose congestion controls sent.
    pub kernel: String,
    /// Version of iperf3.
    pub iperf: String,
    /// The testbed's machines; none if it was one host (`l4sllm lab run`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<MachinesFacts>,
}

/// The command of a run on the testbed's machines (`l4sllm testbed run`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinesFacts {
    /// Provider of the machines: `qemu`, `ssh`.
    pub provider: String,
    /// Words of `--arms`.
    pub arms: Vec<String>,
    /// Numbers of `--interval`.
    pub intervals: Vec<u32>,
}

/// Conventional names of plain and tuned DualPI2 in scenarios.
pub(crate) fn usual_baselines() -> Vec<String> {
    ["dualpi2", "dualpi2-tuned"].map(str::to_owned).to_vec()
}

impl Facts {
    /// Whether both describe the same run; paths of files may differ.
    pub(super) fn is_same_run(&self, other: &Facts) -> bool {
        let placeless = |facts: &Facts| {
            let mut facts = facts.clone();
            facts.scenario_file = None;
            facts.arms.iter_mut().for_each(|arm| arm.policy_dir = None);
            facts
        };
        placeless(self) == placeless(other)
    }

    /// Facts of the arm `name`.
    pub fn arm(&self, name: &str) -> Option<&ArmFacts> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}

/// One arm before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmFacts {
    /// Name: letters, digits, `-`, `_` and `.`; it names a directory.
    pub name: String,
    /// Queue discipline.
    pub aqm: String,
    /// Packets between two decisions of a policy on records.
    pub interval: Option<u32>,
    /// The rule that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleFacts>,
    /// The policy that decides.
    pub policy: Option<PolicyFacts>,
    /// The policy's directory: its absolute path, or the name of a built-in
    /// one; none without a policy, or with a path that is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_dir: Option<String>,
    /// Decision latency that the scenario sets, ns; none if it is measured, if
    /// nothing decides, and in results of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_latency_ns: Option<u64>,
    /// The student in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student: Option<StudentFacts>,
}

impl ArmFacts {
    /// Whether a policy, a rule or a student decides in it.
    pub fn is_controlled(&self) -> bool {
        self.rule.is_some()
            || self.policy.is_some()
            || self.student.is_some()
            || self.interval.is_some()
    }
}

/// Identity of a student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of its file, hex.
    pub sha256: String,
    /// Time between two decisions, ns.
    pub period_ns: u64,
    /// Idle budget, share of time.
    pub idle_budget: f64,
}

impl From<&ArmStudent> for StudentFacts {
    fn from(of: &ArmStudent) -> StudentFacts {
        let student = of.student();
        let own = f64::from(student.idle_budget) / 1e6;
        StudentFacts {
            name: student.name.clone(),
            sha256: of.sha256(),
            period_ns: student.period_ns,
            idle_budget: of.idle_budget.map_or(own, IdleBudget::share),
        }
    }
}

/// Identity of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyFacts {
    /// Name of its directory.
    pub name: String,
    /// SHA-256 over its configuration and weights, hex.
    pub sha256: String,
    /// The engine that ran it; none: the plain engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_on: Option<RunsOn>,
    /// Time between two decisions, ns; none if it decides on records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_ns: Option<u64>,
    /// Its idle budget, share of time; none if it decides on records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_budget: Option<f64>,
}

/// A queue that no marking removes: every flow keeps `min_window_packets` in
/// flight, the path holds less, and the rest waits at the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Flows that run at the same time and respond to congestion.
    pub flows: u32,
    /// Packets that each keeps in flight.
    pub min_window_packets: u32,
    /// Bytes of a full packet on the wire.
    pub packet_bytes: u32,
    /// Bottleneck rate, bits per second.
    pub bits_per_s: u64,
    /// Round-trip time without queue, ns.
    pub base_rtt_ns: u64,
}

impl Floor {
    /// Standing queue, ns: the windows minus the path's capacity; 0 if the path
    /// can hold all of them.
    pub fn delay_ns(&self) -> u64 {
        let bits = u128::from(self.flows)
            * u128::from(self.min_window_packets)
            * u128::from(self.packet_bytes)
            * 8;
        let Some(ns) = (bits * 1_000_000_000).checked_div(u128::from(self.bits_per_s)) else {
            return 0;
        };
        u64::try_from(ns)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.base_rtt_ns)
    }
}
