//! How many threads may be asked for.

/// Most threads of one program: more than any machine has cores, and few
/// enough to be started before one notices the slip.
const MOST: usize = 1024;

/// Parses a number of threads; 0 leaves it to the machine.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads <= MOST => Ok(threads),
        _ => Err(format!("want 0 to {MOST}")),
    }
}
