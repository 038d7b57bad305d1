//! Imitation of a pool's actions, given what preceded them and how it went.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::augment::Augmentation;
use super::average::Average;
use super::checkpoint::{self, Position};
use super::metrics::{Evaluation, Metrics, Progress};
use super::network::{Batch, Network};
use super::optimiser::AdamW;
use super::sampler::{Portion, Sampler};
use super::{TrainError, device};
use crate::pool::{CostCurves, Dataset, Windows};
use crate::tensors::Random;
use crate::{ACTIONS, Confusion, PolicyConfig};

/// Class of records that the loss leaves out.
const IGNORED: i64 = -100;

/// Names of the vectors of a checkpoint: the trained weights, the optimiser's
/// moments of their gradient, and the mean of them, if one is kept.
const WEIGHTS: &str = "weights";
const MEAN: &str = "mean";
const SQUARES: &str = "squares";
const AVERAGE: &str = "average";

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Windows of full length that go through the network at a time; of
    /// shorter ones as many more as have about as many records.
    pub batch: usize,
    /// Batches whose gradients one step adds up.
    pub accumulate: usize,
    /// Highest learning rate, reached after the warm-up; from there a cosine
    /// leads to a tenth of it.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Decay of matrices.
    pub weight_decay: f64,
    /// Norm that gradients are held to.
    pub clip: f64,
    /// Weight of an action's loss: its share to the power of minus this, 0..=1.
    /// 0 leaves probabilities calibrated; 1 makes all actions count the same.
    pub class_balance: f64,
    /// The same by how often windows are drawn that end with the action.
    pub sample_balance: f64,
    /// Share of the loss that all actions get alike, whatever was done, 0..1:
    /// probabilities stay away from 0 and 1.
    #[serde(default)]
    pub label_smoothing: f64,
    /// What a step leaves of the mean of the weights before it, 0..1: that
    /// mean is judged and saved in place of the last weights.  0: no mean.
    #[serde(default)]
    pub average: f64,
    /// What spread probabilities are worth where costs of settings are
    /// learned: their entropy times this is taken off the cost.  Without it,
    /// a network that is sure too early has no gradient left to learn by.
    #[serde(default)]
    pub entropy: f64,
    /// Fewest records of a window; the policy's window, or less for windows
    /// of random length.
    pub shortest: usize,
    /// Random changes of windows.
    pub augmentation: Augmentation,
    /// Steps between evaluations and checkpoints.
    pub evaluate_every: u64,
    /// Windows of an evaluation.
    pub evaluate_windows: usize,
    /// Evaluations without a smaller loss after which training ends; 0: none.
    pub patience: u64,
    /// Of initialisation, order, augmentation and dropout.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 4000,
            batch: 32,
            accumulate: 1,
            learning_rate: 1e-3,
            warmup: 200,
            weight_decay: 1e-4,
            clip: 0.25,
            class_balance: 0.0,
            sample_balance: 0.0,
            label_smoothing: 0.0,
            average: 0.0,
            entropy: 0.0,
            shortest: usize::MAX,
            augmentation: Augmentation::default(),
            evaluate_every: 500,
            evaluate_windows: 1024,
            patience: 0,
            seed: 1,
        }
    }
}

/// What to train on, and what to judge by.
#[derive(Debug)]
pub struct Corpus {
    /// All rows, scaled as the policy says.
    pub data: Dataset,
    /// The rows to train on, and how to mix them.
    pub portions: Vec<Portion>,
    /// Rows for evaluations, by which `best/` is chosen; none: the last
    /// weights are the best.
    pub held_out: Vec<Range<usize>>,
}

/// A training in its directory:
/// `last/` (can be resumed), `best/` (least evaluation loss), `metrics.jsonl`.
pub struct Trainer {
    config: TrainConfig,
    dir: PathBuf,
    network: Network,
    optimiser: AdamW,
    average: Option<Average>,
    data: Dataset,
    sampler: Sampler,
    held_out: Windows,
    acceptance: Option<[f32; ACTIONS]>,
    class_weights: Tensor, // [3]
    position: Position,
    metrics: Metrics,
    started: Instant,
    earlier_s: f64, // of the parts before a resumption
    epochs_per_step: f64,
    majority_share: f64, // of the rows to train on
    trained_tokens: u64,
}

