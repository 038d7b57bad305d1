//! Runs the missing cells.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use l4sllm_model::{EngineOptions, IdleBudget};

use super::arms::{Contestant, contestants, oracle_grid};
use super::family::drawn;
use super::store::{Line, Store};
use super::{
    ArmOutcome, Condition, ConditionOutcome, FamilyOutcome, Measures, Outcome, Protocol,
    StoreError, Suite, SuiteError,
};
use crate::experiment::{Policies, measure};
use crate::program;
use crate::published::Measure;
use crate::result::PolicyFacts;
use crate::scenario::{Arm, ArmStudent, Control, ControlEngine, Scenario};
use crate::workers;

/// Options of a suite.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Directory of the cells.
    pub out: &'a Path,
    /// The protocol.
    pub protocol: Protocol,
    /// The policy to evaluate, if any.
    pub policy: Option<&'a Control>,
    /// The student to evaluate, if any.
    pub student: Option<&'a ArmStudent>,
    /// Its engine.
    pub engine: &'a EngineOptions,
    /// Also run tuned DualPI2 and the adaptive rule with flow weights.
    pub flow_weights: bool,
    /// Also run the adaptive rule, the policy and the student with each of these.
    pub budgets: &'a [IdleBudget],
    /// Also run a grid of fixed settings, for the oracle.
    pub oracle: bool,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Set to stop: finished cells are kept, others are discarded.
    pub cancel: &'a AtomicBool,
    /// Called with the progress, from any thread, after every cell.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// Progress of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Cells finished, in this call and before.
    pub cells: usize,
    /// Cells of the suite.
    pub all_cells: usize,
    /// Packets that the links of the cells finished in this call could carry:
    /// a measure of work.
    pub done: u64,
    /// Total over all cells to run in this call.
    pub total: u64,
}

/// Runs the cells of `suite` that are missing in `options.out`. All arms of a
/// repetition run before the next one, so that an interrupted suite can be
/// compared.
///
/// # Errors
/// A policy cannot be loaded, a cell's accounting is violated, or a directory
/// cannot be written. Finished cells are kept.
pub fn run(
    suite: &Suite,
    options: Options<'_>,
) -> Result<(Outcome, Option<PolicyFacts>), SuiteError> {
    let plan = Plan::new(suite, &options)?;
    let store = Store::open(options.out)?;
    let cells = plan.cells()?;
    let done: Vec<Mutex<Option<Measures>>> = cells
        .iter()
        .map(|cell| Mutex::new(store.get(&cell.identity).cloned()))
        .collect();
    let mut jobs: Vec<usize> = (0..cells.len())
        .filter(|at| lock(&done[*at]).is_none())
        .collect();
    let unused = store.len() - (cells.len() - jobs.len());
    // The longest first, to balance the threads at the end.
    jobs.sort_by_key(|at| {
        (
            cells[*at].repetition,
            std::cmp::Reverse(cells[*at].weight(&plan)),
        )
    });
    let meter = Meter {
        done: AtomicU64::new(0),
        cells: AtomicUsize::new(cells.len() - jobs.len()),
        total: jobs.iter().map(|at| cells[*at].weight(&plan)).sum(),
        all_cells: cells.len(),
        report: options.progress,
    };
    meter.advance(0, 0);
    workers::run(options.threads, &jobs, |at| -> Result<_, SuiteError> {
        if options.cancel.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let cell = &cells[*at];
        let Some(measures) = plan.emulate(cell, options.cancel)? else {
            return Ok(false);
        };
        store.add(&cell.line(&plan, &measures))?;
        *lock(&done[*at]) = Some(measures);
        meter.advance(1, cell.weight(&plan));
        Ok(true)
    })?;
    let outcome = Outcome {
        complete: done.iter().all(|cell| lock(cell).is_some()),
        unused,
        families: plan.families(&done),
    };
    Ok((outcome, plan.policy_facts()))
}

fn lock(cell: &Mutex<Option<Measures>>) -> std::sync::MutexGuard<'_, Option<Measures>> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that determines the cells.
struct Plan<'a> {
    suite: &'a Suite,
    protocol: Protocol,
    contestants: Vec<Contestant>,
    /// A scenario with the arms that have a policy, and their policies.
    controlled: Scenario,
    policies: Policies,
}

/// One repetition of one arm in one condition.
struct Cell<'a> {
    contestant: usize,
    repetition: u32,
    identity: String,
    of: &'a Condition,
}

