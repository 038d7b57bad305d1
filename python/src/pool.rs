//! Pools as Arrow streams, through Arrow's PyCapsule interface.

use std::ffi::CStr;
use std::path::PathBuf;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator};
use arrow_schema::SchemaRef;
use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow_table::read;
use crate::error::{PoolError, raise};

/// Name of the capsule, given by the interface.
const CAPSULE: &CStr = c"arrow_array_stream";

/// A pool in memory. Libraries with Arrow's PyCapsule interface accept it:
/// `pyarrow.table(pool)`, `polars.from_arrow(pool)`, `duckdb.from_arrow(pool)`.
#[pyclass(module = "l4sllm._native", frozen)]
pub struct Pool {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

#[pymethods]
impl Pool {
    fn __len__(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn __repr__(&self) -> String {
        let columns = self.schema.fields().len();
        format!(
            "<l4sllm.Pool of {} rows, {columns} columns>",
            self.__len__()
        )
    }

    /// The stream of record batches; a requested schema must be this one's.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'p>(
        &self,
        python: Python<'p>,
        requested_schema: Option<Bound<'p, PyAny>>,
    ) -> PyResult<Bound<'p, PyCapsule>> {
        if requested_schema.is_some() {
            let text = "a pool has its own schema: cast the table";
            return Err(PyNotImplementedError::new_err(text));
        }
        let batches = self.batches.clone().into_iter().map(Ok);
        let reader = RecordBatchIterator::new(batches, self.schema.clone());
        let stream = FFI_ArrowArrayStream::new(Box::new(reader));
        PyCapsule::new_with_value(python, stream, CAPSULE)
    }
}

/// Reads a Parquet or JSON pool into memory.
///
/// # Errors
/// As the command's: the file cannot be read, has another format, or a value is not
/// allowed in a pool.
#[pyfunction]
pub fn read_pool(python: Python<'_>, path: PathBuf) -> PyResult<Pool> {
    let read = python.detach(|| read(&path));
    let (schema, batches) = read.map_err(|e| raise::<PoolError>(&e))?;
    Ok(Pool { schema, batches })
}