impl Trainer {
    /// Starts a training, or goes on with the one in `dir` when it has a
    /// checkpoint and `resume` is set; `network` starts with its weights then.
    pub fn new(
        dir: &Path,
        config: TrainConfig,
        mut network: Network,
        corpus: Corpus,
        resume: bool,
    ) -> Result<Trainer, TrainError> {
        let Corpus {
            data,
            portions,
            held_out,
        } = corpus;
        device::keep_memory();
        let window = network.config().window;
        let sampler = Sampler::new(&portions, window, config.shortest.min(window));
        if sampler.is_empty() {
            return Err(TrainError::Empty { rows: data.rows() });
        }
        let train: Vec<_> = portions.iter().flat_map(|s| s.ranges.clone()).collect();
        let counts = data.counts(&train);
        let class_weights = class_weights(counts, config.class_balance);
        let acceptance =
            (config.sample_balance > 0.0).then(|| acceptance(counts, config.sample_balance));

        let mut optimiser = AdamW::new(network.trained())?;
        let mut position = Position::new(&config);
        let mut weights = network.trained().flat();
        let mut average = Average::new(&weights, config.average)?;
        if resume && let Some(last) = checkpoint::find(dir) {
            let mut tensors = vec![
                (WEIGHTS, &mut weights),
                (MEAN, &mut optimiser.mean),
                (SQUARES, &mut optimiser.squares),
            ];
            tensors.extend(average.as_mut().map(|a| (AVERAGE, &mut a.weights)));
            position = checkpoint::load(&last, &config, &mut tensors)?;
            optimiser.steps = position.step;
        }
        let device = network.device();
        let metrics = Metrics::open(&dir.join("metrics.jsonl"), position.step)?;
        let rows: usize = train.iter().map(|range| range.len()).sum();
        let records = config.batch * config.accumulate.max(1) * window;
        Ok(Trainer {
            earlier_s: metrics.seconds,
            epochs_per_step: records as f64 / rows as f64,
            majority_share: counts.into_iter().max().unwrap_or(0) as f64 / rows as f64,
            metrics,
            dir: dir.to_owned(),
            held_out: Windows::new(&held_out, window),
            class_weights: Tensor::f_from_slice(&class_weights)?.f_to_device(device)?,
            config,
            network,
            optimiser,
            average,
            data,
            sampler,
            acceptance,
            position,
            started: Instant::now(),
            trained_tokens: 0,
        })
    }

    /// Steps done so far.
    pub fn step_count(&self) -> u64 {
        self.position.step
    }

    /// Time since the start, evaluations included, of all parts of a training
    /// that was resumed, s.
    pub fn seconds(&self) -> f64 {
        self.earlier_s + self.started.elapsed().as_secs_f64()
    }

    /// Whether all steps are done, or evaluations say that it is enough.
    pub fn is_done(&self) -> bool {
        let patience = self.config.patience;
        self.position.step >= self.config.steps
            || (patience > 0 && self.position.waited >= patience)
    }

