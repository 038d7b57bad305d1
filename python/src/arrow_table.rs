//! Rows of pools as Arrow record batches.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt8Array, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use l4sllm_model::pool::{PoolError, Rows, Schema, open};

/// Reads a pool, one batch for each group of rows that its source yields.
///
/// # Errors
/// As [`open`], and those of its rows.
pub fn read(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>), PoolError> {
    let mut source = open(path)?;
    let schema = Arc::new(schema_of(source.schema()));
    let mut batches = Vec::new();
    let mut episodes: u32 = 0;
    while let Some(rows) = source.next()? {
        episodes += u32::from(rows.first);
        let columns = columns_of(source.schema(), rows, episodes.saturating_sub(1));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        batches.push(batch.expect("columns follow the schema and have one length"));
    }
    Ok((schema, batches))
}

/// The columns of a pool in the order and with the types of its Parquet form.
fn schema_of(schema: &Schema) -> ArrowSchema {
    let mut fields = vec![
        Field::new("episode", DataType::UInt32, false),
        Field::new("scenario", DataType::Utf8, false),
    ];
    if schema.time() {
        fields.push(Field::new("time_ns", DataType::UInt64, false));
    }
    fields.push(Field::new("action", DataType::UInt8, false));
    if schema.base() {
        fields.push(Field::new("base_action", DataType::UInt8, false));
        fields.push(Field::new("reason", DataType::UInt8, false));
    }
    fields.push(Field::new("reward", DataType::Float64, false));
    fields.push(Field::new("done", DataType::Boolean, false));
    for feature in schema.features() {
        fields.push(Field::new(feature.name(), DataType::Float64, false));
    }
    ArrowSchema::new(fields)
}

fn columns_of(schema: &Schema, rows: Rows, episode: u32) -> Vec<ArrayRef> {
    let count = rows.len();
    let scenario = std::iter::repeat_n(Some(rows.scenario.as_str()), count);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(vec![episode; count])),
        Arc::new(StringArray::from_iter(scenario)),
    ];
    if schema.time() {
        columns.push(Arc::new(UInt64Array::from(rows.time_ns)));
    }
    columns.push(Arc::new(UInt8Array::from(rows.action)));
    if schema.base() {
        columns.push(Arc::new(UInt8Array::from(rows.base_action)));
        columns.push(Arc::new(UInt8Array::from(rows.reason)));
    }
    columns.push(Arc::new(Float64Array::from(rows.reward)));
    columns.push(Arc::new(BooleanArray::from(rows.done)));
    for feature in rows.features {
        columns.push(Arc::new(Float64Array::from(feature)));
    }
    columns
}
