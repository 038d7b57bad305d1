//! Training of a student on labelled states, with its quantisation in the loop.
//!
//! The network is trained in f32 with weights rounded to int8 in the forward pass
//! (straight-through estimator: gradients pass the rounding unchanged), so that the
//! exported student computes what was trained. Batches are split into a fixed number of
//! parts whose gradients are added in order; the result does not depend on the number
//! of threads.

use super::file::{Student, StudentInput, StudentUnit};
use super::network::OUTPUTS;
use super::signals::{SCALES, SIGNALS};
use crate::SplitMix64;
use crate::student::StudentError;

/// The sign of an error of each output that shortens the queue; 0 for k.
const SHORTENS: [f32; OUTPUTS] = [-1.0, 1.0, 1.0, 0.0];

/// Signals at all scales, signal by signal.
pub const STATES: usize = SIGNALS * SCALES;

/// Maximum absolute weight.
const WEIGHT_MAX: f32 = 127.0;
/// Parts of a batch.
const PARTS: usize = 4;
/// Inputs are Q9 and clipped there.
const INPUT_ONE: f64 = 512.0;
const CLIP: f32 = 4095.0 / 512.0;
/// Minimum standard deviation of an input, octaves.
const LEAST_STD: f64 = 0.05;

/// A state and the set-points that the teacher chooses in it. Base-2 logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lesson {
    /// Signals at all scales: index `signal * SCALES + scale`.
    pub state: [f32; STATES],
    /// Target in ns, alpha and beta in 1e-6 Hz, k in Q8.
    pub set_points: [f32; OUTPUTS],
}

/// Options of a training run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Lessons per step.
    pub batch: usize,
    /// Peak learning rate; it decays to a twentieth along half a cosine.
    pub learning_rate: f32,
    /// Weight of errors that shorten the queue, targets below the teacher's and gains
    /// above it, relative to the opposite ones. A queue that is too short costs
    /// utilisation at once.
    pub caution: f32,
    /// Draws of batches.
    pub seed: u64,
    /// Threads, at least 1.
    pub threads: usize,
}

/// A layer with its optimiser state. Weights are column by column: `w[column][row]`.
#[derive(Debug, Clone)]
struct Layer {
    columns: usize,
    rows: usize,
    w: Vec<f32>,
    bias: Vec<f32>,
    adam: Vec<(f32, f32)>,
}

/// A network in training.
#[derive(Debug, Clone)]
pub struct Trainee {
    /// Places in [`Lesson::state`], with mean and standard deviation.
    inputs: Vec<(usize, f64, f64)>,
    /// Mean and standard deviation of each output.
    outputs: [(f64, f64); OUTPUTS],
    layers: [Layer; 3],
    steps: u64,
}

/// Gradients of a part of a batch.
struct Gradients {
    w: [Vec<f32>; 3],
    bias: [Vec<f32>; 3],
    loss: f64,
}

impl Trainee {
    /// A network with random weights for these inputs (places in [`Lesson::state`]) and
    /// hidden units. Inputs and outputs are normalised with the lessons' moments.
    pub fn new(lessons: &[Lesson], inputs: &[usize], hidden: [usize; 2], seed: u64) -> Trainee {
        let mut random = SplitMix64::new(seed);
        let moments = |of: &dyn Fn(&Lesson) -> f32, least: f64| {
            let n = lessons.len().max(1) as f64;
            let mean = lessons.iter().map(|l| f64::from(of(l))).sum::<f64>() / n;
            let square = |l: &Lesson| (f64::from(of(l)) - mean).powi(2);
            let variance = lessons.iter().map(square).sum::<f64>() / n;
            (mean, variance.sqrt().max(least))
        };
        let normalised = |place: &usize| {
            let (mean, std) = moments(&|l| l.state[*place], LEAST_STD);
            (*place, mean, std)
        };
        let sizes = [
            (inputs.len(), hidden[0]),
            (hidden[0], hidden[1]),
            (hidden[1], OUTPUTS),
        ];
        Trainee {
            inputs: inputs.iter().map(normalised).collect(),
            outputs: std::array::from_fn(|i| moments(&|l| l.set_points[i], LEAST_STD)),
            layers: sizes.map(|(columns, rows)| Layer::new(columns, rows, &mut random)),
            steps: 0,
        }
    }

