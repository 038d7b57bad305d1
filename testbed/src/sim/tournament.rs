//! The minimum of many numbers that change one at a time.

/// Children of a node. A level costs this many comparisons, so wide nodes suit
/// the common case: few numbers.
const ARITY: usize = 8;

/// A tournament tree: each node holds the minimum of each of its children;
/// those of the last level hold the numbers themselves, the leaves.
///
/// Comparisons are branch-free, since branches would be mispredicted half of
/// the time.
#[derive(Debug)]
pub(super) struct Tournament {
    /// The root comes first, the children of node n are n · ARITY + 1 and on.
    nodes: Vec<[u128; ARITY]>,
    /// The first node of the last level.
    last_level: usize,
    least: u128,
}

impl Tournament {
    /// The maximum value, for an absent leaf.
    pub const ABSENT: u128 = u128::MAX;

    /// Creates a tree of at least this many leaves, all absent.
    pub fn new(leaves: usize) -> Tournament {
        let (mut last_level, mut width) = (0, 1);
        while width * ARITY < leaves {
            last_level += width;
            width *= ARITY;
        }
        Tournament {
            nodes: vec![[Tournament::ABSENT; ARITY]; last_level + width],
            last_level,
            least: Tournament::ABSENT,
        }
    }

    /// Grows the tree to leaves for all numbers below `leaves`, with their
    /// values kept.
    pub fn grow(&mut self, leaves: usize) {
        let have = (self.nodes.len() - self.last_level) * ARITY;
        if leaves <= have {
            return;
        }
        let old = std::mem::replace(self, Tournament::new(leaves));
        let values = old.nodes[old.last_level..].iter().flatten();
        for (leaf, value) in values.enumerate() {
            self.set(leaf, *value);
        }
    }

    /// The minimum, [`Tournament::ABSENT`] if all leaves are absent.
    pub fn least(&self) -> u128 {
        self.least
    }

    /// Changes a leaf.
    pub fn set(&mut self, leaf: usize, value: u128) {
        let (mut node, mut child) = self.place(leaf);
        let mut value = value;
        loop {
            let values = &mut self.nodes[node];
            values[child] = value;
            value = least_of(values);
            if node == 0 {
                self.least = value;
                return;
            }
            (node, child) = parent(node);
        }
    }

    /// Decreases a leaf: nodes that are already less need not be examined.
    pub fn lower(&mut self, leaf: usize, value: u128) {
        let (mut node, mut child) = self.place(leaf);
        debug_assert!(value <= self.nodes[node][child]);
        loop {
            let lowered = &mut self.nodes[node][child];
            *lowered = value.min(*lowered);
            if *lowered != value {
                return;
            }
            if node == 0 {
                self.least = self.least.min(value);
                return;
            }
            (node, child) = parent(node);
        }
    }

    fn place(&self, leaf: usize) -> (usize, usize) {
        (self.last_level + leaf / ARITY, leaf % ARITY)
    }
}

/// The parent of a node other than the root, and the node's index among its
/// children.
fn parent(node: usize) -> (usize, usize) {
    ((node - 1) / ARITY, (node - 1) % ARITY)
}

/// In pairs, so that their comparisons overlap.
fn least_of(values: &[u128; ARITY]) -> u128 {
    let [a, b, c, d, e, f, g, h] = *values;
    let halves = (a.min(b).min(c.min(d)), e.min(f).min(g.min(h)));
    halves.0.min(halves.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    /// The minimum of all leaves is correct after any changes and any growth.
    #[test]
    fn minimum_matches_a_linear_scan() {
        let mut random = Random::stream(5, "tournament");
        let mut tree = Tournament::new(1);
        let mut leaves = vec![Tournament::ABSENT];
        for _ in 0..10_000 {
            if random.below(100) == 0 {
                let more = leaves.len() + random.below(5) as usize;
                leaves.resize(more, Tournament::ABSENT);
                tree.grow(more);
            }
            let leaf = random.below(leaves.len() as u64) as usize;
            let value = match random.below(4) {
                0 => Tournament::ABSENT,
                // Both the high and the low half decide.
                _ => u128::from(random.below(3)) << 64 | u128::from(random.below(1000)),
            };
            match value <= leaves[leaf] {
                true => tree.lower(leaf, value),
                false => tree.set(leaf, value),
            }
            leaves[leaf] = value;
            assert_eq!(Some(&tree.least()), leaves.iter().min());
        }
        assert!(leaves.len() > ARITY * ARITY, "three levels");
    }
}