impl<'a> Plan<'a> {
    fn new(suite: &'a Suite, options: &Options<'_>) -> Result<Plan<'a>, SuiteError> {
        let mut contestants = contestants(
            options.policy,
            options.student,
            options.flow_weights,
            options.budgets,
        );
        if options.oracle {
            contestants.extend(oracle_grid());
        }
        let mut controlled = Scenario::new("suite", 1, 1);
        controlled.arms = contestants.iter().map(|of| of.arm.clone()).collect();
        Ok(Plan {
            suite,
            protocol: options.protocol,
            contestants,
            policies: Policies::load(&controlled, options.engine)?,
            controlled,
        })
    }

    /// Every cell, in the order of families, conditions, arms and repetitions.
    fn cells(&self) -> Result<Vec<Cell<'a>>, StoreError> {
        let program = program::digest().map_err(StoreError::Program)?;
        let arms: Vec<String> = self
            .contestants
            .iter()
            .map(|of| self.arm_identity(of))
            .collect();
        let mut cells = Vec::new();
        for family in &self.suite.families {
            for of in self.conditions(&family.conditions) {
                // A cell has its value for each figure, in order.
                let figures: Vec<&Measure> = of.figures.iter().map(|f| &f.measure).collect();
                for (contestant, arm) in arms.iter().enumerate() {
                    let draws = self.contestants[contestant].draws;
                    for repetition in 0..self.protocol.repetitions {
                        let scenario = of.repetition(&self.protocol, draws, repetition);
                        let text = format!("{program}\n{arm}\n{scenario:?}\n{figures:?}");
                        cells.push(Cell {
                            contestant,
                            repetition,
                            identity: program::digest_of(&text),
                            of,
                        });
                    }
                }
            }
        }
        Ok(cells)
    }

    fn conditions(&self, all: &'a [Condition]) -> &'a [Condition] {
        let most = self.protocol.conditions.unwrap_or(u32::MAX);
        &all[..all.len().min(most as usize)]
    }

    /// Identity of an arm: its settings, and its policy's content.
    fn arm_identity(&self, contestant: &Contestant) -> String {
        let mut arm = contestant.arm.clone();
        let policy = self.facts_of(&arm.name);
        if let Some(control) = &mut arm.control {
            if control.policy().is_some() {
                control.engine = ControlEngine::Policy(PathBuf::new());
            }
        }
        format!("{arm:?} {policy:?}")
    }

    fn facts_of(&self, arm: &str) -> Option<PolicyFacts> {
        let facts = self.policies.facts(&self.controlled);
        facts.arms.into_iter().find(|of| of.name == arm)?.policy
    }

    fn policy_facts(&self) -> Option<PolicyFacts> {
        self.facts_of(super::POLICY)
    }

    fn emulate(
        &self,
        cell: &Cell<'_>,
        cancel: &AtomicBool,
    ) -> Result<Option<Measures>, SuiteError> {
        let contestant = &self.contestants[cell.contestant];
        let scenario = cell
            .of
            .repetition(&self.protocol, contestant.draws, cell.repetition);
        let arm: &Arm = &contestant.arm;
        let engine = self.policies.engine(arm, scenario.seed);
        let samples = measure(&scenario, arm, 0, engine, cancel);
        let samples = samples.map_err(|source| SuiteError::Cell {
            cell: format!(
                "{}, arm {}, repetition {}",
                scenario.name, arm.name, cell.repetition
            ),
            source,
        })?;
        Ok(samples.map(|samples| {
            let statistics = samples.repetition(0, scenario.seed).statistics;
            Measures::of(&statistics, &cell.of.figures)
        }))
    }

    /// Numbers of the cells, in the order of [`Plan::cells`].
    fn families(&self, done: &[Mutex<Option<Measures>>]) -> Vec<FamilyOutcome> {
        let mut rest = done.iter();
        let mut repetitions = || -> Vec<Option<Measures>> {
            let own = rest.by_ref().take(self.protocol.repetitions as usize);
            own.map(|cell| lock(cell).clone()).collect()
        };
        let mut families = Vec::new();
        for family in &self.suite.families {
            let mut conditions = Vec::new();
            for condition in self.conditions(&family.conditions) {
                let arms = self.contestants.iter().map(|of| ArmOutcome {
                    name: of.arm.name.clone(),
                    budget: of.budget.clone(),
                    repetitions: repetitions(),
                });
                conditions.push(ConditionOutcome {
                    name: condition.scenario.name.clone(),
                    facts: condition.facts(),
                    figures: condition.figures.clone(),
                    arms: arms.collect(),
                });
            }
            families.push(FamilyOutcome {
                name: family.name.clone(),
                description: family.description.clone(),
                drawn: drawn(self.conditions(&family.conditions)),
                sources: family.sources.clone(),
                conditions,
            });
        }
        families
    }
}

impl Cell<'_> {
    fn weight(&self, plan: &Plan<'_>) -> u64 {
        self.of.weight(&plan.protocol)
    }

    fn line(&self, plan: &Plan<'_>, measures: &Measures) -> Line {
        Line {
            identity: self.identity.clone(),
            condition: self.of.scenario.name.clone(),
            arm: plan.contestants[self.contestant].arm.name.clone(),
            repetition: self.repetition,
            measures: measures.clone(),
        }
    }
}

/// Adds up the progress of cells that run at the same time.
struct Meter<'a> {
    done: AtomicU64,
    cells: AtomicUsize,
    total: u64,
    all_cells: usize,
    report: &'a (dyn Fn(Progress) + Sync),
}

impl Meter<'_> {
    fn advance(&self, cells: usize, weight: u64) {
        let cells = cells + self.cells.fetch_add(cells, Ordering::Relaxed);
        let done = weight + self.done.fetch_add(weight, Ordering::Relaxed);
        (self.report)(Progress {
            cells,
            all_cells: self.all_cells,
            done,
            total: self.total,
        });
    }
}
