//! The interface between the `dualpi2_llm` kernel module and its readers.
//!
//! [`raw`] is bindgen's output from `include/l4sllm_abi.h`, the only
//! description of the interface. The types here are its checked form: a
//! [`Message`] that came out of [`Message::from_bytes`] has a version, type,
//! length and codes that this crate knows, so that nobody downstream asks again.

mod error;
mod message;
mod request;

#[allow(missing_docs)]
pub mod raw;

pub use error::AbiError;
pub use message::{Action, Ecn, Event, EventCode, Message, Queue, Reason, Record};
pub use request::{Limits, Mode, Op, Override, Params, Stats, Steer, Version};

/// Bytes of one message of the stream, whatever its type.
pub const MESSAGE_SIZE: usize = raw::L4S_RECORD_SIZE as usize;
