//! Overrides sent by a controller.

use std::num::{NonZeroU32, NonZeroU64};

use crate::bytes::{self, Plain};
use crate::{AbiError, Action, Queue, Record, check, check_version, raw};

/// Size of an override, bytes.
pub const OVERRIDE_SIZE: usize = size_of::<raw::l4s_override>();

/// One override. Every value of this type is well formed; the device checks
/// whether it is within its [`Limits`](crate::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// The scheduler.
    pub sched: u32,
    /// Its instance.
    pub instance: u32,
    /// The caller's identifier, which records repeat.
    pub id: NonZeroU64,
    /// Position of the record on which it is based.
    pub based_on: u64,
    /// Expiry, ns of the device's monotonic clock.
    pub expires_ns: u64,
    /// The requested action or set-points.
    pub mode: Mode,
}

/// The content of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An action for the next packet.
    Once {
        /// The action.
        action: Action,
        /// The queue; `None` for the next packet of either.
        queue: Option<Queue>,
    },
    /// An action for the next packets.
    Hold {
        /// The action.
        action: Action,
        /// The queue; `None` for both.
        queue: Option<Queue>,
        /// Number of packets.
        packets: NonZeroU32,
    },
    /// Shifted set-points; DualPI2 decides.
    Steer(Steer),
}

impl Override {
    /// Creates an override based on `record`, for its scheduler instance.
    pub fn on(record: &Record, id: NonZeroU64, expires_ns: u64, mode: Mode) -> Override {
        Override {
            sched: record.sched,
            instance: record.instance,
            id,
            based_on: record.seq(),
            expires_ns,
            mode,
        }
    }

    /// The C struct.
    pub fn to_raw(&self) -> raw::l4s_override {
        let common = raw::l4s_override {
            version: raw::L4S_ABI_VERSION as u16,
            length: OVERRIDE_SIZE as u32,
            sched: self.sched,
            instance: self.instance,
            id: self.id.get(),
            based_on: self.based_on,
            expires_ns: self.expires_ns,
            ..Default::default()
        };
        match self.mode {
            Mode::Once { action, queue } => raw::l4s_override {
                mode: raw::L4S_MODE_ONCE as u8,
                action: action.code(),
                queue: queue_code(queue),
                hold_packets: 1,
                ..common
            },
            Mode::Hold {
                action,
                queue,
                packets,
            } => raw::l4s_override {
                mode: raw::L4S_MODE_HOLD as u8,
                action: action.code(),
                queue: queue_code(queue),
                hold_packets: packets.get(),
                ..common
            },
            Mode::Steer(s) => {
                let q16 = |factor: Option<Factor>| factor.map_or(0, |f| f.0.get());
                let Steer(f) = s;
                raw::l4s_override {
                    mode: raw::L4S_MODE_STEER as u8,
                    queue: raw::L4S_QUEUE_ANY as u8,
                    steer_set: s.set(),
                    target: q16(f.target),
                    threshold: q16(f.threshold),
                    coupling: q16(f.coupling),
                    alpha: q16(f.alpha),
                    beta: q16(f.beta),
                    tupdate: q16(f.tupdate),
                    ..common
                }
            }
        }
    }

    /// The bytes of the C struct.
    pub fn to_bytes(&self) -> [u8; OVERRIDE_SIZE] {
        let mut out = [0; OVERRIDE_SIZE];
        out.copy_from_slice(bytes::as_bytes(&self.to_raw()));
        out
    }

    /// Checks the bytes of a C struct.
    ///
    /// # Errors
    /// As [`Override::try_from`], or a wrong number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Override, AbiError> {
        bytes::from_bytes::<raw::l4s_override>(bytes)?.try_into()
    }
}

