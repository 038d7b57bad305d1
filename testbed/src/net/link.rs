//! Models of the bottleneck's link: variation of its rate, and loss and jitter
//! on the path beyond it.

use super::{RateSchedule, RateStep};
use crate::sim::Random;

/// Deviations of a link from sending at the scheduled rate; by default none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Link {
    /// Medium access: it sends in bursts.
    pub bursts: Option<Bursts>,
    /// The rate is a random walk that starts at the scheduled one.
    pub walk: Option<Walk>,
    /// Scheduling period, ns: packets leave only at multiples of it.
    pub grant_ns: Option<u64>,
    /// Probability that a data packet is lost beyond the link.
    pub loss: f64,
    /// Delay of a data packet beyond the link, in addition to propagation.
    pub jitter: Option<Spread>,
}

/// A distribution of durations around a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean, ns.
    pub mean_ns: u64,
    /// Its shape.
    pub distribution: Distribution,
}

/// The shape of a [`Spread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Always the mean.
    Fixed,
    /// Uniform from 0 to twice the mean.
    Uniform,
    /// Exponential.
    Exponential,
}

impl Distribution {
    /// Names in files.
    pub const NAMES: [(&'static str, Distribution); 3] = [
        ("fixed", Distribution::Fixed),
        ("uniform", Distribution::Uniform),
        ("exponential", Distribution::Exponential),
    ];
}

impl Spread {
    /// Durations around `mean_ns`.
    pub fn new(mean_ns: u64, distribution: Distribution) -> Spread {
        Spread {
            mean_ns,
            distribution,
        }
    }

    fn draw_ns(&self, random: &mut Random) -> u64 {
        match self.distribution {
            Distribution::Fixed => self.mean_ns,
            Distribution::Uniform => random.below(2 * self.mean_ns + 1),
            Distribution::Exponential => random.exponential(self.mean_ns as f64) as u64,
        }
    }
}

/// The link alternates between sending and pausing, like a station on a shared
/// medium.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// Duration of sending.
    pub on: Spread,
    /// Duration of pausing.
    pub off: Spread,
}

impl Bursts {
    /// Bursts of `on_ns` with pauses of `off_ns`, on average.
    pub fn new(on_ns: u64, off_ns: u64, distribution: Distribution) -> Bursts {
        Bursts {
            on: Spread::new(on_ns, distribution),
            off: Spread::new(off_ns, distribution),
        }
    }

    /// The share of the time in which the link sends, above 0 to 1.
    pub fn duty(&self) -> f64 {
        let (on, off) = (self.on.mean_ns as f64, self.off.mean_ns as f64);
        on / (on + off)
    }

    /// Times at which the link turns on and off, ns. It begins at a random
    /// point of a burst and is on from `duration_ns` at the latest.
    fn switches(&self, duration_ns: u64, random: &mut Random) -> Vec<(u64, bool)> {
        let mut switches = vec![(0, true)];
        let mut at_ns = (self.on.draw_ns(random) as f64 * random.unit()) as u64;
        while at_ns < duration_ns {
            // Each at least 1 ns, so that times increase.
            let on_ns = at_ns.max(1) + self.off.draw_ns(random).max(1);
            switches.extend([(at_ns.max(1), false), (on_ns, true)]);
            at_ns = on_ns + self.on.draw_ns(random).max(1);
        }
        switches
    }
}

/// A random walk of the rate's logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Walk {
    /// Time between two steps, ns.
    pub every_ns: u64,
    /// Standard deviation of a step of the natural logarithm.
    pub sigma: f64,
    /// Least rate, bits per second; the walk is reflected at it.
    pub least_bps: u64,
    /// Greatest rate, bits per second; likewise.
    pub most_bps: u64,
}

impl Walk {
    fn schedule(&self, first_bps: u64, duration_ns: u64, random: &mut Random) -> RateSchedule {
        let (least, most) = (self.least_bps.max(1) as f64, self.most_bps.max(1) as f64);
        let (least_ln, most_ln) = (least.ln(), most.ln());
        let mut ln = (first_bps as f64).clamp(least, most).ln();
        let mut steps = Vec::new();
        let mut from_ns = 0;
        while from_ns < duration_ns.max(1) {
            steps.push(RateStep {
                from_ns,
                bits_per_s: (ln.exp().round() as u64).clamp(self.least_bps, self.most_bps),
            });
            ln += self.sigma * random.normal();
            // A step longer than the whole range ends at the opposite bound.
            ln = match ln {
                ln if ln < least_ln => (2.0 * least_ln - ln).min(most_ln),
                ln if ln > most_ln => (2.0 * most_ln - ln).max(least_ln),
                ln => ln,
            };
            from_ns += self.every_ns.max(1);
        }
        RateSchedule::new(steps).expect("the first is at 0, times increase, rates are above 0")
    }
}