    /// The network in its present state.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// One step of the optimiser; when an evaluation is due, that and a
    /// checkpoint, too.
    pub fn step(&mut self) -> Result<Progress, TrainError> {
        let step = self.position.step;
        let learning_rate = self.config.learning_rate(step);
        let mut random = Random::new(self.position.random);
        let (mut loss, mut right, mut judged) = (0.0, 0.0, 0.0);
        for _ in 0..self.config.accumulate.max(1) {
            let part = self.accumulate(&mut random)?;
            loss += part.loss;
            right += part.right;
            judged += part.judged;
        }
        let loss = loss / self.config.accumulate.max(1) as f64;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step, loss });
        }
        let gradient_norm = self.optimiser.step(
            self.network.trained(),
            learning_rate,
            self.config.weight_decay,
            self.config.clip,
        )?;
        if let Some(average) = &mut self.average {
            average.add(&self.network.trained().flat(), step + 1)?;
        }
        self.position.step = step + 1;
        self.position.random = random.state();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let due = self.position.step % self.config.evaluate_every == 0
            || self.position.step >= self.config.steps;
        let evaluation = if due { self.check()? } else { None };
        let progress = Progress {
            step: self.position.step,
            epoch: self.position.step as f64 * self.epochs_per_step,
            seconds: self.seconds(),
            loss,
            accuracy: right / f64::max(judged, 1.0),
            majority_share: self.majority_share,
            gradient_norm,
            learning_rate,
            tokens_per_s: self.trained_tokens as f64 / seconds,
            evaluation,
        };
        self.metrics.write(&progress)?;
        Ok(progress)
    }

    /// Writes `last/`, so that a resumed training goes on from here.
    pub fn save(&mut self) -> Result<(), TrainError> {
        let config = self.policy_config();
        self.metrics.sync()?;
        let mut last = self.network.trained().flat();
        let weights = last.f_detach_copy()?;
        let average = match &self.average {
            None => None,
            Some(average) => Some(average.weights.f_detach_copy()?),
        };
        let mut tensors = vec![
            (WEIGHTS, &weights),
            (MEAN, &self.optimiser.mean),
            (SQUARES, &self.optimiser.squares),
        ];
        tensors.extend(average.as_ref().map(|average| (AVERAGE, average)));
        Average::exchange(&mut self.average, &mut last)?;
        let saved = checkpoint::save(&self.dir, &self.network, &config, &tensors, &self.position);
        Average::exchange(&mut self.average, &mut last)?;
        saved
    }

    /// Judges the network on rows that were kept out; none, if there are none.
    pub fn evaluate(&self) -> Result<Option<Evaluation>, TrainError> {
        let _guard = tch::no_grad_guard();
        let (mut confusion, mut loss, mut records) = (Confusion::default(), 0.0, 0.0);
        let mut windows: Vec<_> = self.held_out.spread(self.config.evaluate_windows).collect();
        windows.sort_by_key(|rows| rows.len());
        for rows in windows
            .chunk_by(|a, b| a.len() == b.len())
            .flat_map(|same| same.chunks(64))
        {
            let batch = self.batch(rows)?;
            let labels = self.network.labels(&batch)?;
            let logits = self.network.logits(&batch, false)?;
            let count = labels.numel() as f64;
            let value = self.loss(&logits, &labels, &batch, false)?;
            loss += value.f_double_value(&[])? * count;
            records += count;
            let best = logits.f_select(1, -1)?.f_argmax(-1, false)?;
            let best = Vec::<i64>::try_from(best.f_to_device(tch::Device::Cpu)?)?;
            for (rows, best) in rows.iter().zip(best) {
                confusion.add(self.data.label(rows.end - 1).into(), best as usize);
            }
        }
        let evaluation = Evaluation {
            loss: loss / records,
            scores: confusion.scores(),
        };
        Ok((records > 0.0).then_some(evaluation))
    }

    /// Makes one decision, as a loop would: a forward pass over one window, of
    /// rows that were kept out if there are any.
    pub fn decide(&self) -> Result<[f32; ACTIONS], TrainError> {
        let mut random = Random::new(self.config.seed);
        let rows = match self.held_out.spread(1).next() {
            Some(rows) => vec![rows],
            None => self.sampler.batch(&mut random, 1, |_, _| true),
        };
        let probabilities = self.network.probabilities(&self.batch(&rows)?)?;
        device::synchronise(self.network.device());
        Ok(probabilities.first().copied().unwrap_or_default())
    }

    /// Adds the gradient of one batch.
    fn accumulate(&mut self, random: &mut Random) -> Result<Part, TrainError> {
        let (data, acceptance) = (&self.data, self.acceptance);
        let rows = self
            .sampler
            .batch(random, self.config.batch, |rows, random| {
                acceptance.is_none_or(|share| {
                    random.uniform() < share[usize::from(data.label(rows.end - 1))]
                })
            });
        let mut batch = self.batch(&rows)?;
        // libtorch's generator holds nothing from one batch to the next: a
        // resumed training draws the same.
        let seed = random.next() as i64;
        tch::manual_seed(seed);
        let policy = self.network.config();
        let returns = &policy.returns;
        let target = returns.scaling.apply(returns.target);
        let augmentation = &self.config.augmentation;
        let kept = augmentation.apply(&mut batch, policy.window, target)?;
        let mut labels = self.network.labels(&batch)?;
        if let Some(kept) = kept.filter(|kept| kept.size() == labels.size()) {
            labels = labels.f_masked_fill(&kept.f_logical_not()?, IGNORED)?;
        }
        let scale = 1.0 / self.config.accumulate.max(1) as f64;
        let mut right = None;
        let value = |logits: &Tensor| -> Result<Tensor, TrainError> {
            let best = logits.f_detach()?.f_argmax(-1, false)?;
            right = Some(best.f_eq_tensor(&labels)?.f_sum(Kind::Float)?);
            let loss = self.loss(logits, &labels, &batch, true)?;
            Ok(loss.f_mul_scalar(scale)?)
        };
        let loss = self.network.backward(&batch, seed, value)?;
        let judged = labels.f_ne(IGNORED)?.f_sum(Kind::Float)?;
        let right = right.map_or(Ok(0.0), |right| right.f_double_value(&[]))?;
        let records: usize = rows.iter().map(|rows| rows.len()).sum();
        let tokens = records * self.network.config().tokens_per_record();
        self.trained_tokens += tokens as u64;
        Ok(Part {
            loss: loss.f_double_value(&[])? / scale,
            right,
            judged: judged.f_double_value(&[])?,
        })
    }

    /// Windows of equal length.
    fn batch(&self, rows: &[Range<usize>]) -> Result<Batch, TrainError> {
        let records: usize = rows.iter().map(|rows| rows.len()).sum();
        let mut inputs = Vec::with_capacity(records * self.network.config().inputs());
        for rows in rows {
            self.data.inputs(rows.clone(), &mut inputs);
        }
        let each = || rows.iter().cloned().flatten();
        let returns: Vec<f32> = each().map(|row| self.data.return_to_go(row)).collect();
        let actions: Vec<i64> = each().map(|row| self.data.action(row).into()).collect();
        let device = self.network.device();
        let mut batch = Batch::of(rows.len(), &returns, &inputs, &actions, device)?;
        if let Some(lesson) = self.data.lesson() {
            let labels: Vec<i64> = each().map(|row| self.data.label(row).into()).collect();
            let labels = Tensor::f_from_slice(&labels)?.f_view_as(&batch.actions)?;
            batch.labels = Some(labels.f_to_device(device)?);
            let costs: Vec<f32> = each()
                .flat_map(|row| self.data.costs(row))
                .copied()
                .collect();
            let shape = [rows.len() as i64, -1, lesson.knots.len() as i64];
            let costs = Tensor::f_from_slice(&costs)?.f_view(shape)?;
            batch.costs = Some(costs.f_to_device(device)?);
        }
        Ok(batch)
    }

    /// Evaluates, takes note of it, and writes what is worth keeping.
    fn check(&mut self) -> Result<Option<Evaluation>, TrainError> {
        let mut last = self.network.trained().flat();
        Average::exchange(&mut self.average, &mut last)?;
        let noted = self.evaluate().and_then(|evaluation| {
            self.note(evaluation.as_ref())?;
            Ok(evaluation)
        });
        Average::exchange(&mut self.average, &mut last)?;
        let evaluation = noted?;
        self.save()?;
        Ok(evaluation)
    }

    /// What the network answered costs where there is a lesson, or how well it
    /// imitates.
    fn loss(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        batch: &Batch,
        training: bool,
    ) -> Result<Tensor, TrainError> {
        match (self.data.lesson(), &batch.costs) {
            (Some(lesson), Some(costs)) => {
                let costs = self.network.judged(costs)?;
                mean_cost(logits, labels, &costs, lesson, self.config.entropy)
            }
            _ if training => {
                let smoothing = self.config.label_smoothing;
                cross_entropy(logits, labels, Some(&self.class_weights), smoothing)
            }
            _ => cross_entropy(logits, labels, None, 0.0),
        }
    }

    /// Takes note of an evaluation, and keeps the weights if they are the best.
    fn note(&mut self, evaluation: Option<&Evaluation>) -> Result<(), TrainError> {
        let loss = evaluation.map(|e| e.loss);
        let better = match (loss, self.position.best_loss) {
            (Some(loss), Some(best)) => loss < best,
            _ => true,
        };
        self.position.waited += 1;
        if better {
            self.position.waited = 0;
            self.position.best_loss = loss;
            let config = self.policy_config();
            self.network.save(&self.dir.join("best"), &config)?;
        }
        Ok(())
    }

    /// The configuration with the number of steps that its weights have seen.
    fn policy_config(&self) -> PolicyConfig {
        let mut config = self.network.config().clone();
        if let Some(trained_on) = &mut config.trained_on {
            trained_on.steps = self.position.step;
        }
        config
    }
}

