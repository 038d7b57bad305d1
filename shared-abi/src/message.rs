//! Messages written by the kernel: decisions, summaries, losses, events.

use crate::bytes::{self, Plain};
use crate::{
    AbiError, Action, Decoder, Ecn, EventCode, MESSAGE_SIZE, Queue, Reason, SUMMARY_SIZE, Stream,
    Summary, V1_SIZE, check, raw,
};

const HEADER_SIZE: usize = size_of::<raw::l4s_header>();

/// The defined bits of `status`.
pub(crate) const STATUS: u32 = raw::L4S_STATUS_OVERLOAD
    | raw::L4S_STATUS_CEILING
    | raw::L4S_STATUS_STEERED
    | raw::L4S_STATUS_WATCHDOG
    | raw::L4S_STATUS_BURST
    | raw::L4S_STATUS_MEASURING
    | raw::L4S_STATUS_STUDENT;

/// One message of the device.
#[derive(Debug, Clone, PartialEq)]
// Nearly every message is a record; boxing them would cost an allocation each.
// Summaries are three times as large and come a few times a second.
#[allow(clippy::large_enum_variant)]
pub enum Message {
    /// The queue's decision on one packet.
    Decision(Record),
    /// Activity of an instance in an interval.
    Summary(Box<Summary>),
    /// Messages that this reader did not read in time.
    Loss {
        /// Position of the first lost message.
        seq: u64,
        /// When the loss was written, ns.
        time_ns: u64,
        /// Number of lost messages, at least one.
        lost: u64,
        /// Their stream.
        stream: Stream,
    },
    /// Something that happened to the device.
    Event(Event),
    /// Context for filling in records ([`Decoder`]).
    Context(Context),
}

/// A message for a [`Decoder`] only: configuration, state or totals of an
/// instance, or a record of an instance without a keyframe so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Position in the stream.
    pub seq: u64,
    /// When it was written, ns.
    pub time_ns: u64,
    bytes: [u8; MESSAGE_SIZE],
}

impl Context {
    pub(crate) fn new(message: &[u8]) -> Result<Context, AbiError> {
        let header = header_of(message)?;
        let mut bytes = [0; MESSAGE_SIZE];
        bytes.copy_from_slice(message);
        Ok(Context {
            seq: header.seq,
            time_ns: header.time_ns,
            bytes,
        })
    }
}

impl Message {
    /// Length of the message that begins with these bytes; `None` if there are
    /// too few.
    ///
    /// # Errors
    /// An unknown version or type, or a length that does not match the type.
    pub fn length(head: &[u8]) -> Result<Option<usize>, AbiError> {
        Ok(header_in(head)?.map(|header| header.length as usize))
    }

    /// Checks one message without filling it in; see [`Decoder::decode`].
    ///
    /// # Errors
    /// Those of [`Decoder::decode`].
    pub fn from_bytes(message: &[u8]) -> Result<Message, AbiError> {
        Decoder::new().decode(message)
    }

    /// Its position in its stream, and the position of the next message.
    pub fn place(&self) -> (u64, u64) {
        let (seq, messages) = match self {
            Message::Decision(record) => (record.seq(), 1),
            Message::Summary(summary) => (summary.seq(), 1),
            Message::Event(event) => (event.seq, 1),
            Message::Context(context) => (context.seq, 1),
            &Message::Loss { seq, lost, .. } => (seq, lost),
        };
        (seq, seq.wrapping_add(messages))
    }

    /// Its stream; `None` for an event, which comes with either.
    pub fn stream(&self) -> Option<Stream> {
        match self {
            Message::Decision(_) => Some(Stream::Records),
            Message::Summary(_) => Some(Stream::Summaries),
            Message::Loss { stream, .. } => Some(*stream),
            Message::Context(_) => Some(Stream::Records),
            Message::Event(_) => None,
        }
    }

    /// The bytes that the kernel would write; for a record, those of version 1,
    /// which are self-contained.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::Context(context) => context.bytes.to_vec(),
            Message::Decision(record) => record.to_bytes().to_vec(),
            Message::Summary(summary) => summary.to_bytes().to_vec(),
            &Message::Loss {
                seq,
                time_ns,
                lost,
                stream,
            } => bytes::as_bytes(&raw::l4s_loss {
                hdr: header(raw::L4S_RECORD_LOSS, seq, time_ns),
                lost,
                stream: stream.code(),
                pad: 0,
                reserved: [0; 24],
            })
            .to_vec(),
            Message::Event(e) => bytes::as_bytes(&raw::l4s_event {
                hdr: header(raw::L4S_RECORD_EVENT, e.seq, e.time_ns),
                sched: e.sched,
                instance: e.instance,
                code: e.code.code(),
                pad: 0,
                value: e.value,
                reserved: [0; 16],
            })
            .to_vec(),
        }
    }
}

