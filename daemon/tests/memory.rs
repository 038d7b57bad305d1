//! Memory of scheduler instances, counted by the allocator. There is only one
//! test, because others in this process would be counted too.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use l4sllm_abi::{Message, Record, Summary, header, raw};
use l4sllm_model::Policy;
use l4sllmd::engine::{Input, PolicyEngine};
use l4sllmd::{Engine, Pipeline, PipelineConfig, Scheduler};

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

const INSTANCES: u32 = 1024;

/// Records of each instance: a window of the policy on records, and the next.
const RECORDS: u64 = 9;

/// Periods of each instance: more than the policy on summaries looks back.
const PERIODS: u64 = 40;

fn record(seq: u64, instance: u32) -> Message {
    let record = raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, seq),
        sched: 1,
        instance,
        ..Default::default()
    };
    Message::Decision(Record::try_from(record).unwrap())
}

/// A whole period of an instance.
fn summary(seq: u64, instance: u32, begin_ns: u64, period_ns: u64) -> Message {
    let summary = raw::l4s_summary {
        hdr: header(raw::L4S_RECORD_SUMMARY, seq, begin_ns + period_ns),
        sched: 1,
        instance,
        begin_ns,
        decisions: 10,
        target_ns: 15_000_000,
        tupdate_ns: 16_000_000,
        ..Default::default()
    };
    Message::Summary(Box::new(Summary::try_from(summary).unwrap()))
}

fn shipped(name: &str) -> Arc<Policy> {
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    Policy::load(&Path::new(policies).join(name)).unwrap()
}

/// Bytes of an instance after `rounds` messages to each of twice the maximum of
/// instances.
fn bytes_each(
    policy: &Arc<Policy>,
    config: PipelineConfig,
    rounds: u64,
    message: impl Fn(u64, u64, u32) -> Message,
) -> usize {
    let (policy, interval) = (Arc::clone(policy), config.interval);
    let make = move |_: Scheduler| -> Box<dyn Engine> {
        Box::new(PolicyEngine::new(Arc::clone(&policy), interval, 0))
    };
    let mut pipeline = Pipeline::new(config, make);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut seq = 0;
    for round in 0..rounds {
        for instance in 0..2 * INSTANCES {
            let mut plan = l4sllmd::Plan::all();
            pipeline.decide(&message(round, seq, instance), &mut plan);
            seq += 1;
        }
    }
    let c = pipeline.metrics().counters;
    assert_eq!(c.instances, u64::from(INSTANCES));
    assert_eq!(c.unrouted, rounds * u64::from(INSTANCES));
    (ALLOCATED.load(Ordering::Relaxed) - before) / INSTANCES as usize
}

/// The manual states these numbers: l4sllmd(8), "Memory".
#[test]
fn memory_of_1000_instances_matches_the_manual() {
    let base = || PipelineConfig {
        max_instances: INSTANCES as usize,
        ..PipelineConfig::default()
    };
    let policy = shipped("default");
    for (interval, most) in [(100, 80_000), (10, 80_000), (1, 600_000)] {
        let config = PipelineConfig {
            interval: NonZeroU32::new(interval).unwrap(),
            ..base()
        };
        let each = bytes_each(&policy, config, RECORDS, |_, seq, of| record(seq, of));
        println!("interval {interval}: {each} bytes an instance");
        assert!(each < most, "interval {interval}: {each} bytes an instance");
    }
    let policy = shipped("context");
    let period_ns = policy.config().period_ns().unwrap();
    let config = PipelineConfig {
        input: Input::Summaries,
        ..base().with_period(period_ns)
    };
    let each = bytes_each(&policy, config, PERIODS, |round, seq, of| {
        summary(seq, of, round * period_ns, period_ns)
    });
    println!("context: {each} bytes an instance");
    assert!(each < 80_000, "context: {each} bytes an instance");
}
