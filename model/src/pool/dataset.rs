//! Rows of pools, scaled for a policy.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::iter::repeat_n;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{CostCurves, Group, Pool, PoolError, Source, Split, open};
use crate::feature::Fit;
use crate::{
    EncoderConfig, Encoding, Feature, PolicyConfig, Step, Taken, Transform, returns_to_go,
};

/// Maximum number of rows for fitting bins.
const SAMPLE: usize = 1 << 17;

/// A run of consecutive records of one scheduler instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Its rows, numbered over all pools.
    pub rows: Range<usize>,
    /// Index of its pool, from 0.
    pub pool: usize,
    /// Its scenario.
    pub scenario: String,
}

/// All rows of some pools, in memory: 4 bytes per feature plus 5 per row. Pools
/// are read one row group at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    config: PolicyConfig, // how a row is converted
    starts: Vec<usize>,   // first row of each episode
    width: usize,
    features: Vec<f32>, // [rows][n], scaled
    actions: Vec<u8>,   // [rows]
    labels: Vec<u8>,    // [rows], or none where they are the actions
    returns: Vec<f32>,  // [rows], scaled
    lesson: Option<CostCurves>,
}

impl Dataset {
    /// The episodes of pools.
    ///
    /// # Errors
    /// A pool cannot be read or has an invalid column.
    pub fn episodes(paths: &[PathBuf]) -> Result<Vec<Episode>, PoolError> {
        let mut episodes: Vec<Episode> = Vec::new();
        let mut row = 0;
        for (pool, path) in paths.iter().enumerate() {
            let mut current = None;
            for_each_group(path, &[], |group, scenarios| {
                let names = scenarios
                    .iter()
                    .flat_map(|(name, rows)| repeat_n(name, *rows));
                for (number, name) in group.episode.iter().zip(names) {
                    match episodes.last_mut() {
                        Some(last) if current == Some(*number) => last.rows.end += 1,
                        _ => episodes.push(Episode {
                            rows: row..row + 1,
                            pool,
                            scenario: name.clone(),
                        }),
                    }
                    current = Some(*number);
                    row += 1;
                }
            })?;
        }
        Ok(episodes)
    }

    /// Fits the scaling of `config` to the training rows of `split`, the bins
    /// of its scalars to a sample of them, and its target to the quantile
    /// `target` (0..=1) of their returns. Without `bins`, scalars have none.
    ///
    /// # Errors
    /// A pool cannot be read or lacks a feature, or the policy is not on
    /// records.
    pub fn fit(
        config: &mut PolicyConfig,
        paths: &[PathBuf],
        split: &Split,
        bins: usize,
        target: f64,
    ) -> Result<(), PoolError> {
        let features = config.record_features()?;
        let (_, gamma) = config.reward()?;
        let mut fits: Vec<Fit> = features.iter().map(|f| Fit::new(f.transform())).collect();
        let mut rewards = Vec::new();
        let mut within = Within::new(&split.train);
        let rows: usize = split.train.iter().map(|range| range.len()).sum();
        let every = rows.div_ceil(SAMPLE).max(1);
        let mut sample = vec![Vec::new(); if bins > 0 { features.len() } else { 0 }];
        let (mut row, mut taken) = (0, 0);
        for path in paths {
            for_each_group(path, &features, |group, _| {
                for i in 0..group.action.len() {
                    if within.contains(row) {
                        for (fit, column) in fits.iter_mut().zip(&group.features) {
                            fit.add(column[i]);
                        }
                        if taken % every == 0 {
                            for (values, column) in sample.iter_mut().zip(&group.features) {
                                values.push(column[i]);
                            }
                        }
                        taken += 1;
                    }
                    row += 1;
                }
                rewards.extend(group.reward);
            })?;
        }
        for (feature, fit) in config.features.iter_mut().zip(fits) {
            feature.scaling = fit.finish();
        }
        for (feature, values) in config.features.iter_mut().zip(&sample) {
            if let EncoderConfig::Scalar { encoding, .. } = &mut feature.encoder {
                let scaled = values.iter().map(|v| feature.scaling.apply(*v));
                *encoding = Encoding::bins(&mut scaled.collect::<Vec<_>>(), bins);
            }
        }
        let mut kept = 0;
        for range in &split.train {
            returns_to_go(&mut rewards[range.clone()], gamma);
            rewards.copy_within(range.clone(), kept);
            kept += range.len();
        }
        rewards.truncate(kept);
        let mut fit = Fit::new(Transform::Linear);
        rewards.iter().for_each(|r| fit.add(*r));
        config.returns.scaling = fit.finish();
        let at = (kept.saturating_sub(1) as f64 * target).round() as usize;
        if kept > 0 {
            let (_, quantile, _) = rewards.select_nth_unstable_by(at, f64::total_cmp);
            config.returns.target = *quantile;
        }
        Ok(())
    }

