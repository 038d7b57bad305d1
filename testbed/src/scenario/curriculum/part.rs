//! Disjoint parts of a curriculum's conditions, for training and for tests.
//!
//! A range is divided into [`BANDS`] bands of equal width. Training uses those
//! with even numbers, including the first and the last; tests use the others
//! and extend beyond both ends.

/// A part of a curriculum's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For training policies and tuning rules.
    Training,
    /// For evaluation.
    Test,
}

impl Part {
    /// Name in files and seeds.
    pub fn name(self) -> &'static str {
        match self {
            Part::Training => "training",
            Part::Test => "test",
        }
    }

    /// Selects the value for this part.
    pub(super) fn of<T>(self, training: T, test: T) -> T {
        match self {
            Part::Training => training,
            Part::Test => test,
        }
    }
}

/// Number of bands of a range: odd, so that training has both ends and tests
/// extrapolate.
pub const BANDS: u32 = 9;

/// Extension of tests beyond each end, as a share of the range's width.
pub const BEYOND: f64 = 0.1;

/// The bands of `part`, for a range with uniform values or logarithms: each
/// includes its lower end but not its upper one.
pub(super) fn bands(least: f64, most: f64, log: bool, part: Part) -> Vec<(f64, f64)> {
    let at = |share: f64| match log {
        true => least * (most / least).powf(share),
        false => least + (most - least) * share,
    };
    let edge = |number: u32| match number {
        0 => least,
        BANDS => most,
        number => at(f64::from(number) / f64::from(BANDS)),
    };
    let inside = |odd: u32| {
        (0..BANDS)
            .filter(move |number| number % 2 == odd)
            .map(|number| (edge(number), edge(number + 1)))
    };
    match part {
        Part::Training => inside(0).collect(),
        Part::Test => {
            // Positive ranges stay positive: half of the minimum is low enough.
            let below = (at(-BEYOND).max(least / 2.0), least);
            let below = (below.0 < below.1).then_some(below);
            let above = (most, at(1.0 + BEYOND));
            below.into_iter().chain(inside(1)).chain([above]).collect()
        }
    }
}

/// The whole numbers in each of `bands`, from the first to the last plus one;
/// bands without any are omitted. If no band contains one, the bands
/// themselves.
pub(super) fn whole_bands(bands: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let whole = bands.iter().map(|(from, to)| (from.ceil(), to.ceil()));
    let whole: Vec<(f64, f64)> = whole.filter(|(from, end)| from < end).collect();
    if whole.is_empty() {
        bands.to_vec()
    } else {
        whole
    }
}
