//! The bottleneck of a drill, with its traffic and its daemon.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use l4sllm_abi::Params;
use l4sllm_router::{Forwarder, Priority, Running};
use l4sllm_testbed::device::DeviceServer;
use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::result::{Rows, SetPointRow};
use l4sllm_testbed::router::{Handle, Opener};
use l4sllm_testbed::scenario::{Aqm, Control, DualPi2, FlowGroup, Plan, Scenario};
use l4sllm_testbed::sim::discipline;
use l4sllm_testbed::transport::Cc;
use l4sllmd::clock::now_ns;
use l4sllmd::engine::Preset;
use l4sllmd::status::Status;
use rustix::process::Signal;

use crate::topology::MTU;
use crate::{Daemon, Host, LabError, Process, Recorder, Topology, senders, tool};

const BITS_PER_S: u64 = 20_000_000;
const RTT_NS: u64 = 20_000_000;
/// Interval at which set-points are sampled, ns.
const SAMPLE_NS: u64 = 10_000_000;
/// Time between two looks.
const POLL: Duration = Duration::from_millis(10);
/// Longest duration of a drill's traffic, s.
const LONGEST_S: u64 = 600;

/// A running drill.
pub struct Bench<'a> {
    /// The daemon first: it ends before its device does.
    daemon: Option<Daemon>,
    server: Option<DeviceServer>,
    opener: Opener,
    handle: Handle,
    running: Running,
    programs: Vec<Process>,
    rows: Receiver<Rows>,
    topology: Topology,
    program: &'a Path,
    cancel: &'a AtomicBool,
    control: Control,
    /// The router's time 0.
    epoch_ns: u64,
    /// Of the queue, whenever they changed; the first row is the beginning.
    set_points: Vec<SetPointRow>,
    /// Departure of the last packet, ns.
    last_ns: Option<u64>,
    worst_gap_ns: u64,
    /// When the failure began, and when it ended, ns.
    marks_ns: [u64; 2],
}

