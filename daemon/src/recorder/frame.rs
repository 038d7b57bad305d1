//! The content of a recording.

use std::num::NonZeroU32;

use l4sllm_abi::{
    AbiError, Action, Decoder, Factor, Factors, Limits, Message, Params, Steer, bytes, raw,
};
use l4sllm_model::{IdleBudget, RunsOn, SetPoints};
use serde::{Deserialize, Serialize};

use crate::apply::{OverrideMode, Scope};
use crate::engine::{Decision, Input};
use crate::metrics::Outcome;
use crate::pipeline::{PipelineConfig, PipelineState};

/// One frame: everything that a pipeline was given between two frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// The first frame of a segment: the whole state of the daemon's pipeline,
    /// so that each segment can be replayed without the ones before it.
    Checkpoint(Box<Checkpoint>),
    /// One turn of the worker.
    Turn(Turn),
    /// Parameters and limits that set-points are shifted from.
    Base(Base),
    /// Another configuration or other engines: windows restart.
    Configure(ConfigState, Box<EngineSpec>),
    /// Another idle budget: nothing restarts.
    IdleBudget(Option<f64>),
    /// Unusable bytes of the stream: windows restart.
    Torn(u64),
    /// The first frame after the device was opened.
    Opened,
}

/// The state of a pipeline at the start of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Release of the daemon.
    pub version: String,
    /// Time of the checkpoint, ms since 1970 and ns of the device's clock.
    pub unix_ms: u64,
    /// See `unix_ms`.
    pub now_ns: u64,
    /// Frames since the daemon's start that could not be recorded.
    pub lost: u64,
    /// Whether everything since the previous segment of this process was
    /// recorded.
    pub follows: bool,
    /// Configuration in force.
    pub config: ConfigState,
    /// The engines.
    pub engine: EngineSpec,
    /// Parameters and limits.
    pub base: Base,
    /// Windows, rules, merged summaries.
    pub state: PipelineState,
}

/// Messages read in one turn, and the decisions on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Time at which the turn was planned, ns of the device's clock.
    pub now_ns: u64,
    /// Maximum number of decisions.
    pub most: u64,
    /// The bytes of all messages, in order ([`Message::to_bytes`]).
    pub messages: Vec<u8>,
    /// Number of messages that were processed: all, unless the device
    /// disappeared.
    pub processed: u64,
    /// Decisions, in order.
    pub decisions: Vec<Decided>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// Index of the message on which it was made.
    pub at: u64,
    /// Time at which it was made, ns of the device's clock.
    pub now_ns: u64,
    /// Time that it took, ns.
    pub took_ns: u64,
    /// The decision.
    pub decision: Bits,
    /// Bytes of the override; none if it would have expired.
    pub sent: Option<Vec<u8>>,
    /// Answer of the device.
    pub outcome: Option<Answer>,
}

/// A decision, with the bits of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bits {
    /// Code of the action, and probabilities of enqueue, drop and mark.
    Action(u8, [u32; 3]),
    /// Factors (Q16) on target, threshold, k, α, β and tupdate; 0: none.
    Steer([u32; 6]),
    /// Target, α, β, tupdate and k.
    SetPoints([u64; 5]),
}

/// The outcome of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is in effect.
    Accepted,
    /// The device refused it, with this code.
    Refused(i32),
    /// It did not reach the device.
    Failed,
}

/// Bytes of the device's parameters and limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    params: Vec<u8>,
    limits: Vec<u8>,
}

/// A [`PipelineConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigState {
    input: u8,
    interval: NonZeroU32,
    period_ns: u64,
    idle_budget: Option<f64>,
    hold: Option<NonZeroU32>,
    any_queue: bool,
    ttl_ns: u64,
    max_instances: u64,
}

/// Description of the engines, from which equal ones can be loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EngineSpec {
    /// The adaptive rule with this preset.
    Adaptive(String),
    /// A policy.
    Policy {
        /// Name of the policy.
        name: String,
        /// Directory of the policy.
        path: String,
        /// SHA-256 over its files.
        hash: String,
        /// Device of the computation.
        runs_on: RunsOn,
        /// Seed of random choices.
        seed: u64,
        /// Preset of the rule that decides while the policy fails.
        fallback: Option<String>,
    },
    /// A script: times, ns after its origin, and decisions.
    Script(Vec<(u64, Bits)>),
    /// Engines of a test.
    Other,
    /// DualPI2 with the set-points of this profile.
    Fixed(String),
    /// A server, whose answers are not recorded.
    Remote {
        /// Name of the policy.
        name: String,
        /// The server.
        url: String,
    },
}

