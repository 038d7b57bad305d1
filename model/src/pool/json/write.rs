//! Writes pools as JSON.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use super::{ACTIONS, BASE_ACTIONS, DONES, EPISODES, FORMAT, REASONS, REWARDS, STATES, TIMES};
use crate::files::{AtomicFile, Existing};
use crate::pool::{PoolError, Rows, Schema};

/// Values per line of a list.
const LINE: u64 = 16;

/// Writes a pool as JSON with little memory. The file appears under its name
/// when complete.
pub struct JsonWriter {
    path: PathBuf,
    schema: Schema,
    states: BufWriter<AtomicFile>,
    lists: Vec<List>,
    scenarios: Vec<String>, // of each episode
    rows: u64,
}

/// A list in an unnamed temporary file.
struct List {
    key: &'static str,
    out: BufWriter<File>,
}

impl JsonWriter {
    /// Creates a writer for rows with the columns of `schema`; an existing
    /// file is kept until [`JsonWriter::finish`].
    ///
    /// # Errors
    /// The file or a temporary one next to it cannot be created or written.
    pub fn create(
        path: &Path,
        schema: &Schema,
        existing: Existing,
    ) -> Result<JsonWriter, PoolError> {
        let failed = PoolError::io("create", path);
        let file = AtomicFile::create(path, existing).map_err(&failed)?;
        // As large as the pool, so next to it rather than in a possibly small
        // /tmp.
        let dir = file.temporary().parent().unwrap_or(Path::new("."));
        let mut keys = vec![ACTIONS, REWARDS, DONES, EPISODES];
        if schema.time() {
            keys.push(TIMES);
        }
        if schema.base() {
            keys.extend([BASE_ACTIONS, REASONS]);
        }
        let lists = keys.into_iter().map(|key| {
            let file = tempfile::tempfile_in(dir).map_err(&failed)?;
            let out = BufWriter::new(file);
            Ok(List { key, out })
        });
        let lists = lists.collect::<Result<_, PoolError>>()?;
        let mut writer = JsonWriter {
            schema: schema.clone(),
            states: BufWriter::new(file),
            lists,
            scenarios: Vec::new(),
            rows: 0,
            path: path.to_owned(),
        };
        writer.head().map_err(PoolError::io("write", path))?;
        Ok(writer)
    }

    /// Appends rows of the pool's schema: a new episode or the continuation
    /// of the last.
    ///
    /// # Errors
    /// A number is not finite; no row was written.
    pub fn append(&mut self, rows: &Rows) -> Result<(), PoolError> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.check(&self.schema, &self.path, self.rows)?;
        if rows.first || self.scenarios.is_empty() {
            self.scenarios.push(rows.scenario.clone());
        }
        self.append_rows(rows)
            .map_err(PoolError::io("write", &self.path))
    }

    /// Number of rows and episodes so far.
    pub fn size(&self) -> (u64, u32) {
        (self.rows, self.scenarios.len() as u32)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), PoolError> {
        let path = std::mem::take(&mut self.path);
        let failed = PoolError::io("write", &path);
        self.tail().map_err(&failed)?;
        let file = self.states.into_inner().map_err(|e| e.into_error());
        file.and_then(AtomicFile::commit).map_err(&failed)
    }

    fn head(&mut self) -> io::Result<()> {
        let names: Vec<&str> = self.schema.features().iter().map(|f| f.name()).collect();
        let features = serde_json::to_string(&names)?;
        let out = &mut self.states;
        writeln!(out, "{{\n\"format\": \"{FORMAT}\",")?;
        writeln!(out, "\"features\": {features},")?;
        write!(out, "\"{STATES}\": [")
    }

    fn append_rows(&mut self, rows: &Rows) -> io::Result<()> {
        for i in 0..rows.len() {
            let row = self.rows + i as u64;
            let comma = if row == 0 { "\n" } else { ",\n" };
            write!(self.states, "{comma}[")?;
            for (n, column) in rows.features.iter().enumerate() {
                if n > 0 {
                    self.states.write_all(b", ")?;
                }
                number(&mut self.states, column[i])?;
            }
            self.states.write_all(b"]")?;
        }
        let episode = self.scenarios.len() - 1;
        for List { key, out, .. } in &mut self.lists {
            for i in 0..rows.len() {
                let row = self.rows + i as u64;
                out.write_all(match row {
                    0 => b"",
                    _ if row % LINE == 0 => b",\n",
                    _ => b", ",
                })?;
                match *key {
                    ACTIONS => write!(out, "{}", rows.action[i])?,
                    REWARDS => number(out, rows.reward[i])?,
                    DONES => write!(out, "{}", rows.done[i])?,
                    TIMES => write!(out, "{}", rows.time_ns[i])?,
                    BASE_ACTIONS => write!(out, "{}", rows.base_action[i])?,
                    REASONS => write!(out, "{}", rows.reason[i])?,
                    _ => write!(out, "{episode}")?,
                }
            }
        }
        self.rows += rows.len() as u64;
        Ok(())
    }

    fn tail(&mut self) -> io::Result<()> {
        let out = &mut self.states;
        out.write_all(b"\n],\n")?;
        for list in &mut self.lists {
            write!(out, "\"{}\": [", list.key)?;
            list.out.flush()?;
            list.out.rewind()?;
            io::copy(list.out.get_mut(), out)?;
            out.write_all(b"],\n")?;
        }
        let scenarios = serde_json::to_string(&self.scenarios)?;
        writeln!(out, "\"scenarios\": {scenarios}\n}}")?;
        out.flush()
    }
}

/// The shortest text that parses to the same f64; integers without a
/// fraction.
fn number(out: &mut impl Write, value: f64) -> io::Result<()> {
    // Below this limit every integer is exact both as i64 and as f64.
    const WHOLE: f64 = (1u64 << 53) as f64;
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.trunc() == value && value.abs() < WHOLE && !negative_zero {
        write!(out, "{}", value as i64)
    } else {
        write!(out, "{value:?}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_short_and_exact() {
        let text = |value: f64| {
            let mut out = Vec::new();
            super::number(&mut out, value).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1500.0), "1500");
        assert_eq!(text(-0.0), "-0.0");
        assert_eq!(text(0.1), "0.1");
        assert_eq!(text(f64::MAX), "1.7976931348623157e308");
        assert_eq!(text(9_007_199_254_740_993.0), "9007199254740992.0");
    }
}