/// Something that happened to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Position in the stream.
    pub seq: u64,
    /// When, ns of the device's monotonic clock.
    pub time_ns: u64,
    /// The scheduler; 0: all.
    pub sched: u32,
    /// Its instance.
    pub instance: u32,
    /// The kind of event.
    pub code: EventCode,
    /// [`EventCode::Watchdog`]: deadlines missed so far;
    /// [`EventCode::OverloadEnd`]: ns spent in overload; otherwise 0.
    pub value: u64,
}

/// One decision of the queue: a checked [`raw::l4s_record_v1`]; its fields are
/// accessible through `Deref`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Record(raw::l4s_record_v1);

impl std::ops::Deref for Record {
    type Target = raw::l4s_record_v1;
    fn deref(&self) -> &raw::l4s_record_v1 {
        &self.0
    }
}

impl TryFrom<raw::l4s_record_v1> for Record {
    type Error = AbiError;
    /// Checks the header, every coded field and every probability.
    fn try_from(r: raw::l4s_record_v1) -> Result<Self, AbiError> {
        check_header(&r.hdr, raw::L4S_RECORD_DECISION)?;
        Record::checked(r)
    }
}

impl Record {
    /// As [`Record::try_from`], where the header is known to be right.
    #[inline]
    pub(crate) fn checked(r: raw::l4s_record_v1) -> Result<Record, AbiError> {
        let range = |field, value: u32, ok: bool, want| {
            check(ok, raw::l4s_record_v1::NAME, field, u64::from(value), want)
        };
        let bits = |field, value: u32, known: u32| {
            range(field, value, value & !known == 0, "known bits only")
        };
        let what = raw::l4s_record_v1::NAME;
        let probability = |field, value| check_probability(what, field, value);
        Queue::try_from(r.queue_type)?;
        Action::try_from(r.dequeue_action)?;
        Action::try_from(r.base_action)?;
        Action::try_from(r.override_action)?;
        Reason::try_from(r.reason)?;
        Ecn::try_from(r.ecn)?;
        bits("status", u32::from(r.status), STATUS)?;
        bits("status_flags", r.status_flags, STATUS)?;
        check_flags(what, r.flags)?;
        probability("max_ecn_threshold", r.max_ecn_threshold)?;
        probability("drop_probability", r.drop_probability)?;
        probability("base_probability", r.base_probability)?;
        Ok(Record(r))
    }
}

// The indexing below cannot fail: `checked` above is the only constructor, and
// these codes are consecutive from 0.
impl Record {
    /// The packet's queue.
    pub fn queue(&self) -> Queue {
        Queue::ALL[usize::from(self.0.queue_type)]
    }

    /// The action taken.
    pub fn action(&self) -> Action {
        Action::ALL[usize::from(self.0.dequeue_action)]
    }

    /// DualPI2's own decision.
    pub fn base_action(&self) -> Action {
        Action::ALL[usize::from(self.0.base_action)]
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        Reason::ALL[usize::from(self.0.reason)]
    }

    /// Codepoint on arrival.
    pub fn ecn(&self) -> Ecn {
        Ecn::ALL[usize::from(self.0.ecn)]
    }

    /// Position in the stream.
    pub fn seq(&self) -> u64 {
        self.0.hdr.seq
    }

    /// Time of the decision, ns of the device's monotonic clock.
    pub fn time_ns(&self) -> u64 {
        self.0.hdr.time_ns
    }

    /// The C struct.
    pub fn raw(&self) -> &raw::l4s_record_v1 {
        &self.0
    }

    /// The bytes that a kernel of version 1 would write.
    pub fn to_bytes(&self) -> [u8; V1_SIZE] {
        let mut out = [0; V1_SIZE];
        out.copy_from_slice(bytes::as_bytes(&self.0));
        out
    }
}

/// A header for a message; for writers of streams. Records are those of version
/// 1, which are self-contained; the length is the type's, 0 for an unknown type.
pub fn header(type_: u32, seq: u64, time_ns: u64) -> raw::l4s_header {
    let version = match type_ {
        raw::L4S_RECORD_DECISION => 1,
        _ => raw::L4S_ABI_VERSION as u16,
    };
    raw::l4s_header {
        version,
        type_: type_ as u8,
        pad: 0,
        length: length_of(version, type_).unwrap_or(0) as u32,
        seq,
        time_ns,
    }
}

/// The checked header of one whole message.
pub(crate) fn header_of(message: &[u8]) -> Result<raw::l4s_header, AbiError> {
    let header = header_in(message)?;
    let want = header.map_or(MESSAGE_SIZE, |header| header.length as usize);
    header
        .filter(|_| message.len() == want)
        .ok_or(AbiError::Length {
            what: "message",
            got: message.len(),
            want,
        })
}

