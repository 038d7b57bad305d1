//! The result directory, written so that it is valid at every moment: each
//! repetition appears by one rename, and `summary.json` is replaced by one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use l4sllm_model::files::{read_regular, remove_leftovers};

use super::error::ResultError;
use super::files::{json, remove, write_atomically};
use super::layout::{ARMS, FACTS, HOST, JSON_MAX, OWN, SCENARIO, SUMMARY, run_dir};
use super::statistics::{Distributions, Samples, Totals, pool_totals};
use super::stored::read_samples;
use super::writer::{Rows, RunWriter};
use super::{Arm, Facts, Repetition, Run, RunMeta, Summary, Window, diagnosis};

/// A result directory being written. [`ResultDir::add`] may be called from
/// several threads; the outcome does not depend on their order.
#[derive(Debug)]
pub struct ResultDir {
    path: PathBuf,
    facts: Facts,
    finished: Mutex<Finished>,
}

/// Finished repetitions, from which the summary is made. It has one set of
/// distributions per arm, so it grows only with flows times repetitions.
#[derive(Debug, Default)]
struct Finished {
    /// By arm's index and repetition, which is the order of the summary.
    repetitions: BTreeMap<(usize, u32), (Repetition, Totals)>,
    /// By arm's index.
    distributions: BTreeMap<usize, Distributions>,
    /// Time of the last summary write, and its duration.
    written: Option<(Instant, Duration)>,
}

impl Finished {
    fn add(&mut self, arm: usize, repetition: Repetition, samples: Samples) {
        let merged = self.distributions.entry(arm).or_default();
        merged.merge(&samples.distributions);
        let number = repetition.repetition;
        self.repetitions
            .insert((arm, number), (repetition, samples.totals));
    }

    /// Whether a summary now would take more than a tenth of the time.
    fn is_early(&self) -> bool {
        self.written
            .is_some_and(|(at, took)| took > SLOW && at.elapsed() < 10 * took)
    }
}

/// A summary that takes longer is not written after every repetition: with
/// 100,000 flows, it has 20 MB per repetition.
const SLOW: Duration = Duration::from_millis(100);

