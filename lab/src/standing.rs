//! A lab of unlimited duration: traffic through a queue with a served device, until the
//! lab is dropped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use l4sllm_router::{Delay, Forwarder, Priority, Running};
use l4sllm_testbed::device::DeviceServer;
use l4sllm_testbed::net::Discipline;
use l4sllm_testbed::scenario::{Arm, Plan, Scenario};
use l4sllm_testbed::sim::{derive_seed, discipline};
use l4sllmd::clock::now_ns;

use crate::topology::MTU;
use crate::{Host, LabError, Process, Sender, Topology, senders, tool};

/// Longest duration of the traffic, s: that of iperf3.
const LONGEST_S: u64 = 86_400;
/// Interval of the programs' reports, ns.
const REPORT_NS: u64 = 60_000_000_000;

/// A running lab. Parts end in this order; programs first.
pub struct Standing {
    clients: Vec<Process>,
    _servers: Vec<Process>,
    _server: DeviceServer,
    _running: Running,
    topology: Topology,
}

impl Standing {
    /// Starts the flows of `scenario`, all at once, through the queue of `arm`,
    /// without its control. `program` is `l4sllm`, for UDP Prague.
    ///
    /// # Errors
    /// Flows that the lab cannot send, or a program that cannot be started; nothing
    /// is left then.
    pub fn start(
        scenario: &Scenario,
        arm: &Arm,
        host: &Host,
        program: &Path,
    ) -> Result<Standing, LabError> {
        let seed = scenario.repetition_seed(0);
        let plan = Plan::draw(scenario, seed);
        let senders = senders(scenario, &plan, host)?;
        let topology = Topology::new()?;
        let ends = topology.open()?;
        let queue = discipline(&arm.aqm, true, derive_seed(seed, "aqm", 0))?;
        let Discipline::Router(router) = &queue else {
            return Err(LabError::Arm {
                arm: arm.name.clone(),
                reason: "only DualPI2 has a device",
            });
        };
        let server = DeviceServer::start(&socket(&topology), router.opener());
        let server = server.map_err(LabError::system("serve the queue's device"))?;
        let start = |net, role: &str, sender: &Sender, tool: tool::Tool| {
            let name = format!("{}-{role}", sender.name);
            let dir = topology.dir();
            Process::start(Some(net), dir, &name, &tool.program, &tool.arguments)
        };
        let receive = |sender: &Sender| {
            let tool = tool::server(sender, REPORT_NS, program);
            start(&topology.server, "server", sender, tool)
        };
        let servers: Vec<Process> = senders.iter().map(receive).collect::<Result<_, _>>()?;
        let ports: Vec<u16> = senders.iter().map(|sender| sender.port).collect();
        crate::repetition::wait_listening(&topology.server, &ports)?;
        let mut forwarder = Forwarder::new(scenario, queue, MTU.into(), now_ns());
        let delays = senders.iter().map(|sender| (sender.port, sender.delay));
        forwarder.set_delays(delays.collect::<HashMap<u16, Delay>>());
        let running = Running::with(forwarder, ends, Priority::RealTime)
            .map_err(LabError::system("start the forwarding thread"))?;
        let send = |sender: &Sender| {
            let tool = tool::client(sender, REPORT_NS, LONGEST_S, program);
            start(&topology.client, "client", sender, tool)
        };
        let clients: Vec<Process> = senders.iter().map(send).collect::<Result<_, _>>()?;
        Ok(Standing {
            clients,
            _servers: servers,
            _server: server,
            _running: running,
            topology,
        })
    }

    /// Directory for sockets and output of programs.
    pub fn dir(&self) -> &Path {
        self.topology.dir()
    }

    /// The socket of the queue's device.
    pub fn device(&self) -> PathBuf {
        socket(&self.topology)
    }

    /// A sender that has ended.
    pub fn failure(&mut self) -> Option<LabError> {
        self.clients.iter_mut().find_map(|client| {
            let status = client.ended()?;
            Some(client.failure(&format!("ended with {status}")))
        })
    }
}

fn socket(topology: &Topology) -> PathBuf {
    topology.dir().join("device.sock")
}
