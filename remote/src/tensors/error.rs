//! Tensors that do not fit, named with what was expected.

/// A server's tensors that are not those of the policy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MismatchError {
    /// A tensor is missing.
    #[error("the server's model has no {kind} {name:?}: expected {expected}, found {found}")]
    Missing {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: &'static str,
        /// Its type and shape.
        expected: String,
        /// Names of the server's tensors.
        found: String,
    },
    /// A tensor has another type or shape.
    #[error("the server's {kind} {name:?} is {found}: expected {expected}")]
    Tensor {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: &'static str,
        /// Type and shape that the policy has.
        expected: String,
        /// Type and shape of the server.
        found: String,
    },
    /// The model needs another input.
    #[error("the server's model has an input {0:?} that no policy has")]
    Unknown(String),
}

/// A response without usable outputs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// The output is missing.
    #[error("the response has no output \"outputs\": found {0}")]
    Missing(String),
    /// It has another type or shape.
    #[error("the response's \"outputs\" is {found}: expected {expected}")]
    Tensor {
        /// Expected type and shape.
        expected: String,
        /// Type and shape of the response.
        found: String,
    },
    /// Its values do not fill its shape.
    #[error("the response's \"outputs\" has {found} bytes or values: expected {expected}")]
    Length {
        /// Expected number of values.
        expected: usize,
        /// Bytes or values of the response.
        found: usize,
    },
    /// A value is not finite.
    #[error("the response's \"outputs\" is {0:?}: not finite")]
    NotFinite(Vec<f32>),
    /// Probabilities are not between 0 and 1, or their sum is not 1.
    #[error("the response's \"outputs\" is {0:?}: not probabilities")]
    NotProbabilities(Vec<f32>),
}

/// A request that a policy cannot be asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Inputs are missing, or there are others.
    #[error("inputs {found}: expected returns, inputs and actions")]
    Inputs {
        /// Names of the request's inputs.
        found: String,
    },
    /// An input has another type or shape.
    #[error("input {name:?} is {found}: expected {expected}")]
    Tensor {
        /// Its name.
        name: &'static str,
        /// Expected type and shape.
        expected: String,
        /// Type and shape of the request.
        found: String,
    },
    /// The values of an input do not fill its shape.
    #[error("input {name:?} has {found} bytes or values: expected {expected}")]
    Length {
        /// Its name.
        name: &'static str,
        /// Expected number of values.
        expected: usize,
        /// Bytes or values of the request.
        found: usize,
    },
    /// A value is not finite, or an action token is not that of an action.
    #[error("window {0} has values that are not finite, or an unknown action token")]
    Values(usize),
    /// Another output is requested.
    #[error("output {0:?} is unknown: expected outputs")]
    Output(String),
    /// Too many windows.
    #[error("{found} windows in one request: expected at most {most}")]
    Windows {
        /// Windows of the request.
        found: usize,
        /// Maximum.
        most: usize,
    },
}