    /// Reads pools with the scaling of `config`. Returns end with the ranges of
    /// `split`, so that training rows contain nothing from later rows.
    ///
    /// # Errors
    /// As [`Dataset::fit`].
    pub fn load(
        config: &PolicyConfig,
        paths: &[PathBuf],
        episodes: &[Episode],
        split: &Split,
    ) -> Result<Dataset, PoolError> {
        let names = config.record_features()?;
        let (_, gamma) = config.reward()?;
        let rows = episodes.last().map_or(0, |episode| episode.rows.end);
        let mut features = Vec::with_capacity(rows * names.len());
        let mut actions = Vec::with_capacity(rows);
        let mut rewards = Vec::with_capacity(rows);
        for path in paths {
            for_each_group(path, &names, |group, _| {
                for i in 0..group.action.len() {
                    for (feature, column) in config.features.iter().zip(&group.features) {
                        features.push(feature.scaling.apply(column[i]));
                    }
                }
                actions.extend(group.action);
                rewards.extend(group.reward);
            })?;
        }
        for range in split.ranges() {
            returns_to_go(&mut rewards[range], gamma);
        }
        let returns = rewards
            .iter()
            .map(|r| config.returns.scaling.apply(*r))
            .collect();
        Ok(Dataset {
            config: config.clone(),
            starts: episodes.iter().map(|episode| episode.rows.start).collect(),
            width: names.len(),
            features,
            actions,
            labels: Vec::new(),
            returns,
            lesson: None,
        })
    }

    /// Replaces the actions as targets by the costs of settings in each
    /// episode's condition, for a head that steers. The return is then the
    /// target return, because the actual return reflects the setting used, not
    /// the best one.
    ///
    /// # Panics
    /// If the numbers of curves and episodes differ.
    pub fn teach(&mut self, lesson: CostCurves) {
        assert_eq!(lesson.costs.len(), self.starts.len(), "curves and episodes");
        let returns = &self.config.returns;
        self.returns.fill(returns.scaling.apply(returns.target));
        self.labels = vec![0; self.actions.len()];
        let ends = self.starts.iter().skip(1).copied();
        let ends = ends.chain([self.actions.len()]);
        for (episode, (start, end)) in self.starts.iter().zip(ends).enumerate() {
            self.labels[*start..end].fill(lesson.best(episode));
        }
        self.lesson = Some(lesson);
    }

    /// Costs of settings, if rows teach those.
    pub fn lesson(&self) -> Option<&CostCurves> {
        self.lesson.as_ref()
    }

    /// Costs of settings in a row's condition, at the lesson's knots; none
    /// without a lesson.
    pub fn costs(&self, row: usize) -> &[f32] {
        match &self.lesson {
            Some(lesson) => &lesson.costs[self.episode(row)],
            None => &[],
        }
    }

    /// The target of a row: its action, unless changed by [`Dataset::teach`].
    pub fn label(&self, row: usize) -> u8 {
        self.labels.get(row).copied().unwrap_or(self.actions[row])
    }

    /// For each row, whether its raw features equal those of a row of `train`,
    /// as with repeated rows of a selection. Uses 64-bit hashes.
    ///
    /// # Errors
    /// As [`Dataset::fit`].
    pub fn seen(
        config: &PolicyConfig,
        paths: &[PathBuf],
        train: &[Range<usize>],
    ) -> Result<Vec<bool>, PoolError> {
        let names = config.record_features()?;
        let mut hashes = Vec::new();
        for path in paths {
            for_each_group(path, &names, |group, _| {
                for i in 0..group.action.len() {
                    let mut hasher = DefaultHasher::new();
                    for column in &group.features {
                        hasher.write_u64(column[i].to_bits());
                    }
                    hashes.push(hasher.finish());
                }
            })?;
        }
        let known: HashSet<u64> = train
            .iter()
            .flat_map(|range| hashes[range.clone()].iter().copied())
            .collect();
        Ok(hashes.iter().map(|hash| known.contains(hash)).collect())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.actions.len()
    }

