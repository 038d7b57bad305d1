//! More records than the daemon can decide on: control stays responsive, and
//! decisions are on new records.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use l4sllm_abi::{Action, Record};
use l4sllm_model::{Feature, Policy, PolicyConfig, Tensors, small_gpt2};
use l4sllmd::status::{self, Status};
use l4sllmd::{Decision, Engine};
use nix::sys::signal::Signal;

use crate::flood::{Flood, Supply};
use crate::harness::{DEADLINE, Place, Program, Running, new_daemon, policy_section, until};

/// The guaranteed response time of the control task.
const PROMPT: Duration = Duration::from_millis(100);

/// Marks after every `interval` records.
struct Marks {
    interval: u32,
    records: u32,
}

impl Engine for Marks {
    fn observe(&mut self, _: &Record) -> Option<Decision> {
        self.records += 1;
        (self.records % self.interval == 0).then_some(Decision::Action {
            action: Action::Mark,
            probabilities: [0.0, 0.0, 1.0],
        })
    }

    fn reset(&mut self) {
        self.records = 0;
    }
}

/// Queries the status several times, and returns the last answer and the median
/// time; a single slow answer is attributed to the test machine.
fn ask(place: &Place, times: usize) -> (Status, Duration) {
    let mut took = Vec::new();
    let mut last = None;
    for _ in 0..times {
        let before = Instant::now();
        last = Some(status::ask(&place.path("status")).unwrap());
        took.push(before.elapsed());
    }
    took.sort();
    (last.unwrap(), took[times / 2])
}

/// Ten intervals arrive during one decision. They fit in one read, so the
/// test does not depend on the timing of a second read.
#[test]
fn at_ten_times_capacity_it_decides_on_the_newest_and_answers_status() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\ninterval = 5\n[[engine.script]]\nat_ms = 0\naction = \"mark\"",
    );
    let flood = Flood::start(&place, Supply::PerOverride(50));
    let engines = |_| -> Box<dyn Engine> {
        Box::new(Marks {
            interval: 5,
            records: 0,
        })
    };
    let daemon = Running::start(new_daemon(place.path("l4sllmd.toml")).with_engines(engines));
    until("decisions", || {
        let status = status::ask(&place.path("status")).ok()?;
        (status.counters.accepted >= 100).then_some(())
    });
    let (status, median) = ask(&place, 21);
    assert!(median < PROMPT, "{median:?}");
    daemon.stop();

    let passed = flood.state();
    let (last, rest) = passed.overrides.split_last().unwrap();
    for (based_on, newest) in rest.iter().chain([last]) {
        assert_eq!(based_on, newest, "an older interval was decided on");
    }
    let c = &status.counters;
    assert!(c.decisions >= 100);
    // All except the current turn.
    assert!(c.due.abs_diff(10 * c.decisions) <= 10, "{c:?}");
    assert!(c.skipped_behind.abs_diff(9 * c.decisions) <= 10, "{c:?}");
    assert_eq!(c.records_behind, 5 * c.skipped_behind);
    assert_eq!(c.skipped, c.skipped_behind);
    assert_eq!((c.lost, c.gaps, c.resets, c.stale), (0, 0, 0, 0), "{c:?}");
    assert_eq!(c.imbalance(), None);
}

/// Decides when allowed to.
struct Gated {
    begun: Sender<()>,
    gate: Arc<Mutex<Receiver<()>>>,
}

impl Engine for Gated {
    fn observe(&mut self, _: &Record) -> Option<Decision> {
        let _ = self.begun.send(());
        let _ = self.gate.lock().unwrap().recv();
        None
    }

    fn reset(&mut self) {}
}

#[test]
fn endless_decision_does_not_block_control() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\ninterval = 1\n[[engine.script]]\nat_ms = 0\naction = \"mark\"",
    );
    let _flood = Flood::start(&place, Supply::Endless);
    let ((begun, begins), (open, gate)) = (channel(), channel());
    let gate = Arc::new(Mutex::new(gate));
    let engines = move |_| -> Box<dyn Engine> {
        Box::new(Gated {
            begun: begun.clone(),
            gate: Arc::clone(&gate),
        })
    };
    let daemon = new_daemon(place.path("l4sllmd.toml")).with_engines(engines);
    let daemon = Running::start(daemon);
    begins.recv_timeout(DEADLINE).unwrap();
    let (status, median) = ask(&place, 21);
    assert!(median < PROMPT, "{median:?}");
    assert_eq!(status.counters.decisions, 0);
    assert!(status.deciding_s > 0.0);
    daemon.stop();
    drop(open);
}

/// A policy with slow decisions.
fn slow_policy(place: &Place) -> std::path::PathBuf {
    let mut config = PolicyConfig::new("slow", &Feature::PAPER7);
    config.backbone = small_gpt2(3, 256, 4, 1024);
    let path = place.path("slow");
    Policy::save(&path, &config, &Tensors::random(&config, 1).unwrap()).unwrap();
    path
}

#[test]
fn signals_and_reloads_work_under_endless_records() {
    let place = Place::new();
    let sections = |interval| {
        format!(
            "{}\n[pipeline]\ninterval = {interval}",
            policy_section(&slow_policy(&place))
        )
    };
    place.configure("", &sections(20));
    let _flood = Flood::start(&place, Supply::Endless);
    let mut program = Program::start(&place);
    let before = program.status("decisions", |s| s.counters.accepted > 0);
    assert!(before.counters.skipped_behind > 0, "{:?}", before.counters);
    let (_, median) = ask(&place, 21);
    assert!(median < PROMPT, "{median:?}");
    place.configure("", &sections(25));
    program.signal(Signal::SIGHUP);
    program.log("reloaded");
    program.status("decisions after it", |s| {
        s.interval == 25 && s.counters.accepted > before.counters.accepted
    });
    let signalled = Instant::now();
    program.signal(Signal::SIGTERM);
    program.end_with(0);
    let took = signalled.elapsed();
    // Time for the current decision, and tolerance for the test machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let stopped = program.log("stopped");
    assert_eq!(stopped["why"], "SIGTERM");
}
