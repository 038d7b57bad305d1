//! The result directory, written so that it is valid at every moment: each
//! repetition appears by one rename, and `summary.json` is replaced by one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use l4sllm_model::files::{AtomicDir, remove_leftovers, replace};
use serde::Serialize;

use super::error::ResultError;
use super::layout::{ARMS, FACTS, HOST, META, OWN, SCENARIO, SUMMARY, run_dir};
use super::statistics::{Samples, pool};
use super::stored::read_run;
use super::{Arm, ArmFacts, Facts, Repetition, Run, Summary, columns};

/// A result directory that is being filled. [`ResultDir::add`] may be called
/// from several threads; the outcome does not depend on their order.
#[derive(Debug)]
pub struct ResultDir {
    path: PathBuf,
    facts: Facts,
    finished: Mutex<Finished>,
}

/// By arm's index and repetition, which is the order of the summary.
type Finished = BTreeMap<(usize, u32), (Repetition, Samples)>;

impl ResultDir {
    /// Starts a result in `path`, or goes on with the one that is there when
    /// it has the same facts. `force` starts anew in any case and replaces the
    /// result that is there; files that are no part of one stay.
    ///
    /// # Errors
    /// [`ResultError::Occupied`] when something else is there and not `force`.
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
            // Under its own name, which is the scenario's where it gives none.
            let file = scenario.join(format!("{}.toml", facts.scenario));
            write_atomically(&file, facts.scenario_toml.as_bytes())?;
            write_atomically(&path.join(HOST), &json(&super::host::Host::here()))?;
            // Last: with it the directory is a result.
            write_atomically(&path.join(FACTS), &json(&facts))?;
        }
        for arm in &facts.arms {
            let dir = path.join(ARMS).join(&arm.name);
            if dir.is_dir() {
                remove_leftovers(&dir, |_| true).map_err(ResultError::io("clean", &dir))?;
            }
        }
        let finished = load_finished(path, &facts)?;
        let dir = ResultDir {
            path: path.to_owned(),
            facts,
            finished: Mutex::default(),
        };
        dir.write_summary(&finished)?;
        Ok(ResultDir {
            finished: Mutex::new(finished),
            ..dir
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this repetition is on disk already.
    pub fn is_finished(&self, arm: &str, repetition: u32) -> bool {
        let index = self.facts.arms.iter().position(|known| known.name == arm);
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        index.is_some_and(|index| finished.contains_key(&(index, repetition)))
    }

    /// Writes a finished repetition and brings the summary up to date.
    ///
    /// # Errors
    /// [`ResultError::Inconsistent`] when an accounting identity does not hold
    /// (packets, records, overrides); nothing is written then.
    pub fn add(&self, arm: &str, repetition: u32, run: &Run) -> Result<Repetition, ResultError> {
        let index = self.facts.arms.iter().position(|known| known.name == arm);
        let unknown = || ResultError::Arm {
            name: arm.to_owned(),
            problem: "is not of this run",
        };
        let index = index.ok_or_else(unknown)?;
        if let Some(problem) = imbalance(run) {
            let arm = arm.to_owned();
            return Err(ResultError::Inconsistent {
                arm,
                repetition,
                problem,
            });
        }
        let samples = Samples::of(run);
        let summary = samples.repetition(repetition, run.meta.seed);
        self.write_run(&run_dir(&self.path, arm, repetition), run)?;
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.insert((index, repetition), (summary.clone(), samples));
        // Under the lock, so that an older summary never replaces a newer one.
        self.write_summary(&finished)?;
        Ok(summary)
    }

    /// The numbers so far.
    pub fn summary(&self) -> Summary {
        self.summary_of(&self.finished.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn summary_of(&self, finished: &Finished) -> Summary {
        let arms = self.facts.arms.iter().enumerate();
        let arms: Vec<Arm> = arms
            .filter_map(|(index, facts)| {
                let own = finished.range((index, 0)..=(index, u32::MAX));
                let (repetitions, samples): (Vec<_>, Vec<_>) = own
                    .map(|(_, (repetition, samples))| (repetition.clone(), samples))
                    .unzip();
                (!repetitions.is_empty()).then(|| arm(facts, repetitions, &samples))
            })
            .collect();
        let expected = self.facts.arms.len() * self.facts.repetitions as usize;
        Summary {
            version: self.facts.version.clone(),
            seed: self.facts.seed,
            scenario: self.facts.scenario.clone(),
            policy: self.facts.arms.iter().find_map(|arm| arm.policy.clone()),
            complete: finished.len() == expected,
            repetitions: self.facts.repetitions,
            arms,
        }
    }

    fn write_run(&self, dir: &Path, run: &Run) -> Result<(), ResultError> {
        let whole = AtomicDir::next(dir).map_err(ResultError::io("create", dir))?;
        columns::write(whole.temporary(), &run.packets)?;
        columns::write(whole.temporary(), &run.flows)?;
        columns::write(whole.temporary(), &run.decisions)?;
        write_atomically(&whole.temporary().join(META), &json(&run.meta))?;
        remove(dir)?;
        whole.commit().map_err(ResultError::io("create", dir))
    }

    fn write_summary(&self, finished: &Finished) -> Result<(), ResultError> {
        write_atomically(&self.path.join(SUMMARY), &json(&self.summary_of(finished)))
    }
}

/// Writes `bytes` to `path` so that a reader sees the old file or the new one.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ResultError> {
    replace(path, bytes).map_err(ResultError::io("write", path))
}

fn load_finished(path: &Path, facts: &Facts) -> Result<Finished, ResultError> {
    let mut finished = Finished::new();
    for (index, arm) in facts.arms.iter().enumerate() {
        for repetition in 0..facts.repetitions {
            let dir = run_dir(path, &arm.name, repetition);
            if dir.is_dir() {
                let run = read_run(&dir)?;
                let samples = Samples::of(&run);
                let summary = samples.repetition(repetition, run.meta.seed);
                finished.insert((index, repetition), (summary, samples));
            }
        }
    }
    Ok(finished)
}

fn arm(facts: &ArmFacts, repetitions: Vec<Repetition>, samples: &[&Samples]) -> Arm {
    Arm {
        name: facts.name.clone(),
        aqm: facts.aqm.clone(),
        interval: facts.interval,
        policy: facts.policy.clone(),
        pooled: pool(samples),
        repetitions,
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec_pretty(value).expect("plain structs with string keys are JSON");
    bytes.push(b'\n');
    bytes
}

/// Which accounting identity does not hold, if any.
fn imbalance(run: &Run) -> Option<String> {
    let (p, r, o) = (&run.meta.packets, &run.meta.records, &run.meta.overrides);
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
        "may have letters, digits, `-`, `_` and `.` only: it names a directory"
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
    // Facts of another version need not parse: then it is another result.
    let bytes = fs::read(&known).map_err(ResultError::io("read", &known))?;
    Ok(serde_json::from_slice::<Facts>(&bytes).is_ok_and(|known| known == *facts))
}

fn occupied(path: &Path) -> Result<Option<&'static str>, ResultError> {
    if path.join(FACTS).exists() {
        return Ok(Some("the result of another run"));
    }
    let mut entries = fs::read_dir(path).map_err(ResultError::io("list", path))?;
    // A run killed before its facts were written leaves only its own beginnings.
    let begun = |name: &OsStr| name == SCENARIO || name == HOST;
    let foreign = entries.any(|entry| entry.is_ok_and(|entry| !begun(&entry.file_name())));
    Ok(foreign.then_some("files that are no result"))
}

/// Whether `name` is that of a part of a result.
fn is_own(name: &OsStr) -> bool {
    OWN.iter().any(|own| name == *own)
}

fn clear(path: &Path) -> Result<(), ResultError> {
    OWN.iter().try_for_each(|name| remove(&path.join(name)))
}

fn remove(path: &Path) -> Result<(), ResultError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ResultError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
