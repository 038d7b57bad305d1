//! Builds the lessons of a training run.

use anyhow::Context;
use l4sllm_model::torch::online::{
    Grid, Judged, Lesson, PlaneSetting, Standing, Surfaces, Visit, scaled,
};
use l4sllm_model::{
    Fit, IdleBudget, InputFeature, PolicyConfig, SET_POINTS, SetPointHead, SplitMix64,
    SummaryFeature, TrainedOn,
};
use l4sllm_testbed::rollout::{Actor, Driver, Period, TrainingCondition};
use l4sllm_testbed::sim::derive_seed;

use super::metrics::{Agreement, Improved};
use super::runs::{BASELINES, Runs, baseline_jobs, job, params};
use super::{Stage, TrainArgs};

/// Initial periods of a run that are excluded from training, because the queue
/// is empty and flows start.
pub const FIRST: usize = 8;

/// Makes the runs of lessons.
pub struct Lessons<'a> {
    args: &'a TrainArgs,
    runs: &'a Runs<'a>,
    /// Conditions for runs of fixed settings.
    conditions: Vec<TrainingCondition>,
    head: SetPointHead,
}

/// The runs of fixed settings and of the adaptive rule.
pub struct Imitation {
    grid: Grid,
    /// Conditions with classic traffic.
    conditions: Vec<Known>,
    families: Vec<String>,
    seed: u64,
}

/// The policy's own runs in the conditions of the imitation.
pub struct Round {
    /// Its observations.
    pub visits: Vec<Visit>,
    /// Its settings compared with the best ones.
    pub agreement: Agreement,
    /// Its results by condition.
    pub standings: Vec<Option<Standing>>,
}

/// The policy's own runs in new conditions, with and without offsets.
pub struct Improvement {
    /// Surfaces around the policy's actions, and its observations.
    pub lesson: Lesson,
    /// Costs of the runs.
    pub improved: Improved,
    /// Results without offsets, by condition.
    pub standings: Vec<Option<Standing>>,
}

/// A condition with known surfaces.
struct Known {
    /// Index among all conditions.
    place: usize,
    surfaces: Surfaces,
    /// Identities of its runs.
    runs: Vec<String>,
}

impl<'a> Lessons<'a> {
    /// Draws the conditions of the imitation.
    pub fn new(args: &'a TrainArgs, runs: &'a Runs<'a>) -> anyhow::Result<Lessons<'a>> {
        let mut conditions = Vec::new();
        for number in 0..args.online.condition_seeds {
            let drawn = runs.conditions("imitation", number, args.online.conditions)?;
            conditions.extend(drawn);
        }
        Ok(Lessons {
            args,
            runs,
            conditions,
            head: SetPointHead::DEFAULT,
        })
    }

    /// Runs fixed settings and the adaptive rule in every condition; none if
    /// interrupted.
    pub fn imitation_runs(&self) -> anyhow::Result<Option<Imitation>> {
        let grid = Grid::of_settings();
        let settings = grid.settings();
        let mut jobs = Vec::new();
        for condition in &self.conditions {
            jobs.extend(baseline_jobs(condition, true));
            jobs.extend(settings.iter().map(|setting| {
                let params = params(&setting.set_points(&self.head));
                job(condition, Driver::Fixed(params), true)
            }));
        }
        let Some(made) = self.runs.make(&Stage::Imitation.name(), &jobs)? else {
            return Ok(None);
        };
        let mut conditions = Vec::new();
        for (place, runs) in made.chunks(BASELINES + settings.len()).enumerate() {
            let (baselines, nodes) = runs.split_at(BASELINES);
            let baselines = self.runs.baselines(baselines)?;
            let judged = nodes.iter().map(|run| self.runs.judged(run, &baselines));
            let judged: Option<Vec<Judged>> = judged.collect::<anyhow::Result<_>>()?;
            // If any run has no classic packets, there is nothing to learn.
            let Some(judged) = judged else {
                continue;
            };
            conditions.push(Known {
                place,
                surfaces: Surfaces::smoothed(&grid, &judged, self.args.online.smoothing),
                runs: runs.to_vec(),
            });
        }
        let mut families: Vec<String> = self.conditions.iter().map(|c| c.family.clone()).collect();
        families.dedup();
        families.sort();
        families.dedup();
        Ok(Some(Imitation {
            grid,
            conditions,
            families,
            seed: self.args.optimiser.seed,
        }))
    }

    /// Runs the policy in the conditions of the imitation; none if interrupted.
    pub fn round(
        &self,
        round: usize,
        imitation: &Imitation,
        config: &PolicyConfig,
        actor: Actor,
    ) -> anyhow::Result<Option<Round>> {
        let mut random = self.random("round", round);
        let own = IdleBudget::new(config.returns.target).context("the policy's budget")?;
        let budgets = imitation.conditions.iter().map(|_| match round % 2 {
            // The intended budget first, then the whole range.
            1 => own,
            _ => draw(&mut random),
        });
        let budgets: Vec<IdleBudget> = budgets.collect();
        let jobs = imitation.conditions.iter().zip(&budgets);
        let jobs = jobs.map(|(known, budget)| {
            let driver = driven_by(&actor, *budget, [0.0; SET_POINTS]);
            job(&self.conditions[known.place], driver, true)
        });
        let jobs: Vec<_> = jobs.collect();
        let Some(made) = self.runs.make(&Stage::Round(round).name(), &jobs)? else {
            return Ok(None);
        };
        let (mut visits, mut regrets, mut standings) = (Vec::new(), Vec::new(), Vec::new());
        for (condition, (run, budget)) in made.iter().zip(budgets).enumerate() {
            let periods = self.runs.periods(run)?;
            visits.push(Visit {
                times: self.args.online.own_weight,
                ..visit(config, &self.head, &periods, condition)
            });
            let known = &imitation.conditions[condition];
            let surfaces = &known.surfaces;
            let baselines = self.runs.baselines(&known.runs[..BASELINES])?;
            let own = self.runs.judged(run, &baselines)?;
            let family = &self.conditions[known.place].family;
            standings.push(self.standing(family, own, baselines.adaptive, budget));
            let chosen = self.actions(periods.get(FIRST..).unwrap_or_default());
            regrets.extend(self.regrets(&imitation.grid, surfaces, &chosen, budget));
        }
        Ok(Some(Round {
            visits,
            agreement: Agreement::of(&regrets),
            standings,
        }))
    }

    /// A run compared with the adaptive rule's; none without classic traffic.
    fn standing(
        &self,
        family: &str,
        own: Option<Judged>,
        adaptive: Option<Judged>,
        budget: IdleBudget,
    ) -> Option<Standing> {
        let (own, adaptive) = own.zip(adaptive)?;
        let (caution, margin) = (self.args.policy.caution, self.args.online.margin);
        let cost = |of: &Judged| of.cost(budget.share(), caution, margin);
        Some(Standing {
            family: family.to_owned(),
            spent: own.moderated_loss() / budget.share(),
            excess: cost(&own) - cost(&adaptive),
        })
    }

    /// For each chosen setting, its cost above that of the condition's best
    /// setting, and whether it is within a grid step of that.
    fn regrets(
        &self,
        grid: &Grid,
        surfaces: &Surfaces,
        chosen: &[PlaneSetting],
        budget: IdleBudget,
    ) -> Vec<(f64, bool)> {
        let (caution, margin) = (self.args.policy.caution, self.args.online.margin);
        let cost = |of: PlaneSetting| surfaces.cost(grid, of, budget.share(), caution, margin);
        let nodes = grid.settings().into_iter().map(|node| (cost(node), node));
        let Some((least, best)) = nodes.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Vec::new();
        };
        let near = |of: &PlaneSetting| {
            let mut axes = of.axes.iter().zip(best.axes).zip(grid.step);
            axes.all(|((own, best), step)| (own - best).abs() <= step)
        };
        chosen
            .iter()
            .map(|of| (cost(*of) - least, near(of)))
            .collect()
    }

