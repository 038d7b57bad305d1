//! Bounds of the number of threads.

/// Maximum number of threads of one program: more than any machine has cores,
/// and few enough that a typo does no harm.
const MOST: usize = 1024;

/// Parses a number of threads; 0 selects the number of cores.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads <= MOST => Ok(threads),
        _ => Err(format!("expected 0 to {MOST}")),
    }
}
