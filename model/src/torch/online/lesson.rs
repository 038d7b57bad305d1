//! Training data of a lesson: conditions and visits to them.

use super::emphasis::Emphasis;
use super::setting::PlaneSetting;
use super::surfaces::{Grid, Surfaces};
use crate::set_points::{SET_POINTS, SetPoints};
use crate::{InputFeature, PolicyConfig, SetPointHead, SummaryFeature};

/// Conditions and visits.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Grid of the surfaces.
    pub grid: Grid,
    /// Surfaces by condition.
    pub surfaces: Vec<Surfaces>,
    /// Emphasis by condition; empty: all count the same.
    pub emphasis: Vec<Emphasis>,
    /// Visits, one per run.
    pub visits: Vec<Visit>,
}

/// Data recorded in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// Index of the condition's surfaces.
    pub condition: usize,
    /// Concatenated scaled features of the periods.
    pub values: Vec<f32>,
    /// Values of each period's action token.
    pub in_force: Vec<[f32; SET_POINTS]>,
    /// Origin of the grid in each period; `None`: the grid is absolute.
    /// All visits of a lesson have one, or none has.
    pub base: Option<Vec<PlaneSetting>>,
    /// Requested idle budget, a share of link time; `None`: drawn each time a
    /// period is learned from.
    pub budget: Option<f64>,
    /// First period that is learned from.
    pub first: usize,
    /// Weight of each period, as a number of repetitions.
    pub times: usize,
}

impl Lesson {
    /// A lesson without conditions.
    pub fn new(grid: Grid) -> Lesson {
        Lesson {
            grid,
            surfaces: Vec::new(),
            emphasis: Vec::new(),
            visits: Vec::new(),
        }
    }

    /// Adds the conditions and visits of another lesson on the same grid.
    pub fn extend(&mut self, other: &Lesson) {
        let before = self.surfaces.len();
        self.emphasis.resize(before, Emphasis::default());
        self.emphasis.extend_from_slice(&other.emphasis);
        self.surfaces.extend_from_slice(&other.surfaces);
        self.visits.extend(other.visits.iter().map(|visit| Visit {
            condition: before + visit.condition,
            ..visit.clone()
        }));
    }

    /// The periods to learn from: visit and number, repeated by weight.
    pub(super) fn periods(&self) -> Vec<(usize, usize)> {
        let of = |(number, visit): (usize, &Visit)| {
            let periods = visit.first..visit.in_force.len();
            let once = periods.map(move |period| (number, period));
            (0..visit.times).flat_map(move |_| once.clone())
        };
        self.visits.iter().enumerate().flat_map(of).collect()
    }
}

/// Scaled features and action-token values of a run's periods from their raw
/// values in the order of [`SummaryFeature::ALL`]. A missing value (NaN) is
/// replaced by the previous one, as in the stream of a session; the first value
/// defaults to 0.
pub fn scaled(
    config: &PolicyConfig,
    head: &SetPointHead,
    periods: &[&[f32]],
) -> (Vec<f32>, Vec<[f32; SET_POINTS]>) {
    let columns = config.features.iter().filter_map(|feature| {
        let InputFeature::Summary(name) = feature.name else {
            return None;
        };
        Some((place(name), feature.scaling))
    });
    let columns: Vec<_> = columns.collect();
    let n = columns.len();
    let mut values: Vec<f32> = Vec::with_capacity(n * periods.len());
    for period in periods {
        for (column, scaling) in &columns {
            let raw = f64::from(period[*column]);
            values.push(match (raw.is_nan(), values.len().checked_sub(n)) {
                (false, _) => scaling.apply(raw),
                (true, None) => scaling.apply(0.0),
                (true, Some(before)) => values[before],
            });
        }
    }
    let in_force = periods.iter().map(|period| {
        let of = |feature| f64::from(period[place(feature)]);
        head.outputs(&SetPoints {
            target_s: of(SummaryFeature::TargetMs) / 1e3,
            alpha_hz: of(SummaryFeature::AlphaHz),
            beta_hz: of(SummaryFeature::BetaHz),
            tupdate_s: head.tupdate_ms / 1e3,
            coupling: of(SummaryFeature::Coupling),
        })
    });
    (values, in_force.collect())
}

/// Index of a feature in [`SummaryFeature::ALL`].
fn place(feature: SummaryFeature) -> usize {
    let found = SummaryFeature::ALL.iter().position(|f| *f == feature);
    found.expect("the list has every feature")
}
