//! Records and summaries in, overrides out, until the device disappears.
//!
//! One turn of the loop executes orders, reads all available messages, decides
//! on their newest intervals ([`crate::Plan`]) and yields. At any
//! rate of records, a turn lasts little longer than one decision or
//! [`TURN_NS`], whichever is longer.

use std::sync::Arc;

use l4sllm_abi::{
    Decoder, EventCode, Interval, MESSAGE_SIZE, Message, Mode, Override, SUMMARY_SIZE, Stream,
    Streams,
};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use super::orders::{End, Order};
use super::reload::Asked;
use super::worker::Worker;
use crate::clock::now_ns;
use crate::config::Wake;
use crate::device::{Device, DeviceError};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::plan::Plan;
use crate::recorder::{self, Bits, Frame, Recorder, Turn};

/// Maximum number of messages to wait for, so that a long interval does not
/// overflow the device's ring (a smaller ring wakes the reader earlier), and
/// maximum per read.
const MAX_WAKE: u32 = 1024;
const MAX_READ: usize = 4 * MAX_WAKE as usize;

/// Number of messages requested in addition to the expected ones; if fewer are
/// returned, no more are available.
const SLACK: usize = 64;

/// Maximum number of messages per turn, 2 MB. Further messages stay in the ring
/// and will soon be replaced by newer ones.
const MAX_BACKLOG: usize = 8 * MAX_READ;

/// Time that a summary may wait to be read together with records, ns: short
/// compared with the memory of its engine.
const MAX_WAIT_NS: u64 = 20_000_000;

/// Whether nothing was read in the last two checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    No,
    Since,
    Long,
}

