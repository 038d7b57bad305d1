//! Settings of the operator take effect while records flow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use l4sllm_abi::bytes::as_bytes;
use l4sllm_abi::{header, raw};
use l4sllmd::advice::{Advice, AdviceError, Source};
use l4sllmd::engine::Preset;
use l4sllmd::status::{self, EngineStatus};

use crate::fake::{Fake, Read};
use crate::harness::{DEADLINE, Place, Running, new_daemon, until};

/// Returns the next advice on each read, and then fails.
#[derive(Debug)]
struct Script(VecDeque<Advice>);

impl Source for Script {
    fn read(&mut self) -> Result<Advice, AdviceError> {
        let end = || AdviceError::Read {
            name: "net.inet.l4sllm.interval",
            source: std::io::ErrorKind::NotFound.into(),
        };
        self.0.pop_front().ok_or_else(end)
    }
}

fn records(seqs: std::ops::Range<u64>) -> Read {
    Read::Bytes(seqs.flat_map(Fake::record).collect())
}

/// The event caused by a write to one of the module's sysctls.
fn event(seq: u64, code: u32) -> Read {
    let event = raw::l4s_event {
        hdr: header(raw::L4S_RECORD_EVENT, seq, 1_000_000 * seq),
        code,
        ..Default::default()
    };
    Read::Bytes(as_bytes(&event).to_vec())
}

#[test]
fn change_takes_effect_at_its_event_and_the_stream_continues() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\ninterval = 10\n[[engine.script]]\nat_ms = 0\naction = \"mark\"",
    );
    let _device = Fake::start(
        &place,
        vec![
            records(0..5), // a decision is due: 5 is set at the start
            event(5, raw::L4S_EVENT_PARAMS),
            records(6..8), // 2 now
            records(8..10),
            event(10, raw::L4S_EVENT_LIMITS), // no reason to ask
            event(11, raw::L4S_EVENT_PARAMS), // beyond the device's limits: 2 stays
            records(12..14),
            event(14, raw::L4S_EVENT_PARAMS), // cannot be read: 2 stays
            records(15..17),
        ],
    );
    let asked = [(5, "config", 0), (2, "hold", 1000), (3, "hold", 1001)];
    let script = asked.map(|(interval, mode, hold)| Advice::of_values(interval, 0, mode, hold));
    let source = Script(script.into_iter().map(Result::unwrap).collect());

    let path = place.path("l4sllmd.toml");
    let daemon = new_daemon(path)
        .with_advice(Box::new(source))
        .with_patience(10 * DEADLINE); // events must announce the change
    let daemon = Running::start(daemon);

    let status = until("all messages", || {
        let status = status::ask(&place.path("status")).ok()?;
        (status.counters.messages == 17).then_some(status)
    });
    let c = &status.counters;
    assert_eq!(status.interval, 2);
    assert_eq!(c.due, 1 + 2 + 1 + 1);
    assert_eq!((c.records, c.events), (13, 4));
    assert_eq!((c.gaps, c.lost, c.torn_reads, c.resets), (0, 0, 0, 0));
    assert_eq!(status.device.opened, 1);
    daemon.stop();
}

/// Returns the advice that was set.
#[derive(Debug)]
struct Dial(Arc<Mutex<Advice>>);

impl Source for Dial {
    fn read(&mut self) -> Result<Advice, AdviceError> {
        Ok(*self.0.lock().unwrap())
    }
}

/// The current interval continues: it ends after ten records, six of them
/// before the change.
#[test]
fn idle_budget_change_needs_no_restart() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\ninterval = 10\n[[engine.script]]\nat_ms = 0\ntarget = 0.5",
    );
    let _device = Fake::start(
        &place,
        vec![
            records(0..6),
            event(6, raw::L4S_EVENT_PARAMS),
            records(7..11),
        ],
    );
    let asked = [0, 20_000].map(|of| Advice::default().with_idle_budget(of));
    let source = Script(asked.into_iter().map(Result::unwrap).collect());
    let daemon = new_daemon(place.path("l4sllmd.toml"))
        .with_advice(Box::new(source))
        .with_patience(10 * DEADLINE);
    let daemon = Running::start(daemon);
    let status = until("all messages", || {
        let status = status::ask(&place.path("status")).ok()?;
        (status.counters.messages == 11).then_some(status)
    });
    assert_eq!(status.idle_budget, Some(0.02));
    assert_eq!((status.counters.due, status.counters.decisions), (1, 1));
    daemon.stop();
}

#[test]
fn change_takes_effect_without_packets() {
    let place = Place::new();
    place.configure(
        "",
        "[pipeline]\ninterval = 10\n[[engine.script]]\nat_ms = 0\naction = \"mark\"",
    );
    let _device = Fake::start(&place, vec![]);
    let path = place.path("l4sllmd.toml");
    let dial = Arc::new(Mutex::new(Advice::default()));
    let daemon = new_daemon(path)
        .with_advice(Box::new(Dial(Arc::clone(&dial))))
        .with_patience(Duration::from_millis(5));
    let daemon = Running::start(daemon);
    let interval = |wanted| {
        until("the interval", || {
            let status = status::ask(&place.path("status")).ok()?;
            (status.interval == wanted && status.device.opened == 1).then_some(())
        });
    };
    interval(10);
    *dial.lock().unwrap() = Advice::of_values(7, 0, "config", 0).unwrap();
    interval(7);
    *dial.lock().unwrap() = Advice::default();
    interval(10);
    daemon.stop();
}

#[test]
fn adaptive_rule_decides_while_requested() {
    let place = Place::new();
    place.configure("", "[[engine.script]]\nat_ms = 0\naction = \"mark\"");
    let _device = Fake::start(&place, vec![]);
    let dial = Arc::new(Mutex::new(Advice::default()));
    let daemon = new_daemon(place.path("l4sllmd.toml"))
        .with_advice(Box::new(Dial(Arc::clone(&dial))))
        .with_patience(Duration::from_millis(5));
    let daemon = Running::start(daemon);
    let engine = |wanted: EngineStatus| {
        until("the engine", || {
            let status = status::ask(&place.path("status")).ok()?;
            (status.engine == wanted && status.device.opened == 1).then_some(())
        });
    };
    engine(EngineStatus::Script { steps: 1 });
    *dial.lock().unwrap() = Advice::default().with_engine("adaptive").unwrap();
    engine(EngineStatus::Adaptive {
        preset: Preset::default().name().to_owned(),
    });
    *dial.lock().unwrap() = Advice::default();
    engine(EngineStatus::Script { steps: 1 });
    daemon.stop();
}
