//! Replays a recording: every decision again, and those of another engine on
//! the same messages.

use std::collections::HashMap;

use l4sllm_abi::{AbiError, Message, Override};

use crate::batch::Scheduler;
use crate::engine::{Input, RestoreError};
use crate::pipeline::{Decided, Pipeline};
use crate::plan::Plan;
use crate::recorder::frame::FrameError;
use crate::recorder::{Bits, Checkpoint, EngineSpec, Frame, ReadError, Segment, Turn};
use crate::run::{Engines, SpecError};

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its engines cannot be loaded.
    #[error("segment {segment}: {source}")]
    Engine {
        /// Number of the segment.
        segment: u64,
        /// The cause.
        source: SpecError,
    },
    /// A state in it does not fit its engines.
    #[error("segment {segment}: {source}")]
    State {
        /// Number of the segment.
        segment: u64,
        /// The cause.
        source: RestoreError,
    },
    /// A frame has a correct checksum but no valid content.
    #[error("segment {segment}, frame {frame}: {source}")]
    Frame {
        /// Number of the segment.
        segment: u64,
        /// Index of the frame.
        frame: usize,
        /// The cause.
        source: FrameError,
    },
    /// The first frame is not a checkpoint.
    #[error("segment {segment}: it does not begin with a checkpoint")]
    Start {
        /// Number of the segment.
        segment: u64,
    },
    /// The other engine reads a stream that was not recorded.
    #[error("segment {segment}: {engine} decides on {needs}, which were not recorded")]
    Stream {
        /// Number of the segment.
        segment: u64,
        /// The other engine.
        engine: String,
        /// `records` or `summaries`.
        needs: &'static str,
    },
}

/// One decision of a recording, made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Segment of the recording.
    pub segment: u64,
    /// Time of the record or summary it is based on, ns of the device's clock;
    /// `None` if the replay made no decision there.
    pub basis_ns: Option<u64>,
    /// Time at which it was made, ns of the device's clock.
    pub now_ns: u64,
    /// The scheduler instance, if the replay decided.
    pub scheduler: Option<Scheduler>,
    /// The recorded decision.
    pub recorded: Bits,
    /// The replayed decision; none if the replay made none.
    pub replayed: Option<Bits>,
    /// Whether the decision and its override are the same to the bit.
    pub same: bool,
    /// The recorded override.
    pub sent: Option<Override>,
    /// The last override that the other engine would have sent to this instance
    /// by then.
    pub other: Option<Override>,
    /// Target, ns, α and β, uHz, k, Q8, and tupdate, ns, that factors apply to.
    pub base: BaseValues,
}

/// The parameters that set-points are shifted from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BaseValues {
    /// Target, ns.
    pub target_ns: u64,
    /// α, uHz.
    pub alpha_uhz: u32,
    /// β, uHz.
    pub beta_uhz: u32,
    /// k, Q8.
    pub coupling_q8: u32,
    /// tupdate, ns.
    pub tupdate_ns: u64,
}

/// Totals of a replay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Segments.
    pub segments: u64,
    /// Frames.
    pub frames: u64,
    /// Messages.
    pub messages: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions that are the same to the bit.
    pub same: u64,
    /// Decisions of the replay that the recording does not have.
    pub additional: u64,
    /// Bytes after the last whole frame of a segment.
    pub torn_bytes: u64,
    /// Segments that do not follow the one before: frames are missing, or the
    /// daemon started.
    pub gaps: u64,
    /// Frames that the daemon could not record, as of the last segment.
    pub lost: u64,
    /// The engines, in the order of their first decision.
    pub engines: Vec<String>,
}

