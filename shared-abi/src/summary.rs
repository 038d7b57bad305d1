//! Summaries of an instance's activity.

use crate::bytes::{self, Plain};
use crate::message::check_header;
use crate::{AbiError, Queue, check, raw};

/// Size of a summary, bytes.
pub const SUMMARY_SIZE: usize = size_of::<raw::l4s_summary>();

/// Activity of an instance in an interval: a checked [`raw::l4s_summary`]; its
/// fields are accessible through `Deref`.
///
/// Summaries are a monoid: [`Summary::merge`] combines two neighbours.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Summary(raw::l4s_summary);

impl std::ops::Deref for Summary {
    type Target = raw::l4s_summary;
    fn deref(&self) -> &raw::l4s_summary {
        &self.0
    }
}

impl TryFrom<raw::l4s_summary> for Summary {
    type Error = AbiError;
    /// Checks the header, the status bits, the probabilities and that the
    /// times are in order. Counters have no range.
    fn try_from(s: raw::l4s_summary) -> Result<Self, AbiError> {
        let what = raw::l4s_summary::NAME;
        let range = |field, value: u64, ok: bool, want| check(ok, what, field, value, want);
        check_header(&s.hdr, raw::L4S_RECORD_SUMMARY)?;
        let begins = s.begin_ns <= s.hdr.time_ns;
        range("begin_ns", s.begin_ns, begins, "at most the end")?;
        let idle = s.idle_ns <= s.hdr.time_ns - s.begin_ns;
        range("idle_ns", s.idle_ns, idle, "at most end - begin")?;
        for (field, p) in [
            ("p_begin", s.p_begin),
            ("p_end", s.p_end),
            ("p_max", s.p_max),
        ] {
            let ok = p <= raw::L4S_PROB_ONE;
            range(field, u64::from(p), ok, "0..=2147483647 (Q31)")?;
        }
        let status = u64::from(s.status);
        let known = s.status & !crate::message::STATUS == 0;
        range("status", status, known, "known bits only")?;
        range("target_ns", s.target_ns, s.target_ns > 0, "above 0")?;
        range("tupdate_ns", s.tupdate_ns, s.tupdate_ns > 0, "above 0")?;
        range("pad", u64::from(s.pad), s.pad == 0, "0")?;
        Ok(Summary(s))
    }
}

impl Summary {
    /// Merges this summary with its later neighbour into the summary of both
    /// intervals. If summaries between them were lost, their time is included
    /// but their packets are not.
    pub fn merge(&mut self, later: &Summary) {
        let (s, l) = (&mut self.0, &later.0);
        s.hdr = l.hdr;
        s.idle_ns = s.idle_ns.wrapping_add(l.idle_ns);
        s.overload_ns = s.overload_ns.wrapping_add(l.overload_ns);
        s.decisions = s.decisions.wrapping_add(l.decisions);
        s.override_id = l.override_id;
        s.p_end = l.p_end;
        s.p_max = s.p_max.max(l.p_max);
        s.status = l.status;
        s.updates = s.updates.wrapping_add(l.updates);
        s.p_sum = s.p_sum.wrapping_add(l.p_sum);
        s.p_variation = s.p_variation.wrapping_add(l.p_variation);
        s.rate_windows = s.rate_windows.wrapping_add(l.rate_windows);
        s.rate_log_sum = s.rate_log_sum.wrapping_add(l.rate_log_sum);
        s.rate_log_sq = s.rate_log_sq.wrapping_add(l.rate_log_sq);
        s.target_ns = l.target_ns;
        s.tupdate_ns = l.tupdate_ns;
        s.l4s_threshold_ns = l.l4s_threshold_ns;
        s.alpha_uhz = l.alpha_uhz;
        s.beta_uhz = l.beta_uhz;
        s.coupling_q8 = l.coupling_q8;
        for (queue, later) in s.queue.iter_mut().zip(&l.queue) {
            merge_queue(queue, later);
        }
    }

    /// End of the interval, ns of the device's monotonic clock.
    pub fn end_ns(&self) -> u64 {
        self.0.hdr.time_ns
    }

    /// Position in the stream of summaries; for a merged one, that of the last.
    pub fn seq(&self) -> u64 {
        self.0.hdr.seq
    }

    /// Length of the interval, ns.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns() - self.0.begin_ns
    }

    /// Busy time of the link, ns.
    pub fn busy_ns(&self) -> u64 {
        self.duration_ns().saturating_sub(self.0.idle_ns)
    }

    /// One of the queues.
    pub fn queue(&self, queue: Queue) -> QueueSummary<'_> {
        QueueSummary(&self.0.queue[queue as usize])
    }

    /// Share of the L4S queue in the bytes forwarded; `None` if nothing was
    /// forwarded.
    pub fn l4s_share(&self) -> Option<f64> {
        let bytes = self.0.queue.map(|q| q.forwarded_bytes as f64);
        let total = bytes[0] + bytes[1];
        (total > 0.0).then(|| bytes[Queue::L4s as usize] / total)
    }

    /// Drain rate while the link was busy, bytes per second; `None` if it was
    /// always idle.
    pub fn drain_rate(&self) -> Option<f64> {
        let bytes: f64 = self.0.queue.iter().map(|q| q.forwarded_bytes as f64).sum();
        let busy_s = self.busy_ns() as f64 / 1e9;
        (busy_s > 0.0).then(|| bytes / busy_s)
    }

    /// Mean of p' over its updates, 0 to 1; `None` without updates.
    pub fn p_mean(&self) -> Option<f64> {
        let mean = self.0.p_sum as f64 / self.0.updates as f64;
        (self.0.updates > 0).then(|| mean / f64::from(raw::L4S_PROB_ONE))
    }

    /// Sum of the absolute changes of p', 1 for a swing from 0 to 1.
    pub fn p_variation(&self) -> f64 {
        self.0.p_variation as f64 / f64::from(raw::L4S_PROB_ONE)
    }

    /// Number, sum and sum of squares of the natural logarithms of the drain
    /// rates, bytes a second, of the windows that ended in the interval
    /// (`L4S_RATE_WINDOW_NS`).
    pub fn rate_moments(&self) -> (f64, f64, f64) {
        const Q16: f64 = 65_536.0;
        let ln2 = std::f64::consts::LN_2;
        (
            self.0.rate_windows as f64,
            self.0.rate_log_sum as f64 / Q16 * ln2,
            self.0.rate_log_sq as f64 / Q16 * ln2 * ln2,
        )
    }

    /// The C struct.
    pub fn raw(&self) -> &raw::l4s_summary {
        &self.0
    }

    /// The bytes that the kernel would write.
    pub fn to_bytes(&self) -> [u8; SUMMARY_SIZE] {
        let mut out = [0; SUMMARY_SIZE];
        out.copy_from_slice(bytes::as_bytes(&self.0));
        out
    }
}

