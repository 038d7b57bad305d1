use thiserror::Error;

/// An error in bytes from, or a request to, the device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AbiError {
    /// Fewer or more bytes than the structure has.
    #[error("{what}: {got} bytes, expected {want}")]
    Length {
        /// The structure.
        what: &'static str,
        /// Bytes seen.
        got: usize,
        /// Bytes expected.
        want: usize,
    },
    /// The two sides have no common version.
    #[error("{what}: version {got}, this side supports {min} to {max}")]
    Version {
        /// The structure.
        what: &'static str,
        /// Version seen.
        got: u16,
        /// Minimum version accepted.
        min: u16,
        /// Maximum version accepted.
        max: u16,
    },
    /// The value of a field is invalid.
    #[error("{what}.{field}: {got} is out of range, expected {want}")]
    Range {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Value seen.
        got: u64,
        /// The expected values.
        want: &'static str,
    },
}
