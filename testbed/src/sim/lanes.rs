//! Lanes for events that occur in the order in which they are scheduled.

use std::collections::HashMap;

use super::{EventQueue, Lane};
use crate::net::Path;
use crate::scenario::FlowPlan;

/// The lanes of a network's links.
///
/// A link is a FIFO, so its packets reach its end in order, as do packets that
/// continue from there with the same delay.
#[derive(Debug)]
pub(super) struct Lanes {
    /// When flows begin and end.
    pub plan: Lane,
    /// The bottleneck's transmitter.
    pub bottleneck: Lane,
    /// Access links, by client.
    pub access: Vec<Lane>,
    /// From the bottleneck to the receiver, by flow.
    pub forward: Vec<Lane>,
    /// From the return link to the sender, by flow.
    pub back: Vec<Lane>,
}

impl Lanes {
    /// Creates lanes in `events`: one per client, and one in each direction for
    /// every delay of `flows`. If `path` reorders flows, each flow has its own.
    pub fn new<E: Copy>(
        events: &mut EventQueue<E>,
        clients: usize,
        path: &Path,
        flows: &[FlowPlan],
    ) -> Lanes {
        Lanes {
            plan: events.lane(),
            bottleneck: events.lane(),
            access: (0..clients).map(|_| events.lane()).collect(),
            forward: if path.keeps_order() {
                by_delay(events, flows.iter().map(|flow| flow.forward_ns))
            } else {
                flows.iter().map(|_| events.lane()).collect()
            },
            back: by_delay(events, flows.iter().map(|flow| flow.return_ns)),
        }
    }
}

fn by_delay<E: Copy>(
    events: &mut EventQueue<E>,
    delays_ns: impl Iterator<Item = u64>,
) -> Vec<Lane> {
    let mut lanes = HashMap::new();
    delays_ns
        .map(|delay_ns| *lanes.entry(delay_ns).or_insert_with(|| events.lane()))
        .collect()
}
