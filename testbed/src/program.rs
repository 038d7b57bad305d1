//! Identity of this program, for reusing results.

use std::fmt::Write;
use std::fs::File;

use sha2::{Digest, Sha256};

/// SHA-256 of this program, in hex: results of another build are not reused,
/// because its queue, senders or links may differ.
///
/// # Errors
/// The program's file cannot be read.
pub(crate) fn digest() -> std::io::Result<String> {
    let path = std::env::current_exe()?;
    let mut sha = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut HashWriter(&mut sha))?;
    Ok(hex(&sha.finalize()))
}

/// SHA-256 of a text, in hex.
pub(crate) fn digest_of(text: &str) -> String {
    hex(&Sha256::digest(text))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
