//! Policies that do as much harm as the limits allow, and how much that is.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use l4sllm_abi::{Action, Factor, Factors, Limits, Params, Record, Steer};
use l4sllm_model::Outcome;
use l4sllmd::engine::Decision;
use l4sllmd::{Engine, OverrideMode, Scope};
use serde::Serialize;

use crate::control::EngineFactory;
use crate::experiment::measure;
use crate::result::pool;
use crate::scenario::{Arm, Arrivals, Control, FlowGroup, Scenario, SizeDistribution};
use crate::sim::SimError;
use crate::transport::Cc;
use crate::workers;

/// Records between two decisions: an override is renewed long before its packets
/// are used up.
const INTERVAL: NonZeroU32 = NonZeroU32::new(10).expect("not 0");
/// Time between two changes of the oscillating policy, ns: the queue reaches a
/// steady state at one limit before the change to the other.
const FLIP_NS: u64 = 1_000_000_000;
/// Name of the arm without a policy.
pub const PLAIN: &str = "plain";

/// A policy that does harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malice {
    /// Drops every packet.
    Drop,
    /// Marks every packet.
    Mark,
    /// Forwards every packet without a signal.
    Enqueue,
    /// Moves all set-points from one limit to the other once a second.
    Oscillate,
    /// All set-points at the limit of a strict queue: a short target, high gains.
    Strict,
    /// All set-points at the limit of a lax queue: a long target, low gains.
    Lax,
}

impl Malice {
    /// Every malicious policy.
    pub const ALL: [Malice; 6] = [
        Malice::Drop,
        Malice::Mark,
        Malice::Enqueue,
        Malice::Oscillate,
        Malice::Strict,
        Malice::Lax,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Malice::Drop => "drop",
            Malice::Mark => "mark",
            Malice::Enqueue => "enqueue",
            Malice::Oscillate => "oscillate",
            Malice::Strict => "strict",
            Malice::Lax => "lax",
        }
    }

    /// Its control: every override applies to as many packets of both queues, and
    /// lives as long, as the default limits allow.
    pub fn control(self) -> Control {
        let limits = Limits::default();
        let hold = NonZeroU32::new(limits.max_hold).unwrap_or(NonZeroU32::MIN);
        Control {
            mode: OverrideMode::Hold(hold),
            queue: Scope::Any,
            ttl_ns: limits.max_ttl_ns,
            ..Control::new(Path::new(""), INTERVAL)
        }
    }

    /// Its engines.
    pub fn engines(self) -> EngineFactory {
        EngineFactory::on_records(move |_scheduler| {
            Box::new(Malicious {
                malice: self,
                left: INTERVAL.get(),
            })
        })
    }

    fn decision(self, now_ns: u64) -> Decision {
        match self {
            Malice::Drop => action(Action::Drop),
            Malice::Mark => action(Action::Mark),
            Malice::Enqueue => action(Action::Enqueue),
            Malice::Oscillate => extreme((now_ns / FLIP_NS) % 2 == 0),
            Malice::Strict => extreme(true),
            Malice::Lax => extreme(false),
        }
    }
}

fn action(action: Action) -> Decision {
    let mut probabilities = [0.0; 3];
    probabilities[usize::from(action.code())] = 1.0;
    Decision::Action {
        action,
        probabilities,
    }
}

/// All set-points at one of their default limits: those of a strict or of a lax
/// queue.
fn extreme(strict: bool) -> Decision {
    let limits = Limits::default();
    let factor = |key: &str, most: bool| {
        let range = limits.factors(key);
        Factor::new(if most { *range.end() } else { *range.start() }).ok()
    };
    let factors = Factors {
        target: factor("target", !strict),
        threshold: factor("threshold", !strict),
        coupling: factor("coupling", strict),
        alpha: factor("alpha", strict),
        beta: factor("beta", strict),
        tupdate: factor("tupdate", !strict),
    };
    Decision::Steer(Steer::new(factors).expect("there are factors"))
}

/// The engine of a malicious policy.
struct Malicious {
    malice: Malice,
    /// Records until the next decision.
    left: u32,
}

impl Engine for Malicious {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        self.left -= 1;
        if self.left > 0 {
            return None;
        }
        self.left = INTERVAL.get();
        Some(self.malice.decision(record.time_ns()))
    }

    fn reset(&mut self) {
        self.left = INTERVAL.get();
    }
}