fn merge_queue(queue: &mut raw::l4s_queue_summary, later: &raw::l4s_queue_summary) {
    let q = queue;
    for (sum, later) in [
        (&mut q.arrived, later.arrived),
        (&mut q.arrived_bytes, later.arrived_bytes),
        (&mut q.forwarded, later.forwarded),
        (&mut q.forwarded_bytes, later.forwarded_bytes),
        (&mut q.marks_aqm, later.marks_aqm),
        (&mut q.marks_native, later.marks_native),
        (&mut q.marks_override, later.marks_override),
        (&mut q.drops_aqm, later.drops_aqm),
        (&mut q.drops_override, later.drops_override),
        (&mut q.drops_tail, later.drops_tail),
        (&mut q.drops_flush, later.drops_flush),
        (&mut q.sojourn_sum_ns, later.sojourn_sum_ns),
        (&mut q.sojourn_sq, later.sojourn_sq),
    ] {
        *sum = sum.wrapping_add(later);
    }
    q.sojourn_min_ns = q.sojourn_min_ns.min(later.sojourn_min_ns);
    q.sojourn_max_ns = q.sojourn_max_ns.max(later.sojourn_max_ns);
    q.backlog_bytes = later.backlog_bytes;
    q.backlog = later.backlog;
    q.backlog_max = q.backlog_max.max(later.backlog_max);
    for (bits, later) in q.flows.iter_mut().zip(&later.flows) {
        *bits |= later;
    }
}

/// Counters have no range: all sums are modulo 2^64, as in the kernel.
fn sum<const N: usize>(counters: [u64; N]) -> u64 {
    counters.into_iter().fold(0, u64::wrapping_add)
}

/// One queue of a [`Summary`], accessible through `Deref`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueSummary<'a>(&'a raw::l4s_queue_summary);

impl QueueSummary<'_> {
    /// Mean sojourn time of the packets forwarded, ns; `None` without packets.
    pub fn mean_sojourn_ns(&self) -> Option<f64> {
        let mean = self.0.sojourn_sum_ns as f64 / self.0.forwarded as f64;
        (self.0.forwarded > 0).then_some(mean)
    }

    /// Standard deviation of their sojourn times, ns, to about a microsecond.
    pub fn sojourn_sd_ns(&self) -> Option<f64> {
        let mean = self.mean_sojourn_ns()?;
        let unit = f64::from(1u32 << raw::L4S_SOJOURN_SHIFT);
        let square = self.0.sojourn_sq as f64 / self.0.forwarded as f64 * unit * unit;
        // Times were rounded down, by half a unit on average.
        let square = square + unit * mean - unit * unit / 4.0;
        Some((square - mean * mean).max(0.0).sqrt())
    }

    /// Minimum and maximum sojourn time of forwarded packets, ns.
    pub fn sojourn_range_ns(&self) -> Option<(u64, u64)> {
        (self.0.forwarded > 0).then_some((self.0.sojourn_min_ns, self.0.sojourn_max_ns))
    }

    /// Number of marked packets.
    pub fn marks(&self) -> u64 {
        sum([self.marks_aqm, self.marks_native, self.marks_override])
    }

    /// Number of packets dropped for any reason.
    pub fn drops(&self) -> u64 {
        sum([self.signal_drops(), self.drops_flush])
    }

    /// Congestion signals to senders: marks and drops, except those by the
    /// queue's deletion.
    pub fn signals(&self) -> u64 {
        sum([self.marks(), self.signal_drops()])
    }

    fn signal_drops(&self) -> u64 {
        sum([self.drops_aqm, self.drops_override, self.drops_tail])
    }

    /// Estimated number of active flows, by linear counting (Whang,
    /// Vander-Zanden and Taylor, 1990): m ln(m / z) with z of m bits clear. A
    /// bitmap without clear bits means at least m ln m flows.
    pub fn flows(&self) -> f64 {
        let clear: u32 = self.0.flows.iter().map(|bits| bits.count_zeros()).sum();
        let m = f64::from(raw::L4S_FLOW_BITS);
        m * (m / f64::from(clear.max(1))).ln()
    }
}

impl std::ops::Deref for QueueSummary<'_> {
    type Target = raw::l4s_queue_summary;
    fn deref(&self) -> &raw::l4s_queue_summary {
        self.0
    }
}
