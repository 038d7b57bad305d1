//! Conversion of the interface's structs to bytes and back; the crate's only
//! unsafe code.

use std::mem::offset_of;

use crate::{AbiError, raw};

/// A struct of the interface that consists only of its bytes.
///
/// # Safety
/// Every bit pattern must be a valid value of the type, and every byte must
/// belong to a field: no padding that could be uninitialised.
pub unsafe trait Plain: Copy + Default {
    /// The C struct's name.
    const NAME: &'static str;
}

/// The bytes of `value`.
pub fn as_bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` has no padding, so all size_of::<T>() bytes are
    // initialised; the slice borrows `value`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The bytes of `value`, for the other side to fill.
pub fn as_bytes_mut<T: Plain>(value: &mut T) -> &mut [u8] {
    // SAFETY: as above, and any bytes are a valid `T`.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(value).cast(), size_of::<T>()) }
}

/// Reads a struct from exactly its bytes, at any alignment.
///
/// # Errors
/// [`AbiError::Length`] if there are fewer or more. The value is not checked.
pub fn from_bytes<T: Plain>(bytes: &[u8]) -> Result<T, AbiError> {
    if bytes.len() != size_of::<T>() {
        return Err(AbiError::Length {
            what: T::NAME,
            got: bytes.len(),
            want: size_of::<T>(),
        });
    }
    let mut value = T::default();
    as_bytes_mut(&mut value).copy_from_slice(bytes);
    Ok(value)
}

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Rust's layout of a struct; the tests compare it with the C compiler's.
#[derive(Debug)]
pub struct Layout {
    /// The C struct's name.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
    /// Name, offset and size of each field, as bindgen names them.
    pub fields: &'static [(&'static str, usize, usize)],
}

/// Implements [`Plain`] for structs that are filled by their listed fields.
macro_rules! plain {
    ($($name:ident { $($field:ident)+ })+) => {
        $(
            const _: () = assert!(
                0 $(+ size_of_field(|s: &raw::$name| &s.$field))+ == size_of::<raw::$name>(),
                concat!(stringify!($name), " has padding, or a field that is not listed"),
            );
            // SAFETY: the fields are integers, arrays of integers or structs
            // in this list, so any bits are a value; the assertion above shows
            // that they cover every byte.
            unsafe impl Plain for raw::$name {
                const NAME: &'static str = stringify!($name);
            }
        )+

        /// The layout of every struct of the interface.
        pub const LAYOUTS: &[Layout] = &[$(Layout {
            name: stringify!($name),
            size: size_of::<raw::$name>(),
            align: align_of::<raw::$name>(),
            fields: &[$((
                stringify!($field),
                offset_of!(raw::$name, $field),
                size_of_field(|s: &raw::$name| &s.$field),
            )),+],
        }),+];
    };
}

plain! {
    l4s_header { version type_ pad length seq time_ns }
    l4s_record {
        hdr instance total_packets delay_ns drop_probability accumulated queue_length
        length_in_bytes packet_length weight actions queue_reason status
    }
    l4s_config {
        hdr instance sched target tupdate max_burst max_ecn_threshold alpha beta flags pad
    }
    l4s_state {
        hdr instance base_probability previous_queue_delay burst_allowance override_id sample_us
        sample_bytes
    }
    l4s_totals { hdr instance queue total_packets left_bytes total_drops sample_start_ns }
    l4s_record_v1 {
        hdr sched instance sojourn_ns override_id queue_type dequeue_action base_action reason ecn
        override_action status qdelay_reference tupdate max_burst max_ecn_threshold alpha beta
        flags burst_allowance drop_probability current_queue_delay previous_queue_delay
        average_dequeue_time accumulated_probability measurement_start_time dequeue_count
        status_flags total_packets total_bytes queue_length length_in_bytes total_drops
        packet_length base_probability
    }
    l4s_loss { hdr lost stream pad reserved }
    l4s_event { hdr sched instance code pad value reserved }
    l4s_queue_summary {
        arrived arrived_bytes forwarded forwarded_bytes marks_aqm marks_native marks_override
        drops_aqm drops_override drops_tail drops_flush sojourn_sum_ns sojourn_sq sojourn_min_ns
        sojourn_max_ns backlog_bytes backlog backlog_max flows
    }
    l4s_summary {
        hdr sched instance begin_ns idle_ns overload_ns decisions override_id p_begin p_end p_max
        status updates p_sum p_variation rate_windows rate_log_sum rate_log_sq target_ns
        tupdate_ns l4s_threshold_ns alpha_uhz beta_uhz coupling_q8 pad queue
    }
    l4s_override {
        version mode action length sched instance id based_on expires_ns hold_packets queue
        steer_set pad target threshold coupling alpha beta tupdate
    }
    l4s_limits {
        version pad0 length ceiling_ns max_ttl_ns watchdog_ns max_hold drop_share mark_share
        factor_min factor_max gain_min gain_max pad
    }
    l4s_params {
        version pad0 length target_ns tupdate_ns l4s_threshold_ns l4s_range_ns max_burst_ns
        l4s_dscp alpha_uhz beta_uhz coupling_q8 l4s_min_packets limit_packets limit_bytes max_ecnth
        classic_weight dither laqm ecn l4s_ecn overflow flow_weights pad
    }
    l4s_stats {
        version pad0 length sched instance packets_in bytes_in forwarded forwarded_bytes dropped
        queued queued_bytes drops_tail drops_base drops_override drops_flush marks_classic
        marks_native marks_coupled marks_override records_written records_read records_lost
        records_waiting overrides_received overrides_applied overrides_expired overrides_refused
        overrides_replaced overrides_waiting refused refused_invalid decisions_overridden
        watchdog_misses watchdog_active
    }
    l4s_queue_stats {
        packets_in bytes_in forwarded forwarded_bytes dropped dropped_bytes marked marked_bytes
        queued queued_bytes drops_tail drops_ecn drops_not_ect drops_flush queued_max
        queued_bytes_max delay_ns delay_max_ns delay_sum_ns delays
    }
    l4s_queues {
        version pad0 length sched instance base_probability classic_probability
        coupled_probability overload overloads overload_ns credit queue
    }
    l4s_student_input { signal scale pad mean gain }
    l4s_student_unit { scale bias }
    l4s_student {
        version pad0 length checksum inputs hidden pad1 idle_budget period_ns tupdate_ns
        slow_tupdate_ns slow_from min max name teacher pad2
    }
    l4s_student_file { address length pad }
    l4s_student_switch { version pad0 length on idle_budget }
    l4s_student_status {
        version pad0 length on idle_budget decisions steering instances student
    }
    l4s_version { min max record_size module }
    l4s_interval { records streams max_wait_ns summary_ns summary_decisions pad }
    l4s_request { version op tag length pad }
    l4s_reply { version op tag error length }
}
