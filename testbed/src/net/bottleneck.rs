//! The bottleneck: a queue discipline in front of a transmitter.

use super::{RateCursor, RateSchedule, Service};
use crate::aqm::{Aqm, Backlog, Departure, Packet};
use crate::router::Router;

/// A queue discipline.
pub enum Discipline {
    /// The kernel's queue, which has a device.
    Router(Router),
    /// One of the baselines.
    Baseline(Box<dyn Aqm>),
}

/// A queue and the link behind it.
pub struct Bottleneck {
    discipline: Discipline,
    rate: RateCursor,
    service: Service,
    grants: Grants,
    /// `None` for a link that can always send: it asks the queue whenever it is
    /// free.
    idleness: Option<Idleness>,
    /// Whether a packet is being transmitted or waits for the link to return,
    /// until [`Bottleneck::transmitted`].
    transmitting: bool,
    counts: BottleneckCounts,
}

/// Counters of the bottleneck itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BottleneckCounts {
    /// Packets that arrived.
    pub arrived: u64,
    /// Packets that the discipline passed to the transmitter.
    pub forwarded: u64,
    /// Packets that it dropped.
    pub dropped: u64,
}

/// A packet that begins its transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// The packet.
    pub departure: Departure,
    /// When its last bit has been sent, ns; `None` if the link never sends again.
    pub end_ns: Option<u64>,
    /// Earliest start of the next one, ns, when [`Bottleneck::transmitted`]
    /// must be called.
    pub free_ns: u64,
}

/// Next step of the transmitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// A packet begins its transmission.
    Begun(Transmission),
    /// Packets wait in the queue until the link may send again, when
    /// [`Bottleneck::transmitted`] must be called, ns.
    Wait(u64),
    /// Nothing: it is busy, or no packet waits.
    Nothing,
}

/// State of [`Service::Granted`].
#[derive(Debug, Clone, Copy, Default)]
struct Grants {
    /// Granted capacity that is unused, bits times ns per second; negative if a
    /// packet took more.
    credit: i128,
    /// Capacity up to here has been granted, ns.
    granted_ns: u64,
}

/// Idle times of a link that cannot always send, which its queue does not see: an
/// empty dequeue occurs at one instant, and the link may be off later.
///
/// A granted link models a continuous one: it is busy for the transmission times
/// of the packets that leave with a grant, and idle for the rest of the period.
#[derive(Debug, Clone)]
struct Idleness {
    rate: RateCursor,
    /// Time at which the link has sent all accepted packets, ns.
    free_ns: u64,
    /// End of the time that was reported as idle or off, ns.
    reported_ns: u64,
}

impl Idleness {
    fn of(rate: &RateSchedule, service: Service) -> Option<Idleness> {
        let outages = rate.steps().iter().any(|step| step.bits_per_s == 0);
        (service != Service::Free || outages).then(|| Idleness {
            rate: RateCursor::new(rate.clone()),
            free_ns: 0,
            reported_ns: 0,
        })
    }

    fn departed(&mut self, now_ns: u64, bytes: u32) {
        let end_ns = self.rate.finish(self.free_ns.max(now_ns), bytes);
        self.free_ns = end_ns.unwrap_or(u64::MAX);
    }

    /// Reports the time until `now_ns` in which the queue was empty.
    fn report(&mut self, router: &mut Router, now_ns: u64) {
        if self.free_ns >= self.reported_ns {
            self.resume(router, self.free_ns);
        }
        while self.reported_ns < now_ns {
            let off_ns = self.rate.next_off(self.reported_ns).unwrap_or(u64::MAX);
            if off_ns >= now_ns {
                break;
            }
            router.stall(off_ns);
            self.resume(router, off_ns);
        }
    }

    /// The link is idle as soon as it can send.
    fn resume(&mut self, router: &mut Router, at_ns: u64) {
        self.reported_ns = self.rate.next_on(at_ns).unwrap_or(u64::MAX);
        router.idle(self.reported_ns);
    }
}

impl Bottleneck {
    /// An empty queue before an idle link.
    pub fn new(discipline: Discipline, rate: RateSchedule, service: Service) -> Self {
        Bottleneck {
            idleness: Idleness::of(&rate, service),
            discipline,
            rate: RateCursor::new(rate),
            service,
            grants: Grants::default(),
            transmitting: false,
            counts: BottleneckCounts::default(),
        }
    }

