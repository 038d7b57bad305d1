//! Malicious policies on real packets, compared with plain DualPI2.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use l4sllm_testbed::control::Controller;
use l4sllm_testbed::drill::malicious::{Cell, Malice, PLAIN};
use l4sllm_testbed::scenario::FlowGroup;
use l4sllm_testbed::transport::Cc;
use l4sllmd::clock::now_ns;

use super::Stage;
use super::bench::Bench;
use crate::LabError;

/// Time before each measurement.
const SETTLE: Duration = Duration::from_secs(5);
/// Name of the condition.
const CONDITION: &str = "lab-20M-20ms";

/// Two CUBIC flows with ECN, one without, and UDP Prague.
fn flows() -> Vec<FlowGroup> {
    let mut ecn = FlowGroup::new("ecn", Cc::Cubic);
    ecn.count = 2;
    let mut not_ect = FlowGroup::new("not-ect", Cc::Cubic);
    not_ect.ecn = false;
    vec![ecn, not_ect, FlowGroup::new("prague", Cc::UdpPrague)]
}

/// Measures plain DualPI2 and each policy for `measured`, one after another, with
/// the same flows; none if cancelled. The policies control the device without a
/// daemon, so that only the queue's limits bound them.
///
/// # Errors
/// It cannot be set up, a program or the device fails, or counters do not add up.
pub fn run(stage: &Stage<'_>, measured: Duration) -> Result<Option<Vec<Cell>>, LabError> {
    let phases = 1 + Malice::ALL.len() as u32;
    let seconds = (phases * (SETTLE + measured)).as_secs();
    let mut bench = Bench::start(stage, flows(), seconds)?;
    let mut cells = Vec::new();
    let policies = [None].into_iter().chain(Malice::ALL.map(Some));
    for policy in policies {
        let mut controller = policy.map(|policy| control(&bench, policy)).transpose()?;
        drive(&mut bench, &mut controller, SETTLE)?;
        bench.measure();
        drive(&mut bench, &mut controller, measured)?;
        cells.push(Cell {
            condition: CONDITION.to_owned(),
            policy: policy.map_or(PLAIN, Malice::name).to_owned(),
            outcome: bench.measured(),
        });
        if stage.cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    match bench.finish()?.first() {
        None => Ok(Some(cells)),
        Some(fault) => Err(LabError::Program {
            program: "the queue".to_owned(),
            reason: fault.clone(),
        }),
    }
}

/// A policy that controls the queue until it is dropped.
fn control(bench: &Bench<'_>, policy: Malice) -> Result<Controller, LabError> {
    let control = (&policy.control(), policy.engines());
    Ok(Controller::new(bench.reader()?, Some(control), &[])?)
}

/// Lets the policy decide for a time.
fn drive(
    bench: &mut Bench<'_>,
    controller: &mut Option<Controller>,
    time: Duration,
) -> Result<(), LabError> {
    let until = Instant::now() + time;
    let mut due_ns = Vec::new();
    bench.wait_for("the policy", time * 2, |_| {
        if let Some(controller) = controller {
            controller.read(now_ns(), &mut due_ns)?;
            for _ in due_ns.drain(..) {
                controller.send_pending(now_ns())?;
            }
            drop(controller.take_decisions());
        }
        Ok(Instant::now() >= until)
    })
}
