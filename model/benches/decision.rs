//! Latency of a decision and cost of a record, in µs, in each engine that runs
//! the policy.
//!
//! `cargo bench -p l4sllm-model --bench decision [--features torch] [-- DIR]`
//! takes the policy of DIR, or random weights of the default size.

#![allow(clippy::unwrap_used, reason = "a program for developers")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use l4sllm_model::{
    EngineKind, EngineOptions, Feature, Policy, PolicyConfig, PolicyError, Session, Tensors,
};

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let dir = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let random = tempfile::tempdir().unwrap();
    let dir = dir.map_or_else(
        || {
            let config = PolicyConfig::new("random", &Feature::PAPER7);
            let tensors = Tensors::random(&config, 1).unwrap();
            Policy::save(random.path(), &config, &tensors).unwrap();
            random.path().to_owned()
        },
        PathBuf::from,
    );
    for engine in EngineKind::ALL {
        match load(&dir, engine) {
            Ok(policy) => measure(&policy),
            Err(why) => println!("{}: {why}", engine.name()),
        }
    }
}

fn load(dir: &Path, engine: EngineKind) -> Result<Arc<Policy>, PolicyError> {
    let options = EngineOptions {
        engine: Some(engine),
        ..EngineOptions::default()
    };
    Policy::load_with(dir, &options)
}

fn measure(policy: &Arc<Policy>) {
    let backbone = &policy.config().backbone;
    println!(
        "{}: policy {}, window {}, {} features, {}, {} layers, width {}, {} parameters",
        policy.runs_on(),
        policy.config().name,
        policy.config().window,
        policy.config().features.len(),
        backbone.family(),
        backbone.layers(),
        backbone.width(),
        backbone.parameters(),
    );
    println!(
        "{:>9} {:>16} {:>16} {:>16}",
        "interval", "decision p50", "decision p99", "per record"
    );
    let stream = common::records(4096, 1);
    for interval in [1, 10, 100] {
        let mut session = Session::new(policy.clone(), interval);
        let mut decisions = Vec::with_capacity(20_000);
        let mut total = Duration::ZERO;
        let mut records = 0u32;
        while total < Duration::from_millis(600) {
            for record in &stream {
                let start = Instant::now();
                let decision = session.observe(record).unwrap();
                let took = start.elapsed();
                total += took;
                records += 1;
                if decision.is_some() {
                    decisions.push(took);
                }
            }
        }
        decisions.sort_unstable();
        let quantile =
            |q: usize| decisions[(decisions.len() - 1) * q / 100].as_nanos() as f64 / 1e3;
        println!(
            "{interval:>9} {:>13.1} us {:>13.1} us {:>13.2} us",
            quantile(50),
            quantile(99),
            total.as_nanos() as f64 / 1e3 / f64::from(records),
        );
    }
}
