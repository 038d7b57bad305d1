//! Latency of a decision and cost of a record, in µs, in each engine that can
//! run the policy.
//!
//! `cargo bench -p l4sllm-model --bench decision [--features torch] [-- DIR]`
//! uses the policy in DIR, or random weights: the default size on records, and
//! one and two layers on summaries.

#![allow(clippy::unwrap_used, reason = "a program for developers")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use l4sllm_model::{
    EngineKind, EngineOptions, Feature, Policy, PolicyConfig, PolicyError, Session, SummaryFeature,
    Tensors, small_gpt2,
};

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let given = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let random = tempfile::tempdir().unwrap();
    let made = |config: PolicyConfig| {
        let dir = random.path().join(&config.name);
        let tensors = Tensors::random(&config, 1).unwrap();
        Policy::save(&dir, &config, &tensors).unwrap();
        dir
    };
    let dirs: Vec<PathBuf> = match given {
        Some(dir) => vec![dir.into()],
        None => configurations().into_iter().map(made).collect(),
    };
    for dir in dirs {
        for engine in EngineKind::ALL {
            match load(&dir, engine) {
                Ok(policy) => measure(&policy),
                Err(why) => println!("{}: {why}", engine.name()),
            }
        }
    }
}

/// The default policies to measure.
fn configurations() -> Vec<PolicyConfig> {
    let on_summaries = |layers: usize, window: usize| {
        let mut config = common::on_summaries(&SummaryFeature::ALL[..16]);
        config.name = format!("summaries-{layers}-{window}");
        config.window = window;
        config.backbone = small_gpt2(layers, 32, 2, 128);
        config
    };
    vec![
        PolicyConfig::new("random", &Feature::PAPER7),
        on_summaries(1, 1),
        on_summaries(2, 1),
        on_summaries(1, 2),
    ]
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
    if policy.config().is_on_summaries() {
        let stream = common::summaries(1024, 250, 1);
        let mut session = Session::new(policy.clone(), 1);
        let times = time(&stream, |s| session.observe_summary(s).unwrap().is_some());
        return times.print("period");
    }
    let stream = common::records(4096, 1);
    for interval in [1, 10, 100] {
        let mut session = Session::new(policy.clone(), interval);
        let times = time(&stream, |r| session.observe(r).unwrap().is_some());
        times.print(&interval.to_string());
    }
}

/// Duration of a stream.
struct Times {
    decisions: Vec<Duration>,
    total: Duration,
    items: u32,
}

/// Repeats the stream for some time; `observe` returns whether it decided.
fn time<T>(stream: &[T], mut observe: impl FnMut(&T) -> bool) -> Times {
    let mut times = Times {
        decisions: Vec::with_capacity(100_000),
        total: Duration::ZERO,
        items: 0,
    };
    while times.total < Duration::from_millis(600) {
        for item in stream {
            let start = Instant::now();
            let decided = observe(item);
            let took = start.elapsed();
            times.total += took;
            times.items += 1;
            if decided {
                times.decisions.push(took);
            }
        }
    }
    times.decisions.sort_unstable();
    times
}

impl Times {
    fn print(&self, interval: &str) {
        let decisions = &self.decisions;
        let quantile =
            |q: usize| decisions[(decisions.len() - 1) * q / 100].as_nanos() as f64 / 1e3;
        println!(
            "{interval:>9} {:>13.1} us {:>13.1} us {:>13.2} us",
            quantile(50),
            quantile(99),
            self.total.as_nanos() as f64 / 1e3 / f64::from(self.items),
        );
    }
}
