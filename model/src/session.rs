//! One stream of records, decided upon after every `interval` of them.
//!
//! ```text
//! Record ─▶ stream      ─▶ windows                          ─▶ probabilities
//!           scaled inputs  plain: cached, fed as records come
//!                          libtorch: kept, one dense pass at the boundary
//! ```

pub(crate) mod stream;

use std::sync::Arc;

use l4sllm_abi::Record;

use crate::plain::session::Windows as PlainWindows;
use crate::policy::Loaded;
#[cfg(feature = "torch")]
use crate::torch::session::Windows as TorchWindows;
use crate::{ACTIONS, Policy, PolicyError};
use stream::Stream;

/// Makes probabilities of one scheduler instance's records, with whatever
/// engine its policy was loaded into.
pub struct Session {
    policy: Arc<Policy>,
    stream: Stream,
    windows: Windows,
}

/// The windows that are under way.
enum Windows {
    Plain(Box<PlainWindows>),
    #[cfg(feature = "torch")]
    Torch(TorchWindows),
}

impl Session {
    /// A session that decides after every `interval` records, at least 1.
    pub fn new(policy: Arc<Policy>, interval: usize) -> Session {
        let config = policy.config();
        let stream = Stream::new(config, interval);
        let windows = match policy.loaded() {
            Loaded::Plain(weights) => {
                let windows = PlainWindows::new(config, Arc::clone(weights), interval);
                Windows::Plain(Box::new(windows))
            }
            #[cfg(feature = "torch")]
            Loaded::Torch(network) => {
                Windows::Torch(TorchWindows::new(config, Arc::clone(network)))
            }
        };
        Session {
            policy,
            stream,
            windows,
        }
    }

    /// Takes the next record of the stream.  On the one that completes an
    /// interval, returns the probabilities of enqueue, drop and mark.
    ///
    /// The first windows after the start or a reset hold the records there are.
    ///
    /// # Errors
    /// libtorch refused; the plain engine has nothing to fail with.  The
    /// stream goes on, without this decision.
    #[inline]
    pub fn observe(&mut self, record: &Record) -> Result<Option<[f32; ACTIONS]>, PolicyError> {
        let config = self.policy.config();
        if !self.stream.take(config, record) {
            return Ok(None);
        }
        let action = record.action() as usize;
        match &mut self.windows {
            Windows::Plain(windows) => Ok(windows.take(config, &self.stream, action)),
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.take(config, &self.stream, action),
        }
    }

    /// Takes the next record of the stream without deciding, whether it
    /// completes an interval or not.  `ahead` more records follow, or more,
    /// before the one to decide on, whose window is complete nevertheless.
    /// Costs next to nothing where that window begins later, and no pass
    /// through the network in any case.
    pub fn skip(&mut self, record: &Record, ahead: u32) {
        let config = self.policy.config();
        if !self.stream.advance(config, record, ahead.into()) {
            return;
        }
        let action = record.action() as usize;
        match &mut self.windows {
            Windows::Plain(windows) => windows.keep(config, &self.stream, action),
            #[cfg(feature = "torch")]
            Windows::Torch(windows) => windows.keep(config, &self.stream, action),
        }
    }

    /// Forgets all records: what comes next does not follow what came before.
    /// The next interval starts here.
    pub fn reset(&mut self) {
        self.stream.reset();
    }

    /// The policy that decides.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}
