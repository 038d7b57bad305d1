//! Rows from a captured device stream, as written by `cat /dev/l4sllm`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use l4sllm_abi::{Decoder, Message, Record, SUMMARY_SIZE, Stream as Messages, raw};

use super::{PoolError, Row, Rows, Schema, Source};
use crate::files::open_regular;
use crate::{Reward, Rewards};

/// Rows read at a time.
const CHUNK: usize = 1 << 14;

/// Reads a capture as pool rows, with all fields of records. Every scheduler
/// instance is an episode, and a new one begins where messages are missing
/// (lost, omitted, or from another capture), because rows must be consecutive.
/// The file is read once for each instance, plus once in advance.
pub struct CaptureReader {
    path: PathBuf,
    schema: Schema,
    scenario: String,
    rewards: Rewards,
    instances: Vec<(u32, u32)>, // remaining instances, the last first
    stream: Option<Stream>,
    first: bool,
    lost: u64,
    holes: u64,
    position: u64,
}

/// An element of a capture.
enum Part {
    Decision(Record),
    /// Missing messages, with their number if the device reported it.
    Gap(Option<u64>),
}

impl CaptureReader {
    /// Scans a capture for its instances.
    ///
    /// # Errors
    /// An invalid message for this version.
    pub fn open(path: &Path, scenario: &str, reward: Reward) -> Result<CaptureReader, PoolError> {
        let mut stream = Stream::open(path)?;
        let (mut instances, mut lost, mut holes) = (Vec::new(), 0, 0);
        while let Some(part) = stream.next()? {
            match part {
                Part::Decision(record) => {
                    let instance = (record.sched, record.instance);
                    if !instances.contains(&instance) {
                        instances.push(instance);
                    }
                }
                Part::Gap(Some(messages)) => lost += messages,
                Part::Gap(None) => holes += 1,
            }
        }
        instances.reverse();
        Ok(CaptureReader {
            path: path.to_owned(),
            schema: Schema::of_records(),
            scenario: scenario.to_owned(),
            rewards: Rewards::new(reward),
            instances,
            stream: None,
            first: true,
            lost,
            holes,
            position: stream.offset,
        })
    }

    /// Messages reported as lost in the capture.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Number of unreported gaps.
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// Whether `head` is the beginning of a capture.
    pub fn is_one(head: &[u8]) -> bool {
        let message = match Message::length(head) {
            Ok(Some(length)) => head.get(..length),
            _ => None,
        };
        message.is_some_and(|message| Message::from_bytes(message).is_ok())
    }

    /// The next record of the current instance; `None` at a gap or the end of
    /// the instance.
    fn record(&mut self) -> Result<Option<Record>, PoolError> {
        let (Some(stream), Some(instance)) = (&mut self.stream, self.instances.last()) else {
            return Ok(None);
        };
        while let Some(part) = stream.next()? {
            match part {
                Part::Decision(record) if (record.sched, record.instance) == *instance => {
                    return Ok(Some(record));
                }
                Part::Decision(_) => {}
                Part::Gap(_) => {
                    self.first = true;
                    return Ok(None);
                }
            }
        }
        self.position += stream.offset;
        self.stream = None;
        self.instances.pop();
        Ok(None)
    }
}

impl Source for CaptureReader {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        loop {
            if self.stream.is_none() {
                if self.instances.is_empty() {
                    return Ok(None);
                }
                self.stream = Some(Stream::open(&self.path)?);
                self.first = true;
            }
            let begins = self.first;
            if begins {
                self.rewards.restart();
            }
            let mut rows = Rows::new(&self.schema, &self.scenario, begins);
            while rows.len() < CHUNK {
                let Some(record) = self.record()? else { break };
                self.first = false;
                let reward = self.rewards.next(&record);
                let row = Row::with_reward(&record, reward);
                // Whether the instance continues is unknown.
                rows.push(&self.schema, &row, false);
            }
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
    }

    fn position(&self) -> u64 {
        self.position + self.stream.as_ref().map_or(0, |stream| stream.offset)
    }
}

/// The messages of a file.
struct Stream {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    decoder: Decoder,
    expected: Option<u64>, // position of the next message
    held: Option<Record>,  // it follows a gap
}

impl Stream {
    fn open(path: &Path) -> Result<Stream, PoolError> {
        let file = open_regular(path).map_err(PoolError::io("open", path))?;
        Ok(Stream {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 18, file),
            offset: 0,
            decoder: Decoder::new(),
            expected: None,
            held: None,
        })
    }

    fn next(&mut self) -> Result<Option<Part>, PoolError> {
        if let Some(record) = self.held.take() {
            return Ok(Some(Part::Decision(record)));
        }
        while let Some(message) = self.message()? {
            // Events share the sequence of the records if records are read.
            if message.stream() == Some(Messages::Summaries) {
                continue;
            }
            let (seq, next) = message.place();
            let hole = self.expected.replace(next).is_some_and(|e| e != seq);
            match message {
                Message::Loss { lost, .. } => return Ok(Some(Part::Gap(Some(lost)))),
                Message::Decision(record) if hole => self.held = Some(record),
                Message::Decision(record) => return Ok(Some(Part::Decision(record))),
                Message::Event(_) | Message::Summary(_) | Message::Context(_) => {}
            }
            if hole {
                return Ok(Some(Part::Gap(None)));
            }
        }
        Ok(None)
    }

    /// A partial message at the end means that the capture was truncated.
    fn message(&mut self) -> Result<Option<Message>, PoolError> {
        let mut buffer = [0; SUMMARY_SIZE];
        let (mut have, mut length) = (0, size_of::<raw::l4s_header>());
        let wrong = |source| PoolError::Capture {
            path: self.path.clone(),
            byte: self.offset,
            source,
        };
        while have < length {
            let got = self.file.read(&mut buffer[have..length]);
            match got.map_err(PoolError::io("read", &self.path))? {
                0 => return Ok(None),
                got => have += got,
            }
            if have == size_of::<raw::l4s_header>() {
                // The longest message is a summary.
                let whole = Message::length(&buffer[..have]).map_err(wrong)?;
                length = whole.map_or(length, |whole| whole.min(SUMMARY_SIZE));
            }
        }
        let message = self.decoder.decode(&buffer[..length]).map_err(wrong)?;
        self.offset += length as u64;
        Ok(Some(message))
    }
}
