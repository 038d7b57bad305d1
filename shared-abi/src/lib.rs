//! The interface between the `dualpi2_llm` kernel module and its readers.
//!
//! [`raw`] is bindgen's output from `include/l4sllm_abi.h`, the definition of
//! the interface. The types here are its checked form: a [`Message`] from a
//! [`Decoder`] has a known version, type, length and codes, so that downstream
//! code need not check again. `ABI.md` describes the interface in prose.

pub mod bytes;
mod causes;
mod codes;
mod decoder;
mod error;
mod frame;
mod message;
mod overrides;
mod params;
mod queues;
#[allow(missing_docs, clippy::all)]
pub mod raw;
mod request;
mod student;
mod summary;

pub use causes::Cause;
pub use codes::{Action, Dither, Ecn, EventCode, NativeAqm, Op, Queue, Reason, Refusal, Stream};
pub use decoder::{Decoder, Messages};
pub use error::AbiError;
pub use frame::{FRAME_SIZE, MAX_REQUEST, Reply, Request};
pub use message::{Context, Event, Message, Record, header};
pub use overrides::{Factor, Factors, Mode, OVERRIDE_SIZE, Override, Steer};
pub use params::{Limits, Params};
pub use queues::{QueueStats, Queues};
pub use request::{Interval, Stats, Streams, SummaryInterval, Version};
pub use student::{StudentStatus, StudentSwitch};
pub use summary::{QueueSummary, SUMMARY_SIZE, Summary};

/// Bytes of one message of the stream of records, of any type; see
/// [`SUMMARY_SIZE`] for the other stream.
pub const MESSAGE_SIZE: usize = raw::L4S_RECORD_SIZE as usize;

/// Bytes of one message of version 1.
pub const V1_SIZE: usize = raw::L4S_RECORD_V1_SIZE as usize;

/// Minimum and maximum version of the interface that this crate supports.
pub const VERSIONS: (u16, u16) = (raw::L4S_ABI_VERSION_MIN as u16, raw::L4S_ABI_VERSION as u16);

fn check(
    ok: bool,
    what: &'static str,
    field: &'static str,
    got: u64,
    want: &'static str,
) -> Result<(), AbiError> {
    if ok {
        Ok(())
    } else {
        Err(AbiError::Range {
            what,
            field,
            got,
            want,
        })
    }
}

/// Minimum and maximum version of the messages that this crate reads: captures
/// outlive the device that wrote them.
pub const MESSAGE_VERSIONS: (u16, u16) = (
    raw::L4S_MESSAGE_VERSION_MIN as u16,
    raw::L4S_ABI_VERSION as u16,
);

fn check_version(what: &'static str, got: u16) -> Result<(), AbiError> {
    check_version_within(what, got, VERSIONS)
}

fn check_version_within(
    what: &'static str,
    got: u16,
    (min, max): (u16, u16),
) -> Result<(), AbiError> {
    if (min..=max).contains(&got) {
        Ok(())
    } else {
        Err(AbiError::Version {
            what,
            got,
            min,
            max,
        })
    }
}

/// Checks the beginning of structs other than messages: version, padding,
/// length.
fn check_layout(
    what: &'static str,
    version: u16,
    pad: u16,
    length: u32,
    want: usize,
) -> Result<(), AbiError> {
    check_version(what, version)?;
    check(pad == 0, what, "pad0", u64::from(pad), "0")?;
    let got = length as usize;
    if got == want {
        Ok(())
    } else {
        Err(AbiError::Length { what, got, want })
    }
}