/// Replays segments; `see` gets every decision in order.
///
/// With `other`, every message is also given to these engines, which decide on
/// what the recorded ones caused: the queue's response to other decisions is not
/// known.
///
/// # Errors
/// The recording cannot be read, or its engines cannot be loaded.
pub fn replay(
    segments: &[Segment],
    other: Option<&Engines>,
    mut see: impl FnMut(Made),
) -> Result<Totals, ReplayError> {
    let mut totals = Totals::default();
    let mut cache = Cache::new();
    let mut aside: Option<Aside> = None;
    for segment in segments {
        let (frames, torn) = segment.read()?;
        totals.segments += 1;
        totals.frames += frames.len() as u64;
        totals.torn_bytes += torn as u64;
        let mut frames = frames.into_iter().enumerate();
        let start = match frames.next() {
            Some((_, Frame::Checkpoint(start))) => start,
            // Torn while its first frame was written.
            None => continue,
            Some(_) => {
                return Err(ReplayError::Start {
                    segment: segment.number,
                });
            }
        };
        totals.gaps += u64::from(!start.follows);
        totals.lost = start.lost;
        let mut again = Again::start(segment.number, &start, &mut cache)?;
        if let Some(other) = other {
            let follows = start.follows && aside.is_some();
            if !follows {
                aside = Some(Aside::new(other, &again, &start)?);
            }
        }
        for (index, frame) in frames {
            let damaged = |source: FrameError| ReplayError::Frame {
                segment: segment.number,
                frame: index,
                source,
            };
            match frame {
                Frame::Turn(turn) => {
                    let messages = turn.decode().map_err(|e| damaged(e.into()))?;
                    totals.messages += turn.processed;
                    again.turn(&turn, &messages, aside.as_mut(), &mut totals, &mut see);
                }
                frame => {
                    again
                        .change(&frame, aside.as_mut(), &mut cache)
                        .map_err(|error| error.at(segment.number, index))?;
                }
            }
        }
    }
    Ok(totals)
}

/// The recorded engines.
struct Again {
    segment: u64,
    pipeline: Pipeline,
    engine: String,
    config: crate::PipelineConfig,
}

enum ChangeError {
    Frame(FrameError),
    Engine(SpecError),
}

impl ChangeError {
    fn at(self, segment: u64, frame: usize) -> ReplayError {
        match self {
            ChangeError::Frame(source) => ReplayError::Frame {
                segment,
                frame,
                source,
            },
            ChangeError::Engine(source) => ReplayError::Engine { segment, source },
        }
    }
}

impl From<FrameError> for ChangeError {
    fn from(error: FrameError) -> ChangeError {
        ChangeError::Frame(error)
    }
}

impl From<AbiError> for ChangeError {
    fn from(error: AbiError) -> ChangeError {
        ChangeError::Frame(error.into())
    }
}

type Cache = Vec<(EngineSpec, Engines)>;

/// The engines of a description, loaded once.
fn engines(cache: &mut Cache, spec: &EngineSpec) -> Result<Engines, SpecError> {
    if let Some((_, engines)) = cache.iter().find(|(known, _)| known == spec) {
        return Ok(engines.clone());
    }
    let engines = Engines::of_spec(spec)?;
    cache.push((spec.clone(), engines.clone()));
    Ok(engines)
}

impl Again {
    fn start(segment: u64, start: &Checkpoint, cache: &mut Cache) -> Result<Again, ReplayError> {
        let damaged = |source| ReplayError::Frame {
            segment,
            frame: 0,
            source,
        };
        let config = start.config.config().map_err(damaged)?;
        let engines = engines(cache, &start.engine)
            .map_err(|source| ReplayError::Engine { segment, source })?;
        let mut pipeline = Pipeline::new(config.clone(), engines.maker(config.interval));
        let (params, limits) = start.base.values().map_err(|e| damaged(e.into()))?;
        pipeline.set_base(params, limits);
        pipeline
            .restore(&start.state)
            .map_err(|source| ReplayError::State { segment, source })?;
        Ok(Again {
            segment,
            pipeline,
            engine: engines.status().to_string(),
            config,
        })
    }

    /// Applies everything but a turn.
    fn change(
        &mut self,
        frame: &Frame,
        aside: Option<&mut Aside>,
        cache: &mut Cache,
    ) -> Result<(), ChangeError> {
        match frame {
            Frame::Turn(_) | Frame::Checkpoint(_) => {}
            Frame::Base(base) => {
                let (params, limits) = base.values()?;
                self.pipeline.set_base(params, limits);
                if let Some(aside) = aside {
                    aside.pipeline.set_base(params, limits);
                }
            }
            Frame::Configure(config, spec) => {
                self.config = config.config()?;
                let engines = engines(cache, spec).map_err(ChangeError::Engine)?;
                self.engine = engines.status().to_string();
                let maker = engines.maker(self.config.interval);
                self.pipeline.reconfigure(self.config.clone(), maker);
            }
            Frame::IdleBudget(share) => {
                let budget = match share {
                    None => None,
                    Some(share) => Some(
                        l4sllm_model::IdleBudget::new(*share)
                            .ok_or(FrameError::Range("the idle budget"))?,
                    ),
                };
                self.pipeline.set_idle_budget(budget);
                if let Some(aside) = aside {
                    aside.pipeline.set_idle_budget(budget);
                }
            }
            Frame::Torn(bytes) => {
                self.pipeline.torn(*bytes as usize);
                if let Some(aside) = aside {
                    aside.pipeline.torn(*bytes as usize);
                }
            }
            Frame::Opened => {
                self.pipeline.restart();
                if let Some(aside) = aside {
                    aside.pipeline.restart();
                }
            }
        }
        Ok(())
    }

