//! The bottleneck of a drill, with its traffic and its daemon.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use l4sllm_abi::Params;
use l4sllm_model::Outcome;
use l4sllm_router::{Forwarder, Priority, Running};
use l4sllm_testbed::device::DeviceServer;
use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::result::{Rows, SetPointRow};
use l4sllm_testbed::router::{Handle, Opener};
use l4sllm_testbed::scenario::{Aqm, Control, DualPi2, FlowGroup, Plan, Scenario};
use l4sllm_testbed::sim::discipline;
use l4sllmd::clock::now_ns;
use l4sllmd::engine::Preset;
use l4sllmd::status::Status;
use rustix::process::{Pid, Signal};

use super::Stage;
use super::phase::Phase;
use crate::daemon::Extras;
use crate::topology::MTU;
use crate::{Daemon, LabError, Process, Recorder, Topology, senders, tool};

const BITS_PER_S: u64 = 20_000_000;
const RTT_NS: u64 = 20_000_000;
/// Interval at which set-points are sampled, ns.
const SAMPLE_NS: u64 = 10_000_000;
/// Time between two looks.
const POLL: Duration = Duration::from_millis(10);
/// Interval of the programs' own samples, s.
const SAMPLE_S: u64 = 1;
/// Time for which traffic outlasts a drill, s.
const MARGIN_S: u64 = 600;
const S: u64 = 1_000_000_000;

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
    daemon_program: &'a Path,
    cancel: &'a AtomicBool,
    control: Control,
    /// Of the daemon.
    pub extras: Extras,
    /// The router's time 0.
    epoch_ns: u64,
    /// Of the queue, when they changed last.
    set_points: Option<SetPointRow>,
    /// The running measurement.
    phase: Option<Phase>,
    /// Departure of the last packet, ns.
    last_ns: Option<u64>,
    worst_gap_ns: u64,
    /// When the failure began, and when it ended, ns; 0: not yet.
    marks_ns: [u64; 2],
}

