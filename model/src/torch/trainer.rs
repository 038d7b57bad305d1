//! Trains a policy to imitate a pool's actions, given the preceding records and
//! the returns.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tch::{Kind, Tensor};

use super::checkpoint::{self, Position};
use super::ema::Ema;
use super::loss::{IGNORED, acceptance, class_weights, cross_entropy, mean_cost};
use super::metrics::{Evaluation, Metrics, Progress};
use super::network::{Batch, Network};
use super::optimiser::AdamW;
use super::sampler::{Portion, Sampler};
use super::train_config::TrainConfig;
use super::{TrainError, device};
use crate::pool::{Dataset, Windows};
use crate::splitmix::SplitMix64;
use crate::{ACTIONS, Confusion, PolicyConfig};

/// Names of the vectors in a checkpoint: the trained weights, the optimiser's
/// moments, and the moving average of the weights, if enabled.
const WEIGHTS: &str = "weights";
const MEAN: &str = "mean";
const SQUARES: &str = "squares";
const EMA: &str = "average";

/// Training and evaluation data.
#[derive(Debug)]
pub struct Corpus {
    /// All rows, scaled by the policy.
    pub data: Dataset,
    /// The training rows and their weights.
    pub portions: Vec<Portion>,
    /// Rows for the evaluations that select `best/`; `None`: the last weights
    /// are the best.
    pub held_out: Vec<Range<usize>>,
}

