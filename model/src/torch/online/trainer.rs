//! Learns lessons in sequence.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::Tensor;

use super::cost::{Given, Tables};
use super::lesson::Lesson;
use super::setting::AXES;
use crate::set_points::SET_POINTS;
use crate::splitmix::SplitMix64;
use crate::torch::checkpoint;
use crate::torch::ema::Ema;
use crate::torch::network::{Batch, Network};
use crate::torch::optimiser::AdamW;
use crate::torch::{TrainError, find_checkpoint};
use crate::{HeadKind, IdleBudget, Policy, PolicyConfig, PolicyError, SetPointHead};

/// Final learning rate of a lesson, as a share of the highest.
const LAST_RATE: f64 = 0.05;

/// Options of learning a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LearnConfig {
    /// Steps of the optimiser, at least 1.
    pub steps: u64,
    /// Periods per step.
    pub batch: usize,
    /// Highest learning rate, followed by a cosine decay.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Weight decay of matrices.
    pub weight_decay: f64,
    /// Maximum norm of the gradient.
    pub max_grad_norm: f64,
    /// Decay of the moving average of the weights, which becomes the result
    /// of a lesson; 0: the last weights.
    pub ema_decay: f64,
    /// Cost of each budget lost above the margin.
    pub caution: f64,
    /// Share of the budget that may be lost at no cost.
    pub margin: f64,
    /// Weight of the squared distance from the actions of a visit with a
    /// base.
    pub proximity: f64,
    /// Standard deviation of the noise on scaled features.
    pub noise: f64,
    /// Seed of order, budgets, noise and dropout.
    pub seed: u64,
}

/// A training in its directory: `last/` can be resumed, `best/` is the policy
/// with the lowest cost.
pub struct OnlineTrainer {
    dir: PathBuf,
    network: Network,
    head: SetPointHead,
    optimiser: AdamW,
    /// Generator of the current lesson.
    ema: Option<Ema>,
    /// Mean of the weights from which a lesson resumes.
    average: Option<Tensor>,
    position: Position,
}

/// All state of a training except tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// Options with which the training was started.
    options: Value,
    /// Completed optimiser steps.
    steps: u64,
    /// Result of each lesson.
    learned: Vec<Learned>,
    /// Lessons after which the policy was evaluated.
    judged: usize,
    /// Cost of the policy in `best/`.
    best_cost: Option<f64>,
    /// The current lesson, if it has begun.
    lesson: Option<InLesson>,
}

/// Result of a lesson.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Hash of the policy: see [`OnlineTrainer::policy`].
    pub policy: String,
    /// Optimiser steps of this and earlier lessons.
    pub steps: u64,
    /// Mean cost over the last tenth of the lesson's steps.
    pub cost: f64,
}

/// Progress within a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InLesson {
    step: u64,
    /// State of the generator.
    random: u64,
    /// Sum and number of the costs of the last tenth of the steps.
    sum: f64,
    count: f64,
}

impl OnlineTrainer {
    /// Starts a training or, with `resume`, resumes that in `dir` if it has a
    /// checkpoint. `options` contains everything that determines the result.
    ///
    /// # Errors
    /// The policy's head does not choose set-points, the plain engine cannot
    /// run it, or the checkpoint has other options.
    pub fn new(
        dir: &Path,
        mut network: Network,
        options: &impl Serialize,
        resume: bool,
    ) -> Result<OnlineTrainer, TrainError> {
        let HeadKind::SetPoints(head) = network.config().head.kind else {
            let want = "set_points: other policies are trained on pools";
            return Err(PolicyError::config("head.kind", "another", want).into());
        };
        let (merged, _) = network.merged()?;
        Policy::check_plain(&merged)?;
        let mut optimiser = AdamW::new(network.trained())?;
        let mut resumed = None;
        let mut position = Position {
            options: plain(options),
            steps: 0,
            learned: Vec::new(),
            judged: 0,
            best_cost: None,
            lesson: None,
        };
        if let Some(last) = find_checkpoint(dir).filter(|_| resume) {
            let was: Position = checkpoint::position(&last)?;
            checkpoint::same(&last, &was.options, &position.options)?;
            position = was;
            let mut weights = network.trained().flat();
            let mut average = weights.f_detach_copy()?;
            checkpoint::load(
                &last,
                &mut [
                    ("weights", &mut weights),
                    ("mean", &mut optimiser.mean),
                    ("squares", &mut optimiser.squares),
                    ("average", &mut average),
                ],
            )?;
            optimiser.steps = position.steps;
            resumed = Some(average);
        }
        Ok(OnlineTrainer {
            dir: dir.to_owned(),
            network,
            head,
            optimiser,
            ema: None,
            average: resumed,
            position,
        })
    }

