//! Bounds of the number of threads.

/// Maximum number of threads of one program: more than the cores of any
/// machine, and low enough to make a typo harmless.
const MOST: usize = 1024;

/// Parses a number of threads; 0 selects the number of cores.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads <= MOST => Ok(threads),
        _ => Err(format!("expected 0 to {MOST}")),
    }
}
