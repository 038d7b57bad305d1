//! A lab with real packets, and a daemon that controls its queue.

use std::path::Path;

use anyhow::Context;
use l4sllm_lab::{Host, LabError, Standing, clean};
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::transport::Cc;

use super::service::Service;
use super::{Engine, Own};
use crate::device;

/// A lab with its daemon. Parts end in this order.
pub struct Real {
    pub subject: String,
    service: Service,
    lab: Standing,
}

impl Real {
    /// Starts the traffic of `scenario` under plain DualPI2 and the daemon with
    /// `engine`.
    pub fn start(mut scenario: Scenario, policy: &Path, engine: Engine) -> anyhow::Result<Real> {
        let host = Host::here().map_err(|missing| LabError::Host(missing.0))?;
        clean()?;
        // Few kernels have TCP Prague; UDP Prague is built into the lab.
        for flow in &mut scenario.flows {
            if flow.cc == Cc::Prague && !host.has_control("prague") {
                flow.cc = Cc::UdpPrague;
            }
        }
        let arm = device::choose(&scenario, None)?.clone();
        let program = std::env::current_exe().context("cannot find the file of this program")?;
        let lab = Standing::start(&scenario, &arm, &host, &program)?;
        let service = Service::start(lab.dir(), &lab.device(), policy, engine)?;
        Ok(Real {
            subject: format!("{} (real packets)", scenario.description),
            service,
            lab,
        })
    }

    /// The daemon's status socket.
    pub fn socket(&self) -> &Path {
        self.service.socket()
    }
}

impl Own for Real {
    fn failure(&mut self) -> Option<anyhow::Error> {
        let lab = self.lab.failure().map(anyhow::Error::from);
        lab.or_else(|| self.service.failure())
    }
}
