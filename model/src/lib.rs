//! Policies for learned queue management.
//!
//! A [`Policy`] is a directory: `config.json` ([`PolicyConfig`]: features and
//! their scaling, window, backbone sizes, reward, target return) and
//! `model.safetensors`. A [`Session`] takes the records of one scheduler instance and
//! returns probabilities of enqueue, drop and mark after every N of them; a [`Chooser`]
//! turns those into an action. A policy on summaries chooses set-points after each
//! period instead ([`SetPointHead`]).
//!
//! ```text
//! Record ─▶ feature ─▶ plain::forward::embed ─▶ session ─▶ advance ─▶ chooser ─▶ Action
//!           scaling    R, s1 … sn, a     windows    GPT-2 with cache
//! ```
//!
//! The plain engine is Rust, f32, without allocation per record, and runs
//! GPT-2. Feature `torch` adds an engine for every backbone, and training. The engine
//! into which a policy is loaded ([`Policy::load_with`]) is transparent to users of its
//! sessions. Feature `pool` reads and writes experience pools.
//! Feature `accept` accepts the connections of the programs that listen.

#[cfg(feature = "accept")]
pub mod accept;
pub mod backbone;
mod base;
mod budget;
mod calibration;
mod chooser;
mod config;
mod confusion;
mod digest;
mod encoder;
mod engine;
mod error;
mod feature;
pub mod files;
mod judged;
mod outcome;
mod plain;
mod policy;
mod policy_files;
mod probe;
mod reward;
mod run_facts;
mod session;
mod set_points;
mod setting;
mod splitmix;
mod steer;
mod step;
pub mod strict_toml;
pub mod student;
mod tensors;
pub mod text;
pub mod throttle;
pub mod unwind;

#[cfg(feature = "pool")]
pub mod log;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(feature = "pool")]
pub mod tensorboard;
#[cfg(feature = "torch")]
pub mod torch;

pub use base::{base_config, base_hash};
pub use budget::IdleBudget;
pub use calibration::{Bin, Calibration, Reliability};
pub use chooser::{Chooser, ChooserState};
pub use config::{
    ACTIONS, Adaptation, BaseConfig, DecisionRule, FORMAT, FeatureConfig, HeadConfig, HeadKind,
    OUTPUTS_MAX, Outputs, PolicyConfig, PolicyInput, ReturnConfig, TokenLayout, TrainedOn,
    small_gpt2,
};
pub use confusion::{Confusion, Scores};
pub use encoder::{EncoderConfig, Encoding};
pub use engine::{EngineKind, EngineOptions, Precision, RunsOn};
pub use error::PolicyError;
pub use feature::{
    DecayingMean, Feature, Fit, InputFeature, LongLived, MEMORY, PERSISTENCE, Period, Periods,
    Scaling, SummaryFeature, Transform,
};
pub use judged::{Judged, PeriodCost};
pub use policy::Policy;
pub use policy_files::{ADAPTER_DIR, CONFIG_FILE, MODULES_FILE, WEIGHTS_FILE};
pub use reward::{Reward, Rewards, returns_to_go};
pub use run_facts::{Outcome, RuleFacts};
pub use session::state::{SessionState, StateError, summary_from};
pub use session::{Newest, Session, Window, WindowSession};
pub use set_points::{SET_POINTS, SetPointHead, SetPointRange, SetPoints};
pub use setting::{Gains, Setting};
pub use splitmix::{GOLDEN, SplitMix64};
pub use step::{Step, Taken};
pub use tensors::{Spec, Tensors, module_specs, numbers, specs, trained_specs};
