//! A session allocates nothing per record once it is created.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{config, policy, records, vary_paths};
use l4sllm_model::{Chooser, DecisionRule, Feature, Session};

struct Counting;

// Per thread: the test harness may allocate at any time.
thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn decisions_do_not_allocate_per_record() {
    let mut config = config(&Feature::PAPER8);
    vary_paths(&mut config);
    let (policy, _) = policy(&config, 1);
    let stream = records(300, 2);
    for interval in [1, 10, 100] {
        let mut session = Session::new(policy.clone(), interval);
        let mut chooser = Chooser::new(DecisionRule::Recur, 0);
        let before = ALLOCATIONS.get();
        for record in &stream {
            if let Some(probabilities) = session.observe(record).unwrap() {
                chooser.choose(record.queue(), &probabilities);
            }
        }
        session.reset();
        assert_eq!(ALLOCATIONS.get() - before, 0, "interval {interval}");
    }
}
