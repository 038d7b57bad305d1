//! Rows from tables with a header: the authors' pools as CSV, and logs
//! written with `df.to_csv()`.

mod header;
mod text;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::header::LOGGED_ACTION;
use super::columns::{ACTION, BASE_ACTION, DONE, EPISODE, REASON, REWARD, SCENARIO, TIME};
use super::domain::Domain;
use super::{PoolError, Rows, Schema, Source};
use crate::text::shown;
use crate::{Feature, Reward, Rewards};

pub(super) use self::header::Header;
pub(super) use self::text::{Text as LineEnds, decode};

/// Rows read at a time.
const CHUNK: usize = 1 << 14;

/// Bytes of a table within which its header must end.
const HEAD: u64 = 1 << 16;

/// Code of the first action, enqueue, in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionCodes {
    /// 0 enqueue, 1 drop, 2 mark: as in pools.
    FromZero,
    /// 1 enqueue, 2 drop, 3 mark: as in the kernel's log.
    FromOne,
}

/// Parameters that a table does not contain.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions<'a> {
    /// Scenario of rows without one.
    pub scenario: &'a str,
    /// Reward of rows without one.
    pub reward: Reward,
    /// Code of the first action. By default, `action` counts from 0, and the
    /// base of `dequeue_action` is derived from its values: the authors' log
    /// counts from 1 under this name, their tables from 0.
    pub actions: Option<ActionCodes>,
}

/// Reads a table as the rows of a pool. The header names the columns: those
/// of [`super::Pool`], in any order and case. Only `action` is required; a
/// missing `reward` is computed. An episode ends where `episode` changes or,
/// without such a column, where `done` is true or 1.
///
/// Cells are separated by commas, semicolons, tabs or vertical bars and may
/// be quoted. A first line such as `sep=;` may declare the separator. Lines end
/// in LF, CR LF or CR; `#` begins a comment; the text is UTF-8 or, with a
/// byte-order mark, UTF-16.
pub struct CsvReader {
    path: PathBuf,
    reader: csv::Reader<text::Source>,
    record: csv::ByteRecord,
    raw: Arc<AtomicU64>,
    schema: Schema,
    columns: Vec<Column>,
    names: Vec<String>,
    actions: ActionCodes,
    ignored: Vec<String>,
    has_episodes: bool,
    rewards: Option<Rewards>,
    scenario: String,
    last: Option<Cells>,
    next: Option<Cells>,
}