/// What came of one batch.
struct Part {
    loss: f64,
    right: f64,
    judged: f64,
}

impl TrainConfig {
    fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup) as f64 / rest as f64;
        self.learning_rate * (0.55 + 0.45 * (std::f64::consts::PI * done.min(1.0)).cos())
    }
}

/// Mean over the records whose label is an action.
fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    smoothing: f64,
) -> Result<Tensor, TrainError> {
    let logits = logits.f_view([-1, ACTIONS as i64])?;
    let labels = labels.f_reshape([-1])?;
    Ok(logits.f_cross_entropy_loss(&labels, weights, Reduction::Mean, IGNORED, smoothing)?)
}

/// What the setting in the middle of the probabilities costs, as
/// [`crate::DecisionRule::Mean`] takes it: piecewise linear between the knots.
/// The probabilities' entropy is worth `entropy` each nat.  Mean over the
/// records whose label is an action.
fn mean_cost(
    logits: &Tensor,
    labels: &Tensor,
    costs: &Tensor, // [B, w, knots]
    lesson: &CostCurves,
    entropy: f64,
) -> Result<Tensor, TrainError> {
    let device = logits.device();
    let points = Tensor::f_from_slice(&lesson.points())?.f_to_device(device)?;
    let knots = Tensor::f_from_slice(&lesson.knots)?.f_to_device(device)?;
    let pieces = lesson.knots.len() as i64 - 1;
    let logs = logits.f_log_softmax(-1, Kind::Float)?;
    let probabilities = logs.f_exp()?;
    let spread = probabilities
        .f_mul(&logs)?
        .f_sum_dim_intlist(-1, false, Kind::Float)?;
    let place = probabilities.f_matmul(&points)?.f_unsqueeze(-1)?; // [B, w, 1]
    let low = knots.f_narrow(0, 0, pieces)?;
    let width = knots.f_narrow(0, 1, pieces)?.f_sub(&low)?;
    let share = place.f_sub(&low)?.f_div(&width)?.f_clamp(0.0, 1.0)?; // [B, w, pieces]
    let least = costs.f_narrow(-1, 0, pieces)?;
    let rise = costs.f_narrow(-1, 1, pieces)?.f_sub(&least)?;
    let climbed = share
        .f_mul(&rise)?
        .f_sum_dim_intlist(-1, false, Kind::Float)?;
    let cost = climbed.f_add(&costs.f_select(-1, 0)?)?; // [B, w]
    let cost = cost.f_add(&spread.f_mul_scalar(entropy)?)?;
    let counts = labels.f_ne(IGNORED)?.f_to_kind(Kind::Float)?;
    let count = counts.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
    Ok(cost.f_mul(&counts)?.f_sum(Kind::Float)?.f_div(&count)?)
}

