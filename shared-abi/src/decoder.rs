//! Decodes the stream of a device into complete records.

use crate::bytes;
use crate::message::{self, Context, check_header};
use crate::{AbiError, Action, MESSAGE_SIZE, Message, Record, Summary, V1_SIZE, check, raw};

/// Bytes of a departure-rate sample (DQ_THRESHOLD of RFC 8033).
const SAMPLE: u32 = 16_384;

/// Maximum number of tracked instances; beyond it, the oldest is dropped.
const INSTANCES: usize = 4096;

/// Fills in the records of one descriptor's stream, or of a capture of it, from
/// the configuration, state and totals between them ([`raw::l4s_config`]).
///
/// After an instance's first keyframe every field has the queue's value.
/// Between a loss and the next keyframe, totals, samples, and values that may
/// have changed in the meantime keep their values from before the loss.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    /// Instances by number.
    instances: Vec<Instance>,
    /// Index of the latest message's instance in `instances`.
    latest: usize,
    /// Weight of the latest record's flow.
    weight: u8,
}

#[derive(Debug, Clone, Copy)]
struct Instance {
    number: u32,
    /// A keyframe was received.
    known: bool,
    /// Nothing was lost since then.
    exact: bool,
    /// Number of consecutive messages of a keyframe.
    stage: u32,
    config: raw::l4s_config,
    state: raw::l4s_state,
    queues: [Totals; 2],
}

/// Values of one queue obtained by counting.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    packets: u64,
    left_bytes: u64,
    drops: u64,
    sampling: bool,
    sample_start: u64,
    sample_us: u32,
    sample_bytes: u32,
}

impl Decoder {
    /// A decoder for a stream from its beginning.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Decodes one message of the stream.
    ///
    /// # Errors
    /// Wrong length, version, unknown type or code, a value out of range, or
    /// padding that is not zero.
    pub fn decode(&mut self, message: &[u8]) -> Result<Message, AbiError> {
        let header = message::header_of(message)?;
        self.decode_as(&header, message)
    }

    /// Decodes a message with a checked header and the length stated in it.
    #[inline]
    fn decode_as(&mut self, header: &raw::l4s_header, message: &[u8]) -> Result<Message, AbiError> {
        match u32::from(header.type_) {
            raw::L4S_RECORD_DECISION if header.version == 1 => {
                self.weight = 0;
                Record::try_from(bytes::from_bytes::<raw::l4s_record_v1>(message)?)
                    .map(Message::Decision)
            }
            raw::L4S_RECORD_DECISION => self.decision(message),
            raw::L4S_RECORD_CONFIG => self.config(message),
            raw::L4S_RECORD_STATE => self.state(message),
            raw::L4S_RECORD_TOTALS => self.totals(message),
            raw::L4S_RECORD_SUMMARY => {
                Summary::try_from(bytes::from_bytes::<raw::l4s_summary>(message)?)
                    .map(|summary| Message::Summary(Box::new(summary)))
            }
            raw::L4S_RECORD_LOSS => {
                let loss = message::loss(message)?;
                if matches!(loss, Message::Loss { stream, .. } if stream == crate::Stream::Records)
                {
                    for instance in &mut self.instances {
                        instance.exact = false;
                        instance.stage = 0;
                    }
                }
                Ok(loss)
            }
            _ => message::event(message),
        }
    }

    /// The messages in the bytes of one read. A partial message at the end is
    /// an [`AbiError::Length`], and iteration stops after an error, because
    /// later message boundaries cannot be trusted.
    pub fn messages<'a>(&'a mut self, bytes: &'a [u8]) -> Messages<'a> {
        Messages {
            decoder: self,
            bytes,
            failed: false,
        }
    }

    /// Whether all fields of the latest record's instance are exact.
    pub fn is_exact(&self) -> bool {
        self.instances
            .get(self.latest)
            .is_some_and(|instance| instance.exact)
    }

    /// The weight of the flow of the latest record's packet, by which DualPI2's
    /// probability was multiplied: 0.5 to 2. `None` if weights are off, if the
    /// packet was dropped on arrival or with its queue, and in captures of
    /// version 1.
    pub fn flow_weight(&self) -> Option<f64> {
        let one = f64::from(raw::L4S_WEIGHT_ONE);
        (self.weight != 0).then(|| f64::from(self.weight) / one)
    }