/// Role of a column.
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
    /// Reads the header and, if the base of the action codes is unknown, as
    /// many rows as determine it.
    ///
    /// # Errors
    /// There is no header, a column is missing or named twice, or the base of
    /// the codes cannot be determined.
    pub fn open(path: &Path, options: TableOptions<'_>) -> Result<CsvReader, PoolError> {
        let header = find_header(path)?;
        let mut reader = CsvReader {
            path: path.to_owned(),
            reader: parser(path, &header, Arc::default())?,
            record: csv::ByteRecord::new(),
            raw: Arc::default(),
            schema: Schema::new([], false, false),
            columns: Vec::new(),
            names: header.names.clone(),
            actions: options.actions.unwrap_or(ActionCodes::FromZero),
            ignored: Vec::new(),
            has_episodes: false,
            rewards: None,
            scenario: options.scenario.to_owned(),
            last: None,
            next: None,
        };
        reader.take_header(&header, options.reward)?;
        let action = reader.columns.iter().position(|c| *c == Column::Action);
        if let (Some(action), None) = (action, options.actions) {
            if reader.names[action] == LOGGED_ACTION {
                reader.restart(&header)?;
                reader.actions = reader.find_codes(action)?;
            }
        }
        reader.restart(&header)?;
        reader.next = reader.read_row()?;
        Ok(reader)
    }

    fn restart(&mut self, header: &Header) -> Result<(), PoolError> {
        self.raw = Arc::default();
        self.reader = parser(&self.path, header, Arc::clone(&self.raw))?;
        let before = u8::from(header.declared) + u8::from(!header.commented);
        for _ in 0..before {
            self.read_record()?;
        }
        Ok(())
    }

    fn take_header(&mut self, header: &Header, reward: Reward) -> Result<(), PoolError> {
        let names = &header.names;
        let wrong = |name: &str, reason: &str| {
            let reason = format!("column {name}: {reason}");
            PoolError::text(&self.path, header.line, reason)
        };
        let has = |name: &str| names.iter().any(|n| n == name);
        let features = names.iter().filter_map(|name| Feature::named(name));
        self.schema = Schema::new(features, has(TIME), has(BASE_ACTION) && has(REASON));
        for (i, name) in names.iter().enumerate() {
            let feature = Feature::named(name).and_then(|f| self.schema.place(f));
            let column = match name.as_str() {
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
                self.ignored.push(name.clone());
            } else if names[..i].contains(name) {
                return Err(wrong(name, "twice in the header"));
            }
            self.columns.push(column);
        }
        self.has_episodes = has(EPISODE);
        if !has(REWARD) {
            for need in [Feature::PacketLength, Feature::CurrentQueueDelay] {
                if self.schema.place(need).is_none() {
                    let reason = "missing in the header, but required for the reward";
                    return Err(wrong(need.name(), reason));
                }
            }
            self.rewards = Some(Rewards::new(reward));
        }
        Ok(())
    }

    /// Determines the base of `dequeue_action` from the first value that
    /// shows it.
    ///
    /// # Errors
    /// An earlier value is not an action code, or no value determines the
    /// base.
    fn find_codes(&mut self, action: usize) -> Result<ActionCodes, PoolError> {
        let mut rows = 0_u64;
        while self.read_record()? {
            self.check_width()?;
            match self.cell(action)?.parse::<f64>() {
                Ok(0.0) => return Ok(ActionCodes::FromZero),
                Ok(3.0) => return Ok(ActionCodes::FromOne),
                Ok(1.0 | 2.0) => rows += 1,
                _ => return Err(self.refused(action, "a whole number from 0 to 3")),
            }
        }
        if rows == 0 {
            return Ok(ActionCodes::FromZero);
        }
        let reason = format!(
            "column {LOGGED_ACTION}: neither 0 nor 3 in {rows} rows, so 1 may be drop \
             (the authors' tables count from 0) or enqueue (the kernel's log counts from 1): \
             give --actions-from 0 or --actions-from 1"
        );
        Err(PoolError::text(&self.path, self.line(), reason))
    }

    /// Ignored columns of the table.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Reads a record; returns false at the end.
    fn read_record(&mut self) -> Result<bool, PoolError> {
        self.reader.get_mut().next_line();
        let read = self.reader.read_byte_record(&mut self.record);
        read.map_err(|error| {
            let error = match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
            };
            PoolError::io("read", &self.path)(error)
        })
    }

    /// Refuses a record with missing or extra cells.
    fn check_width(&self) -> Result<(), PoolError> {
        if self.record.len() == self.columns.len() {
            return Ok(());
        }
        let reason = format!(
            "{} cells, expected {}",
            self.record.len(),
            self.columns.len()
        );
        Err(PoolError::text(&self.path, self.line(), reason))
    }

    fn read_row(&mut self) -> Result<Option<Cells>, PoolError> {
        if !self.read_record()? {
            return Ok(None);
        }
        self.check_width()?;
        let mut row = Cells {
            features: vec![0.0; self.schema.features().len()],
            ..Cells::default()
        };
        let actions = match self.actions {
            ActionCodes::FromZero => Domain::ACTION,
            ActionCodes::FromOne => Domain::ACTION.counted_from_one(),
        };
        let code = |i, domain| self.whole(i, domain).map(|value| value as u8);
        for (i, column) in self.columns.iter().enumerate() {
            match column {
                Column::Feature(place) => {
                    let domain = Domain::of(self.schema.features()[*place]);
                    row.features[*place] = self.number(i, Some(domain))?;
                }
                Column::Action => {
                    row.action = code(i, actions)?;
                    row.action -= u8::from(self.actions == ActionCodes::FromOne);
                }
                Column::Base => row.base_action = code(i, Domain::ACTION)?,
                Column::Reason => row.reason = code(i, Domain::REASON)?,
                Column::Reward => row.reward = self.number(i, None)?,
                Column::Done => {
                    row.done = match self.cell(i)?.to_ascii_lowercase().as_str() {
                        "0" | "0.0" | "false" => false,
                        "1" | "1.0" | "true" => true,
                        _ => return Err(self.refused(i, "0 or 1")),
                    }
                }
                Column::Episode => row.episode = self.whole(i, Domain::EPISODE)?,
                Column::Scenario => row.scenario = Some(self.cell(i)?.to_owned()),
                Column::Time => row.time_ns = self.whole(i, Domain::TIME)?,
                Column::Ignored => {}
            }
        }
        Ok(Some(row))
    }

    fn number(&self, i: usize, domain: Option<Domain>) -> Result<f64, PoolError> {
        let value = self.cell(i)?.parse::<f64>().ok();
        let good = |value: &f64| domain.map_or(value.is_finite(), |domain| domain.has(*value));
        value.filter(good).ok_or_else(|| match domain {
            Some(domain) => self.refused(i, domain),
            None => self.refused(i, "a finite number"),
        })
    }

    /// Parses an integer, possibly with a zero fraction.
    fn whole(&self, i: usize, domain: Domain) -> Result<u64, PoolError> {
        let cell = self.cell(i)?;
        let exact = cell.parse::<u64>().ok();
        let exact = exact.filter(|value| domain.has_exact(*value));
        let value = exact.or_else(|| domain.take(cell.parse().ok()?));
        value.ok_or_else(|| self.refused(i, domain))
    }

    fn cell(&self, i: usize) -> Result<&str, PoolError> {
        let cell = self.record.get(i).unwrap_or_default();
        std::str::from_utf8(cell).map_err(|_| self.refused(i, "UTF-8"))
    }

    /// Line on which the record ends, counting only the line ends seen.
    fn line(&self) -> u64 {
        self.reader.position().line().saturating_sub(1)
    }

    fn refused(&self, i: usize, want: impl std::fmt::Display) -> PoolError {
        let cell = String::from_utf8_lossy(self.record.get(i).unwrap_or_default());
        let parts = cell.split_once(',').filter(|(whole, rest)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits(whole.trim_start_matches('-')) && digits(rest)
        });
        let hint = match parts {
            Some((whole, rest)) => format!(" (a decimal comma: write {whole}.{rest})"),
            None => String::new(),
        };
        let column = shown(&self.names[i]).to_string();
        let reason = format!(
            "column {column}: \"{}\", expected {want}{hint}",
            shown(&*cell)
        );
        PoolError::text(&self.path, self.line(), reason)
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
            // The header has every feature except the queue.
            if let Err(missing) = rewards.rewrite(&mut rows, &self.schema) {
                let reason = format!("column {}: missing in the header", missing.name());
                return Err(PoolError::text(&self.path, 1, reason));
            }
        }
        Ok(Some(rows))
    }

    fn position(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

fn find_header(path: &Path) -> Result<Header, PoolError> {
    let mut head = Vec::new();
    let text = text::open(path, Arc::default()).map_err(PoolError::io("open", path))?;
    let read = text.take(HEAD).read_to_end(&mut head);
    read.map_err(PoolError::io("read", path))?;
    Header::find(&head).map_err(|found| {
        let reason = format!(
            "{found}; expected a header with a column {ACTION} in a table of cells \
                              separated by commas, semicolons, tabs or vertical bars"
        );
        PoolError::text(path, 1, reason)
    })
}

fn parser(
    path: &Path,
    header: &Header,
    raw: Arc<AtomicU64>,
) -> Result<csv::Reader<text::Source>, PoolError> {
    let text = text::open(path, raw).map_err(PoolError::io("open", path))?;
    Ok(csv::ReaderBuilder::new()
        .delimiter(header.separator)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .flexible(true)
        .has_headers(false)
        .buffer_capacity(1 << 16)
        .from_reader(text))
}
