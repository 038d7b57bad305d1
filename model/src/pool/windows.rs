//! Split of the rows into training, validation and test ranges, and the
//! windows drawn from them.

use std::ops::Range;

use super::Episode;

/// Split of the rows. Ranges count rows over all pools, in order, and each is
/// within one episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows to fit to.
    pub train: Vec<Range<usize>>,
    /// The ends of the same episodes: same conditions, later times.
    pub late: Vec<Range<usize>>,
    /// Whole episodes excluded from fitting.
    pub unseen: Vec<Range<usize>>,
}

impl Split {
    /// Excludes `share` (0..=0.5) of the episodes, spread evenly, and the
    /// same share of the time at the end of every other episode.
    pub fn new(episodes: &[Range<usize>], share: f64) -> Split {
        Split::without(episodes.iter().map(|rows| (rows, false)), share)
    }

    /// As above, and also excludes all episodes of the scenarios `keep_out`.
    pub fn of(episodes: &[Episode], share: f64, keep_out: &[String]) -> Split {
        let kept_out = |e: &Episode| keep_out.contains(&e.scenario);
        Split::without(episodes.iter().map(|e| (&e.rows, kept_out(e))), share)
    }

    fn without<'a>(episodes: impl Iterator<Item = (&'a Range<usize>, bool)>, share: f64) -> Split {
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
        for (i, (rows, kept_out)) in episodes.enumerate() {
            if i % every == every - 1 || kept_out {
                split.unseen.push(rows.clone());
                continue;
            }
            let late = (rows.len() as f64 * share).round() as usize;
            split.train.push(rows.start..rows.end - late);
            split.late.push(rows.end - late..rows.end);
        }
        split.late.retain(|range| !range.is_empty());
        split
    }

    /// Fold `index` of `count` (greater than `index`) of a cross-validation
    /// over the training rows: each range is cut into `count` pieces of equal
    /// length; this piece becomes `late`, the others are trained on. Rows held
    /// out in `self` are in none of the parts.
    pub fn fold(&self, index: usize, count: usize) -> Split {
        let mut fold = Split {
            train: Vec::new(),
            late: Vec::new(),
            unseen: Vec::new(),
        };
        for range in &self.train {
            let cut = |piece: usize| range.start + range.len() * piece / count;
            let (from, to) = (cut(index), cut(index + 1));
            fold.train.extend([range.start..from, to..range.end]);
            fold.late.push(from..to);
        }
        fold.train.retain(|range| !range.is_empty());
        fold.late.retain(|range| !range.is_empty());
        fold
    }

    /// Every range, in row order.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let all = self.train.iter().chain(&self.late).chain(&self.unseen);
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_unstable_by_key(|range| range.start);
        all
    }
}

/// The windows within some ranges: every run of `length` rows, and each
/// shorter range as a whole.
#[derive(Debug, Clone)]
pub struct Windows {
    length: usize,
    ends: Vec<usize>,          // number of windows up to and including each range
    ranges: Vec<Range<usize>>, // not empty
}

impl Windows {
    /// The windows of at most `length` rows within `ranges`.
    pub fn new(ranges: &[Range<usize>], length: usize) -> Windows {
        let ranges: Vec<_> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
        let mut windows = 0;
        let ends = ranges
            .iter()
            .map(|range| {
                windows += (range.len() + 1).saturating_sub(length).max(1);
                windows
            })
            .collect();
        Windows {
            length,
            ends,
            ranges,
        }
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether there are no windows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows of window `index`, which is below [`Windows::len`].
    pub fn rows(&self, index: usize) -> Range<usize> {
        let at = self.ends.partition_point(|end| *end <= index);
        let before = if at == 0 { 0 } else { self.ends[at - 1] };
        let range = &self.ranges[at];
        let start = range.start + index - before;
        start..(start + self.length).min(range.end)
    }

    /// Maximum number of rows of a window.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The range that contains a row.
    pub fn range(&self, row: usize) -> &Range<usize> {
        &self.ranges[self.ranges.partition_point(|range| range.end <= row)]
    }

    /// Up to `count` windows, spread evenly.
    pub fn spread(&self, count: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let count = count.min(self.len());
        (0..count).map(move |i| self.rows(i * self.len() / count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episodes(ranges: &[Range<usize>]) -> Vec<Episode> {
        let episode = |(i, rows): (usize, &Range<usize>)| Episode {
            rows: rows.clone(),
            pool: 0,
            scenario: format!("s{}", i % 2),
        };
        ranges.iter().enumerate().map(episode).collect()
    }

    #[test]
    fn split_contains_every_row_once() {
        let ranges = [0..100, 100..250, 250..260, 260..400, 400..500];
        let split = Split::new(&ranges, 0.2);
        assert_eq!(split, Split::of(&episodes(&ranges), 0.2, &[]));
        assert_eq!((split.unseen.len(), &split.unseen[0]), (1, &(400..500)));
        assert_eq!(split.train, [0..80, 100..220, 250..258, 260..372]);
        assert_eq!(split.late, [80..100, 220..250, 258..260, 372..400]);
        let rows: usize = split.ranges().iter().map(|r| r.len()).sum();
        assert_eq!(rows, 500);
    }

    #[test]
    fn whole_scenarios_can_be_held_out() {
        let episodes = episodes(&[0..10, 10..20, 20..30, 30..40]);
        let split = Split::of(&episodes, 0.0, &["s1".to_owned()]);
        assert_eq!(split.train, [0..10, 20..30]);
        assert_eq!(split.unseen, [10..20, 30..40]);
    }

    #[test]
    fn folds_evaluate_each_training_row_once() {
        let split = Split::new(&[0..100, 100..110], 0.2);
        let folds: Vec<Split> = (0..4).map(|i| split.fold(i, 4)).collect();
        assert_eq!(folds[1].late, [20..40, 102..104]);
        assert_eq!(folds[1].train, [0..20, 40..80, 100..102, 104..108]);
        assert_eq!(folds[0].train, [20..80, 102..108]);
        let judged = folds.iter().flat_map(|fold| fold.late.iter().cloned());
        let mut judged: Vec<usize> = judged.flatten().collect();
        judged.sort_unstable();
        assert!(judged.into_iter().eq((0..80).chain(100..108)));
        assert!(folds.iter().all(|fold| fold.unseen.is_empty()));
    }

    #[test]
    fn windows_stay_within_ranges() {
        let windows = Windows::new(&[0..5, 7..9, 20..24], 3);
        let all: Vec<_> = (0..windows.len()).map(|i| windows.rows(i)).collect();
        assert_eq!(all, [0..3, 1..4, 2..5, 7..9, 20..23, 21..24]);
        assert_eq!(windows.spread(2).collect::<Vec<_>>(), [0..3, 7..9]);
    }
}
