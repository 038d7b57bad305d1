//! A JSON parser with the functions needed for reading lists in parallel.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::files::open_regular;
use crate::pool::PoolError;
use crate::text::shown;

/// Maximum length of a number or name.
const TOKEN: usize = 4096;

/// A position in a JSON file.
pub(super) struct Cursor {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    /// Key of the list being read, for errors.
    pub(super) key: &'static str,
    /// Number of its elements read.
    pub(super) index: u64,
    token: Vec<u8>,
}

impl Cursor {
    /// A reader at `offset` of a file.
    pub(super) fn open(path: &Path, key: &'static str, offset: u64) -> Result<Cursor, PoolError> {
        let mut file = open_regular(path).map_err(PoolError::io("open", path))?;
        let moved = file.seek(SeekFrom::Start(offset));
        moved.map_err(PoolError::io("read", path))?;
        Ok(Cursor {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            offset,
            key,
            index: 0,
            token: Vec::new(),
        })
    }

    /// Offset from the beginning of the file, bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next byte that is not white space, without consuming it.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, PoolError> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.bump(1),
                other => return Ok(other),
            }
        }
    }

    /// Consumes the next byte that is not white space, which must be `want`.
    pub(super) fn expect(&mut self, want: u8) -> Result<(), PoolError> {
        match self.peek()? {
            Some(byte) if byte == want => {
                self.bump(1);
                Ok(())
            }
            found => Err(self.found(found, &format!("{:?}", char::from(want)))),
        }
    }

    /// Consumes `byte` if it is the next byte that is not white space.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, PoolError> {
        let found = self.peek()? == Some(byte);
        if found {
            self.bump(1);
        }
        Ok(found)
    }

    /// Returns whether the current list has another element; consumes the
    /// separator or the end of the list.
    pub(super) fn element(&mut self) -> Result<bool, PoolError> {
        if self.index == 0 {
            self.expect(b'[')?;
            if self.take(b']')? {
                return Ok(false);
            }
        } else if !self.take(b',')? {
            self.expect(b']')?;
            return Ok(false);
        }
        self.index += 1;
        Ok(true)
    }

    /// Reads a finite number.
    pub(super) fn number(&mut self) -> Result<f64, PoolError> {
        let text = self.token()?;
        let value = match text.as_bytes() {
            [b'0'..=b'9' | b'-', ..] => text.parse::<f64>().ok().filter(|v| v.is_finite()),
            _ => None,
        };
        match value {
            Some(value) => Ok(value),
            None => {
                let reason = format!("\"{}\", expected a finite number", shown(text));
                Err(self.wrong(reason))
            }
        }
    }

    /// Reads an integer from 0 to `most`; 1.0 is accepted.
    pub(super) fn whole(&mut self, most: u64) -> Result<u64, PoolError> {
        let text = self.token()?;
        let exact = text.parse::<u64>().ok();
        let float = || {
            let value = text.parse::<f64>().ok()?;
            // Above 2^53 floating-point numbers are not exact.
            let whole = (0.0..9e15).contains(&value) && value.trunc() == value;
            whole.then_some(value as u64)
        };
        match exact.or_else(float).filter(|v| *v <= most) {
            Some(value) => Ok(value),
            None => {
                let reason = format!(
                    "\"{}\", expected a whole number from 0 to {most}",
                    shown(text)
                );
                Err(self.wrong(reason))
            }
        }
    }

    /// Reads true, false, 1 or 0.
    pub(super) fn flag(&mut self) -> Result<bool, PoolError> {
        match self.token()? {
            "true" | "1" | "1.0" => Ok(true),
            "false" | "0" | "0.0" => Ok(false),
            other => {
                let reason = format!("\"{}\", expected true or false", shown(other));
                Err(self.wrong(reason))
            }
        }
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Result<String, PoolError> {
        if self.peek()? != Some(b'"') {
            let found = self.peek()?;
            return Err(self.found(found, "a string"));
        }
        let mut quoted = vec![b'"'];
        self.bump(1);
        let mut escaped = false;
        loop {
            let Some(byte) = self.byte()? else {
                return Err(self.found(None, "the end of a string"));
            };
            self.bump(1);
            quoted.push(byte);
            match byte {
                b'"' if !escaped => break,
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
            if quoted.len() > TOKEN {
                return Err(self.wrong("a string of more than 4096 bytes".to_owned()));
            }
        }
        serde_json::from_slice(&quoted).map_err(|e| self.wrong(e.to_string()))
    }

    /// Skips a value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), PoolError> {
        match self.peek()? {
            Some(b'"') => self.string().map(drop),
            Some(b'[' | b'{') => self.skip_nested(),
            _ => self.token().map(drop),
        }
    }

    /// An error at this position.
    pub(super) fn wrong(&self, reason: String) -> PoolError {
        let place = match self.index {
            0 => format!("{} (byte {})", self.key, self.offset),
            n => format!("{}[{}] (byte {})", self.key, n - 1, self.offset),
        };
        PoolError::text(&self.path, place, reason)
    }

    /// An error for unexpected content.
    pub(super) fn found(&self, found: Option<u8>, want: &str) -> PoolError {
        self.wrong(match found {
            Some(byte) => format!("{:?}, expected {want}", char::from(byte)),
            None => format!("the file ends, expected {want}"),
        })
    }

    fn skip_nested(&mut self) -> Result<(), PoolError> {
        let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
        loop {
            let buffer = fill(&mut self.file, &self.path)?;
            if buffer.is_empty() {
                return Err(self.found(None, "the end of a list or an object"));
            }
            let mut end = None;
            for (i, byte) in buffer.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    _ if quoted => {}
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    end = Some(i + 1);
                    break;
                }
            }
            let passed = end.unwrap_or(buffer.len());
            self.bump(passed);
            if end.is_some() {
                return Ok(());
            }
        }
    }

    /// Reads a number or a name.
    fn token(&mut self) -> Result<&str, PoolError> {
        let first = self.peek()?;
        self.token.clear();
        while let Some(byte) = self.byte()? {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
                break;
            }
            if self.token.len() == TOKEN {
                return Err(self.wrong("a number of more than 4096 digits".to_owned()));
            }
            self.token.push(byte);
            self.bump(1);
        }
        if self.token.is_empty() {
            return Err(self.found(first, "a value"));
        }
        // ASCII, as checked above.
        std::str::from_utf8(&self.token)
            .map_err(|e| PoolError::text(&self.path, self.key, e.to_string()))
    }

    fn byte(&mut self) -> Result<Option<u8>, PoolError> {
        Ok(fill(&mut self.file, &self.path)?.first().copied())
    }

    fn bump(&mut self, bytes: usize) {
        self.file.consume(bytes);
        self.offset += bytes as u64;
    }
}

fn fill<'a>(file: &'a mut BufReader<File>, path: &Path) -> Result<&'a [u8], PoolError> {
    loop {
        match file.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(PoolError::io("read", path)(e)),
        }
    }
    Ok(file.buffer())
}
