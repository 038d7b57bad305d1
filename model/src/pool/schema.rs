//! What the rows of a pool have.

use crate::Feature;

/// Which of the columns that not every pool has, a pool has.  A log or a table
/// has less than a record; what it lacks is not a column, rather than
/// one of made-up values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    features: Vec<Feature>,
    time: bool,
    base: bool,
}

impl Schema {
    /// Of these features (in any order), with times or without, and with
    /// `base_action` and `reason` or without.
    pub fn new(features: impl IntoIterator<Item = Feature>, time: bool, base: bool) -> Schema {
        let mut features: Vec<Feature> = features.into_iter().collect();
        features.sort_unstable();
        features.dedup();
        Schema {
            features,
            time,
            base,
        }
    }

    /// All that a record has.
    pub fn of_records() -> Schema {
        Schema::new(Feature::ALL.iter().copied(), true, true)
    }

    /// The features, in the order of [`Feature::ALL`].
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Whether rows have a time.
    pub fn time(&self) -> bool {
        self.time
    }

    /// Whether rows have `base_action` and `reason`.
    pub fn base(&self) -> bool {
        self.base
    }

    /// What both have.
    pub fn common(&self, other: &Schema) -> Schema {
        let both = self.features.iter().filter(|f| other.features.contains(f));
        Schema::new(
            both.copied(),
            self.time && other.time,
            self.base && other.base,
        )
    }

    /// Where a feature stands among those that there are.
    pub fn place(&self, feature: Feature) -> Option<usize> {
        self.features.iter().position(|f| *f == feature)
    }
}
