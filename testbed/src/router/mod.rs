//! The kernel's queue, compiled for userspace.
//!
//! A [`Router`] is the packet path and has one owner; [`Handle`]s are opens of
//! its device and may live in other threads. Both keep the C side alive.

mod ffi;
mod handle;

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;

pub use handle::{Handle, Readiness};

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use l4sllm_abi::raw::{L4S_QUEUE_ANY, l4s_override, l4s_params, l4s_stats};
use l4sllm_abi::{AbiError, Action, Ecn, Limits, Override, Params, Queue, Reason, Refusal, Stats};
use thiserror::Error;

use crate::aqm::{Aqm, Backlog, Departure, Packet};
use ffi::UserPacket;

/// Number of the router's only scheduler in records and overrides.
pub const SCHED: u32 = 1;
/// Number of its only instance.
pub const INSTANCE: u32 = 0;

/// An error of a router or of a request to its device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouterError {
    /// A parameter or limit is out of range.
    #[error("cannot create a router: {0}")]
    Params(#[from] AbiError),
    /// The C side refused to create a router.
    #[error("cannot create a router with {ring_records} records in its ring: {refusal}")]
    Create {
        /// The requested size.
        ring_records: u32,
        /// The reason.
        refusal: Refusal,
    },
    /// The device cannot be opened because memory is short.
    #[error("cannot open the router's device: out of memory")]
    Open,
    /// The device refused a request.
    #[error("{what}: the router's device refused: {refusal}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The reason.
        refusal: Refusal,
    },
    /// The device returned an unknown error number.
    #[error("{what}: the router's device answered {error}, which is not an error number")]
    Answer {
        /// The request.
        what: &'static str,
        /// The number.
        error: i32,
    },
}

impl RouterError {
    /// The device's refusal, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            RouterError::Create { refusal, .. } | RouterError::Refused { refusal, .. } => {
                Some(*refusal)
            }
            _ => None,
        }
    }
}

/// `params` with the target, period and gains that the kernel derives from the
/// typical and the longest round-trip time; `None` derives it from the other
/// one.
///
/// # Errors
/// `EINVAL` for a typical one out of 100 us to 1 s, or a longest one out of
/// the typical one to 10 s.
pub fn params_for_rtt(
    params: &Params,
    typical_ns: Option<u64>,
    max_ns: Option<u64>,
) -> Result<Params, RouterError> {
    let mut raw = params.to_raw()?;
    // SAFETY: `raw` is a live l4s_params.
    let error =
        unsafe { ffi::l4s_user_params_rtt(&mut raw, typical_ns.unwrap_or(0), max_ns.unwrap_or(0)) };
    check("derive parameters from round-trip times", error)?;
    Ok(Params::try_from(raw)?)
}

/// The control of a queue at one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// The parameters, with the effective set-points, steered or not.
    pub set_points: Params,
    /// The latest override that the queue took; `None` before the first.
    pub latest: Option<Override>,
    /// Whether it is active: not used up, expired or cancelled.
    pub active: bool,
}

/// The packet path of a queue.
#[derive(Debug)]
pub struct Router {
    device: Arc<Device>,
    /// Offset added to the packet path's times, ns.
    epoch_ns: u64,
    /// Scratch: drops that are handed over.
    dropped: Box<[UserPacket; 16]>,
}

/// Opens the device of a [`Router`] that another thread owns.
#[derive(Debug, Clone)]
pub struct Opener(Arc<Device>);

impl Opener {
    /// Opens the device.
    ///
    /// # Errors
    /// [`RouterError::Open`] if memory is short.
    pub fn open(&self) -> Result<Handle, RouterError> {
        Handle::open(&self.0)
    }
}

