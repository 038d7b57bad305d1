//! The arms that are compared.

use l4sllm_abi::Params;
use l4sllm_model::IdleBudget;
use l4sllmd::engine::Preset;

use crate::scenario::{Arm, ArmStudent, Control};

/// RFC 9332's defaults.
pub const PLAIN: &str = "plain";
/// The profile `tuned`: the reference.
pub const TUNED: &str = "tuned";
/// The profile `tuned` with different draws: the noise floor.
pub const TUNED_AGAIN: &str = "tuned-again";
/// The adaptive rule.
pub const ADAPTIVE: &str = "adaptive";
/// [`TUNED`] with flow weights.
pub const TUNED_WEIGHTS: &str = "tuned-weights";
/// [`ADAPTIVE`] with flow weights.
pub const ADAPTIVE_WEIGHTS: &str = "adaptive-weights";
/// A learned policy.
pub const POLICY: &str = "policy";
/// A student in the queue.
pub const STUDENT: &str = "student";

/// An arm of the suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Contestant {
    /// The arm.
    pub arm: Arm,
    /// Set of draws; arms with the same set are compared in pairs.
    pub draws: u32,
    /// The arm and the idle budget it runs with, if not its own.
    pub budget: Option<AtBudget>,
}

/// An arm with an idle budget other than its own.
#[derive(Debug, Clone, PartialEq)]
pub struct AtBudget {
    /// Name of the arm: [`ADAPTIVE`], [`POLICY`] or [`STUDENT`].
    pub arm: String,
    /// Share of link time.
    pub share: f64,
}

impl Contestant {
    /// An arm with the common draws.
    fn paired(arm: Arm) -> Contestant {
        Contestant {
            arm,
            draws: 0,
            budget: None,
        }
    }

    /// This contestant at an idle budget: `policy-budget-0.005`.
    fn at(&self, budget: IdleBudget) -> Contestant {
        let mut arm = self.arm.clone();
        let of = std::mem::take(&mut arm.name);
        arm.name = format!("{of}-budget-{budget}");
        if let Some(control) = &mut arm.control {
            control.idle_budget = Some(budget);
        }
        if let Some(student) = &mut arm.student {
            student.idle_budget = Some(budget);
        }
        Contestant {
            arm,
            budget: Some(AtBudget {
                arm: of,
                share: budget.share(),
            }),
            ..self.clone()
        }
    }
}

/// An arm of the adaptive rule.
fn adaptive(name: &str, params: Params) -> Contestant {
    Contestant::paired(Arm {
        control: Some(Control::adaptive(Preset::default())),
        ..Arm::dualpi2(name, params)
    })
}

/// The arms, in the order of tables, and then the rule, the policy and the student
/// with each of `budgets`. Adding an arm takes one line here.
pub fn contestants(
    policy: Option<&Control>,
    student: Option<&ArmStudent>,
    flow_weights: bool,
    budgets: &[IdleBudget],
) -> Vec<Contestant> {
    let mut all = vec![
        Contestant::paired(Arm::dualpi2(TUNED, Params::tuned())),
        Contestant::paired(Arm::dualpi2(PLAIN, Params::default())),
        adaptive(ADAPTIVE, Params::default()),
    ];
    if flow_weights {
        let weighted = |params: Params| Params {
            flow_weights: true,
            ..params
        };
        all.push(Contestant::paired(Arm::dualpi2(
            TUNED_WEIGHTS,
            weighted(Params::tuned()),
        )));
        all.push(adaptive(ADAPTIVE_WEIGHTS, weighted(Params::default())));
    }
    all.extend(policy.map(|control| {
        Contestant::paired(Arm {
            control: Some(control.clone()),
            ..Arm::dualpi2(POLICY, Params::default())
        })
    }));
    all.extend(student.map(|student| {
        Contestant::paired(Arm {
            student: Some(student.clone()),
            ..Arm::dualpi2(STUDENT, Params::default())
        })
    }));
    let keeps_budgets =
        |of: &&Contestant| [ADAPTIVE, POLICY, STUDENT].contains(&of.arm.name.as_str());
    let keeping: Vec<Contestant> = all.iter().filter(keeps_budgets).cloned().collect();
    all.push(Contestant {
        draws: 1,
        ..Contestant::paired(Arm::dualpi2(TUNED_AGAIN, Params::tuned()))
    });
    let at = |of: Contestant| budgets.iter().map(move |budget| of.at(*budget));
    all.extend(keeping.into_iter().flat_map(at));
    all
}

/// Targets of the oracle's grid, ns, and factors relative to the gains of
/// `tuned`.
const TARGETS_NS: [u64; 7] = [
    2_500_000, 5_000_000, 7_500_000, 10_000_000, 15_000_000, 20_000_000, 30_000_000,
];
const GAINS: [f64; 3] = [0.25, 1.0, 4.0];

/// Fixed settings around `tuned`, such as `fixed-7.5ms-x4`, from which the
/// oracle selects the best for each condition.
pub fn oracle_grid() -> Vec<Contestant> {
    let tuned = Params::tuned();
    let scaled = |gain_uhz: u32, factor: f64| (f64::from(gain_uhz) * factor).round() as u32;
    let settings = TARGETS_NS
        .iter()
        .flat_map(|target| GAINS.map(|gain| (*target, gain)));
    let arm = |(target_ns, gain): (u64, f64)| {
        let name = format!("fixed-{}ms-x{gain}", target_ns as f64 / 1e6);
        let params = Params {
            target_ns,
            alpha_uhz: scaled(tuned.alpha_uhz, gain),
            beta_uhz: scaled(tuned.beta_uhz, gain),
            ..tuned
        };
        Contestant::paired(Arm::dualpi2(&name, params))
    };
    settings.map(arm).collect()
}