/// The conditions in which policies do harm.
pub fn conditions() -> Vec<Scenario> {
    const M: u64 = 1_000_000;
    let group = |name: &str, cc, count| {
        let mut group = FlowGroup::new(name, cc);
        group.count = count;
        group
    };
    let mixed = || vec![group("cubic", Cc::Cubic, 2), group("prague", Cc::Prague, 2)];
    let mut not_ect = group("cubic", Cc::Cubic, 4);
    not_ect.ecn = false;
    let mut paced = group("udp", Cc::Udp, 1);
    paced.rate_bps = Some(10 * M);
    let mut short = group("short", Cc::Cubic, 1);
    short.arrivals = Some(Arrivals {
        per_s: 20.0,
        size: SizeDistribution::Pareto {
            shape: 1.2,
            least: 5_000,
            most: 5_000_000,
        },
    });
    let paper = vec![
        group("cubic", Cc::Cubic, 4),
        group("newreno", Cc::NewReno, 4),
        group("dctcp", Cc::Dctcp, 1),
    ];
    [
        (
            "ecn-20M-20ms",
            20 * M,
            20,
            vec![group("cubic", Cc::Cubic, 4)],
        ),
        ("not-ect-20M-20ms", 20 * M, 20, vec![not_ect]),
        ("mixed-20M-20ms", 20 * M, 20, mixed()),
        ("mixed-100M-40ms", 100 * M, 40, mixed()),
        ("paper-8M-10ms", 8 * M, 10, paper),
        (
            "single-20M-100ms",
            20 * M,
            100,
            vec![group("cubic", Cc::Cubic, 1)],
        ),
        (
            "udp-20M-20ms",
            20 * M,
            20,
            vec![paced, group("cubic", Cc::Cubic, 2)],
        ),
        (
            "short-20M-40ms",
            20 * M,
            40,
            vec![
                short,
                group("cubic", Cc::Cubic, 1),
                group("prague", Cc::Prague, 1),
            ],
        ),
    ]
    .map(|(name, bits_per_s, rtt_ms, flows)| {
        let mut scenario = Scenario::new(name, bits_per_s, rtt_ms * M);
        scenario.flows = flows;
        scenario
    })
    .to_vec()
}

/// Options of a run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Measured virtual time of each run, ns, after a warm-up of 5 s.
    pub measured_ns: u64,
    /// Repetitions of each policy in each condition.
    pub repetitions: u32,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
}

const WARMUP_NS: u64 = 5_000_000_000;

/// The numbers of one policy, or of plain DualPI2, in one condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Name of the condition.
    pub condition: String,
    /// Name of the policy, or [`PLAIN`].
    pub policy: String,
    /// Over all repetitions.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Runs plain DualPI2 and every malicious policy in each condition; none if
/// cancelled. Repetitions of a condition have the same draws for every policy.
///
/// # Errors
/// A run's accounting is violated.
pub fn run(conditions: &[Scenario], options: Options<'_>) -> Result<Option<Vec<Cell>>, SimError> {
    let policies = || [None].into_iter().chain(Malice::ALL.map(Some));
    let jobs: Vec<(usize, &Scenario, Option<Malice>)> = conditions
        .iter()
        .flat_map(|condition| policies().map(move |policy| (condition, policy)))
        .enumerate()
        .map(|(at, (condition, policy))| (at, condition, policy))
        .collect();
    let cells: Mutex<Vec<Option<Cell>>> = Mutex::new(vec![None; jobs.len()]);
    workers::run(options.threads, &jobs, |(at, condition, policy)| {
        let cell = cell(condition, *policy, &options)?;
        let more = cell.is_some();
        cells.lock().unwrap_or_else(PoisonError::into_inner)[*at] = cell;
        Ok::<_, SimError>(more)
    })?;
    let cells = cells.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(cells.into_iter().collect())
}

fn cell(
    condition: &Scenario,
    policy: Option<Malice>,
    options: &Options<'_>,
) -> Result<Option<Cell>, SimError> {
    let mut scenario = condition.clone();
    scenario.warmup_ns = WARMUP_NS;
    scenario.duration_ns = WARMUP_NS + options.measured_ns;
    let mut arm = Arm::dualpi2(policy.map_or(PLAIN, Malice::name), Params::default());
    arm.control = policy.map(Malice::control);
    let mut samples = Vec::new();
    for repetition in 0..options.repetitions {
        if options.cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let engines = policy.map(Malice::engines);
        match measure(&scenario, &arm, repetition, engines, options.cancel)? {
            Some(of) => samples.push(of),
            None => return Ok(None),
        }
    }
    Ok(Some(Cell {
        condition: scenario.name,
        policy: arm.name,
        outcome: pool(&samples.iter().collect::<Vec<_>>()).outcome(),
    }))
}

/// The greatest harm of one policy to one quantity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Name of the policy.
    pub policy: String,
    /// The quantity, with its unit.
    pub quantity: String,
    /// The condition in which it is harmed most.
    pub condition: String,
    /// With plain DualPI2 there.
    pub plain: f64,
    /// With the policy there.
    pub with_policy: f64,
    /// The difference for the worse; below 0 if it is never worse.
    pub harm: f64,
}