impl ResultDir {
    /// Starts a result in `path`, or resumes an existing one with the same
    /// facts. `force` always starts over and replaces an existing result; other
    /// files are kept.
    ///
    /// # Errors
    /// [`ResultError::Occupied`] if the directory has other content and `force`
    /// is not set.
    pub fn create(path: &Path, facts: Facts, force: bool) -> Result<ResultDir, ResultError> {
        for name in facts
            .arms
            .iter()
            .map(|arm| &arm.name)
            .chain([&facts.scenario])
        {
            check_name(name)?;
        }
        fs::create_dir_all(path).map_err(ResultError::io("create", path))?;
        remove_leftovers(path, is_own).map_err(ResultError::io("clean", path))?;
        let resumes = !force && resumes(path, &facts)?;
        if !resumes {
            let occupied = occupied(path)?;
            if let (Some(what), false) = (occupied, force) {
                return Err(ResultError::Occupied {
                    path: path.to_owned(),
                    what,
                });
            }
            clear(path)?;
            let scenario = path.join(SCENARIO);
            fs::create_dir_all(&scenario).map_err(ResultError::io("create", &scenario))?;
            // Under its own name, or the scenario's if it has none.
            let file = scenario.join(format!("{}.toml", facts.scenario));
            write_atomically(&file, facts.scenario_toml.as_bytes())?;
            write_atomically(&path.join(HOST), &json(&super::host::Host::here()))?;
            // Written last, because it makes the directory a result.
            write_atomically(&path.join(FACTS), &json(&facts))?;
        }
        for arm in &facts.arms {
            let dir = path.join(ARMS).join(&arm.name);
            if dir.is_dir() {
                remove_leftovers(&dir, |_| true).map_err(ResultError::io("clean", &dir))?;
            }
        }
        let mut finished = load_finished(path, &facts)?;
        let mut dir = ResultDir {
            path: path.to_owned(),
            facts,
            finished: Mutex::default(),
        };
        dir.write_summary(&mut finished)?;
        dir.finished = Mutex::new(finished);
        Ok(dir)
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this repetition is on disk already.
    pub fn is_finished(&self, arm: &str, repetition: u32) -> bool {
        let index = self.facts.arms.iter().position(|known| known.name == arm);
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        index.is_some_and(|index| finished.repetitions.contains_key(&(index, repetition)))
    }

    /// Starts writing a repetition with this number of flows.
    ///
    /// # Errors
    /// Its files cannot be created.
    pub fn begin(
        &self,
        arm: &str,
        repetition: u32,
        window: Window,
        flows: usize,
    ) -> Result<RunWriter, ResultError> {
        self.index(arm)?;
        RunWriter::create(&run_dir(&self.path, arm, repetition), window, flows)
    }

    /// Ends a repetition and brings the summary up to date, unless it takes
    /// long and was written a moment ago ([`ResultDir::write_pending`]).
    ///
    /// # Errors
    /// [`ResultError::Inconsistent`] if an accounting identity is violated
    /// (packets, records, overrides); the repetition is then discarded.
    pub fn finish(
        &self,
        arm: &str,
        repetition: u32,
        writer: RunWriter,
        meta: &RunMeta,
    ) -> Result<Repetition, ResultError> {
        let index = self.index(arm)?;
        if let Some(problem) = imbalance(meta) {
            let arm = arm.to_owned();
            return Err(ResultError::Inconsistent {
                arm,
                repetition,
                problem,
            });
        }
        let samples = writer.commit(&run_dir(&self.path, arm, repetition), meta)?;
        let summary = samples.repetition(repetition, meta.seed);
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.add(index, summary.clone(), samples);
        // Under the lock, so that an older summary never replaces a newer one.
        if !finished.is_early() {
            self.write_summary(&mut finished)?;
        }
        Ok(summary)
    }

    /// Writes a complete repetition.
    ///
    /// # Errors
    /// As [`ResultDir::finish`].
    pub fn add(&self, arm: &str, repetition: u32, run: &Run) -> Result<Repetition, ResultError> {
        let window = run.meta.window();
        let mut writer = self.begin(arm, repetition, window, run.meta.flows.len())?;
        writer.add(&Rows {
            packets: run.packets.clone(),
            flows: run.flows.clone(),
            decisions: run.decisions.clone(),
            set_points: run.set_points.clone(),
        })?;
        self.finish(arm, repetition, writer, &run.meta)
    }

    /// Writes the summary of all finished repetitions.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_pending(&self) -> Result<(), ResultError> {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_summary(&mut finished)
    }

    fn index(&self, arm: &str) -> Result<usize, ResultError> {
        let index = self.facts.arms.iter().position(|known| known.name == arm);
        index.ok_or_else(|| ResultError::Arm {
            name: arm.to_owned(),
            problem: "is not of this run",
        })
    }

