//! A path with a fixed delay, an optional bottleneck and a pattern of drops and
//! marks: a minimal network for comparing senders with theory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use l4sllm_abi::Ecn;
use l4sllm_model::SplitMix64;

use super::{Body, Endpoint, FlowConfig, Receiver, Segment, Sender, receiver, sender};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// Outcome for a packet on its way to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Mark,
    Drop,
}

/// A packet at the bottleneck.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub now_ns: u64,
    /// Number of earlier packets of all flows.
    pub index: u64,
    /// Its queueing delay, ns.
    pub backlog_ns: u64,
    pub segment: &'a Segment,
}

type Pattern = Box<dyn FnMut(Arrival<'_>) -> Verdict>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Receiver(usize),
    Sender(usize),
}

/// Flows over one path.
pub(super) struct Path {
    pub now_ns: u64,
    /// One way, either direction.
    delay_ns: u64,
    /// Bits/s; 0 is infinite.
    rate_bps: u64,
    free_at_ns: u64,
    arrivals: u64,
    pattern: Pattern,
    /// Drops acknowledgements with a probability.
    ack_loss: Option<(Random, f64)>,
    flows: Vec<(Sender, Receiver, u64)>,
    /// In flight: (time, tie-breaker, destination).
    events: BinaryHeap<Reverse<(u64, u64, End)>>,
    segments: VecDeque<Option<Segment>>,
    first_event: u64,
    /// Every packet sent, if enabled.
    pub log: Option<Vec<Segment>>,
    /// Every acknowledgement with its sending time, if enabled.
    pub acks: Option<Vec<Segment>>,
}

