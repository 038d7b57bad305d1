//! Ctrl-C: the first ends the work in order, the second at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::output::errln;

static CANCEL: AtomicBool = AtomicBool::new(false);

/// Set by Ctrl-C and by SIGTERM from now on.
pub fn flag() -> anyhow::Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if CANCEL.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        errln!("l4sllm: stopping; what is finished stays (again: stop at once)");
    })
    .context("cannot catch Ctrl-C")?;
    Ok(&CANCEL)
}