impl Router {
    /// An empty queue. `ring_records` is a power of two of 16 to 2^20, or 0 for
    /// no records; `seed` is for the random dither.
    ///
    /// # Errors
    /// An argument out of range, or memory short.
    pub fn new(
        params: &Params,
        limits: &Limits,
        ring_records: u32,
        seed: u64,
    ) -> Result<Router, RouterError> {
        let (params, limits) = (params.to_raw()?, limits.to_raw()?);
        let mut error = 0;
        // SAFETY: the pointers are to live values of the header's types.
        let user =
            unsafe { ffi::l4s_user_create(&params, &limits, ring_records, seed, &mut error) };
        let Some(user) = NonNull::new(user) else {
            check("make a router", error)?;
            return Err(RouterError::Create {
                ring_records,
                refusal: Refusal::NoMemory,
            });
        };
        let device = Device {
            user,
            now_ns: AtomicU64::new(0),
            ring_records,
        };
        Ok(Router {
            device: Arc::new(device),
            epoch_ns: 0,
            dropped: Box::default(),
        })
    }

    /// Opens the device.
    ///
    /// # Errors
    /// [`RouterError::Open`] if memory is short.
    pub fn open(&self) -> Result<Handle, RouterError> {
        Handle::open(&self.device)
    }

    /// Opens the device from other threads.
    pub fn opener(&self) -> Opener {
        Opener(Arc::clone(&self.device))
    }

    /// Adds `epoch_ns` to all later times of the packet path, so that a
    /// packet path in virtual time can have a device in the host's time. The
    /// sum must not go back.
    pub fn set_epoch(&mut self, epoch_ns: u64) {
        self.epoch_ns = epoch_ns;
    }

    /// Counters. `records_read` and `records_waiting` belong to no reader: use
    /// a [`Handle`] for its own.
    pub fn stats(&self) -> l4s_stats {
        let mut stats = Stats::question(0, 0);
        // SAFETY: `stats` is a live l4s_stats, `user` a live router.
        unsafe { ffi::l4s_user_stats(self.device.user.as_ptr(), &mut stats) };
        stats
    }

    /// Backlog of one queue, or of both.
    pub fn backlog_of(&self, queue: Option<Queue>) -> Backlog {
        let code = queue.map_or(L4S_QUEUE_ANY as u8, |queue| queue.code());
        let (mut packets, mut bytes) = (0, 0);
        // SAFETY: the pointers are to live integers, `user` a live router.
        unsafe {
            ffi::l4s_user_backlog(self.device.user.as_ptr(), code, &mut packets, &mut bytes);
        }
        Backlog {
            packets: packets.into(),
            bytes: bytes.into(),
        }
    }

    /// Reports that both queues are empty and the link could send since
    /// `since_ns`, which may be in the future. A link that dequeues whenever it
    /// becomes free need not call this: a dequeue that finds no packet implies
    /// it.
    pub fn idle(&mut self, since_ns: u64) {
        // SAFETY: `&mut self` makes this the only active packet-path call.
        unsafe {
            ffi::l4s_user_idle(
                self.device.user.as_ptr(),
                since_ns.saturating_add(self.epoch_ns),
            );
        }
    }

    /// Reports that both queues are empty and the link cannot send, since
    /// `since_ns`.
    pub fn stall(&mut self, since_ns: u64) {
        // SAFETY: as in `idle`.
        unsafe {
            ffi::l4s_user_stall(
                self.device.user.as_ptr(),
                since_ns.saturating_add(self.epoch_ns),
            );
        }
    }

    /// The parameters, with the effective set-points, steered or not, instead
    /// of the configured ones.
    pub fn set_points(&self) -> Params {
        let mut raw = l4s_params::default();
        // SAFETY: `raw` is a live struct, `user` a live router.
        unsafe { ffi::l4s_user_set_points(self.device.user.as_ptr(), &mut raw) };
        Params::try_from(raw).expect("steering keeps set-points in their parameters' ranges")
    }