impl Path {
    /// A path with a round trip of `rtt_ns` and unlimited capacity.
    pub fn new(rtt_ns: u64, pattern: impl FnMut(Arrival<'_>) -> Verdict + 'static) -> Path {
        Path {
            now_ns: 0,
            delay_ns: rtt_ns / 2,
            rate_bps: 0,
            free_at_ns: 0,
            arrivals: 0,
            pattern: Box::new(pattern),
            ack_loss: None,
            flows: Vec::new(),
            events: BinaryHeap::new(),
            segments: VecDeque::new(),
            first_event: 0,
            log: None,
            acks: None,
        }
    }

    pub fn bottleneck(mut self, rate_bps: u64) -> Path {
        self.rate_bps = rate_bps;
        self
    }

    /// Holds everything at the bottleneck until `until_ns`.
    pub fn freeze(&mut self, until_ns: u64) {
        self.free_at_ns = self.free_at_ns.max(until_ns);
    }

    pub fn losing_acks(mut self, p: f64, seed: u64) -> Path {
        self.ack_loss = Some((Random::new(seed), p));
        self
    }

    pub fn logged(mut self) -> Path {
        self.log = Some(Vec::new());
        self.acks = Some(Vec::new());
        self
    }

    /// Adds a flow that starts at `start_ns`.
    pub fn flow(mut self, config: &FlowConfig, start_ns: u64) -> Path {
        self.flows
            .push((sender(config), receiver(config), start_ns));
        self
    }

    pub fn sender(&self, flow: usize) -> &Sender {
        &self.flows[flow].0
    }

    pub fn receiver(&self, flow: usize) -> &Receiver {
        &self.flows[flow].1
    }

    /// Runs until `end_ns` or until no event remains.
    pub fn run_until(&mut self, end_ns: u64) {
        assert!(end_ns >= self.now_ns, "time runs forward");
        loop {
            for flow in 0..self.flows.len() {
                self.pump(flow);
            }
            let timer = self
                .flows
                .iter()
                .flat_map(|(s, r, start)| {
                    let sender = if self.now_ns < *start {
                        Some(*start)
                    } else {
                        s.next_timer()
                    };
                    [sender, r.next_timer()]
                })
                .flatten()
                .min();
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = [timer, event].into_iter().flatten().min() else {
                return;
            };
            if next > end_ns {
                self.now_ns = end_ns;
                return;
            }
            assert!(
                next > self.now_ns || event == Some(next),
                "a timer in the past that does nothing: {next} at {}",
                self.now_ns
            );
            self.now_ns = next;
            self.deliver();
            for (sender, receiver, start) in &mut self.flows {
                if self.now_ns >= *start {
                    sender.on_timer(self.now_ns);
                    receiver.on_timer(self.now_ns);
                }
            }
        }
    }

    /// Runs for `warmup_ns`, then for `span_ns`; returns the packets per second
    /// that reached the receiver of `flow` in the latter.
    pub fn packet_rate(&mut self, flow: usize, warmup_ns: u64, span_ns: u64) -> f64 {
        self.run_until(self.now_ns + warmup_ns);
        let before = self.receiver(flow).stats().counts.packets;
        self.run_until(self.now_ns + span_ns);
        let packets = self.receiver(flow).stats().counts.packets - before;
        packets as f64 / (span_ns as f64 / 1e9)
    }

    fn deliver(&mut self) {
        while let Some(&Reverse((at, id, end))) = self.events.peek() {
            if at > self.now_ns {
                return;
            }
            self.events.pop();
            let segment = self.segments[(id - self.first_event) as usize]
                .take()
                .expect("each event is delivered once");
            while let Some(None) = self.segments.front() {
                self.segments.pop_front();
                self.first_event += 1;
            }
            match end {
                End::Receiver(flow) => {
                    self.flows[flow].1.on_segment(at, &segment);
                    self.pump(flow);
                }
                End::Sender(flow) => {
                    self.flows[flow].0.on_segment(at, &segment);
                    self.pump(flow);
                }
            }
        }
    }

    fn pump(&mut self, flow: usize) {
        while self.now_ns >= self.flows[flow].2 {
            let Some(segment) = self.flows[flow].0.poll_transmit(self.now_ns) else {
                break;
            };
            if let Some(log) = &mut self.log {
                log.push(segment);
            }
            self.cross(flow, segment);
        }
        while let Some(segment) = self.flows[flow].1.poll_transmit(self.now_ns) {
            if let Some(acks) = &mut self.acks {
                acks.push(segment);
            }
            let lost = self
                .ack_loss
                .as_mut()
                .is_some_and(|(random, p)| random.chance(*p));
            if !lost {
                self.schedule(self.now_ns + self.delay_ns, End::Sender(flow), segment);
            }
        }
    }

    fn cross(&mut self, flow: usize, mut segment: Segment) {
        let start = self.free_at_ns.max(self.now_ns);
        let verdict = (self.pattern)(Arrival {
            now_ns: self.now_ns,
            index: self.arrivals,
            backlog_ns: start - self.now_ns,
            segment: &segment,
        });
        self.arrivals += 1;
        match verdict {
            Verdict::Drop => return,
            Verdict::Mark if segment.ecn != Ecn::NotEct => segment.ecn = Ecn::Ce,
            Verdict::Mark | Verdict::Pass => {}
        }
        let bits = u64::from(segment.bytes) * 8;
        let leaves = start + (bits * SECOND).checked_div(self.rate_bps).unwrap_or(0);
        if self.rate_bps > 0 {
            self.free_at_ns = leaves;
        }
        self.schedule(leaves + self.delay_ns, End::Receiver(flow), segment);
    }

    fn schedule(&mut self, at: u64, end: End, segment: Segment) {
        let id = self.first_event + self.segments.len() as u64;
        self.segments.push_back(Some(segment));
        self.events.push(Reverse((at, id, end)));
    }
}

/// A seeded random stream.
#[derive(Debug, Clone)]
pub(super) struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(SplitMix64::new(seed))
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64 <= p
    }
}

/// The packet passes.
pub(super) fn clean(_: Arrival<'_>) -> Verdict {
    Verdict::Pass
}

/// `verdict` on every `period`th packet.
pub(super) fn every(period: u64, verdict: Verdict) -> impl FnMut(Arrival<'_>) -> Verdict {
    move |arrival| {
        if arrival.index % period == period - 1 {
            verdict
        } else {
            Verdict::Pass
        }
    }
}

/// `verdict` on packets at random with probability `p`.
pub(super) fn random(p: f64, verdict: Verdict, seed: u64) -> impl FnMut(Arrival<'_>) -> Verdict {
    let mut random = Random::new(seed);
    move |_| {
        if random.chance(p) {
            verdict
        } else {
            Verdict::Pass
        }
    }
}

/// Drops the first transmission of the segments with these numbers.
pub(super) fn lose_first(numbers: &[u64]) -> impl FnMut(Arrival<'_>) -> Verdict + use<> {
    let lost: Vec<u64> = numbers.iter().map(|n| n * u64::from(super::MSS)).collect();
    move |arrival| match arrival.segment.body {
        Body::Data {
            seq,
            retransmit: false,
            ..
        } if lost.contains(&seq) => Verdict::Drop,
        _ => Verdict::Pass,
    }
}
