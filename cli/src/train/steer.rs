//! Training data for a head that steers: the costs of settings in each
//! condition of a pool.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use l4sllm_model::ACTIONS;
use l4sllm_model::pool::{
    CostCurves, Episode, EpisodeFacts, Split, Tolerance, episodes_path, read_episodes,
};

/// Costs and split for each episode of some pools, in order.
pub struct Lesson {
    /// Costs of settings.
    pub curves: CostCurves,
    /// Whether its condition is held out.
    pub kept_out: Vec<bool>,
}

impl Lesson {
    /// Measures the behaviours `names` of each pool, three to choose from and
    /// the others between them, and excludes a share of the conditions, spread
    /// evenly, for validation.
    pub fn new(
        pools: &[PathBuf],
        names: &[String],
        share: f64,
        tolerance: &Tolerance,
    ) -> anyhow::Result<Lesson> {
        let (chosen, between) = names
            .split_first_chunk::<ACTIONS>()
            .context("--steer: expected three settings")?;
        let every = if share > 0.0 {
            (1.0 / share).round() as usize
        } else {
            usize::MAX
        };
        let mut found: Option<CostCurves> = None;
        let (mut kept_out, mut conditions) = (Vec::new(), 0);
        for path in pools {
            let episodes = read_episodes(path)?.with_context(|| {
                format!(
                    "{}: missing, but --steer needs it",
                    episodes_path(path).display()
                )
            })?;
            let curves = CostCurves::measure(&episodes, chosen, between, tolerance)
                .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
            match &mut found {
                None => found = Some(curves),
                Some(before) => {
                    ensure!(
                        (&before.settings, &before.knots) == (&curves.settings, &curves.knots),
                        "{}: its settings differ from those of the previous pool",
                        path.display()
                    );
                    before.costs.extend(curves.costs);
                }
            }
            let scenarios: BTreeSet<&str> = episodes.iter().map(|e| e.scenario.as_str()).collect();
            let kept: BTreeSet<&str> = scenarios
                .iter()
                .enumerate()
                .filter(|(at, _)| (conditions + at) % every == every - 1)
                .map(|(_, scenario)| *scenario)
                .collect();
            conditions += scenarios.len();
            let keeps = |episode: &EpisodeFacts| kept.contains(episode.scenario.as_str());
            kept_out.extend(episodes.iter().map(keeps));
        }
        Ok(Lesson {
            curves: found.context("--pool: expected at least one")?,
            kept_out,
        })
    }

    /// Excludes whole conditions, because behaviours of the same condition are
    /// similar.
    pub fn split(&self, episodes: &[Episode]) -> anyhow::Result<Split> {
        ensure!(
            episodes.len() == self.kept_out.len(),
            "the pools have {} episodes, but the files next to them describe {}",
            episodes.len(),
            self.kept_out.len()
        );
        let part = |kept: bool| {
            let all = episodes.iter().zip(&self.kept_out);
            all.filter(|(_, out)| **out == kept)
                .map(|(episode, _)| episode.rows.clone())
                .collect()
        };
        Ok(Split {
            train: part(false),
            late: Vec::new(),
            unseen: part(true),
        })
    }
}

/// The hundreds of conditions of a curriculum are grouped under its name; other
/// scenarios are unchanged.
pub fn under_their_curriculum(scenarios: BTreeSet<String>) -> Vec<String> {
    let curriculum = |name: &str| {
        let (curriculum, number) = name.rsplit_once('-')?;
        let counts = number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit());
        counts.then(|| curriculum.to_owned())
    };
    let names: BTreeSet<String> = scenarios
        .into_iter()
        .map(|name| curriculum(&name).unwrap_or(name))
        .collect();
    names.into_iter().collect()
}