    /// The control that applied to the packets of the last enqueue or dequeue.
    pub fn in_force(&self) -> InForce {
        let mut raw = l4s_override::default();
        // SAFETY: `raw` is a live struct, `user` a live router.
        let active =
            unsafe { ffi::l4s_user_latest_override(self.device.user.as_ptr(), &mut raw) } != 0;
        InForce {
            set_points: self.set_points(),
            // Before the first override, the struct is empty, which is invalid.
            latest: Override::try_from(raw).ok(),
            active,
        }
    }

    fn take_drops(&mut self, drops: &mut Vec<Departure>) {
        let batch = self.dropped.as_mut_slice();
        loop {
            // SAFETY: `batch` has space for the requested number of packets.
            let got = unsafe {
                ffi::l4s_user_drops(self.device.user.as_ptr(), batch.as_mut_ptr(), batch.len())
            };
            drops.extend(batch[..got].iter().map(departure));
            if got < batch.len() {
                break;
            }
        }
    }
}

impl Aqm for Router {
    fn enqueue(&mut self, now_ns: u64, packet: Packet, drops: &mut Vec<Departure>) {
        let now_ns = now_ns + self.epoch_ns;
        self.device.now_ns.store(now_ns, Ordering::Relaxed);
        // SAFETY: `&mut self` makes this the only active packet-path call.
        let dropped = unsafe {
            ffi::l4s_user_enqueue_dscp(
                self.device.user.as_ptr(),
                packet.cookie,
                packet.bytes,
                packet.ecn.code(),
                packet.dscp,
                packet.flow,
                now_ns,
            )
        };
        if dropped != 0 {
            self.take_drops(drops);
        }
    }

    fn dequeue(&mut self, now_ns: u64, drops: &mut Vec<Departure>) -> Option<Departure> {
        let now_ns = now_ns + self.epoch_ns;
        self.device.now_ns.store(now_ns, Ordering::Relaxed);
        let mut packet = UserPacket::default();
        // SAFETY: as in `enqueue`; `packet` is a live l4s_user_packet.
        let got = unsafe { ffi::l4s_user_dequeue(self.device.user.as_ptr(), now_ns, &mut packet) };
        self.take_drops(drops);
        (got != 0).then(|| departure(&packet))
    }

    fn backlog(&self) -> Backlog {
        self.backlog_of(None)
    }
}

/// The C side, freed with the router and its last handle.
#[derive(Debug)]
struct Device {
    user: NonNull<ffi::User>,
    /// The packet path's time, so that a handle can be closed at a time that is
    /// not earlier.
    now_ns: AtomicU64,
    ring_records: u32,
}

// SAFETY: l4s_user.h allows packet-path calls in one thread at a time, which
// `Router`'s `&mut self` ensures, and device calls in any thread at the same
// time.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: made by l4s_user_create, freed once; each handle holds an
        // `Arc` of this and has closed before.
        unsafe { ffi::l4s_user_destroy(self.user.as_ptr()) };
    }
}

fn departure(packet: &UserPacket) -> Departure {
    // The C side only writes codes from the header; an unknown one would appear
    // as a plain classic packet in the tests that compare counters.
    Departure {
        cookie: packet.cookie,
        bytes: packet.length,
        ecn: Ecn::try_from(packet.ecn).unwrap_or(Ecn::NotEct),
        queue: Queue::try_from(packet.queue).unwrap_or(Queue::Classic),
        action: Action::try_from(packet.action).unwrap_or(Action::Enqueue),
        sojourn_ns: packet.sojourn_ns,
        reason: Reason::try_from(packet.reason).unwrap_or(Reason::Base),
    }
}

/// Converts an error number of the device to a result.
fn check(what: &'static str, error: i32) -> Result<(), RouterError> {
    if error == 0 {
        return Ok(());
    }
    match Refusal::try_from(error) {
        Ok(refusal) => Err(RouterError::Refused { what, refusal }),
        Err(_) => Err(RouterError::Answer { what, error }),
    }
}