    /// Trains on random batches; returns the mean loss of the last tenth: squared
    /// errors of the normalised outputs. `progress` is called after each step and stops
    /// the training by returning false.
    pub fn train(
        &mut self,
        lessons: &[Lesson],
        config: &TrainConfig,
        mut progress: impl FnMut(u64) -> bool,
    ) -> Option<f64> {
        let mut random = SplitMix64::new(config.seed);
        let (mut sum, mut count) = (0.0, 0.0);
        for step in 0..config.steps {
            let batch: Vec<&Lesson> = (0..config.batch)
                .map(|_| &lessons[(random.next_u64() % lessons.len() as u64) as usize])
                .collect();
            let rounded = self.layers.each_ref().map(Layer::rounded);
            let gradients = self.gradients(&rounded, &batch, config);
            let phase = step as f32 / config.steps as f32 * std::f32::consts::PI;
            let share = 0.05 + 0.95 * 0.5 * (1.0 + phase.cos());
            self.steps += 1;
            for (at, layer) in self.layers.iter_mut().enumerate() {
                let (w, bias) = (&gradients.w[at], &gradients.bias[at]);
                layer.descend(w, bias, config.learning_rate * share, self.steps);
            }
            if step * 10 >= config.steps * 9 {
                sum += gradients.loss;
                count += 1.0;
            }
            if !progress(step + 1) {
                return None;
            }
        }
        Some(sum / f64::max(count, 1.0))
    }

