//! Evaluates a policy on conditions that no lesson uses.

use std::sync::Arc;

use anyhow::{Context, ensure};
use l4sllm_model::torch::online::Judged;
use l4sllm_model::{IdleBudget, InputFeature, Policy, SET_POINTS, SetPoints, SummaryFeature};
use l4sllm_testbed::rollout::{Driver, Period, TrainingCondition};
use serde::{Deserialize, Serialize};

use super::TrainArgs;
use super::lessons::{FIRST, place};
use super::runs::{BASELINES, Runs, baseline_jobs, job};

/// Evaluates policies on runs in fixed conditions.
pub struct Judge<'a> {
    args: &'a TrainArgs,
    runs: &'a Runs<'a>,
    conditions: Vec<TrainingCondition>,
}

/// Scores of a policy with its default idle budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Mean cost.
    pub cost: f64,
    /// The cost in each condition.
    pub costs: Vec<f64>,
    /// Settings applied in its runs.
    pub settings: Settings,
    /// The classic queue's delay relative to the adaptive rule's, geometric
    /// mean over conditions.
    pub delay: f64,
    /// Mean share of utilisation lost relative to the better of plain and
    /// tuned.
    pub loss: f64,
    /// Mean share lost by the adaptive rule.
    pub adaptive_loss: f64,
    /// Conditions in which it lost at most the budget.
    pub kept: usize,
    /// Conditions in which the adaptive rule lost at most that.
    pub adaptive_kept: usize,
    /// Number of conditions.
    pub conditions: usize,
}

/// The 5th, 25th, 50th, 75th and 95th percentiles over the periods of runs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Target, ms.
    pub target_ms: [f64; 5],
    /// β relative to RFC 9332's.
    pub gain: [f64; 5],
}

impl Settings {
    fn of(periods: &[Period]) -> Settings {
        let quantiles = |feature: SummaryFeature, unit: f64| {
            let place = place(InputFeature::Summary(feature));
            let known = periods
                .iter()
                .map(|period| f64::from(period.features[place]));
            let mut known: Vec<f64> = known.filter(|value| value.is_finite()).collect();
            known.sort_by(f64::total_cmp);
            [0.05, 0.25, 0.5, 0.75, 0.95].map(|share| {
                let rank = (share * known.len() as f64).ceil() as usize;
                known
                    .get(rank.saturating_sub(1))
                    .map_or(0.0, |value| value / unit)
            })
        };
        Settings {
            target_ms: quantiles(SummaryFeature::TargetMs, 1.0),
            gain: quantiles(SummaryFeature::BetaHz, SetPoints::RFC9332.beta_hz),
        }
    }
}

impl<'a> Judge<'a> {
    /// Draws the conditions.
    pub fn new(args: &'a TrainArgs, runs: &'a Runs<'a>) -> anyhow::Result<Judge<'a>> {
        Ok(Judge {
            args,
            runs,
            conditions: runs.conditions("evaluation", 0, args.online.eval_conditions)?,
        })
    }

    /// Evaluates a policy after a stage; none if interrupted.
    pub fn of(&self, stage: &str, policy: Arc<Policy>) -> anyhow::Result<Option<Verdict>> {
        let budget = policy.config().returns.target;
        let driver = Driver::Policy {
            actor: policy.into(),
            budget: IdleBudget::new(budget).context("the policy's budget")?,
            offset: [0.0; SET_POINTS],
        };
        let mut jobs = Vec::new();
        for condition in &self.conditions {
            jobs.extend(baseline_jobs(condition, false));
            jobs.push(job(condition, driver.clone(), true));
        }
        let Some(made) = self.runs.make(&format!("{stage}, evaluation"), &jobs)? else {
            return Ok(None);
        };
        let (mut pairs, mut periods) = (Vec::new(), Vec::new());
        for runs in made.chunks(BASELINES + 1) {
            let (baselines, own) = runs.split_at(BASELINES);
            let baselines = self.runs.baselines(baselines)?;
            let own_run = self.runs.judged(&own[0], &baselines)?;
            pairs.extend(own_run.zip(baselines.adaptive));
            periods.extend(self.runs.periods(&own[0])?.into_iter().skip(FIRST));
        }
        ensure!(
            !pairs.is_empty(),
            "no condition of the evaluation has classic traffic to judge by"
        );
        Ok(Some(self.verdict(&pairs, &periods, budget)))
    }

    /// Summarises runs of the policy and of the adaptive rule.
    fn verdict(&self, pairs: &[(Judged, Judged)], periods: &[Period], budget: f64) -> Verdict {
        let (caution, margin) = (self.args.policy.caution, self.args.online.margin);
        let mean = |of: &dyn Fn(&Judged, &Judged) -> f64| {
            pairs.iter().map(|(own, rule)| of(own, rule)).sum::<f64>() / pairs.len() as f64
        };
        let kept = |of: fn(&(Judged, Judged)) -> f64| {
            pairs.iter().filter(|pair| of(pair) <= budget).count()
        };
        Verdict {
            cost: mean(&|own, _| own.cost(budget, caution, margin)),
            costs: (pairs
                .iter()
                .map(|(own, _)| own.cost(budget, caution, margin)))
            .collect(),
            settings: Settings::of(periods),
            delay: mean(&|own, rule| own.delay - rule.delay).exp(),
            loss: mean(&|own, _| own.loss),
            adaptive_loss: mean(&|_, rule| rule.loss),
            kept: kept(|(own, _)| own.loss),
            adaptive_kept: kept(|(_, rule)| rule.loss),
            conditions: pairs.len(),
        }
    }
}
