//! Built-in scenarios and policies, and their lookup by name.
//!
//! A file or directory takes precedence over a built-in name.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail, ensure};
use l4sllm_model::text::shown;
use l4sllm_testbed::scenario::{ControlEngine, Scenario};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::output::detail;
use crate::version::VERSION;

/// Path in the repository and content of every file.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/shipped_files.rs"));

/// Directory to which [`FILES`] were unpacked, for code that reads files.
static UNPACKED: Mutex<Option<Unpacked>> = Mutex::new(None);

/// An unpacked directory, locked as long as this process uses it.
struct Unpacked {
    root: TempDir,
    _locked: File,
}

/// Beginning of its name, which only this program uses: it removes the directories
/// of killed processes.
const PREFIX: &str = "l4sllm-unpacked-";

/// Age from which an unlocked directory belongs to no process: a younger one may
/// not be locked yet.
const STALE: Duration = Duration::from_secs(60);

/// A kind of built-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Scenario,
    Curriculum,
    Policy,
}

impl Kind {
    /// Name for errors.
    fn what(self) -> &'static str {
        match self {
            Kind::Scenario => "scenario",
            Kind::Curriculum => "curriculum",
            Kind::Policy => "policy",
        }
    }

    fn list(self) -> &'static str {
        match self {
            Kind::Scenario | Kind::Curriculum => "l4sllm scenarios list",
            Kind::Policy => "l4sllm policies list",
        }
    }

    /// Whether `path` is a regular file, or a policy's directory.
    fn is(self, path: &Path) -> bool {
        match self {
            Kind::Policy => path.is_dir(),
            Kind::Scenario | Kind::Curriculum => path.exists() && !path.is_dir(),
        }
    }
}

/// Names of a kind, in order, with their paths in the repository.
pub fn names(kind: Kind) -> BTreeMap<&'static str, &'static str> {
    let named = FILES.iter().filter_map(|(path, text)| {
        let named = match kind {
            Kind::Policy => {
                let dir = path.strip_suffix("/config.json")?;
                (dir.strip_prefix("policies/")?, dir)
            }
            Kind::Scenario | Kind::Curriculum => {
                let stem = path.strip_prefix("scenarios/")?.strip_suffix(".toml")?;
                (stem, *path)
            }
        };
        let is_curriculum = text.windows(BEHAVIOUR.len()).any(|at| at == BEHAVIOUR);
        let fits = kind == Kind::Policy || is_curriculum == (kind == Kind::Curriculum);
        (!named.0.contains('/') && fits).then_some(named)
    });
    named.collect()
}

/// A key that only curricula have.
const BEHAVIOUR: &[u8] = b"\n[[behaviour]]";

/// The student named by `argument`: a file, or a policy with one, by its directory or
/// name.
///
/// # Errors
/// Neither exists, or the policy has no student.
pub fn student(argument: &Path) -> anyhow::Result<PathBuf> {
    if argument.is_file() {
        return Ok(argument.to_owned());
    }
    let file = find(Kind::Policy, argument)?.join("student.l4s");
    ensure!(
        file.is_file(),
        "policy {} has no student; expected a file, or a policy with student.l4s: l4sllm policy \
         distil makes one",
        shown(argument)
    );
    Ok(file)
}

/// The content of a built-in file, by its path in the repository.
pub fn text(path: &str) -> Option<&'static str> {
    let (_, bytes) = FILES.iter().find(|(name, _)| *name == path)?;
    std::str::from_utf8(bytes).ok()
}

/// Loads the scenario named by `argument`: a file, or a built-in one.
///
/// # Errors
/// Neither exists, or the file is invalid.
pub fn scenario(argument: &Path) -> anyhow::Result<Scenario> {
    let file = find(Kind::Scenario, argument)?;
    let mut scenario = Scenario::load(&file)?;
    let mut aliases = Vec::from_iter(alias(Kind::Scenario, &file));
    for arm in &mut scenario.arms {
        let control = arm.control.as_mut();
        if let Some(ControlEngine::Policy(policy)) = control.map(|control| &mut control.engine) {
            *policy = find(Kind::Policy, policy).with_context(|| format!("arm {}", arm.name))?;
            aliases.extend(alias(Kind::Policy, policy));
        }
    }
    scenario.aliases.extend(aliases);
    Ok(scenario)
}

/// The path and name of the built-in unpacked at `path`; none for other paths.
pub fn alias(kind: Kind, path: &Path) -> Option<(PathBuf, String)> {
    let unpacked = UNPACKED.lock().unwrap_or_else(PoisonError::into_inner);
    let root = unpacked.as_ref()?.root.path().canonicalize().ok()?;
    let inside = path.canonicalize().ok()?;
    let inside = inside.strip_prefix(root).ok()?;
    let names = names(kind).into_iter();
    let mut names = names.filter(|(_, shipped)| inside == Path::new(shipped));
    Some((path.to_owned(), names.next()?.0.to_owned()))
}

/// The file or directory named by `argument`.
///
/// # Errors
/// It does not exist, and there is no built-in with that name.
pub fn find(kind: Kind, argument: &Path) -> anyhow::Result<PathBuf> {
    if kind.is(argument) {
        detail!("{}: {}", kind.what(), shown(argument));
        return Ok(argument.to_owned());
    }
    let names = names(kind);
    let name = bare(argument).unwrap_or_default();
    if let Some(path) = names.get(name) {
        detail!("{}: {name}, built into l4sllm {VERSION}", kind.what());
        return dir(path);
    }
    if argument.exists() {
        // Its reader reports any errors in it.
        return Ok(argument.to_owned());
    }
    let what = match kind {
        Kind::Policy => "directory",
        Kind::Scenario | Kind::Curriculum => "file",
    };
    let stem = argument.file_stem().and_then(|stem| stem.to_str());
    let unknown = unknown(kind, stem.unwrap_or_default());
    bail!(
        "cannot read {}: no such {what}, and {unknown}",
        shown(argument)
    );
}

