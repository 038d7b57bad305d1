//! Queue parameters and the limits of overrides.

use std::ops::RangeInclusive;

use crate::bytes::Plain;
use crate::{AbiError, Dither, NativeAqm, check, check_layout, raw};

const MS: u64 = 1_000_000;

/// Parameters of DualPI2 (RFC 9332, appendix A). `default()` is RFC 9332's
/// profile with Linux's step for the native L4S AQM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Set-point of the PI controller, 1 us to 5 s.
    pub target_ns: u64,
    /// Its period, 100 us to 1 s.
    pub tupdate_ns: u64,
    /// Native L4S threshold, up to 1 s.
    pub l4s_threshold_ns: u64,
    /// Width of the native ramp, 1 ns to 1 s; unused by the step.
    pub l4s_range_ns: u64,
    /// Burst allowance (RFC 8033, section 4.4), up to 10 s; 0: off.
    pub max_burst_ns: u64,
    /// Integral gain, 1e-6 Hz.
    pub alpha_uhz: u32,
    /// Proportional gain, 1e-6 Hz.
    pub beta_uhz: u32,
    /// Coupling factor k, Q8: 256 is one; up to 65535.
    pub coupling_q8: u32,
    /// Minimum number of packets in the L4S queue on arrival for a native mark
    /// (Th_len).
    pub l4s_min_packets: u32,
    /// Packets in both queues, 1 to 1048576.
    pub limit_packets: u32,
    /// Bytes in both queues, at least one packet of 1500; 0: no limit. Below
    /// 66000, the largest packets of segmentation offload are dropped even by
    /// an empty queue.
    pub limit_bytes: u32,
    /// ECT(0) is dropped above this probability (RFC 8033, section 5.1), Q31;
    /// 0: off.
    pub max_ecnth: u32,
    /// Share of the classic queue in the scheduler, 0 to 100 %; the ends are
    /// strict priority.
    pub classic_weight: u8,
    /// How a probability becomes a decision.
    pub dither: Dither,
    /// The native L4S AQM.
    pub laqm: NativeAqm,
    /// Whether ECT packets are marked; otherwise they are dropped.
    pub ecn: bool,
    /// Whether ECT(0) packets go to the L4S queue, in addition to ECT(1) and
    /// CE.
    pub any_ect: bool,
    /// Additional DiffServ codepoints for the L4S queue: bit n is DSCP n.
    pub l4s_dscp: u64,
    /// In overload, packets that can be marked are delayed up to the queue
    /// limit instead of dropped.
    pub overflow: bool,
    /// Signals are weighted by flow rates: faster flows get more.
    pub flow_weights: bool,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            target_ns: 15 * MS,
            tupdate_ns: 16 * MS,
            l4s_threshold_ns: MS,
            l4s_range_ns: 400_000,
            max_burst_ns: 0,
            alpha_uhz: 160_000,
            beta_uhz: 3_200_000,
            coupling_q8: 2 * Q8_ONE,
            l4s_min_packets: 1,
            limit_packets: 10_000,
            limit_bytes: 0,
            max_ecnth: 0,
            classic_weight: 10,
            dither: Dither::Recur,
            laqm: NativeAqm::Step,
            ecn: true,
            any_ect: false,
            l4s_dscp: 0,
            overflow: false,
            flow_weights: false,
        }
    }
}

impl Params {
    /// The best single setting over many scenarios: target 10 ms and both gains
    /// times four.
    pub fn tuned() -> Params {
        let base = Params::default();
        Params {
            target_ns: 10 * MS,
            alpha_uhz: 4 * base.alpha_uhz,
            beta_uhz: 4 * base.beta_uhz,
            ..base
        }
    }

    /// The published values (Satish et al.): PIE's gains, burst allowance and
    /// ECN threshold.
    pub fn paper() -> Params {
        Params {
            tupdate_ns: 15 * MS,
            max_burst_ns: 150 * MS,
            // 0.1, rounded down.
            max_ecnth: raw::L4S_PROB_ONE / 10,
            alpha_uhz: 125_000,
            beta_uhz: 1_250_000,
            ..Params::default()
        }
    }