impl<'a> Bench<'a> {
    /// Starts the traffic, and offers the device.
    ///
    /// # Errors
    /// A namespace, an interface, a program or the device cannot be started.
    pub fn start(
        stage: &Stage<'a>,
        flows: Vec<FlowGroup>,
        seconds: u64,
    ) -> Result<Bench<'a>, LabError> {
        let mut scenario = Scenario::new("drill", BITS_PER_S, RTT_NS);
        scenario.flows = flows;
        let plan = Plan::draw(&scenario, scenario.seed);
        let senders = senders(&scenario, &plan, stage.host)?;
        let topology = Topology::new()?;
        let ends = topology.open()?;
        let queue = discipline(&Aqm::DualPi2(DualPi2::default()), true, 1)?;
        let Discipline::Router(router) = &queue else {
            unreachable!("DualPI2 has a device");
        };
        let (opener, handle) = (router.opener(), router.open()?);
        let mut programs = Vec::new();
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
            let tool = tool::server(sender, SAMPLE_S * S, stage.program);
            start(&topology.server, format!("{}-server", sender.name), tool)?;
        }
        let ports: Vec<u16> = senders.iter().map(|sender| sender.port).collect();
        crate::repetition::wait_listening(&topology.server, &ports)?;
        let by_port = |sender: &crate::Sender| (sender.port, sender.reported);
        let ports = senders.iter().map(by_port).collect();
        let other = plan.reported.len() as u32;
        let (recorder, rows) = Recorder::new(ports, other, Some(SAMPLE_NS));
        let epoch_ns = now_ns();
        let mut forwarder = Forwarder::new(&scenario, queue, MTU.into(), epoch_ns);
        forwarder.observe(Box::new(recorder));
        let running = Running::with(forwarder, ends, Priority::RealTime)
            .map_err(LabError::system("start the forwarding thread"))?;
        for sender in &senders {
            let tool = tool::client(sender, SAMPLE_S * S, seconds + MARGIN_S, stage.program);
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
            daemon_program: stage.daemon,
            cancel: stage.cancel,
            control: Control::adaptive(Preset::default()),
            extras: Extras::default(),
            epoch_ns,
            set_points: None,
            phase: None,
            last_ns: None,
            worst_gap_ns: 0,
            marks_ns: [0; 2],
        };
        bench.open_device()?;
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
        let (control, extras) = (&self.control, &self.extras);
        let daemon = Daemon::start_with(self.daemon_program, dir, &device, control, 1, extras)?;
        self.daemon = Some(daemon);
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

    /// The socket of the device.
    pub fn device(&self) -> PathBuf {
        self.topology.dir().join("device.sock")
    }

    /// The daemon's status socket.
    pub fn status_socket(&self) -> PathBuf {
        crate::daemon::socket(self.topology.dir())
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
    /// None. A daemon that has ended is not signalled.
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
        let sections = &self.extras.sections;
        crate::daemon::write(dir, &device, &self.control, Some(engine), 1, sections)?;
        self.signal(Signal::HUP)
    }

    /// The daemon's status, if it answers.
    pub fn status(&self) -> Option<Status> {
        self.daemon.as_ref().and_then(Daemon::status)
    }

    /// The daemon's process number.
    pub fn daemon_id(&mut self) -> Option<Pid> {
        let id = self.daemon.as_mut()?.process().id();
        Pid::from_raw(i32::try_from(id).ok()?)
    }

    /// The daemon's log so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map_or(String::new(), Daemon::log)
    }

    /// Number of lines of the daemon's log that contain `text`.
    pub fn logged(&self, text: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Overrides that the device has received.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn received(&mut self) -> Result<u64, LabError> {
        Ok(self.handle.stats(now_ns())?.overrides_received)
    }

    /// Time between two decisions.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.control.period_ns)
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
        self.set_points.as_ref().is_none_or(is_plain)
    }

    /// Starts a measurement.
    pub fn measure(&mut self) {
        self.look();
        self.phase = Some(Phase::new(self.time_ns()));
    }

    /// Ends the measurement and returns its results.
    pub fn measured(&mut self) -> Outcome {
        self.look();
        let until_ns = self.time_ns();
        let phase = self.phase.take();
        phase.map_or_else(Outcome::default, |phase| {
            phase.outcome(until_ns, BITS_PER_S)
        })
    }

    /// Begins a failure, which may be repeated; gaps are measured from the first.
    ///
    /// # Errors
    /// `failure`'s.
    pub fn fail(
        &mut self,
        failure: impl FnOnce(&mut Bench<'a>) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        self.look();
        if self.marks_ns[0] == 0 {
            self.worst_gap_ns = 0;
        }
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
        mut condition: impl FnMut(&mut Bench<'a>) -> Result<bool, LabError>,
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
        self.set_points.map_or(0, |row| row.time_ns)
    }

    fn time_ns(&self) -> u64 {
        now_ns() - self.epoch_ns
    }

    /// Takes the rows of what left the queue.
    fn look(&mut self) {
        while let Ok(rows) = self.rows.try_recv() {
            for row in &rows.packets {
                if let Some(phase) = &mut self.phase {
                    phase.add(row);
                }
            }
            for row in rows.packets.iter().filter(|row| row.forwarded()) {
                let gap_ns = self.last_ns.map_or(0, |last_ns| row.time_ns - last_ns);
                self.worst_gap_ns = self.worst_gap_ns.max(gap_ns);
                self.last_ns = Some(row.time_ns);
            }
            self.set_points = rows.set_points.last().copied().or(self.set_points);
        }
    }
}

fn is_plain(row: &SetPointRow) -> bool {
    let plain = Params::default();
    row.target_ns == plain.target_ns
        && row.alpha_uhz == plain.alpha_uhz
        && row.beta_uhz == plain.beta_uhz
}
