//! Columns of a pool.

use crate::Feature;

/// The optional columns that a pool has. A log or a table has fewer than a
/// record; missing values mean a missing column, not a column of placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    features: Vec<Feature>,
    time: bool,
    base: bool,
}

impl Schema {
    /// A schema with these features (in any order), with or without times,
    /// and with or without `base_action` and `reason`.
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

    /// The schema of a record: every column.
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

    /// The columns common to both.
    pub fn common(&self, other: &Schema) -> Schema {
        let both = self.features.iter().filter(|f| other.features.contains(f));
        Schema::new(
            both.copied(),
            self.time && other.time,
            self.base && other.base,
        )
    }

    /// Index of a feature among those present.
    pub fn place(&self, feature: Feature) -> Option<usize> {
        self.features.iter().position(|f| *f == feature)
    }
}
