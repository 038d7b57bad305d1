//! Rows of the Parquet files: plain numbers, one struct per file.

/// `action` of a [`DecisionRow`] that shifts set-points.
pub const STEER: u8 = 3;

/// One packet that left the bottleneck's queue: `packets.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketRow {
    /// When it left the queue, ns of virtual time: its transmission begins
    /// (forwarded) or it was dropped.
    pub time_ns: u64,
    /// Index into the flows of the repetition.
    pub flow: u32,
    /// 0 classic, 1 L4S (`L4S_QUEUE_*`).
    pub queue: u8,
    /// 0 forwarded, 1 dropped, 2 marked and forwarded (`L4S_ACTION_*`).
    pub action: u8,
    /// ECN codepoint after the decision (`L4S_ECN_*`).
    pub ecn: u8,
    /// Bytes on the wire.
    pub bytes: u32,
    /// From arrival to `time_ns`, ns; 0 for a tail drop.
    pub sojourn_ns: u64,
}

/// The state of one flow's sender, sampled: `flows.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowRow {
    /// Time, ns of virtual time.
    pub time_ns: u64,
    /// Index into the flows of the repetition.
    pub flow: u32,
    /// Congestion window, bytes; for a rate-based sender, rate times RTT.
    pub cwnd_bytes: u64,
    /// Smoothed round-trip time, ns; 0 before the first sample.
    pub srtt_ns: u64,
    /// Payload bytes delivered since the flow began.
    pub delivered_bytes: u64,
}

/// One decision of the controller: `decisions.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecisionRow {
    /// When the record that completed the interval was readable, ns.
    pub time_ns: u64,
    /// From `time_ns` until the override took effect, ns.
    pub latency_ns: u64,
    /// 0 enqueue, 1 drop, 2 mark (`L4S_ACTION_*`), or [`STEER`].
    pub action: u8,
}

/// Set-points of a controlled queue, sampled, if they differ from the previous
/// row: `setpoints.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetPointRow {
    /// When they were sampled, ns of virtual time.
    pub time_ns: u64,
    /// Target delay, ns.
    pub target_ns: u64,
    /// Period of the controller, ns.
    pub tupdate_ns: u64,
    /// Integral gain, 1e-6 Hz.
    pub alpha_uhz: u32,
    /// Proportional gain, 1e-6 Hz.
    pub beta_uhz: u32,
    /// Coupling factor k, in 1/256.
    pub coupling_q8: u32,
}

impl PacketRow {
    /// Whether it was forwarded, marked or not.
    pub fn forwarded(&self) -> bool {
        self.action != DROP
    }

    /// Whether it was dropped.
    pub fn dropped(&self) -> bool {
        self.action == DROP
    }

    /// Whether CE was set on it here.
    pub fn marked(&self) -> bool {
        self.action == MARK
    }
}

const DROP: u8 = 1;
const MARK: u8 = 2;
