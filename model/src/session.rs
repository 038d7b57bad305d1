//! One stream of records, decided upon after every `interval` of them.
//!
//! A decision sees a window of exactly the last w records, with positions
//! counted from the window's start, so a window that slides by N records
//! shares no keys or values with the one before.  But its boundary is known in
//! advance.  Each window therefore has a context of its own, which starts w
//! records ahead of its boundary and is fed as records arrive: at the boundary
//! only the newest record is left to compute, and the result is that of one
//! dense pass over the window.
//!
//! ```text
//! N = 10, w = 20    record  1        11        21        31        41
//!         boundary  20      [==================]D
//!         boundary  30               [==================]D
//!         boundary  40                         [==================]D
//! ```
//!
//! At most ceil(w / N) contexts are under way; with N >= w there is one, and
//! the records before its start cost nothing.

use std::sync::Arc;

use l4sllm_abi::Record;

use crate::forward::{Scratch, State, advance, embed};
use crate::{ACTIONS, Policy};

/// Records that a context may be behind, so that several go through the
/// weights together.
const CHUNK: u64 = 4;

/// Window and caches of one scheduler instance.
pub struct Session {
    policy: Arc<Policy>,
    interval: u64,
    seen: u64,              // records since the start or the last reset
    values: Vec<f32>,       // [lookback + 1][n]: scaled, record r at r % (lookback + 1)
    recent: Vec<f32>,       // [w][n + 2][d]: tokens without time, record r at r % w
    contexts: Vec<Context>, // boundary b is in (b / N) % len
    scratch: Scratch,
    inputs: Vec<f32>, // [inputs]
    hidden: Vec<f32>, // what the paths of features need
    target: f32,      // return asked for, scaled
}

/// One window on its way to its boundary.
struct Context {
    state: State,
    fed: u64, // records in `state`
}

impl Context {
    fn restart(&mut self) {
        self.fed = 0;
        self.state.length = 0;
    }
}

impl Session {
    /// A session that decides after every `interval` records, at least 1.
    pub fn new(policy: Arc<Policy>, interval: usize) -> Session {
        let (config, shape) = (policy.config(), &policy.weights.shape);
        let interval = interval.max(1);
        let contexts = config.window.div_ceil(interval);
        Session {
            interval: interval as u64,
            seen: 0,
            values: vec![0.0; (config.lookback() + 1) * config.features.len()],
            recent: vec![0.0; config.tokens() * shape.width],
            contexts: (0..contexts)
                .map(|_| Context {
                    state: State::new(config, shape),
                    fed: 0,
                })
                .collect(),
            scratch: Scratch::new(config, shape, config.tokens()),
            inputs: vec![0.0; config.inputs()],
            hidden: vec![0.0; policy.weights.path_scratch()],
            target: config.returns.scaling.apply(config.returns.target),
            policy,
        }
    }

    /// Takes the next record of the stream.  On the one that completes an
    /// interval, returns the probabilities of enqueue, drop and mark.
    ///
    /// The first windows after the start or a reset hold the records there are.
    pub fn observe(&mut self, record: &Record) -> Option<[f32; ACTIONS]> {
        self.seen += 1;
        let (now, interval) = (self.seen, self.interval);
        let config = self.policy.config();
        let (window, lookback) = (config.window as u64, config.lookback() as u64);
        let next = now.next_multiple_of(interval);
        if next >= now + window + lookback {
            return None; // before all that the next window sees
        }
        self.note(record);
        if next >= now + window {
            return None; // before the start of the next window
        }
        self.embed(record);

        let mut decision = None;
        for boundary in (next..now + window).step_by(interval as usize) {
            let context = (boundary / interval) as usize % self.contexts.len();
            // Records count from 1.
            let start = (boundary + 1).saturating_sub(window).max(1);
            if now == start {
                self.contexts[context].restart();
            }
            if boundary == now {
                decision = Some(self.feed(context, start, now, true));
                continue;
            }
            let behind = now + 1 - start - self.contexts[context].fed;
            // A boundary does not wait for other windows, unless theirs is next.
            if boundary == now + 1 || (behind >= CHUNK && decision.is_none()) {
                self.feed(context, start, now, false);
            }
        }
        decision
    }

    /// Forgets all records: what comes next does not follow what came before.
    /// The next interval starts here.
    pub fn reset(&mut self) {
        self.seen = 0;
    }

    /// The policy that decides.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Keeps a record's values.
    fn note(&mut self, record: &Record) {
        let features = &self.policy.config().features;
        let row = row(self.seen, self.values.len() / features.len()) * features.len();
        for (value, feature) in self.values[row..].iter_mut().zip(features) {
            *value = feature.scaling.apply(feature.name.value(record));
        }
    }

    /// Computes the tokens of the newest record once for all contexts.
    fn embed(&mut self, record: &Record) {
        let config = self.policy.config();
        let n = config.features.len();
        let (values, rows, seen) = (&self.values, self.values.len() / n, self.seen);
        // Records count from 1.
        config.fill_inputs(
            seen as usize - 1,
            |feature, back| values[row(seen - back as u64, rows) * n + feature],
            &mut self.inputs,
        );
        let each = config.tokens_per_record() * self.policy.weights.shape.width;
        let at = row(seen, config.window) * each;
        embed(
            &self.policy.weights,
            self.target,
            &self.inputs,
            record.action() as usize,
            &mut self.hidden,
            &mut self.recent[at..at + each],
        );
    }

    /// Brings a context that began at record `start` up to record `now`.
    fn feed(&mut self, context: usize, start: u64, now: u64, decide: bool) -> [f32; ACTIONS] {
        let Context { state, fed } = &mut self.contexts[context];
        let config = self.policy.config();
        let each = config.tokens_per_record() * self.policy.weights.shape.width;
        let mut count = 0;
        for record in start + *fed..=now {
            let from = row(record, config.window) * each;
            let to = &mut self.scratch.tokens[count * each..][..each];
            to.copy_from_slice(&self.recent[from..from + each]);
            self.policy.add_time((record - start) as usize, to);
            count += 1;
        }
        *fed += count as u64;
        let tokens = count * config.tokens_per_record() - usize::from(decide);
        advance(
            config.head.residual,
            &self.policy.weights,
            state,
            &mut self.scratch,
            tokens,
            decide,
        )
    }
}

/// Where a ring of so many rows has a record.
fn row(record: u64, rows: usize) -> usize {
    (record % rows as u64) as usize
}
