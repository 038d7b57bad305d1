//! Signals of periods and their means: `kmod/student_signals.c` to the bit.

use l4sllm_abi::{Queue, Summary, raw};

use super::fixed::log2;

/// Number of signals.
pub const SIGNALS: usize = raw::L4S_SIGNALS as usize;
/// The latest value and three means.
pub const SCALES: usize = raw::L4S_STUDENT_SCALES as usize;

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// A time without packets after which the first flow may need the whole link.
const SILENCE_NS: u64 = 4 * NS_PER_S;
const AGE_MAX_NS: u64 = 8 * NS_PER_S;
const PIECE_NS: u64 = NS_PER_S / 2;
/// Half seconds in which a flow must send to count as long-lived.
const PIECES: usize = 8;
const PER_S_MAX: u64 = 1 << 27;
const COUNT_MAX: u64 = 1 << 28;
const SHARE_SHIFT: u32 = 20;
/// p', Q31, below which differences do not matter.
const P_LEAST: u64 = 1 << 10;
const SOJOURN_MS: u64 = NS_PER_MS >> raw::L4S_SOJOURN_SHIFT;
const MEAN_SHIFT: [u32; SCALES - 1] = [2, 4, 6];

type Flows = [u64; 4];

/// Flows of a queue: bitmaps of the last half seconds, and of the current one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LongFlows {
    pieces: [Flows; PIECES],
    current: Flows,
}

/// What a student remembers of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentState {
    period: Option<Box<Summary>>,
    begun: bool,
    latest: [i32; SIGNALS],
    /// Q24, over 4, 16 and 64 periods.
    means: [[i64; SCALES - 1]; SIGNALS],
    rate: Option<i32>,
    age_ns: u64,
    silence_ns: u64,
    piece_ns: u64,
    pieces: usize,
    newest: usize,
    flows: [LongFlows; 2],
}

impl Default for StudentState {
    fn default() -> StudentState {
        StudentState {
            period: None,
            begun: false,
            latest: [0; SIGNALS],
            means: [[0; SCALES - 1]; SIGNALS],
            rate: None,
            age_ns: 0,
            silence_ns: 0,
            piece_ns: 0,
            pieces: 0,
            newest: 0,
            flows: Default::default(),
        }
    }
}

impl StudentState {
    /// Adds the next summary of the instance. Returns true if it completes a period
    /// of at least `period_ns`, whose signals are then in the state. The idle budget
    /// is in millionths.
    pub fn add(&mut self, summary: &Summary, period_ns: u64, idle_budget: u32) -> bool {
        let period = match self.period.take() {
            Some(mut period) => {
                period.merge(summary);
                period
            }
            None => Box::new(*summary),
        };
        let ns = period.duration_ns();
        if ns < period_ns {
            self.period = Some(period);
            return false;
        }
        self.of_p(&period, ns);
        self.of_link(&period, ns);
        self.of_queues(&period, ns);
        self.of_flows(&period, ns);
        self.set(raw::L4S_SIGNAL_TARGET, log2(period.target_ns | 1));
        self.set(raw::L4S_SIGNAL_BETA, log2(u64::from(period.beta_uhz) + 1));
        self.set(raw::L4S_SIGNAL_BUDGET, log2(u64::from(idle_budget) | 1));
        self.average(ns / period_ns);
        true
    }

    /// A signal at a scale, before normalisation, Q16.
    pub fn signal(&self, signal: u8, scale: u8) -> i32 {
        let at = usize::from(signal);
        let value = match usize::from(scale).checked_sub(1) {
            None => i64::from(self.latest[at]),
            Some(mean) => self.means[at][mean] / 256,
        };
        match one(u32::from(signal)) {
            0 => value as i32,
            one => log1p(value as u64, one),
        }
    }

    fn set(&mut self, signal: u32, value: i32) {
        self.latest[signal as usize] = value;
    }

    fn of_p(&mut self, p: &Summary, ns: u64) {
        let mean = p.p_sum.checked_div(p.updates);
        let mean = mean.unwrap_or(u64::from(p.p_end));
        let log = log2(mean.min(u64::from(raw::L4S_PROB_ONE)) + P_LEAST);
        let changes = match p.p_variation > u64::MAX / 2 {
            true => 63 << 16,
            false => log2(p.p_variation + P_LEAST),
        };
        self.set(raw::L4S_SIGNAL_P_MEAN, log);
        self.set(raw::L4S_SIGNAL_P_MAX, log2(u64::from(p.p_max) + P_LEAST));
        let ripple = changes + log2(16 * NS_PER_MS) - log2(ns) - log;
        self.set(raw::L4S_SIGNAL_P_RIPPLE, ripple);
        let updates = match p.updates {
            0 => 0,
            updates => log2(updates),
        };
        let change = changes - log2(u64::from(p.beta_uhz) + 1) - updates;
        self.set(raw::L4S_SIGNAL_CHANGE, change);
    }

