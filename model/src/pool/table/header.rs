//! The header of a table and the separator of its cells.

use std::slice;

use crate::pool::columns::ACTION;
use crate::text::shown;

/// Name of the action column in the authors' table of a log.
pub(in crate::pool) const LOGGED_ACTION: &str = "dequeue_action";

/// Separators of cells.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The header of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pool) struct Header {
    pub(in crate::pool) separator: u8,
    /// Names in lower case, with words joined by `_`.
    pub(in crate::pool) names: Vec<String>,
    /// Whether it is in a comment, as numpy.savetxt() writes it.
    pub(in crate::pool) commented: bool,
    /// Whether the line before it names the separator, as Excel writes it:
    /// `sep=;`.
    pub(in crate::pool) declared: bool,
    /// Line number, from 1.
    pub(in crate::pool) line: u64,
}

impl Header {
    /// Finds the header at the beginning of a table's decoded text: the first
    /// line with an action column, preceded only by empty lines and comments
    /// (`#`).
    ///
    /// # Errors
    /// A description of the text found instead.
    pub(in crate::pool) fn find(text: &[u8]) -> Result<Header, String> {
        if text.contains(&0) {
            return Err("binary, or UTF-16 without a byte-order mark".to_owned());
        }
        let mut lines = text.split(|b| *b == b'\n').zip(1..);
        let filled = |(line, _): &(&[u8], u64)| !line.trim_ascii().is_empty();
        let first = text.split(|b| *b == b'\n').next();
        let declared = declared(first.unwrap_or_default())?;
        if declared.is_some() {
            lines.next();
        }
        let separators = declared.as_ref().map_or(&SEPARATORS[..], slice::from_ref);
        while let Some((line, number)) = lines.find(filled) {
            let commented = line.first() == Some(&b'#');
            let content = line.trim_ascii_start();
            let content = content.strip_prefix(b"#").unwrap_or(content);
            let found = separators.iter().find_map(|separator| {
                let names = names(content, *separator)?;
                let has = |name: &str| names.iter().any(|n| n == name);
                (has(ACTION) || has(LOGGED_ACTION)).then_some(Header {
                    separator: *separator,
                    names,
                    commented,
                    declared: declared.is_some(),
                    line: number,
                })
            });
            match found {
                Some(header) => return Ok(header),
                None if commented => {}
                None => return Err(describe(content)),
            }
        }
        Err("empty, expected a header".to_owned())
    }
}

/// The separator that a first line `sep=;` declares.
fn declared(line: &[u8]) -> Result<Option<u8>, String> {
    let Some((b"sep=", separator)) = line.split_at_checked(4) else {
        return Ok(None);
    };
    match separator.strip_suffix(b"\r").unwrap_or(separator) {
        [one] if SEPARATORS.contains(one) => Ok(Some(*one)),
        other => Err(format!(
            "a table whose first line, sep={}, declares another separator",
            shown(&*String::from_utf8_lossy(other))
        )),
    }
}

/// Splits a line into column names.
fn names(line: &[u8], separator: u8) -> Option<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .from_reader(line);
    let mut record = csv::ByteRecord::new();
    reader.read_byte_record(&mut record).ok()?.then_some(())?;
    Some(record.iter().map(name).collect())
}

/// `Queue Type` is `queue_type`.
fn name(cell: &[u8]) -> String {
    let text = String::from_utf8_lossy(cell);
    let words: Vec<&str> = text.split([' ', '-']).filter(|w| !w.is_empty()).collect();
    words.join("_").to_lowercase()
}

/// Describes a first line without an action column.
fn describe(line: &[u8]) -> String {
    let cells = |separator: u8| line.split(move |b| *b == separator);
    let spaces = line
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty());
    let named = spaces
        .clone()
        .any(|word| [ACTION, LOGGED_ACTION].contains(&name(word).as_str()));
    if named {
        return "cells separated by spaces".to_owned();
    }
    let most = SEPARATORS.iter().map(|s| cells(*s).count()).max();
    let Some(count) = most.filter(|count| *count > 1) else {
        return "text".to_owned();
    };
    let number = |cell: &[u8]| {
        let text = std::str::from_utf8(cell).unwrap_or_default();
        text.trim().parse::<f64>().is_ok()
    };
    let all_numbers = SEPARATORS
        .iter()
        .any(|s| cells(*s).count() == count && cells(*s).all(number));
    match all_numbers {
        true => format!("a table of {count} numbers a line without a header"),
        false => {
            let first = String::from_utf8_lossy(cells(b',').next().unwrap_or_default());
            format!(
                "a table of {count} columns (\"{}\", ...) without a column {ACTION}",
                shown(first.trim())
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found() {
        let find = |text: &str| Header::find(text.as_bytes());
        for (text, separator, line, commented) in [
            ("ecn,action\n0,1", b',', 1, false),
            ("Ecn;ACTION\n0;1", b';', 1, false),
            ("ecn\taction\n", b'\t', 1, false),
            ("\"ecn\"|\"action\"\n", b'|', 1, false),
            ("# my table, of 2024\n\necn,action\n", b',', 3, false),
            ("# ecn,action\n0,1", b',', 1, true),
        ] {
            let names = ["ecn", "action"].map(str::to_owned).to_vec();
            let want = Header {
                separator,
                names,
                commented,
                declared: false,
                line,
            };
            assert_eq!(find(text), Ok(want), "{text}");
        }
        for (text, separator, line) in [
            ("sep=;\necn;action\n0;1", b';', 2),
            ("sep=\t\n# mine\necn\taction\n", b'\t', 3),
            ("sep=,\r\necn,action\r\n", b',', 2),
        ] {
            let header = find(text).unwrap();
            assert_eq!((header.separator, header.line), (separator, line), "{text}");
            assert!(
                header.declared && header.names == ["ecn", "action"],
                "{text}"
            );
        }
        assert_eq!(
            find("Queue Type,dequeue-action").unwrap().names,
            ["queue_type", LOGGED_ACTION]
        );
        for (text, says) in [
            ("", "empty"),
            ("# comment\n", "empty"),
            ("a\0c\0", "UTF-16 without"),
            ("ecn action\n0 1", "separated by spaces"),
            ("0,1500,3\n", "3 numbers a line without a header"),
            (
                "a,b\x1b[31m,c\n",
                "3 columns (\"a\", ...) without a column action",
            ),
            ("hello\n", "text"),
            ("sep=:\necn:action\n", "sep=:, declares another separator"),
            ("sep=;\necn,action\n", "2 columns (\"ecn\", ...)"),
        ] {
            let error = find(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