    /// Refuses to resume the training in `dir` with other options, before any
    /// work is done.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`], with the option.
    pub fn check_options(dir: &Path, options: &impl Serialize) -> Result<(), TrainError> {
        match find_checkpoint(dir) {
            None => Ok(()),
            Some(last) => {
                let was: Position = checkpoint::position(&last)?;
                checkpoint::same(&last, &was.options, &plain(options))
            }
        }
    }

    /// Results of the finished lessons.
    pub fn learned(&self) -> &[Learned] {
        &self.position.learned
    }

    /// Lessons after which the policy was evaluated.
    pub fn judged(&self) -> usize {
        self.position.judged
    }

    /// The current policy in the plain engine. Between lessons its hash is
    /// that of the last of [`OnlineTrainer::learned`].
    ///
    /// # Errors
    /// libtorch failed, or the plain engine cannot run the policy.
    pub fn policy(&self) -> Result<Arc<Policy>, TrainError> {
        let (config, tensors) = self.network.merged()?;
        Ok(Policy::new(config, &tensors)?)
    }

    /// Learns a lesson, or the rest of an interrupted one, writes a
    /// checkpoint, and returns the mean cost over the last tenth of the steps.
    /// `step` is called with the number and the cost of each step and returns
    /// false to interrupt. After an interruption, the result is `None`, and the
    /// checkpoint is within the lesson.
    ///
    /// # Errors
    /// [`TrainError::Diverged`]; there is nothing to learn from; the
    /// directory cannot be written.
    pub fn learn(
        &mut self,
        lesson: &Lesson,
        config: &LearnConfig,
        mut step: impl FnMut(u64, f64) -> bool,
    ) -> Result<Option<f64>, TrainError> {
        let periods = lesson.periods();
        if periods.is_empty() {
            return Err(TrainError::NothingSeen);
        }
        let tables = Tables::new(lesson, self.network.device())?;
        let resumed = self
            .position
            .lesson
            .and_then(|at| Some((at, self.average.take()?)));
        let (mut at, average) = resumed.unwrap_or_else(|| {
            let start = InLesson {
                step: 0,
                random: config.seed,
                sum: 0.0,
                count: 0.0,
            };
            (start, self.network.trained().flat())
        });
        self.ema = Ema::new(&average, config.ema_decay)?;
        while at.step < config.steps {
            let cost = self.step(lesson, &periods, &tables, config, &mut at)?;
            if !step(at.step, cost) && at.step < config.steps {
                self.position.lesson = Some(at);
                self.save()?;
                self.average = self.ema.take().map(|ema| ema.weights);
                return Ok(None);
            }
        }
        Ema::exchange(&mut self.ema, &mut self.network.trained().flat())?;
        self.ema = None;
        self.position.lesson = None;
        let cost = at.sum / at.count;
        let learned = Learned {
            policy: self.policy()?.hash().to_owned(),
            steps: self.position.steps,
            cost,
        };
        self.position.learned.push(learned);
        self.save()?;
        Ok(Some(cost))
    }

