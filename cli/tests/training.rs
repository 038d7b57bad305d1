//! `l4sllm train` from the outside.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

fn l4sllm(dir: &Path, line: &str) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l4sllm"));
    let words = line.split_whitespace();
    let output = command.args(words).current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_training_is_not_lost_and_goes_on_as_it_was_started() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scenario = root.join("scenarios/smoke.toml");
    let collect = format!(
        "collect --scenario {} --episodes 2 --seconds 1 --threads 1 --out pool.parquet",
        scenario.display()
    );
    let (ok, _, error) = l4sllm(dir.path(), &collect);
    assert!(ok, "{error}");
    let train = "train --pool pool.parquet --out out --steps 4 --evaluate-every 2 --batch 4 \
                 --window 4 --layers 1 --width 8 --heads 1 --mlp 8 --device cpu";
    let (ok, said, error) = l4sllm(dir.path(), train);
    assert!(ok && said.contains("out/best"), "{said}{error}");
    let metrics = || std::fs::read(dir.path().join("out/metrics.jsonl")).unwrap();
    let (first, best) = (metrics(), dir.path().join("out/best"));

    for (more, want) in [
        ("", "has a training already: --resume goes on with it"),
        ("--resume --residual", "head.residual = false, not true"),
        ("--resume --held-out 0.4", "the training was started with"),
        ("--resume --batch 8", "batch 4, not 8"),
        (
            "--restart --keep-out lte",
            "--keep-out lte: no scenario of the pools, which have smoke",
        ),
        (
            "--restart --shortest 5",
            "--shortest 5: want at most --window, 4",
        ),
        ("--restart --learning-rate NaN", "--learning-rate NaN"),
        ("--restart --threads 0", "--threads 0"),
        ("--restart --bins 4000", "--bins 4000"),
        ("--restart --encoder-width 0", "encoder.scalar.width = 0"),
    ] {
        let (ok, _, error) = l4sllm(dir.path(), &format!("{train} {more}"));
        assert!(!ok && error.contains(want), "{more}: {error}");
        assert!(first == metrics() && best.is_dir(), "{more}");
    }
    let (ok, _, error) = l4sllm(dir.path(), &format!("{train} --resume"));
    assert!(ok && first == metrics(), "{error}");
    let (ok, _, error) = l4sllm(dir.path(), &format!("{train} --restart --seed 2"));
    assert!(ok && first != metrics(), "{error}");
}
