//! Converts panics of third-party decoders to errors.
//!
//! A damaged file may trigger an assertion or an out-of-range index in a
//! decoder crate. The user should see an error that names the file instead of a
//! panic location in a crate.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Reason for a decoder's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its decoder failed: {0}")]
pub struct Panicked(String);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work` and converts a panic to an error without printing it. Do not
/// use values changed by `work` after an error.
///
/// # Errors
/// The panic's message.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    result.map_err(|panic| Panicked(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(owned).unwrap_or("without a reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_becomes_an_error_with_its_message() {
        let index = std::hint::black_box(5);
        let error = caught(|| [1, 2, 3][index]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its decoder failed: index out of bounds: the len is 3 but the index is 5"
        );
        assert_eq!(
            caught(|| panic!("why")),
            Err::<(), _>(Panicked("why".into()))
        );
        assert_eq!(caught(|| 7), Ok(7));
        // Nested calls: quiet only until the inner one ends.
        assert_eq!(caught(|| caught(|| panic!("why")).is_err()), Ok(true));
        assert!(!QUIET.get());
    }

    /// Runs in a separate process, so that the test sees its standard error.
    #[test]
    fn caught_panics_are_not_printed() {
        const INNER: &str = "L4SLLM_TEST_CAUGHT";
        if std::env::var_os(INNER).is_some() {
            let _ = caught(|| panic!("caught"));
            // Uncaught panics are printed as usual.
            let _ = catch_unwind(|| panic!("uncaught"));
            return;
        }
        let test = std::env::current_exe().unwrap();
        let output = std::process::Command::new(test)
            .args(["--exact", "--nocapture"])
            .arg("unwind::tests::caught_panics_are_not_printed")
            .env(INNER, "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("panicked at").count(), 1, "{said}");
        assert!(said.contains("uncaught"), "{said}");
    }
}
