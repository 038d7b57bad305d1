//! Threads that share a list of jobs.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `work` for each job, in order, on `threads` threads (0: one per core).
///
/// After an error, running jobs finish and no others start; the first error is
/// returned. `work` returns false to stop early.
pub(crate) fn run<J: Sync, E: Send>(
    threads: usize,
    jobs: &[J],
    work: impl Fn(&J) -> Result<bool, E> + Sync,
) -> Result<(), E> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        threads => threads,
    };
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), E> {
        // Taken one at a time by any free thread.
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let more = work(job).inspect_err(|_| next.store(jobs.len(), Ordering::Relaxed))?;
            if !more {
                next.store(jobs.len(), Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(jobs.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        // All have ended before the first error is returned.
        let ends: Vec<_> = workers
            .into_iter()
            .map(|worker| match worker.join() {
                Ok(end) => end,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect();
        ends.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_job_runs_once() {
        let jobs: Vec<u32> = (0..100).collect();
        for threads in [0, 1, 3, 200] {
            let done = Mutex::new(Vec::new());
            let end = run(threads, &jobs, |job| {
                done.lock().unwrap().push(*job);
                Ok::<_, ()>(true)
            });
            assert_eq!(end, Ok(()));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, jobs, "{threads} threads");
        }
    }

    #[test]
    fn jobs_do_not_start_after_an_error_or_a_stop() {
        let jobs = [0, 1, 2, 3, 4];
        for stop in [Err("third"), Ok(false)] {
            let done = Mutex::new(Vec::new());
            let end = run(1, &jobs, |job| {
                done.lock().unwrap().push(*job);
                if *job == 2 { stop } else { Ok(true) }
            });
            assert_eq!(end, stop.map(|_| ()));
            assert_eq!(done.into_inner().unwrap(), [0, 1, 2]);
        }
    }
}
