//! The published selection of rows: windows around each change of action.

use std::collections::VecDeque;

use super::{PoolError, Rows, Schema, Source};

/// Parameters of the selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// Rows before a row with another action than its predecessor.
    pub before: usize,
    /// Rows from that row on.
    pub after: usize,
    /// Number of rows of the pool that are examined.
    pub first: u64,
    /// Selects a row in several windows only once; published pools repeat it.
    pub once: bool,
}

impl Default for Selection {
    /// The published parameters: five rows before each change.
    fn default() -> Selection {
        Selection {
            before: 5,
            after: 0,
            first: u64::MAX,
            once: false,
        }
    }
}

impl Selection {
    /// Number of rows that the published selection examines for a share of
    /// `rows`: its loop ends after the first row with a number, from 0, above
    /// `rows * share`.
    pub fn visited(rows: u64, share: f64) -> u64 {
        let limit = (rows as f64 * share).floor();
        rows.min((limit as u64).saturating_add(2))
    }
}

/// The selected rows of a source, in the order of their windows. Windows stay
/// within episodes; an episode without a change of action is dropped.
pub struct Select<S> {
    source: S,
    selection: Selection,
    schema: Schema,
    recent: Rows,           // the last rows of the episode
    start: u64,             // index of the first of them in the episode
    end: u64,               // one past the last
    waiting: VecDeque<u64>, // changes whose windows are not complete
    taken: u64,             // end of the rows already selected, for `once`
    begun: bool,            // whether a row of the episode was emitted
    seen: u64,
    out: VecDeque<Rows>,
}

impl<S: Source> Select<S> {
    /// Applies `selection` to `source`.
    pub fn new(source: S, selection: Selection) -> Select<S> {
        let schema = source.schema().clone();
        Select {
            recent: Rows::new(&schema, "", true),
            schema,
            source,
            selection,
            start: 0,
            end: 0,
            waiting: VecDeque::new(),
            taken: 0,
            begun: false,
            seen: 0,
            out: VecDeque::new(),
        }
    }

    fn take(&mut self, rows: &Rows) {
        if rows.first {
            self.end_episode();
            self.recent = Rows::new(&self.schema, &rows.scenario, true);
            (self.start, self.end, self.taken, self.begun) = (0, 0, 0, false);
        }
        let mut selected = Rows::new(&self.schema, &rows.scenario, !self.begun);
        // One row more than a window: a change is detected against the row
        // before.
        let keep = self.selection.before + self.selection.after + 1;
        for i in 0..rows.len() {
            if self.seen == self.selection.first {
                break;
            }
            self.seen += 1;
            let last = self.recent.action.last().copied();
            if last.is_some_and(|last| last != rows.action[i]) {
                self.waiting.push_back(self.end);
            }
            self.recent.extend(rows, i..i + 1);
            self.end += 1;
            while let Some(change) = self.waiting.front().copied() {
                if self.end < change + self.selection.after as u64 {
                    break;
                }
                self.waiting.pop_front();
                self.window(change, &mut selected);
            }
            if self.recent.len() >= 4096 + 2 * keep {
                self.forget(keep);
            }
        }
        self.hand_on(selected);
    }

    /// Emits the remaining windows, which the end of an episode truncates.
    fn end_episode(&mut self) {
        let mut selected = Rows::new(&self.schema, &self.recent.scenario, !self.begun);
        while let Some(change) = self.waiting.pop_front() {
            self.window(change, &mut selected);
        }
        self.hand_on(selected);
    }

    fn window(&mut self, change: u64, selected: &mut Rows) {
        let from = change.saturating_sub(self.selection.before as u64);
        let from = if self.selection.once {
            from.max(self.taken)
        } else {
            from
        };
        let to = (change + self.selection.after as u64).min(self.end);
        if from < to {
            let place = |row: u64| (row - self.start) as usize;
            selected.extend(&self.recent, place(from)..place(to));
            self.taken = self.taken.max(to);
        }
    }

    fn hand_on(&mut self, selected: Rows) {
        if !selected.is_empty() {
            self.begun = true;
            self.out.push_back(selected);
        }
    }

    fn forget(&mut self, keep: usize) {
        let oldest = self.waiting.front().map_or(self.end, |change| *change);
        let from = oldest.saturating_sub(keep as u64).max(self.start);
        let from = from.min(self.end - keep as u64);
        let mut kept = Rows::new(&self.schema, &self.recent.scenario, true);
        kept.extend(
            &self.recent,
            (from - self.start) as usize..self.recent.len(),
        );
        (self.recent, self.start) = (kept, from);
    }
}