/// One weight an action, their mean over the rows being 1.
fn class_weights(counts: [u64; ACTIONS], balance: f64) -> [f32; ACTIONS] {
    let all = counts.iter().sum::<u64>().max(1) as f64;
    let raw = counts.map(|count| (count.max(1) as f64 / all).powf(-balance));
    let mean: f64 = raw
        .iter()
        .zip(counts)
        .map(|(w, count)| w * count as f64 / all)
        .sum();
    raw.map(|w| (w / mean) as f32)
}

/// With which probability to keep a window that ends with an action; 1 for
/// the rarest.
fn acceptance(counts: [u64; ACTIONS], balance: f64) -> [f32; ACTIONS] {
    let rarest = counts.into_iter().filter(|count| *count > 0).min();
    let rarest = rarest.unwrap_or(1) as f64;
    counts.map(|count| (rarest / count.max(1) as f64).min(1.0).powf(balance) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_actions() {
        assert_eq!(class_weights([90, 0, 10], 0.0), [1.0; 3]);
        let [enqueue, _, mark] = class_weights([90, 0, 10], 1.0);
        assert!((mark / enqueue - 9.0).abs() < 1e-5);
        assert_eq!(acceptance([80, 0, 20], 1.0), [0.25, 1.0, 1.0]);
        assert_eq!(acceptance([80, 20, 20], 0.5), [0.5, 1.0, 1.0]);
    }

    #[test]
    fn smoothing_gives_each_action_its_share_of_the_loss() {
        let logits = Tensor::from_slice(&[2.0f32, 0.0, -1.0]).view([1, 1, 3]);
        let labels = Tensor::from_slice(&[0i64]).view([1, 1]);
        let loss = |smoothing| {
            let loss = cross_entropy(&logits, &labels, None, smoothing).unwrap();
            loss.double_value(&[])
        };
        let each: Vec<f64> = Vec::try_from(logits.view([3]).log_softmax(0, Kind::Double)).unwrap();
        let mean = -each.iter().sum::<f64>() / 3.0;
        assert!((loss(0.0) + each[0]).abs() < 1e-6);
        assert!((loss(0.3) - (0.7 * -each[0] + 0.3 * mean)).abs() < 1e-6);
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let config = TrainConfig {
            steps: 110,
            warmup: 10,
            learning_rate: 1.0,
            ..TrainConfig::default()
        };
        assert!((config.learning_rate(4) - 0.5).abs() < 1e-12);
        assert!((config.learning_rate(10) - 1.0).abs() < 1e-12);
        assert!((config.learning_rate(60) - 0.55).abs() < 1e-12);
        assert!((config.learning_rate(110) - 0.1).abs() < 1e-12);
    }
}
