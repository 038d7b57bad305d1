//! Windows of pools, scaled as a policy sees them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Group, Pool, PoolError};
use crate::feature::Fit;
use crate::{PolicyConfig, Step, Transform, returns_to_go};

/// Which rows are for what.  Ranges are of rows over all pools, in order, and
/// lie within one episode each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To be fitted to.
    pub train: Vec<Range<usize>>,
    /// The end of the same episodes: the same conditions, later.
    pub late: Vec<Range<usize>>,
    /// Whole episodes that nothing was fitted to.
    pub unseen: Vec<Range<usize>>,
}

impl Split {
    /// Keeps `share` (0..=0.5) of the episodes out, spread evenly, and the
    /// same share of the time at the end of each other episode.
    pub fn new(episodes: &[Range<usize>], share: f64) -> Split {
        let mut split = Split {
            train: Vec::new(),
            late: Vec::new(),
            unseen: Vec::new(),
        };
        let every = if share > 0.0 {
            (1.0 / share).round() as usize
        } else {
            usize::MAX
        };
        for (i, episode) in episodes.iter().enumerate() {
            if i % every == every - 1 {
                split.unseen.push(episode.clone());
                continue;
            }
            let late = (episode.len() as f64 * share).round() as usize;
            split.train.push(episode.start..episode.end - late);
            split.late.push(episode.end - late..episode.end);
        }
        split.late.retain(|range| !range.is_empty());
        split
    }
}

/// All rows of some pools, in memory: 4 bytes a feature and 5 more a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    config: PolicyConfig, // what a row puts in
    starts: Vec<usize>,   // first row of each episode
    width: usize,
    features: Vec<f32>, // [rows][n], scaled
    actions: Vec<u8>,   // [rows]
    returns: Vec<f32>,  // [rows], scaled
}

impl Dataset {
    /// The episodes of pools, as ranges of rows over all of them.
    pub fn episodes(paths: &[PathBuf]) -> Result<Vec<Range<usize>>, PoolError> {
        let mut episodes: Vec<Range<usize>> = Vec::new();
        let mut rows = 0;
        for path in paths {
            let mut current = None;
            for_each_group(path, &[], |group| {
                for episode in group.episode {
                    match episodes.last_mut() {
                        Some(last) if current == Some(episode) => last.end += 1,
                        _ => episodes.push(rows..rows + 1),
                    }
                    current = Some(episode);
                    rows += 1;
                }
            })?;
        }
        Ok(episodes)
    }

    /// Fits the scaling of `config` to the rows of `train`, and its target to
    /// the quantile `target` (0..=1) of their returns.
    pub fn fit(
        config: &mut PolicyConfig,
        paths: &[PathBuf],
        episodes: &[Range<usize>],
        train: &[Range<usize>],
        target: f64,
    ) -> Result<(), PoolError> {
        let features: Vec<_> = config.features.iter().map(|f| f.name).collect();
        let mut fits: Vec<Fit> = features.iter().map(|f| Fit::new(f.transform())).collect();
        let mut rewards = Vec::new();
        let mut within = Within::new(train);
        let mut row = 0;
        for path in paths {
            for_each_group(path, &features, |group| {
                for i in 0..group.action.len() {
                    if within.contains(row) {
                        for (fit, column) in fits.iter_mut().zip(&group.features) {
                            fit.add(column[i]);
                        }
                    }
                    row += 1;
                }
                rewards.extend(group.reward);
            })?;
        }
        for (feature, fit) in config.features.iter_mut().zip(fits) {
            feature.scaling = fit.finish();
        }
        for episode in episodes {
            returns_to_go(&mut rewards[episode.clone()], config.returns.gamma);
        }
        let mut returns: Vec<f64> = train
            .iter()
            .flat_map(|range| rewards[range.clone()].iter().copied())
            .collect();
        let mut fit = Fit::new(Transform::Linear);
        returns.iter().for_each(|r| fit.add(*r));
        config.returns.scaling = fit.finish();
        returns.sort_unstable_by(f64::total_cmp);
        let at = (returns.len().saturating_sub(1) as f64 * target).round() as usize;
        config.returns.target = returns.get(at).copied().unwrap_or(0.0);
        Ok(())
    }

