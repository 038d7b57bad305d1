//! Runs a scenario's network in real time, with a queue that other processes
//! can read and control.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use l4sllmd::clock::now_ns;

use crate::aqm::Aqm as _;
use crate::router::{Opener, Router, RouterError};
use crate::scenario::{Aqm, Arm, Scenario};
use crate::sim::{SimError, Simulation, derive_seed};

/// Emulated senders, links and the queue between them, at the speed of the
/// host's clock, until it is dropped.
///
/// The scenario's repetitions run one after another indefinitely; the queue and
/// its counters persist. If the host falls behind by more than [`LAG`], the
/// network pauses its time until the host has caught up.
#[derive(Debug)]
pub struct Network {
    opener: Opener,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    paused_ns: Arc<AtomicU64>,
}

/// Maximum lag that the network catches up with.
pub const LAG: Duration = Duration::from_millis(200);

impl Network {
    /// Starts the scenario in a separate thread, with the queue of `arm` and
    /// without its control; the device's controller decides.
    ///
    /// # Errors
    /// The arm is not DualPI2, its parameters are out of range, or the thread
    /// cannot be started.
    pub fn start(scenario: &Scenario, arm: &Arm) -> Result<Network, NetworkError> {
        let Aqm::DualPi2(dualpi2) = &arm.aqm else {
            let aqm = arm.aqm.name();
            return Err(SimError::NoDevice { aqm }.into());
        };
        let seed = derive_seed(scenario.seed, "aqm", 0);
        let router = Router::new(&dualpi2.params, &dualpi2.limits, dualpi2.ring_records, seed)?;
        let opener = router.opener();
        let (stop, stopped) = channel();
        let paused_ns = Arc::new(AtomicU64::new(0));
        let clock = Clock {
            stopped,
            paused_ns: Arc::clone(&paused_ns),
        };
        let (scenario, arm) = (scenario.clone(), arm.clone());
        let thread = std::thread::Builder::new()
            .name("network".into())
            .spawn(move || repeat(&scenario, &arm, router, &clock))?;
        Ok(Network {
            opener,
            stop: Some(stop),
            thread: Some(thread),
            paused_ns,
        })
    }

    /// Opens the queue's device.
    pub fn opener(&self) -> Opener {
        self.opener.clone()
    }

    /// Total time that the network was paused because the host had fallen
    /// behind.
    pub fn paused(&self) -> Duration {
        Duration::from_nanos(self.paused_ns.load(Ordering::Relaxed))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr.
            let _ = thread.join();
        }
    }
}

/// An error that prevents a network from starting.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The arm has no device.
    #[error(transparent)]
    Arm(#[from] SimError),
    /// The queue refused its parameters.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Runs repetitions in sequence until the network is dropped.
fn repeat(scenario: &Scenario, arm: &Arm, mut router: Router, clock: &Clock) {
    for repetition in (0..=u32::MAX).cycle() {
        let mut epoch_ns = now_ns();
        router.set_epoch(epoch_ns);
        let mut network = Simulation::with_router(scenario, arm, repetition, router);
        while network.now() + 1 < scenario.duration_ns {
            let next_ns = network.next_time().unwrap_or(u64::MAX);
            let next_ns = next_ns.min(scenario.duration_ns);
            let Some(lag_ns) = clock.sleep_until(epoch_ns + next_ns) else {
                return;
            };
            if lag_ns > 0 {
                epoch_ns += lag_ns;
                if let Some(router) = network.router_mut() {
                    router.set_epoch(epoch_ns);
                }
            }
            // Only a controller can fail, and this network has none.
            if network.run_until(now_ns() - epoch_ns).is_err() {
                return;
            }
            network.take_rows();
        }
        let left = network.into_router();
        router = left.expect("the queue that the network was created with");
        drain(&mut router, now_ns() - epoch_ns);
    }
}

/// Sends the packets left in the queue after its senders have ended.
fn drain(router: &mut Router, now_ns: u64) {
    let mut drops = Vec::new();
    while router.dequeue(now_ns, &mut drops).is_some() {
        drops.clear();
    }
}

/// The host's clock, and the stop flag.
struct Clock {
    stopped: Receiver<()>,
    paused_ns: Arc<AtomicU64>,
}

impl Clock {
    /// Waits until `at_ns`; returns the lag beyond [`LAG`], ns, or none when
    /// stopped.
    fn sleep_until(&self, at_ns: u64) -> Option<u64> {
        let wait = Duration::from_nanos(at_ns.saturating_sub(now_ns()));
        match self.stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
        }
        let late_ns = now_ns().saturating_sub(at_ns);
        if late_ns <= LAG.as_nanos() as u64 {
            return Some(0);
        }
        self.paused_ns.fetch_add(late_ns, Ordering::Relaxed);
        Some(late_ns)
    }
}
