//! The forwarding thread: reads, paces and writes.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::scenario::Scenario;
use l4sllmd::clock::now_ns;
use nix::libc;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};

use crate::{Forwarder, Interface, Measured, Side, Wire};

/// Time at the end of a wait in which the thread polls the clock, ns. The kernel
/// wakes the thread late by up to about this much.
const SPIN_NS: u64 = 100_000;

/// The same for a real-time thread, which wakes earlier.
const SPIN_REAL_TIME_NS: u64 = 20_000;

/// A real-time thread sleeps at least this long in each such period, ns, even if
/// packets follow each other so closely that it never waits. Linux reserves 5 % of
/// each second for other threads, and takes them in one piece of 50 ms if they have
/// not got them before.
const REST_NS: u64 = 150_000;
const REST_PERIOD_NS: u64 = 2_000_000;

/// Packets read from one end before the other is polled again.
const TURNS: u32 = 16;

/// Nice value of the forwarding thread: ahead of all threads that are not
/// real-time.
const PRIORITY: i32 = -20;

/// Priority of the forwarding thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Ahead of all threads that are not real-time. Linux applies that within the
    /// session only, if it groups tasks by session (sched(7), autogroup).
    High,
    /// Real-time, if permitted: for measurements on a busy host.
    RealTime,
}

impl Priority {
    /// Time at the end of a wait in which the thread polls the clock, ns.
    fn spin_ns(self) -> u64 {
        match self {
            Priority::High => SPIN_NS,
            Priority::RealTime => SPIN_REAL_TIME_NS,
        }
    }

    /// Sets it for the calling thread. If that fails, only timing is less precise.
    fn apply(self) {
        let _ = setpriority_process(Some(gettid()), PRIORITY);
        if self == Priority::RealTime {
            let parameters = libc::sched_param { sched_priority: 1 };
            // SAFETY: `parameters` is a live sched_param; 0 is this thread.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
        }
    }
}

/// A router that forwards until it is stopped.
#[derive(Debug)]
pub struct Running {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<Report>>,
}

/// The results of a router that ended.
#[derive(Debug)]
pub struct Report {
    /// Counters and measurements.
    pub measured: Measured,
    /// Packets that the kernel dropped before the router read them, at IN and at
    /// OUT; `None` if unknown.
    pub dropped_before: [Option<u64>; 2],
    /// Processor time of the forwarding thread, including polling of the clock.
    pub cpu: Duration,
    /// The interface that failed and its error; `None` if the router was stopped.
    pub failure: Option<(String, io::Error)>,
}

#[derive(Debug)]
struct Stop {
    asked: AtomicBool,
    /// Becomes readable when a stop is requested, to wake the thread.
    event: OwnedFd,
}

impl Stop {
    fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        // Cannot fail: the counter never reaches its maximum.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

impl Running {
    /// Starts a thread that forwards between the two interfaces.
    ///
    /// # Errors
    /// No thread or descriptor is available.
    pub fn start(
        scenario: &Scenario,
        discipline: Discipline,
        mtu: u16,
        ends: (Interface, Interface),
    ) -> io::Result<Running> {
        let forwarder = Forwarder::new(scenario, discipline, mtu.into(), now_ns());
        Running::with(forwarder, ends, Priority::High)
    }

    /// Starts a thread that runs `forwarder` between the two interfaces.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn with(
        forwarder: Forwarder,
        (input, output): (Interface, Interface),
        priority: Priority,
    ) -> io::Result<Running> {
        let stop = Arc::new(Stop {
            asked: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let ends = Ends {
            input,
            output,
            spin_ns: priority.spin_ns(),
            rests: priority == Priority::RealTime,
        };
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("forward".into())
            .spawn(move || {
                priority.apply();
                forward(forwarder, ends, &asked)
            })?;
        Ok(Running {
            stop,
            thread: Some(thread),
        })
    }

    /// Whether the thread has ended, because it failed or was stopped.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the router and discards the packets in the queue and on the link.
    pub fn stop(mut self) -> Report {
        self.stop.ask();
        let thread = self.thread.take().expect("taken here and on drop only");
        match thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr.
            let _ = thread.join();
        }
    }
}

/// The two interfaces, and the host's clock.
struct Ends {
    input: Interface,
    output: Interface,
    /// Time to poll the clock before an event, ns.
    spin_ns: u64,
    /// Whether other threads need the thread to sleep.
    rests: bool,
}

impl Ends {
    fn of(&self, side: Side) -> &Interface {
        match side {
            Side::In => &self.input,
            Side::Out => &self.output,
        }
    }
}

impl Wire for Ends {
    fn now_ns(&mut self) -> u64 {
        now_ns()
    }

    fn send(&mut self, to: Side, packet: &[u8]) -> io::Result<()> {
        self.of(to).send(packet)
    }
}

/// Which ends may have a packet.
#[derive(Debug, Clone, Copy)]
struct Ready {
    input: bool,
    output: bool,
}

impl Ready {
    const BOTH: Ready = Ready {
        input: true,
        output: true,
    };

    fn any(self) -> bool {
        self.input || self.output
    }