/// The error for an unknown built-in name.
pub fn unknown(kind: Kind, name: &str) -> anyhow::Error {
    let what = kind.what();
    let hint = match nearest(name, names(kind).into_keys()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("`{}` lists them", kind.list()),
    };
    anyhow!("no built-in {what} is called {}; {hint}", shown(name))
}

/// Whether it is a name without a directory.
fn bare(argument: &Path) -> Option<&str> {
    let mut parts = argument.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => name.to_str(),
        _ => None,
    }
}

/// The name that differs from `got` in at most a third of its letters.
fn nearest<'a>(got: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.map(|name| (strsim::damerau_levenshtein(got, name), name));
    let (distance, name) = near.min()?;
    (distance <= name.len().max(3) / 3).then_some(name)
}

/// The unpacked file or directory for `path` in the repository. Files are
/// unpacked on the first call and kept until [`remove`].
///
/// # Errors
/// The temporary directory cannot be written.
pub fn dir(path: &str) -> anyhow::Result<PathBuf> {
    let mut unpacked = UNPACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(unpacked) = &*unpacked {
        return Ok(unpacked.root.path().join(path));
    }
    let temporary = std::env::temp_dir();
    remove_stale(&temporary, SystemTime::now());
    let made = unpack(&temporary).context("cannot unpack the built-in files")?;
    let found = made.root.path().join(path);
    *unpacked = Some(made);
    Ok(found)
}

fn unpack(temporary: &Path) -> std::io::Result<Unpacked> {
    let root = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(temporary)?;
    let locked = File::open(root.path())?;
    // Without locks, the directory is never stale: see `remove_stale`.
    let _ = flock(&locked, FlockOperation::NonBlockingLockExclusive);
    for (path, content) in FILES {
        let file = root.path().join(path);
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(file, content)?;
    }
    Ok(Unpacked {
        root,
        _locked: locked,
    })
}

/// Removes this user's unpacked directories of processes that were killed. A
/// directory that cannot be examined or removed stays.
fn remove_stale(temporary: &Path, now: SystemTime) {
    let Ok(entries) = temporary.read_dir() else {
        return;
    };
    let own = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        // Of the entry itself, so a link is not a directory.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let age = metadata.modified().map(|at| now.duration_since(at));
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_old = matches!(age, Ok(Ok(age)) if age >= STALE);
        if !(named && metadata.is_dir() && metadata.uid() == own && is_old) {
            continue;
        }
        let Ok(dir) = File::open(entry.path()) else {
            continue;
        };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes the files unpacked by [`dir`], at the end of the program.
pub fn remove() {
    drop(
        UNPACKED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_model::Policy;

    #[test]
    fn every_shipped_name_resolves() {
        for name in names(Kind::Scenario).keys() {
            let loaded = scenario(Path::new(name)).unwrap();
            assert_eq!(loaded.name, *name);
        }
        for name in names(Kind::Policy).keys() {
            Policy::load(&find(Kind::Policy, Path::new(name)).unwrap()).unwrap();
        }
        let curricula: Vec<_> = names(Kind::Curriculum).into_keys().collect();
        assert_eq!(curricula, ["curriculum"]);
        assert!(names(Kind::Scenario).contains_key("paper"));
        assert!(names(Kind::Policy).contains_key("default"));
    }

    #[test]
    fn directories_of_killed_processes_are_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let killed = at("l4sllm-unpacked-killed");
        std::fs::create_dir_all(killed.join("policies")).unwrap();
        std::fs::create_dir(at("l4sllm-out")).unwrap();
        std::fs::write(at("l4sllm-unpacked-file"), "").unwrap();
        std::os::unix::fs::symlink("l4sllm-out", at("l4sllm-unpacked-link")).unwrap();
        let used = unpack(temporary.path()).unwrap();
        let now = SystemTime::now();
        let entries = || temporary.path().read_dir().unwrap().count();
        // Too young to be stale.
        remove_stale(temporary.path(), now);
        assert_eq!(entries(), 5);
        remove_stale(temporary.path(), now + 2 * STALE);
        assert!(!killed.exists());
        assert!(used.root.path().join("scenarios/paper.toml").exists());
        assert_eq!(entries(), 4);
        let path = used.root.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }

    /// A directory with a scenario's name is not a scenario; a file is.
    #[test]
    fn files_take_precedence_over_shipped_names() {
        let dir = tempfile::tempdir().unwrap();
        let mine = dir.path().join("paper");
        std::fs::write(&mine, "").unwrap();
        assert_eq!(find(Kind::Scenario, &mine).unwrap(), mine);
        assert!(find(Kind::Policy, Path::new("default")).unwrap().is_dir());
        let elsewhere = find(Kind::Scenario, Path::new("./nowhere/paper"));
        assert!(elsewhere.is_err(), "only a bare name is a name");
    }

    #[test]
    fn missing_name_error_suggests_similar_names() {
        let said = |kind, name| find(kind, Path::new(name)).unwrap_err().to_string();
        let error = said(Kind::Scenario, "papper");
        assert!(
            error.starts_with("cannot read papper: no such file"),
            "{error}"
        );
        assert!(error.ends_with("did you mean paper?"), "{error}");
        let error = said(Kind::Scenario, "mine/paper.toml");
        assert!(error.ends_with("did you mean paper?"), "{error}");
        let error = said(Kind::Policy, "nonsense");
        assert!(
            error.ends_with("`l4sllm policies list` lists them"),
            "{error}"
        );
    }
}
