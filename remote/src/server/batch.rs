//! The thread that computes: it takes what waits, up to a batch, and answers.
//!
//! A batch begins with the oldest waiting window and takes those behind it, at most
//! `max_batch`. It waits for more only for `max_wait` after its first window arrived.
//! While it is computed, the next windows gather, so batches grow with the load even
//! without waiting.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use l4sllm_model::{Outputs, Policy, PolicyError, Step};
use tokio::sync::oneshot;

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

/// The queue in front of the thread. The thread ends when the last sender is dropped.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: SyncSender<Job>,
    counters: SharedCounters,
}

/// The queue is full, or the thread has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn start(
        policy: Arc<Policy>,
        options: ServerOptions,
        counters: SharedCounters,
    ) -> std::io::Result<Queue> {
        let outputs = move |windows: &[Vec<Step>]| policy.outputs_all(windows);
        Queue::start_with(outputs, options, counters)
    }

    fn start_with(
        outputs: impl Fn(&[Vec<Step>]) -> Result<Vec<Outputs>, PolicyError> + Send + 'static,
        options: ServerOptions,
        counters: SharedCounters,
    ) -> std::io::Result<Queue> {
        let (jobs, queue) = sync_channel(options.max_queue);
        let counts = counters.clone();
        let thread = std::thread::Builder::new().name("batch".into());
        thread.spawn(move || {
            while let Some(batch) = next(&queue, options) {
                compute(batch, &outputs, &counts);
            }
        })?;
        Ok(Queue { jobs, counters })
    }

    /// Adds the windows of a request.
    pub(super) fn add(
        &self,
        windows: Vec<Vec<Step>>,
    ) -> Result<Vec<oneshot::Receiver<Answer>>, Full> {
        let mut answers = Vec::with_capacity(windows.len());
        for steps in windows {
            let (answer, receiver) = oneshot::channel();
            let job = Job {
                steps,
                arrived: Instant::now(),
                answer,
            };
            {
                let mut counters = self.counters.lock();
                counters.windows += 1;
                counters.waiting += 1;
            }
            match self.jobs.try_send(job) {
                Ok(()) => answers.push(receiver),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    let mut counters = self.counters.lock();
                    counters.windows -= 1;
                    counters.waiting -= 1;
                    return Err(Full);
                }
            }
        }
        Ok(answers)
    }
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
    let result = outputs(&windows);
    let took: Duration = start.elapsed();
    {
        let mut counters = counters.lock();
        counters.batch(windows.len(), took);
        counters.waiting -= windows.len() as u64;
        match &result {
            Ok(_) => counters.decided += windows.len() as u64,
            Err(_) => counters.failed += windows.len() as u64,
        }
    }
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
            max_queue: 2,
            ..ServerOptions::default()
        };
        let (queue, release, computed, counters) = held(options);
        let first = queue.add(vec![vec![step(0.0)]]).unwrap();
        computed.recv().unwrap();
        let kept = queue.add(vec![vec![step(1.0)], vec![step(2.0)]]).unwrap();
        assert_eq!(queue.add(vec![vec![step(3.0)]]).unwrap_err(), Full);
        for _ in 0..2 {
            release.send(()).unwrap();
        }
        for answer in first.into_iter().chain(kept) {
            assert!(answer.blocking_recv().unwrap().is_some());
        }
        assert_eq!(counters.read().imbalance(), None);
        assert_eq!(counters.read().windows, 3);
    }
}