impl<'a> Bench<'a> {
    /// Starts the traffic and the daemon.
    ///
    /// # Errors
    /// A namespace, an interface, a program, the device or the daemon cannot be started.
    pub fn start(
        program: &'a Path,
        host: &Host,
        cancel: &'a AtomicBool,
    ) -> Result<Bench<'a>, LabError> {
        let mut scenario = Scenario::new("drill", BITS_PER_S, RTT_NS);
        let mut group = FlowGroup::new("cubic", Cc::Cubic);
        group.count = 4;
        scenario.flows = vec![group];
        let plan = Plan::draw(&scenario, scenario.seed);
        let senders = senders(&scenario, &plan, host)?;
        let topology = Topology::new()?;
        let ends = topology.open()?;
        let queue = discipline(&Aqm::DualPi2(DualPi2::default()), true, 1)?;
        let Discipline::Router(router) = &queue else {
            unreachable!("DualPI2 has a device");
        };
        let (opener, handle) = (router.opener(), router.open()?);
        let mut programs = Vec::new();
        let own = PathBuf::new();
        let mut start = |net, name: String, tool: tool::Tool| -> Result<(), LabError> {
            let (dir, program) = (topology.dir(), &tool.program);
            programs.push(Process::start(
                Some(net),
                dir,
                &name,
                program,
                &tool.arguments,
            )?);
            Ok(())
        };
        for sender in &senders {
            let tool = tool::server(sender, 1_000_000_000, &own);
            start(&topology.server, format!("{}-server", sender.name), tool)?;
        }
        let ports: Vec<u16> = senders.iter().map(|sender| sender.port).collect();
        crate::repetition::wait_listening(&topology.server, &ports)?;
        let (recorder, rows) = Recorder::new(HashMap::new(), 0, Some(SAMPLE_NS));
        let epoch_ns = now_ns();
        let mut forwarder = Forwarder::new(&scenario, queue, MTU.into(), epoch_ns);
        forwarder.observe(Box::new(recorder));
        let running = Running::with(forwarder, ends, Priority::RealTime)
            .map_err(LabError::system("start the forwarding thread"))?;
        for sender in &senders {
            let tool = tool::client(sender, 1_000_000_000, LONGEST_S, &own);
            start(&topology.client, format!("{}-client", sender.name), tool)?;
        }
        let mut bench = Bench {
            daemon: None,
            server: None,
            opener,
            handle,
            running,
            programs,
            rows,
            topology,
            program,
            cancel,
            control: Control::adaptive(Preset::default()),
            epoch_ns,
            set_points: Vec::new(),
            last_ns: None,
            worst_gap_ns: 0,
            marks_ns: [0; 2],
        };
        bench.open_device()?;
        bench.start_daemon()?;
        Ok(bench)
    }

    /// Directory of the daemon's files.
    pub fn dir(&self) -> &Path {
        self.topology.dir()
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// [`LabError::Program`] or [`LabError::File`]: its program or its configuration
    /// failed.
    pub fn start_daemon(&mut self) -> Result<(), LabError> {
        let (dir, device) = (self.topology.dir(), self.device());
        self.daemon = Some(Daemon::start(self.program, dir, &device, &self.control, 1)?);
        Ok(())
    }

    /// Kills the daemon.
    pub fn end_daemon(&mut self) {
        self.daemon = None;
    }

    /// Offers the device on its socket.
    ///
    /// # Errors
    /// The socket cannot be created.
    pub fn open_device(&mut self) -> Result<(), LabError> {
        let server = DeviceServer::start(&self.device(), self.opener.clone());
        self.server = Some(server.map_err(LabError::system("serve the queue's device"))?);
        Ok(())
    }

    /// Closes the device's socket and its connections.
    pub fn close_device(&mut self) {
        self.server = None;
    }

    fn device(&self) -> PathBuf {
        self.topology.dir().join("device.sock")
    }

    /// Another reader of the device.
    ///
    /// # Errors
    /// Memory is short.
    pub fn reader(&self) -> Result<Handle, LabError> {
        Ok(self.opener.open()?)
    }

    /// Sends a signal to the daemon.
    ///
    /// # Errors
    /// None; a daemon that has ended gets no signal.
    pub fn signal(&mut self, signal: Signal) -> Result<(), LabError> {
        if let Some(daemon) = &mut self.daemon {
            daemon.process().signal(signal);
        }
        Ok(())
    }

    /// Changes the daemon's engine and asks for a reload.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn reload(&mut self, engine: &str) -> Result<(), LabError> {
        let (dir, device) = (self.topology.dir(), self.device());
        crate::daemon::write(dir, &device, &self.control, Some(engine), 1)?;
        self.signal(Signal::HUP)
    }

    /// The daemon's status, if it answers.
    pub fn status(&self) -> Option<Status> {
        self.daemon.as_ref().and_then(Daemon::status)
    }

    /// Overrides that the device accepted from the daemon.
    pub fn accepted(&self) -> u64 {
        self.status().map_or(0, |status| status.counters.accepted)
    }

    /// Lifetime of an override, ms.
    pub fn ttl_ms(&self) -> f64 {
        self.control.ttl_ns as f64 / 1e6
    }

    /// Longest time between two packets, ms.
    pub fn worst_gap_ms(&self) -> f64 {
        self.worst_gap_ns as f64 / 1e6
    }

    /// Whether the queue has the set-points of plain DualPI2, or none are known.
    pub fn is_plain(&self) -> bool {
        self.set_points.last().is_none_or(is_plain)
    }

    /// Begins the failure; gaps count from here.
    ///
    /// # Errors
    /// `failure`'s.
    pub fn fail(
        &mut self,
        failure: impl FnOnce(&mut Bench<'a>) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        self.look();
        self.worst_gap_ns = 0;
        self.marks_ns[0] = self.time_ns();
        failure(self)
    }

    /// Ends the failure.
    ///
    /// # Errors
    /// `healing`'s.
    pub fn heal(
        &mut self,
        healing: impl FnOnce(&mut Bench<'a>) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        self.look();
        self.marks_ns[1] = self.time_ns();
        healing(self)
    }

    /// Waits until the queue is plain; returns the time since the failure, ms.
    ///
    /// # Errors
    /// [`LabError::Late`] after ten lifetimes of an override.
    pub fn wait_plain(&mut self) -> Result<f64, LabError> {
        let from_ns = self.marks_ns[0];
        let patience = Duration::from_nanos(10 * self.control.ttl_ns);
        self.wait_for("the queue to be plain DualPI2", patience, |bench| {
            Ok(bench.is_plain())
        })?;
        Ok(self.changed_ns().saturating_sub(from_ns) as f64 / 1e6)
    }

    /// Waits until the queue is steered; returns the time since the end of the
    /// failure, ms.
    ///
    /// # Errors
    /// [`LabError::Late`] after `patience`.
    pub fn wait_steered(&mut self, patience: Duration) -> Result<f64, LabError> {
        let from_ns = self.marks_ns[1];
        self.wait_for("the daemon to steer again", patience, |bench| {
            Ok(!bench.is_plain())
        })?;
        Ok(self.changed_ns().saturating_sub(from_ns) as f64 / 1e6)
    }

    /// Watches for a time.
    ///
    /// # Errors
    /// None: the time passes.
    pub fn watch_for(&mut self, time: Duration) -> Result<(), LabError> {
        let until = Instant::now() + time;
        self.wait_for("the drill", time * 2, |_| Ok(Instant::now() >= until))
    }

    /// Waits for `condition`, while looking at what leaves the queue.
    ///
    /// # Errors
    /// [`LabError::Late`] after `patience`, or the condition's.
    pub fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&Bench<'a>) -> Result<bool, LabError>,
    ) -> Result<(), LabError> {
        let until = Instant::now() + patience;
        loop {
            self.look();
            if condition(self)? || self.cancel.load(Ordering::Relaxed) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(LabError::Late {
                    what: what.to_owned(),
                    seconds: patience.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends everything; returns counters that do not add up.
    ///
    /// # Errors
    /// The router lost an interface, or the device does not report its counters.
    pub fn finish(mut self) -> Result<Vec<String>, LabError> {
        let mut faults = Vec::new();
        let status = self.status();
        drop(self.daemon.take());
        if let Some((what, left, right)) = status.and_then(|of| of.counters.imbalance()) {
            faults.push(format!("the daemon's {what}: {left}, but {right} found"));
        }
        for program in &mut self.programs {
            program.signal(Signal::INT);
        }
        for program in &mut self.programs {
            program.wait();
        }
        let report = self.running.stop();
        if let Some((interface, source)) = report.failure {
            return Err(LabError::Forwarding { interface, source });
        }
        let stats = self.handle.stats(now_ns())?;
        let queue = stats.imbalance();
        for (what, left, right) in report.measured.imbalance().into_iter().chain(queue) {
            faults.push(format!("the queue's {what}: {left}, but {right} found"));
        }
        Ok(faults)
    }

    /// When the set-points changed last, ns.
    fn changed_ns(&self) -> u64 {
        self.set_points.last().map_or(0, |row| row.time_ns)
    }

    fn time_ns(&self) -> u64 {
        now_ns() - self.epoch_ns
    }

    /// Takes the rows of what left the queue.
    fn look(&mut self) {
        while let Ok(rows) = self.rows.try_recv() {
            for row in rows.packets.iter().filter(|row| row.forwarded()) {
                let gap_ns = self.last_ns.map_or(0, |last_ns| row.time_ns - last_ns);
                self.worst_gap_ns = self.worst_gap_ns.max(gap_ns);
                self.last_ns = Some(row.time_ns);
            }
            self.set_points.extend(rows.set_points);
        }
    }
}

fn is_plain(row: &SetPointRow) -> bool {
    let plain = Params::default();
    row.target_ns == plain.target_ns
        && row.alpha_uhz == plain.alpha_uhz
        && row.beta_uhz == plain.beta_uhz
}
