//! Ranges of a configuration's keys.

use super::BackboneError;

/// Names the file in errors.
pub(super) struct Check<'a> {
    pub(super) file: &'a str,
}

impl Check<'_> {
    pub(super) fn refuse(
        &self,
        key: &str,
        got: impl ToString,
        want: impl Into<String>,
    ) -> BackboneError {
        BackboneError::value(self.file, key, got, want)
    }

    pub(super) fn within(
        &self,
        key: &str,
        got: usize,
        min: usize,
        max: usize,
    ) -> Result<(), BackboneError> {
        if (min..=max).contains(&got) {
            return Ok(());
        }
        Err(self.refuse(key, got, format!("{min}..={max}")))
    }

    pub(super) fn multiple(
        &self,
        key: &str,
        got: usize,
        of: &str,
        unit: usize,
    ) -> Result<(), BackboneError> {
        if unit > 0 && got % unit == 0 {
            return Ok(());
        }
        Err(self.refuse(key, got, format!("a multiple of {of} = {unit}")))
    }

    /// Range of dropout.
    pub(super) fn share(&self, key: &str, got: f64) -> Result<(), BackboneError> {
        if (0.0..1.0).contains(&got) {
            return Ok(());
        }
        Err(self.refuse(key, got, "0 <= x < 1"))
    }

    /// Range of a norm's epsilon.
    pub(super) fn epsilon(&self, key: &str, got: f64) -> Result<(), BackboneError> {
        if (1e-12..=1e-2).contains(&got) {
            return Ok(());
        }
        Err(self.refuse(key, got, "1e-12..=1e-2"))
    }

    /// Range of the deviation of random weights.
    pub(super) fn deviation(&self, key: &str, got: f64) -> Result<(), BackboneError> {
        if (0.0..=1.0).contains(&got) {
            return Ok(());
        }
        Err(self.refuse(key, got, "0..=1"))
    }
}
