//! Periods: the inputs of a policy on summaries.

use std::ops::Deref;

use l4sllm_abi::{Queue, Summary};

use super::{DecayingMean, LongLived};
use crate::session::state::{PeriodsState, StateError, summary_from};

/// A flow is long-lived if it sent in every half second of this time, s.
pub const PERSISTENCE: f64 = 4.0;

/// Time constant of a period's long-term means, s: longer than the sawtooth of a
/// single flow on a fast link.
pub const MEMORY: f64 = 20.0;

/// The summary of a period, and what the time before it shows: long-lived flows
/// and long-term means up to its end.
#[derive(Debug, Clone)]
pub struct Period {
    summary: Box<Summary>,
    /// Long-lived flows of the classic and the L4S queue.
    long_lived: [u32; 2],
    idle_share: f64,
    classic_signals_per_s: f64,
}

impl Period {
    /// The long-lived flows of `queue`.
    pub fn long_lived(&self, queue: Queue) -> u32 {
        match queue {
            Queue::Classic => self.long_lived[0],
            Queue::L4s => self.long_lived[1],
        }
    }

    /// Share of the time in which the link was idle, exponential mean over
    /// [`MEMORY`].
    pub fn long_idle_share(&self) -> f64 {
        self.idle_share
    }

    /// Congestion signals of the classic queue per second, exponential mean over
    /// [`MEMORY`].
    pub fn long_classic_signals_per_s(&self) -> f64 {
        self.classic_signals_per_s
    }
}

impl Deref for Period {
    type Target = Summary;
    fn deref(&self) -> &Summary {
        &self.summary
    }
}

/// Merges summaries of any length into periods of at least one.
#[derive(Debug, Clone)]
pub struct Periods {
    length_ns: u64,
    /// The merged summaries of the incomplete period.
    pending: Option<Box<Summary>>,
    long_lived: [LongLived; 2],
    idle_share: DecayingMean,
    classic_signals_per_s: DecayingMean,
}

impl Periods {
    /// Periods of at least `length_ns`.
    pub fn of(length_ns: u64) -> Periods {
        Periods {
            length_ns,
            pending: None,
            long_lived: [LongLived::over(PERSISTENCE), LongLived::over(PERSISTENCE)],
            idle_share: DecayingMean::over(MEMORY),
            classic_signals_per_s: DecayingMean::over(MEMORY),
        }
    }

    /// Adds the stream's next summary; returns the period that it completes.
    pub fn add(&mut self, summary: &Summary) -> Option<Period> {
        let summary = match self.pending.take() {
            Some(mut pending) => {
                pending.merge(summary);
                pending
            }
            None => Box::new(*summary),
        };
        if summary.duration_ns() < self.length_ns {
            self.pending = Some(summary);
            return None;
        }
        // Never 0, even if the reader asks for periods of any length.
        let seconds = summary.duration_ns().max(1) as f64 / 1e9;
        let mut long_lived = [0; 2];
        let queues = [Queue::Classic, Queue::L4s].into_iter();
        for ((queue, flows), count) in queues.zip(&mut self.long_lived).zip(&mut long_lived) {
            flows.add(summary.queue(queue).flows, seconds);
            *count = flows.count();
        }
        let idle = (summary.idle_ns as f64 / 1e9 / seconds).min(1.0);
        self.idle_share.add(idle, seconds);
        let signals = summary.queue(Queue::Classic).signals() as f64 / seconds;
        self.classic_signals_per_s.add(signals, seconds);
        Some(Period {
            summary,
            long_lived,
            idle_share: self.idle_share.value().unwrap_or(idle),
            classic_signals_per_s: self.classic_signals_per_s.value().unwrap_or(signals),
        })
    }

    pub(crate) fn save(&self) -> PeriodsState {
        PeriodsState {
            pending: self.pending.as_ref().map(|s| s.to_bytes().to_vec()),
            long_lived: self.long_lived.clone(),
            idle_share: self.idle_share,
            classic_signals_per_s: self.classic_signals_per_s,
        }
    }

