//! The interface's clock.

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in ns, the clock used by devices on this host.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Unix has this clock");
    // Seconds since boot: never negative, and 584 years from overflowing.
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
