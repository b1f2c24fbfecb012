//! Work that takes the processor for long, such as hashes of passwords and slow policies: on threads of its own, few
//! enough that a processor is left for all other requests.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

use authz_core::need::{Computed, Job};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

/// Most jobs that wait; more are refused at once.
const QUEUE: usize = 64;

/// The threads.
#[derive(Debug)]
pub(crate) struct Work {
    at_a_time: Arc<Semaphore>,
    queued: AtomicUsize,
    waiting: Gauge<i64, AtomicI64>,
    refused: Counter,
}

impl Work {
    /// As many at a time as there are processors, less one.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let (waiting, refused) = (Gauge::default(), Counter::default());
        registry.register(
            "authz_work_waiting",
            "Long work that waits: hashes of passwords, policies",
            waiting.clone(),
        );
        registry.register(
            "authz_work_refused",
            "Long work that was not done because too much waited",
            refused.clone(),
        );
        let at_a_time = Arc::new(Semaphore::new(processors.saturating_sub(1).max(1)));
        Self { at_a_time, queued: AtomicUsize::new(0), waiting, refused }
    }

    /// Does a job; none when too many wait, or it failed.
    pub(crate) async fn run(&self, job: Job) -> Option<Computed> {
        let Some(_place) = Place::take(self) else {
            self.refused.inc();
            return None;
        };
        let permit = self.at_a_time.clone().acquire_owned().await.ok()?;
        // The permit stays with the work: a caller that gives up does not make room for more.
        let work = move || {
            let result = job.run();
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// A place in the queue.
struct Place<'a>(&'a Work);

impl<'a> Place<'a> {
    fn take(work: &'a Work) -> Option<Self> {
        let before = work.queued.fetch_add(1, Ordering::Relaxed);
        work.waiting.inc();
        let place = Self(work);
        (before < QUEUE).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
        self.0.waiting.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    fn truth(result: Option<Computed>) -> bool {
        *result.unwrap().downcast::<bool>().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn beyond_the_queue_jobs_are_refused_and_the_others_done() {
        let work = Arc::new(Work::register(&mut Registry::default()));
        let (go, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let jobs: Vec<_> = (0..QUEUE)
            .map(|_| {
                let (work, wait) = (work.clone(), wait.clone());
                let job = Job::new(move || wait.lock().unwrap().recv().is_ok());
                tokio::spawn(async move { work.run(job).await })
            })
            .collect();
        while work.queued.load(Ordering::Relaxed) < QUEUE {
            tokio::task::yield_now().await;
        }
        assert!(work.run(Job::new(|| true)).await.is_none());
        for _ in 0..QUEUE {
            go.send(()).unwrap();
        }
        for job in jobs {
            assert!(truth(job.await.unwrap()));
        }
        assert!(!truth(work.run(Job::new(|| false)).await));
        assert_eq!(work.refused.get(), 1);
    }
}
