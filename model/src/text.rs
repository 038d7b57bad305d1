//! Makes text from files, names and arguments safe to display in messages.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter, Write};

/// Maximum length shown whole, characters.
const WHOLE: usize = 160;

/// Characters shown of the start …
const START: usize = 100;

/// … and of the end of a longer text; for a path, the end is its file name.
const END: usize = 40;

/// A text of unknown origin, displayed so that it cannot harm a terminal or a
/// log: control characters (and other characters that are invisible or change
/// the direction of writing) are escaped, bytes that are not UTF-8 are shown as
/// `\xNN`, and only the start and the end are shown of more than 160
/// characters.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(&'a OsStr);

/// Makes a text, a path or an argument safe to display.
///
/// ```
/// # use l4sllm_model::text::shown;
/// assert_eq!(shown("red \x1b[31m").to_string(), "red \\u{1b}[31m");
/// ```
pub fn shown<T: AsRef<OsStr> + ?Sized>(text: &T) -> Shown<'_> {
    Shown(text.as_ref())
}

/// Makes a message safe to print as one line of at most `max` characters and
/// a count of the rest. Long words, such as paths, are shortened as by
/// [`shown`], so that the text after them still appears.
pub fn line(message: &str, max: usize) -> String {
    let words = message.split([' ', '\n', '\r', '\t']);
    let words: Vec<String> = words.map(|word| shown(word).to_string()).collect();
    let mut text = words.join(" ");
    if let Some((at, _)) = text.char_indices().nth(max) {
        let rest = text[at..].chars().count();
        text.truncate(at);
        write!(text, "… ({rest} characters more)").expect("a String takes any text");
    }
    text
}

/// As above for each line of a message.
pub fn lines(message: &str, max: usize) -> String {
    let lines: Vec<String> = message.split('\n').map(|text| line(text, max)).collect();
    lines.join("\n")
}

/// Makes multi-line output safe for a terminal without other changes, even to
/// long words.
pub fn printable(output: &str) -> String {
    let mut text = String::with_capacity(output.len());
    for character in output.chars() {
        match character {
            '\n' | '\t' => text.push(character),
            other => escape(other, &mut text).expect("a String takes any text"),
        }
    }
    text
}

/// `text` as one word of a POSIX shell, quoted where it must be.
///
/// ```
/// # use l4sllm_model::text::shell_word;
/// assert_eq!(shell_word("out/paper"), "out/paper");
/// assert_eq!(shell_word("it's"), r"'it'\''s'");
/// ```
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:,@%+=-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let count = units(self.0).count();
        if count <= WHOLE {
            return units(self.0).try_for_each(|unit| unit.show(f));
        }
        units(self.0)
            .take(START)
            .try_for_each(|unit| unit.show(f))?;
        write!(f, "…({count} characters)…")?;
        let mut end = units(self.0).skip(count - END);
        end.try_for_each(|unit| unit.show(f))
    }
}

/// A character, or a byte that is not part of one.
enum Unit {
    Character(char),
    Byte(u8),
}

impl Unit {
    fn show(&self, out: &mut impl Write) -> fmt::Result {
        match self {
            Unit::Character(character) => escape(*character, out),
            Unit::Byte(byte) => write!(out, "\\x{byte:02x}"),
        }
    }
}

fn units(text: &OsStr) -> impl Iterator<Item = Unit> {
    text.as_encoded_bytes().utf8_chunks().flat_map(|chunk| {
        let characters = chunk.valid().chars().map(Unit::Character);
        characters.chain(chunk.invalid().iter().copied().map(Unit::Byte))
    })
}

/// Writes a character, escaped unless it is printable.
fn escape(character: char, out: &mut impl Write) -> fmt::Result {
    match character {
        // Printable; `escape_debug` is for literals.
        '\\' | '\'' | '"' => out.write_char(character),
        other => write!(out, "{}", other.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["", "delay_ns", "it's \"quoted\" C:\\", "Grüße, 測試", "a b"] {
            assert_eq!(shown(text).to_string(), text);
        }
    }

    #[test]
    fn terminal_control_sequences_are_escaped() {
        for (text, want) in [
            ("\x1b]0;owned\x07", "\\u{1b}]0;owned\\u{7}"),
            ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\0"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("two\u{2028}lines", "two\\u{2028}lines"),
        ] {
            assert_eq!(shown(text).to_string(), want);
        }
        let bytes = OsStr::from_bytes(b"caf\xe9 \xff.csv");
        assert_eq!(shown(bytes).to_string(), "caf\\xe9 \\xff.csv");
    }

    #[test]
    fn long_text_keeps_both_ends() {
        let text = format!("{}/file.csv", "x".repeat(5000));
        let shown = shown(&text).to_string();
        assert!(
            shown.starts_with("xxxx") && shown.ends_with("/file.csv"),
            "{shown}"
        );
        assert!(shown.contains("…(5009 characters)…"), "{shown}");
        assert!(shown.chars().count() < 170, "{shown}");
        let whole = "x".repeat(160);
        assert_eq!(super::shown(&whole).to_string(), whole);
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line("a\nb \x1b[2J", 100), "a b \\u{1b}[2J");
        assert_eq!(line("1 2 3 4 5", 5), "1 2 3… (4 characters more)");
        assert_eq!(printable("a\tb\n\x1b[2J – c"), "a\tb\n\\u{1b}[2J – c");
        assert_eq!(lines("  a\x07\n\nb", 100), "  a\\u{7}\n\nb");
        // The reason remains after a long name.
        let message = format!("cannot read {}: no such file", "n".repeat(5000));
        let line = line(&message, 1000);
        assert!(
            line.len() < 300 && line.ends_with(": no such file"),
            "{line}"
        );
    }
}
