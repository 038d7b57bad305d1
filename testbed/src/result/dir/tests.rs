use super::*;
use crate::result::fixture::{Shape, facts, run};
use crate::result::{Stored, summarise};

const ARMS: [(&str, Option<u32>); 2] = [("dualpi2", None), ("l4sllm-10", Some(10))];
const SHAPE: Shape = Shape {
    classic_ns: 15_000_000,
    l4s_ns: 900_000,
    idle: 2,
    interval: Some(10),
};

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn results_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap();
    let made = run(5, 3, SHAPE);
    assert_eq!(out.add("dualpi2", 0, &made).unwrap(), summarise(0, &made));
    let stored = Stored::open(dir.path()).unwrap();
    assert_eq!(stored.facts, facts(&ARMS, 1));
    assert_eq!(stored.summary, out.summary());
    assert_eq!(stored.run("dualpi2", 0).unwrap(), made);
    assert_eq!(
        bytes(&dir.path().join("scenario/made-up.toml")),
        facts(&ARMS, 1).scenario_toml.as_bytes()
    );
}

#[test]
fn a_killed_run_leaves_a_valid_partial_result_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 2), false).unwrap();
    out.add("l4sllm-10", 1, &run(1, 3, SHAPE)).unwrap();
    drop(out);
    // Killed in the middle of the next repetition, and of a summary.
    let torn = dir.path().join("arms/dualpi2/0.a1B2c3D4.part");
    fs::create_dir_all(&torn).unwrap();
    fs::write(torn.join("packets.parquet"), b"PAR1").unwrap();
    let summary_torn = dir.path().join("summary.json.a1B2c3D4.part");
    fs::write(&summary_torn, b"{").unwrap();

    let partial = Stored::open(dir.path()).unwrap().summary;
    assert!(!partial.complete);
    assert_eq!(partial.arms.len(), 1);
    assert_eq!(partial.arms[0].repetitions[0].repetition, 1);

    let out = ResultDir::create(dir.path(), facts(&ARMS, 2), false).unwrap();
    assert!(out.is_finished("l4sllm-10", 1) && !out.is_finished("dualpi2", 0));
    for (arm, repetition) in [("dualpi2", 0), ("dualpi2", 1), ("l4sllm-10", 0)] {
        out.add(arm, repetition, &run(u64::from(repetition), 3, SHAPE))
            .unwrap();
    }
    let summary = Stored::open(dir.path()).unwrap().summary;
    assert!(summary.complete);
    assert_eq!(
        summary
            .arms
            .iter()
            .map(|arm| arm.repetitions.len())
            .sum::<usize>(),
        4
    );
    assert!(!torn.exists() && !summary_torn.exists());
}

#[test]
fn result_is_independent_of_arrival_order() {
    let places = [
        ("dualpi2", 0),
        ("dualpi2", 1),
        ("l4sllm-10", 0),
        ("l4sllm-10", 1),
    ];
    let write = |order: &[usize]| {
        let dir = tempfile::tempdir().unwrap();
        let out = ResultDir::create(dir.path(), facts(&ARMS, 2), false).unwrap();
        std::thread::scope(|scope| {
            for &index in order {
                let (arm, repetition) = places[index];
                let out = &out;
                scope.spawn(move || {
                    out.add(arm, repetition, &run(index as u64, 2, SHAPE))
                        .unwrap()
                });
            }
        });
        // On a slow machine, later repetitions do not rewrite the summary.
        out.write_pending().unwrap();
        let files = [
            "summary.json",
            "facts.json",
            "arms/dualpi2/1/packets.parquet",
        ];
        files.map(|name| bytes(&dir.path().join(name)))
    };
    assert_eq!(write(&[0, 1, 2, 3]), write(&[3, 1, 0, 2]));
}

#[test]
fn unrelated_files_are_kept_with_and_without_force() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), b"years of work").unwrap();
    let error = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap_err();
    assert!(matches!(error, ResultError::Occupied { .. }), "{error}");
    assert!(!dir.path().join(FACTS).exists());
    ResultDir::create(dir.path(), facts(&ARMS, 1), true).unwrap();
    assert_eq!(bytes(&dir.path().join("thesis.tex")), b"years of work");
}