/// A quantity: its name, its value, and whether more is worse.
type Quantity = (&'static str, fn(&Outcome) -> Option<f64>, bool);

const QUANTITIES: [Quantity; 7] = [
    ("classic mean, ms", |of| of.classic_mean_ms, true),
    ("classic p99, ms", |of| of.classic_p99_ms, true),
    ("L4S mean, ms", |of| of.l4s_mean_ms, true),
    ("L4S p99, ms", |of| of.l4s_p99_ms, true),
    ("utilisation, %", |of| Some(100.0 * of.utilisation), false),
    ("dropped, %", |of| Some(100.0 * of.drop_share?), true),
    ("Jain's index", |of| of.jain, false),
];

/// The greatest harm of each policy to each quantity over all conditions,
/// compared with plain DualPI2 in the same condition.
pub fn worst(cells: &[Cell]) -> Vec<Worst> {
    let mut seen = BTreeSet::new();
    let names = cells.iter().map(|cell| cell.policy.as_str());
    let policies = names.filter(|name| *name != PLAIN && seen.insert(*name));
    let mut rows = Vec::new();
    for policy in policies.collect::<Vec<_>>() {
        for (quantity, value, more_is_worse) in QUANTITIES {
            let own = cells.iter().filter(|cell| cell.policy == policy);
            let harms = own.filter_map(|cell| {
                let same = |other: &&Cell| other.condition == cell.condition;
                let plain = cells
                    .iter()
                    .filter(same)
                    .find(|cell| cell.policy == PLAIN)?;
                let (plain, with_policy) = (value(&plain.outcome)?, value(&cell.outcome)?);
                let more = with_policy - plain;
                Some(Worst {
                    policy: policy.to_owned(),
                    quantity: quantity.to_owned(),
                    condition: cell.condition.clone(),
                    plain,
                    with_policy,
                    harm: if more_is_worse { more } else { -more },
                })
            });
            rows.extend(harms.max_by(|a, b| a.harm.total_cmp(&b.harm)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(names: &[&str]) -> Vec<Cell> {
        let mut conditions = conditions();
        conditions.retain(|condition| names.contains(&condition.name.as_str()));
        assert_eq!(conditions.len(), names.len());
        let options = Options {
            measured_ns: 10_000_000_000,
            repetitions: 1,
            threads: 0,
            cancel: &AtomicBool::new(false),
        };
        run(&conditions, options).unwrap().unwrap()
    }

    fn of<'a>(rows: &'a [Worst], policy: &str, quantity: &str) -> &'a Worst {
        let mut rows = rows.iter();
        rows.find(|row| row.policy == policy && row.quantity == quantity)
            .unwrap()
    }

    #[test]
    fn limits_bound_delay_drops_and_marks_of_malicious_policies() {
        let long_path = worst(&cells(&["single-20M-100ms"]));
        let cells = cells(&["not-ect-20M-20ms", "mixed-20M-20ms"]);
        let rows = worst(&cells);
        let limits = Limits::default();
        // Dropping takes the configured share, and no more.
        let drops = of(&rows, "drop", "dropped, %");
        let share = 100.0 * f64::from(limits.drop_share) / 65536.0;
        assert!(
            drops.harm > 1.0 && drops.with_policy <= share + drops.plain + 0.5,
            "{drops:?}"
        );
        // Marking does nothing to a Not-ECT packet.
        let marked = |name: &str| {
            let found = cells.iter().find(|cell| cell.policy == name);
            found.unwrap().outcome
        };
        assert_eq!(cells[0].condition, "not-ect-20M-20ms");
        assert_eq!(marked("mark").classic_p99_ms, marked(PLAIN).classic_p99_ms);
        // The ceiling bounds delays, whatever a policy does.
        let ceiling_ms = limits.ceiling_ns as f64 / 1e6;
        for quantity in ["classic p99, ms", "L4S p99, ms"] {
            let delays = rows.iter().filter(|row| row.quantity == quantity);
            for delay in delays {
                assert!(delay.with_policy < 1.2 * ceiling_ms, "{delay:?}");
            }
        }
        let delay = of(&rows, "oscillate", "classic p99, ms");
        assert!(delay.harm > 10.0, "{delay:?}");
        // Marks beyond DualPI2's cost a tenth of its utilisation at most.
        for rows in [&rows, &long_path] {
            let loss = of(rows, "mark", "utilisation, %");
            assert!(loss.with_policy > 0.9 * loss.plain, "{loss:?}");
        }
        // Nothing bounds the loss of utilisation by set-points.
        let loss = of(&rows, "lax", "utilisation, %");
        assert!(loss.harm > 30.0, "{loss:?}");
    }

    #[test]
    fn the_worst_condition_of_each_quantity_is_named() {
        let cell = |condition: &str, policy: &str, utilisation, classic_mean_ms| Cell {
            condition: condition.to_owned(),
            policy: policy.to_owned(),
            outcome: Outcome {
                utilisation,
                classic_mean_ms: Some(classic_mean_ms),
                ..Outcome::default()
            },
        };
        let rows = worst(&[
            cell("a", PLAIN, 1.0, 10.0),
            cell("a", "drop", 0.9, 15.0),
            cell("b", PLAIN, 1.0, 20.0),
            cell("b", "drop", 0.5, 21.0),
        ]);
        let utilisation = of(&rows, "drop", "utilisation, %");
        assert_eq!(
            (utilisation.condition.as_str(), utilisation.harm),
            ("b", 50.0)
        );
        let delay = of(&rows, "drop", "classic mean, ms");
        assert_eq!(
            (delay.condition.as_str(), delay.plain, delay.harm),
            ("a", 10.0, 5.0)
        );
        assert_eq!(rows.len(), 2, "unknown quantities have no rows");
    }
}
