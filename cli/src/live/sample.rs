//! Samples of the daemon and the queue for the page, several a second.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use l4sllm_abi::Params;
use l4sllmd::control::Choice;
use l4sllmd::status::{ControlStatus, EngineStatus, InForce, State, Status};
use serde::Serialize;
use tokio::sync::broadcast;

use super::Engine;
use crate::status::{device_of, fetch};
use crate::top::rates::{self, QueueRates, queue_rates};

/// Time between two samples.
const PERIOD: Duration = Duration::from_millis(250);
/// Rates and percentiles are those of this many periods: 1 s.
const WINDOW: usize = 4;
/// Samples kept for pages that are opened later: 100 s.
const KEPT: usize = 400;
/// Samples that a slow client may fall behind.
const BEHIND: usize = 16;

/// Samples for all clients.
pub struct Feed {
    /// The heading of the page.
    pub subject: String,
    /// The policy behind `learned`, if known in advance.
    pub policy: Option<String>,
    news: broadcast::Sender<Arc<str>>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    history: VecDeque<Arc<str>>,
    control: Option<ControlStatus>,
}

impl Feed {
    /// A feed without samples.
    pub fn new(subject: String, policy: Option<String>) -> Feed {
        Feed {
            subject,
            policy,
            news: broadcast::Sender::new(BEHIND),
            live: Mutex::default(),
        }
    }

    /// The samples so far as a JSON array, and a receiver of the next ones. A sample
    /// may be in both.
    pub fn subscribe(&self) -> (String, broadcast::Receiver<Arc<str>>) {
        let next = self.news.subscribe();
        let history: Vec<Arc<str>> = self.live().history.iter().cloned().collect();
        (format!("[{}]", history.join(",")), next)
    }

    /// The daemon's selection of engines, if its control socket is on.
    pub fn control(&self) -> Option<ControlStatus> {
        self.live().control.clone()
    }

