//! What the kernel writes: decisions, summaries, losses, events.

use crate::bytes::{self, Plain};
use crate::{
    AbiError, Action, Ecn, EventCode, MESSAGE_SIZE, Queue, Reason, SUMMARY_SIZE, Stream, Summary,
    check, raw,
};

const HEADER_SIZE: usize = size_of::<raw::l4s_header>();

/// The bits of `status` that there are.
pub(crate) const STATUS: u32 = raw::L4S_STATUS_OVERLOAD
    | raw::L4S_STATUS_CEILING
    | raw::L4S_STATUS_STEERED
    | raw::L4S_STATUS_WATCHDOG
    | raw::L4S_STATUS_BURST
    | raw::L4S_STATUS_MEASURING;

/// One message of the device.
#[derive(Debug, Clone, PartialEq)]
// A record is what nearly every message is; boxing it would cost an allocation each.
// Summaries, three times as large, come a few times a second.
#[allow(clippy::large_enum_variant)]
pub enum Message {
    /// What the queue did with one packet.
    Decision(Record),
    /// What an instance did in an interval.
    Summary(Box<Summary>),
    /// Messages that this reader did not read in time.
    Loss {
        /// Position of the first lost message.
        seq: u64,
        /// When the loss was written, ns.
        time_ns: u64,
        /// How many were lost, at least one.
        lost: u64,
        /// The stream that they were of.
        stream: Stream,
    },
    /// Something that happened to the device.
    Event(Event),
}

impl Message {
    /// Length of the message that begins with these bytes; `None` when they
    /// are too few to say.
    ///
    /// # Errors
    /// A version or type that is unknown, or a length that is not the type's.
    pub fn length(head: &[u8]) -> Result<Option<usize>, AbiError> {
        let Some((header, _)) = head.split_at_checked(HEADER_SIZE) else {
            return Ok(None);
        };
        let header: raw::l4s_header = bytes::from_bytes(header)?;
        check_header(&header, u32::from(header.type_))?;
        Ok(Some(header.length as usize))
    }

    /// Checks one message.
    ///
    /// # Errors
    /// Wrong length, version, unknown type or code, a value out of range, or
    /// padding that is not zero.
    pub fn from_bytes(message: &[u8]) -> Result<Message, AbiError> {
        let length = Message::length(message)?.unwrap_or(MESSAGE_SIZE);
        if message.len() != length {
            return Err(AbiError::Length {
                what: "message",
                got: message.len(),
                want: length,
            });
        }
        let header: raw::l4s_header = bytes::from_bytes(&message[..HEADER_SIZE])?;
        match u32::from(header.type_) {
            raw::L4S_RECORD_DECISION => {
                Record::try_from(bytes::from_bytes::<raw::l4s_record>(message)?)
                    .map(Message::Decision)
            }
            raw::L4S_RECORD_SUMMARY => {
                Summary::try_from(bytes::from_bytes::<raw::l4s_summary>(message)?)
                    .map(|summary| Message::Summary(Box::new(summary)))
            }
            raw::L4S_RECORD_LOSS => loss(&bytes::from_bytes(message)?),
            _ => event(&bytes::from_bytes(message)?),
        }
    }

    /// Its length, bytes.
    pub fn size(&self) -> usize {
        match self {
            Message::Summary(_) => SUMMARY_SIZE,
            _ => MESSAGE_SIZE,
        }
    }

    /// Its position in its stream, and that of the message after it.
    pub fn place(&self) -> (u64, u64) {
        let (seq, messages) = match self {
            Message::Decision(record) => (record.seq(), 1),
            Message::Summary(summary) => (summary.seq(), 1),
            Message::Event(event) => (event.seq, 1),
            &Message::Loss { seq, lost, .. } => (seq, lost),
        };
        (seq, seq.wrapping_add(messages))
    }

    /// The stream that it is of; `None`: an event, which comes with either.
    pub fn stream(&self) -> Option<Stream> {
        match self {
            Message::Decision(_) => Some(Stream::Records),
            Message::Summary(_) => Some(Stream::Summaries),
            Message::Loss { stream, .. } => Some(*stream),
            Message::Event(_) => None,
        }
    }

    /// The bytes that the kernel would write.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
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
                reserved: [0; 128],
            })
            .to_vec(),
            Message::Event(e) => bytes::as_bytes(&raw::l4s_event {
                hdr: header(raw::L4S_RECORD_EVENT, e.seq, e.time_ns),
                sched: e.sched,
                instance: e.instance,
                code: e.code.code(),
                pad: 0,
                value: e.value,
                reserved: [0; 120],
            })
            .to_vec(),
        }
    }
}

/// The messages in the bytes of one read. A partial message at the end is a
/// [`AbiError::Length`], and nothing after an error is yielded: where one
/// message is wrong, the boundaries of the next are not to be trusted.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message, AbiError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let length = match Message::length(bytes) {
            Ok(length) => length.unwrap_or(MESSAGE_SIZE),
            Err(error) => {
                bytes = &[];
                return Some(Err(error));
            }
        };
        let (message, rest) = bytes.split_at(bytes.len().min(length));
        let message = Message::from_bytes(message);
        bytes = if message.is_ok() { rest } else { &[] };
        Some(message)
    })
}