    fn find(&mut self, number: u32) -> Option<&mut Instance> {
        if self.instances.get(self.latest).map(|i| i.number) != Some(number) {
            self.latest = self
                .instances
                .binary_search_by_key(&number, |instance| instance.number)
                .ok()?;
        }
        self.instances.get_mut(self.latest)
    }

    fn find_or_add(&mut self, number: u32) -> &mut Instance {
        if self.find(number).is_none() {
            if self.instances.len() >= INSTANCES {
                self.instances.remove(0);
            }
            let at = self.instances.partition_point(|i| i.number < number);
            self.instances.insert(at, Instance::new(number));
            self.latest = at;
        }
        &mut self.instances[self.latest]
    }

    fn config(&mut self, message: &[u8]) -> Result<Message, AbiError> {
        let config: raw::l4s_config = bytes::from_bytes(message)?;
        check_header(&config.hdr, raw::L4S_RECORD_CONFIG)?;
        let what = "l4s_config";
        check(config.pad == 0, what, "pad", config.pad.into(), "0")?;
        message::check_flags(what, config.flags)?;
        message::check_probability(what, "max_ecn_threshold", config.max_ecn_threshold)?;
        let instance = self.find_or_add(config.instance);
        instance.config = config;
        instance.stage = 1;
        Context::new(message).map(Message::Context)
    }

    fn totals(&mut self, message: &[u8]) -> Result<Message, AbiError> {
        let totals: raw::l4s_totals = bytes::from_bytes(message)?;
        check_header(&totals.hdr, raw::L4S_RECORD_TOTALS)?;
        let queue = totals.queue;
        check(queue < 2, "l4s_totals", "queue", queue.into(), "0 or 1")?;
        let instance = self.find_or_add(totals.instance);
        let of = &mut instance.queues[queue as usize];
        of.packets = totals.total_packets;
        of.left_bytes = totals.left_bytes;
        of.drops = totals.total_drops;
        of.sample_start = totals.sample_start_ns;
        of.sampling = totals.sample_start_ns != 0;
        let next = instance.stage == 1 + queue;
        instance.stage = if next { instance.stage + 1 } else { 0 };
        Context::new(message).map(Message::Context)
    }

    fn state(&mut self, message: &[u8]) -> Result<Message, AbiError> {
        let state: raw::l4s_state = bytes::from_bytes(message)?;
        check_header(&state.hdr, raw::L4S_RECORD_STATE)?;
        message::check_probability("l4s_state", "base_probability", state.base_probability)?;
        let instance = self.find_or_add(state.instance);
        instance.state = state;
        if instance.stage == 3 {
            for (queue, (us, bytes)) in instance
                .queues
                .iter_mut()
                .zip(state.sample_us.into_iter().zip(state.sample_bytes))
            {
                queue.sample_us = us;
                queue.sample_bytes = bytes;
            }
            instance.known = true;
            instance.exact = true;
        }
        instance.stage = 0;
        Context::new(message).map(Message::Context)
    }

    /// A record, or context if the instance has had no keyframe yet.
    fn decision(&mut self, message: &[u8]) -> Result<Message, AbiError> {
        let record: raw::l4s_record = bytes::from_bytes(message)?;
        let weight = record.weight;
        let known = u32::from(weight);
        check(
            known == 0 || (raw::L4S_WEIGHT_MIN..=raw::L4S_WEIGHT_MAX).contains(&known),
            "l4s_record",
            "weight",
            weight.into(),
            "0, or 32..=128 (Q6)",
        )?;
        self.weight = weight;
        match self.find(record.instance) {
            Some(instance) if instance.known => {
                Record::checked(instance.expand(&record)).map(Message::Decision)
            }
            _ => Context::new(message).map(Message::Context),
        }
    }
}

impl Instance {
    fn new(number: u32) -> Instance {
        Instance {
            number,
            known: false,
            exact: false,
            stage: 0,
            config: raw::l4s_config::default(),
            state: raw::l4s_state::default(),
            queues: [Totals::default(); 2],
        }
    }

