//! Servers that answer late, wrongly or never: the queue falls back within one
//! interval, every request is counted, memory does not grow, and the server decides
//! again once it is well. There is only one test, because others in this process
//! would be counted in the memory too.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/hostile.rs"]
mod server;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{MS, PERIOD_MS, client, connected, message, on_summaries, options, until};
use l4sllm_remote::client::{Client, ClientOptions, Counters};
use l4sllmd::engine::{Adaptive, AdaptiveConfig, Fallback, RemoteEngine};
use l4sllmd::{Pipeline, PipelineConfig};
use server::{Hostile, Mode};

/// Counts allocated memory.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Time for an answer.
const DEADLINE: Duration = Duration::from_millis(50);

/// Time for a connection.
const CONNECT: Duration = Duration::from_millis(200);

/// Intervals of each behaviour.
const INTERVALS: u64 = 12;

/// Memory that may remain after further rounds, bytes.
const GROWTH: usize = 1 << 20;

/// A behaviour, and the counter that shows it.
type Case = (&'static str, Mode, fn(&Counters) -> u64);

const CASES: [Case; 16] = [
    ("never answers", Mode::Never, |c| c.abandoned),
    ("answers late", Mode::Late, |c| c.late),
    ("fails", Mode::Fails, |c| c.failed),
    ("is overloaded", Mode::Overloaded, |c| c.failed),
    ("has other names", Mode::Name, |c| c.invalid),
    ("has another type", Mode::Type, |c| c.invalid),
    ("has another shape", Mode::Shape, |c| c.invalid),
    ("has too few bytes", Mode::Short, |c| c.invalid),
    ("answers NaN", Mode::NaN, |c| c.invalid),
    ("answers enormously", Mode::Enormous, |c| c.invalid),
    ("closes in the middle", Mode::Closes, |c| c.failed),
    ("is no server of the protocol", Mode::Garbage, |c| c.refused),
    ("has other metadata", Mode::Metadata, |c| c.refused),
    ("is silent to ModelReady", Mode::SilentReady, |c| c.refused),
    ("is silent to ModelMetadata", Mode::SilentMetadata, |c| {
        c.refused
    }),
    ("freezes", Mode::Frozen, |c| c.refused),
];

/// A pipeline whose next interval is numbered.
struct Queue {
    pipeline: Pipeline,
    client: Client,
    next: u64,
}

impl Queue {
    fn new(client: Client) -> Queue {
        let config = PipelineConfig::default().with_period(MS * u64::from(PERIOD_MS));
        let engine_client = client.clone();
        let pipeline = Pipeline::new(config, move |_| {
            let config = Arc::new(on_summaries().config().clone());
            let engine = RemoteEngine::new(engine_client.clone(), config, 1, DEADLINE, 0);
            let rule = Adaptive::new(AdaptiveConfig::default());
            Box::new(Fallback::new(Box::new(engine), rule))
        });
        Queue {
            pipeline,
            client,
            next: 0,
        }
    }

    /// Ends an interval; true if an override follows immediately.
    fn interval(&mut self) -> bool {
        let index = self.next;
        self.next += 1;
        let now = MS * u64::from(PERIOD_MS) * (index + 1);
        let order = self.pipeline.push(&message(index), now);
        self.check();
        order.is_some()
    }

    /// Takes the answers so far; true if one decided.
    fn answers(&mut self) -> bool {
        let mut decided = false;
        while self.pipeline.ready().is_some() {
            decided = true;
        }
        self.check();
        decided
    }

    fn check(&self) {
        assert_eq!(self.client.counters().imbalance(), None);
        // Overrides are not sent here.
        let counters = self.pipeline.metrics().counters;
        let ended = counters.decisions + counters.skipped + counters.awaited;
        assert_eq!(counters.due + counters.unscheduled, ended);
    }

    /// Waits until the server decides again.
    fn recovers(&mut self, name: &str) {
        until(name, || {
            self.interval();
            let end = std::time::Instant::now() + DEADLINE;
            while std::time::Instant::now() < end {
                if self.answers() {
                    return Some(());
                }
                std::thread::yield_now();
            }
            None
        });
    }
}

#[test]
fn hostile_servers_leave_the_queue_to_the_fallback() {
    let policy = on_summaries();
    let hostile = Hostile::start(&policy);
    let options = ClientOptions {
        connect: CONNECT,
        ..options(hostile.address, "periods")
    };
    let client = client(options, &policy);
    connected(&client);
    let mut queue = Queue::new(client.clone());
    // The rule decides before the first answer.
    assert!(queue.interval());
    let mut sizes = Vec::new();
    for _ in 0..3 {
        for (name, mode, counter) in CASES {
            queue.recovers(name);
            let before = counter(&client.counters());
            hostile.set(mode);
            queue.interval();
            // The rule decides at the latest one interval after the first request
            // without an answer.
            assert!(queue.interval(), "{name}: no decision of the fallback");
            for _ in 0..INTERVALS {
                assert!(queue.interval(), "{name}: no decision of the fallback");
                assert!(!queue.answers(), "{name}: decided");
            }
            until(name, || {
                queue.interval();
                (counter(&client.counters()) > before).then_some(())
            });
            hostile.set(Mode::Honest);
        }
        queue.recovers("the end");
        sizes.push(ALLOCATED.load(Ordering::Relaxed));
    }
    let growth = sizes[2].saturating_sub(sizes[1]);
    assert!(growth < GROWTH, "{growth} bytes more after another round");
    let counters = client.counters();
    assert!(counters.connects > 3 && counters.missed > 3, "{counters:?}");
}

#[test]
fn an_overloaded_server_keeps_its_connections() {
    let policy = on_summaries();
    let hostile = Hostile::start(&policy);
    let client = client(options(hostile.address, "periods"), &policy);
    connected(&client);
    let mut queue = Queue::new(client.clone());
    queue.recovers("the start");
    let before = client.counters();
    hostile.set(Mode::Overloaded);
    until("refusals", || {
        queue.interval();
        (client.counters().failed >= before.failed + 5).then_some(())
    });
    hostile.set(Mode::Honest);
    queue.recovers("the end");
    assert_eq!(client.counters().connects, before.connects);
}
