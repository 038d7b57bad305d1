//! Parts of a pool, each of a few episodes, in a directory next to it. Complete
//! parts survive any end of the program.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use l4sllm_model::files::{Claim, Existing, remove_leftovers, replace};
use l4sllm_model::pool::{self, EpisodeFacts, PoolWriter, episodes_path};
use l4sllm_model::text::shown;

use super::episode::Emulated;
use super::plan::Plan;
use crate::output;

/// Episodes per part: the maximum that an interruption costs a thread.
const EPISODES: u32 = 8;

/// Identity of the pool that the parts belong to; see [`Plan::identity`].
const PLAN_FILE: &str = "plan.json";

/// New name of the plan once all parts are complete and the pool is made from
/// them. If the pool exists, only the removal of the parts remains to be done.
const JOINED_FILE: &str = "joined.json";

/// The inode of the pool being replaced, until the new pool has its name.
const REPLACED_FILE: &str = "replaced";

/// The parts of one pool.
pub struct Parts {
    out: PathBuf,
    dir: PathBuf,
    episodes: u32,
    existing: Existing,
    joined: bool,
    _claim: Claim,
}

/// Episodes in one part.
pub struct Part {
    pub episodes: Range<u32>,
    path: PathBuf,
}

/// A part being written.
pub struct PartWriter {
    path: PathBuf,
    pool: PoolWriter,
    facts: Vec<EpisodeFacts>,
}

impl Parts {
    /// Opens the parts for `out`: those of an earlier attempt at the same pool,
    /// or none. `force` replaces an existing pool.
    pub fn open(out: &Path, force: bool, plan: &Plan) -> anyhow::Result<Parts> {
        ensure!(
            out.extension().is_some_and(|ext| ext == "parquet"),
            "{}: expected a name that ends in .parquet",
            out.display()
        );
        let mut dir = out.as_os_str().to_owned();
        dir.push(".parts");
        let dir = PathBuf::from(dir);
        if let Some(parts) = Parts::joined(out, &dir, plan)? {
            return Ok(parts);
        }
        let existing = output::existing(out, force)?;
        check_facts(out, force)?;
        let claim = Claim::of(&dir)?;
        clean(&dir)?;
        let identity = plan.identity()?;
        let path = dir.join(PLAN_FILE);
        match fs::read_to_string(&path) {
            Ok(found) => ensure!(found == identity, "{}", of_another(&dir)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write(&path, identity.as_bytes())?;
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display()))?,
        }
        Ok(Parts {
            out: out.to_owned(),
            dir,
            episodes: plan.episodes(),
            existing,
            joined: false,
            _claim: claim,
        })
    }

    /// Restores parts that an earlier attempt was about to remove or to join into
    /// the pool; the latter are joined again.
    fn joined(out: &Path, dir: &Path, plan: &Plan) -> anyhow::Result<Option<Parts>> {
        let path = dir.join(JOINED_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let claim = Claim::of(dir)?;
        let found = fs::read_to_string(&path);
        let found = found.with_context(|| format!("cannot read {}", shown(&path)))?;
        ensure!(found == plan.identity()?, "{}", of_another(dir));
        clean(dir)?;
        let replaced = fs::read_to_string(dir.join(REPLACED_FILE)).ok();
        let inode = inode(out);
        if inode.is_none() || inode == replaced {
            fs::rename(&path, dir.join(PLAN_FILE))
                .with_context(|| format!("cannot rename {}", shown(&path)))?;
            return Ok(None);
        }
        Ok(Some(Parts {
            out: out.to_owned(),
            dir: dir.to_owned(),
            episodes: plan.episodes(),
            existing: Existing::Keep,
            joined: true,
            _claim: claim,
        }))
    }

    /// Directory of the parts.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Number of parts when all are complete.
    pub fn count(&self) -> usize {
        self.episodes.div_ceil(EPISODES) as usize
    }

    /// Parts that are not complete yet.
    pub fn missing(&self) -> Vec<Part> {
        let parts = self.all().filter(|_| !self.joined);
        parts.filter(|part| !part.path.exists()).collect()
    }

    /// Starts writing a part.
    pub fn begin(&self, part: &Part) -> anyhow::Result<PartWriter> {
        let mut pool = PoolWriter::create(&part.path)?;
        pool.number_from(part.episodes.start);
        Ok(PartWriter {
            path: part.path.clone(),
            pool,
            facts: Vec::new(),
        })
    }

    /// Joins all parts into the pool and removes them; returns its rows and
    /// episodes.
    pub fn join(self) -> anyhow::Result<(u64, usize)> {
        let paths: Vec<PathBuf> = self.all().map(|part| part.path).collect();
        if !self.joined {
            self.make_pool(&paths)?;
        }
        self.remove(&paths)
            .with_context(|| format!("cannot remove {}", self.dir.display()))?;
        let facts = read_facts(&self.out)?;
        let rows = facts.iter().map(|episode| episode.rows).sum();
        Ok((rows, facts.len()))
    }

    fn make_pool(&self, paths: &[PathBuf]) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for path in paths {
            pool::write_episodes(&mut lines, &read_facts(path)?);
        }
        write(&episodes_path(&self.out), &lines)?;
        let replaced = self.dir.join(REPLACED_FILE);
        match inode(&self.out) {
            Some(inode) => write(&replaced, inode.as_bytes())?,
            None => {
                remove(&replaced).with_context(|| format!("cannot remove {}", shown(&replaced)))?
            }
        }
        let plan = self.dir.join(PLAN_FILE);
        fs::rename(&plan, self.dir.join(JOINED_FILE))
            .with_context(|| format!("cannot rename {}", shown(&plan)))?;
        Ok(pool::join(paths, &self.out, self.existing)?)
    }

    /// Removes only files written here. The plan is removed last, so that the
    /// remaining files can still be attributed to it.
    fn remove(&self, parts: &[PathBuf]) -> std::io::Result<()> {
        for path in parts {
            remove(path)?;
            remove(&episodes_path(path))?;
        }
        remove(&self.dir.join(REPLACED_FILE))?;
        remove(&self.dir.join(JOINED_FILE))?;
        fs::remove_dir(&self.dir)
    }

    fn all(&self) -> impl Iterator<Item = Part> + '_ {
        (0..self.episodes.div_ceil(EPISODES)).map(|number| Part {
            episodes: number * EPISODES..((number + 1) * EPISODES).min(self.episodes),
            path: self.dir.join(format!("{number:06}.parquet")),
        })
    }
}

