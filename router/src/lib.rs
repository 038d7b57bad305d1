//! A bottleneck for real packets: two TUN interfaces with the kernel's queue and
//! a shaped link between them, in userspace on Linux.
//!
//! [`Forwarder`] is the router without interfaces and clock: packets come from
//! a [`Pool`], pass the testbed's bottleneck (the same queue and the same link
//! as in the emulator) and leave through a [`Wire`]. [`Interface`] is a TUN
//! interface, optionally in another network namespace; [`Running`] is the thread
//! that moves packets between two of them, and [`probe`] sends datagrams that the
//! kernel timestamps. The queue's device is the testbed's
//! ([`l4sllm_testbed::device::DeviceServer`]).

mod capture;
mod forward;
#[cfg(target_os = "linux")]
mod interface;
mod line;
#[cfg(target_os = "linux")]
mod namespace;
mod observe;
mod packet;
mod pool;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
mod run;
mod schedule;
mod summary;

pub use capture::{CaptureObserver, CaptureThread};
pub use forward::{Forwarder, Wire};
#[cfg(target_os = "linux")]
pub use interface::{Counters as InterfaceCounters, Interface, InterfaceError, Place};
#[cfg(target_os = "linux")]
pub use namespace::{Namespace, Net};
pub use observe::{Delay, Observer};
pub use packet::{Header, Malformed, mark, ports};
pub use pool::{Info, Pool, Slot};
#[cfg(target_os = "linux")]
pub use run::{Priority, Report, Running};
pub use summary::{Counts, Drops, Marks, Measured, Overrides, Percentiles, Refused, Summary};

/// An end of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Packets that enter here pass through the queue.
    In,
    /// Packets that enter here take the return path.
    Out,
}