/// Something that happened to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Position in the stream.
    pub seq: u64,
    /// When, ns of the device's monotonic clock.
    pub time_ns: u64,
    /// The scheduler, 0: all.
    pub sched: u32,
    /// Its instance.
    pub instance: u32,
    /// What happened.
    pub code: EventCode,
    /// [`EventCode::Watchdog`]: deadlines missed so far;
    /// [`EventCode::OverloadEnd`]: ns spent in overload; else 0.
    pub value: u64,
}

/// One decision of the queue: a checked [`raw::l4s_record`], whose fields are
/// read through `Deref`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Record(raw::l4s_record);

impl std::ops::Deref for Record {
    type Target = raw::l4s_record;
    fn deref(&self) -> &raw::l4s_record {
        &self.0
    }
}

impl TryFrom<raw::l4s_record> for Record {
    type Error = AbiError;
    /// Checks the header, every coded field and every probability.
    fn try_from(r: raw::l4s_record) -> Result<Self, AbiError> {
        const FLAGS: u32 = raw::L4S_FLAG_ECN
            | raw::L4S_FLAG_RANDOM
            | raw::L4S_FLAG_RAMP
            | raw::L4S_FLAG_BURST
            | raw::L4S_FLAG_MAX_ECNTH;
        let range = |field, value: u32, ok: bool, want| {
            check(ok, raw::l4s_record::NAME, field, u64::from(value), want)
        };
        let bits = |field, value: u32, known: u32| {
            range(field, value, value & !known == 0, "known bits only")
        };
        let probability = |field, value: u32| {
            range(
                field,
                value,
                value <= raw::L4S_PROB_ONE,
                "0..=2147483647 (Q31)",
            )
        };
        check_header(&r.hdr, raw::L4S_RECORD_DECISION)?;
        Queue::try_from(r.queue_type)?;
        Action::try_from(r.dequeue_action)?;
        Action::try_from(r.base_action)?;
        Action::try_from(r.override_action)?;
        Reason::try_from(r.reason)?;
        Ecn::try_from(r.ecn)?;
        bits("status", u32::from(r.status), STATUS)?;
        bits("status_flags", r.status_flags, STATUS)?;
        bits("flags", r.flags, FLAGS)?;
        probability("max_ecn_threshold", r.max_ecn_threshold)?;
        probability("drop_probability", r.drop_probability)?;
        probability("base_probability", r.base_probability)?;
        Ok(Record(r))
    }
}

// The indexing below cannot fail: `try_from` above is the only way in, and
// these codes count from 0 without a gap.
impl Record {
    /// The packet's queue.
    pub fn queue(&self) -> Queue {
        Queue::ALL[usize::from(self.0.queue_type)]
    }

    /// What was done.
    pub fn action(&self) -> Action {
        Action::ALL[usize::from(self.0.dequeue_action)]
    }

    /// What DualPI2 alone would have done.
    pub fn base_action(&self) -> Action {
        Action::ALL[usize::from(self.0.base_action)]
    }

    /// Why.
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
    pub fn raw(&self) -> &raw::l4s_record {
        &self.0
    }

    /// The bytes that the kernel would write.
    pub fn to_bytes(&self) -> [u8; MESSAGE_SIZE] {
        let mut out = [0; MESSAGE_SIZE];
        out.copy_from_slice(bytes::as_bytes(&self.0));
        out
    }
}

/// A header for a message of this version; for writers of streams. The length is
/// the type's, 0 for a type that there is none of.
pub fn header(type_: u32, seq: u64, time_ns: u64) -> raw::l4s_header {
    raw::l4s_header {
        version: raw::L4S_ABI_VERSION as u16,
        type_: type_ as u8,
        pad: 0,
        length: length_of(type_).unwrap_or(0) as u32,
        seq,
        time_ns,
    }
}

fn loss(l: &raw::l4s_loss) -> Result<Message, AbiError> {
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
    // Version 1 had one stream and zeros in this place.
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

fn event(e: &raw::l4s_event) -> Result<Message, AbiError> {
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
    let Some(want) = length_of(type_) else {
        return Err(AbiError::Range {
            what,
            field: "type",
            got: u64::from(h.type_),
            want: "one of L4S_RECORD_DECISION L4S_RECORD_LOSS L4S_RECORD_EVENT L4S_RECORD_SUMMARY",
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

/// Bytes of a message of a type; `None`: there is no such type.
fn length_of(type_: u32) -> Option<usize> {
    match type_ {
        raw::L4S_RECORD_DECISION | raw::L4S_RECORD_LOSS | raw::L4S_RECORD_EVENT => {
            Some(MESSAGE_SIZE)
        }
        raw::L4S_RECORD_SUMMARY => Some(SUMMARY_SIZE),
        _ => None,
    }
}

fn check_zero(what: &'static str, reserved: &[u8]) -> Result<(), AbiError> {
    match reserved.iter().find(|b| **b != 0) {
        None => Ok(()),
        Some(b) => check(false, what, "reserved", u64::from(*b), "0"),
    }
}
