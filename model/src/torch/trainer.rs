//! Imitation of a pool's actions, given what preceded them and how it went.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Reduction, Tensor};

use super::TrainError;
use super::checkpoint::{self, Position};
use super::network::{Batch, Network};
use super::optimiser::AdamW;
use crate::pool::{Dataset, Split, Windows};
use crate::tensors::Random;
use crate::{ACTIONS, CONFIG_FILE, Confusion, Policy, PolicyConfig, Scores, Tensors};

/// How to train.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Windows a step.
    pub batch: usize,
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
    /// Steps between evaluations and checkpoints.
    pub evaluate_every: u64,
    /// Windows of an evaluation.
    pub evaluate_windows: usize,
    /// Of initialisation and order.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 4000,
            batch: 32,
            learning_rate: 1e-3,
            warmup: 200,
            weight_decay: 1e-4,
            clip: 0.25,
            class_balance: 0.0,
            evaluate_every: 500,
            evaluate_windows: 1024,
            seed: 1,
        }
    }
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Of this step's batch, weighted as training is.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens trained on a second since the start or the resumption.
    pub tokens_per_s: f64,
    /// On rows that were kept out, when this step was followed by an
    /// evaluation: mean loss, unweighted, and scores at the windows' last
    /// records with the returns that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
}

/// A policy's losses and scores on rows that were kept out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean cross-entropy over all positions of the windows, nats.
    pub loss: f64,
    /// At the last record of each window.
    #[serde(flatten)]
    pub scores: Scores,
}

/// A training in its directory:
/// `last/` (can be resumed), `best/` (least evaluation loss), `metrics.jsonl`.
pub struct Trainer {
    config: TrainConfig,
    dir: PathBuf,
    network: Network,
    optimiser: AdamW,
    data: Dataset,
    train: Windows,
    held_out: Windows,
    class_weights: Tensor, // [3]
    position: Position,
    metrics: File,
    started: Instant,
    trained_steps: u64,
}

impl Trainer {
    /// Starts a training, or goes on with the one in `dir` when it has a
    /// checkpoint and `resume` is set.  `data` is scaled as `policy` says.
    pub fn new(
        dir: &Path,
        config: TrainConfig,
        policy: PolicyConfig,
        data: Dataset,
        split: &Split,
        resume: bool,
    ) -> Result<Trainer, TrainError> {
        let train = Windows::new(&split.train, policy.window);
        if train.is_empty() {
            return Err(TrainError::Empty {
                window: policy.window,
                rows: data.rows(),
            });
        }
        let kept: Vec<Range<usize>> = split.unseen.iter().chain(&split.late).cloned().collect();
        let held_out = Windows::new(&kept, policy.window);
        let class_weights = class_weights(data.counts(&split.train), config.class_balance);

        let last = dir.join("last");
        let resume = resume && last.join(CONFIG_FILE).exists();
        let tensors = if resume {
            Policy::load_tensors(&last)?.1
        } else {
            Tensors::random(&policy, config.seed)?
        };
        let network = Network::new(policy, &tensors, Device::Cpu)?;
        let mut optimiser = AdamW::new(network.decays()?)?;
        let position = if resume {
            checkpoint::load(&last, &mut optimiser)?
        } else {
            Position {
                step: 0,
                random: config.seed,
                best_loss: None,
            }
        };
        let path = dir.join("metrics.jsonl");
        let io = |e: std::io::Error| TrainError::Checkpoint {
            path: path.clone(),
            reason: e.to_string(),
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let metrics = OpenOptions::new()
            .create(true)
            .write(true)
            .append(resume)
            .truncate(!resume)
            .open(&path)
            .map_err(io)?;
        Ok(Trainer {
            config,
            dir: dir.to_owned(),
            network,
            optimiser,
            data,
            train,
            held_out,
            class_weights: Tensor::f_from_slice(&class_weights)?,
            position,
            metrics,
            started: Instant::now(),
            trained_steps: 0,
        })
    }

    /// Steps done so far.
    pub fn step_count(&self) -> u64 {
        self.position.step
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.position.step >= self.config.steps
    }

    /// The network in its present state.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// One step of the optimiser; when an evaluation is due, that and a
    /// checkpoint, too.
    pub fn step(&mut self) -> Result<Progress, TrainError> {
        let step = self.position.step;
        let learning_rate = self.learning_rate(step);
        let mut random = Random::new(self.position.random);
        let windows: Vec<_> = (0..self.config.batch)
            .map(|_| {
                let index = (random.next() % self.train.len() as u64) as usize;
                self.data.steps(self.train.rows(index), None)
            })
            .collect();
        let batch = Batch::new(&windows, self.network.device())?;
        let loss = self.loss(&batch, Some(&self.class_weights), true)?;
        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(TrainError::Diverged { step, loss: value });
        }
        loss.f_backward()?;
        let gradient_norm = self.optimiser.step(
            self.network.flat(),
            learning_rate,
            self.config.weight_decay,
            self.config.clip,
        )?;
        self.position = Position {
            step: step + 1,
            random: random.state(),
            ..self.position
        };
        self.trained_steps += 1;
        let due = self.position.step % self.config.evaluate_every == 0 || self.is_done();
        let policy = self.network.config();
        let tokens = self.trained_steps as f64 * (self.config.batch * policy.tokens()) as f64;
        let progress = Progress {
            step: self.position.step,
            loss: value,
            gradient_norm,
            learning_rate,
            tokens_per_s: tokens / self.started.elapsed().as_secs_f64().max(1e-9),
            evaluation: if due { self.evaluate()? } else { None },
        };
        if due {
            self.checkpoint(progress.evaluation.as_ref())?;
        }
        let line = serde_json::to_string(&progress).expect("numbers and strings only");
        writeln!(self.metrics, "{line}").map_err(|e| TrainError::Checkpoint {
            path: self.dir.join("metrics.jsonl"),
            reason: e.to_string(),
        })?;
        Ok(progress)
    }