    /// The numbers so far.
    pub fn summary(&self) -> Summary {
        self.summary_of(&self.finished.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn summary_of(&self, finished: &Finished) -> Summary {
        let mut warnings = self.facts.warnings.clone();
        let mut arms = Vec::new();
        for (index, facts) in self.facts.arms.iter().enumerate() {
            let Some(distributions) = finished.distributions.get(&index) else {
                continue;
            };
            let own = finished.repetitions.range((index, 0)..=(index, u32::MAX));
            let (repetitions, totals): (Vec<_>, Vec<_>) = own
                .map(|(_, (repetition, totals))| (repetition.clone(), totals))
                .unzip();
            warnings.extend(diagnosis::of_arm(
                &self.facts.scenario,
                &facts.name,
                &totals,
                distributions,
            ));
            arms.push(Arm {
                name: facts.name.clone(),
                aqm: facts.aqm.clone(),
                interval: facts.interval,
                policy: facts.policy.clone(),
                pooled: pool_totals(&totals, distributions),
                repetitions,
            });
        }
        let expected = self.facts.arms.len() * self.facts.repetitions as usize;
        Summary {
            version: self.facts.version.clone(),
            seed: self.facts.seed,
            scenario: self.facts.scenario.clone(),
            policy: self.facts.arms.iter().find_map(|arm| arm.policy.clone()),
            complete: finished.repetitions.len() == expected,
            repetitions: self.facts.repetitions,
            warnings,
            arms,
        }
    }

    fn write_summary(&self, finished: &mut Finished) -> Result<(), ResultError> {
        let began = Instant::now();
        write_atomically(&self.path.join(SUMMARY), &json(&self.summary_of(finished)))?;
        finished.written = Some((Instant::now(), began.elapsed()));
        Ok(())
    }
}

fn load_finished(path: &Path, facts: &Facts) -> Result<Finished, ResultError> {
    let mut finished = Finished::default();
    for (index, arm) in facts.arms.iter().enumerate() {
        for number in 0..facts.repetitions {
            let dir = run_dir(path, &arm.name, number);
            if dir.is_dir() {
                let (meta, samples) = read_samples(&dir)?;
                let repetition = samples.repetition(number, meta.seed);
                finished.add(index, repetition, samples);
            }
        }
    }
    Ok(finished)
}

/// The violated accounting identity, if any.
fn imbalance(meta: &RunMeta) -> Option<String> {
    let (p, r, o) = (&meta.packets, &meta.records, &meta.overrides);
    if p.arrived != p.forwarded + p.dropped + p.queued {
        return Some(format!(
            "packets in differ from forwarded + dropped + queued: {p:?}"
        ));
    }
    if r.written != r.read + r.lost + r.waiting {
        return Some(format!(
            "records written differ from read + lost + waiting: {r:?}"
        ));
    }
    if o.received != o.applied + o.expired + o.refused + o.replaced + o.waiting {
        return Some(format!(
            "overrides received differ from applied + expired + refused + replaced + waiting: {o:?}"
        ));
    }
    None
}

fn check_name(name: &str) -> Result<(), ResultError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let problem = if name.is_empty() || name.starts_with('.') {
        "must begin with a letter or a digit"
    } else if !name.bytes().all(plain) {
        "may contain only letters, digits, `-`, `_` and `.`: it names a directory"
    } else {
        return Ok(());
    };
    Err(ResultError::Name {
        name: name.to_owned(),
        problem,
    })
}

fn resumes(path: &Path, facts: &Facts) -> Result<bool, ResultError> {
    let known = path.join(FACTS);
    if !known.is_file() {
        return Ok(false);
    }
    // Facts that do not parse are of another version, so of another result.
    let bytes = read_regular(&known, JSON_MAX).map_err(ResultError::io("read", &known))?;
    Ok(serde_json::from_slice::<Facts>(&bytes).is_ok_and(|known| known.is_same_run(facts)))
}

fn occupied(path: &Path) -> Result<Option<&'static str>, ResultError> {
    if path.join(FACTS).exists() {
        return Ok(Some("the result of another run"));
    }
    let mut entries = fs::read_dir(path).map_err(ResultError::io("list", path))?;
    // A run killed before writing its facts leaves only its initial files.
    let begun = |name: &OsStr| name == SCENARIO || name == HOST;
    let foreign = entries.any(|entry| entry.is_ok_and(|entry| !begun(&entry.file_name())));
    Ok(foreign.then_some("files that are not a result"))
}

/// Whether `name` is part of a result.
fn is_own(name: &OsStr) -> bool {
    OWN.iter().any(|own| name == *own)
}

fn clear(path: &Path) -> Result<(), ResultError> {
    OWN.iter().try_for_each(|name| remove(&path.join(name)))
}

#[cfg(test)]
mod tests;
