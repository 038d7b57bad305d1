//! Metadata of a TorchScript file. The file is a ZIP archive, and PyTorch
//! reads files below its `extra/` on request:
//!
//! ```python
//! extra = {"l4sllm.json": ""}
//! module = torch.jit.load("policy.pt", _extra_files=extra)
//! ```

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use zip::write::FileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{refused, rule};
use crate::PolicyConfig;
use crate::torch::TrainError;

/// Name of the extra file.
pub const METADATA_FILE: &str = "l4sllm.json";

/// Adds the metadata to a TorchScript file.
pub(super) fn add(file: &Path, config: &PolicyConfig) -> Result<(), TrainError> {
    let failed = |reason: String| refused(file, format!("cannot add {METADATA_FILE}: {reason}"));
    let open = || File::options().read(true).write(true).open(file);
    let archive = ZipArchive::new(open().map_err(|e| failed(e.to_string()))?);
    let archive = archive.map_err(|e| failed(e.to_string()))?;
    // All names are in one directory, which the writer chose.
    let root = archive.file_names().next().and_then(|n| n.split_once('/'));
    let (root, _) = root.ok_or_else(|| failed("no directory in the archive".into()))?;
    let name = format!("{root}/extra/{METADATA_FILE}");

    let end = open().map_err(|e| failed(e.to_string()))?;
    let mut writer = ZipWriter::new_append(end).map_err(|e| failed(e.to_string()))?;
    let plain = FileOptions::default().compression_method(CompressionMethod::Stored);
    let written = writer
        .start_file(name, plain)
        .map_err(|e| failed(e.to_string()));
    written?;
    let text = text(config);
    writer
        .write_all(text.as_bytes())
        .map_err(|e| failed(e.to_string()))?;
    writer.finish().map_err(|e| failed(e.to_string()))?;
    Ok(())
}

/// The outputs and the decision rule.
fn text(config: &PolicyConfig) -> String {
    let mut text = serde_json::to_string_pretty(&json!({
        "policy": config.name,
        "window": config.window,
        "head": config.head.kind,
        "probabilities_of": config.outcome(),
        "outputs": config.outcomes(),
        "decision_rule": rule(config),
        "decision": config.rule_in_words(),
        "effect": config.effect_in_words(),
        "version": env!("CARGO_PKG_VERSION"),
    }))
    .expect("a value with string keys has a text");
    text.push('\n');
    text
}
