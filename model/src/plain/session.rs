//! Windows in the plain engine.
//!
//! A decision sees a window of exactly the last w records, with positions
//! counted from the window's start, so a window that slides by N records shares
//! no keys or values with the previous one. But its boundary is known in
//! advance. Each window therefore has a separate context, which starts w
//! records before its boundary and is extended as records arrive: at the
//! boundary only the newest record remains to be computed, and the result
//! equals that of one dense pass over the window.
//!
//! ```text
//! N = 10, w = 20    record  1        11        21        31        41
//!         boundary  20      [==================]D
//!         boundary  30               [==================]D
//!         boundary  40                         [==================]D
//! ```
//!
//! At most ceil(w / N) contexts are active; with N >= w there is one, and the
//! records before its start cost nothing.

use std::sync::Arc;

use super::forward::{State, advance, embed};
use super::weights::Weights;
use crate::session::state::{StateError, copy};
use crate::session::stream::{Stream, row};
use crate::set_points::SET_POINTS;
use crate::{Outputs, PolicyConfig};

/// Number of records that a context may lag behind, so that several are
/// processed together.
const CHUNK: u64 = 4;

/// Windows of one stream, with their caches.
pub(crate) struct Windows {
    weights: Arc<Weights>,
    interval: u64,
    recent: Vec<f32>,       // [w][n + 2][d]: tokens without time, record r at r % w
    contexts: Vec<Context>, // boundary b is in (b / N) % len
    hidden: Vec<f32>,       // scratch of the feature paths
}

/// One window in progress.
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

impl Windows {
    pub(crate) fn new(config: &PolicyConfig, weights: Arc<Weights>, interval: usize) -> Windows {
        let shape = &weights.shape;
        let interval = interval.max(1);
        // Allocated now, so that no decision waits for memory.
        weights.with_scratch(config, |_| ());
        let contexts = (0..config.window.div_ceil(interval)).map(|_| Context {
            state: State::new(config, shape),
            fed: 0,
        });
        Windows {
            interval: interval as u64,
            recent: vec![0.0; config.tokens() * shape.width],
            contexts: contexts.collect(),
            hidden: vec![0.0; weights.path_scratch()],
            weights,
        }
    }

    /// Adds the newest record of the stream; `action` is the input of its
    /// action token.
    #[inline]
    pub(crate) fn take(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: &[f32; SET_POINTS],
    ) -> Option<Outputs> {
        let now = stream.now();
        self.embed(config, stream, action);
        let mut decision = None;
        for boundary in stream.boundaries() {
            let context = (boundary / self.interval) as usize % self.contexts.len();
            let start = stream.start(boundary);
            if now == start {
                self.contexts[context].restart();
            }
            if boundary == now {
                decision = Some(self.feed(config, context, start, now, true));
                continue;
            }
            let behind = now + 1 - start - self.contexts[context].fed;
            // A decision does not wait for windows other than those with the
            // next boundary.
            if boundary == now + 1 || (behind >= CHUNK && decision.is_none()) {
                self.feed(config, context, start, now, false);
            }
        }
        decision
    }

    /// Adds the newest record of the stream without computing a context;
    /// contexts that need it catch up later.
    pub(crate) fn keep(
        &mut self,
        config: &PolicyConfig,
        stream: &Stream,
        action: &[f32; SET_POINTS],
    ) {
        self.embed(config, stream, action);
        for boundary in stream.boundaries() {
            if stream.start(boundary) == stream.now() {
                let context = (boundary / self.interval) as usize % self.contexts.len();
                self.contexts[context].restart();
            }
        }
    }

    /// Tokens of the last records.
    pub(crate) fn recent(&self) -> &[f32] {
        &self.recent
    }

    /// Replaces the tokens of the last records. Contexts are computed again from
    /// them, with the same result: a token does not depend on how many are
    /// computed together.
    pub(crate) fn restore(&mut self, recent: &[f32]) -> Result<(), StateError> {
        copy("the windows", recent, &mut self.recent)?;
        self.contexts.iter_mut().for_each(Context::restart);
        Ok(())
    }

    /// Computes the tokens of the newest record once for all contexts.
    fn embed(&mut self, config: &PolicyConfig, stream: &Stream, action: &[f32; SET_POINTS]) {
        let each = config.tokens_per_record() * self.weights.shape.width;
        let at = row(stream.now(), config.window) * each;
        embed(
            &self.weights,
            stream.target(),
            stream.inputs(),
            action,
            &mut self.hidden,
            &mut self.recent[at..at + each],
        );
    }

    /// Advances a context that began at record `start` to record `now`.
    fn feed(
        &mut self,
        config: &PolicyConfig,
        context: usize,
        start: u64,
        now: u64,
        decide: bool,
    ) -> Outputs {
        let Windows {
            weights,
            recent,
            contexts,
            ..
        } = self;
        let Context { state, fed } = &mut contexts[context];
        let each = config.tokens_per_record() * weights.shape.width;
        weights.with_scratch(config, |scratch| {
            let mut count = 0;
            for record in start + *fed..=now {
                let from = row(record, config.window) * each;
                let to = &mut scratch.tokens[count * each..][..each];
                to.copy_from_slice(&recent[from..from + each]);
                weights.add_time((record - start) as usize, to);
                count += 1;
            }
            *fed += count as u64;
            let tokens = count * config.tokens_per_record() - usize::from(decide);
            advance(
                config.head.residual,
                weights,
                state,
                scratch,
                tokens,
                decide,
            )
        })
    }
}
