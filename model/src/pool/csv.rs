//! Rows from tables with a header: the authors' pools as CSV, and their
//! `df.to_csv()` of a log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::columns::{ACTION, BASE_ACTION, DONE, EPISODE, REASON, REWARD, SCENARIO, TIME};
use super::{PoolError, Rows, Schema, Source};
use crate::{ACTIONS, Feature, Reward, Rewards};

/// Rows read at a time.
const CHUNK: usize = 1 << 14;

/// The column of actions in the authors' table of a log.
const LOGGED_ACTION: &str = "dequeue_action";

/// Reads a table as the rows of a pool.  The header names the columns: those
/// of [`super::Pool`], in any order, of which only `action` is needed; where
/// `reward` is missing it is computed.  An episode ends where `episode`
/// changes or, without such a column, where `done` is true or 1.  Names and
/// values may stand in quotation marks, but a comma parts them there too.
pub struct CsvReader {
    path: PathBuf,
    file: BufReader<File>,
    line: u64,
    bytes: u64,
    text: String,
    schema: Schema,
    columns: Vec<Column>,
    ignored: Vec<String>,
    has_episodes: bool,
    rewards: Option<Rewards>,
    scenario: String,
    last: Option<Cells>,
    next: Option<Cells>,
}

/// What a column is for.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Feature(usize),
    Action,
    Base,
    Reason,
    Reward,
    Done,
    Episode,
    Scenario,
    Time,
    Ignored,
}

/// One line.
#[derive(Clone, Default)]
struct Cells {
    episode: u64,
    scenario: Option<String>,
    time_ns: u64,
    action: u8,
    base_action: u8,
    reason: u8,
    reward: f64,
    done: bool,
    features: Vec<f64>,
}

impl CsvReader {
    /// Reads the header.  Rows without a scenario of their own are of
    /// `scenario`, without a reward of their own get `reward`'s.
    pub fn open(path: &Path, scenario: &str, reward: Reward) -> Result<CsvReader, PoolError> {
        let file = File::open(path).map_err(PoolError::io("open", path))?;
        let mut reader = CsvReader {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 18, file),
            line: 0,
            bytes: 0,
            text: String::new(),
            schema: Schema::new([], false, false),
            columns: Vec::new(),
            ignored: Vec::new(),
            has_episodes: false,
            rewards: None,
            scenario: scenario.to_owned(),
            last: None,
            next: None,
        };
        if !reader.read_line()? {
            return Err(PoolError::text(path, 1, "empty, want a header"));
        }
        let header = reader.text.clone();
        reader.take_header(&header, reward)?;
        reader.next = reader.read_row()?;
        Ok(reader)
    }

    /// Columns of the table that pools do not have.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Whether `head` begins as a table does that can be read here.
    pub fn is_one(head: &[u8]) -> bool {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
        let line = String::from_utf8_lossy(line);
        cells(&line).any(|name| [ACTION, LOGGED_ACTION].contains(&name))
    }

    fn take_header(&mut self, header: &str, reward: Reward) -> Result<(), PoolError> {
        let names: Vec<&str> = cells(header).collect();
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) && !name.is_empty() {
                return Err(self.wrong(name, "twice in the header"));
            }
        }
        let has = |name: &str| names.contains(&name);
        let features = names.iter().filter_map(|name| Feature::named(name));
        self.schema = Schema::new(features, has(TIME), has(BASE_ACTION) && has(REASON));
        for name in &names {
            let feature = Feature::named(name).and_then(|f| self.schema.place(f));
            let column = match *name {
                ACTION => Column::Action,
                LOGGED_ACTION if !has(ACTION) => Column::Action,
                BASE_ACTION if self.schema.base() => Column::Base,
                REASON if self.schema.base() => Column::Reason,
                REWARD => Column::Reward,
                DONE => Column::Done,
                EPISODE => Column::Episode,
                SCENARIO => Column::Scenario,
                TIME => Column::Time,
                _ => feature.map_or(Column::Ignored, Column::Feature),
            };
            if column == Column::Ignored {
                self.ignored.push((*name).to_owned());
            }
            self.columns.push(column);
        }
        if !self.columns.contains(&Column::Action) {
            return Err(self.wrong(ACTION, "missing in the header"));
        }
        self.has_episodes = has(EPISODE);
        if !has(REWARD) {
            for need in [Feature::PacketLength, Feature::CurrentQueueDelay] {
                if self.schema.place(need).is_none() {
                    let reason = "missing in the header, and reward is to be computed of it";
                    return Err(self.wrong(need.name(), reason));
                }
            }
            self.rewards = Some(Rewards::new(reward));
        }
        Ok(())
    }

    fn read_row(&mut self) -> Result<Option<Cells>, PoolError> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if !self.text.trim().is_empty() {
                break;
            }
        }
        let text = std::mem::take(&mut self.text);
        let row = self.parse(text.trim_end());
        self.text = text;
        row.map(Some)
    }

    fn parse(&self, text: &str) -> Result<Cells, PoolError> {
        let count = cells(text).count();
        if count != self.columns.len() {
            let reason = format!("{count} cells, want {}", self.columns.len());
            return Err(PoolError::text(&self.path, self.line, reason));
        }
        let mut row = Cells {
            features: vec![0.0; self.schema.features().len()],
            ..Cells::default()
        };
        let code = |name, cell: &str, most: u64| match whole(cell) {
            Some(value) if value <= most => Ok(value as u8),
            _ => Err(self.cell(name, cell, &format!("0 to {most}"))),
        };
        let number = |name, cell: &str| match cell.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(self.cell(name, cell, "a finite number")),
        };
        let count = |name, cell: &str| {
            whole(cell).ok_or_else(|| self.cell(name, cell, "a whole number from 0"))
        };
        let actions = ACTIONS as u64 - 1;
        for (column, cell) in self.columns.iter().zip(cells(text)) {
            match column {
                Column::Feature(place) => {
                    let name = self.schema.features()[*place].name();
                    row.features[*place] = number(name, cell)?;
                }
                Column::Action => row.action = code(ACTION, cell, actions)?,
                Column::Base => row.base_action = code(BASE_ACTION, cell, actions)?,
                Column::Reason => row.reason = code(REASON, cell, u8::MAX.into())?,
                Column::Reward => row.reward = number(REWARD, cell)?,
                Column::Done => {
                    row.done = match cell {
                        "0" | "0.0" | "false" | "False" | "FALSE" => false,
                        "1" | "1.0" | "true" | "True" | "TRUE" => true,
                        _ => return Err(self.cell(DONE, cell, "0 or 1")),
                    }
                }
                Column::Episode => row.episode = count(EPISODE, cell)?,
                Column::Scenario => row.scenario = Some(cell.to_owned()),
                Column::Time => row.time_ns = count(TIME, cell)?,
                Column::Ignored => {}
            }
        }
        Ok(row)
    }

    /// Whether an episode begins with `next`.
    fn begins(&self, next: &Cells) -> bool {
        self.last.as_ref().is_none_or(|last| {
            if self.has_episodes {
                last.episode != next.episode
            } else {
                last.done
            }
        })
    }

    fn read_line(&mut self) -> Result<bool, PoolError> {
        self.text.clear();
        let got = self.file.read_line(&mut self.text);
        let got = got.map_err(PoolError::io("read", &self.path))?;
        self.line += 1;
        self.bytes += got as u64;
        Ok(got > 0)
    }

    fn wrong(&self, column: &str, reason: impl std::fmt::Display) -> PoolError {
        PoolError::text(&self.path, self.line, format!("column {column}: {reason}"))
    }

    fn cell(&self, column: &str, cell: &str, want: &str) -> PoolError {
        self.wrong(column, format!("{cell:?}, want {want}"))
    }
}