    /// Runs the policy, with and without offsets, in new conditions; none if
    /// interrupted.
    pub fn improvement(
        &self,
        number: usize,
        config: &PolicyConfig,
        actor: Actor,
    ) -> anyhow::Result<Option<Improvement>> {
        let online = &self.args.online;
        let drawn = online.fresh_conditions;
        let conditions = self.runs.conditions("improvement", number as u64, drawn)?;
        let mut random = self.random("improvement", number);
        let own = IdleBudget::new(config.returns.target).context("the policy's budget")?;
        let [x, y] = [online.target_step, online.gain_step];
        let steps = [[0.0, 0.0], [-x, 0.0], [x, 0.0], [0.0, -y], [0.0, y]];
        let (mut jobs, mut budgets) = (Vec::new(), Vec::new());
        for condition in &conditions {
            let budget = match random.uniform() < 0.5 {
                true => own,
                false => draw(&mut random),
            };
            budgets.push(budget);
            jobs.extend(baseline_jobs(condition, false));
            jobs.extend(steps.iter().map(|step| {
                let offset = PlaneSetting::offset(&self.head, *step);
                // Only observations from the policy's own runs count.
                job(
                    condition,
                    driven_by(&actor, budget, offset),
                    *step == [0.0; 2],
                )
            }));
        }
        let Some(made) = self.runs.make(&Stage::Improvement(number).name(), &jobs)? else {
            return Ok(None);
        };
        let mut lesson = Lesson::new(Grid::around([x, y]));
        let (mut improved, mut standings) = (Improved::default(), Vec::new());
        let (caution, margin) = (self.args.policy.caution, online.margin);
        let made = made.chunks(BASELINES + steps.len());
        for ((runs, budget), condition) in made.zip(budgets).zip(&conditions) {
            let (baselines, runs) = runs.split_at(BASELINES);
            let baselines = self.runs.baselines(baselines)?;
            let judged = runs.iter().map(|run| self.runs.judged(run, &baselines));
            let judged: Option<Vec<Judged>> = judged.collect::<anyhow::Result<_>>()?;
            let Some([centre, less_x, more_x, less_y, more_y]) = judged.as_deref() else {
                continue;
            };
            let cost = |of: &Judged| of.cost(budget.share(), caution, margin);
            let tried = [less_x, more_x, less_y, more_y].map(cost);
            improved.add(cost(centre), &tried);
            let adaptive = baselines.adaptive;
            standings.push(self.standing(&condition.family, Some(*centre), adaptive, budget));
            let axes = [[*less_x, *more_x], [*less_y, *more_y]];
            let periods = self.runs.periods(&runs[0])?;
            lesson.visits.push(Visit {
                base: Some(self.actions(&periods)),
                budget: Some(budget.share()),
                ..visit(config, &self.head, &periods, lesson.surfaces.len())
            });
            lesson.surfaces.push(Surfaces::around(centre, &axes));
        }
        Ok(Some(Improvement {
            lesson,
            improved,
            standings,
        }))
    }