    /// Writes `last/`, so that a resumed training goes on from here.
    pub fn save(&self) -> Result<(), TrainError> {
        let tensors = self.network.tensors()?;
        let config = self.policy_config();
        checkpoint::save(
            &self.dir.join("last"),
            &config,
            &tensors,
            &self.optimiser,
            &self.position,
        )
    }

    /// Judges the network on rows that were kept out; none, if there are none.
    pub fn evaluate(&self) -> Result<Option<Evaluation>, TrainError> {
        let _guard = tch::no_grad_guard();
        let (mut confusion, mut loss, mut batches) = (Confusion::default(), 0.0, 0.0);
        let windows: Vec<_> = self.held_out.spread(self.config.evaluate_windows).collect();
        for rows in windows.chunks(64) {
            let steps: Vec<_> = rows
                .iter()
                .map(|r| self.data.steps(r.clone(), None))
                .collect();
            let batch = Batch::new(&steps, self.network.device())?;
            loss += self.loss(&batch, None, false)?.f_double_value(&[])? * rows.len() as f64;
            batches += rows.len() as f64;
            for (rows, p) in rows.iter().zip(self.network.probabilities(&batch)?) {
                let best = (0..ACTIONS).fold(0, |best, a| if p[a] > p[best] { a } else { best });
                confusion.add(self.data.action(rows.end - 1).into(), best);
            }
        }
        let evaluation = Evaluation {
            loss: loss / batches,
            scores: confusion.scores(),
        };
        Ok((batches > 0.0).then_some(evaluation))
    }

    fn loss(
        &self,
        batch: &Batch,
        weights: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor, TrainError> {
        let logits = self.network.logits(batch, train)?;
        let logits = logits.f_view([-1, ACTIONS as i64])?;
        let labels = self.network.labels(batch)?.f_reshape([-1])?;
        Ok(logits.f_cross_entropy_loss(&labels, weights, Reduction::Mean, -100, 0.0)?)
    }

    fn learning_rate(&self, step: u64) -> f64 {
        let TrainConfig {
            steps,
            warmup,
            learning_rate,
            ..
        } = self.config;
        if step < warmup {
            return learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        learning_rate * (0.55 + 0.45 * (std::f64::consts::PI * done.min(1.0)).cos())
    }

    fn checkpoint(&mut self, evaluation: Option<&Evaluation>) -> Result<(), TrainError> {
        let loss = evaluation.map(|e| e.loss);
        let better = match (loss, self.position.best_loss) {
            (Some(loss), Some(best)) => loss < best,
            _ => true,
        };
        if better {
            self.position.best_loss = loss;
            let tensors = self.network.tensors()?;
            Policy::save(&self.dir.join("best"), &self.policy_config(), &tensors)?;
        }
        self.save()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_actions() {
        assert_eq!(class_weights([90, 0, 10], 0.0), [1.0; 3]);
        let [enqueue, _, mark] = class_weights([90, 0, 10], 1.0);
        assert!((mark / enqueue - 9.0).abs() < 1e-5);
    }
}