    /// Scaled features of a row.
    pub fn features(&self, row: usize) -> &[f32] {
        &self.features[row * self.width..][..self.width]
    }

    /// Appends the network inputs of the rows' features: a series includes
    /// earlier rows of the same episode.
    pub fn inputs(&self, rows: Range<usize>, inputs: &mut Vec<f32>) {
        if self.config.lookback() == 0 {
            let all = rows.start * self.width..rows.end * self.width;
            return inputs.extend_from_slice(&self.features[all]);
        }
        let width = self.config.inputs();
        for row in rows {
            let start = self.starts[self.episode(row)];
            let value = |feature, back| self.features[(row - back) * self.width + feature];
            let at = inputs.len();
            inputs.resize(at + width, 0.0);
            self.config
                .fill_inputs(row - start, value, &mut inputs[at..]);
        }
    }

    /// The episode of a row, counted from 0.
    fn episode(&self, row: usize) -> usize {
        // The first one starts with row 0.
        self.starts.partition_point(|start| *start <= row) - 1
    }

    /// Code of the action of a row.
    pub fn action(&self, row: usize) -> u8 {
        self.actions[row]
    }

    /// Scaled return-to-go of a row.
    pub fn return_to_go(&self, row: usize) -> f32 {
        self.returns[row]
    }

    /// The rows of a window as input of a policy; with `target`, every step has
    /// that return (scaled) instead of the actual one.
    pub fn steps(&self, rows: Range<usize>, target: Option<f32>) -> Vec<Step> {
        rows.map(|row| Step {
            return_to_go: target.unwrap_or(self.returns[row]),
            inputs: {
                let mut inputs = Vec::with_capacity(self.config.inputs());
                self.inputs(row..row + 1, &mut inputs);
                inputs
            },
            action: Taken::Action(self.actions[row].into()),
        })
        .collect()
    }

    /// Number of rows for each target.
    pub fn counts(&self, ranges: &[Range<usize>]) -> [u64; crate::ACTIONS] {
        let mut counts = [0; crate::ACTIONS];
        for range in ranges {
            for row in range.clone() {
                counts[usize::from(self.label(row))] += 1;
            }
        }
        counts
    }
}

/// Row groups of a pool, Parquet or JSON, with the scenarios of their rows.
fn for_each_group(
    path: &Path,
    features: &[Feature],
    mut f: impl FnMut(Group, &[(String, usize)]),
) -> Result<(), PoolError> {
    if is_parquet(path)? {
        let pool = Pool::open(path)?;
        for index in 0..pool.groups() {
            f(pool.group(index, features)?, &pool.scenario_runs(index)?);
        }
        return Ok(());
    }
    let mut source = open(path)?;
    let mut places = Vec::new();
    for feature in features {
        places.push(
            source
                .schema()
                .place(*feature)
                .ok_or_else(|| PoolError::Column {
                    path: path.to_owned(),
                    row: None,
                    column: feature.name().to_owned(),
                    reason: "missing".to_owned(),
                })?,
        );
    }
    let mut episodes = 0;
    while let Some(mut rows) = source.next()? {
        episodes += u32::from(rows.first);
        let count = rows.len();
        let group = Group {
            episode: vec![episodes; count],
            time_ns: rows.time_ns,
            action: rows.action,
            reward: rows.reward,
            done: rows.done,
            features: places
                .iter()
                .map(|place| std::mem::take(&mut rows.features[*place]))
                .collect(),
        };
        f(group, &[(rows.scenario, count)]);
    }
    Ok(())
}

fn is_parquet(path: &Path) -> Result<bool, PoolError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(PoolError::io("open", path))?;
    let read = file.take(4).read_to_end(&mut head);
    read.map_err(PoolError::io("read", path))?;
    Ok(head == b"PAR1")
}

/// Membership in sorted ranges, for rows queried in order.
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