impl Worker {
    pub(super) async fn serve(
        &mut self,
        mut device: Device,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<End, Error> {
        self.turns.decoder = Decoder::new();
        let end = self.read_on(&mut device, orders).await;
        self.publish();
        match end {
            Err(Error::Device(error)) if error.is_gone() => Ok(End::Gone(error)),
            other => other,
        }
    }

    async fn read_on(
        &mut self,
        device: &mut Device,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<End, Error> {
        self.record_checkpoint();
        self.heed_advice(device, Asked::Told).await?;
        let mut bytes = Vec::new();
        let mut asked: Option<Interval> = None;
        let first = tokio::time::Instant::now() + self.patience;
        let mut look = tokio::time::interval_at(first, self.patience);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = Quiet::No;
        loop {
            let until = self.pipeline.until_due();
            let interval = self.interval(until, quiet);
            if asked != Some(interval) {
                device.interval(interval).await?;
                // Not earlier: an event of an earlier change would be in the
                // old stream.
                if asked.is_none_or(|asked| asked.streams != interval.streams) {
                    self.learn_base(device).await?;
                }
                asked = Some(interval);
            }
            let most = (until as usize + SLACK).min(MAX_READ) * MESSAGE_SIZE;
            tokio::select! {
                biased;
                order = orders.recv() => {
                    if self.obey(order, Some(device)).await {
                        log_counters(device).await;
                        return Ok(End::Stop);
                    }
                    if self.releases {
                        return Ok(End::Released);
                    }
                }
                _ = look.tick() => {
                    quiet = match quiet {
                        Quiet::No => Quiet::Since,
                        Quiet::Since | Quiet::Long => Quiet::Long,
                    };
                    self.heed_advice(device, Asked::Looking).await?;
                }
                () = self.engines.progressed() => {
                    self.take_ready(device).await?;
                    self.publish();
                }
                read = device.read(&mut bytes, most) => {
                    read?;
                    quiet = Quiet::No;
                    if !is_drained(bytes.len(), most) {
                        read_more(device, &mut bytes).await?;
                    }
                    self.take(device, &bytes).await?;
                    self.publish();
                    // If data is always ready, nothing above waits, and the
                    // runtime would never check its timers.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Sets the streams to read, and when to wake up.
    fn interval(&self, until_due: u32, quiet: Quiet) -> Interval {
        let wake = match self.config.device.wake {
            // An idle queue completes no interval, so whatever is available,
            // such as an event, is read.
            _ if quiet == Quiet::Long => 1,
            Wake::Early if until_due > 1 => until_due - 1,
            _ => until_due,
        };
        let streams = self.in_force.streams();
        Interval {
            records: wake.min(MAX_WAKE),
            max_wait_ns: match streams {
                Streams::Records | Streams::Summaries(_) => 0,
                Streams::All(_) => MAX_WAIT_NS,
            },
            streams,
        }
    }

    /// Reads the base parameters and limits of set-points, for engines that
    /// choose set-points.
    async fn learn_base(&mut self, device: &mut Device) -> Result<(), Error> {
        if self.in_force.streams() != Streams::Records {
            let (params, limits) = (device.params().await?, device.limits().await?);
            self.pipeline.set_base(params, limits);
            self.record_base();
        }
        Ok(())
    }

    /// Processes the bytes of one turn.
    async fn take(&mut self, device: &mut Device, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return self.torn(0, "nothing was read");
        }
        let mut backlog = std::mem::take(&mut self.turns.backlog);
        backlog.clear();
        let mut torn = None;
        let mut messages = self.turns.decoder.messages(bytes);
        for message in messages.by_ref() {
            match message {
                Ok(message) => backlog.push(message),
                Err(error) => torn = Some(error),
            }
        }
        let left = messages.left();
        let result = self.take_all(device, &backlog).await;
        backlog.shrink_to(MAX_READ);
        self.turns.backlog = backlog;
        result?;
        if let Some(error) = torn {
            return self.torn(left, &error.to_string());
        }
        self.torn_in_a_row = 0;
        Ok(())
    }

    async fn take_all(&mut self, device: &mut Device, backlog: &[Message]) -> Result<(), Error> {
        // The module's notification that its sysctls changed. Later messages
        // may have other intervals.
        let changes = |m: &Message| {
            let Message::Event(event) = m else {
                return false;
            };
            matches!(event.code, EventCode::Params | EventCode::Limits)
        };
        // Before the next interval makes them late.
        self.take_ready(device).await?;
        let mut lost = false;
        for part in backlog.split_inclusive(changes) {
            self.decide_on(device, part).await?;
            lost |= part.iter().any(|m| matches!(m, Message::Loss { .. }));
            if part.last().is_some_and(changes) {
                self.heed_advice(device, Asked::Told).await?;
                self.learn_base(device).await?;
            }
        }
        if lost {
            // Such an event may have been lost.
            self.heed_advice(device, Asked::Looking).await?;
            self.learn_base(device).await?;
        }
        Ok(())
    }

    /// Decides on the newest intervals of a backlog and sends the overrides.
    async fn decide_on(&mut self, device: &mut Device, backlog: &[Message]) -> Result<(), Error> {
        let (most, now) = (self.turns.most(), now_ns());
        let records = self.recorder.as_ref().is_some_and(Recorder::is_open);
        let mut turn = records.then(|| Turn::planned(now, most));
        let plan = self.pipeline.plan(backlog, most, now);
        let result = self.decide_by(plan, device, backlog, &mut turn).await;
        self.record_turn(turn, backlog);
        result
    }

    /// Decides on the intervals of a plan, and adds the decisions to `turn`.
    async fn decide_by(
        &mut self,
        mut plan: Plan,
        device: &mut Device,
        backlog: &[Message],
        turn: &mut Option<Turn>,
    ) -> Result<(), Error> {
        let board = Arc::clone(&self.board);
        for (at, message) in backlog.iter().enumerate() {
            if let Some(turn) = turn {
                turn.processed = at as u64 + 1;
            }
            self.log_message(message);
            let before = now_ns();
            board.begin(before);
            let decided = self.pipeline.decide(message, &mut plan);
            board.end();
            let Some(decided) = decided else { continue };
            let after = now_ns();
            let took = after.saturating_sub(before);
            self.turns.took(took);
            board.live().decision.record(took, after);
            let order = self.pipeline.order(&decided, after);
            let sent = match &order {
                Some(order) => Some(self.send(device, order).await),
                None => None,
            };
            if let Some(turn) = turn {
                turn.decisions.push(recorder::Decided {
                    at: at as u64,
                    now_ns: after,
                    took_ns: took,
                    decision: Bits::of(decided.decision()),
                    sent: order.map(|order| order.to_bytes().to_vec()),
                    outcome: sent.as_ref().map(|(outcome, _)| (*outcome).into()),
                });
            }
            if let Some((_, Err(error))) = sent {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sends the overrides of decisions that became ready after their intervals.
    async fn take_ready(&mut self, device: &mut Device) -> Result<(), Error> {
        while let Some(decided) = self.pipeline.ready() {
            if let Some(order) = self.pipeline.order(&decided, now_ns()) {
                self.send(device, &order).await.1?;
            }
        }
        Ok(())
    }

    /// Sends an override. An error means that the device is unusable.
    async fn send(
        &mut self,
        device: &mut Device,
        order: &Override,
    ) -> (Outcome, Result<(), Error>) {
        let (outcome, failure) = match device.send(order).await {
            Ok(()) => (Outcome::Accepted, None),
            Err(DeviceError::Refused { refusal, .. }) => (Outcome::Refused(refusal), None),
            Err(error) => (Outcome::Failed, Some(error)),
        };
        let now = now_ns();
        let latency = self.pipeline.outcome(order, outcome, now);
        if let (Outcome::Accepted, Some(latency)) = (outcome, latency) {
            let mut live = self.board.live();
            live.latency.record(latency, now);
            if let Mode::Steer(_) = order.mode {
                live.steered = Some(*order);
            }
        }
        if let Outcome::Refused(refusal) = outcome {
            let told = &mut self.logs.refusals[refusal.code() as usize - 1];
            if *told {
                debug!(id = order.id, %refusal, "override refused");
            } else {
                warn!(id = order.id, mode = ?order.mode, %refusal,
                    "override refused; further ones for this reason are counted and logged at level debug");
                *told = true;
            }
        }
        (outcome, failure.map_or(Ok(()), |error| Err(error.into())))
    }

    /// Drops a read that is not whole, valid messages.
    fn torn(&mut self, bytes: usize, reason: &str) -> Result<(), Error> {
        self.pipeline.torn(bytes);
        self.record(Frame::Torn(bytes as u64));
        self.torn_in_a_row += 1;
        if let Some(suppressed) = self.logs.torn.allow() {
            error!(
                bytes,
                reason,
                in_a_row = self.torn_in_a_row,
                suppressed,
                "torn read, dropped; windows restart"
            );
        }
        if self.torn_in_a_row < self.config.device.max_torn_reads {
            return Ok(());
        }
        Err(Error::Torn {
            path: self.config.device.path.clone(),
            reads: self.torn_in_a_row,
        })
    }

    fn log_message(&mut self, message: &Message) {
        match message {
            Message::Decision(_) | Message::Summary(_) | Message::Context(_) => {}
            Message::Loss {
                seq, lost, stream, ..
            } => {
                if let Some(suppressed) = self.logs.loss.allow() {
                    let before = self.pipeline.metrics().counters.lost;
                    let what = match stream {
                        Stream::Records => {
                            "records lost: this daemon is too slow for the interval; windows restart"
                        }
                        Stream::Summaries => {
                            "summaries lost: this daemon is too slow for the period"
                        }
                    };
                    warn!(lost, seq, lost_before = before, suppressed, "{what}");
                }
            }
            Message::Event(event) => match event.code {
                EventCode::Watchdog => {
                    if let Some(suppressed) = self.logs.watchdog.allow() {
                        warn!(
                            sched = event.sched,
                            misses = event.value,
                            suppressed,
                            "the device's watchdog: no override in time, plain DualPI2 decides"
                        );
                    }
                }
                code => {
                    if let Some(suppressed) = self.logs.event.allow() {
                        info!(
                            ?code,
                            sched = event.sched,
                            instance = event.instance,
                            suppressed,
                            "device event"
                        );
                    }
                }
            },
        }
    }
}

/// Adds further available messages, up to [`MAX_BACKLOG`].
async fn read_more(device: &mut Device, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let mut part = Vec::new();
    let most = MAX_READ * MESSAGE_SIZE;
    while bytes.len() < MAX_BACKLOG * MESSAGE_SIZE {
        match tokio::time::timeout(device.answer_time(), device.read(&mut part, most)).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        }
        bytes.extend_from_slice(&part);
        if is_drained(part.len(), most) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a read of at most `most` bytes has consumed everything: one more
/// message would have fitted.
fn is_drained(got: usize, most: usize) -> bool {
    got + MESSAGE_SIZE.max(SUMMARY_SIZE) <= most
}

/// Logs the device's counters of the same time, together with this program's
/// summary.
async fn log_counters(device: &mut Device) {
    match device.stats().await {
        Ok(s) => {
            info!(
                packets_in = s.packets_in,
                forwarded = s.forwarded,
                dropped = s.dropped,
                overrides_received = s.overrides_received,
                overrides_applied = s.overrides_applied,
                overrides_expired = s.overrides_expired,
                overrides_refused = s.overrides_refused,
                overrides_replaced = s.overrides_replaced,
                "device counters, all schedulers"
            );
            if let Some((what, left, right)) = s.imbalance() {
                error!(what, left, right, "the device's counters do not add up");
            }
        }
        Err(error) => warn!(%error, "cannot read the device's counters"),
    }
}
