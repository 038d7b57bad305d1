//! Servers in Python whose model returns the first features of the newest period.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use l4sllm_model::{Policy, WindowSession};
use l4sllm_remote::client::Progress;

use crate::common::{client, on_records, options, summary, until};

/// Time for a server to start.
const START: Duration = Duration::from_secs(120);

/// Time for a server to end when its input ends.
const END: Duration = Duration::from_secs(60);

/// The Python named by an environment variable, by default `python3`, if it has a
/// module.
pub fn python(variable: &str, module: &str) -> Option<String> {
    let python = std::env::var(variable).unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server, and the directory of its log.
pub struct Running<'a> {
    child: Child,
    dir: &'a Path,
    reads_input: bool,
}

impl Running<'_> {
    /// Starts a server whose output is logged in `dir`. One that reads its input ends
    /// its own processes and itself when the input ends; others are killed.
    pub fn start<'a>(command: &mut Command, dir: &'a Path, reads_input: bool) -> Running<'a> {
        let log = File::create(dir.join("log")).unwrap();
        let child = command
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Running {
            child,
            dir,
            reads_input,
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Checks connection, metadata and decisions.
    pub fn check(&mut self, port: u16, policy: &Arc<Policy>) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let name = &policy.config().name;
        let asking = client(options(address, name), policy);
        let since = Instant::now();
        while !asking.is_connected() {
            let ended = self.child.try_wait().unwrap();
            let waits = ended.is_none() && since.elapsed() < START;
            assert!(waits, "not connected: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        let config = Arc::new(policy.config().clone());
        let mut session = WindowSession::new(config, 1);
        for index in 0..10 {
            let window = session.observe_summary(&summary(index)).unwrap();
            let ticket = asking.submit(&window, Duration::from_secs(30)).unwrap();
            let outputs = until("answer", || match ticket.progress() {
                Progress::Answered(outputs) => Some(outputs),
                progress => {
                    assert_ne!(progress, Progress::Ended, "no answer: {}", self.said());
                    None
                }
            });
            let width = policy.config().inputs();
            let newest = &window.inputs[window.inputs.len() - width..][..8];
            assert_eq!(outputs, *newest, "to the bit");
        }
        assert_eq!(asking.counters().answered, 10);
        // A policy with other tensors is refused when it connects.
        let other = client(options(address, name), &on_records());
        until("refusal", || (other.counters().refused >= 1).then_some(()));
        assert!(!other.is_connected());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let since = Instant::now();
        while self.reads_input && since.elapsed() < END {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                _ => break,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