impl Source for CsvReader {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        let Some(first) = &self.next else {
            return Ok(None);
        };
        let begins = self.begins(first);
        let scenario = first.scenario.as_ref().unwrap_or(&self.scenario);
        let mut rows = Rows::new(&self.schema, scenario, begins);
        while let Some(row) = self.next.take() {
            rows.action.push(row.action);
            rows.reward.push(row.reward);
            rows.done.push(row.done);
            if self.schema.time() {
                rows.time_ns.push(row.time_ns);
            }
            if self.schema.base() {
                rows.base_action.push(row.base_action);
                rows.reason.push(row.reason);
            }
            for (column, value) in rows.features.iter_mut().zip(&row.features) {
                column.push(*value);
            }
            self.last = Some(row);
            self.next = self.read_row()?;
            if rows.len() == CHUNK || self.next.as_ref().is_some_and(|next| self.begins(next)) {
                break;
            }
        }
        if let Some(rewards) = &mut self.rewards {
            // The header has what it takes, but for the queue.
            if let Err(missing) = rewards.rewrite(&mut rows, &self.schema) {
                return Err(self.wrong(missing.name(), "missing in the header"));
            }
        }
        Ok(Some(rows))
    }

    fn position(&self) -> u64 {
        self.bytes
    }
}

/// What stands between the commas of a line, without spaces, quotation marks
/// and the mark of byte order that some programs put before the header.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    line.split(',').map(|cell| {
        let cell = cell.trim();
        let quoted = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"'));
        quoted.unwrap_or(cell)
    })
}

/// A whole number, which may be written with a fraction of zero.
fn whole(cell: &str) -> Option<u64> {
    let digits = cell.strip_suffix(".0").unwrap_or(cell);
    digits.parse().ok()
}
