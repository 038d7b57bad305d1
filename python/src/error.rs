//! Exceptions: each has the text that the command prints for the same error.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception};

create_exception!(l4sllm, Error, PyException, "An error of l4sllm.");
create_exception!(
    l4sllm,
    EmulatorError,
    Error,
    "Options, a scenario or a suite that cannot be emulated."
);
create_exception!(
    l4sllm,
    PolicyError,
    Error,
    "A policy directory that cannot be read, run or written."
);
create_exception!(l4sllm, PoolError, Error, "A pool that cannot be read.");

/// An exception of class `E` with the text of an error and its causes.
pub fn raise<E: PyTypeInfo>(error: &dyn std::error::Error) -> PyErr {
    PyErr::new::<E, _>(chain(error))
}

/// An error and its causes, without those that it already names.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
