//! SHA-256 of files and of data in memory.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{PolicyError, files};

/// Adds the contents of a file, which may be of any size.
pub(crate) fn add_file(sha: &mut Sha256, path: &Path) -> Result<(), PolicyError> {
    let failed = |e| PolicyError::read(path, e);
    let mut file = files::open_regular(path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            n => sha.update(&buffer[..n]),
        }
    }
}

/// The hash in hexadecimal digits.
pub(crate) fn hex(sha: Sha256) -> String {
    sha.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
