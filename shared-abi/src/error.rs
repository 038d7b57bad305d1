use thiserror::Error;

/// What is wrong with bytes from, or a request to, the device.
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
    /// The two sides speak different versions.
    #[error("{what}: version {got}, this side speaks {min} to {max}")]
    Version {
        /// The structure.
        what: &'static str,
        /// Version seen.
        got: u16,
        /// Least version accepted.
        min: u16,
        /// Greatest version accepted.
        max: u16,
    },
    /// A field holds a value that its type does not have.
    #[error("{what}.{field}: {got} is out of range, expected {want}")]
    Range {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Value seen.
        got: u64,
        /// What was expected.
        want: &'static str,
    },
}