/// A training in its directory: `last/` (for resumption), `best/` (lowest
/// evaluation loss), `metrics.jsonl`.
pub struct Trainer {
    config: TrainConfig,
    dir: PathBuf,
    network: Network,
    optimiser: AdamW,
    ema: Option<Ema>,
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
    /// Starts a training or, with `resume`, resumes that in `dir` if it has a
    /// checkpoint; the checkpoint replaces the weights of `network`.
    ///
    /// # Errors
    /// There are no rows to train on, the checkpoint cannot be read or has
    /// other options, or a file cannot be written.
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
        let mut ema = Ema::new(&weights, config.ema_decay)?;
        if let Some(last) = checkpoint::find(dir).filter(|_| resume) {
            position = checkpoint::position(&last)?;
            checkpoint::same(&last, &position.config, &config)?;
            let mut tensors = vec![
                (WEIGHTS, &mut weights),
                (MEAN, &mut optimiser.mean),
                (SQUARES, &mut optimiser.squares),
            ];
            tensors.extend(ema.as_mut().map(|a| (EMA, &mut a.weights)));
            checkpoint::load(&last, &mut tensors)?;
            optimiser.steps = position.step;
        }
        let device = network.device();
        let metrics = Metrics::open(&dir.join("metrics.jsonl"), position.step)?;
        let rows: usize = train.iter().map(|range| range.len()).sum();
        let records = config.batch * config.grad_accum_steps.max(1) * window;
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
            ema,
            data,
            sampler,
            acceptance,
            position,
            started: Instant::now(),
            trained_tokens: 0,
        })
    }

    /// Completed steps.
    pub fn step_count(&self) -> u64 {
        self.position.step
    }

    /// Time since the start, s, including evaluations, summed over the parts
    /// of a resumed training.
    pub fn seconds(&self) -> f64 {
        self.earlier_s + self.started.elapsed().as_secs_f64()
    }

    /// Whether all steps are done or early stopping applies.
    pub fn is_done(&self) -> bool {
        let patience = self.config.patience;
        self.position.step >= self.config.steps
            || (patience > 0 && self.position.waited >= patience)
    }

    /// The network in its current state.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Runs one optimiser step, followed by an evaluation and a checkpoint
    /// when they are due.
    ///
    /// # Errors
    /// [`TrainError::Diverged`]; a file cannot be written; libtorch failed.
    pub fn step(&mut self) -> Result<Progress, TrainError> {
        let step = self.position.step;
        let learning_rate = self.config.learning_rate(step);
        let mut random = SplitMix64::new(self.position.random);
        let (mut loss, mut right, mut judged) = (0.0, 0.0, 0.0);
        for _ in 0..self.config.grad_accum_steps.max(1) {
            let part = self.accumulate(&mut random)?;
            loss += part.loss;
            right += part.right;
            judged += part.judged;
        }
        let loss = loss / self.config.grad_accum_steps.max(1) as f64;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step, loss });
        }
        let gradient_norm = self.optimiser.step(
            self.network.trained(),
            learning_rate,
            self.config.weight_decay,
            self.config.max_grad_norm,
        )?;
        if let Some(ema) = &mut self.ema {
            ema.add(&self.network.trained().flat(), step + 1)?;
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

    /// Writes `last/`, from which training can resume.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&mut self) -> Result<(), TrainError> {
        let config = self.policy_config();
        self.metrics.sync()?;
        let mut last = self.network.trained().flat();
        let weights = last.f_detach_copy()?;
        let ema = match &self.ema {
            None => None,
            Some(ema) => Some(ema.weights.f_detach_copy()?),
        };
        let mut tensors = vec![
            (WEIGHTS, &weights),
            (MEAN, &self.optimiser.mean),
            (SQUARES, &self.optimiser.squares),
        ];
        tensors.extend(ema.as_ref().map(|ema| (EMA, ema)));
        Ema::exchange(&mut self.ema, &mut last)?;
        let saved = checkpoint::save(&self.dir, &self.network, &config, &tensors, &self.position);
        Ema::exchange(&mut self.ema, &mut last)?;
        saved
    }

    /// Evaluates the network on held-out rows; `None` without any.
    ///
    /// # Errors
    /// libtorch failed.
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

    /// Makes one decision as in the loop: a forward pass over one window, of
    /// held-out rows if there are any.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn decide(&self) -> Result<[f32; ACTIONS], TrainError> {
        let mut random = SplitMix64::new(self.config.seed);
        let rows = match self.held_out.spread(1).next() {
            Some(rows) => vec![rows],
            None => self.sampler.batch(&mut random, 1, |_, _| true),
        };
        let probabilities = self.network.probabilities(&self.batch(&rows)?)?;
        device::synchronise(self.network.device());
        Ok(probabilities.first().copied().unwrap_or_default())
    }

    /// Adds the gradient of one batch.
    fn accumulate(&mut self, random: &mut SplitMix64) -> Result<Part, TrainError> {
        let (data, acceptance) = (&self.data, self.acceptance);
        let rows = self
            .sampler
            .batch(random, self.config.batch, |rows, random| {
                acceptance.is_none_or(|share| {
                    random.uniform() < share[usize::from(data.label(rows.end - 1))]
                })
            });
        let mut batch = self.batch(&rows)?;
        // libtorch's generator keeps no state from one batch to the next, so
        // a resumed training draws the same numbers.
        let seed = random.next_u64() as i64;
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
        let scale = 1.0 / self.config.grad_accum_steps.max(1) as f64;
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

    /// Evaluates, records the result, and saves the weights where
    /// appropriate.
    fn check(&mut self) -> Result<Option<Evaluation>, TrainError> {
        let mut last = self.network.trained().flat();
        Ema::exchange(&mut self.ema, &mut last)?;
        let noted = self.evaluate().and_then(|evaluation| {
            self.note(evaluation.as_ref())?;
            Ok(evaluation)
        });
        Ema::exchange(&mut self.ema, &mut last)?;
        let evaluation = noted?;
        self.save()?;
        Ok(evaluation)
    }

    /// Cost of the network's outputs if there is a lesson; otherwise its
    /// imitation loss.
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

    /// Records an evaluation, and keeps the weights if they are the best.
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

    /// The configuration with the number of training steps.
    fn policy_config(&self) -> PolicyConfig {
        let mut config = self.network.config().clone();
        if let Some(trained_on) = &mut config.trained_on {
            trained_on.steps = self.position.step;
        }
        config
    }
}

/// Result of one batch.
struct Part {
    loss: f64,
    right: f64,
    judged: f64,
}
