//! Writes scalars to TensorBoard event files.
//!
//! A file is a sequence of TFRecords (length, masked CRC-32C of the length,
//! data, masked CRC-32C of the data; `tensorflow/core/lib/io/record_writer.h`)
//! whose data are `Event` messages (`tensorflow/core/util/event.proto`) in
//! Protocol Buffers' encoding. Only the fields needed for scalars are written.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one event file record by record; complete records can be read while
/// the program runs.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Creates a file in `dir`, which is created if necessary. Steps from
    /// `first_step` on in earlier files of the directory are replaced:
    /// TensorBoard discards them.
    ///
    /// # Errors
    /// The directory or the file cannot be created.
    pub fn create(dir: &Path, first_step: u64) -> io::Result<EventFile> {
        std::fs::create_dir_all(dir)?;
        let now_s = wall_time();
        let name = format!(
            "events.out.tfevents.{:.6}.{}.l4sllm",
            now_s,
            std::process::id()
        );
        let path = dir.join(name);
        let file = File::create_new(&path)?;
        let mut events = EventFile { file, path };
        events.append(&event(now_s, 0, Content::Version("brain.Event:2")))?;
        events.append(&event(now_s, first_step, Content::Start))?;
        Ok(events)
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the values of one step, each with its tag.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        self.append(&event(wall_time(), step, Content::Scalars(values)))
    }

    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(&record(data))
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// Writes a TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

/// CRC-32C, rotated and offset as TFRecord requires, so that checksums of
/// data containing checksums are unproblematic.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Contents of an event.
enum Content<'a> {
    Version(&'a str),
    /// Start or resumption of a program at this step.
    Start,
    Scalars(&'a [(&'a str, f64)]),
}

/// An `Event`: wall_time = 1, step = 2, and file_version = 3, summary = 5 or
/// session_log = 7.
fn event(wall_time: f64, step: u64, content: Content<'_>) -> Vec<u8> {
    let mut out = vec![key(1, FIXED64)];
    out.extend(wall_time.to_le_bytes());
    // 0 is the default.
    if step > 0 {
        out.push(key(2, VARINT));
        varint(step, &mut out);
    }
    match content {
        Content::Version(version) => bytes(3, version.as_bytes(), &mut out),
        // SessionLog: status = 1, START = 1.
        Content::Start => bytes(7, &[key(1, VARINT), 1], &mut out),
        Content::Scalars(values) => {
            // Summary: value = 1, of tag = 1 and simple_value = 2.
            let mut summary = Vec::new();
            for (tag, value) in values {
                let mut one = Vec::new();
                bytes(1, tag.as_bytes(), &mut one);
                one.push(key(2, FIXED32));
                one.extend((*value as f32).to_le_bytes());
                bytes(1, &one, &mut summary);
            }
            bytes(5, &summary, &mut out);
        }
    }
    out
}

/// Wire types of Protocol Buffers.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// The key of a field with a number below 16.
fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(field: u8, data: &[u8], out: &mut Vec<u8>) {
    out.push(key(field, BYTES));
    varint(data.len() as u64, out);
    out.extend(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(data: &[u8]) -> String {
        data.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Expected bytes from TensorBoard 2: `RecordWriter` of
    /// tensorboard.summary.writer, and `Event(...).SerializeToString()`.
    #[test]
    fn records_match_reference_bytes() {
        let version = event(1.5, 0, Content::Version("brain.Event:2"));
        let values = [("train/loss", 0.25), ("train/grad_norm", 2.0)];
        let scalars = event(2.5, 300, Content::Scalars(&values));
        let start = event(2.0, 300, Content::Start);
        let known = KNOWN.map(|known| known.split_whitespace().collect::<String>());
        assert_eq!(hex(&record(&version)), known[0]);
        assert_eq!(hex(&record(&start)), known[1]);
        assert_eq!(hex(&record(&scalars)), known[2]);
    }

    const KNOWN: [&str; 3] = [
        "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28
         646c",
        "100000000000000095fbfe1809000000000000004010ac023a0208011292da01",
        "39000000000000008b0737f109000000000000044010ac022a2b0a110a0a747261696e2f6c6f
         7373150000803e0a160a0f747261696e2f677261645f6e6f726d15000000403c0e9036",
    ];

    #[test]
    fn a_file_grows_with_each_step() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(&dir.path().join("logs"), 1).unwrap();
        let before = std::fs::metadata(events.path()).unwrap().len();
        events.scalars(1, &[("train/loss", 1.0)]).unwrap();
        assert!(std::fs::metadata(events.path()).unwrap().len() > before);
        let name = events.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
    }
}