    fn of_link(&mut self, p: &Summary, ns: u64) {
        let l4s = p.queue(Queue::L4s).forwarded_bytes;
        let bytes = p.queue(Queue::Classic).forwarded_bytes.wrapping_add(l4s);
        if bytes != 0 && l4s <= bytes {
            let share = share(l4s, bytes) >> (SHARE_SHIFT - 16);
            self.set(raw::L4S_SIGNAL_L4S_SHARE, share);
        }
        if bytes == 0 || p.idle_ns >= ns {
            return;
        }
        let rate = log2(bytes) + log2(NS_PER_S) - log2(ns - p.idle_ns);
        self.set(raw::L4S_SIGNAL_RATE, rate);
        if p.rate_windows == 0 {
            return;
        }
        let mean = (p.rate_log_sum / p.rate_windows).min(64 << 16);
        let square = p.rate_log_sq / p.rate_windows;
        let variance = square.saturating_sub((mean * mean) >> 16);
        self.set(raw::L4S_SIGNAL_VOLATILITY, log1p(variance, 1 << 6) / 2);
        let rate = mean as i32;
        let change = self.rate.map_or(0, |before| {
            log1p(u64::from(rate.abs_diff(before)), (1 << 16) / 100)
        });
        self.set(raw::L4S_SIGNAL_RATE_CHANGE, change);
        self.rate = Some(rate);
    }

    fn of_queues(&mut self, p: &Summary, ns: u64) {
        let (c, l) = (p.queue(Queue::Classic), p.queue(Queue::L4s));
        self.set(raw::L4S_SIGNAL_IDLE, share(p.idle_ns, ns));
        self.set(raw::L4S_SIGNAL_DELAY, delay(&c, NS_PER_MS));
        self.set(raw::L4S_SIGNAL_DELAY_SD, deviation(&c));
        let longest = log1p(c.sojourn_max_ns, NS_PER_MS);
        self.set(raw::L4S_SIGNAL_DELAY_MAX, longest);
        self.set(raw::L4S_SIGNAL_L4S_DELAY, delay(&l, NS_PER_MS / 8));
        self.set(raw::L4S_SIGNAL_MARKS, per_s(marks(&c), ns));
        self.set(raw::L4S_SIGNAL_L4S_MARKS, per_s(marks(&l), ns));
        let drops = drops(&c).wrapping_add(drops(&l));
        self.set(raw::L4S_SIGNAL_DROPS, per_s(drops, ns));
        self.set(raw::L4S_SIGNAL_PACKETS, per_s(c.forwarded, ns));
    }

    fn of_flows(&mut self, p: &Summary, ns: u64) {
        let bitmaps = [p.queue(Queue::Classic).flows, p.queue(Queue::L4s).flows];
        let next = (self.newest + 1) % PIECES;
        self.piece_ns = match ns > PIECE_NS {
            true => PIECE_NS,
            false => self.piece_ns + ns,
        };
        let ends = self.piece_ns >= PIECE_NS;
        for (flows, bitmap) in self.flows.iter_mut().zip(bitmaps) {
            flows.add(bitmap, next, ends);
        }
        if ends {
            self.piece_ns = 0;
            self.newest = next;
            self.pieces = (self.pieces + 1).min(PIECES);
        }
        let bits: u32 = bitmaps.iter().flatten().map(|word| word.count_ones()).sum();
        self.set(raw::L4S_SIGNAL_FLOWS, log2(1 + u64::from(bits)));
        let long = self.flows.each_ref().map(|flows| flows.long(self.pieces));
        self.set(raw::L4S_SIGNAL_LONG, long[0]);
        self.set(raw::L4S_SIGNAL_L4S_LONG, long[1]);

        let forwarded = p
            .queue
            .iter()
            .fold(0u64, |n, q| n.wrapping_add(q.forwarded));
        if forwarded != 0 {
            self.silence_ns = p.idle_ns.min(SILENCE_NS);
        } else if self.silence_ns < SILENCE_NS {
            self.silence_ns = match ns < SILENCE_NS {
                true => self.silence_ns + ns,
                false => SILENCE_NS,
            };
        }
        if self.silence_ns >= SILENCE_NS {
            self.age_ns = 0;
        } else if self.age_ns < AGE_MAX_NS {
            self.age_ns = match ns < AGE_MAX_NS - self.age_ns {
                true => self.age_ns + ns,
                false => AGE_MAX_NS,
            };
        }
        let age = ((self.age_ns << 16) / NS_PER_S) as i32;
        self.set(raw::L4S_SIGNAL_AGE, age);
    }