    /// The C struct.
    ///
    /// # Errors
    /// [`AbiError::Range`] for the first out-of-range field.
    pub fn to_raw(&self) -> Result<raw::l4s_params, AbiError> {
        let within = |field, got: u64, ok: bool, want| check(ok, PARAMS, field, got, want);
        let ns = |field, got: u64, least: u64, most: u64, want| {
            within(field, got, (least..=most).contains(&got), want)
        };
        ns("target_ns", self.target_ns, 1_000, 5_000 * MS, "1 us..=5 s")?;
        ns(
            "tupdate_ns",
            self.tupdate_ns,
            100_000,
            1_000 * MS,
            "100 us..=1 s",
        )?;
        ns(
            "l4s_threshold_ns",
            self.l4s_threshold_ns,
            0,
            1_000 * MS,
            "0..=1 s",
        )?;
        ns(
            "l4s_range_ns",
            self.l4s_range_ns,
            1,
            1_000 * MS,
            "1 ns..=1 s",
        )?;
        ns(
            "max_burst_ns",
            self.max_burst_ns,
            0,
            10_000 * MS,
            "0..=10 s",
        )?;
        let (k, limit) = (u64::from(self.coupling_q8), u64::from(self.limit_packets));
        within("coupling_q8", k, (256..=65_535).contains(&k), "256..=65535")?;
        within(
            "limit_packets",
            limit,
            (1..=1 << 20).contains(&limit),
            "1..=1048576",
        )?;
        let bytes = self.limit_bytes;
        within(
            "limit_bytes",
            bytes.into(),
            bytes == 0 || bytes >= raw::L4S_MTU,
            "0, or at least 1500",
        )?;
        let (ecnth, weight) = (self.max_ecnth, self.classic_weight);
        within(
            "max_ecnth",
            ecnth.into(),
            ecnth <= raw::L4S_PROB_ONE,
            "0..=2147483647 (Q31)",
        )?;
        within("classic_weight", weight.into(), weight <= 100, "0..=100")?;
        Ok(raw::l4s_params {
            version: raw::L4S_ABI_VERSION as u16,
            pad0: 0,
            length: size_of::<raw::l4s_params>() as u32,
            target_ns: self.target_ns,
            tupdate_ns: self.tupdate_ns,
            l4s_threshold_ns: self.l4s_threshold_ns,
            l4s_range_ns: self.l4s_range_ns,
            max_burst_ns: self.max_burst_ns,
            alpha_uhz: self.alpha_uhz,
            beta_uhz: self.beta_uhz,
            coupling_q8: self.coupling_q8,
            l4s_min_packets: self.l4s_min_packets,
            limit_packets: self.limit_packets,
            limit_bytes: self.limit_bytes,
            max_ecnth: self.max_ecnth,
            classic_weight: self.classic_weight,
            dither: self.dither.code(),
            laqm: self.laqm.code(),
            ecn: self.ecn.into(),
            l4s_ecn: if self.any_ect { MASK_ANY } else { MASK_L4S },
            l4s_dscp: self.l4s_dscp,
            overflow: self.overflow.into(),
            flow_weights: self.flow_weights.into(),
            pad: [0; 5],
        })
    }
}

impl TryFrom<raw::l4s_params> for Params {
    type Error = AbiError;
    /// Checks every field.
    fn try_from(p: raw::l4s_params) -> Result<Self, AbiError> {
        check_layout(PARAMS, p.version, p.pad0, p.length, size_of_val(&p))?;
        let one = |field, got: u8| check(got <= 1, PARAMS, field, u64::from(got), "0 or 1");
        one("ecn", p.ecn)?;
        one("overflow", p.overflow)?;
        one("flow_weights", p.flow_weights)?;
        check(
            [MASK_L4S, MASK_ANY].contains(&p.l4s_ecn),
            PARAMS,
            "l4s_ecn",
            u64::from(p.l4s_ecn),
            "1 or 3",
        )?;
        let pad = p.pad.iter().copied().max().unwrap_or(0);
        check(pad == 0, PARAMS, "pad", u64::from(pad), "0")?;
        let params = Params {
            target_ns: p.target_ns,
            tupdate_ns: p.tupdate_ns,
            l4s_threshold_ns: p.l4s_threshold_ns,
            l4s_range_ns: p.l4s_range_ns,
            max_burst_ns: p.max_burst_ns,
            alpha_uhz: p.alpha_uhz,
            beta_uhz: p.beta_uhz,
            coupling_q8: p.coupling_q8,
            l4s_min_packets: p.l4s_min_packets,
            limit_packets: p.limit_packets,
            limit_bytes: p.limit_bytes,
            max_ecnth: p.max_ecnth,
            classic_weight: p.classic_weight,
            dither: p.dither.try_into()?,
            laqm: p.laqm.try_into()?,
            ecn: p.ecn == 1,
            any_ect: p.l4s_ecn == MASK_ANY,
            l4s_dscp: p.l4s_dscp,
            overflow: p.overflow == 1,
            flow_weights: p.flow_weights == 1,
        };
        params.to_raw()?;
        Ok(params)
    }
}

/// Limits that no override crosses, enforced by the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Above this queue delay plain DualPI2 decides.
    pub ceiling_ns: u64,
    /// Maximum lifetime of an override.
    pub max_ttl_ns: u64,
    /// Maximum time without an override from the controller; 0: no watchdog.
    pub watchdog_ns: u64,
    /// Maximum number of packets of one `hold` override, at least 1.
    pub max_hold: u32,
    /// Maximum share of packets dropped by overrides, Q16, at most one.
    pub drop_share: u32,
    /// Maximum share of packets that overrides mark although DualPI2 would not, less
    /// DualPI2's marks that they prevent in the same queue, Q16, at most one.
    pub mark_share: u32,
    /// Minimum steer factor on set-points other than the gains, Q16, above 0
    /// and at most one.
    pub factor_min: u32,
    /// Maximum of these, Q16, one to 256.
    pub factor_max: u32,
    /// Minimum steer factor on alpha and beta, Q16, above 0 and at most one.
    pub gain_min: u32,
    /// Maximum of these, Q16, one to 256.
    pub gain_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            ceiling_ns: 250 * MS,
            // A steer of ten seconds, with a margin.
            max_ttl_ns: 30_000 * MS,
            watchdog_ns: 0,
            max_hold: 1000,
            drop_share: raw::L4S_FACTOR_ONE / 16,
            mark_share: raw::L4S_FACTOR_ONE / 16384,
            factor_min: (raw::L4S_FACTOR_ONE + 5) / 10,
            factor_max: raw::L4S_FACTOR_ONE * 4,
            gain_min: (raw::L4S_FACTOR_ONE + 10) / 20,
            gain_max: raw::L4S_FACTOR_ONE * 20,
        }
    }
}

