//! Rows of a repetition, from the packets that leave the queue.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use l4sllm_router::{Observer, ports};
use l4sllm_testbed::aqm::Departure;
use l4sllm_testbed::net::Bottleneck;
use l4sllm_testbed::result::{PacketRow, Rows, SetPointRow};
use l4sllm_testbed::router::Router;

/// Packets in a part: memory is allocated once for them.
const PART: usize = 4096;
/// Longest time that a part covers, ns.
const PART_NS: u64 = 100_000_000;

/// Passes rows to another thread, in parts. The last part follows when it is
/// dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Flows by the port of their server.
    flows: HashMap<u16, u32>,
    /// Flow of all other packets.
    other: u32,
    /// Interval at which set-points are sampled, ns; `None`: not at all.
    sample_ns: Option<u64>,
    sampled_ns: Option<u64>,
    set_points: Option<SetPointRow>,
    rows: Rows,
    /// Time of the first row in `rows`, ns.
    since_ns: u64,
    to: Sender<Rows>,
}

impl Recorder {
    /// A recorder that distinguishes `flows` by the port of their server; packets
    /// of none are of flow `other`. Set-points are sampled every `sample_ns`.
    pub fn new(
        flows: HashMap<u16, u32>,
        other: u32,
        sample_ns: Option<u64>,
    ) -> (Recorder, Receiver<Rows>) {
        let (to, from) = channel();
        let recorder = Recorder {
            flows,
            other,
            sample_ns,
            sampled_ns: None,
            set_points: None,
            rows: empty(),
            since_ns: 0,
            to,
        };
        (recorder, from)
    }

    fn pass_on(&mut self) {
        // Without a reader, the repetition has failed.
        let _ = self.to.send(std::mem::replace(&mut self.rows, empty()));
    }

    /// Adds the set-points if they changed and a sample is due.
    fn sample(&mut self, at_ns: u64, router: Option<&Router>) {
        let (Some(every_ns), Some(router)) = (self.sample_ns, router) else {
            return;
        };
        if self.sampled_ns.is_some_and(|last| at_ns < last + every_ns) {
            return;
        }
        self.sampled_ns = Some(at_ns);
        let now = router.set_points();
        let row = SetPointRow {
            time_ns: at_ns,
            target_ns: now.target_ns,
            tupdate_ns: now.tupdate_ns,
            alpha_uhz: now.alpha_uhz,
            beta_uhz: now.beta_uhz,
            coupling_q8: now.coupling_q8,
        };
        let timeless = |row: SetPointRow| SetPointRow { time_ns: 0, ..row };
        if self.set_points.replace(row).map(timeless) != Some(timeless(row)) {
            self.rows.set_points.push(row);
        }
    }
}

impl Observer for Recorder {
    fn left(&mut self, at_ns: u64, departure: &Departure, packet: &[u8], bottleneck: &Bottleneck) {
        let port = ports(packet).map(|(_, destination)| destination);
        let flow = port.and_then(|port| self.flows.get(&port));
        self.rows.packets.push(PacketRow {
            time_ns: at_ns,
            flow: flow.copied().unwrap_or(self.other),
            queue: departure.queue.code(),
            action: departure.action.code(),
            ecn: departure.ecn.code(),
            bytes: departure.bytes,
            sojourn_ns: departure.sojourn_ns,
        });
        self.sample(at_ns, bottleneck.router());
        if self.rows.packets.len() == 1 {
            self.since_ns = at_ns;
        }
        if self.rows.packets.len() == PART || at_ns >= self.since_ns + PART_NS {
            self.pass_on();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.pass_on();
    }
}

fn empty() -> Rows {
    Rows {
        packets: Vec::with_capacity(PART),
        ..Rows::default()
    }
}