    fn turn(
        &mut self,
        turn: &Turn,
        messages: &[Message],
        mut aside: Option<&mut Aside>,
        totals: &mut Totals,
        see: &mut impl FnMut(Made),
    ) {
        let mut plan = self
            .pipeline
            .plan(messages, turn.most as usize, turn.now_ns);
        if let Some(aside) = aside.as_deref_mut() {
            aside.plan = aside
                .pipeline
                .plan(messages, turn.most as usize, turn.now_ns);
        }
        let mut recorded = turn.decisions.iter().peekable();
        for (at, message) in messages.iter().enumerate().take(turn.processed as usize) {
            if let Some(aside) = aside.as_deref_mut() {
                aside.push(message);
            }
            let decided = self.pipeline.decide(message, &mut plan);
            let Some(known) = recorded.next_if(|known| known.at == at as u64) else {
                totals.additional += u64::from(decided.is_some());
                continue;
            };
            let sent = decided
                .as_ref()
                .and_then(|decided| self.pipeline.order(decided, known.now_ns));
            let replayed = decided.as_ref().map(|d| Bits::of(d.decision()));
            let bytes = sent.map(|order| order.to_bytes().to_vec());
            let same = replayed == Some(known.decision) && bytes == known.sent;
            totals.decisions += 1;
            totals.same += u64::from(same);
            if !totals.engines.contains(&self.engine) {
                totals.engines.push(self.engine.clone());
            }
            let scheduler = decided.as_ref().map(Decided::scheduler);
            see(Made {
                segment: self.segment,
                basis_ns: decided.as_ref().map(Decided::basis_ns),
                now_ns: known.now_ns,
                scheduler,
                recorded: known.decision,
                replayed,
                same,
                sent: known
                    .sent
                    .as_deref()
                    .and_then(|bytes| Override::from_bytes(bytes).ok()),
                other: scheduler.and_then(|s| aside.as_ref()?.last(s)),
                base: base_values(&self.pipeline),
            });
        }
        totals.additional += recorded.count() as u64;
    }
}

fn base_values(pipeline: &Pipeline) -> BaseValues {
    let (params, _) = pipeline.base();
    BaseValues {
        target_ns: params.target_ns,
        alpha_uhz: params.alpha_uhz,
        beta_uhz: params.beta_uhz,
        coupling_q8: params.coupling_q8,
        tupdate_ns: params.tupdate_ns,
    }
}

/// Another engine on the same messages.
struct Aside {
    pipeline: Pipeline,
    /// Of the current turn, as in the daemon.
    plan: Plan,
    last: HashMap<Scheduler, Override>,
}

impl Aside {
    /// Starts with empty windows, unless these are the recorded engines.
    fn new(engines: &Engines, again: &Again, start: &Checkpoint) -> Result<Aside, ReplayError> {
        let config = engines.over(&again.config);
        let (had, needs) = (again.config.input, config.input);
        if had != needs && had != Input::Both {
            return Err(ReplayError::Stream {
                segment: again.segment,
                engine: engines.status().to_string(),
                needs: match needs {
                    Input::Records => "records",
                    Input::Summaries => "summaries",
                    Input::Both => "records and summaries",
                },
            });
        }
        let mut pipeline = Pipeline::new(config.clone(), engines.maker(config.interval));
        let (params, limits) = again.pipeline.base();
        pipeline.set_base(*params, *limits);
        if engines.spec() == start.engine {
            let segment = again.segment;
            pipeline
                .restore(&start.state)
                .map_err(|source| ReplayError::State { segment, source })?;
        }
        Ok(Aside {
            pipeline,
            plan: Plan::all(),
            last: HashMap::new(),
        })
    }

    fn push(&mut self, message: &Message) {
        let Some(decided) = self.pipeline.decide(message, &mut self.plan) else {
            return;
        };
        // At the time of its record, so that it has not expired.
        let now_ns = decided.basis_ns();
        if let Some(order) = self.pipeline.order(&decided, now_ns) {
            self.last.insert(decided.scheduler(), order);
        }
    }

    fn last(&self, scheduler: Scheduler) -> Option<Override> {
        self.last.get(&scheduler).copied()
    }
}