    /// A packet arrives. Dropped packets are added to `drops`.
    pub fn arrive(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>) {
        let before = drops.len();
        if let (Some(idleness), Discipline::Router(router)) =
            (&mut self.idleness, &mut self.discipline)
        {
            if router.backlog().packets == 0 {
                idleness.report(router, now_ns);
            }
        }
        self.counts.arrived += 1;
        self.aqm().enqueue(now_ns, packet, drops);
        self.counts.dropped += (drops.len() - before) as u64;
    }

    /// Replaces this queue, which is empty, by another.
    pub fn replace(&mut self, discipline: Discipline) {
        debug_assert_eq!(self.counts, BottleneckCounts::default());
        self.discipline = discipline;
    }

    /// Replaces the rate of future transmissions. Either both rates have
    /// outages (rate 0) or neither has.
    pub fn set_rate(&mut self, rate: RateSchedule) {
        if let Some(idleness) = &mut self.idleness {
            idleness.rate = RateCursor::new(rate.clone());
        }
        self.rate = RateCursor::new(rate);
    }

    /// Begins the next transmission, if the link may send and a packet waits.
    #[inline]
    pub fn transmit(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Transmit {
        match self.transmitting {
            true => Transmit::Nothing,
            false => self.transmit_next(now_ns, drops),
        }
    }

    fn transmit_next(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Transmit {
        if self.service != Service::Free {
            let Some(on_ns) = self.may_send(now_ns) else {
                return Transmit::Nothing;
            };
            if on_ns > now_ns {
                // The queue is not asked: its packets only wait.
                self.transmitting = self.backlog().packets > 0;
                return match self.transmitting {
                    true => Transmit::Wait(on_ns),
                    false => Transmit::Nothing,
                };
            }
        }
        let before = drops.len();
        let departure = self.aqm().dequeue(now_ns, drops);
        self.counts.dropped += (drops.len() - before) as u64;
        let Some(departure) = departure else {
            return Transmit::Nothing;
        };
        self.counts.forwarded += 1;
        self.transmitting = true;
        if let Some(idleness) = &mut self.idleness {
            idleness.departed(now_ns, departure.bytes);
        }
        Transmit::Begun(self.transmission(now_ns, departure))
    }

    /// Earliest time at or after `now_ns` at which the link may accept a
    /// packet; `None` if never.
    fn may_send(&mut self, now_ns: u64) -> Option<u64> {
        match self.service {
            Service::Free => Some(now_ns),
            Service::WhileOn => self.rate.next_on(now_ns),
            Service::Granted { period_ns } => {
                let at_ns = now_ns.next_multiple_of(period_ns);
                if at_ns > now_ns {
                    return Some(at_ns);
                }
                let grants = &mut self.grants;
                if grants.granted_ns <= now_ns {
                    // Past periods compensate for the overdraft; the remainder
                    // is lost.
                    let passed = self.rate.bit_ns(grants.granted_ns, now_ns) as i128;
                    let granted = self.rate.bit_ns(now_ns, now_ns + period_ns) as i128;
                    grants.credit = (grants.credit + passed).min(0) + granted;
                    grants.granted_ns = now_ns + period_ns;
                }
                Some(match grants.credit > 0 {
                    true => now_ns,
                    false => now_ns + period_ns,
                })
            }
        }
    }

    fn transmission(&mut self, now_ns: u64, departure: Departure) -> Transmission {
        if let Service::Granted { period_ns } = self.service {
            self.grants.credit -= i128::from(departure.bytes) * 8 * 1_000_000_000;
            let end_ns = now_ns + period_ns;
            return Transmission {
                departure,
                end_ns: Some(end_ns),
                free_ns: match self.grants.credit > 0 {
                    true => now_ns,
                    false => end_ns,
                },
            };
        }
        let end_ns = self.rate.finish(now_ns, departure.bytes);
        Transmission {
            departure,
            end_ns,
            free_ns: end_ns.unwrap_or(u64::MAX),
        }
    }

    /// The transmission has ended, or the link may send again.
    pub fn transmitted(&mut self) {
        self.transmitting = false;
    }

    /// Waiting packets, without the one being transmitted.
    pub fn backlog(&self) -> Backlog {
        match &self.discipline {
            Discipline::Router(router) => router.backlog(),
            Discipline::Baseline(aqm) => aqm.backlog(),
        }
    }

    /// Counters so far.
    pub fn counts(&self) -> BottleneckCounts {
        self.counts
    }

    /// The kernel's queue, if it is one.
    pub fn router(&self) -> Option<&Router> {
        match &self.discipline {
            Discipline::Router(router) => Some(router),
            Discipline::Baseline(_) => None,
        }
    }

    /// As above, mutable.
    pub fn router_mut(&mut self) -> Option<&mut Router> {
        match &mut self.discipline {
            Discipline::Router(router) => Some(router),
            Discipline::Baseline(_) => None,
        }
    }

    /// The same, without the link.
    pub fn into_router(self) -> Option<Router> {
        match self.discipline {
            Discipline::Router(router) => Some(router),
            Discipline::Baseline(_) => None,
        }
    }

    /// The link's rate over time.
    pub fn rate(&self) -> &RateSchedule {
        self.rate.schedule()
    }

    fn aqm(&mut self) -> &mut dyn Aqm {
        match &mut self.discipline {
            Discipline::Router(router) => router,
            Discipline::Baseline(aqm) => aqm.as_mut(),
        }
    }
}

impl std::fmt::Debug for Bottleneck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bottleneck")
            .field("backlog", &self.backlog())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aqm::{Fifo, FifoParams};
    use crate::net::{Bursts, Distribution, Link, RateStep, Spread};
    use l4sllm_abi::{Decoder, Ecn, Interval, Limits, Message, Params, Streams, SummaryInterval};

    const MS: u64 = 1_000_000;

    fn bottleneck(rate: RateSchedule, service: Service) -> Bottleneck {
        let fifo = Fifo::new(FifoParams {
            limit_packets: 1000,
        });
        Bottleneck::new(Discipline::Baseline(Box::new(fifo)), rate, service)
    }

    fn arrive(link: &mut Bottleneck, now_ns: u64) {
        let packet = Packet {
            cookie: now_ns,
            flow: 0,
            bytes: 1500,
            ecn: Ecn::NotEct,
            dscp: 0,
        };
        link.arrive(now_ns, packet, &mut Vec::new());
    }

    /// Arrivals at these times; returns when each packet left the queue and
    /// arrived, ns.
    fn drive(link: &mut Bottleneck, arrivals: &[u64]) -> Vec<(u64, u64)> {
        let mut arrivals = arrivals.iter().copied().peekable();
        let (mut due, mut departures) = (None::<u64>, Vec::new());
        loop {
            let next = due.unwrap_or(u64::MAX);
            let now_ns = match arrivals.next_if(|at| *at <= next) {
                Some(at_ns) => {
                    arrive(link, at_ns);
                    at_ns
                }
                None if due.is_some() => {
                    due = None;
                    link.transmitted();
                    next
                }
                None => return departures,
            };
            match link.transmit(now_ns, &mut Vec::new()) {
                Transmit::Begun(transmission) => {
                    assert!(due.replace(transmission.free_ns).is_none());
                    departures.push((now_ns, transmission.end_ns.unwrap()));
                }
                Transmit::Wait(at_ns) => assert!(due.replace(at_ns).is_none()),
                Transmit::Nothing => {}
            }
        }
    }

    fn four_on_six_off() -> RateSchedule {
        let step = |ms: u64, bits_per_s| RateStep {
            from_ns: ms * MS,
            bits_per_s,
        };
        let rate = 12_000_000;
        RateSchedule::new(vec![
            step(0, rate),
            step(4, 0),
            step(10, rate),
            step(14, 0),
            step(20, rate),
        ])
        .unwrap()
    }

    /// A packet that arrives while the link is off waits in the queue, and a
    /// half-sent one is continued.
    #[test]
    fn packets_wait_in_the_queue_while_the_link_is_off() {
        let mut link = bottleneck(four_on_six_off(), Service::WhileOn);
        // A packet takes 1 ms; the packet that begins at 3.5 ms ends at 10.5
        // ms.
        let left = drive(&mut link, &[3_500_000, 5 * MS, 6 * MS, 16 * MS]);
        assert_eq!(
            left,
            [
                (3_500_000, 10_500_000),
                (10_500_000, 11_500_000),
                (11_500_000, 12_500_000),
                (20 * MS, 21 * MS)
            ]
        );
        // An outage of a scheduled rate takes the packet out of the queue.
        let mut link = bottleneck(four_on_six_off(), Service::Free);
        assert_eq!(drive(&mut link, &[5 * MS]), [(5 * MS, 11 * MS)]);
    }

    /// Idle time in the queue's summaries from the first arrival to the last, ns.
    fn idle_ns(rate: RateSchedule, service: Service, arrivals: &[u64]) -> u64 {
        let router = Router::new(&Params::default(), &Limits::default(), 1024, 1).unwrap();
        let mut handle = router.open().unwrap();
        let interval = Interval {
            records: 1,
            max_wait_ns: 0,
            streams: Streams::Summaries(SummaryInterval {
                period_ns: MS,
                decisions: 0,
            }),
        };
        handle.interval(interval, 0).unwrap();
        let mut link = Bottleneck::new(Discipline::Router(router), rate, service);
        drive(&mut link, arrivals);
        let mut buffer = vec![0; 1 << 20];
        let got = handle.read(&mut buffer, 1000 * MS).unwrap();
        let mut decoder = Decoder::new();
        let summaries = decoder.messages(&buffer[..got]).map(Result::unwrap);
        let last_ns = *arrivals.last().unwrap();
        let idle = summaries.map(|message| match message {
            Message::Summary(summary) if summary.end_ns() <= last_ns => summary.idle_ns,
            _ => 0,
        });
        idle.sum()
    }

    /// With an empty queue, the link is idle only while it can send.
    #[test]
    fn idle_time_is_when_the_link_could_send() {
        let rate = four_on_six_off;
        // Sends 1 to 2, 12 to 13 and, having waited, 20 to 21 ms.
        let arrivals = [1, 12, 16, 25].map(|ms| ms * MS);
        let idle = idle_ns(rate(), Service::WhileOn, &arrivals);
        assert_eq!(idle, (2 + 2 + 1 + 4) * MS);
        // The outage holds the first one from 5 to 11 ms.
        let idle = idle_ns(rate(), Service::Free, &[5 * MS, 25 * MS]);
        assert_eq!(idle, (3 + 5) * MS);
        // Never off, and no more idle time is reported than the queue sees.
        let constant = RateSchedule::constant(12_000_000);
        let idle = idle_ns(constant.clone(), Service::Free, &[5 * MS, 25 * MS]);
        assert_eq!(idle, 19 * MS);
        // Two packets are 2 of the 5 ms from 15 on; one is 1 ms from 35 on.
        let granted = Service::Granted { period_ns: 5 * MS };
        let arrivals = [12, 12, 31, 91].map(|ms| ms * MS);
        assert_eq!(idle_ns(constant, granted, &arrivals), (14 + 55) * MS);
    }

    /// No packet waits, so the link that is off causes no wake-up.
    #[test]
    fn empty_queue_schedules_no_wake_up() {
        let mut link = bottleneck(four_on_six_off(), Service::WhileOn);
        assert_eq!(link.transmit(5 * MS, &mut Vec::new()), Transmit::Nothing);
        arrive(&mut link, 5 * MS);
        assert_eq!(
            link.transmit(5 * MS, &mut Vec::new()),
            Transmit::Wait(10 * MS)
        );
        // One wake-up is pending already.
        assert_eq!(link.transmit(6 * MS, &mut Vec::new()), Transmit::Nothing);
    }

    /// Full bursts use the capacity of the schedule.
    #[test]
    fn backlog_uses_every_burst() {
        let spread = |mean_ns| Spread {
            mean_ns,
            distribution: Distribution::Exponential,
        };
        let model = Link {
            bursts: Some(Bursts {
                on: spread(4 * MS),
                off: spread(6 * MS),
            }),
            ..Link::default()
        };
        let rate = model.schedule(&RateSchedule::constant(12_000_000), 2_000 * MS, 7);
        let mut link = bottleneck(rate.clone(), model.service());
        let left = drive(&mut link, &[0; 500]);
        let end_ns = left[499].1;
        let bits = rate.capacity_bits(0, end_ns);
        assert!(
            (6_000_000 - 500..=6_000_000 + 500).contains(&bits),
            "{bits}"
        );
    }

    /// Packets leave only at multiples of the period, as many as the rate of that
    /// period allows; unused grants do not accumulate.
    #[test]
    fn grants_occur_at_multiples_of_the_period() {
        // 5 ms at 12 Mbit/s: five packets.
        let granted = Service::Granted { period_ns: 5 * MS };
        let mut link = bottleneck(RateSchedule::constant(12_000_000), granted);
        let mut arrivals = vec![12 * MS; 12];
        arrivals.push(91 * MS);
        let left = drive(&mut link, &arrivals);
        let left_at = |ms: u64, count| std::iter::repeat_n((ms * MS, (ms + 5) * MS), count);
        let want = left_at(15, 5).chain(left_at(20, 5)).chain(left_at(25, 2));
        let want: Vec<_> = want.chain(left_at(95, 1)).collect();
        assert_eq!(left, want);
    }

    /// A grant smaller than a packet saves up for it: 500 kbit/s in the long run.
    #[test]
    fn small_grants_carry_a_packet_in_time() {
        let granted = Service::Granted { period_ns: MS };
        let mut link = bottleneck(RateSchedule::constant(500_000), granted);
        let left = drive(&mut link, &[0; 100]);
        // 24 ms a packet.
        assert_eq!(left[99].0, 99 * 24 * MS);
    }
}
