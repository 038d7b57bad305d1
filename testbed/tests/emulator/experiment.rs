//! Arms times repetitions into a directory.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use l4sllm_model::EngineOptions;
use l4sllm_testbed::experiment::{Options, Progress, run};
use l4sllm_testbed::result::Summary;
use l4sllm_testbed::scenario::Scenario;

fn smoke() -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/smoke.toml");
    Scenario::load(&file).unwrap()
}

/// Whatever a policy needs.
static NEEDED: EngineOptions = EngineOptions {
    engine: None,
    device: None,
    precision: None,
    threads: 1,
};

fn options<'a>(
    threads: usize,
    cancel: &'a AtomicBool,
    progress: &'a (dyn Fn(Progress) + Sync),
) -> Options<'a> {
    Options {
        threads,
        engine: &NEEDED,
        force: false,
        cancel,
        progress,
    }
}

fn without_wall_time(mut summary: Summary) -> Summary {
    for arm in &mut summary.arms {
        arm.pooled.wall_s = 0.0;
        for repetition in &mut arm.repetitions {
            repetition.statistics.wall_s = 0.0;
        }
    }
    summary
}

#[test]
fn threads_change_nothing_and_progress_is_told() {
    let scenario = smoke();
    let cancel = AtomicBool::new(false);
    let last = Mutex::new(None);
    let progress = |progress: Progress| *last.lock().unwrap() = Some(progress);
    let summaries = [1, 2].map(|threads| {
        let out = tempfile::tempdir().unwrap();
        let summary = run(&scenario, out.path(), options(threads, &cancel, &progress)).unwrap();
        assert!(summary.complete);
        assert!(out.path().join("summary.json").exists());
        without_wall_time(summary)
    });
    assert_eq!(summaries[0], summaries[1]);
    assert_eq!(summaries[0].arms.len(), 3);
    let last = last.lock().unwrap().unwrap();
    assert_eq!(
        (last.finished, last.repetitions, last.total_ns),
        (6, 6, 18_000_000_000)
    );
}

/// A cancelled run leaves a valid part, and a later one goes on with it.
#[test]
fn cancelled_and_resumed() {
    let scenario = smoke();
    let out = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let stop_after_one = |progress: Progress| {
        if progress.finished == 1 {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let partial = run(&scenario, out.path(), options(1, &cancel, &stop_after_one)).unwrap();
    assert!(!partial.complete);
    assert_eq!(
        partial
            .arms
            .iter()
            .map(|arm| arm.repetitions.len())
            .sum::<usize>(),
        1
    );
    cancel.store(false, Ordering::Relaxed);
    let left = Mutex::new(0);
    let progress = |progress: Progress| *left.lock().unwrap() = progress.repetitions;
    let whole = run(&scenario, out.path(), options(1, &cancel, &progress)).unwrap();
    assert!(whole.complete);
    assert_eq!(*left.lock().unwrap(), 5);
}

#[test]
fn a_policy_that_does_not_load() {
    let mut scenario = smoke();
    let control =
        l4sllm_testbed::scenario::Control::new("no/policy".as_ref(), 10.try_into().unwrap());
    scenario.arms[0].control = Some(control);
    let out = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let error = run(&scenario, out.path(), options(1, &cancel, &|_| {})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "arm dualpi2: cannot load the policy in no/policy"
    );
}