    /// Counts a record, and fills it in.
    fn expand(&mut self, r: &raw::l4s_record) -> raw::l4s_record_v1 {
        self.stage = 0;
        let (config, state) = (&self.config, &self.state);
        let queue_type = r.queue_reason >> 7;
        let queue = &mut self.queues[usize::from(queue_type)];
        let reason = u32::from(r.queue_reason) & raw::L4S_REASON_MASK;
        let tail = reason == raw::L4S_REASON_TAIL;
        let chosen = !tail && reason != raw::L4S_REASON_FLUSH;
        let action = r.actions & 3;
        queue.count(r, action, chosen);
        let own = [raw::L4S_REASON_BASE, raw::L4S_REASON_STUDENT].contains(&reason);
        let overridden = chosen && !own;
        raw::l4s_record_v1 {
            hdr: message::header(raw::L4S_RECORD_DECISION, r.hdr.seq, r.hdr.time_ns),
            sched: config.sched,
            instance: r.instance,
            sojourn_ns: if tail { 0 } else { r.delay_ns },
            override_id: if overridden { state.override_id } else { 0 },
            queue_type,
            dequeue_action: action,
            base_action: (r.actions >> 2) & 3,
            reason: reason as u8,
            ecn: r.actions >> 6,
            override_action: (r.actions >> 4) & 3,
            status: r.status.into(),
            qdelay_reference: config.target,
            tupdate: config.tupdate,
            max_burst: config.max_burst,
            max_ecn_threshold: config.max_ecn_threshold,
            alpha: config.alpha,
            beta: config.beta,
            flags: config.flags,
            burst_allowance: state.burst_allowance,
            drop_probability: r.drop_probability,
            current_queue_delay: us(r.delay_ns),
            previous_queue_delay: state.previous_queue_delay,
            average_dequeue_time: queue.sample_us,
            accumulated_probability: r.accumulated.into(),
            measurement_start_time: queue.sample_start,
            dequeue_count: queue.sample_bytes,
            status_flags: r.status.into(),
            total_packets: queue.packets,
            total_bytes: queue.left_bytes.wrapping_add(r.length_in_bytes.into()),
            queue_length: r.queue_length,
            length_in_bytes: r.length_in_bytes,
            total_drops: queue.drops,
            packet_length: r.packet_length,
            base_probability: state.base_probability,
        }
    }
}

impl Totals {
    fn count(&mut self, r: &raw::l4s_record, action: u8, chosen: bool) {
        let more = r.total_packets.wrapping_sub(self.packets as u32);
        self.packets = self.packets.wrapping_add(more.into());
        self.left_bytes = self.left_bytes.wrapping_add(r.packet_length.into());
        if action == Action::Drop.code() {
            self.drops = self.drops.wrapping_add(1);
        }
        if chosen {
            self.measure(r);
        }
    }

    /// The departure rate (RFC 8033, section 4.3), as measured by the queue.
    fn measure(&mut self, r: &raw::l4s_record) {
        let more = r.length_in_bytes >= SAMPLE;
        if !self.sampling {
            if more || r.length_in_bytes.saturating_add(r.packet_length) >= SAMPLE {
                self.sampling = true;
                self.sample_start = r.hdr.time_ns;
            }
            return;
        }
        self.sample_bytes = self.sample_bytes.saturating_add(r.packet_length);
        if self.sample_bytes < SAMPLE {
            return;
        }
        let took = us(r.hdr.time_ns.wrapping_sub(self.sample_start));
        self.sample_us = match self.sample_us {
            0 => took,
            mean => ((u64::from(mean) * 3 + u64::from(took)) / 4) as u32,
        };
        self.sampling = more;
        self.sample_start = if more { r.hdr.time_ns } else { 0 };
        self.sample_bytes = 0;
    }
}

fn us(ns: u64) -> u32 {
    u32::try_from(ns / 1000).unwrap_or(u32::MAX)
}

/// Iterator over the messages in bytes; see [`Decoder::messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    decoder: &'a mut Decoder,
    bytes: &'a [u8],
    failed: bool,
}

impl Messages<'_> {
    /// The unparsed bytes: after an error, those from the invalid message on.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, AbiError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.bytes.is_empty() {
            return None;
        }
        let made = message::header_in(self.bytes).and_then(|header| {
            let length = header.map_or(MESSAGE_SIZE, |header| header.length as usize);
            let (message, rest) = self.bytes.split_at(self.bytes.len().min(length));
            let message = match &header {
                Some(header) if message.len() == length => {
                    self.decoder.decode_as(header, message)?
                }
                // This error names the missing part.
                _ => self.decoder.decode(message)?,
            };
            self.bytes = rest;
            Ok(message)
        });
        self.failed = made.is_err();
        Some(made)
    }
}

const _: () = assert!(V1_SIZE > MESSAGE_SIZE);
