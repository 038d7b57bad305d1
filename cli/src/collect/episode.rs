//! Emulates one episode.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use l4sllm_abi::Message;
use l4sllm_model::Reward;
use l4sllm_model::pool::{BehaviourFacts, EpisodeFacts, FlowFacts, Row};
use l4sllm_testbed::result::{Run, summarise};
use l4sllm_testbed::scenario::curriculum::{Drawn, Episode};
use l4sllm_testbed::scenario::{Control, Scenario};
use l4sllm_testbed::sim::Simulation;

use super::plan::Plan;

/// Rows of an episode, and its description.
pub struct Emulated {
    pub rows: Vec<Row>,
    pub facts: EpisodeFacts,
}

/// Parts of an episode between two checks of `cancel`.
const SLICES: u64 = 100;

/// Runs episode `number` of `plan`. If cancelled, it ends early with incomplete
/// and useless rows.
pub fn emulate(plan: &Plan, number: u32, cancel: &AtomicBool) -> anyhow::Result<Emulated> {
    let Episode {
        scenario,
        behaviour,
        from_ns,
        ..
    } = plan.episode(number);
    let what = || format!("episode {number}, {}, {}", scenario.name, behaviour.name);
    let most = plan.records();
    let rows = Arc::new(Mutex::new(Vec::new()));
    let mut simulation = Simulation::new(&scenario, &behaviour.arm, 0, behaviour.engine.clone())
        .with_context(what)?;
    let kept = Arc::clone(&rows);
    simulation.tap(Box::new(move |message, _| {
        if let (Message::Decision(record), Ok(mut rows)) = (message, kept.lock()) {
            if record.time_ns() >= from_ns && rows.len() < most {
                rows.push(Row::new(record, &Reward::default()));
            }
        }
    }))?;
    for slice in 1..=SLICES {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        simulation
            .run_until(scenario.duration_ns / SLICES * slice)
            .with_context(what)?;
    }
    let run = simulation.finish().with_context(what)?;
    let mut rows = rows.lock().ok().with_context(what)?;
    let rows = std::mem::take(&mut *rows);
    let facts = facts(number, &scenario, &behaviour, rows.len(), &run);
    Ok(Emulated { rows, facts })
}

fn facts(
    number: u32,
    scenario: &Scenario,
    behaviour: &Drawn,
    rows: usize,
    run: &Run,
) -> EpisodeFacts {
    let rates = run.meta.capacity.iter().map(|step| step.bits_per_s);
    let rates: Vec<u64> = rates.collect();
    let least = rates.iter().copied().min().unwrap_or(0);
    let most = rates.iter().copied().max().unwrap_or(0);
    let flows = scenario.flows.iter().map(|group| FlowFacts {
        cc: group.cc.name().to_owned(),
        count: group.flows(),
        rtt_ns: group.rtt_ns,
        rate_bps: group.rate_bps,
    });
    let params = &behaviour.params;
    EpisodeFacts {
        episode: number,
        scenario: scenario.name.clone(),
        rows: rows as u64,
        seed: scenario.seed,
        rate_bps: rates.first().copied().unwrap_or(0),
        rates_bps: (rates.len() > 1).then_some([least, most]),
        rtt_ns: scenario.rtt_ns,
        flows: flows.collect(),
        behaviour: BehaviourFacts {
            name: behaviour.name.clone(),
            target_ns: params.target_ns,
            gains: behaviour.gains,
            tupdate_ns: params.tupdate_ns,
            coupling: f64::from(params.coupling_q8) / 256.0,
            l4s_threshold_ns: params.l4s_threshold_ns,
            flow_weights: params.flow_weights,
            noise: behaviour.noise.map(str::to_owned),
            interval: behaviour.interval,
            share: behaviour.share,
            rule: behaviour.arm.control.as_ref().and_then(Control::rule),
        },
        outcome: summarise(0, run).statistics.outcome(),
    }
}
