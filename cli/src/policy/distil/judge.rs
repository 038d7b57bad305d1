//! Evaluates students in closed loop, next to their teacher.

use l4sllm_model::Outcome;
use serde::{Deserialize, Serialize};

/// A student and its teacher on the same conditions and draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Mean of ln(plain DualPI2's delay / the student's); a delay is the root of the
    /// classic queue's mean times its 99th percentile.
    pub gain: f64,
    /// The teacher's.
    pub teacher_gain: f64,
    /// Conditions in which the student keeps 0.995 of the better utilisation of plain
    /// and tuned.
    pub kept: usize,
    /// Those in which the teacher does.
    pub teacher_kept: usize,
    /// Number of conditions.
    pub conditions: usize,
}

/// Runs of a condition.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    pub plain: Outcome,
    pub tuned: Outcome,
    pub teacher: Outcome,
    pub student: Outcome,
}

/// Utilisation relative to the reference that counts as kept.
const KEPT: f64 = 0.995;

impl Verdict {
    /// Compares runs; conditions without classic traffic do not count. None without any
    /// other.
    pub fn of(runs: &[Runs]) -> Option<Verdict> {
        let judged: Vec<(f64, f64, f64, f64)> = runs
            .iter()
            .filter_map(|runs| {
                let plain = delay(&runs.plain)?;
                let gain = |of: &Outcome| Some((plain / delay(of)?).ln());
                let bar = runs.plain.utilisation.max(runs.tuned.utilisation);
                let share = |of: &Outcome| of.utilisation / bar.max(f64::MIN_POSITIVE);
                Some((
                    gain(&runs.student)?,
                    gain(&runs.teacher)?,
                    share(&runs.student),
                    share(&runs.teacher),
                ))
            })
            .collect();
        let n = judged.len();
        let mean =
            |of: fn(&(f64, f64, f64, f64)) -> f64| judged.iter().map(of).sum::<f64>() / n as f64;
        (n > 0).then(|| Verdict {
            gain: mean(|of| of.0),
            teacher_gain: mean(|of| of.1),
            kept: judged.iter().filter(|of| of.2 >= KEPT).count(),
            teacher_kept: judged.iter().filter(|of| of.3 >= KEPT).count(),
            conditions: n,
        })
    }

    /// Students are compared by it: the gain relative to the teacher's, at most one,
    /// less twice the share of conditions that only the teacher keeps. A gain beyond the
    /// teacher's is not a merit; it costs utilisation.
    pub fn score(&self) -> f64 {
        let gain = self.gain / self.teacher_gain.max(f64::MIN_POSITIVE);
        let missed = self.teacher_kept.saturating_sub(self.kept);
        gain.min(1.0) - 2.0 * missed as f64 / self.conditions as f64
    }

    /// One line for the terminal.
    pub fn line(&self, name: &str) -> String {
        let percent = match self.teacher_gain > 0.0 {
            true => format!(" ({:.0} %)", 100.0 * self.gain / self.teacher_gain),
            false => String::new(),
        };
        format!(
            "{name}: gain {:.3}, the teacher's {:.3}{percent}; utilisation kept in {} of {}, \
             by the teacher in {}",
            self.gain, self.teacher_gain, self.kept, self.conditions, self.teacher_kept
        )
    }
}

fn delay(outcome: &Outcome) -> Option<f64> {
    let product = outcome.classic_mean_ms? * outcome.classic_p99_ms?;
    (product > 0.0).then(|| product.sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn outcome(utilisation: f64, delay: f64) -> Outcome {
        Outcome {
            utilisation,
            classic_mean_ms: Some(delay),
            classic_p99_ms: Some(delay),
            ..Outcome::default()
        }
    }

    #[test]
    fn gains_are_relative_to_plain_and_utilisation_to_the_better_baseline() {
        let runs = Runs {
            plain: outcome(0.98, 8.0),
            tuned: outcome(0.97, 6.0),
            teacher: outcome(0.978, 4.0),
            student: outcome(0.97, 5.0),
        };
        let verdict = Verdict::of(&[runs]).unwrap();
        assert!((verdict.gain - f64::ln(1.6)).abs() < 1e-12);
        assert!((verdict.teacher_gain - f64::ln(2.0)).abs() < 1e-12);
        assert_eq!((verdict.kept, verdict.teacher_kept), (0, 1));
        let share = f64::ln(1.6) / f64::ln(2.0);
        assert!((verdict.score() - (share - 2.0)).abs() < 1e-12);
        let line = verdict.line("round 1");
        let want = "round 1: gain 0.470, the teacher's 0.693 (68 %); utilisation kept in 0 of 1";
        assert!(line.starts_with(want), "{line}");
        assert_eq!(Verdict::of(&[]), None);
    }
}