impl Limits {
    /// The factors that these limits allow on the set-point of a key
    /// ([`Factors::read`](crate::Factors::read)), with the fewest digits that
    /// give the same Q16 value: 0.1, which is 6554 / 65536, rather than
    /// 0.100006.
    pub fn factors(&self, key: &str) -> RangeInclusive<f64> {
        match key {
            "gain" | "alpha" | "beta" => shortest(self.gain_min)..=shortest(self.gain_max),
            _ => shortest(self.factor_min)..=shortest(self.factor_max),
        }
    }

    /// The factors that the default limits allow.
    pub fn default_factors(key: &str) -> RangeInclusive<f64> {
        Limits::default().factors(key)
    }

    /// The C struct.
    ///
    /// # Errors
    /// [`AbiError::Range`] for the first out-of-range field.
    pub fn to_raw(&self) -> Result<raw::l4s_limits, AbiError> {
        let one = raw::L4S_FACTOR_ONE;
        let within = |field, got: u32, ok: bool, want| check(ok, LIMITS, field, got.into(), want);
        within("max_hold", self.max_hold, self.max_hold > 0, "at least 1")?;
        for (field, share) in [
            ("drop_share", self.drop_share),
            ("mark_share", self.mark_share),
        ] {
            within(field, share, share <= one, "0..=65536 (Q16)")?;
        }
        for (field, least) in [("factor_min", self.factor_min), ("gain_min", self.gain_min)] {
            let ok = (1..=one).contains(&least);
            within(field, least, ok, "1..=65536 (Q16, up to 1.0)")?;
        }
        for (field, most) in [("factor_max", self.factor_max), ("gain_max", self.gain_max)] {
            let ok = (one..=FACTOR_CAP).contains(&most);
            within(field, most, ok, "65536..=16777216 (Q16, 1.0 to 256.0)")?;
        }
        Ok(raw::l4s_limits {
            version: raw::L4S_ABI_VERSION as u16,
            pad0: 0,
            length: size_of::<raw::l4s_limits>() as u32,
            ceiling_ns: self.ceiling_ns,
            max_ttl_ns: self.max_ttl_ns,
            watchdog_ns: self.watchdog_ns,
            max_hold: self.max_hold,
            drop_share: self.drop_share,
            mark_share: self.mark_share,
            factor_min: self.factor_min,
            factor_max: self.factor_max,
            gain_min: self.gain_min,
            gain_max: self.gain_max,
            pad: 0,
        })
    }
}

impl TryFrom<raw::l4s_limits> for Limits {
    type Error = AbiError;
    /// Checks every field.
    fn try_from(l: raw::l4s_limits) -> Result<Self, AbiError> {
        check_layout(LIMITS, l.version, l.pad0, l.length, size_of_val(&l))?;
        check(l.pad == 0, LIMITS, "pad", l.pad.into(), "0")?;
        let limits = Limits {
            ceiling_ns: l.ceiling_ns,
            max_ttl_ns: l.max_ttl_ns,
            watchdog_ns: l.watchdog_ns,
            max_hold: l.max_hold,
            drop_share: l.drop_share,
            mark_share: l.mark_share,
            factor_min: l.factor_min,
            factor_max: l.factor_max,
            gain_min: l.gain_min,
            gain_max: l.gain_max,
        };
        limits.to_raw()?;
        Ok(limits)
    }
}

const PARAMS: &str = raw::l4s_params::NAME;
const LIMITS: &str = raw::l4s_limits::NAME;
const Q8_ONE: u32 = 256;
/// `L4S_FACTOR_CAP` of the queue: above it a shifted set-point could overflow.
const FACTOR_CAP: u32 = 256 * raw::L4S_FACTOR_ONE;
const MASK_L4S: u8 = raw::L4S_ECN_MASK_L4S as u8;
const MASK_ANY: u8 = raw::L4S_ECN_MASK_ANY as u8;

/// The number with the fewest decimals that rounds to `q16`.
fn shortest(q16: u32) -> f64 {
    let one = f64::from(raw::L4S_FACTOR_ONE);
    let exact = f64::from(q16) / one;
    (0..6)
        .map(|decimals| {
            let scale = 10f64.powi(decimals);
            (exact * scale).round() / scale
        })
        .find(|short| (short * one).round() as u32 == q16)
        .unwrap_or(exact)
}