/// A part of a frame that is not valid.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A struct of the interface.
    #[error(transparent)]
    Abi(#[from] AbiError),
    /// A coded field.
    #[error("{0} is out of range")]
    Range(&'static str),
}

impl Turn {
    /// A turn without messages and decisions so far.
    pub fn planned(now_ns: u64, most: usize) -> Turn {
        Turn {
            now_ns,
            most: most as u64,
            messages: Vec::new(),
            processed: 0,
            decisions: Vec::new(),
        }
    }

    /// Adds the messages of the turn.
    pub fn add(&mut self, backlog: &[Message]) {
        self.messages.reserve(backlog.len() * l4sllm_abi::V1_SIZE);
        for message in backlog {
            match message {
                Message::Decision(record) => self.messages.extend_from_slice(&record.to_bytes()),
                other => self.messages.extend_from_slice(&other.to_bytes()),
            }
        }
    }

    /// About the number of bytes of the frame.
    pub fn size(&self) -> usize {
        self.messages.len() + 160 * self.decisions.len() + 64
    }

    /// Decodes the messages.
    ///
    /// # Errors
    /// They are not whole, valid messages.
    pub fn decode(&self) -> Result<Vec<Message>, AbiError> {
        Decoder::new().messages(&self.messages).collect()
    }
}

impl Bits {
    /// The bits of a decision.
    pub fn of(decision: &Decision) -> Bits {
        match decision {
            Decision::Action {
                action,
                probabilities,
            } => Bits::Action(action.code(), probabilities.map(f32::to_bits)),
            Decision::Steer(steer) => {
                let f = steer.factors();
                let all = [
                    f.target,
                    f.threshold,
                    f.coupling,
                    f.alpha,
                    f.beta,
                    f.tupdate,
                ];
                Bits::Steer(all.map(|factor| factor.map_or(0, Factor::q16)))
            }
            Decision::SetPoints(p) => Bits::SetPoints(
                [p.target_s, p.alpha_hz, p.beta_hz, p.tupdate_s, p.coupling].map(f64::to_bits),
            ),
        }
    }

    /// The decision.
    ///
    /// # Errors
    /// An unknown action, or no factor.
    pub fn decision(&self) -> Result<Decision, FrameError> {
        Ok(match *self {
            Bits::Action(code, probabilities) => Decision::Action {
                action: Action::try_from(code)?,
                probabilities: probabilities.map(f32::from_bits),
            },
            Bits::Steer(q16) => {
                let [target, threshold, coupling, alpha, beta, tupdate] =
                    q16.map(|q16| NonZeroU32::new(q16).map(Into::into));
                Decision::Steer(Steer::new(Factors {
                    target,
                    threshold,
                    coupling,
                    alpha,
                    beta,
                    tupdate,
                })?)
            }
            Bits::SetPoints(bits) => {
                let [target_s, alpha_hz, beta_hz, tupdate_s, coupling] = bits.map(f64::from_bits);
                Decision::SetPoints(SetPoints {
                    target_s,
                    alpha_hz,
                    beta_hz,
                    tupdate_s,
                    coupling,
                })
            }
        })
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Accepted => Answer::Accepted,
            Outcome::Refused(refusal) => Answer::Refused(refusal.code()),
            Outcome::Failed => Answer::Failed,
        }
    }
}

impl Base {
    /// The bytes of parameters and limits.
    pub fn of(params: &Params, limits: &Limits) -> Base {
        // Values that the device reported, or defaults, are within range.
        let params = params.to_raw().unwrap_or_default();
        let limits = limits.to_raw().unwrap_or_default();
        Base {
            params: bytes::as_bytes(&params).to_vec(),
            limits: bytes::as_bytes(&limits).to_vec(),
        }
    }

    /// The parameters and limits.
    ///
    /// # Errors
    /// A wrong length, or a value out of range.
    pub fn values(&self) -> Result<(Params, Limits), AbiError> {
        let params = bytes::from_bytes::<raw::l4s_params>(&self.params)?;
        let limits = bytes::from_bytes::<raw::l4s_limits>(&self.limits)?;
        Ok((params.try_into()?, limits.try_into()?))
    }
}

impl ConfigState {
    /// The state of a configuration.
    pub fn of(config: &PipelineConfig) -> ConfigState {
        ConfigState {
            input: match config.input {
                Input::Records => 0,
                Input::Summaries => 1,
                Input::Both => 2,
            },
            interval: config.interval,
            period_ns: config.period_ns,
            idle_budget: config.idle_budget.map(IdleBudget::share),
            hold: match config.mode {
                OverrideMode::Once => None,
                OverrideMode::Hold(packets) => Some(packets),
            },
            any_queue: config.queue == Scope::Any,
            ttl_ns: config.ttl_ns,
            max_instances: config.max_instances as u64,
        }
    }

    /// The configuration.
    ///
    /// # Errors
    /// A value is out of range.
    pub fn config(&self) -> Result<PipelineConfig, FrameError> {
        Ok(PipelineConfig {
            input: match self.input {
                0 => Input::Records,
                1 => Input::Summaries,
                2 => Input::Both,
                _ => return Err(FrameError::Range("the input of the engines")),
            },
            interval: self.interval,
            period_ns: self.period_ns.max(1),
            idle_budget: match self.idle_budget {
                None => None,
                Some(share) => {
                    let budget = IdleBudget::new(share);
                    Some(budget.ok_or(FrameError::Range("the idle budget"))?)
                }
            },
            mode: self.hold.map_or(OverrideMode::Once, OverrideMode::Hold),
            queue: match self.any_queue {
                true => Scope::Any,
                false => Scope::Same,
            },
            ttl_ns: self.ttl_ns,
            max_instances: self.max_instances.min(65_536) as usize,
        })
    }
}
