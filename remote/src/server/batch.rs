//! The thread that computes: it takes what waits, up to a batch, and answers.
//!
//! A batch begins with the oldest waiting window and takes those behind it, at most
//! `max_batch`. It waits for more only for `max_wait` after its first window arrived.
//! While it is computed, the next windows gather, so batches grow with the load even
//! without waiting.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use l4sllm_model::{Outputs, Policy, PolicyError, Step};
use tokio::sync::{oneshot, watch};

use super::ServerOptions;
use super::counters::SharedCounters;

/// The outputs of a window; `None` if the engine failed.
type Answer = Option<Outputs>;

/// A window that waits.
struct Job {
    steps: Vec<Step>,
    arrived: Instant,
    answer: oneshot::Sender<Answer>,
}

/// Message of the panic that ended the thread; `None` while it runs.
type End = Option<String>;

/// The queue in front of the thread. The thread ends when the last sender is dropped.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: Sender<Job>,
    /// Windows in the queue, without those of the batch that is computed.
    queued: Arc<AtomicUsize>,
    most: usize,
    ended: watch::Receiver<End>,
    counters: SharedCounters,
}

/// A request that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The queue has no place for all of its windows.
    Full,
    /// The thread has ended.
    Ended,
}

impl Queue {
    pub(super) fn start(
        policy: Arc<Policy>,
        options: ServerOptions,
        counters: SharedCounters,
    ) -> std::io::Result<Queue> {
        let outputs = move |windows: &[Vec<Step>]| policy.outputs_all(windows);
        Queue::start_with(outputs, options, counters)
    }

    /// Starts the thread with other outputs than a policy's.
    pub(super) fn start_with(
        outputs: impl Fn(&[Vec<Step>]) -> Result<Vec<Outputs>, PolicyError> + Send + 'static,
        options: ServerOptions,
        counters: SharedCounters,
    ) -> std::io::Result<Queue> {
        let (jobs, waiting) = channel();
        let (end, ended) = watch::channel(None);
        let queued = Arc::new(AtomicUsize::new(0));
        let (counts, places) = (counters.clone(), Arc::clone(&queued));
        let thread = std::thread::Builder::new().name("batch".into());
        thread.spawn(move || {
            while let Some(batch) = next(&waiting, options) {
                places.fetch_sub(batch.len(), Ordering::Relaxed);
                compute(batch, &outputs, &counts, &end);
                if end.borrow().is_some() {
                    break;
                }
            }
        })?;
        Ok(Queue {
            jobs,
            queued,
            // Else the largest request would never fit.
            most: options.max_queue.max(options.max_batch),
            ended,
            counters,
        })
    }

    /// Adds all windows of a request, or none.
    pub(super) fn add(
        &self,
        windows: Vec<Vec<Step>>,
    ) -> Result<Vec<oneshot::Receiver<Answer>>, Refused> {
        let count = windows.len();
        let fits = |queued: usize| Some(queued + count).filter(|sum| *sum <= self.most);
        let order = Ordering::Relaxed;
        if self.queued.fetch_update(order, order, fits).is_err() {
            return Err(Refused::Full);
        }
        if !self.is_running() {
            return Err(Refused::Ended);
        }
        {
            let mut counters = self.counters.lock();
            counters.windows += count as u64;
            counters.waiting += count as u64;
        }
        let arrived = Instant::now();
        let add = |steps| {
            let (answer, receiver) = oneshot::channel();
            // If the thread has just ended, the receiver fails.
            let _ = self.jobs.send(Job {
                steps,
                arrived,
                answer,
            });
            receiver
        };
        Ok(windows.into_iter().map(add).collect())
    }

    pub(super) fn counters(&self) -> SharedCounters {
        self.counters.clone()
    }

    /// Whether the thread runs.
    pub(super) fn is_running(&self) -> bool {
        // The sender is dropped when the thread ends in another way.
        self.ended.borrow().is_none() && self.ended.has_changed().is_ok()
    }

