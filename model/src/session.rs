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
    recent: Vec<f32>,       // [w][n + 2][d]: tokens without time, record r at r % w
    contexts: Vec<Context>, // boundary b is in (b / N) % len
    scratch: Scratch,
    features: Vec<f32>, // [n]
    hidden: Vec<f32>,   // [e]
    target: f32,        // return asked for, scaled
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
        let config = policy.config();
        let interval = interval.max(1);
        let contexts = config.window.div_ceil(interval);
        Session {
            interval: interval as u64,
            seen: 0,
            recent: vec![0.0; config.tokens() * config.backbone.width],
            contexts: (0..contexts)
                .map(|_| Context {
                    state: State::new(config),
                    fed: 0,
                })
                .collect(),
            scratch: Scratch::new(config, config.tokens()),
            features: vec![0.0; config.features.len()],
            hidden: vec![0.0; config.encoder.width],
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
        let window = self.policy.config().window as u64;
        let next = now.next_multiple_of(interval);
        if next >= now + window {
            return None; // before the start of the next window
        }
        self.remember(record);

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

    /// Computes the tokens of a record once for all contexts.
    fn remember(&mut self, record: &Record) {
        let config = self.policy.config();
        for (value, feature) in self.features.iter_mut().zip(&config.features) {
            *value = feature.scaling.apply(feature.name.value(record));
        }
        let each = config.tokens_per_record() * config.backbone.width;
        let at = (self.seen % config.window as u64) as usize * each;
        let tokens = &mut self.recent[at..at + each];
        let action = record.action() as usize;
        embed(
            &self.policy.weights,
            self.target,
            &self.features,
            action,
            &mut self.hidden,
            tokens,
        );
    }

    /// Brings a context that began at record `start` up to record `now`.
    fn feed(&mut self, context: usize, start: u64, now: u64, decide: bool) -> [f32; ACTIONS] {
        let Context { state, fed } = &mut self.contexts[context];
        let config = self.policy.config();
        let each = config.tokens_per_record() * config.backbone.width;
        let mut count = 0;
        for record in start + *fed..=now {
            let from = (record % config.window as u64) as usize * each;
            let to = &mut self.scratch.tokens[count * each..][..each];
            to.copy_from_slice(&self.recent[from..from + each]);
            self.policy.add_time((record - start) as usize, to);
            count += 1;
        }
        *fed += count as u64;
        let tokens = count * config.tokens_per_record() - usize::from(decide);
        advance(
            config,
            &self.policy.weights,
            state,
            &mut self.scratch,
            tokens,
            decide,
        )
    }
}
