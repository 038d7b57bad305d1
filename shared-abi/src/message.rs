//! What the kernel writes: decisions, losses, events.

use crate::{AbiError, MESSAGE_SIZE, raw};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $int:ty, $what:literal, $field:literal {
        $($(#[$vdoc:meta])* $variant:ident = $raw:ident),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = raw::$raw as u8),+ }

        impl $name {
            /// Every value, in the order of their codes.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
        }

        impl TryFrom<$int> for $name {
            type Error = AbiError;
            fn try_from(code: $int) -> Result<Self, AbiError> {
                match u32::from(code) {
                    $(raw::$raw => Ok($name::$variant),)+
                    _ => Err(AbiError::Range {
                        what: $what,
                        field: $field,
                        got: u64::from(code),
                        want: concat!($(stringify!($raw), " ",)+),
                    }),
                }
            }
        }
    };
}

codes! {
    /// One of the two queues of a dual queue (RFC 9332).
    Queue: u8, "l4s_record", "queue_type" {
        /// The classic queue.
        Classic = L4S_QUEUE_CLASSIC,
        /// The low-latency queue.
        L4s = L4S_QUEUE_L4S,
    }
}

codes! {
    /// What is done to a packet.
    Action: u8, "l4s_record", "action" {
        /// Forwarded unchanged.
        Enqueue = L4S_ACTION_ENQUEUE,
        /// Dropped.
        Drop = L4S_ACTION_DROP,
        /// Forwarded with CE set.
        Mark = L4S_ACTION_MARK,
    }
}

codes! {
    /// ECN codepoint (RFC 3168, section 5).
    Ecn: u8, "l4s_record", "ecn" {
        /// Not ECN-capable.
        NotEct = L4S_ECN_NOT_ECT,
        /// ECT(1): the L4S identifier (RFC 9331).
        Ect1 = L4S_ECN_ECT1,
        /// ECT(0): classic ECN.
        Ect0 = L4S_ECN_ECT0,
        /// Congestion experienced.
        Ce = L4S_ECN_CE,
    }
}

codes! {
    /// Why a decision is what it is.
    Reason: u8, "l4s_record", "reason" {
        /// DualPI2's own verdict.
        Base = L4S_REASON_BASE,
        /// Override, mode `once`.
        Once = L4S_REASON_ONCE,
        /// Override, mode `hold`.
        Hold = L4S_REASON_HOLD,
        /// DualPI2's verdict under shifted set-points.
        Steer = L4S_REASON_STEER,
        /// Queue limit.
        Tail = L4S_REASON_TAIL,
        /// Override refused: a mark on a Not-ECT packet.
        NotEct = L4S_REASON_NOT_ECT,
        /// Override refused: the share of override drops is used up.
        DropShare = L4S_REASON_DROP_SHARE,
        /// Override refused: the queue delay is above the ceiling.
        Ceiling = L4S_REASON_CEILING,
        /// Override refused: overload, plain DualPI2 decides.
        Overload = L4S_REASON_OVERLOAD,
    }
}

codes! {
    /// What an [`Event`] tells.
    EventCode: u32, "l4s_event", "code" {
        /// The controller missed its deadline.
        Watchdog = L4S_EVENT_WATCHDOG,
        /// An override came again.
        Recovered = L4S_EVENT_RECOVERED,
        /// A controller took the device.
        ControlOpen = L4S_EVENT_CONTROL_OPEN,
        /// The controller left.
        ControlClose = L4S_EVENT_CONTROL_CLOSE,
        /// Queue parameters changed.
        Params = L4S_EVENT_PARAMS,
        /// Limits changed.
        Limits = L4S_EVENT_LIMITS,
    }
}

/// One decision of the queue: a checked [`raw::l4s_record`], whose fields are
/// read through `Deref`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Record(raw::l4s_record);

impl std::ops::Deref for Record {
    type Target = raw::l4s_record;
    fn deref(&self) -> &raw::l4s_record {
        &self.0
    }
}

impl TryFrom<raw::l4s_record> for Record {
    type Error = AbiError;
    /// Checks every coded field.
    fn try_from(r: raw::l4s_record) -> Result<Self, AbiError> {
        check_header(&r.hdr)?;
        Queue::try_from(r.queue_type)?;
        Action::try_from(r.dequeue_action)?;
        Action::try_from(r.base_action)?;
        Action::try_from(r.override_action)?;
        Reason::try_from(r.reason)?;
        Ecn::try_from(r.ecn)?;
        Ok(Record(r))
    }
}

// The conversions below cannot fail: `try_from` above is the only way in.
impl Record {
    /// The packet's queue.
    pub fn queue(&self) -> Queue {
        if u32::from(self.0.queue_type) == raw::L4S_QUEUE_L4S { Queue::L4s } else { Queue::Classic }
    }

    /// What was done.
    pub fn action(&self) -> Action {
        Action::ALL[usize::from(self.0.dequeue_action)]
    }

    /// What DualPI2 alone would have done.
    pub fn base_action(&self) -> Action {
        Action::ALL[usize::from(self.0.base_action)]
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        Reason::ALL[usize::from(self.0.reason)]
    }

    /// Codepoint on arrival.
    pub fn ecn(&self) -> Ecn {
        Ecn::ALL[usize::from(self.0.ecn)]
    }

    /// Position in the stream.
    pub fn seq(&self) -> u64 {
        self.0.hdr.seq
    }

    /// Time of the decision, ns of the device's monotonic clock.
    pub fn time_ns(&self) -> u64 {
        self.0.hdr.time_ns
    }

    /// The bytes that the kernel would write.
    pub fn to_bytes(&self) -> [u8; MESSAGE_SIZE] {
        raw::bytes_of(&self.0)
    }
}