    fn add(&self, sample: &Sample, control: Option<ControlStatus>) {
        let text: Arc<str> = serde_json::to_string(sample)
            .expect("plain names and numbers")
            .into();
        let mut live = self.live();
        live.control = control;
        if live.history.len() == KEPT {
            live.history.pop_front();
        }
        live.history.push_back(Arc::clone(&text));
        drop(live);
        // An error means that there are no receivers.
        let _ = self.news.send(text);
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // The values are plain, so they stay consistent after a panic elsewhere.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that takes samples; ends on drop.
pub struct Sampler {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts to query the daemon behind `socket`.
    pub fn start(socket: PathBuf, feed: Arc<Feed>) -> anyhow::Result<Sampler> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("sampler".into())
            .spawn(move || {
                let mut window = Window::default();
                let mut next = Instant::now();
                loop {
                    let (sample, control) = window.look(&socket);
                    feed.add(&sample, control);
                    next = (next + PERIOD).max(Instant::now());
                    let pause = next.saturating_duration_since(Instant::now());
                    if stopped.recv_timeout(pause)
                        != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                    {
                        return;
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Sampler {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One sample, as the page reads it.
#[derive(Debug, Serialize)]
struct Sample {
    /// Time since the start, s.
    t: f64,
    /// One of the switch, or `other`.
    engine: &'static str,
    /// The engine in words.
    label: String,
    state: State,
    /// The classic and the L4S queue over the last second.
    queues: Option<[QueueRates; 2]>,
    points: Vec<SetPoint>,
    decisions_s: Option<f64>,
    /// Median over the last minute.
    decision_us: Option<f64>,
    /// Engines that can be selected; none: the page only shows.
    switch: Option<Vec<Engine>>,
    /// Name of the policy behind `learned`.
    policy: Option<String>,
    error: Option<String>,
}

/// A set-point and the factor on it that is in force.
#[derive(Debug, PartialEq, Serialize)]
struct SetPoint {
    name: &'static str,
    unit: &'static str,
    configured: f64,
    factor: f64,
}

/// The samples of the last second.
struct Window {
    started: Instant,
    samples: VecDeque<rates::Sample>,
    policy: Option<String>,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            started: Instant::now(),
            samples: VecDeque::new(),
            policy: None,
        }
    }
}

impl Window {
    fn look(&mut self, socket: &std::path::Path) -> (Sample, Option<ControlStatus>) {
        match fetch(socket) {
            Ok(status) => {
                let control = status.control.clone();
                let device = device_of(&status);
                let error = device.as_ref().err().map(|error| format!("{error:#}"));
                let time_s = self.started.elapsed().as_secs_f64();
                self.push(rates::Sample {
                    time_s,
                    status,
                    device: device.ok(),
                });
                (self.sample(error), control)
            }
            Err(error) => {
                self.samples.clear();
                let mut sample = self.nothing();
                sample.error = Some(format!("{error:#}"));
                (sample, None)
            }
        }
    }

    fn push(&mut self, sample: rates::Sample) {
        // Another daemon, or a device that was restarted, has other counters.
        let continues = self.samples.back().is_none_or(|last| {
            let packets = |sample: &rates::Sample| {
                sample.device.as_ref().map(|device| device.stats.packets_in)
            };
            last.status.pid == sample.status.pid && packets(last) <= packets(&sample)
        });
        if !continues {
            self.samples.clear();
        }
        if self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    fn nothing(&self) -> Sample {
        Sample {
            t: self.started.elapsed().as_secs_f64(),
            engine: "other",
            label: String::new(),
            state: State::Waiting,
            queues: None,
            points: Vec::new(),
            decisions_s: None,
            decision_us: None,
            switch: None,
            policy: self.policy.clone(),
            error: None,
        }
    }

    fn sample(&mut self, error: Option<String>) -> Sample {
        let (Some(before), Some(now)) = (self.samples.front(), self.samples.back()) else {
            return self.nothing();
        };
        let status = &now.status;
        if let EngineStatus::Policy { name, .. } = &status.engine {
            self.policy = Some(name.clone());
        }
        let seconds = now.time_s - before.time_s;
        let devices = before.device.as_ref().zip(now.device.as_ref());
        let queues = devices.filter(|_| seconds > 0.0);
        let decisions = status.counters.decisions - before.status.counters.decisions;
        let decision = &status.decision_minute_us;
        Sample {
            t: now.time_s,
            engine: engine(&status.engine),
            label: label(status),
            state: status.state,
            queues: queues.map(|(before, now)| queue_rates(before, now, seconds)),
            points: now.device.as_ref().map_or(Vec::new(), |device| {
                set_points(&device.params, status.in_force.as_ref())
            }),
            decisions_s: (seconds > 0.0).then(|| decisions as f64 / seconds),
            decision_us: (decision.count > 0).then_some(decision.p50),
            switch: status.control.as_ref().map(offered),
            policy: self.policy.clone(),
            error,
        }
    }
}

/// The engine's name on the switch.
fn engine(engine: &EngineStatus) -> &'static str {
    match engine {
        EngineStatus::Fixed { profile } if profile == "plain" => "plain",
        EngineStatus::Fixed { profile } if profile == "tuned" => "tuned",
        EngineStatus::Adaptive { .. } => "adaptive",
        EngineStatus::Policy { .. } | EngineStatus::Remote { .. } => "learned",
        EngineStatus::Fixed { .. } | EngineStatus::Script { .. } => "other",
    }
}

/// The engine and its pace, without paths.
fn label(status: &Status) -> String {
    let engine = match &status.engine {
        EngineStatus::Policy { name, .. } | EngineStatus::Remote { name, .. } => {
            format!("policy {name}")
        }
        other => other.to_string(),
    };
    match engine.as_str() {
        "plain DualPI2" => "plain DualPI2, no overrides".to_owned(),
        _ => format!("{engine}, {}", status.pace()),
    }
}

fn offered(control: &ControlStatus) -> Vec<Engine> {
    let is_available = |engine: &Engine| {
        let choice: Choice = engine.choice();
        control.available.contains(&choice)
    };
    Engine::ALL.into_iter().filter(is_available).collect()
}

fn set_points(params: &Params, in_force: Option<&InForce>) -> Vec<SetPoint> {
    let factor = |of: fn(&InForce) -> Option<f64>| in_force.and_then(of).unwrap_or(1.0);
    let ms = |ns: u64| ns as f64 / 1e6;
    let hz = |uhz: u32| f64::from(uhz) / 1e6;
    let point = |name, unit, configured, factor| SetPoint {
        name,
        unit,
        configured,
        factor,
    };
    vec![
        point("target", "ms", ms(params.target_ns), factor(|f| f.target)),
        point("α", "Hz", hz(params.alpha_uhz), factor(|f| f.alpha)),
        point("β", "Hz", hz(params.beta_uhz), factor(|f| f.beta)),
        point(
            "update period",
            "ms",
            ms(params.tupdate_ns),
            factor(|f| f.tupdate),
        ),
        point(
            "coupling k",
            "",
            f64::from(params.coupling_q8) / 256.0,
            factor(|f| f.coupling),
        ),
        point(
            "L4S threshold",
            "ms",
            ms(params.l4s_threshold_ns),
            factor(|f| f.threshold),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_points_without_an_override_have_factor_one() {
        let points = set_points(&Params::default(), None);
        assert!(points.iter().all(|point| point.factor == 1.0));
        let target = SetPoint {
            name: "target",
            unit: "ms",
            configured: 15.0,
            factor: 1.0,
        };
        assert_eq!(points[0], target);
    }

    #[test]
    fn later_pages_get_the_last_samples() {
        let feed = Feed::new("a queue".to_owned(), None);
        let window = Window::default();
        for _ in 0..KEPT + 3 {
            feed.add(&window.nothing(), None);
        }
        let (history, mut next) = feed.subscribe();
        let history: Vec<serde_json::Value> = serde_json::from_str(&history).unwrap();
        assert_eq!(history.len(), KEPT);
        assert_eq!(history[0]["engine"], "other");
        feed.add(&window.nothing(), None);
        assert!(next.try_recv().is_ok_and(|text| text.starts_with('{')));
    }
}
