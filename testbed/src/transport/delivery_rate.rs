//! Delivery rate samples (draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Each transmission records the data delivered when it was sent. When it is
//! acknowledged, the data delivered since then, divided by the time, is the
//! delivery rate. The time is the longer of the time for sending and the time for
//! the acknowledgements, so bursts of data and compressed acknowledgements do not
//! exceed the bottleneck's rate.

use std::collections::VecDeque;

/// The rate over the flight of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateSample {
    /// Segments that have arrived since the flow began.
    pub delivered: u64,
    /// Those when the segment was sent.
    pub prior_delivered: u64,
    /// Time in which the difference arrived, ns.
    pub interval_ns: u64,
    /// The application, not the network, limited the flow in this time.
    pub app_limited: bool,
}

/// State at the latest transmission of a segment.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at_ns: u64,
    /// Start of the sending time of its sample, ns.
    first_sent_ns: u64,
    delivered: u64,
    delivered_ns: u64,
    app_limited: bool,
}

/// Counts deliveries.
#[derive(Debug, Default)]
pub(super) struct DeliveryRate {
    /// Segments sent and not cumulatively acknowledged, by number from `base`.
    sent: VecDeque<Sent>,
    base: u64,
    delivered: u64,
    delivered_ns: u64,
    first_sent_ns: u64,
    /// Samples of segments sent before this many have arrived are
    /// application-limited.
    app_limited_until: u64,
}

impl DeliveryRate {
    /// Records a transmission of segment `number`, which is new or was sent before.
    pub fn send(&mut self, now_ns: u64, number: u64) {
        if self.sent.is_empty() {
            // The times begin with the flight (section 4.1.1.2).
            self.base = number;
            self.first_sent_ns = now_ns;
            self.delivered_ns = now_ns;
        }
        let sent = Sent {
            at_ns: now_ns,
            first_sent_ns: self.first_sent_ns,
            delivered: self.delivered,
            delivered_ns: self.delivered_ns,
            app_limited: self.app_limited_until > 0,
        };
        match self.sent.get_mut((number - self.base) as usize) {
            Some(slot) => *slot = sent,
            None => self.sent.push_back(sent),
        }
    }

    /// Counts `segments` that arrived, of which `newest` was sent last. Segments
    /// below number `una` are no longer tracked.
    pub fn deliver(&mut self, now_ns: u64, segments: u32, newest: u64, una: u64) -> RateSample {
        let Sent {
            at_ns,
            first_sent_ns,
            delivered,
            delivered_ns,
            app_limited,
        } = self.sent[(newest - self.base) as usize];
        self.delivered += u64::from(segments);
        self.delivered_ns = now_ns;
        self.first_sent_ns = at_ns;
        if self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let gone = una.saturating_sub(self.base).min(self.sent.len() as u64);
        self.sent.drain(..gone as usize);
        self.base += gone;
        RateSample {
            delivered: self.delivered,
            prior_delivered: delivered,
            interval_ns: (at_ns - first_sent_ns).max(now_ns - delivered_ns),
            app_limited,
        }
    }

    /// The window has room, but there is no data for it: until the segments in
    /// flight have arrived, samples do not describe the network (section 4.1.2).
    pub fn limit_by_application(&mut self, in_flight: u32) {
        self.app_limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// One segment every ms for ten ms, each acknowledged after 10 ms.
    fn steady() -> DeliveryRate {
        let mut rate = DeliveryRate::default();
        for number in 0..10 {
            rate.send(number * MS, number);
        }
        rate
    }

    #[test]
    fn steady_deliveries_have_their_rate() {
        let mut rate = steady();
        for number in 0..10 {
            let now_ns = (10 + number) * MS;
            let sample = rate.deliver(now_ns, 1, number, number + 1);
            assert_eq!(sample.delivered, number + 1);
            assert_eq!(sample.prior_delivered, 0, "sent before the first arrived");
            assert_eq!(sample.interval_ns, now_ns);
            rate.send(now_ns, 10 + number);
        }
        // A round later: ten segments in 10 ms.
        let sample = rate.deliver(20 * MS, 1, 10, 11);
        assert_eq!(sample.delivered - sample.prior_delivered, 10);
        assert_eq!(sample.interval_ns, 10 * MS);
    }

    /// Acknowledgements that arrive together do not raise the rate.
    #[test]
    fn compressed_acknowledgements_use_the_sending_time() {
        let mut rate = steady();
        rate.deliver(10 * MS, 1, 0, 1);
        for number in 10..20 {
            rate.send(number * MS, number);
        }
        rate.deliver(28 * MS, 9, 9, 10);
        let sample = rate.deliver(28 * MS, 10, 19, 20);
        assert_eq!(sample.delivered - sample.prior_delivered, 19);
        // Acknowledged in 18 ms, sent in 19.
        assert_eq!(sample.interval_ns, 19 * MS);
    }

    #[test]
    fn samples_are_limited_by_the_application_until_its_data_has_arrived() {
        let mut rate = steady();
        rate.limit_by_application(10);
        rate.send(10 * MS, 10);
        assert!(!rate.deliver(20 * MS, 10, 9, 10).app_limited);
        assert!(rate.deliver(21 * MS, 1, 10, 11).app_limited);
        rate.send(22 * MS, 11);
        assert!(!rate.deliver(32 * MS, 1, 11, 12).app_limited);
    }

    /// The sample of a retransmission begins when it was sent.
    #[test]
    fn a_retransmission_replaces_the_first_transmission() {
        let mut rate = steady();
        rate.deliver(19 * MS, 9, 9, 0);
        rate.send(20 * MS, 0);
        let sample = rate.deliver(30 * MS, 1, 0, 10);
        assert_eq!(sample.delivered - sample.prior_delivered, 1);
        assert_eq!(sample.interval_ns, 11 * MS);
    }
}
