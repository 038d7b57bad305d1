//! The single definition of better and worse, for reports on runs and for the
//! comparison printed by `l4sllm collect`.
//!
//! Repetitions with the same seed have the same traffic under every arm, so
//! they are compared in pairs; repetitions without shared seeds are compared by
//! their means (Welch). A difference gives a verdict if the 95 % confidence
//! interval of its mean excludes zero and the mean is relevant
//! ([`Quantity::relevant`]). Fewer than two repetitions have no interval, and
//! so no verdict.

mod interval;
mod quantity;
mod student;

pub use interval::Interval;
pub use quantity::Quantity;

/// Confidence level of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// The definition in words, for pages and tables.
pub const DEFINITION: &str = "Differences are means over pairs of repetitions with the same seed \
     (the same traffic), \u{b1} half of their 95 % confidence interval (Student's t; Welch's where \
     no seed is shared). Better or worse: the interval excludes zero, and the mean is at least 1 % \
     and 0.05 ms of delay, 0.1 points of utilisation or drops, or 0.01 of Jain's index. \
     \u{2248}: less than that. Grey or in parentheses: not certain. One repetition: no conclusion. \
     The confidence level applies to each cell: of twenty cells without a real difference, \
     about one is outside its interval by chance.";

/// The meaning of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Better, significantly and relevantly.
    Better,
    /// Worse, significantly and relevantly.
    Worse,
    /// Any difference is too small to matter.
    Same,
    /// The interval contains both zero and relevant differences.
    Unclear,
    /// Fewer than two repetitions: the spread is unknown.
    NoConclusion,
}

/// One repetition's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seed of its traffic.
    pub seed: u64,
    /// In the unit of the [`Quantity`].
    pub value: f64,
}

/// A value compared with that of a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The quantity compared.
    pub quantity: Quantity,
    /// Mean over the compared repetitions.
    pub value: f64,
    /// Mean of the reference over its compared repetitions.
    pub reference: f64,
    /// `value - reference`.
    pub difference: Interval,
    /// Number of pairs of repetitions; without shared seeds, number of
    /// repetitions of the side with fewer.
    pub count: usize,
    /// The verdict.
    pub verdict: Verdict,
}

/// Compares `own` with `reference`; none if there is nothing to compare.
///
/// If any seeds are shared, repetitions without a counterpart are ignored.
pub fn judge(quantity: Quantity, own: &[Sample], reference: &[Sample]) -> Option<Judgement> {
    let pairs = pairs(own, reference);
    let (own, reference): (Vec<f64>, Vec<f64>) = match pairs.is_empty() {
        false => pairs.iter().copied().unzip(),
        true => (values(own), values(reference)),
    };
    let difference = match pairs.is_empty() {
        false => Interval::of(&pairs.iter().map(|(a, b)| a - b).collect::<Vec<_>>())?,
        true => Interval::welch(&own, &reference)?,
    };
    let reference_mean = Interval::of(&reference)?.mean;
    Some(Judgement {
        quantity,
        value: Interval::of(&own)?.mean,
        reference: reference_mean,
        difference,
        count: own.len().min(reference.len()),
        verdict: verdict(
            quantity.gain(&difference),
            quantity.relevant(reference_mean),
        ),
    })
}

/// The meaning of a `gain` (positive is better) if less than `relevant` does
/// not matter.
pub fn verdict(gain: Interval, relevant: f64) -> Verdict {
    let Some(half_width) = gain.half_width else {
        return Verdict::NoConclusion;
    };
    let size = gain.mean.abs();
    // Without this, rounding errors in sums of equal values would count as
    // significant.
    let certain = size > half_width && size > f64::EPSILON * 1e3;
    match (certain, gain.mean > 0.0) {
        (true, _) if size < relevant => Verdict::Same,
        (true, true) => Verdict::Better,
        (true, false) => Verdict::Worse,
        (false, _) if size + half_width <= relevant.max(f64::EPSILON * 1e3) => Verdict::Same,
        (false, _) => Verdict::Unclear,
    }
}

impl Verdict {
    /// Its name in files.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same => "same",
            Verdict::Unclear => "unclear",
            Verdict::NoConclusion => "no conclusion",
        }
    }
}

impl Judgement {
    /// How much worse it is, in units of a severe loss ([`Quantity::severe`]);
    /// 0 unless the verdict is worse.
    pub fn loss(&self) -> f64 {
        match self.verdict {
            Verdict::Worse => self.weight(),
            _ => 0.0,
        }
    }

    /// The difference as a gain: positive is better.
    pub fn gain(&self) -> Interval {
        self.quantity.gain(&self.difference)
    }

    /// The size of the difference, in units of a severe one.
    pub fn weight(&self) -> f64 {
        self.difference.mean.abs() / self.quantity.severe(self.reference)
    }

    /// The size without its interval: "−49 pt".
    pub fn mean_shown(&self) -> String {
        let mean = Interval {
            half_width: None,
            ..self.difference
        };
        self.quantity.shown(&mean, self.reference)
    }

    /// The size with sign and unit: "−49 ± 2 pt", "+25 ± 3 %", "× 276".
    pub fn shown(&self) -> String {
        self.quantity.shown(&self.difference, self.reference)
    }
}

/// Values of repetitions with the same seed.
fn pairs(own: &[Sample], reference: &[Sample]) -> Vec<(f64, f64)> {
    let partner = |sample: &Sample| {
        let mut others = reference.iter();
        let other = others.find(|other| other.seed == sample.seed)?;
        Some((sample.value, other.value))
    };
    own.iter().filter_map(partner).collect()
}

fn values(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.value).collect()
}

#[cfg(test)]
mod tests;
