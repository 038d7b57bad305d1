//! Work files of a distillation: labelled states and students of finished rounds.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use l4sllm_model::files::{read_regular, replace};
use l4sllm_model::student::{Lesson, STATES, Student};
use l4sllm_model::text::shown;

use super::judge::Verdict;

/// Numbers of a lesson.
const COLUMNS: usize = STATES + 4;
/// Maximum length of a work file.
const MOST: u64 = 8 << 30;

/// Files in one directory.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens a directory that the caller has claimed. Files of a run with another
    /// identity are an error.
    pub fn open(dir: &Path, identity: &str) -> anyhow::Result<Store> {
        let path = dir.join("options.txt");
        let store = Store {
            dir: dir.to_owned(),
        };
        if path.exists() {
            let known = store.read("options.txt")?;
            ensure!(
                known == identity.as_bytes(),
                "{}: contains a distillation with other options; expected a new directory, or \
                 the same options to continue",
                shown(dir)
            );
            return Ok(store);
        }
        store.write("options.txt", identity.as_bytes())?;
        Ok(store)
    }

    /// The labelled states of a finished round.
    pub fn lessons(&self, round: u32) -> anyhow::Result<Option<Vec<Lesson>>> {
        let name = format!("round-{round}.lessons");
        if !self.dir.join(&name).exists() {
            return Ok(None);
        }
        let bytes = self.read(&name)?;
        ensure!(
            bytes.len() % (COLUMNS * 4) == 0,
            "{}: {} bytes are not a whole number of rows; remove the file to make it again",
            shown(&self.dir.join(&name)),
            bytes.len()
        );
        let row = |row: &[u8]| {
            let mut numbers = row.chunks_exact(4).map(|four| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(four);
                f32::from_le_bytes(bytes)
            });
            Lesson {
                state: std::array::from_fn(|_| numbers.next().unwrap_or(0.0)),
                set_points: std::array::from_fn(|_| numbers.next().unwrap_or(0.0)),
            }
        };
        Ok(Some(bytes.chunks_exact(COLUMNS * 4).map(row).collect()))
    }

    /// Stores the labelled states of a round.
    pub fn add_lessons(&self, round: u32, lessons: &[Lesson]) -> anyhow::Result<()> {
        let numbers = |lesson: &Lesson| {
            let all = lesson.state.iter().chain(&lesson.set_points);
            all.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()
        };
        let bytes: Vec<u8> = lessons.iter().flat_map(numbers).collect();
        self.write(&format!("round-{round}.lessons"), &bytes)
    }

    /// The student of a finished round.
    pub fn student(&self, round: u32) -> anyhow::Result<Option<Student>> {
        let name = format!("round-{round}.l4s");
        let path = self.dir.join(&name);
        if !path.exists() {
            return Ok(None);
        }
        let student = Student::from_bytes(&self.read(&name)?);
        student
            .map(Some)
            .with_context(|| format!("{}: remove the file to make it again", shown(&path)))
    }

    /// Stores the student of a round.
    pub fn add_student(&self, round: u32, student: &Student) -> anyhow::Result<()> {
        self.write(&format!("round-{round}.l4s"), &student.to_bytes()?)
    }

    /// The evaluation of a finished round.
    pub fn verdict(&self, round: u32) -> anyhow::Result<Option<Verdict>> {
        let name = format!("round-{round}.json");
        let path = self.dir.join(&name);
        if !path.exists() {
            return Ok(None);
        }
        serde_json::from_slice(&self.read(&name)?)
            .map(Some)
            .with_context(|| format!("{}: remove the file to make it again", shown(&path)))
    }

    /// Stores the evaluation of a round.
    pub fn add_verdict(&self, round: u32, verdict: &Verdict) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(verdict)? + "\n";
        self.write(&format!("round-{round}.json"), text.as_bytes())
    }

    /// Stores the result; returns its path.
    pub fn finish(&self, student: &Student) -> anyhow::Result<PathBuf> {
        self.write("student.l4s", &student.to_bytes()?)?;
        Ok(self.dir.join("student.l4s"))
    }

    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.dir.join(name);
        read_regular(&path, MOST).with_context(|| format!("cannot read {}", shown(&path)))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        replace(&path, bytes).with_context(|| format!("cannot write {}", shown(&path)))
    }
}