    /// Waits until the thread has ended. Returns the message of its panic.
    pub(super) fn ended(&self) -> impl Future<Output = String> + use<> {
        let mut ended = self.ended.clone();
        async move {
            let reason = ended.wait_for(Option::is_some).await;
            let reason = reason.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "no message".to_owned())
        }
    }
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let fixed = panic.downcast_ref::<&str>().copied();
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    fixed.or_else(owned).unwrap_or("no message").to_owned()
}

/// The next batch; `None` once the queue is closed and empty.
fn next(queue: &Receiver<Job>, options: ServerOptions) -> Option<Vec<Job>> {
    let first = queue.recv().ok()?;
    let until = first.arrived + options.max_wait;
    let mut batch = vec![first];
    while batch.len() < options.max_batch {
        let left = until.saturating_duration_since(Instant::now());
        match queue.recv_timeout(left) {
            Ok(job) => batch.push(job),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Some(batch)
}

fn compute(
    batch: Vec<Job>,
    outputs: &impl Fn(&[Vec<Step>]) -> Result<Vec<Outputs>, PolicyError>,
    counters: &SharedCounters,
    end: &watch::Sender<End>,
) {
    let (alive, gone): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|job| !job.answer.is_closed());
    {
        let mut counters = counters.lock();
        counters.cancelled += gone.len() as u64;
        counters.waiting -= gone.len() as u64;
    }
    if alive.is_empty() {
        return;
    }
    let (windows, answers): (Vec<_>, Vec<_>) =
        alive.into_iter().map(|job| (job.steps, job.answer)).unzip();
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| outputs(&windows)));
    let took: Duration = start.elapsed();
    {
        let mut counters = counters.lock();
        counters.batch(windows.len(), took);
        counters.waiting -= windows.len() as u64;
        match &result {
            Ok(Ok(_)) => counters.decided += windows.len() as u64,
            Ok(Err(_)) | Err(_) => counters.failed += windows.len() as u64,
        }
    }
    let result = match result {
        Ok(result) => result,
        Err(panic) => {
            // A policy cannot be trusted after a panic. The end is visible before its
            // requests fail.
            end.send_replace(Some(text(&*panic)));
            return;
        }
    };
    if let Err(error) = &result {
        tracing::error!(%error, windows = windows.len(), "no decisions");
    }
    let mut outputs = result.unwrap_or_default().into_iter();
    for answer in answers {
        // The request may have ended in the meantime.
        let _ = answer.send(outputs.next());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc::channel;

    use l4sllm_model::OUTPUTS_MAX;

    use super::*;

    fn step(value: f32) -> Step {
        Step {
            return_to_go: value,
            inputs: Vec::new(),
            action: 0.into(),
        }
    }

    /// A queue whose thread waits for each batch to be released and reports its size.
    fn held(
        options: ServerOptions,
    ) -> (
        Queue,
        std::sync::mpsc::Sender<()>,
        Receiver<usize>,
        SharedCounters,
    ) {
        let (release, released) = channel::<()>();
        let (sizes, computed) = channel();
        let counters = SharedCounters::default();
        let outputs = move |windows: &[Vec<Step>]| {
            sizes.send(windows.len()).unwrap();
            released.recv().unwrap();
            let output = |steps: &Vec<Step>| [steps[0].return_to_go; OUTPUTS_MAX];
            Ok(windows.iter().map(output).collect())
        };
        let queue = Queue::start_with(outputs, options, counters.clone()).unwrap();
        (queue, release, computed, counters)
    }

    #[test]
    fn waiting_windows_form_batches_and_get_their_own_outputs() {
        let options = ServerOptions {
            max_batch: 4,
            ..ServerOptions::default()
        };
        let (queue, release, computed, counters) = held(options);
        let mut answers = queue.add(vec![vec![step(0.0)]]).unwrap();
        assert_eq!(computed.recv().unwrap(), 1);
        // Six more gather while the first is computed; one is given up.
        for value in 1..=6 {
            answers.extend(queue.add(vec![vec![step(value as f32)]]).unwrap());
        }
        drop(answers.remove(2));
        for _ in 0..3 {
            release.send(()).unwrap();
        }
        let outputs: Vec<f32> = answers
            .into_iter()
            .map(|answer| answer.blocking_recv().unwrap().unwrap()[0])
            .collect();
        assert_eq!(outputs, [0.0, 1.0, 3.0, 4.0, 5.0, 6.0]);
        // One of the four is gone.
        assert_eq!([computed.recv().unwrap(), computed.recv().unwrap()], [3, 2]);
        let counters = counters.read();
        assert_eq!((counters.decided, counters.cancelled), (6, 1));
        assert_eq!((counters.batches, counters.imbalance()), (3, None));
        assert_eq!(counters.sizes[..3], [1, 1, 1]);
    }

    #[test]
    fn windows_beyond_the_queue_are_refused() {
        let options = ServerOptions {
            max_batch: 2,
            max_queue: 2,
            ..ServerOptions::default()
        };
        let (queue, release, computed, counters) = held(options);
        let first = queue.add(vec![vec![step(0.0)]]).unwrap();
        computed.recv().unwrap();
        let kept = queue.add(vec![vec![step(1.0)], vec![step(2.0)]]).unwrap();
        assert_eq!(queue.add(vec![vec![step(3.0)]]).unwrap_err(), Refused::Full);
        for _ in 0..2 {
            release.send(()).unwrap();
        }
        for answer in first.into_iter().chain(kept) {
            assert!(answer.blocking_recv().unwrap().is_some());
        }
        assert_eq!(counters.read().imbalance(), None);
        assert_eq!(counters.read().windows, 3);
    }

    #[test]
    fn requests_are_accepted_as_a_whole() {
        let options = ServerOptions {
            max_batch: 3,
            max_queue: 3,
            ..ServerOptions::default()
        };
        let (queue, release, computed, counters) = held(options);
        let first = queue.add(vec![vec![step(0.0)]]).unwrap();
        computed.recv().unwrap();
        let second = queue.add(vec![vec![step(1.0)]]).unwrap();
        // Two of its three windows would fit.
        let rows = |values: [f32; 3]| values.map(|value| vec![step(value)]).to_vec();
        assert_eq!(queue.add(rows([2.0, 3.0, 4.0])).unwrap_err(), Refused::Full);
        assert_eq!((counters.read().windows, counters.read().waiting), (2, 2));
        // Its place is free for a smaller one.
        let third = queue.add(vec![vec![step(5.0)], vec![step(6.0)]]).unwrap();
        release.send(()).unwrap();
        release.send(()).unwrap();
        let answers = first.into_iter().chain(second).chain(third);
        let outputs: Vec<f32> = answers
            .map(|answer| answer.blocking_recv().unwrap().unwrap()[0])
            .collect();
        assert_eq!(outputs, [0.0, 1.0, 5.0, 6.0]);
        assert_eq!(computed.recv().unwrap(), 3);
        assert_eq!((counters.read().windows, counters.read().decided), (4, 4));
        // The largest request fits into an empty queue.
        let all = queue.add(rows([7.0, 8.0, 9.0])).unwrap();
        release.send(()).unwrap();
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_panic_ends_the_queue() {
        let counters = SharedCounters::default();
        let outputs = |_: &[Vec<Step>]| panic!("no such kernel");
        let options = ServerOptions::default();
        let queue = Queue::start_with(outputs, options, counters.clone()).unwrap();
        assert!(queue.is_running());
        let answers = queue.add(vec![vec![step(0.0)]]).unwrap();
        for answer in answers {
            assert!(answer.blocking_recv().is_err());
        }
        assert!(!queue.is_running());
        assert_eq!(
            queue.add(vec![vec![step(0.0)]]).unwrap_err(),
            Refused::Ended
        );
        let counters = counters.read();
        assert_eq!((counters.failed, counters.imbalance()), (1, None));
    }
}