    pub(crate) fn restore(&mut self, state: &PeriodsState) -> Result<(), StateError> {
        let pending = state.pending.as_deref().map(summary_from).transpose()?;
        let sound = state.idle_share.is_like(&self.idle_share)
            && state
                .classic_signals_per_s
                .is_like(&self.classic_signals_per_s);
        if !sound {
            return Err(StateError::NotFinite("the periods"));
        }
        self.pending = pending.map(Box::new);
        self.long_lived = state.long_lived.clone();
        self.idle_share = state.idle_share;
        self.classic_signals_per_s = state.classic_signals_per_s;
        Ok(())
    }

    /// Discards all summaries, because the next one does not continue them.
    pub fn reset(&mut self) {
        self.pending = None;
        self.long_lived.iter_mut().for_each(LongLived::reset);
        self.idle_share = DecayingMean::over(MEMORY);
        self.classic_signals_per_s = DecayingMean::over(MEMORY);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use l4sllm_abi::{header, raw};

    use super::*;

    const MS: u64 = 1_000_000;

    /// A summary of 100 ms.
    fn raw_summary(number: u64) -> raw::l4s_summary {
        raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, 0, (number + 1) * 100 * MS),
            begin_ns: number * 100 * MS,
            target_ns: 15 * MS,
            tupdate_ns: 16 * MS,
            ..Default::default()
        }
    }

    /// A summary of 100 ms in which these bits were set.
    fn summary(number: u64, classic: u64, l4s: u64) -> Summary {
        let mut s = raw_summary(number);
        s.queue[0].flows[0] = classic;
        s.queue[1].flows[3] = l4s;
        Summary::try_from(s).unwrap()
    }

    #[test]
    fn a_period_ends_with_the_summary_that_fills_it() {
        let mut periods = Periods::of(250 * MS);
        let ends: Vec<u64> = (0..10)
            .filter_map(|n| periods.add(&summary(n, 1, 0)))
            .map(|period| period.duration_ns() / MS)
            .collect();
        assert_eq!(ends, [300; 3]);
        // The tenth is dropped: the next summary does not continue it.
        periods.reset();
        assert!(periods.add(&summary(20, 1, 0)).is_none());
    }

    /// Two classic flows and one L4S flow persist among short flows.
    #[test]
    fn period_counts_recently_active_flows() {
        let mut periods = Periods::of(250 * MS);
        let mut last = None;
        for n in 0..60 {
            let others = 1 << (8 + n % 50);
            last = periods.add(&summary(n, 0b11 | others, 0b100)).or(last);
        }
        let last = last.unwrap();
        assert_eq!(last.long_lived(Queue::Classic), 2);
        assert_eq!(last.long_lived(Queue::L4s), 1);
        // One second without a flow ends it.
        let last = (60..75)
            .filter_map(|n| periods.add(&summary(n, 0b10, 0)))
            .last();
        let last = last.unwrap();
        assert_eq!(last.long_lived(Queue::Classic), 1);
        assert_eq!(last.long_lived(Queue::L4s), 0);
    }

    /// Ten signals in one period, then 20 s without any.
    #[test]
    fn long_term_means_decay_over_twenty_seconds() {
        let mut periods = Periods::of(100 * MS);
        let mut long = |n: u64, idle_ns: u64, marks: u64| {
            let mut s = raw_summary(n);
            s.idle_ns = idle_ns;
            s.queue[0].marks_aqm = marks;
            let period = periods.add(&Summary::try_from(s).unwrap()).unwrap();
            (
                period.long_idle_share(),
                period.long_classic_signals_per_s(),
            )
        };
        let (idle, signals) = long(0, 50 * MS, 10);
        assert!((idle - 0.5).abs() < 1e-12 && (signals - 100.0).abs() < 1e-9);
        let (idle, signals) = (1..201).map(|n| long(n, 0, 0)).last().unwrap();
        // The first period's weight after 20 s, relative to that of all of them.
        let share = (1.0 - f64::exp(-0.1 / 20.0)) * f64::exp(-1.0) / (1.0 - f64::exp(-20.1 / 20.0));
        assert!((idle / (0.5 * share) - 1.0).abs() < 1e-9, "{idle}");
        assert!((signals / (100.0 * share) - 1.0).abs() < 1e-9, "{signals}");
    }
}
