//! A scenario in real time, and a daemon that controls its queue.

use std::path::{Path, PathBuf};

use anyhow::Context;
use l4sllm_testbed::device::{DeviceServer, Network};
use l4sllm_testbed::scenario::Scenario;
use tempfile::TempDir;

use super::service::Service;
use super::{Engine, Own};
use crate::device;

/// Virtual time of a repetition, ns: flows must not restart while somebody watches.
const DURATION_NS: u64 = 3_600_000_000_000;

/// An emulated network with its daemon. Parts end in this order.
pub struct Emulated {
    pub subject: String,
    service: Service,
    _server: DeviceServer,
    network: Network,
    _dir: TempDir,
}

impl Emulated {
    /// Starts `scenario` under plain DualPI2 and the daemon with `engine`.
    pub fn start(scenario: &Scenario, policy: &Path, engine: Engine) -> anyhow::Result<Emulated> {
        let mut scenario = scenario.clone();
        scenario.set_duration(DURATION_NS.max(scenario.duration_ns));
        let arm = device::choose(&scenario, None)?;
        let network = Network::start(&scenario, arm)
            .with_context(|| format!("scenario {}, arm {}", scenario.name, arm.name))?;
        let dir = tempfile::Builder::new()
            .prefix("l4sllm-live-")
            .tempdir()
            .context("cannot make a directory for sockets")?;
        let socket: PathBuf = dir.path().join("device.sock");
        let server = DeviceServer::start(&socket, network.opener())
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let service = Service::start(dir.path(), &socket, policy, engine)?;
        Ok(Emulated {
            subject: format!("{} (emulated in real time)", scenario.description),
            service,
            _server: server,
            network,
            _dir: dir,
        })
    }

    /// The daemon's status socket.
    pub fn socket(&self) -> &Path {
        self.service.socket()
    }
}

impl Own for Emulated {
    fn failure(&mut self) -> Option<anyhow::Error> {
        self.service.failure()
    }

    fn warn(&self) {
        device::warn_of_pauses(&self.network);
    }
}
