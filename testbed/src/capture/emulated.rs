//! The capture of a simulation.

use std::io::{self, Write};
use std::time::Duration;

use super::{About, Capture, CaptureCounts, Verdict, headers};
use crate::aqm::Departure;
use crate::net::Bottleneck;
use crate::scenario::FlowPlan;
use crate::transport::Segment;

/// Captures the packets on which a simulation's queue takes a verdict. Its times are
/// virtual, from 1970-01-01 00:00 UTC.
#[derive(Debug)]
pub struct EmulatorCapture {
    capture: Capture<Box<dyn Write + Send>>,
    /// Scratch: headers of a packet.
    packet: Vec<u8>,
    /// The first error, which ended the capture.
    failure: Option<io::Error>,
}

impl EmulatorCapture {
    /// Begins a capture into `out`, which need not be buffered.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(
        out: impl Write + Send + 'static,
        about: About<'_>,
    ) -> io::Result<EmulatorCapture> {
        Ok(EmulatorCapture {
            capture: Capture::begin(Box::new(out) as Box<dyn Write + Send>, about)?,
            packet: Vec::new(),
            failure: None,
        })
    }

    /// Adds a segment that left the queue at `now_ns`.
    pub(crate) fn left(
        &mut self,
        now_ns: u64,
        departure: &Departure,
        segment: &Segment,
        plan: &FlowPlan,
        bottleneck: &Bottleneck,
    ) {
        if self.failure.is_some() {
            return;
        }
        let arrived_ns = now_ns - departure.sojourn_ns;
        self.packet.clear();
        let made = headers(&mut self.packet, segment, plan, arrived_ns, departure.ecn);
        let in_force = bottleneck.router().map(|router| router.in_force());
        let added = made.and_then(|()| {
            self.capture.add(&Verdict {
                at: Duration::from_nanos(now_ns),
                departure,
                in_force: in_force.as_ref(),
                packet: &self.packet,
                missing: 0,
            })
        });
        self.failure = added.err();
    }

    /// Writes the end.
    ///
    /// # Errors
    /// The output's, also of an earlier packet.
    pub fn finish(self) -> io::Result<CaptureCounts> {
        match self.failure {
            Some(error) => Err(error),
            None => self.capture.finish(0),
        }
    }
}
