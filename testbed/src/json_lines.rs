//! Files with one JSON line per finished result, so that a killed program loses
//! none of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use l4sllm_model::files::open_append;
use l4sllm_model::text::shown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Errors of such a file.
#[derive(Debug, Error)]
pub enum JsonLinesError {
    /// A file system error.
    #[error("cannot {operation} {}: {source}", shown(path))]
    Io {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A line has unexpected content.
    #[error(
        "{}:{line}: not {want}: {}; delete this line to repeat its run",
        shown(path),
        fault(source)
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The expected content.
        want: &'static str,
        /// Cause, with its position in the line.
        source: serde_json::Error,
    },
}

/// The fault and its column, without serde_json's line, which is 1 or 2.
fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let fault = text.split(" at line ").next().unwrap_or(&text);
    format!("{fault}, column {}", error.column())
}

/// An open file; any thread may append to it.
#[derive(Debug)]
pub(crate) struct JsonLines {
    path: PathBuf,
    file: Mutex<File>,
}

impl JsonLines {
    /// Opens the file, which is created if missing, and reads its lines; `want`
    /// describes the expected content of a line. An incomplete line of a killed
    /// program is removed.
    pub(crate) fn open<T: DeserializeOwned>(
        path: &Path,
        want: &'static str,
    ) -> Result<(JsonLines, Vec<T>), JsonLinesError> {
        let failed = |operation| {
            move |source| JsonLinesError::Io {
                operation,
                path: path.to_owned(),
                source,
            }
        };
        let mut file = open_append(path).map_err(failed("open"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed("read"))?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines = text[..whole]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
            .map(|(number, line)| {
                serde_json::from_slice(line).map_err(|source| JsonLinesError::Line {
                    path: path.to_owned(),
                    line: number + 1,
                    want,
                    source,
                })
            })
            .collect::<Result<_, _>>()?;
        file.set_len(whole as u64).map_err(failed("write"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("write"))?;
        let file = JsonLines {
            path: path.to_owned(),
            file: Mutex::new(file),
        };
        Ok((file, lines))
    }

    /// Appends a line and syncs it to disk. If it does not fit, it is removed
    /// completely, so that the next one starts a new line.
    pub(crate) fn append(&self, line: &impl Serialize) -> Result<(), JsonLinesError> {
        let mut text =
            serde_json::to_string(line).expect("plain structs with string keys are JSON");
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        append(&mut file, text.as_bytes())
            .map(drop)
            .map_err(|source| JsonLinesError::Io {
                operation: "write",
                path: self.path.clone(),
                source,
            })
    }
}

/// Appends all of `bytes` to the file and syncs it; on failure, the file is
/// unchanged. Returns their offset.
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> std::io::Result<u64> {
    let before = file.seek(SeekFrom::End(0))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        // Only the first error is reported.
        let _ = file.set_len(before);
    }
    written.map(|()| before)
}
