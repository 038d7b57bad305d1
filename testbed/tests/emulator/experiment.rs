//! Running arms and repetitions into a directory.

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

/// A minimal policy.
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
        capture: None,
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
fn results_do_not_depend_on_threads_and_progress_is_reported() {
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

/// A cancelled run leaves a valid part, and a later one resumes it.
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

/// Repetitions left by an interrupted run have every arm, or all except the
/// last ones.
#[test]
fn an_interrupted_run_can_be_compared() {
    let scenario = smoke();
    let out = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let stop_after_four = |progress: Progress| {
        if progress.finished == 4 {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let partial = run(&scenario, out.path(), options(1, &cancel, &stop_after_four)).unwrap();
    let finished: Vec<usize> = partial
        .arms
        .iter()
        .map(|arm| arm.repetitions.len())
        .collect();
    assert_eq!(finished, [2, 1, 1]);
}

/// A meaningless scenario: the result reports it with the reason.
#[test]
fn meaningless_runs_are_flagged() {
    let codes = |scenario: &Scenario| {
        let out = tempfile::tempdir().unwrap();
        let cancel = AtomicBool::new(false);
        let summary = run(scenario, out.path(), options(1, &cancel, &|_| {})).unwrap();
        let stored = l4sllm_testbed::result::Stored::open(out.path()).unwrap();
        assert_eq!(stored.summary.warnings, summary.warnings);
        let codes = summary.warnings.into_iter();
        codes
            .map(|warning| (warning.code, warning.arm))
            .collect::<Vec<_>>()
    };
    let text = |access: &str, load: &str, start: &str| {
        let text = format!(
            "duration = \"2 s\"\nrtt = \"10 ms\"\n[bottleneck]\nrate = \"10 Mbit/s\"\n\
             [[client]]\nname = \"c\"\nrate = \"{access}\"\n\
             [[flow]]\ncc = \"udp\"\nrate = \"{load}\"\n\
             [[flow]]\nname = \"late\"\ncc = \"udp\"\nrate = \"{load}\"\nstart = \"{start}\"\n\
             [[arm]]\naqm = \"dualpi2\"\n"
        );
        Scenario::parse(Path::new("t.toml"), &text).unwrap()
    };
    let of_arm = |code: &str| (code.to_owned(), Some("dualpi2".to_owned()));
    assert_eq!(codes(&text("100 Mbit/s", "6 Mbit/s", "0 s")), []);
    assert_eq!(
        codes(&text("10 Mbit/s", "1 Mbit/s", "2 s")),
        [
            ("bottleneck-not-slowest".to_owned(), None),
            of_arm("queue-never-built"),
            of_arm("flow-never-started"),
        ]
    );
    // A temporary queue counts.
    assert_eq!(
        codes(&text("100 Mbit/s", "6 Mbit/s", "2 s")),
        [of_arm("queue-never-built"), of_arm("flow-never-started")]
    );
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