    /// Records the policy's cost after the last lesson and copies it to
    /// `best/` if the cost is the lowest so far.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn judge(&mut self, cost: f64) -> Result<bool, TrainError> {
        let better = self.position.best_cost.is_none_or(|best| cost < best);
        if better {
            self.network
                .save(&self.dir.join("best"), &self.policy_config())?;
            self.position.best_cost = Some(cost);
        }
        self.position.judged = self.position.learned.len();
        self.save()?;
        Ok(better)
    }

    /// One step of the optimiser.
    fn step(
        &mut self,
        lesson: &Lesson,
        periods: &[(usize, usize)],
        tables: &Tables,
        config: &LearnConfig,
        at: &mut InLesson,
    ) -> Result<f64, TrainError> {
        let mut random = SplitMix64::new(at.random);
        let rows: Vec<(usize, usize)> = (0..config.batch)
            .map(|_| periods[(random.next_u64() % periods.len() as u64) as usize])
            .collect();
        let (batch, given) = self.batch(lesson, &rows, config, &mut random)?;
        let seed = random.next_u64() as i64;
        let cost = self.network.backward(&batch, seed, |outputs| {
            tables.cost(outputs, &self.head, &given, config)
        })?;
        let cost = cost.f_double_value(&[])?;
        if !cost.is_finite() {
            return Err(TrainError::Diverged {
                step: at.step,
                loss: cost,
            });
        }
        self.optimiser.step(
            self.network.trained(),
            config.rate(at.step),
            config.weight_decay,
            config.max_grad_norm,
        )?;
        self.position.steps += 1;
        if let Some(ema) = &mut self.ema {
            ema.add(&self.network.trained().flat(), at.step + 1)?;
        }
        if 10 * (at.step + 1) > 9 * config.steps {
            at.sum += cost;
            at.count += 1.0;
        }
        at.step += 1;
        at.random = random.state();
        Ok(cost)
    }

    /// Network input for some periods, and the data about their conditions.
    pub(super) fn batch(
        &self,
        lesson: &Lesson,
        rows: &[(usize, usize)],
        config: &LearnConfig,
        random: &mut SplitMix64,
    ) -> Result<(Batch, Given), TrainError> {
        let policy = self.network.config();
        let (n, w, width) = (policy.features.len(), policy.window, policy.inputs());
        let mut inputs = vec![0.0f32; rows.len() * w * width];
        let (mut returns, mut actions) = (Vec::new(), Vec::new());
        let (mut conditions, mut budgets, mut bases) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = inputs.chunks_exact_mut(width);
        for (visit, period) in rows {
            let visit = &lesson.visits[*visit];
            let budget = visit.budget.unwrap_or_else(|| draw_budget(random));
            // Windows at the start of a run repeat its first period.
            for period in (0..w).rev().map(|back| period.saturating_sub(back)) {
                let value = |feature, back| visit.values[(period - back) * n + feature];
                if let Some(place) = places.next() {
                    policy.fill_inputs(period, value, place);
                }
                returns.push(policy.returns.scaling.apply(budget));
                actions.extend(visit.in_force[period]);
            }
            conditions.push(visit.condition as i64);
            budgets.push(budget as f32);
            let base = visit.base.as_ref().map(|base| base[*period].axes);
            bases.extend(base.into_iter().flatten().map(|x| x as f32));
        }
        if config.noise > 0.0 {
            for input in &mut inputs {
                *input += (config.noise * f64::from(random.normal())) as f32;
            }
        }
        let device = self.network.device();
        let b = rows.len() as i64;
        let actions = Tensor::f_from_slice(&actions)?.f_view([b, w as i64, SET_POINTS as i64])?;
        let based = bases.len() == rows.len() * AXES;
        let bases = match based {
            true => {
                let bases = Tensor::f_from_slice(&bases)?.f_view([b, AXES as i64])?;
                Some(bases.f_to_device(device)?)
            }
            false => None,
        };
        let given = Given {
            conditions: Tensor::f_from_slice(&conditions)?.f_to_device(device)?,
            budgets: Tensor::f_from_slice(&budgets)?.f_to_device(device)?,
            bases,
        };
        Ok((
            Batch::with_actions(&returns, &inputs, actions, device)?,
            given,
        ))
    }

    /// Writes `last/`: the policy and the state needed to resume.
    fn save(&mut self) -> Result<(), TrainError> {
        let config = self.policy_config();
        let mut last = self.network.trained().flat();
        let weights = last.f_detach_copy()?;
        let average = match &self.ema {
            Some(ema) => ema.weights.f_detach_copy()?,
            None => weights.f_detach_copy()?,
        };
        let tensors = [
            ("weights", &weights),
            ("mean", &self.optimiser.mean),
            ("squares", &self.optimiser.squares),
            ("average", &average),
        ];
        Ema::exchange(&mut self.ema, &mut last)?;
        let saved = checkpoint::save(&self.dir, &self.network, &config, &tensors, &self.position);
        Ema::exchange(&mut self.ema, &mut last)?;
        saved
    }

    /// The configuration with the number of training steps.
    fn policy_config(&self) -> PolicyConfig {
        let mut config = self.network.config().clone();
        if let Some(trained_on) = &mut config.trained_on {
            trained_on.steps = self.position.steps;
        }
        config
    }

    #[cfg(test)]
    pub(super) fn network(&self) -> &Network {
        &self.network
    }
}

impl LearnConfig {
    /// Learning rate of a step.
    fn rate(&self, step: u64) -> f64 {
        let done = step as f64 / self.steps as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        let warm = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        self.learning_rate * warm * (LAST_RATE + (1.0 - LAST_RATE) * cosine)
    }
}

fn plain(options: &impl Serialize) -> Value {
    serde_json::to_value(options).expect("options are structs with string keys")
}

/// A budget, log-uniform: as likely from 0.1 to 0.2 % as from 1 to 2 %.
fn draw_budget(random: &mut SplitMix64) -> f64 {
    let (least, most) = (*IdleBudget::SHARES.start(), *IdleBudget::SHARES.end());
    least * (f64::from(random.uniform()) * (most / least).ln()).exp()
}
