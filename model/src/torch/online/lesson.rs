//! What there is to learn: conditions, and what was seen in them.

use super::setting::PlaneSetting;
use super::surfaces::{Grid, Surfaces};
use crate::set_points::{SET_POINTS, SetPoints};
use crate::{InputFeature, PolicyConfig, SetPointHead, SummaryFeature};

/// Conditions and visits.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Where surfaces have their nodes.
    pub grid: Grid,
    /// By condition.
    pub surfaces: Vec<Surfaces>,
    /// Runs.
    pub visits: Vec<Visit>,
}

/// What was seen in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// Number of the condition's surfaces.
    pub condition: usize,
    /// Scaled features of each period, one after the other.
    pub values: Vec<f32>,
    /// What the action token of each period is made of.
    pub in_force: Vec<[f32; SET_POINTS]>,
    /// Where the grid's zero is in each period; none: it is absolute. All
    /// visits of a lesson have one, or none has.
    pub base: Option<Vec<PlaneSetting>>,
    /// The idle budget that was asked for, a share of link time; none: each
    /// time that a period is learned from, one is drawn.
    pub budget: Option<f64>,
    /// First period that is learned from.
    pub first: usize,
    /// How many times each period counts.
    pub times: usize,
}

impl Lesson {
    /// A lesson without conditions.
    pub fn new(grid: Grid) -> Lesson {
        Lesson {
            grid,
            surfaces: Vec::new(),
            visits: Vec::new(),
        }
    }

    /// Adds the conditions and visits of another lesson on the same grid.
    pub fn extend(&mut self, other: &Lesson) {
        let before = self.surfaces.len();
        self.surfaces.extend_from_slice(&other.surfaces);
        self.visits.extend(other.visits.iter().map(|visit| Visit {
            condition: before + visit.condition,
            ..visit.clone()
        }));
    }

    /// The periods to learn from: visit and number, as often as they count.
    pub(super) fn periods(&self) -> Vec<(usize, usize)> {
        let of = |(number, visit): (usize, &Visit)| {
            let periods = visit.first..visit.in_force.len();
            let once = periods.map(move |period| (number, period));
            (0..visit.times).flat_map(move |_| once.clone())
        };
        self.visits.iter().enumerate().flat_map(of).collect()
    }
}

/// Scaled features, and what action tokens are made of, of a run's periods from
/// their raw values in the order of [`SummaryFeature::ALL`]. Where a period has
/// no value (NaN), the last one holds, as in the stream of a session; at first
/// it is 0.
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

/// Where a feature is in [`SummaryFeature::ALL`].
fn place(feature: SummaryFeature) -> usize {
    let found = SummaryFeature::ALL.iter().position(|f| *f == feature);
    found.expect("the list has every feature")
}
