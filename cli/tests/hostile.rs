//! Hostile input: odd names, unexpected file types, invalid numbers, closed
//! outputs and signals.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const TABLE: &str = "action,reward,packet_length\n0,1,1500\n1,1,40\n";

const SCENARIO: &str = r#"
duration = "1 s"
rtt = "10 ms"

[bottleneck]
rate = "10 Mbit/s"

[[flow]]
name = "cubic"
cc = "cubic"

[[arm]]
name = "dualpi2"
aqm = "dualpi2"
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.path("table.csv"), TABLE).unwrap();
        fs::write(place.path("one.toml"), SCENARIO).unwrap();
        fs::write(place.path("victim"), "precious").unwrap();
        place
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.path().join(name.as_ref())
    }

    fn fifo(&self, name: &str) {
        let made = Command::new("mkfifo").arg(self.path(name)).status();
        assert!(made.unwrap().success());
    }

    fn command<T: AsRef<OsStr>>(&self, args: &[T]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l4sllm"));
        command.args(args).current_dir(self.0.path());
        command.stdin(Stdio::null());
        command
    }

    fn run<T: AsRef<OsStr>>(&self, args: &[T]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a line of words.
    fn line(&self, line: &str) -> Output {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// No temporary file remains.
    fn is_clean(&self) -> bool {
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().path());
        !names.any(|path| path.extension().is_some_and(|ext| ext == "part"))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn errors_truncate_and_escape_input() {
    let place = Place::new();
    let long = "n".repeat(5000);
    for name in [
        "\x1b]0;owned\x07\x1b[31mred\nnext",
        &long,
        "gpj.\u{202e}exe",
    ] {
        for args in [
            ["run", "--out", "out", name].as_slice(),
            &["run", "one.toml", "--out", "out", "--arms", name],
            &["run", "one.toml", "--out", name],
            &["scenario", "check", name],
            &["collect", "--out", "x.parquet", name],
            &["pool", "import", name, "--out", "x"],
            &[
                "pool",
                "import",
                "table.csv",
                "--out",
                &format!("none/{name}"),
            ],
            &["pool", "inspect", name],
            &["policy", "info", name],
            &["report", name],
            &["eval", name, "x"],
            &["status", "--socket", name],
            &["run", "--duration", name, "one.toml", "--out", "out"],
            &[name],
        ] {
            let output = place.run(args);
            let text = said(&output);
            if output.status.success() {
                // An odd name is valid for a directory and its result.
                assert!(["run", "report"].contains(&args[0]), "{args:?}");
                continue;
            }
            assert!(
                matches!(output.status.code(), Some(1 | 2)),
                "{args:?}: {text}"
            );
            let bad = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
            assert!(!text.contains(bad), "{text:?}");
            assert!(text.len() < 1500, "{args:?}: {} bytes", text.len());
            assert!(!text.contains("panicked"), "{text}");
        }
    }
    assert!(place.is_clean());
}

#[test]
fn existing_files_are_kept_without_force() {
    let place = Place::new();
    fs::write(place.path("pool.json"), "years of work").unwrap();
    symlink("victim", place.path("link.json")).unwrap();
    for out in ["pool.json", "link.json", "victim"] {
        for line in [
            "pool import table.csv --out",
            "pool convert table.csv --out",
            "pool merge table.csv table.csv --out",
            "pool log table.csv --out",
        ] {
            let output = place.line(&format!("{line} {out}"));
            assert_eq!(output.status.code(), Some(1), "{line} {out}");
        }
        let text = said(&place.line(&format!("pool import table.csv --out {out}")));
        let want = format!("l4sllm: {out}: already exists; --force replaces it\n");
        assert_eq!(text, want);
    }
    fs::write(place.path("pool.parquet"), "years of work").unwrap();
    let output = place.line("collect --scenario one.toml --out pool.parquet");
    assert!(said(&output).contains("pool.parquet: already exists; --force"));
    assert!(!place.path("pool.parquet.parts").exists());
    assert_eq!(fs::read(place.path("pool.json")).unwrap(), b"years of work");
    assert_eq!(
        fs::read(place.path("pool.parquet")).unwrap(),
        b"years of work"
    );
    assert_eq!(fs::read(place.path("victim")).unwrap(), b"precious");

    // With --force a link is replaced, not followed.
    symlink("victim", place.path("link.json.part")).unwrap();
    let output = place.line("pool import table.csv --force --out link.json");
    assert!(output.status.success(), "{}", said(&output));
    assert!(!place.path("link.json").is_symlink());
    assert_eq!(fs::read(place.path("victim")).unwrap(), b"precious");
    fs::remove_file(place.path("link.json.part")).unwrap();
    assert!(place.is_clean());
}

#[test]
fn special_files_are_not_replaced() {
    let place = Place::new();
    place.fifo("fifo");
    fs::create_dir(place.path("dir")).unwrap();
    for out in ["fifo", "dir", "/dev/null", "/", "-"] {
        let output = place.line(&format!("pool import table.csv --force --out {out}"));
        let expected = if out == "-" { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(expected), "{out}");
        let text = said(&output);
        let why = text.contains("not a regular file") || text.contains("standard output");
        assert!(why, "{out}: {text}");
    }
    assert!(!place.path("-").exists() && place.is_clean());
}

#[test]
fn file_names_may_be_non_utf8() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"nu\xff.json");
    let arg = OsStr::new;
    let args = [
        arg("pool"),
        arg("import"),
        arg("table.csv"),
        arg("--out"),
        name,
    ];
    let output = place.run(&args);
    assert!(output.status.success(), "{}", said(&output));
    assert!(place.path(name).is_file());
    let output = place.run(&args);
    assert_eq!(
        said(&output),
        "l4sllm: nu\\xff.json: already exists; --force replaces it\n"
    );
}

