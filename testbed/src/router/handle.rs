//! An open of the router's device.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use l4sllm_abi::bytes::{Plain, as_bytes_mut};
use l4sllm_abi::raw::{l4s_limits, l4s_params, l4s_student_status};
use l4sllm_abi::{Interval, Limits, Op, Override, Params, Queues, Stats, StudentStatus};

use super::{Device, RouterError, check, ffi};
use crate::scenario::ArmStudent;

/// Readiness of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Now.
    Ready,
    /// At this time, ns, because of the maximum wait; never if none.
    At(Option<u64>),
}

/// An open of the device: reads records, and sends overrides once it has taken
/// control. Closes on drop.
///
/// A handle is used by one thread at a time, while the packet path runs in
/// another. `now_ns` is the packet path's clock.
pub struct Handle {
    device: Arc<Device>,
    handle: NonNull<ffi::UserHandle>,
    /// Callback of the packet path; boxed twice to have a thin, fixed address.
    wake: Option<Box<Wake>>,
}

type Wake = Box<dyn Fn() + Send + Sync>;

// SAFETY: l4s_user.h lets device calls be made from any thread; `&mut self`
// keeps them to one at a time.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn open(device: &Arc<Device>) -> Result<Handle, RouterError> {
        // SAFETY: `user` is a live router.
        let handle = unsafe { ffi::l4s_user_open(device.user.as_ptr()) };
        let handle = NonNull::new(handle).ok_or(RouterError::Open)?;
        Ok(Handle {
            device: Arc::clone(device),
            handle,
            wake: None,
        })
    }

    /// Reads whole messages into `buffer`; returns the number of bytes, 0 if
    /// none are available.
    ///
    /// # Errors
    /// `EINVAL` if `buffer` is too small for one message.
    pub fn read(&mut self, buffer: &mut [u8], now_ns: u64) -> Result<usize, RouterError> {
        let mut got = 0;
        // SAFETY: `buffer` is writable for its length; the handle is open.
        let error = unsafe {
            ffi::l4s_user_read(
                self.handle.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                now_ns,
                &mut got,
            )
        };
        check("read records", error)?;
        Ok(got)
    }

    /// Number of messages available to [`Handle::read`], including overwritten
    /// ones. Takes no lock.
    pub fn unread(&self) -> u64 {
        // SAFETY: the handle is open, and its one thread is in no other call.
        unsafe { ffi::l4s_user_unread(self.handle.as_ptr()) }
    }

    /// Number of messages that the device keeps for readers; may be 0.
    pub fn ring_records(&self) -> u32 {
        self.device.ring_records
    }

    /// A request: `buffer` is the operation's struct, in and out.
    ///
    /// # Errors
    /// [`RouterError::Refused`] with the device's reason.
    pub fn request(&mut self, op: u16, buffer: &mut [u8], now_ns: u64) -> Result<(), RouterError> {
        self.ask("request", op, buffer, now_ns)
    }

    /// Takes control: only one handle at a time may send overrides.
    ///
    /// # Errors
    /// `EBUSY` while another handle has control.
    pub fn control(&mut self, now_ns: u64) -> Result<(), RouterError> {
        self.ask("take control", Op::Control.code(), &mut [], now_ns)
    }

    /// Sets when the handle becomes readable.
    ///
    /// # Errors
    /// An interval out of range.
    pub fn interval(&mut self, interval: Interval, now_ns: u64) -> Result<(), RouterError> {
        let mut raw = interval.to_raw()?;
        self.ask(
            "set the interval",
            Op::Interval.code(),
            as_bytes_mut(&mut raw),
            now_ns,
        )
    }

    /// Sends an override.
    ///
    /// # Errors
    /// The device's refusal, as listed in the interface.
    pub fn send(&mut self, order: &Override, now_ns: u64) -> Result<(), RouterError> {
        let mut raw = order.to_raw();
        self.ask(
            "send an override",
            Op::Override.code(),
            as_bytes_mut(&mut raw),
            now_ns,
        )
    }

    /// Counters, with records as seen by this handle.
    ///
    /// # Errors
    /// The reply is malformed.
    pub fn stats(&mut self, now_ns: u64) -> Result<Stats, RouterError> {
        let mut raw = Stats::question(0, 0);
        self.ask(
            "read counters",
            Op::Stats.code(),
            as_bytes_mut(&mut raw),
            now_ns,
        )?;
        Ok(Stats::try_from(raw)?)
    }

    /// Statistics of both queues.
    ///
    /// # Errors
    /// The reply is malformed.
    pub fn queues(&mut self, now_ns: u64) -> Result<Queues, RouterError> {
        let mut raw = Queues::question(0, 0);
        self.ask(
            "read queue statistics",
            Op::Queues.code(),
            as_bytes_mut(&mut raw),
            now_ns,
        )?;
        Ok(Queues::try_from(raw)?)
    }

    /// Reads the queue parameters.
    ///
    /// # Errors
    /// The reply is malformed.
    pub fn params(&mut self, now_ns: u64) -> Result<Params, RouterError> {
        let raw: l4s_params = self.fetch("read parameters", Op::GetParams, now_ns)?;
        Ok(Params::try_from(raw)?)
    }

    /// Reads the limits.
    ///
    /// # Errors
    /// The reply is malformed.
    pub fn limits(&mut self, now_ns: u64) -> Result<Limits, RouterError> {
        let raw: l4s_limits = self.fetch("read limits", Op::GetLimits, now_ns)?;
        Ok(Limits::try_from(raw)?)
    }

    /// Changes queue parameters; only the controller may.
    ///
    /// # Errors
    /// A parameter out of range, or the device's reason.
    pub fn set_params(&mut self, params: &Params, now_ns: u64) -> Result<(), RouterError> {
        let mut raw = params.to_raw()?;
        self.ask(
            "set parameters",
            Op::SetParams.code(),
            as_bytes_mut(&mut raw),
            now_ns,
        )
    }

    /// Whether the handle is readable by its interval's rule.
    pub fn ready(&mut self, now_ns: u64) -> Readiness {
        let mut deadline_ns = u64::MAX;
        // SAFETY: the handle is open, `deadline_ns` a live integer.
        let ready = unsafe { ffi::l4s_user_ready(self.handle.as_ptr(), now_ns, &mut deadline_ns) };
        if ready != 0 {
            Readiness::Ready
        } else {
            Readiness::At((deadline_ns != u64::MAX).then_some(deadline_ns))
        }
    }

    /// Sets a callback that is called in the packet path's thread each time the
    /// handle becomes readable. It must not call back into the router.
    pub fn on_ready(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        let wake: Box<Wake> = Box::new(Box::new(wake));
        let arg = std::ptr::from_ref::<Wake>(&wake).cast_mut().cast();
        // SAFETY: `arg` points into the box, which `self` keeps until the
        // callback is replaced or removed; the old one is freed after that.
        unsafe { ffi::l4s_user_on_ready(self.handle.as_ptr(), Some(call_wake), arg) };
        self.wake = Some(wake);
    }

    /// Loads a student and enables it.
    ///
    /// # Errors
    /// The device refused it, or is out of memory.
    pub fn enable_student(&mut self, student: &ArmStudent, now_ns: u64) -> Result<(), RouterError> {
        let mut file = student.bytes().to_vec();
        let load = Op::LoadStudent.code();
        self.ask("load the student", load, &mut file, now_ns)?;
        let mut switch = student.switch().to_raw()?;
        let set = Op::SetStudent.code();
        self.ask("enable the student", set, as_bytes_mut(&mut switch), now_ns)
    }

    /// State of the student.
    ///
    /// # Errors
    /// The reply is malformed.
    pub fn student(&mut self, now_ns: u64) -> Result<StudentStatus, RouterError> {
        let raw: l4s_student_status =
            self.fetch("read the student's state", Op::GetStudent, now_ns)?;
        Ok(StudentStatus::try_from(raw)?)
    }

    fn fetch<T: Plain>(
        &mut self,
        what: &'static str,
        op: Op,
        now_ns: u64,
    ) -> Result<T, RouterError> {
        let mut raw = T::default();
        self.ask(what, op.code(), as_bytes_mut(&mut raw), now_ns)?;
        Ok(raw)
    }

    fn ask(
        &mut self,
        what: &'static str,
        op: u16,
        buffer: &mut [u8],
        now_ns: u64,
    ) -> Result<(), RouterError> {
        // SAFETY: `buffer` is readable and writable for its length; the
        // handle is open.
        let error = unsafe {
            ffi::l4s_user_request(
                self.handle.as_ptr(),
                op.into(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                now_ns,
            )
        };
        check(what, error)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let now_ns = self.device.now_ns.load(Ordering::Relaxed);
        // SAFETY: the handle is open and closed once. The callback goes
        // first; after that call the packet path no longer uses `wake`.
        unsafe {
            ffi::l4s_user_on_ready(self.handle.as_ptr(), None, std::ptr::null_mut());
            ffi::l4s_user_close(self.handle.as_ptr(), now_ns);
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("wakes", &self.wake.is_some())
            .finish_non_exhaustive()
    }
}

/// Called by the packet path.
unsafe extern "C" fn call_wake(arg: *mut c_void) {
    // SAFETY: `arg` is what `on_ready` registered: a live `Wake`.
    let wake = unsafe { &*arg.cast::<Wake>() };
    wake();
}