    fn of(&mut self, side: Side) -> &mut bool {
        match side {
            Side::In => &mut self.input,
            Side::Out => &mut self.output,
        }
    }
}

fn forward(mut forwarder: Forwarder, mut ends: Ends, stop: &Stop) -> Report {
    // If this fails, the kernel may wake this thread 50 us late to save power.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let failure = match forward_until(&mut forwarder, &mut ends, stop) {
        Ok(()) => None,
        Err((side, error)) => Some((ends.of(side).place().to_string(), error)),
    };
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    Report {
        cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
        measured: forwarder.measured(now_ns()),
        dropped_before: [&ends.input, &ends.output].map(|end| Some(end.counters()?.dropped)),
        failure,
    }
}

fn forward_until(
    forwarder: &mut Forwarder,
    ends: &mut Ends,
    stop: &Stop,
) -> Result<(), (Side, io::Error)> {
    let mut ready = Ready::BOTH;
    let mut rest = Rest::new(now_ns());
    for turn in (1..=TURNS).cycle() {
        if stop.asked.load(Ordering::Relaxed) {
            break;
        }
        // A busy end must not starve the other one.
        if turn == TURNS {
            ready = Ready::BOTH;
        }
        for side in [Side::In, Side::Out] {
            if *ready.of(side) {
                let got = read(forwarder, ends, side).map_err(|error| (side, error))?;
                *ready.of(side) = got;
            }
        }
        let before_ns = forwarder.advance(ends);
        if !ready.any() {
            ready = wait(forwarder.next_ns(), before_ns, ends, stop);
        }
        if ends.rests {
            rest.after_wait(before_ns);
        }
    }
    Ok(())
}

/// The sleep of a period of [`REST_PERIOD_NS`].
#[derive(Debug)]
struct Rest {
    since_ns: u64,
    slept_ns: u64,
}

impl Rest {
    fn new(since_ns: u64) -> Rest {
        Rest {
            since_ns,
            slept_ns: 0,
        }
    }

    /// Counts a wait since `before_ns`; at the end of a period, sleeps for what is
    /// missing.
    fn after_wait(&mut self, before_ns: u64) {
        let due_ns = self.due_ns(before_ns, now_ns());
        if due_ns > 0 {
            std::thread::sleep(Duration::from_nanos(due_ns));
            *self = Rest::new(now_ns());
        }
    }

    /// Counts a wait from `before_ns` to `at_ns`; returns how long to sleep now, ns.
    fn due_ns(&mut self, before_ns: u64, at_ns: u64) -> u64 {
        self.slept_ns += at_ns.saturating_sub(before_ns);
        if self.slept_ns >= REST_NS {
            *self = Rest::new(at_ns);
            return 0;
        }
        match at_ns.saturating_sub(self.since_ns) > REST_PERIOD_NS {
            true => REST_NS - self.slept_ns,
            false => 0,
        }
    }
}

/// Reads one packet; false if none is available.
fn read(forwarder: &mut Forwarder, ends: &mut Ends, side: Side) -> io::Result<bool> {
    let Some((slot, buffer)) = forwarder.buffer() else {
        // Read it anyway, because the thread would spin otherwise.
        let got = received(ends.of(side).receive(&mut [0; 64]))?;
        if got.is_some() {
            forwarder.refuse_for_memory(side);
        }
        return Ok(got.is_some());
    };
    match received(ends.of(side).receive(buffer)) {
        Ok(Some(length)) => {
            let now_ns = forwarder.advance(ends);
            forwarder.arrive(side, slot, length, now_ns);
            Ok(true)
        }
        other => {
            forwarder.unused(slot);
            other.map(|_| false)
        }
    }
}

/// Distinguishes "no packet available" from a failed interface.
fn received(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

/// Waits for a packet or until shortly before `next_ns`; returns the ends to
/// read, which are both shortly before `next_ns`.
fn wait(next_ns: Option<u64>, now_ns: u64, ends: &Ends, stop: &Stop) -> Ready {
    let left_ns = next_ns.map(|next_ns| next_ns.saturating_sub(now_ns));
    if left_ns.is_some_and(|left_ns| left_ns <= ends.spin_ns) {
        return Ready::BOTH;
    }
    let timeout = left_ns.map(|left_ns| timespec(left_ns - ends.spin_ns));
    let mut fds = [
        PollFd::from_borrowed_fd(ends.input.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(ends.output.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stop.event.as_fd(), PollFlags::IN),
    ];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => Ready {
            input: !fds[0].revents().is_empty(),
            output: !fds[1].revents().is_empty(),
        },
        // Interrupted: read both.
        Err(_) => Ready::BOTH,
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec {
        // At most 2^64 ns: 584 years.
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of a second that a thread sleeps because it must, if it waits for
    /// `wait_ns` after each 10 µs of work.
    fn forced_share(wait_ns: u64) -> f64 {
        let (mut at_ns, mut slept_ns) = (0, 0);
        let mut rest = Rest::new(at_ns);
        while at_ns < 1_000_000_000 {
            at_ns += 10_000;
            let before_ns = at_ns;
            at_ns += wait_ns;
            let due_ns = rest.due_ns(before_ns, at_ns);
            if due_ns > 0 {
                slept_ns += due_ns;
                at_ns += due_ns;
                rest = Rest::new(at_ns);
            }
        }
        slept_ns as f64 / at_ns as f64
    }

    /// Linux stops a real-time thread that uses more than 95 % of a second.
    #[test]
    fn a_thread_that_never_waits_leaves_time_to_others() {
        let share = forced_share(0);
        assert!((0.06..0.08).contains(&share), "{share}");
    }

    #[test]
    fn a_thread_that_waits_often_enough_is_not_delayed() {
        assert_eq!(forced_share(1_000), 0.0);
    }
}