#[test]
fn rejects_excessive_numbers_immediately() {
    let place = Place::new();
    for line in [
        "run one.toml --out out --threads 4294967295",
        "collect --scenario one.toml --out x.parquet --threads 100000",
        "run one.toml --out out --duration nans",
        "run one.toml --out out --duration=-1s",
        "run one.toml --out out --repetitions=-1",
        "collect --scenario one.toml --out x.parquet --explore nan",
        "pool select table.csv --out x --first inf",
        "doctor --watch=-5s",
    ] {
        let began = Instant::now();
        let output = place.line(line);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{line}");
        assert!(began.elapsed() < Duration::from_secs(60), "{line}");
    }
    assert!(!place.path("out").exists() && !place.path("x.parquet.parts").exists());
}

/// Waits until `done`, for at most a minute.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_command_that_waits_for_input_ends_on_sigterm() {
    let place = Place::new();
    place.fifo("fifo");
    for line in ["pool import - --out x.json", "pool log fifo --out x.log"] {
        let mut command = place.command(&line.split(' ').collect::<Vec<_>>());
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // The handler is in place before the first file is opened.
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        if status.exists() {
            wait_until(line, || catches_sigterm(&status));
        }
        let killed = Command::new("kill").arg(child.id().to_string()).status();
        assert!(killed.unwrap().success());
        wait_until(line, || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{line}");
        assert!(place.is_clean(), "{line}");
    }
}

#[cfg(target_os = "linux")]
fn catches_sigterm(status: &Path) -> bool {
    const SIGTERM: u32 = 15;
    let text = fs::read_to_string(status).unwrap();
    let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask >> (SIGTERM - 1) & 1 == 1
}

#[test]
#[cfg(target_os = "linux")]
fn full_or_closed_outputs_do_not_panic() {
    let place = Place::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for line in [
        "scenario check one.toml",
        "version",
        "pool import none --out x",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let output = place.command(&words).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        let text = said(&output);
        let want = "cannot write to standard output: No space left on device";
        assert!(
            text.contains(want) || text.contains("none"),
            "{line}: {text}"
        );
        let code = |command: &mut Command| command.stderr(full()).status().unwrap().code();
        let code = code(place.command(&words).stdout(Stdio::null()));
        assert!(matches!(code, Some(0 | 1)), "{line}: {code:?}");
        // A reader that closes the pipe early.
        let mut child = place.command(&words);
        let mut child = child
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert!(
            matches!(child.wait().unwrap().code(), Some(0 | 1)),
            "{line}"
        );
    }
}

#[test]
fn rejects_special_files_in_a_result() {
    let place = Place::new();
    let output = place.line("run one.toml --out out");
    assert!(output.status.success(), "{}", said(&output));
    let run = "out/arms/dualpi2/0";
    for file in ["out/facts.json", "out/summary.json"]
        .map(str::to_owned)
        .into_iter()
        .chain(["run.json", "packets.parquet"].map(|name| format!("{run}/{name}")))
    {
        let whole = fs::read(place.path(&file)).unwrap();
        fs::remove_file(place.path(&file)).unwrap();
        // Opening it would block forever.
        place.fifo(&file);
        let mut report = place.command(&["report", "out"]);
        let mut report = report
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(&file, || report.try_wait().unwrap().is_some());
        assert_eq!(report.wait().unwrap().code(), Some(1), "{file}");
        fs::remove_file(place.path(&file)).unwrap();
        fs::write(place.path(&file), whole).unwrap();
    }
    assert!(place.line("report out").status.success());
}