impl TryFrom<raw::l4s_override> for Override {
    type Error = AbiError;
    /// Checks every field, and that fields unused by the mode are 0.
    fn try_from(o: raw::l4s_override) -> Result<Self, AbiError> {
        check_version(WHAT, o.version)?;
        if o.length as usize != OVERRIDE_SIZE {
            return Err(AbiError::Length {
                what: WHAT,
                got: o.length as usize,
                want: OVERRIDE_SIZE,
            });
        }
        let range = |field, got: u64, ok: bool, want| check(ok, WHAT, field, got, want);
        range("pad", u64::from(o.pad), o.pad == 0, "0")?;
        let id = NonZeroU64::new(o.id).ok_or(AbiError::Range {
            what: WHAT,
            field: "id",
            got: 0,
            want: "not 0",
        })?;
        let unsteered = || -> Result<(), AbiError> {
            range(
                "steer_set",
                u64::from(o.steer_set),
                o.steer_set == 0,
                "0 unless mode steer",
            )?;
            for (field, q16) in factors(&o) {
                range(field, u64::from(q16), q16 == 0, "0 where not set")?;
            }
            Ok(())
        };
        let mode = match u32::from(o.mode) {
            raw::L4S_MODE_ONCE => {
                unsteered()?;
                range(
                    "hold_packets",
                    u64::from(o.hold_packets),
                    o.hold_packets == 1,
                    "1",
                )?;
                Mode::Once {
                    action: o.action.try_into()?,
                    queue: queue_from(o.queue)?,
                }
            }
            raw::L4S_MODE_HOLD => {
                unsteered()?;
                let packets = NonZeroU32::new(o.hold_packets).ok_or(AbiError::Range {
                    what: WHAT,
                    field: "hold_packets",
                    got: 0,
                    want: "at least 1",
                })?;
                Mode::Hold {
                    action: o.action.try_into()?,
                    queue: queue_from(o.queue)?,
                    packets,
                }
            }
            raw::L4S_MODE_STEER => {
                range(
                    "action",
                    u64::from(o.action),
                    o.action == 0,
                    "0 in mode steer",
                )?;
                range(
                    "hold_packets",
                    u64::from(o.hold_packets),
                    o.hold_packets == 0,
                    "0",
                )?;
                let any = u32::from(o.queue) == raw::L4S_QUEUE_ANY;
                range(
                    "queue",
                    u64::from(o.queue),
                    any,
                    "L4S_QUEUE_ANY in mode steer",
                )?;
                Mode::Steer(steer_from(&o)?)
            }
            other => {
                return Err(AbiError::Range {
                    what: WHAT,
                    field: "mode",
                    got: u64::from(other),
                    want: "one of L4S_MODE_ONCE L4S_MODE_HOLD L4S_MODE_STEER",
                });
            }
        };
        Ok(Override {
            sched: o.sched,
            instance: o.instance,
            id,
            based_on: o.based_on,
            expires_ns: o.expires_ns,
            mode,
        })
    }
}

/// A value for each set-point that can be shifted; `None`: unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factors<T = Factor> {
    /// Factor on the target delay.
    pub target: Option<T>,
    /// Factor on the native L4S threshold.
    pub threshold: Option<T>,
    /// Factor on the coupling factor k.
    pub coupling: Option<T>,
    /// Factor on the integral gain.
    pub alpha: Option<T>,
    /// Factor on the proportional gain.
    pub beta: Option<T>,
    /// Factor on the controller's period.
    pub tupdate: Option<T>,
}

impl<T> Factors<T> {
    /// Leaves all set-points unchanged.
    pub const NONE: Factors<T> = Factors {
        target: None,
        threshold: None,
        coupling: None,
        alpha: None,
        beta: None,
        tupdate: None,
    };

    /// Factors by their keys in files: `target`, `threshold`, `coupling`,
    /// `alpha`, `beta`, `tupdate`, and `gain`, which sets `alpha` and `beta`
    /// unless they are given.
    ///
    /// # Errors
    /// The first error of `factor`.
    pub fn read<E>(
        mut factor: impl FnMut(&'static str) -> Result<Option<T>, E>,
    ) -> Result<Factors<T>, E>
    where
        T: Clone,
    {
        let target = factor("target")?;
        let threshold = factor("threshold")?;
        let coupling = factor("coupling")?;
        let gain = factor("gain")?;
        Ok(Factors {
            target,
            threshold,
            coupling,
            alpha: factor("alpha")?.or_else(|| gain.clone()),
            beta: factor("beta")?.or(gain),
            tupdate: factor("tupdate")?,
        })
    }
}

impl<T> Default for Factors<T> {
    fn default() -> Factors<T> {
        Factors::NONE
    }
}

/// Factors on DualPI2's set-points; at least one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steer(Factors);

impl Steer {
    /// Creates it from factors.
    ///
    /// # Errors
    /// [`AbiError::Range`] if no factor is given.
    pub fn new(factors: Factors) -> Result<Steer, AbiError> {
        let steer = Steer(factors);
        check(
            steer.set() != 0,
            WHAT,
            "steer_set",
            0,
            "at least one factor",
        )?;
        Ok(steer)
    }