/// The checked header of the message that begins here; `None` if there are too
/// few bytes.
#[inline]
pub(crate) fn header_in(head: &[u8]) -> Result<Option<raw::l4s_header>, AbiError> {
    let Some((header, _)) = head.split_at_checked(HEADER_SIZE) else {
        return Ok(None);
    };
    let header: raw::l4s_header = bytes::from_bytes(header)?;
    check_header(&header, u32::from(header.type_))?;
    Ok(Some(header))
}

/// The struct at the beginning of a message; in version 1, zeros follow.
fn beginning<T: Plain>(message: &[u8]) -> Result<T, AbiError> {
    let (head, rest) = message.split_at(message.len().min(size_of::<T>()));
    check_zero(T::NAME, rest)?;
    bytes::from_bytes(head)
}

pub(crate) fn loss(message: &[u8]) -> Result<Message, AbiError> {
    let l: raw::l4s_loss = beginning(message)?;
    check_header(&l.hdr, raw::L4S_RECORD_LOSS)?;
    check(
        l.lost > 0,
        raw::l4s_loss::NAME,
        "lost",
        l.lost,
        "at least 1",
    )?;
    let pad = u64::from(l.pad);
    check(l.pad == 0, raw::l4s_loss::NAME, "pad", pad, "0")?;
    check_zero(raw::l4s_loss::NAME, &l.reserved)?;
    // Version 1 had one stream and zeros here.
    let stream = match (l.hdr.version, l.stream) {
        (1, 0) => Stream::Records,
        (_, stream) => stream.try_into()?,
    };
    Ok(Message::Loss {
        seq: l.hdr.seq,
        time_ns: l.hdr.time_ns,
        lost: l.lost,
        stream,
    })
}

pub(crate) fn event(message: &[u8]) -> Result<Message, AbiError> {
    let e: raw::l4s_event = beginning(message)?;
    check_header(&e.hdr, raw::L4S_RECORD_EVENT)?;
    let code = EventCode::try_from(e.code)?;
    check(
        e.pad == 0,
        raw::l4s_event::NAME,
        "pad",
        u64::from(e.pad),
        "0",
    )?;
    check_zero(raw::l4s_event::NAME, &e.reserved)?;
    Ok(Message::Event(Event {
        seq: e.hdr.seq,
        time_ns: e.hdr.time_ns,
        sched: e.sched,
        instance: e.instance,
        code,
        value: e.value,
    }))
}

pub(crate) fn check_flags(what: &'static str, flags: u32) -> Result<(), AbiError> {
    const FLAGS: u32 = raw::L4S_FLAG_ECN
        | raw::L4S_FLAG_RANDOM
        | raw::L4S_FLAG_RAMP
        | raw::L4S_FLAG_BURST
        | raw::L4S_FLAG_MAX_ECNTH;
    let known = flags & !FLAGS == 0;
    check(known, what, "flags", flags.into(), "known bits only")
}

pub(crate) fn check_probability(
    what: &'static str,
    field: &'static str,
    value: u32,
) -> Result<(), AbiError> {
    let ok = value <= raw::L4S_PROB_ONE;
    check(ok, what, field, value.into(), "0..=2147483647 (Q31)")
}

pub(crate) fn check_header(h: &raw::l4s_header, type_: u32) -> Result<(), AbiError> {
    let what = raw::l4s_header::NAME;
    crate::check_version_within(what, h.version, crate::MESSAGE_VERSIONS)?;
    let got = u32::from(h.type_);
    check(
        got == type_,
        what,
        "type",
        u64::from(got),
        "the struct's own",
    )?;
    let Some(want) = length_of(h.version, type_) else {
        return Err(AbiError::Range {
            what,
            field: "type",
            got: u64::from(h.type_),
            want: "one of the L4S_RECORD_ types of its version",
        });
    };
    if h.length as usize != want {
        return Err(AbiError::Length {
            what,
            got: h.length as usize,
            want,
        });
    }
    check(h.pad == 0, what, "pad", u64::from(h.pad), "0")
}

/// Size of a message of this type; `None` if the version does not have the type.
fn length_of(version: u16, type_: u32) -> Option<usize> {
    match (version, type_) {
        (1, raw::L4S_RECORD_DECISION | raw::L4S_RECORD_LOSS | raw::L4S_RECORD_EVENT) => {
            Some(V1_SIZE)
        }
        (1, _) => None,
        (_, raw::L4S_RECORD_SUMMARY) => Some(SUMMARY_SIZE),
        (_, raw::L4S_RECORD_DECISION..=raw::L4S_RECORD_TOTALS) => Some(MESSAGE_SIZE),
        _ => None,
    }
}

fn check_zero(what: &'static str, reserved: &[u8]) -> Result<(), AbiError> {
    match reserved.iter().find(|b| **b != 0) {
        None => Ok(()),
        Some(b) => check(false, what, "reserved", u64::from(*b), "0"),
    }
}