    /// Reads pools, scaled as `config` says.
    pub fn load(
        config: &PolicyConfig,
        paths: &[PathBuf],
        episodes: &[Range<usize>],
    ) -> Result<Dataset, PoolError> {
        let names: Vec<_> = config.features.iter().map(|f| f.name).collect();
        let (mut features, mut actions, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            for_each_group(path, &names, |group| {
                for i in 0..group.action.len() {
                    for (feature, column) in config.features.iter().zip(&group.features) {
                        features.push(feature.scaling.apply(column[i]));
                    }
                }
                actions.extend(group.action);
                rewards.extend(group.reward);
            })?;
        }
        for episode in episodes {
            returns_to_go(&mut rewards[episode.clone()], config.returns.gamma);
        }
        let returns = rewards
            .iter()
            .map(|r| config.returns.scaling.apply(*r))
            .collect();
        Ok(Dataset {
            config: config.clone(),
            starts: episodes.iter().map(|episode| episode.start).collect(),
            width: names.len(),
            features,
            actions,
            returns,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.actions.len()
    }

    /// Scaled features of a row.
    pub fn features(&self, row: usize) -> &[f32] {
        &self.features[row * self.width..][..self.width]
    }

    /// What the features of a row put into a network: a series sees the rows
    /// before it, of the same episode.
    pub fn inputs(&self, row: usize) -> Vec<f32> {
        let episode = self.starts.partition_point(|start| *start <= row);
        let start = episode.checked_sub(1).map_or(0, |e| self.starts[e]);
        let mut inputs = vec![0.0; self.config.inputs()];
        let value = |feature, back| self.features[(row - back) * self.width + feature];
        self.config.fill_inputs(row - start, value, &mut inputs);
        inputs
    }

    /// Code of the action of a row.
    pub fn action(&self, row: usize) -> u8 {
        self.actions[row]
    }

    /// Scaled return-to-go of a row.
    pub fn return_to_go(&self, row: usize) -> f32 {
        self.returns[row]
    }

    /// The rows of a window as a policy takes them; with `target`, every step
    /// asks for that return (scaled) in place of the one that came.
    pub fn steps(&self, rows: Range<usize>, target: Option<f32>) -> Vec<Step> {
        rows.map(|row| Step {
            return_to_go: target.unwrap_or(self.returns[row]),
            inputs: self.inputs(row),
            action: self.actions[row].into(),
        })
        .collect()
    }

    /// Rows of each action.
    pub fn counts(&self, ranges: &[Range<usize>]) -> [u64; crate::ACTIONS] {
        let mut counts = [0; crate::ACTIONS];
        for range in ranges {
            for action in &self.actions[range.clone()] {
                counts[usize::from(*action)] += 1;
            }
        }
        counts
    }
}

/// The places where a window of a given length fits.
#[derive(Debug, Clone)]
pub struct Windows {
    length: usize,
    ends: Vec<usize>,   // places up to and with each range
    starts: Vec<usize>, // first row of each range
}

impl Windows {
    /// The windows of `length` rows within `ranges`.
    pub fn new(ranges: &[Range<usize>], length: usize) -> Windows {
        let (mut ends, mut starts, mut places) = (Vec::new(), Vec::new(), 0);
        for range in ranges.iter().filter(|range| range.len() >= length) {
            places += range.len() + 1 - length;
            ends.push(places);
            starts.push(range.start);
        }
        Windows {
            length,
            ends,
            starts,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether no window fits.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows of window `index`, below [`Windows::len`].
    pub fn rows(&self, index: usize) -> Range<usize> {
        let range = self.ends.partition_point(|end| *end <= index);
        let before = if range == 0 { 0 } else { self.ends[range - 1] };
        let start = self.starts[range] + index - before;
        start..start + self.length
    }

    /// Up to `count` windows, spread evenly.
    pub fn spread(&self, count: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let count = count.min(self.len());
        (0..count).map(move |i| self.rows(i * self.len() / count))
    }
}

fn for_each_group(
    path: &Path,
    features: &[crate::Feature],
    mut f: impl FnMut(Group),
) -> Result<(), PoolError> {
    let pool = Pool::open(path)?;
    for index in 0..pool.groups() {
        f(pool.group(index, features)?);
    }
    Ok(())
}

/// Membership in sorted ranges, for rows asked in order.
struct Within<'a> {
    ranges: &'a [Range<usize>],
}

impl<'a> Within<'a> {
    fn new(ranges: &'a [Range<usize>]) -> Within<'a> {
        Within { ranges }
    }

    fn contains(&mut self, row: usize) -> bool {
        while self.ranges.first().is_some_and(|range| range.end <= row) {
            self.ranges = &self.ranges[1..];
        }
        self.ranges
            .first()
            .is_some_and(|range| range.contains(&row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_takes_every_row_once() {
        let episodes = [0..100, 100..250, 250..260, 260..400, 400..500];
        let split = Split::new(&episodes, 0.2);
        assert_eq!((split.unseen.len(), &split.unseen[0]), (1, &(400..500)));
        assert_eq!(split.train, [0..80, 100..220, 250..258, 260..372]);
        assert_eq!(split.late, [80..100, 220..250, 258..260, 372..400]);
    }

    #[test]
    fn windows_stay_within_ranges() {
        let windows = Windows::new(&[0..5, 7..9, 20..24], 3);
        let all: Vec<_> = (0..windows.len()).map(|i| windows.rows(i)).collect();
        assert_eq!(all, [0..3, 1..4, 2..5, 20..23, 21..24]);
        assert_eq!(windows.spread(2).collect::<Vec<_>>(), [0..3, 2..5]);
    }
}
