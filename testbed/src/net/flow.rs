//! A flow in the network: its two endpoints and their timers.

use std::ops::Range;

use crate::result::Transfers;
use crate::scenario::FlowPlan;
use crate::transport::{self, Endpoint, Receiver, ReceiverStats, Segment, Sender, SenderStats};

/// The ends of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The end that sends data.
    Sender,
    /// The end that acknowledges.
    Receiver,
}

/// A flow: not started, active, or finished and freed.
#[derive(Debug)]
pub struct Flow {
    /// Its configuration.
    pub plan: FlowPlan,
    ends: Option<Ends>,
    /// Its segments in transit, in either direction.
    pub under_way: u32,
    last: Stats,
    /// Arrival time of each chunk of the application, ns.
    chunks_ns: Vec<u64>,
}

/// Statistics of both ends.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// The sender.
    pub sender: SenderStats,
    /// The receiver.
    pub receiver: ReceiverStats,
}

#[derive(Debug)]
struct Ends {
    sender: Sender,
    receiver: Receiver,
    /// Time of the earliest valid timer event, by side.
    armed_ns: [u64; 2],
    stopped: bool,
}

/// Marks an unarmed timer.
const NEVER: u64 = u64::MAX;

impl Flow {
    /// A flow that has not started.
    pub fn new(plan: FlowPlan) -> Flow {
        Flow {
            plan,
            ends: None,
            under_way: 0,
            last: Stats::default(),
            chunks_ns: Vec::new(),
        }
    }

    /// Creates the ends; the sender may then send.
    pub fn begin(&mut self) {
        self.ends = Some(Ends {
            sender: transport::sender(&self.plan.config),
            receiver: transport::receiver(&self.plan.config),
            armed_ns: [NEVER; 2],
            stopped: false,
        });
    }

    /// Stops the application: no further segment is sent, including
    /// retransmissions.
    pub fn stop(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.stopped = true;
        }
    }

    /// Whether it has started and is not freed.
    pub fn is_live(&self) -> bool {
        self.ends.is_some()
    }

    /// Statistics of both ends; after they are freed, the final ones.
    pub fn stats(&self) -> Stats {
        match &self.ends {
            Some(ends) => Stats {
                sender: ends.sender.stats(),
                receiver: ends.receiver.stats(),
            },
            None => self.last,
        }
    }

    /// Handles data that reached the receiver: completed chunks have arrived.
    pub fn note_chunks(&mut self, now_ns: u64) {
        let (Some(chunks), Some(ends)) = (&self.plan.config.chunks, &self.ends) else {
            return;
        };
        let whole = ends.receiver.stats().delivered_bytes / chunks.bytes;
        self.chunks_ns.resize(whole as usize, now_ns);
    }

    /// Adds the durations of its transfers (its chunks, or the whole flow) that
    /// began within `measured`, ns.
    pub fn add_transfers(&self, measured: &Range<u64>, transfers: &mut Transfers) {
        let start_ns = self.plan.start_ns;
        if let Some(chunks) = &self.plan.config.chunks {
            let end_ns = self.plan.stop_ns.unwrap_or(u64::MAX).min(measured.end);
            let offered = (start_ns..end_ns).step_by(chunks.every_ns as usize);
            for (number, offered_ns) in offered.enumerate() {
                if measured.contains(&offered_ns) {
                    let arrived_ns = self.chunks_ns.get(number);
                    transfers.add(arrived_ns.map(|at_ns| at_ns - offered_ns));
                }
            }
        } else if measured.contains(&start_ns) {
            let finished_ns = self.stats().receiver.finished_ns;
            transfers.add(finished_ns.map(|at_ns| at_ns - start_ns));
        }
    }

    /// Passes a segment to an end, if it may act.
    pub fn on_segment(&mut self, side: Side, now_ns: u64, segment: &Segment) {
        match (&mut self.ends, side) {
            (Some(ends), Side::Sender) if !ends.stopped => {
                ends.sender.on_segment(now_ns, segment);
            }
            (Some(ends), Side::Receiver) => ends.receiver.on_segment(now_ns, segment),
            _ => {}
        }
    }

    /// The deadline of an end has passed.
    pub fn on_timer(&mut self, side: Side, now_ns: u64) {
        match (&mut self.ends, side) {
            (Some(ends), Side::Sender) if !ends.stopped => ends.sender.on_timer(now_ns),
            (Some(ends), Side::Receiver) => ends.receiver.on_timer(now_ns),
            _ => {}
        }
    }

    /// The next segment of an end, if it may act.
    pub fn poll_transmit(&mut self, side: Side, now_ns: u64) -> Option<Segment> {
        let ends = self.ends.as_mut()?;
        match side {
            Side::Sender if ends.stopped => None,
            Side::Sender => ends.sender.poll_transmit(now_ns),
            Side::Receiver => ends.receiver.poll_transmit(now_ns),
        }
    }

    /// Time at which a timer event must be scheduled, if any: only if the
    /// deadline became earlier. If it was postponed, like a retransmission
    /// timer on every acknowledgement, the armed event is sufficient.
    pub fn arm(&mut self, side: Side, now_ns: u64) -> Option<u64> {
        let ends = self.ends.as_mut()?;
        let deadline_ns = ends.next_timer(side)?.max(now_ns);
        let armed_ns = &mut ends.armed_ns[side as usize];
        if deadline_ns >= *armed_ns {
            return None;
        }
        *armed_ns = deadline_ns;
        Some(deadline_ns)
    }

    /// Handles a timer event; returns whether its end must act. It need not if
    /// an earlier event replaced this one or the deadline was postponed.
    pub fn fire(&mut self, side: Side, now_ns: u64) -> bool {
        let Some(ends) = &mut self.ends else {
            return false;
        };
        let armed_ns = &mut ends.armed_ns[side as usize];
        if *armed_ns != now_ns {
            return false;
        }
        *armed_ns = NEVER;
        ends.next_timer(side).is_some_and(|due| due <= now_ns)
    }

    /// Frees the ends of a flow that has ended and has nothing in transit.
    pub fn free_if_done(&mut self) {
        let Some(ends) = &self.ends else { return };
        let may_be_done = ends.stopped || self.plan.config.bytes.is_some();
        if self.under_way > 0 || !may_be_done {
            return;
        }
        let stats = self.stats();
        if ends.stopped || stats.sender.finished() {
            self.last = stats;
            self.ends = None;
        }
    }
}

impl Ends {
    fn next_timer(&self, side: Side) -> Option<u64> {
        match side {
            Side::Sender if self.stopped => None,
            Side::Sender => self.sender.next_timer(),
            Side::Receiver => self.receiver.next_timer(),
        }
    }
}