impl Link {
    /// The rate over time of the repetition with this seed: `base`, changed by
    /// the walk and the bursts.
    pub fn schedule(&self, base: &RateSchedule, duration_ns: u64, seed: u64) -> RateSchedule {
        let walked = self.walk.map(|walk| {
            let first_bps = base.steps().first().map_or(1, |step| step.bits_per_s);
            walk.schedule(
                first_bps,
                duration_ns,
                &mut Random::stream(seed, "link/walk"),
            )
        });
        let rate = walked.as_ref().unwrap_or(base);
        match &self.bursts {
            None => rate.clone(),
            Some(bursts) => {
                let random = &mut Random::stream(seed, "link/bursts");
                rate.gated(&bursts.switches(duration_ns, random))
            }
        }
    }

    /// When the transmitter may take packets from the queue.
    pub fn service(&self) -> Service {
        match (self.grant_ns, self.bursts) {
            (Some(period_ns), _) => Service::Granted { period_ns },
            (None, Some(_)) => Service::WhileOn,
            (None, None) => Service::Free,
        }
    }
}

/// When the transmitter may take a packet from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Whenever it is idle; if the rate is 0, the current packet takes until
    /// the rate returns.
    Free,
    /// When it is idle and the rate is above 0: packets wait in the queue.
    WhileOn,
    /// At multiples of a period, packets up to its capacity; all arrive at its
    /// end. Unused capacity is lost.
    Granted {
        /// The period, ns.
        period_ns: u64,
    },
}

/// The path beyond the link: random loss and jitter.
#[derive(Debug)]
pub struct Path {
    loss: f64,
    jitter: Option<Spread>,
    losses: Random,
    delays: Random,
    /// Arrival time of each flow's last packet, ns.
    last_ns: Vec<u64>,
}

impl Path {
    /// The path of the repetition with this seed.
    pub fn new(link: &Link, seed: u64) -> Path {
        Path {
            loss: link.loss,
            jitter: link.jitter,
            losses: Random::stream(seed, "link/loss"),
            delays: Random::stream(seed, "link/jitter"),
            last_ns: Vec::new(),
        }
    }

    /// Whether the path preserves the order of packets, also of different
    /// flows.
    pub fn keeps_order(&self) -> bool {
        self.jitter.is_none()
    }