impl PartWriter {
    /// Appends an episode, which must have rows, or numbers would not be
    /// consecutive.
    pub fn add(&mut self, episode: Emulated) -> anyhow::Result<()> {
        ensure!(
            !episode.rows.is_empty(),
            "episode {} has no record: too short, or `from` too late",
            episode.facts.episode
        );
        self.pool.episode(&episode.facts.scenario, episode.rows)?;
        self.facts.push(episode.facts);
        Ok(())
    }

    /// Completes the part. The pool is written last, because it marks the part as
    /// complete.
    pub fn finish(self) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        pool::write_episodes(&mut lines, &self.facts);
        write(&episodes_path(&self.path), &lines)?;
        Ok(self.pool.finish()?)
    }
}

/// Removes a file if it exists.
fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn inode(path: &Path) -> Option<String> {
    let metadata = path.symlink_metadata().ok()?;
    Some(metadata.ino().to_string())
}

fn read_facts(pool: &Path) -> anyhow::Result<Vec<EpisodeFacts>> {
    pool::read_episodes(pool)?
        .with_context(|| format!("{}: missing", episodes_path(pool).display()))
}

/// Removes temporary files of a killed collection from its claimed directory.
fn clean(dir: &Path) -> anyhow::Result<()> {
    remove_leftovers(dir, |_| true).with_context(|| format!("cannot clean {}", shown(dir)))
}

fn of_another(dir: &Path) -> String {
    format!(
        "{}: parts of another collection (seed, files, options or version differ); run the same \
         command to continue it, or remove the directory to start another",
        dir.display()
    )
}

/// Refuses an unrelated file in place of the description of the episodes of
/// `out`. A description without its pool belongs to an interrupted collection.
fn check_facts(out: &Path, force: bool) -> anyhow::Result<()> {
    let path = episodes_path(out);
    output::existing(&path, true)?;
    ensure!(
        force || pool::read_episodes(out).is_ok(),
        "{}: already exists and does not describe episodes; --force replaces it",
        shown(&path)
    );
    Ok(())
}

/// Replaces one of the collection's files.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace(path, bytes).with_context(|| format!("cannot write {}", shown(path)))
}
