//! Panics of other people's decoders, as errors.
//!
//! A damaged file may fail an assertion or an index within a crate that decodes
//! it. What the user is to see is an error that names the file, not where in a
//! crate the panic came from.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Why a decoder gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its decoder failed: {0}")]
pub struct Panicked(String);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work` and makes an error of its panic, which prints nothing. What
/// `work` changes must not be used after an error.
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
    fn a_panic_is_an_error_with_its_message() {
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
        // Within another, and not quiet any longer than that.
        assert_eq!(caught(|| caught(|| panic!("why")).is_err()), Ok(true));
        assert!(!QUIET.get());
    }

    /// In a process of its own, whose standard error the test sees.
    #[test]
    fn a_caught_panic_prints_nothing() {
        const INNER: &str = "L4SLLM_TEST_CAUGHT";
        if std::env::var_os(INNER).is_some() {
            let _ = caught(|| panic!("caught"));
            // Uncaught ones print as they always do.
            let _ = catch_unwind(|| panic!("uncaught"));
            return;
        }
        let test = std::env::current_exe().unwrap();
        let output = std::process::Command::new(test)
            .args(["--exact", "--nocapture"])
            .arg("unwind::tests::a_caught_panic_prints_nothing")
            .env(INNER, "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("panicked at").count(), 1, "{said}");
        assert!(said.contains("uncaught"), "{said}");
    }
}
