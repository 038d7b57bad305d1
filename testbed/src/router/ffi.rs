//! `kmod/user/l4s_user.h` in Rust. `layout.c` asserts the same sizes and
//! prototypes on the C side.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;

use l4sllm_abi::raw::{l4s_limits, l4s_override, l4s_params, l4s_stats};
#[cfg(test)]
use l4sllm_abi::raw::{l4s_record_v1, l4s_summary};

/// `struct l4s_user`.
#[repr(C)]
pub(super) struct User {
    _opaque: [u8; 0],
}

/// `struct l4s_user_handle`.
#[repr(C)]
pub(super) struct UserHandle {
    _opaque: [u8; 0],
}

/// `struct l4s_user_packet`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UserPacket {
    pub cookie: u64,
    pub sojourn_ns: u64,
    pub length: u32,
    pub ecn: u8,
    pub queue: u8,
    pub action: u8,
    pub reason: u8,
}

const _: () = {
    assert!(size_of::<UserPacket>() == 24);
    assert!(offset_of!(UserPacket, cookie) == 0);
    assert!(offset_of!(UserPacket, sojourn_ns) == 8);
    assert!(offset_of!(UserPacket, length) == 16);
    assert!(offset_of!(UserPacket, ecn) == 20);
    assert!(offset_of!(UserPacket, queue) == 21);
    assert!(offset_of!(UserPacket, action) == 22);
    assert!(offset_of!(UserPacket, reason) == 23);
};

unsafe extern "C" {
    pub(super) fn l4s_user_create(
        params: *const l4s_params,
        limits: *const l4s_limits,
        ring_records: u32,
        seed: u64,
        error: *mut c_int,
    ) -> *mut User;
    pub(super) fn l4s_user_destroy(user: *mut User);
    pub(super) fn l4s_user_enqueue_dscp(
        user: *mut User,
        cookie: u64,
        length: u32,
        ecn: u8,
        dscp: u8,
        flow: u32,
        now_ns: u64,
    ) -> c_int;
    pub(super) fn l4s_user_idle(user: *mut User, since_ns: u64);
    pub(super) fn l4s_user_stall(user: *mut User, since_ns: u64);
    pub(super) fn l4s_user_dequeue(user: *mut User, now_ns: u64, out: *mut UserPacket) -> c_int;
    #[cfg(test)]
    pub(super) fn l4s_user_tap(
        user: *mut User,
        tap: Option<unsafe extern "C" fn(*mut c_void, *const l4s_record_v1)>,
        arg: *mut c_void,
    );
    pub(super) fn l4s_user_drops(user: *mut User, out: *mut UserPacket, max: usize) -> usize;
    pub(super) fn l4s_user_stats(user: *mut User, out: *mut l4s_stats);
    pub(super) fn l4s_user_backlog(
        user: *const User,
        queue: u8,
        packets: *mut u32,
        bytes: *mut u32,
    );
    pub(super) fn l4s_user_set_points(user: *const User, out: *mut l4s_params);
    pub(super) fn l4s_user_latest_override(user: *const User, out: *mut l4s_override) -> c_int;
    pub(super) fn l4s_user_open(user: *mut User) -> *mut UserHandle;
    pub(super) fn l4s_user_close(handle: *mut UserHandle, now_ns: u64);
    pub(super) fn l4s_user_read(
        handle: *mut UserHandle,
        buf: *mut c_void,
        size: usize,
        now_ns: u64,
        got: *mut usize,
    ) -> c_int;
    pub(super) fn l4s_user_unread(handle: *const UserHandle) -> u64;
    pub(super) fn l4s_user_request(
        handle: *mut UserHandle,
        op: u32,
        buf: *mut c_void,
        size: usize,
        now_ns: u64,
    ) -> c_int;
    pub(super) fn l4s_user_ready(
        handle: *mut UserHandle,
        now_ns: u64,
        deadline_ns: *mut u64,
    ) -> c_int;
    pub(super) fn l4s_user_on_ready(
        handle: *mut UserHandle,
        wake: Option<unsafe extern "C" fn(*mut c_void)>,
        arg: *mut c_void,
    );
    pub(super) fn l4s_user_params_rtt(
        params: *mut l4s_params,
        typical_ns: u64,
        max_ns: u64,
    ) -> c_int;
    #[cfg(test)]
    pub(super) fn l4s_summary_merge(summary: *mut l4s_summary, later: *const l4s_summary);
    #[cfg(test)]
    pub(super) fn l4s_user_params_default(out: *mut l4s_params);
    #[cfg(test)]
    pub(super) fn l4s_user_params_tuned(out: *mut l4s_params);
    #[cfg(test)]
    pub(super) fn l4s_user_params_paper(out: *mut l4s_params);
    #[cfg(test)]
    pub(super) fn l4s_user_limits_default(out: *mut l4s_limits);
    #[cfg(test)]
    pub(super) fn l4s_params_check(params: *const l4s_params) -> c_int;
    #[cfg(test)]
    pub(super) fn l4s_limits_check(limits: *const l4s_limits) -> c_int;
}
