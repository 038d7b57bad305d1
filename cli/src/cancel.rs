//! Ctrl-C and SIGTERM: the first signal stops the work cleanly, the second
//! immediately.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use l4sllm_model::files::remove_temporaries;

use crate::output::errln;
use crate::shipped;

static CANCEL: AtomicBool = AtomicBool::new(false);

/// Time that work without partial output may take to notice a signal.
const GRACE: Duration = Duration::from_millis(500);

/// Returns a flag that is set by Ctrl-C and SIGTERM. For work with partial
/// output.
pub fn flag() -> anyhow::Result<&'static AtomicBool> {
    handle(|| {
        errln!("l4sllm: stopping; finished work is kept (press again to stop immediately)");
    })
}

/// Like [`flag`], for work without partial output, which ends even while
/// waiting for input from a pipe or FIFO.
pub fn flag_or_exit() -> anyhow::Result<&'static AtomicBool> {
    handle(|| {
        std::thread::sleep(GRACE);
        errln!("l4sllm: interrupted");
        exit();
    })
}

/// Returns a channel that receives a message on Ctrl-C and SIGTERM, for
/// programs that run until then.
pub fn signals() -> anyhow::Result<Receiver<()>> {
    let (send, receive) = channel();
    handle(move || {
        // Without a receiver, the program is already ending.
        let _ = send.send(());
    })?;
    Ok(receive)
}

fn handle(first: impl Fn() + Send + 'static) -> anyhow::Result<&'static AtomicBool> {
    ctrlc::set_handler(move || {
        if CANCEL.swap(true, Ordering::Relaxed) {
            exit();
        }
        first();
    })
    .context("cannot catch Ctrl-C")?;
    Ok(&CANCEL)
}

/// Action of the second signal before it ends the program.
static CLEANUP: Mutex<Option<fn()>> = Mutex::new(None);

/// Sets what the second signal does before it ends the program, such as restoring
/// the terminal; `None` for nothing.
pub fn set_cleanup(cleanup: Option<fn()>) {
    *CLEANUP.lock().unwrap_or_else(PoisonError::into_inner) = cleanup;
}

fn exit() -> ! {
    let cleanup = *CLEANUP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cleanup) = cleanup {
        cleanup();
    }
    remove_temporaries();
    shipped::remove();
    std::process::exit(130)
}
