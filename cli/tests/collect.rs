//! From a curriculum to a pool, with interruptions.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use l4sllm_model::pool::{Pool, read_episodes};

/// Seventeen parts of eight episodes; each takes about ten milliseconds.
const CURRICULUM: &str = r#"
name = "lesson"
conditions = 68
behaviours = 2
duration = "2 s"
records = 200
rtt = { log_uniform = ["5 ms", "40 ms"] }

[bottleneck]
rate = { log_uniform = ["4 Mbit/s", "20 Mbit/s"] }

[[flow]]
cc = { choice = ["cubic", "prague"] }
count = { uniform = [1, 3] }

[[behaviour]]
name = "plain"
target = { log_uniform = ["5 ms", "20 ms"] }

[[behaviour]]
name = "once"
noise = { mode = "once", interval = 10, share = 0.5 }

[[behaviour]]
name = "hold"
noise = { mode = "hold", interval = 50, packets = 5, action = "enqueue" }

[[behaviour]]
name = "steer"
noise = { mode = "steer", interval = 20, for = "200 ms", target = { uniform = [0.25, 1] } }
"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(place.path("lesson.toml"), CURRICULUM).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn collect(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l4sllm"));
        command
            .args(["collect", "lesson.toml", "--out", out])
            .args(more)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ended(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Both files of a pool.
fn bytes(pool: &Path) -> (Vec<u8>, Vec<u8>) {
    let episodes = pool.with_extension("episodes.jsonl");
    (fs::read(pool).unwrap(), fs::read(episodes).unwrap())
}

/// Waits until `count` parts are complete.
fn wait_for_parts(dir: &Path, count: usize) {
    let began = Instant::now();
    let parts = || {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        names
            .filter(|entry| entry.path().extension().is_some_and(|ext| ext == "parquet"))
            .count()
    };
    while parts() < count {
        assert!(began.elapsed() < Duration::from_secs(120), "no part came");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_collection_resumes_to_the_same_bytes() {
    let place = Place::new();
    let said = ended(
        &place
            .collect("whole.parquet", &["--threads", "2"])
            .output()
            .unwrap(),
    );
    assert!(said.contains("records in 136 episodes"), "{said}");
    assert!(!place.path("whole.parquet.parts").exists());
    let whole = bytes(&place.path("whole.parquet"));

    // Killed twice, each time with some parts complete.
    let parts = place.path("torn.parquet.parts");
    let mut killed = 0;
    for count in [1, 3] {
        let mut child = place
            .collect("torn.parquet", &["--threads", "1"])
            .spawn()
            .unwrap();
        wait_for_parts(&parts, count);
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        assert!(!place.path("torn.parquet").exists());
    }
    assert_eq!(killed, 2);
    let other = place
        .collect("torn.parquet", &["--seed", "2"])
        .output()
        .unwrap();
    assert!(
        text(&other.stderr).contains("parts of another collection"),
        "{}",
        text(&other.stderr)
    );
    let said = ended(
        &place
            .collect("torn.parquet", &["--threads", "1"])
            .output()
            .unwrap(),
    );
    assert!(said.contains("records in 136 episodes"), "{said}");
    assert!(
        bytes(&place.path("torn.parquet")) == whole,
        "not the same pool"
    );
    assert!(!parts.exists());
}

/// Killed just before the pool is written, or between that and the removal of
/// its parts, with any of them remaining.
#[test]
fn collection_killed_at_the_end_is_completed_by_rerun() {
    let place = Place::new();
    let collect = |more: &[&str]| place.collect("pool.parquet", more).output().unwrap();
    let (pool, parts) = (place.path("pool.parquet"), place.path("pool.parquet.parts"));
    let mut child = place
        .collect("pool.parquet", &["--threads", "1"])
        .spawn()
        .unwrap();
    wait_for_parts(&parts, 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let saved = place.path("saved");
    fs::rename(&parts, &saved).unwrap();
    let said = ended(&collect(&[]));
    let whole = bytes(&pool);

    // The pool and some parts exist.
    let restore = || {
        fs::create_dir(&parts).unwrap();
        for entry in fs::read_dir(&saved).unwrap() {
            let name = entry.unwrap().file_name();
            let to = if name == "plan.json" {
                "joined.json".as_ref()
            } else {
                name.as_os_str()
            };
            fs::copy(saved.join(&name), parts.join(to)).unwrap();
        }
        // Of a part that was being written.
        fs::write(parts.join("000002.parquet.a1B2c3D4.part"), "half").unwrap();
    };
    restore();
    let again = ended(&collect(&[]));
    let records = |said: &str| said.split(';').next().unwrap().to_owned();
    assert_eq!(records(&again), records(&said));
    assert!(bytes(&pool) == whole && !parts.exists());

    // Parts of another collection are not used or removed.
    restore();
    let other = text(&collect(&["--seed", "2"]).stderr);
    assert!(other.contains("parts of another collection"), "{other}");
    fs::remove_dir_all(&parts).unwrap();

    // The pool to be replaced still exists and must not count as the new one.
    fs::write(&pool, "an older pool").unwrap();
    restore();
    let inode = fs::metadata(&pool).unwrap().ino().to_string();
    fs::write(parts.join("replaced"), inode).unwrap();
    let refused = text(&collect(&[]).stderr);
    assert!(refused.contains("already exists"), "{refused}");
    ended(&collect(&["--force"]));
    assert!(bytes(&pool) == whole && !parts.exists());

    // Without a pool, it is created.
    fs::remove_file(&pool).unwrap();
    restore();
    ended(&collect(&[]));
    assert!(bytes(&pool) == whole && !parts.exists());
}

#[test]
fn interrupted_collection_reports_progress() {
    let place = Place::new();
    let child = place
        .collect("pool.parquet", &["--threads", "1"])
        .spawn()
        .unwrap();
    wait_for_parts(&place.path("pool.parquet.parts"), 1);
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("of 17 parts") && said.contains("to resume"),
        "{said}"
    );
    assert!(!place.path("pool.parquet").exists());
}

#[test]
fn each_episode_is_described() {
    let place = Place::new();
    ended(
        &place
            .collect("pool.parquet", &["--conditions", "10"])
            .output()
            .unwrap(),
    );
    let path = place.path("pool.parquet");
    let episodes = read_episodes(&path).unwrap().unwrap();
    assert_eq!(episodes.len(), 20);

    let pool = Pool::open(&path).unwrap();
    assert_eq!(pool.rows(), episodes.iter().map(|e| e.rows).sum::<u64>());
    let mut rows = vec![0; episodes.len()];
    for group in 0..pool.groups() {
        for episode in pool.group(group, &[]).unwrap().episode {
            rows[episode as usize] += 1;
        }
    }
    for (number, (episode, rows)) in episodes.iter().zip(rows).enumerate() {
        assert_eq!((episode.episode as usize, episode.rows), (number, rows));
        assert_eq!(episode.scenario, format!("lesson-{:05}", number / 2));
        assert!((4_000_000..=20_000_000).contains(&episode.rate_bps));
        assert!((5_000_000..=40_000_000).contains(&episode.rtt_ns));
        assert!(matches!(episode.flows[0].cc.as_str(), "cubic" | "prague"));
        assert_eq!(
            episode.behaviour.noise.is_some(),
            episode.behaviour.name != "plain"
        );
        assert!(episode.outcome.utilisation > 0.1 && episode.outcome.utilisation <= 1.0);
    }
    // Two behaviours of a condition have the same traffic.
    assert_eq!(episodes[0].seed, episodes[1].seed);
    let scenarios = pool.scenarios().unwrap();
    assert_eq!(scenarios.len(), 10);
}

/// Some of the model card's conditions, three repetitions each. A single flow's
/// sawtooth changes its mean utilisation by points, so the report's verdicts
/// decide, which account for the spread of the repetitions.
#[test]
fn shipped_policy_lowers_delay_and_keeps_other_metrics() {
    let place = Place::new();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let unseen = fs::read_to_string(policies.join("unseen.toml")).unwrap();
    let (conditions, _) = unseen.split_once("[[behaviour]]").unwrap();
    let behaviours = format!(
        "[[behaviour]]\nname = \"tuned\"\ntarget = \"10 ms\"\ngain = 4\n\n\
         [[behaviour]]\nname = \"shipped\"\npolicy = {:?}\ninterval = 100\n",
        policies.join("default")
    );
    fs::write(
        place.path("lesson.toml"),
        conditions.to_owned() + &behaviours,
    )
    .unwrap();
    let options = ["--seed", "2", "--conditions", "8"];
    let report = ended(&place.collect("unseen.parquet", &options).output().unwrap());
    let line = report.lines().find(|line| line.starts_with("| shipped"));
    let line = line.unwrap();
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    // The first number of a cell; its interval follows.
    let number = |text: &str| {
        let first = text.split_whitespace().next().unwrap();
        first.replace('\u{2212}', "-").parse::<f64>().unwrap()
    };
    // Columns in the order of the report's header, from 1.
    let (mean, worst) = cells[3].split_once(',').unwrap();
    assert!(number(mean) > -1.0, "capacity given up: {line}");
    assert!(number(worst) > -6.0, "capacity given up: {line}");
    for (column, what) in [(9, "utilisation"), (10, "drops"), (11, "L4S p99")] {
        let (worse, _) = cells[column].split_once(',').unwrap();
        assert_eq!(number(worse), 0.0, "{what} worse with certainty: {line}");
    }
    assert!(number(cells[5]) < 0.95, "no less classic delay: {line}");
    assert!(number(cells[7]) < 1.1, "more L4S delay: {line}");
    let jain = |text: &str| {
        let of = report.lines().find(|line| line.starts_with(text)).unwrap();
        number(of.split('|').nth(8).unwrap())
    };
    assert!(jain("| shipped") > jain("| tuned") - 0.03, "{report}");
}

#[test]
fn reports_mistakes_before_running() {
    let place = Place::new();
    fs::write(
        place.path("lesson.toml"),
        CURRICULUM.replace("\"20 Mbit/s\"", "20"),
    )
    .unwrap();
    let output = place.collect("pool.parquet", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("lesson.toml:10: bottleneck.rate.log_uniform[1]"),
        "{error}"
    );
    assert!(error.contains("a rate in quotes"), "{error}");
    let output = place.collect("pool.csv", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 1);
    fs::write(place.path("lesson.toml"), CURRICULUM).unwrap();
    let notes = place.path("pool.episodes.jsonl");
    fs::write(&notes, "mine\n").unwrap();
    let output = place.collect("pool.parquet", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("pool.episodes.jsonl: already exists"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&notes).unwrap(), "mine\n");
}

/// The rule steers in its episodes, and their descriptions name it.
#[test]
fn collects_with_the_adaptive_rule() {
    let place = Place::new();
    let [head, _] = CURRICULUM
        .split("[[behaviour]]\nname = \"once\"")
        .collect::<Vec<_>>()[..]
    else {
        panic!("a behaviour `once`")
    };
    let rule = "[[behaviour]]\nname = \"rule\"\nengine = \"adaptive\"\npreset = \"low-delay\"\n";
    let text = head
        .replace("behaviours = 2", "behaviours = \"each\"")
        .replace("duration = \"2 s\"", "duration = \"6 s\"")
        .replace("conditions = 68", "conditions = 2");
    fs::write(place.path("lesson.toml"), text + rule).unwrap();
    ended(&place.collect("pool.parquet", &[]).output().unwrap());
    let episodes = read_episodes(&place.path("pool.parquet")).unwrap().unwrap();
    assert_eq!(episodes.len(), 4);
    for pair in episodes.chunks(2) {
        let [plain, rule] = pair else {
            panic!("each behaviour once")
        };
        assert_eq!(plain.behaviour.rule, None);
        let facts = rule.behaviour.rule.as_ref().unwrap();
        assert_eq!(
            (facts.name.as_str(), facts.preset.as_str()),
            ("adaptive", "low-delay")
        );
        assert_ne!(plain.outcome, rule.outcome);
    }
}

#[test]
fn shipped_curriculum_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shipped = root.join("scenarios/curriculum.toml");
    let place = Place::new();
    fs::copy(shipped, place.path("lesson.toml")).unwrap();
    let few = ["--conditions", "2", "--duration", "1s", "--records", "50"];
    let said = ended(&place.collect("pool.parquet", &few).output().unwrap());
    assert!(said.contains("500 records in 10 episodes"), "{said}");
}
