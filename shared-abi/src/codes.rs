//! Coded fields as enums.

use crate::{AbiError, raw};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $int:ty, $what:literal, $field:literal {
        $($(#[$vdoc:meta])* $variant:ident = $raw:ident),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = raw::$raw as u8),+ }

        impl $name {
            /// Every value, in order of its code.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The code in the C header.
            pub const fn code(self) -> $int {
                self as $int
            }
        }

        impl TryFrom<$int> for $name {
            type Error = AbiError;
            fn try_from(code: $int) -> Result<Self, AbiError> {
                $(if code == raw::$raw as $int {
                    return Ok($name::$variant);
                })+
                Err(AbiError::Range {
                    what: $what,
                    field: $field,
                    got: code as u64,
                    want: concat!("one of", $(" ", stringify!($raw),)+),
                })
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
    /// The action on a packet.
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
    /// One of the streams of messages of a device.
    Stream: u32, "l4s_loss", "stream" {
        /// Decisions and their context.
        Records = L4S_STREAM_RECORDS,
        /// Summaries of intervals.
        Summaries = L4S_STREAM_SUMMARIES,
    }
}

codes! {
    /// The reason for a decision.
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
        /// Override refused: a drop of the last packet in the queues.
        LastPacket = L4S_REASON_LAST_PACKET,
        /// Dropped with its queue, when its instance was deleted.
        Flush = L4S_REASON_FLUSH,
        /// Override refused: the share of additional marks is used up.
        MarkShare = L4S_REASON_MARK_SHARE,
        /// DualPI2's verdict under the student's set-points.
        Student = L4S_REASON_STUDENT,
    }
}

codes! {
    /// The subject of an [`Event`](crate::Event).
    EventCode: u32, "l4s_event", "code" {
        /// The controller missed its deadline.
        Watchdog = L4S_EVENT_WATCHDOG,
        /// The controller recovered: an override arrived.
        Recovered = L4S_EVENT_RECOVERED,
        /// A controller took the device.
        ControlOpen = L4S_EVENT_CONTROL_OPEN,
        /// The controller left.
        ControlClose = L4S_EVENT_CONTROL_CLOSE,
        /// Queue parameters changed.
        Params = L4S_EVENT_PARAMS,
        /// Limits changed.
        Limits = L4S_EVENT_LIMITS,
        /// Overload began.
        Overload = L4S_EVENT_OVERLOAD,
        /// Overload has been over for a second.
        OverloadEnd = L4S_EVENT_OVERLOAD_END,
        /// The student was loaded, enabled or disabled.
        Student = L4S_EVENT_STUDENT,
    }
}

codes! {
    /// Operation of a request.
    Op: u16, "l4s_request", "op" {
        /// Negotiate a version: `l4s_version`, both ways.
        Version = L4S_OP_VERSION,
        /// Take control of the device: no struct.
        Control = L4S_OP_CONTROL,
        /// Streams and readiness of this descriptor: `l4s_interval`, in.
        Interval = L4S_OP_INTERVAL,
        /// An override: `l4s_override`, in.
        Override = L4S_OP_OVERRIDE,
        /// Counters: `l4s_stats`, both ways.
        Stats = L4S_OP_STATS,
        /// Statistics of both queues: `l4s_queues`, both ways.
        Queues = L4S_OP_QUEUES,
        /// Queue parameters: `l4s_params`, out.
        GetParams = L4S_OP_GET_PARAMS,
        /// Queue parameters: `l4s_params`, in; the controller only.
        SetParams = L4S_OP_SET_PARAMS,
        /// Limits: `l4s_limits`, out.
        GetLimits = L4S_OP_GET_LIMITS,
        /// Limits: `l4s_limits`, in; privileged.
        SetLimits = L4S_OP_SET_LIMITS,
        /// A student's file, in, or nothing to unload it; privileged.
        LoadStudent = L4S_OP_LOAD_STUDENT,
        /// Enables or disables the student: `l4s_student_switch`, in; privileged.
        SetStudent = L4S_OP_SET_STUDENT,
        /// The student's state: `l4s_student_status`, out.
        GetStudent = L4S_OP_GET_STUDENT,
        /// Socket only: messages, when readable.
        Read = L4S_OP_READ,
    }
}

codes! {
    /// The device's reasons for refusing a request. The numbers are this
    /// interface's, not the host's errno values.
    Refusal: i32, "l4s_reply", "error" {
        /// Not the controller, or not privileged.
        Permission = L4S_EPERM,
        /// No such scheduler instance.
        NotFound = L4S_ENOENT,
        /// Another controller has the device.
        Busy = L4S_EBUSY,
        /// A field is out of its range.
        Invalid = L4S_EINVAL,
        /// Version or length mismatch.
        Protocol = L4S_EPROTO,
        /// A factor or time beyond the limits.
        BeyondLimits = L4S_ERANGE,
        /// No such request.
        Unsupported = L4S_ENOTTY,
        /// The device is out of memory.
        NoMemory = L4S_ENOMEM,
    }
}

codes! {
    /// How a probability becomes a decision.
    Dither: u8, "l4s_params", "dither" {
        /// RFC 9332's `recur()`, with a drawn threshold: evenly spaced signals.
        Recur = L4S_DITHER_RECUR,
        /// Seeded pseudo-random.
        Random = L4S_DITHER_RANDOM,
    }
}

codes! {
    /// The native AQM of the L4S queue (RFC 9332, section 2.4 and A.1).
    NativeAqm: u8, "l4s_params", "laqm" {
        /// Marks above the threshold.
        Step = L4S_LAQM_STEP,
        /// Marks linearly from the threshold over the range.
        Ramp = L4S_LAQM_RAMP,
    }
}

impl Action {
    /// Index of the action in probabilities, and its published number minus
    /// one.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refusal::Permission => "not the controller, or not privileged",
            Refusal::NotFound => "no such scheduler instance",
            Refusal::Busy => "another controller has the device",
            Refusal::Invalid => "a field is out of its range",
            Refusal::Protocol => "version or length mismatch",
            Refusal::BeyondLimits => "a factor or time beyond the limits",
            Refusal::Unsupported => "no such request",
            Refusal::NoMemory => "the device is out of memory",
        })
    }
}

impl std::error::Error for Refusal {}
