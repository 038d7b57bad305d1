//! The router's records as rows without flows.

use l4sllm_abi::{AbiError, Decoder, Ecn, Message, Stream, raw};
use l4sllm_testbed::result::PacketRow;

/// Length of the longest message: a reader that was killed may have written a part of
/// its last one.
const LONGEST: usize = 512;

/// Packets that left the queue, in the order of the records.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Departures {
    /// Times are those of the router's monotonic clock. `flow` has no meaning yet.
    pub rows: Vec<PacketRow>,
    /// Number of rows before each loss of records.
    pub losses: Vec<usize>,
}

/// Decodes the stream of a reader that was opened before the first packet.
///
/// # Errors
/// An invalid message before the end.
pub(super) fn parse(stream: &[u8]) -> Result<Departures, AbiError> {
    let mut departures = Departures::default();
    let mut decoder = Decoder::new();
    let mut messages = decoder.messages(stream);
    while let Some(message) = messages.next() {
        match message {
            Ok(Message::Decision(record)) => departures.rows.push(PacketRow {
                time_ns: record.time_ns(),
                flow: 0,
                queue: record.queue().code(),
                action: record.action().code(),
                // Records have the codepoint on arrival.
                ecn: match record.action() {
                    l4sllm_abi::Action::Mark => Ecn::Ce.code(),
                    _ => record.ecn().code(),
                },
                bytes: record.packet_length,
                sojourn_ns: record.sojourn_ns,
            }),
            Ok(Message::Loss {
                stream: Stream::Records,
                ..
            }) => departures.losses.push(departures.rows.len()),
            // A record before the first keyframe has no queue's values, but a packet.
            Ok(Message::Context(context)) if is_record(&context) => {
                departures.losses.push(departures.rows.len());
            }
            Ok(_) => {}
            Err(AbiError::Length { .. }) if messages.left() < LONGEST => break,
            Err(error) => return Err(error),
        }
    }
    Ok(departures)
}

fn is_record(context: &l4sllm_abi::Context) -> bool {
    let bytes = Message::Context(*context).to_bytes();
    u32::from(bytes[TYPE]) == raw::L4S_RECORD_DECISION
}

/// Position of the type in a message.
const TYPE: usize = std::mem::offset_of!(raw::l4s_header, type_);