    fn gradients(
        &self,
        rounded: &[Vec<f32>; 3],
        batch: &[&Lesson],
        config: &TrainConfig,
    ) -> Gradients {
        let threads = config.threads;
        let size = batch.len().div_ceil(PARTS);
        let parts: Vec<&[&Lesson]> = batch.chunks(size).collect();
        let run = |part: &[&Lesson]| self.gradients_of(rounded, part, batch.len(), config.caution);
        let made: Vec<Gradients> = if threads < 2 {
            parts.iter().map(|part| run(part)).collect()
        } else {
            let share = parts.len().div_ceil(threads);
            std::thread::scope(|scope| {
                let run = &run;
                let groups = parts.chunks(share);
                let workers: Vec<_> = groups
                    .map(|group| {
                        scope.spawn(move || group.iter().map(|part| run(part)).collect::<Vec<_>>())
                    })
                    .collect();
                let ends = workers.into_iter().map(|worker| match worker.join() {
                    Ok(made) => made,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                ends.flatten().collect()
            })
        };
        let mut made = made.into_iter();
        let mut all = made.next().unwrap_or_else(|| Gradients::zero(&self.layers));
        for part in made {
            all.add(&part);
        }
        all
    }

    /// Backpropagation over a part of a batch of `all` lessons.
    fn gradients_of(
        &self,
        rounded: &[Vec<f32>; 3],
        part: &[&Lesson],
        all: usize,
        caution: f32,
    ) -> Gradients {
        let mut gradients = Gradients::zero(&self.layers);
        let (mut x, mut h1, mut h2) = self.buffers();
        let (_, mut d1, mut d2) = self.buffers();
        let mut y = [0.0; OUTPUTS];
        for lesson in part {
            self.hidden(rounded, lesson, &mut x, &mut h1, &mut h2);
            self.layers[2].forward(&rounded[2], &h2, &mut y);
            for (i, y) in y.iter_mut().enumerate() {
                let (mean, std) = self.outputs[i];
                let want = ((f64::from(lesson.set_points[i]) - mean) / std) as f32;
                let error = *y - want;
                let weight = match SHORTENS[i] * error > 0.0 {
                    true => caution,
                    false => 1.0,
                };
                gradients.loss += f64::from(weight * error * error) / (all * OUTPUTS) as f64;
                *y = 2.0 * weight * error / (all * OUTPUTS) as f32;
            }
            gradients.collect(2, &h2, &y);
            pull(&rounded[2], &y, &mut d2);
            through_tanh(&mut d2, &h2);
            gradients.collect(1, &h1, &d2);
            pull(&rounded[1], &d2, &mut d1);
            through_tanh(&mut d1, &h1);
            gradients.collect(0, &x, &d1);
        }
        gradients
    }

    /// Space for the inputs and the two hidden layers.
    fn buffers(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let [first, second, _] = &self.layers;
        (
            vec![0.0; first.columns],
            vec![0.0; first.rows],
            vec![0.0; second.rows],
        )
    }

    /// The inputs and hidden layers for a lesson.
    fn hidden(
        &self,
        rounded: &[Vec<f32>; 3],
        lesson: &Lesson,
        x: &mut [f32],
        h1: &mut [f32],
        h2: &mut [f32],
    ) {
        self.normalise(lesson, x);
        self.layers[0].forward(&rounded[0], x, h1);
        h1.iter_mut().for_each(|h| *h = h.tanh());
        self.layers[1].forward(&rounded[1], h1, h2);
        h2.iter_mut().for_each(|h| *h = h.tanh());
    }

    fn normalise(&self, lesson: &Lesson, x: &mut [f32]) {
        for (x, (place, mean, std)) in x.iter_mut().zip(&self.inputs) {
            let value = (f64::from(lesson.state[*place]) - mean) / std;
            *x = (value as f32).clamp(-CLIP, CLIP);
        }
    }

    /// Inputs in order of their influence: the mean absolute derivative of the outputs
    /// over the lessons.
    pub fn ranked_inputs(&self, lessons: &[Lesson]) -> Vec<usize> {
        let rounded = self.layers.each_ref().map(Layer::rounded);
        let mut influence = vec![0.0f64; self.inputs.len()];
        let (mut x, mut h1, mut h2) = self.buffers();
        let (mut dx, mut d1, mut d2) = self.buffers();
        for lesson in lessons {
            self.hidden(&rounded, lesson, &mut x, &mut h1, &mut h2);
            for output in 0..OUTPUTS {
                let mut d = [0.0; OUTPUTS];
                d[output] = 1.0;
                pull(&rounded[2], &d, &mut d2);
                through_tanh(&mut d2, &h2);
                pull(&rounded[1], &d2, &mut d1);
                through_tanh(&mut d1, &h1);
                pull(&rounded[0], &d1, &mut dx);
                for (influence, d) in influence.iter_mut().zip(&dx) {
                    *influence += f64::from(d.abs());
                }
            }
        }
        let mut ranked: Vec<usize> = (0..influence.len()).collect();
        ranked.sort_by(|a, b| influence[*b].total_cmp(&influence[*a]));
        ranked.into_iter().map(|at| self.inputs[at].0).collect()
    }

    /// The student with the settings of `like`: its inputs, units and weights are
    /// replaced.
    ///
    /// # Errors
    /// A value that the file's format cannot represent.
    pub fn student(&self, like: &Student) -> Result<Student, StudentError> {
        let input = |(place, mean, std): &(usize, f64, f64)| StudentInput {
            signal: (place / SCALES) as u8,
            scale: (place % SCALES) as u8,
            mean: (mean * 65_536.0).round() as i32,
            gain: (INPUT_ONE / std).round() as i32,
        };
        let mut student = Student {
            inputs: self.inputs.iter().map(input).collect(),
            ..like.clone()
        };
        for (at, layer) in self.layers.iter().enumerate() {
            let steps = layer.steps();
            student.weights[at] = (0..layer.rows * layer.columns)
                .map(|i| {
                    let (row, column) = (i / layer.columns, i % layer.columns);
                    (layer.w[column * layer.rows + row] / steps[row]).round() as i8
                })
                .collect();
            // Sums are in Q9 or Q12 and become Q12; outputs become octaves in Q16.
            let unit = |row: usize| {
                let (step, bias) = (f64::from(steps[row]), f64::from(layer.bias[row]));
                let (scale, bias) = match at {
                    0 => (step * 8.0, bias * 4096.0),
                    1 => (step, bias * 4096.0),
                    _ => {
                        let (mean, std) = self.outputs[row];
                        (step * std * 16.0, (mean + bias * std) * 65_536.0)
                    }
                };
                StudentUnit {
                    scale: (scale * f64::from(1 << 24)).round() as i32,
                    bias: bias.round() as i32,
                }
            };
            student.units[at] = (0..layer.rows).map(unit).collect();
        }
        student.to_bytes()?;
        Ok(student)
    }

    /// The network's set-points, as in [`Lesson::set_points`].
    pub fn predict(&self, lesson: &Lesson) -> [f32; OUTPUTS] {
        let rounded = self.layers.each_ref().map(Layer::rounded);
        let (mut x, mut h1, mut h2) = self.buffers();
        self.hidden(&rounded, lesson, &mut x, &mut h1, &mut h2);
        let mut y = [0.0; OUTPUTS];
        self.layers[2].forward(&rounded[2], &h2, &mut y);
        std::array::from_fn(|i| (self.outputs[i].0 + f64::from(y[i]) * self.outputs[i].1) as f32)
    }
}

impl Layer {
    fn new(columns: usize, rows: usize, random: &mut SplitMix64) -> Layer {
        let bound = (6.0 / (columns + rows) as f64).sqrt();
        let mut uniform = || {
            let unit = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            ((2.0 * unit - 1.0) * bound) as f32
        };
        Layer {
            columns,
            rows,
            w: (0..columns * rows).map(|_| uniform()).collect(),
            bias: vec![0.0; rows],
            adam: vec![(0.0, 0.0); columns * rows + rows],
        }
    }

    /// Size of a quantisation step of each row.
    fn steps(&self) -> Vec<f32> {
        let mut most = vec![1e-6f32; self.rows];
        for column in self.w.chunks_exact(self.rows) {
            for (most, w) in most.iter_mut().zip(column) {
                *most = most.max(w.abs());
            }
        }
        most.iter().map(|most| most / WEIGHT_MAX).collect()
    }

    /// The weights as int8 represents them.
    fn rounded(&self) -> Vec<f32> {
        let steps = self.steps();
        let columns = self.w.chunks_exact(self.rows);
        let round = |(w, step): (&f32, &f32)| (w / step).round() * step;
        columns
            .flat_map(|column| column.iter().zip(&steps).map(round))
            .collect()
    }

    fn forward(&self, w: &[f32], x: &[f32], y: &mut [f32]) {
        y.copy_from_slice(&self.bias);
        for (x, column) in x.iter().zip(w.chunks_exact(self.rows)) {
            for (y, w) in y.iter_mut().zip(column) {
                *y += x * w;
            }
        }
    }

    /// A step of Adam.
    fn descend(&mut self, w: &[f32], bias: &[f32], rate: f32, step: u64) {
        const BETAS: (f32, f32) = (0.9, 0.999);
        let power = i32::try_from(step).unwrap_or(i32::MAX);
        let unbias = (1.0 - BETAS.0.powi(power), 1.0 - BETAS.1.powi(power));
        let values = self.w.iter_mut().chain(&mut self.bias);
        for ((value, gradient), moments) in values.zip(w.iter().chain(bias)).zip(&mut self.adam) {
            moments.0 += (1.0 - BETAS.0) * (gradient - moments.0);
            moments.1 += (1.0 - BETAS.1) * (gradient * gradient - moments.1);
            *value -= rate * (moments.0 / unbias.0) / ((moments.1 / unbias.1).sqrt() + 1e-8);
        }
    }
}

/// The gradient of a layer's inputs from that of its outputs.
fn pull(w: &[f32], d: &[f32], to: &mut [f32]) {
    for (to, column) in to.iter_mut().zip(w.chunks_exact(d.len())) {
        *to = column.iter().zip(d).map(|(w, d)| w * d).sum();
    }
}

fn through_tanh(d: &mut [f32], h: &[f32]) {
    for (d, h) in d.iter_mut().zip(h) {
        *d *= 1.0 - h * h;
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

impl Gradients {
    fn zero(layers: &[Layer; 3]) -> Gradients {
        Gradients {
            w: layers.each_ref().map(|layer| vec![0.0; layer.w.len()]),
            bias: layers.each_ref().map(|layer| vec![0.0; layer.rows]),
            loss: 0.0,
        }
    }

    /// Adds x dᵀ to the gradient of a layer's weights, and d to that of its biases.
    fn collect(&mut self, layer: usize, x: &[f32], d: &[f32]) {
        for (x, to) in x.iter().zip(self.w[layer].chunks_exact_mut(d.len())) {
            for (to, d) in to.iter_mut().zip(d) {
                *to += x * d;
            }
        }
        add(&mut self.bias[layer], d);
    }

    fn add(&mut self, other: &Gradients) {
        for (to, from) in self.w.iter_mut().zip(&other.w) {
            add(to, from);
        }
        for (to, from) in self.bias.iter_mut().zip(&other.bias) {
            add(to, from);
        }
        self.loss += other.loss;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::student::tests::student;

    /// States and a smooth function of two of their signals.
    fn lessons(count: usize, seed: u64) -> Vec<Lesson> {
        let mut random = SplitMix64::new(seed);
        let mut uniform = || (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        (0..count)
            .map(|_| {
                let state = std::array::from_fn(|_| 10.0 + 4.0 * uniform());
                let target = 22.0 + (state[3] - 12.0).tanh() + 0.5 * (state[40] - 12.0);
                Lesson {
                    state,
                    set_points: [target, 17.0, 21.0 - state[3] / 10.0, 9.0],
                }
            })
            .collect()
    }

    fn config(threads: usize) -> TrainConfig {
        TrainConfig {
            steps: 1500,
            batch: 64,
            learning_rate: 5e-3,
            caution: 1.0,
            seed: 1,
            threads,
        }
    }

    #[test]
    fn a_student_learns_a_function_of_its_signals() {
        let known = lessons(4000, 1);
        let mut trainee = Trainee::new(&known, &[3, 7, 40], [16, 8], 1);
        trainee.train(&known, &config(1), |_| true).unwrap();
        // Of unseen states, with the quantised weights.
        let unseen = lessons(500, 2);
        let errors = unseen.iter().map(|lesson| {
            let y = trainee.predict(lesson);
            f64::from((y[0] - lesson.set_points[0]).powi(2))
        });
        let rms = (errors.sum::<f64>() / 500.0).sqrt();
        assert!(rms < 0.05, "{rms}");
        assert_eq!(trainee.ranked_inputs(&unseen)[2], 7);

        // The exported student computes the same in fixed point.
        let like = Student {
            bounds: [(0, 40 << 16); OUTPUTS],
            ..student(1)
        };
        let exported = trainee.student(&like).unwrap();
        for lesson in &unseen {
            let inputs: Vec<i16> = exported
                .inputs
                .iter()
                .map(|of| {
                    let place = usize::from(of.signal) * SCALES + usize::from(of.scale);
                    let signal = (f64::from(lesson.state[place]) * 65_536.0) as i64;
                    (((signal - i64::from(of.mean)) * i64::from(of.gain)) >> 16) as i16
                })
                .collect();
            let got = exported.forward(&inputs).map(|y| y as f32 / 65_536.0);
            for (got, want) in got.iter().zip(trainee.predict(lesson)) {
                assert!((got - want).abs() < 0.02, "{got} {want}");
            }
        }
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let known = lessons(500, 1);
        let trained = |threads| {
            let mut trainee = Trainee::new(&known, &[3, 40], [8, 4], 1);
            let steps = TrainConfig {
                steps: 50,
                ..config(threads)
            };
            trainee.train(&known, &steps, |_| true).unwrap();
            trainee.student(&student(1)).unwrap()
        };
        assert_eq!(trained(1), trained(3));
    }
}