#[test]
fn another_run_is_replaced_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap();
    out.add("dualpi2", 0, &run(1, 2, SHAPE)).unwrap();
    let mut other = facts(&ARMS, 1);
    other.seed += 1;
    let error = ResultDir::create(dir.path(), other.clone(), false).unwrap_err();
    assert!(error.to_string().contains("another run"), "{error}");
    let out = ResultDir::create(dir.path(), other, true).unwrap();
    assert!(!out.is_finished("dualpi2", 0));
    assert!(!dir.path().join("arms").exists());
}

#[test]
fn force_restarts_a_resumable_run() {
    let dir = tempfile::tempdir().unwrap();
    let create = |force| ResultDir::create(dir.path(), facts(&ARMS, 1), force).unwrap();
    create(false).add("dualpi2", 0, &run(1, 2, SHAPE)).unwrap();
    assert!(create(false).is_finished("dualpi2", 0));
    assert!(!create(true).is_finished("dualpi2", 0));
}

#[test]
fn rejects_inconsistent_counters() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap();
    let breaks: [fn(&mut Run); 3] = [
        |run| run.meta.packets.queued += 1,
        |run| run.meta.records.lost += 1,
        |run| run.meta.overrides.expired += 1,
    ];
    for (index, broken) in breaks.into_iter().enumerate() {
        let mut run = run(1, 2, SHAPE);
        broken(&mut run);
        let error = out.add("dualpi2", 0, &run).unwrap_err();
        assert!(
            matches!(error, ResultError::Inconsistent { .. }),
            "{index}: {error}"
        );
        assert!(!out.is_finished("dualpi2", 0));
    }
}

#[test]
fn rejects_names_outside_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "..", "a/b", ".hidden", "a b"] {
        let error = ResultDir::create(dir.path(), facts(&[(name, None)], 1), false).unwrap_err();
        assert!(
            matches!(error, ResultError::Name { .. }),
            "{name:?}: {error}"
        );
    }
    let out = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap();
    let error = out.add("fifo", 0, &run(1, 2, SHAPE)).unwrap_err();
    assert_eq!(error.to_string(), "arm `fifo` is not of this run");
}

#[test]
fn directory_without_a_result_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Stored::open(dir.path()),
        Err(ResultError::Missing { .. })
    ));
}

#[test]
fn planted_links_do_not_redirect_result_writes() {
    let place = tempfile::tempdir().unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    let path = place.path().join("out");
    ResultDir::create(&path, facts(&ARMS, 1), false).unwrap();
    for name in ["summary.json", "summary.json.partial", "summary.json.part"] {
        let _ = fs::remove_file(path.join(name));
        std::os::unix::fs::symlink(&victim, path.join(name)).unwrap();
    }
    let out = ResultDir::create(&path, facts(&ARMS, 1), false).unwrap();
    out.add("dualpi2", 0, &run(1, 2, SHAPE)).unwrap();
    assert_eq!(bytes(&victim), b"precious");
    assert!(!path.join("summary.json").is_symlink());
    assert_eq!(Stored::open(&path).unwrap().summary, out.summary());
}

#[test]
fn moved_files_do_not_change_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap();
    out.add("dualpi2", 0, &run(1, 3, SHAPE)).unwrap();
    drop(out);
    let mut moved = facts(&ARMS, 1);
    moved.scenario_file = Some("/elsewhere/made-up.toml".to_owned());
    moved.arms[1].policy_dir = None;
    let out = ResultDir::create(dir.path(), moved.clone(), false).unwrap();
    assert!(out.is_finished("dualpi2", 0));
    drop(out);
    moved.seed += 1;
    let other = ResultDir::create(dir.path(), moved, false);
    assert!(matches!(other, Err(ResultError::Occupied { .. })));
}
