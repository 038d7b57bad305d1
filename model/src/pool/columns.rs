//! Parquet columns.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::Schema;

pub(super) const EPISODE: &str = "episode";
pub(super) const SCENARIO: &str = "scenario";
pub(super) const TIME: &str = "time_ns";
pub(super) const ACTION: &str = "action";
pub(super) const BASE_ACTION: &str = "base_action";
pub(super) const REASON: &str = "reason";
pub(super) const REWARD: &str = "reward";
pub(super) const DONE: &str = "done";

/// All columns except those of features.
pub(super) const FIXED: [&str; 8] = [
    EPISODE,
    SCENARIO,
    TIME,
    ACTION,
    BASE_ACTION,
    REASON,
    REWARD,
    DONE,
];

/// The schema described in the module's documentation.
pub(super) fn message(schema: &Schema) -> Result<TypePtr, ParquetError> {
    let mut text = format!(
        "message pool {{
           REQUIRED INT32 {EPISODE} (INTEGER(32,false));
           REQUIRED BYTE_ARRAY {SCENARIO} (STRING);\n"
    );
    if schema.time() {
        text += &format!("REQUIRED INT64 {TIME} (INTEGER(64,false));\n");
    }
    text += &format!("REQUIRED INT32 {ACTION} (INTEGER(8,false));\n");
    if schema.base() {
        text += &format!(
            "REQUIRED INT32 {BASE_ACTION} (INTEGER(8,false));
             REQUIRED INT32 {REASON} (INTEGER(8,false));\n"
        );
    }
    text += &format!("REQUIRED DOUBLE {REWARD}; REQUIRED BOOLEAN {DONE};\n");
    for feature in schema.features() {
        text += &format!("REQUIRED DOUBLE {};\n", feature.name());
    }
    text += "}";
    Ok(Arc::new(parse_message_type(&text)?))
}

pub(super) fn properties() -> WriterPropertiesPtr {
    let time = ColumnPath::from(TIME);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("l4sllm ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED);
    Arc::new(properties.build())
}