    /// The factors.
    pub fn factors(&self) -> Factors {
        self.0
    }

    fn set(&self) -> u8 {
        let bit = |factor: Option<Factor>, bit: u32| if factor.is_some() { bit as u8 } else { 0 };
        let Steer(f) = self;
        bit(f.target, raw::L4S_STEER_TARGET)
            | bit(f.threshold, raw::L4S_STEER_THRESHOLD)
            | bit(f.coupling, raw::L4S_STEER_COUPLING)
            | bit(f.alpha, raw::L4S_STEER_ALPHA)
            | bit(f.beta, raw::L4S_STEER_BETA)
            | bit(f.tupdate, raw::L4S_STEER_TUPDATE)
    }
}

/// A factor on a set-point, Q16, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor(NonZeroU32);

impl Factor {
    /// One: the unchanged set-point.
    pub const ONE: Factor =
        Factor(NonZeroU32::new(raw::L4S_FACTOR_ONE).expect("the header says 65536"));

    /// The factor nearest to `factor`.
    ///
    /// # Errors
    /// [`AbiError::Range`] if it rounds to less than 2^-16, is 65536 or more,
    /// or is not a number.
    pub fn new(factor: f64) -> Result<Factor, AbiError> {
        // `as` saturates and makes NaN zero, which the checks below refuse.
        let q16 = (factor * f64::from(raw::L4S_FACTOR_ONE)).round() as u64;
        u32::try_from(q16)
            .ok()
            .and_then(NonZeroU32::new)
            .map(Factor)
            .ok_or(AbiError::Range {
                what: WHAT,
                field: "factor",
                got: q16,
                want: "1..=4294967295 (Q16)",
            })
    }

    /// The factor as Q16.
    pub fn q16(self) -> u32 {
        self.0.get()
    }

    /// The factor as a number.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0.get()) / f64::from(raw::L4S_FACTOR_ONE)
    }
}

impl From<NonZeroU32> for Factor {
    fn from(q16: NonZeroU32) -> Factor {
        Factor(q16)
    }
}

const WHAT: &str = raw::l4s_override::NAME;

fn queue_code(queue: Option<Queue>) -> u8 {
    queue.map_or(raw::L4S_QUEUE_ANY as u8, Queue::code)
}

fn queue_from(code: u8) -> Result<Option<Queue>, AbiError> {
    if u32::from(code) == raw::L4S_QUEUE_ANY {
        return Ok(None);
    }
    Queue::try_from(code)
        .map(Some)
        .map_err(|_| AbiError::Range {
            what: WHAT,
            field: "queue",
            got: u64::from(code),
            want: "one of L4S_QUEUE_CLASSIC L4S_QUEUE_L4S L4S_QUEUE_ANY",
        })
}

fn factors(o: &raw::l4s_override) -> [(&'static str, u32); 6] {
    [
        ("target", o.target),
        ("threshold", o.threshold),
        ("coupling", o.coupling),
        ("alpha", o.alpha),
        ("beta", o.beta),
        ("tupdate", o.tupdate),
    ]
}

fn steer_from(o: &raw::l4s_override) -> Result<Steer, AbiError> {
    let set = u32::from(o.steer_set);
    check(
        set & !raw::L4S_STEER_ALL == 0,
        WHAT,
        "steer_set",
        u64::from(set),
        "known bits only",
    )?;
    // factors() lists them in the order of their bits.
    let [target, threshold, coupling, alpha, beta, tupdate] = factors(o);
    let factor = |bit: u32, (field, q16): (&'static str, u32)| {
        let given = set & bit != 0;
        let want = if given {
            "not 0 where set"
        } else {
            "0 where not set"
        };
        check(given == (q16 != 0), WHAT, field, u64::from(q16), want)?;
        Ok(NonZeroU32::new(q16).map(Factor))
    };
    Steer::new(Factors {
        target: factor(raw::L4S_STEER_TARGET, target)?,
        threshold: factor(raw::L4S_STEER_THRESHOLD, threshold)?,
        coupling: factor(raw::L4S_STEER_COUPLING, coupling)?,
        alpha: factor(raw::L4S_STEER_ALPHA, alpha)?,
        beta: factor(raw::L4S_STEER_BETA, beta)?,
        tupdate: factor(raw::L4S_STEER_TUPDATE, tupdate)?,
    })
}