    /// The settings requested by a policy in each period.
    fn actions(&self, periods: &[Period]) -> Vec<PlaneSetting> {
        let of = |period: &Period| {
            let mut outputs = l4sllm_model::Outputs::default();
            outputs[..SET_POINTS].copy_from_slice(&period.outputs);
            PlaneSetting::of_outputs(&self.head, &outputs)
        };
        periods.iter().map(of).collect()
    }

    fn random(&self, purpose: &str, number: usize) -> SplitMix64 {
        let name = format!("budgets of {purpose}");
        SplitMix64::new(derive_seed(self.args.optimiser.seed, &name, number as u64))
    }
}

impl Imitation {
    /// Fits the scaling of a policy's features to the observations, and records
    /// the training data.
    pub fn fit(&self, policy: &mut PolicyConfig, runs: &Runs<'_>) -> anyhow::Result<()> {
        let features = policy.features.iter();
        let mut fits: Vec<Fit> = features.map(|f| Fit::new(f.scaling.transform)).collect();
        let places: Vec<usize> = policy.features.iter().map(|f| place(f.name)).collect();
        let mut records = 0;
        for run in self.runs() {
            let periods = runs.periods(run)?;
            records += periods.len() as u64;
            for period in &periods {
                for (fit, place) in fits.iter_mut().zip(&places) {
                    let raw = f64::from(period.features[*place]);
                    if raw.is_finite() {
                        fit.add(raw);
                    }
                }
            }
        }
        for (feature, fit) in policy.features.iter_mut().zip(fits) {
            feature.scaling = fit.finish();
        }
        policy.trained_on = Some(TrainedOn {
            records,
            episodes: self.runs().count() as u64,
            scenarios: self.families.clone(),
            steps: 0,
            seed: self.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        Ok(())
    }

    /// The cost of the best setting of each condition, on states visited by
    /// fixed settings and the adaptive rule.
    pub fn lesson(&self, config: &PolicyConfig, runs: &Runs<'_>) -> anyhow::Result<Lesson> {
        let mut lesson = Lesson::new(self.grid);
        for (number, known) in self.conditions.iter().enumerate() {
            lesson.surfaces.push(known.surfaces.clone());
            for run in &known.runs {
                let periods = runs.periods(run)?;
                let visit = visit(config, &SetPointHead::DEFAULT, &periods, number);
                lesson.visits.push(visit);
            }
        }
        Ok(lesson)
    }

    fn runs(&self) -> impl Iterator<Item = &String> {
        self.conditions.iter().flat_map(|known| &known.runs)
    }
}

/// One lesson of several on the same grid.
pub fn joined(lessons: &[Lesson]) -> Lesson {
    let mut lessons = lessons.iter();
    let mut joined = match lessons.next() {
        Some(first) => first.clone(),
        None => Lesson::new(Grid::of_settings()),
    };
    lessons.for_each(|lesson| joined.extend(lesson));
    joined
}

/// Observations of a run, for any budget and without a baseline.
fn visit(
    config: &PolicyConfig,
    head: &SetPointHead,
    periods: &[Period],
    condition: usize,
) -> Visit {
    let rows: Vec<&[f32]> = periods.iter().map(|p| &p.features[..]).collect();
    let (values, in_force) = scaled(config, head, &rows);
    Visit {
        condition,
        values,
        in_force,
        base: None,
        budget: None,
        first: FIRST,
        times: 1,
    }
}

fn driven_by(actor: &Actor, budget: IdleBudget, offset: [f32; SET_POINTS]) -> Driver {
    Driver::Policy {
        actor: actor.clone(),
        budget,
        offset,
    }
}

/// A log-uniform budget from 0.1 to 2 %.
fn draw(random: &mut SplitMix64) -> IdleBudget {
    let (least, most) = (
        f64::from(*IdleBudget::MILLIONTHS.start()),
        f64::from(*IdleBudget::MILLIONTHS.end()),
    );
    let drawn = least * (f64::from(random.uniform()) * (most / least).ln()).exp();
    let within = drawn.round().clamp(least, most) as u32;
    IdleBudget::from_millionths(within).expect("clamped to the range")
}

/// Index of a feature in a period.
pub fn place(feature: InputFeature) -> usize {
    let found = SummaryFeature::ALL
        .iter()
        .position(|f| InputFeature::Summary(*f) == feature);
    found.expect("the policy is on summaries")
}