impl<S: Source> Source for Select<S> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn next(&mut self) -> Result<Option<Rows>, PoolError> {
        loop {
            if let Some(rows) = self.out.pop_front() {
                return Ok(Some(rows));
            }
            let enough = self.seen == self.selection.first;
            let rows = if enough { None } else { self.source.next()? };
            match rows {
                Some(rows) => self.take(&rows),
                None if self.waiting.is_empty() => return Ok(None),
                None => self.end_episode(),
            }
        }
    }

    fn position(&self) -> u64 {
        self.source.position()
    }

    fn ignored(&self) -> &[String] {
        self.source.ignored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Feature;

    /// Rows with their index as the only feature, in chunks of seven.
    struct Actions {
        schema: Schema,
        chunks: VecDeque<Rows>,
    }

    impl Actions {
        fn new(episodes: &[&[u8]]) -> Actions {
            let schema = Schema::new([Feature::PacketLength], false, false);
            let mut chunks = VecDeque::new();
            for actions in episodes {
                for (n, chunk) in actions.chunks(7).enumerate() {
                    let mut rows = Rows::new(&schema, "s", n == 0);
                    for (i, action) in chunk.iter().enumerate() {
                        rows.action.push(*action);
                        rows.reward.push(0.0);
                        rows.done.push(false);
                        rows.features[0].push((n * 7 + i) as f64);
                    }
                    chunks.push_back(rows);
                }
            }
            Actions { schema, chunks }
        }
    }

    impl Source for Actions {
        fn schema(&self) -> &Schema {
            &self.schema
        }
        fn next(&mut self) -> Result<Option<Rows>, PoolError> {
            Ok(self.chunks.pop_front())
        }
        fn position(&self) -> u64 {
            0
        }
    }

    fn select(episodes: &[&[u8]], selection: Selection) -> Vec<Vec<u64>> {
        let mut select = Select::new(Actions::new(episodes), selection);
        let mut all: Vec<Vec<u64>> = Vec::new();
        while let Some(rows) = select.next().unwrap() {
            if rows.first {
                all.push(Vec::new());
            }
            let places = rows.features[0].iter().map(|v| *v as u64);
            all.last_mut().unwrap().extend(places);
        }
        all
    }

    #[test]
    fn windows_precede_each_change() {
        let mut actions = [0; 30];
        actions[2] = 1; // changes at 2 and at 3
        actions[20] = 2; // and at 20 and 21
        let published = select(&[&actions], Selection::default());
        // As in the authors' loop: rows i-5 up to and without i.
        let want = [0, 1, 0, 1, 2, 15, 16, 17, 18, 19, 16, 17, 18, 19, 20];
        assert_eq!(published, [want.to_vec()]);
        let once = Selection {
            once: true,
            ..Selection::default()
        };
        let want = vec![0, 1, 2, 15, 16, 17, 18, 19, 20];
        assert_eq!(select(&[&actions], once), [want]);
        let first = Selection {
            first: 10,
            ..Selection::default()
        };
        assert_eq!(select(&[&actions], first), [vec![0, 1, 0, 1, 2]]);
    }

    /// Expected values computed with the published loop.
    #[test]
    fn share_is_selected_as_published() {
        for (rows, share, visited) in [
            (1000, 0.2, 202),
            (1001, 0.2, 202),
            (1004, 0.2, 202),
            (1005, 0.2, 203),
            (10, 0.1, 3),
            (10, 0.95, 10),
            (1, 0.2, 1),
            (0, 0.2, 0),
        ] {
            assert_eq!(Selection::visited(rows, share), visited, "{rows} {share}");
        }
        // Changes in the last two examined rows count.
        let mut actions = [0; 100];
        (actions[20], actions[21], actions[22]) = (1, 2, 0);
        let first = Selection {
            first: Selection::visited(100, 0.2),
            ..Selection::default()
        };
        let want = vec![15, 16, 17, 18, 19, 16, 17, 18, 19, 20];
        assert_eq!(select(&[&actions], first), [want]);
    }

    #[test]
    fn windows_extend_past_a_change_within_their_episode() {
        let around = Selection {
            before: 2,
            after: 3,
            ..Selection::default()
        };
        let episodes: [&[u8]; 3] = [&[0, 0, 0, 0, 1], &[0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0]];
        assert_eq!(select(&episodes, around), [vec![2, 3, 4], vec![0, 1, 2, 3]]);
    }

    #[test]
    fn long_episodes_use_bounded_memory() {
        let mut actions = vec![0; 20_000];
        actions[9_000] = 1;
        actions[19_999] = 1;
        let around = Selection {
            before: 100,
            after: 2,
            once: true,
            ..Selection::default()
        };
        let want: Vec<u64> = (8_900..9_003).chain(19_899..20_000).collect();
        assert_eq!(select(&[&actions], around), [want]);
    }
}
