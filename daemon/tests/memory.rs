//! Memory of scheduler instances, counted by the allocator. There is only one
//! test, because others in this process would be counted too.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use l4sllm_abi::{Message, Record, header, raw};
use l4sllm_model::Policy;
use l4sllmd::engine::PolicyEngine;
use l4sllmd::{Engine, Pipeline, PipelineConfig, Scheduler};

/// Counts allocated memory.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system's allocator's; counting changes nothing.
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

/// Records of each instance: a window of the shipped policy, and the next.
const RECORDS: u64 = 9;

fn record(seq: u64, instance: u32) -> Message {
    let record = raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, seq),
        sched: 1,
        instance,
        ..Default::default()
    };
    Message::Decision(Record::try_from(record).unwrap())
}

/// The manual states these numbers: l4sllmd(8), "Memory".
#[test]
fn a_thousand_instances_take_what_the_manual_states() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/default");
    let policy = Policy::load(shipped.as_ref()).unwrap();
    for (interval, most) in [(100, 80_000), (10, 80_000), (1, 600_000)] {
        let interval = NonZeroU32::new(interval).unwrap();
        let policy = Arc::clone(&policy);
        let make = move |_: Scheduler| -> Box<dyn Engine> {
            Box::new(PolicyEngine::new(Arc::clone(&policy), interval, 0))
        };
        let config = PipelineConfig {
            interval,
            max_instances: INSTANCES as usize,
            ..PipelineConfig::default()
        };
        let mut pipeline = Pipeline::new(config, make);
        let before = ALLOCATED.load(Ordering::Relaxed);
        // Twice the maximum, each with a partial window.
        let mut seq = 0;
        for _ in 0..RECORDS {
            for instance in 0..2 * INSTANCES {
                let mut plan = l4sllmd::Plan::all();
                pipeline.decide(&record(seq, instance), &mut plan);
                seq += 1;
            }
        }
        let c = pipeline.metrics().counters;
        assert_eq!(c.instances, u64::from(INSTANCES));
        assert_eq!(c.unrouted, RECORDS * u64::from(INSTANCES));
        let each = (ALLOCATED.load(Ordering::Relaxed) - before) / INSTANCES as usize;
        println!("interval {interval}: {each} bytes an instance");
        assert!(each < most, "interval {interval}: {each} bytes an instance");
    }
}
