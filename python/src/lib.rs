//! The native module of the Python package `l4sllm`: the emulator for learners
//! ([`emulators`]), pools as Arrow streams ([`pool`]), and policy directories
//! ([`policy`]).
//!
//! Arrays are passed as bytes in native order, which makes the module independent of
//! NumPy's headers and version; the Python files give them shapes.

mod arrow_table;
mod emulators;
mod environment;
mod error;
mod options;
mod policy;
mod pool;

use pyo3::prelude::*;

/// The module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let python = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("INFO", environment::INFO)?;
    module.add("Error", python.get_type::<error::Error>())?;
    module.add("EmulatorError", python.get_type::<error::EmulatorError>())?;
    module.add("PolicyError", python.get_type::<error::PolicyError>())?;
    module.add("PoolError", python.get_type::<error::PoolError>())?;
    module.add_class::<emulators::Emulators>()?;
    module.add_class::<policy::Policy>()?;
    module.add_class::<pool::Pool>()?;
    module.add_function(wrap_pyfunction!(pool::read_pool, module)?)?;
    module.add_function(wrap_pyfunction!(policy::save_policy, module)?)?;
    module.add_function(wrap_pyfunction!(policy::read_tensors, module)?)?;
    module.add_function(wrap_pyfunction!(emulators::run_rust_loop, module)?)?;
    Ok(())
}