    /// Arrival time of a packet of `flow` that would arrive at `at_ns` without
    /// jitter; none if it is lost. Packets of one flow stay in order: one that
    /// would overtake arrives together with the previous one.
    pub fn cross(&mut self, flow: u32, at_ns: u64) -> Option<u64> {
        if self.loss > 0.0 && self.losses.unit() < self.loss {
            return None;
        }
        let Some(jitter) = &self.jitter else {
            return Some(at_ns);
        };
        let flow = flow as usize;
        if flow >= self.last_ns.len() {
            self.last_ns.resize(flow + 1, 0);
        }
        let last_ns = &mut self.last_ns[flow];
        *last_ns = (at_ns + jitter.draw_ns(&mut self.delays)).max(*last_ns);
        Some(*last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1_000_000_000;

    fn bursty(distribution: Distribution) -> Link {
        Link {
            bursts: Some(Bursts::new(4 * MS, 6 * MS, distribution)),
            ..Link::default()
        }
    }

    /// Lengths of the periods at 0 and above, those at both ends left out.
    fn periods(schedule: &RateSchedule, on: bool) -> Vec<u64> {
        let steps = schedule.steps().windows(2).skip(1);
        let of_kind = steps.filter(|pair| (pair[0].bits_per_s > 0) == on);
        of_kind
            .map(|pair| pair[1].from_ns - pair[0].from_ns)
            .collect()
    }

    #[test]
    fn fixed_bursts_have_their_lengths() {
        let base = RateSchedule::constant(150_000_000);
        let schedule = bursty(Distribution::Fixed).schedule(&base, S, 1);
        assert!(periods(&schedule, true).iter().all(|ns| *ns == 4 * MS));
        assert!(periods(&schedule, false).iter().all(|ns| *ns == 6 * MS));
        assert!((98..=101).contains(&periods(&schedule, false).len()));
        // Sending at the rate given, 40 % of the time.
        assert_eq!(schedule.max(), 150_000_000);
        let share = schedule.capacity_bits(0, S) as f64 / 150e6;
        assert!((share - 0.4).abs() < 0.006, "{share}");
        // The link is never off forever: packets on it at the end would stay
        // there.
        assert!(schedule.steps().last().unwrap().bits_per_s > 0);
    }

    #[test]
    fn drawn_bursts_have_their_means_and_forms() {
        let base = RateSchedule::constant(150_000_000);
        for (distribution, variation) in [
            // Coefficient of variation: of U(0, 2m), 1/sqrt(3).
            (Distribution::Uniform, 3f64.sqrt().recip()),
            (Distribution::Exponential, 1.0),
        ] {
            let schedule = bursty(distribution).schedule(&base, 100 * S, 1);
            for (on, mean_ns) in [(true, 4e6), (false, 6e6)] {
                let lengths: Vec<f64> =
                    periods(&schedule, on).iter().map(|ns| *ns as f64).collect();
                let n = lengths.len() as f64;
                let mean = lengths.iter().sum::<f64>() / n;
                let variance = lengths.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                assert!(
                    (mean / mean_ns - 1.0).abs() < 0.04,
                    "{distribution:?}: {mean}"
                );
                let got = variance.sqrt() / mean;
                assert!((got - variation).abs() < 0.04, "{distribution:?}: {got}");
            }
        }
    }

    /// The walk's steps have the configured standard deviation and stay within
    /// the bounds.
    #[test]
    fn a_walk_has_its_steps_and_bounds() {
        let walk = Walk {
            every_ns: 100 * MS,
            sigma: 0.2,
            least_bps: 1_000_000,
            most_bps: 100_000_000,
        };
        let link = Link {
            walk: Some(walk),
            ..Link::default()
        };
        let base = RateSchedule::constant(10_000_000);
        let schedule = link.schedule(&base, 2000 * S, 3);
        let steps = schedule.steps();
        assert_eq!((steps.len(), steps[0].bits_per_s), (20_000, 10_000_000));
        assert_eq!(steps[7].from_ns, 700 * MS);
        let rates = steps.iter().map(|step| step.bits_per_s);
        assert!(
            rates
                .clone()
                .all(|bps| (1_000_000..=100_000_000).contains(&bps))
        );
        // With reflection it covers the range: a third of the time in each
        // third.
        for third in 0..3 {
            let bounds = [third, third + 1].map(|n| 1e6 * 100f64.powf(f64::from(n) / 3.0));
            let within = rates
                .clone()
                .filter(|bps| (bounds[0]..bounds[1]).contains(&(*bps as f64)));
            let share = within.count() as f64 / 20_000.0;
            assert!((share - 1.0 / 3.0).abs() < 0.12, "{third}: {share}");
        }
        let inside = |pair: &&[RateStep]| {
            pair.iter()
                .all(|step| (2_000_000..50_000_000).contains(&step.bits_per_s))
        };
        let moves: Vec<f64> = steps
            .windows(2)
            .filter(inside)
            .map(|pair| (pair[1].bits_per_s as f64 / pair[0].bits_per_s as f64).ln())
            .collect();
        let rms = (moves.iter().map(|x| x * x).sum::<f64>() / moves.len() as f64).sqrt();
        assert!((rms - 0.2).abs() < 0.01, "{rms}");
    }

    /// A range narrower than a step, even of zero width, is respected.
    #[test]
    fn a_walk_in_a_narrow_range() {
        for most_bps in [8_000_000, 9_000_000] {
            let walk = Walk {
                every_ns: 10 * MS,
                sigma: 2.0,
                least_bps: 8_000_000,
                most_bps,
            };
            let schedule = walk.schedule(1_000, S, &mut Random::stream(1, "test"));
            let mut rates = schedule.steps().iter().map(|step| step.bits_per_s);
            assert!(rates.all(|bps| (8_000_000..=most_bps).contains(&bps)));
        }
    }

    #[test]
    fn equal_seeds_draw_equal_links_and_others_differ() {
        let base = RateSchedule::constant(10_000_000);
        let mut link = bursty(Distribution::Exponential);
        link.walk = Some(Walk {
            every_ns: 50 * MS,
            sigma: 0.3,
            least_bps: 1_000_000,
            most_bps: 20_000_000,
        });
        let draw = |seed| link.schedule(&base, 10 * S, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Link::default().schedule(&base, 10 * S, 1), base);
    }

    #[test]
    fn losses_are_independent_and_match_the_probability() {
        let link = Link {
            loss: 0.02,
            ..Link::default()
        };
        let mut path = Path::new(&link, 5);
        let n = 200_000;
        let lost: Vec<bool> = (0..n).map(|at| path.cross(0, at).is_none()).collect();
        let share = lost.iter().filter(|lost| **lost).count() as f64 / n as f64;
        assert!((share - 0.02).abs() < 0.001, "{share}");
        let pairs = lost.windows(2).filter(|pair| pair[0] && pair[1]).count();
        let share = pairs as f64 / n as f64;
        assert!((share - 0.0004).abs() < 0.00015, "{share}");
        assert!(path.keeps_order());
    }

    /// Jitter has its mean if packets are far apart, and never reorders packets
    /// of a flow; other flows are not delayed.
    #[test]
    fn jitter_keeps_the_order_within_a_flow() {
        let link = Link {
            jitter: Some(Spread::new(2 * MS, Distribution::Exponential)),
            ..Link::default()
        };
        let mut path = Path::new(&link, 5);
        let (mut last, mut sum, mut held) = ([0; 2], 0, 0);
        for at in 0..20_000u64 {
            // Flow 0: a packet a second; flow 1: one each 100 us.
            let sent = [at * S, at * 100_000];
            for flow in 0..2 {
                let arrives = path.cross(flow as u32, sent[flow]).unwrap();
                assert!(arrives >= last[flow] && arrives >= sent[flow]);
                held += usize::from(flow == 1 && arrives == last[flow]);
                last[flow] = arrives;
                if flow == 0 {
                    sum += arrives - sent[flow];
                }
            }
        }
        let mean = sum as f64 / 20_000.0;
        assert!((mean / 2e6 - 1.0).abs() < 0.03, "{mean}");
        assert!(held > 1000, "some would have overtaken: {held}");
    }
}
