//! The daemon's engine against the server of this crate.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use common::{
    MS, PERIOD_MS, Serving, client, connected, message, on_records, on_summaries, options, record,
    summary, until,
};
use l4sllm_model::Policy;
use l4sllm_remote::server::{Security, ServerOptions};
use l4sllmd::engine::{Adaptive, AdaptiveConfig, Fallback, PolicyEngine, RemoteEngine};
use l4sllmd::{Decision, Engine, Pipeline, PipelineConfig};

const INTERVAL: u32 = 3;

/// Long enough that no answer is late on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

fn engines(serving: &Serving, policy: &Arc<Policy>) -> (RemoteEngine, PolicyEngine) {
    let client = client(options(serving.address, &policy.config().name), policy);
    connected(&client);
    let config = Arc::new(policy.config().clone());
    let remote = RemoteEngine::new(client, config, INTERVAL as usize, DEADLINE, 7);
    let interval = NonZeroU32::new(INTERVAL).unwrap();
    (remote, PolicyEngine::new(Arc::clone(policy), interval, 7))
}

fn answer(engine: &mut RemoteEngine) -> Decision {
    until("answer", || engine.ready())
}

#[test]
fn decisions_of_a_server_equal_those_of_the_local_engine() {
    let policy = on_records();
    let serving = Serving::plain(&policy);
    let (mut remote, mut local) = engines(&serving, &policy);
    let mut decisions = 0;
    for seq in 0..60 {
        let record = record(seq);
        assert_eq!(remote.observe(&record), None);
        // Decisions with their probabilities, to the bit, from the first short
        // windows on.
        if let Some(decision) = local.observe(&record) {
            assert_eq!(answer(&mut remote), decision);
            decisions += 1;
        }
        if seq == 31 {
            remote.reset();
            local.reset();
        }
    }
    assert_eq!(decisions, 19);

    let policy = on_summaries();
    let serving = Serving::plain(&policy);
    let (mut remote, mut local) = engines(&serving, &policy);
    for index in 0..40 {
        let summary = summary(index);
        assert_eq!(remote.observe_summary(&summary), None);
        let decision = local.observe_summary(&summary).unwrap();
        assert_eq!(answer(&mut remote), decision);
        assert!(!remote.has_failed());
    }
}

#[test]
fn an_answer_is_an_override_based_on_its_interval() {
    let policy = on_summaries();
    let serving = Serving::plain(&policy);
    let client = client(options(serving.address, "periods"), &policy);
    connected(&client);
    let engine_client = client.clone();
    let config = PipelineConfig::default().with_period(MS * u64::from(PERIOD_MS));
    let mut pipeline = Pipeline::new(config, move |_| {
        let config = Arc::new(on_summaries().config().clone());
        let engine = RemoteEngine::new(engine_client.clone(), config, 1, DEADLINE, 0);
        let rule = Adaptive::new(AdaptiveConfig::default());
        Box::new(Fallback::new(Box::new(engine), rule))
    });
    // The rule decides until the first answer, which replaces its decision.
    assert!(pipeline.push(&message(0), 100 * MS).is_some());
    let decided = until("decision", || pipeline.ready());
    let order = pipeline.order(&decided, 101 * MS).unwrap();
    assert_eq!((order.based_on, order.expires_ns), (0, 1100 * MS));
    // The next decision of the server is awaited.
    assert!(pipeline.push(&message(1), 200 * MS).is_none());
    let counters = pipeline.metrics().counters;
    assert_eq!((counters.due, counters.awaited), (2, 1));
    assert_eq!(counters.imbalance(), None);
    let decided = until("decision", || pipeline.ready());
    assert_eq!(decided.basis_ns(), 200 * MS);
    // An interval that is given up is a skipped one.
    assert!(pipeline.push(&message(2), 300 * MS).is_none());
    pipeline.restart();
    let counters = pipeline.metrics().counters;
    assert_eq!((counters.awaited, counters.skipped), (0, 1));
    assert_eq!((counters.decisions, counters.unscheduled), (3, 1));
    assert_eq!(client.counters().imbalance(), None);
}

#[test]
fn a_local_policy_decides_while_the_server_does_not() {
    let policy = on_summaries();
    let local = || PolicyEngine::new(on_summaries(), NonZeroU32::MIN, 0);
    let serving = Serving::plain(&policy);
    let address = serving.address;
    let client = client(options(address, "periods"), &policy);
    connected(&client);
    let config = Arc::new(policy.config().clone());
    let engine = RemoteEngine::new(client.clone(), config, 1, DEADLINE, 0);
    let mut engine = engine.with_local(Some(local()));
    let mut reference = local();
    let mut expected = |index| reference.observe_summary(&summary(index));
    // At first it does not wait for the server, then it does.
    assert_eq!(engine.observe_summary(&summary(0)), expected(0));
    assert!(engine.is_waiting());
    answer(&mut engine);
    assert_eq!(engine.observe_summary(&summary(1)), None);
    expected(1);
    answer(&mut engine);
    drop(serving);
    until("end of the connection", || {
        (!client.is_connected()).then_some(()).or_else(|| {
            // The connection's end is noticed by the next request.
            engine.observe_summary(&summary(2));
            None
        })
    });
    assert!(engine.observe_summary(&summary(3)).is_some());
    assert!(engine.has_failed() && !engine.is_waiting());
}

#[test]
fn requests_of_several_routers_share_batches() {
    let policy = on_summaries();
    let options_ = ServerOptions {
        max_batch: 8,
        max_wait: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let serving = Serving::start(Arc::clone(&policy), options_, Security::default());
    let clients: Vec<_> = (0..8)
        .map(|_| client(options(serving.address, "periods"), &policy))
        .collect();
    clients.iter().for_each(connected);
    let config = Arc::new(policy.config().clone());
    let mut session = l4sllm_model::WindowSession::new(config, 1);
    let window = session.observe_summary(&summary(0)).unwrap();
    let tickets: Vec<_> = clients
        .iter()
        .map(|client| client.submit(&window, DEADLINE).unwrap())
        .collect();
    for ticket in &tickets {
        until("answer", || match ticket.progress() {
            l4sllm_remote::client::Progress::Answered(_) => Some(()),
            _ => None,
        });
    }
    let counters = (serving.counters)();
    assert_eq!((counters.windows, counters.decided), (8, 8));
    assert!(counters.batches < 8, "{counters:?}");
    assert_eq!(counters.imbalance(), None);
}
