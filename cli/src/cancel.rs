//! Ctrl-C and SIGTERM: the first ends the work in order, the second at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::Context;
use l4sllm_model::files::remove_temporaries;

use crate::output::errln;
use crate::shipped;

static CANCEL: AtomicBool = AtomicBool::new(false);

/// How long work that leaves nothing behind may take to notice.
const GRACE: Duration = Duration::from_millis(500);

/// Set by Ctrl-C and by SIGTERM from now on.  For work whose parts are kept.
pub fn flag() -> anyhow::Result<&'static AtomicBool> {
    handle(|| {
        errln!("l4sllm: stopping; what is finished stays (again: stop at once)");
    })
}

/// The same for work that leaves nothing when it is interrupted, and ends even
/// where it waits for input: for a pipe or a FIFO, in which nothing arrives.
pub fn flag_or_exit() -> anyhow::Result<&'static AtomicBool> {
    handle(|| {
        std::thread::sleep(GRACE);
        errln!("l4sllm: interrupted");
        exit();
    })
}

/// A message at Ctrl-C and at SIGTERM, for programs that run until then.
pub fn signals() -> anyhow::Result<Receiver<()>> {
    let (send, receive) = channel();
    handle(move || {
        // Nobody waits any more: the program is ending.
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

fn exit() -> ! {
    remove_temporaries();
    shipped::remove();
    std::process::exit(130)
}