    /// Moves the means towards the latest values by a period, or several.
    fn average(&mut self, periods: u64) {
        let log = match periods > 1 {
            true => log2(periods) as u32 >> 16,
            false => 0,
        };
        for (means, latest) in self.means.iter_mut().zip(self.latest) {
            let latest = i64::from(latest) * 256;
            for (mean, shift) in means.iter_mut().zip(MEAN_SHIFT) {
                match self.begun {
                    true => *mean += (latest - *mean) >> shift.saturating_sub(log),
                    false => *mean = latest,
                }
            }
        }
        self.begun = true;
    }
}

impl LongFlows {
    fn add(&mut self, bitmap: Flows, next: usize, ends: bool) {
        for (to, from) in self.current.iter_mut().zip(bitmap) {
            *to |= from;
        }
        if ends {
            self.pieces[next] = std::mem::take(&mut self.current);
        }
    }

    /// log2(1 + the number of bits set in the first `pieces` pieces).
    fn long(&self, pieces: usize) -> i32 {
        if pieces == 0 {
            return 0;
        }
        let all = |word: usize| {
            let pieces = self.pieces[..pieces].iter();
            pieces.fold(u64::MAX, |all, piece| all & piece[word])
        };
        let bits: u32 = (0..4).map(|word| all(word).count_ones()).sum();
        log2(1 + u64::from(bits))
    }
}

/// The value that counts as one of a signal whose means are linear; 0 for others.
fn one(signal: u32) -> u64 {
    match signal {
        raw::L4S_SIGNAL_IDLE => (1 << SHARE_SHIFT) / 1000,
        raw::L4S_SIGNAL_MARKS
        | raw::L4S_SIGNAL_L4S_MARKS
        | raw::L4S_SIGNAL_DROPS
        | raw::L4S_SIGNAL_PACKETS => 1 << 4,
        _ => 0,
    }
}

/// log2(1 + x / one), Q16.
fn log1p(x: u64, one: u64) -> i32 {
    log2(x.saturating_add(one)) - log2(one)
}

/// part / whole, Q20, at most one.
fn share(mut part: u64, mut whole: u64) -> i32 {
    if part >= whole {
        return 1 << SHARE_SHIFT;
    }
    while whole >> (63 - SHARE_SHIFT) != 0 {
        part >>= 1;
        whole >>= 1;
    }
    ((part << SHARE_SHIFT) / whole) as i32
}

/// The number per second, Q4.
fn per_s(count: u64, ns: u64) -> i32 {
    let rate = (count.min(COUNT_MAX) << 4) * NS_PER_S / ns;
    rate.min(PER_S_MAX) as i32
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, n| sum.wrapping_add(*n))
}

fn marks(q: &raw::l4s_queue_summary) -> u64 {
    sum(&[
        q.marks_aqm,
        q.marks_native,
        q.marks_override,
        q.drops_aqm,
        q.drops_override,
        q.drops_tail,
    ])
}

fn drops(q: &raw::l4s_queue_summary) -> u64 {
    sum(&[q.drops_aqm, q.drops_override, q.drops_tail, q.drops_flush])
}

fn delay(q: &raw::l4s_queue_summary, one: u64) -> i32 {
    match q.sojourn_sum_ns.checked_div(q.forwarded) {
        Some(mean) => log1p(mean, one),
        None => 0,
    }
}

fn deviation(q: &raw::l4s_queue_summary) -> i32 {
    if q.forwarded == 0 {
        return 0;
    }
    let mean = (q.sojourn_sum_ns >> raw::L4S_SOJOURN_SHIFT) / q.forwarded;
    let mean = mean.min(u64::from(u32::MAX));
    let square = q.sojourn_sq / q.forwarded;
    log1p(square.saturating_sub(mean * mean), SOJOURN_MS * SOJOURN_MS) / 2
}
