//! One server: a queue of what to count there, the connection it goes over, and whether the server
//! can be relied on. While it cannot, everything is refused at once, and only this file asks whether
//! it can again.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use service_kit::server::redis::{Dial, Node, State};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::batch::{After, Batch, Reply, Scripts, Task};
use super::seen::Seen;
use crate::metrics::PoolStats;
use crate::store::StoreError;

/// Most requests that wait for a server; more are refused.
const MAX_WAITING: usize = 16_384;
/// Most requests that are joined.
const MAX_JOINED: usize = 1_024;
/// Batches under way on a connection. More would be smaller ones; fewer would wait a round trip.
const MAX_FLUSHES: usize = 2;
/// So many late batches in a row, and the server counts as gone.
const LATE_IN_A_ROW: u32 = 2;
/// Waits between attempts to reach a server that is gone.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Longest attempt.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Replies to a job's tasks.
pub(super) type Replies = SmallVec<[Reply; 2]>;

/// What a request wants of a server.
struct Job {
    tasks: SmallVec<[Task; 2]>,
    since: Instant,
    reply: oneshot::Sender<Result<Replies, StoreError>>,
}

/// A server. Cheap to clone; when the last one is dropped, the connection ends.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    queue: mpsc::Sender<Job>,
    state: watch::Receiver<State>,
    shown: Arc<str>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Link").field(&self.0.shown).finish()
    }
}

/// How a link behaves.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// Deadline of a job, from its first moment on.
    pub timeout: Duration,
    /// How often an idle server is asked whether it lives.
    pub ping: Duration,
    /// Up to this many seconds are added to the life of a key.
    pub jitter_seconds: u64,
    /// Told of connections.
    pub stats: PoolStats,
}

impl Node for Link {
    type Habits = Habits;

    fn open(dial: Dial, habits: Habits) -> Self {
        let (queue, jobs) = mpsc::channel(MAX_WAITING);
        let (tell, state) = watch::channel(Err("not connected yet".into()));
        let shown: Arc<str> = dial.shown().into();
        let driver = Driver {
            dial,
            habits,
            jobs,
            tell,
            shown: shown.clone(),
            scripts: Scripts::default(),
            seen: Seen::default(),
            random: RandomState::default(),
            turn: 0,
        };
        tokio::spawn(driver.run());
        Self(Arc::new(Shared { queue, state, shown }))
    }

    fn state(&self) -> watch::Receiver<State> {
        self.0.state.clone()
    }

    fn shown(&self) -> &str {
        &self.0.shown
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Link {
    /// The replies to `tasks`, in their order.
    ///
    /// # Errors
    /// When the server cannot be relied on, or does not answer in time.
    pub(super) async fn ask(&self, tasks: SmallVec<[Task; 2]>) -> Result<Replies, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { tasks, since: Instant::now(), reply };
        let shown = &self.0.shown;
        self.0.queue.try_send(job).map_err(|_| StoreError::Busy { url: shown.clone() })?;
        answer.await.unwrap_or_else(|_| Err(gone(shown, "the connection ended")))
    }
}

struct Driver {
    dial: Dial,
    habits: Habits,
    jobs: mpsc::Receiver<Job>,
    tell: watch::Sender<State>,
    shown: Arc<str>,
    scripts: Scripts,
    seen: Seen,
    random: RandomState,
    turn: u64,
}

/// Why a connection is given up; none when there is nobody left to serve.
type Broken = Option<String>;

/// A batch that came back.
struct Flushed {
    batch: Batch,
    jobs: Vec<Job>,
    values: Result<RedisResult<Vec<RedisResult<Value>>>, tokio::time::error::Elapsed>,
}

impl Driver {
    async fn run(mut self) {
        while let Some((connection, held)) = self.connect().await {
            self.seen.clear();
            self.habits.stats.opened();
            let why = self.serve(connection, held.into()).await;
            self.habits.stats.closed();
            let Some(why) = why else { return };
            tracing::warn!("Redis {}: {why}; connecting anew", self.shown);
        }
    }

    /// The next connection, and jobs that waited for it; none when there is nobody left to serve.
    /// Jobs wait for the first attempt; when that fails they are refused until one succeeds.
    async fn connect(&mut self) -> Option<(MultiplexedConnection, VecDeque<Job>)> {
        let mut held = VecDeque::new();
        let mut waits = 0_u32;
        loop {
            let (dial, limit, timeout_of_ping) =
                (self.dial.clone(), ATTEMPT.max(self.habits.timeout), self.habits.timeout);
            let load = self.scripts.load();
            let attempt = async move {
                timeout(limit, dial.connect(timeout_of_ping, &load))
                    .await
                    .unwrap_or_else(|_| Err(format!("no connection within {limit:?}")))
            };
            match self.meanwhile(attempt, &mut held, waits == 0).await? {
                Ok(connection) => {
                    self.set(Ok(()));
                    return Some((connection, held));
                }
                Err(why) => {
                    self.set(Err(why.into()));
                    for job in held.drain(..) {
                        self.refuse(job);
                    }
                    let wait = FIRST_WAIT.saturating_mul(1 << waits.min(4)).min(LONGEST_WAIT);
                    waits += 1;
                    self.meanwhile(tokio::time::sleep(wait), &mut held, false).await?;
                }
            }
        }
    }

    /// Waits for `work`, and answers jobs that come: holds them until their deadline, or refuses
    /// them. None when there is nobody left to serve.
    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        held: &mut VecDeque<Job>,
        hold: bool,
    ) -> Option<T> {
        tokio::pin!(work);
        loop {
            let first = held.front().map(|job| job.since + self.habits.timeout);
            tokio::select! {
                done = &mut work => return Some(done),
                job = self.jobs.recv() => match job {
                    Some(job) if hold && held.len() < MAX_JOINED => held.push_back(job),
                    Some(job) => self.refuse(job),
                    None => return None,
                },
                () = sleep_until(first.unwrap_or_else(Instant::now)), if first.is_some() => {
                    if let Some(job) = held.pop_front() {
                        self.late(job);
                    }
                }
            }
        }
    }

    /// Serves until the connection breaks; gives why, or none when there is nobody left to serve.
    async fn serve(&mut self, connection: MultiplexedConnection, first: Vec<Job>) -> Broken {
        let mut flushes = FuturesUnordered::new();
        let (mut late, mut jobs) = (0, Vec::new());
        let mut idle = Instant::now() + self.habits.ping;
        if !first.is_empty() {
            flushes.push(self.flush(connection.clone(), first));
        }
        loop {
            tokio::select! {
                biased;
                Some(flushed) = flushes.next() => {
                    idle = Instant::now() + self.habits.ping;
                    match self.finish(flushed, &connection).await {
                        Ok(true) => late = 0,
                        Ok(false) => late += 1,
                        // What is under way is refused: nobody knows whether it was counted.
                        Err(why) => return Some(why),
                    }
                    if late >= LATE_IN_A_ROW {
                        return Some(format!("no answer within {:?}", self.habits.timeout));
                    }
                }
                count = self.jobs.recv_many(&mut jobs, MAX_JOINED), if flushes.len() < MAX_FLUSHES => {
                    if count == 0 {
                        return None;
                    }
                    // Whoever is about to ask, too, may join.
                    tokio::task::yield_now().await;
                    while jobs.len() < MAX_JOINED && let Ok(job) = self.jobs.try_recv() {
                        jobs.push(job);
                    }
                    flushes.push(self.flush(connection.clone(), std::mem::take(&mut jobs)));
                }
                () = sleep_until(idle), if flushes.is_empty() => {
                    flushes.push(self.flush(connection.clone(), Vec::new()));
                }
            }
        }
    }

    /// Sends what `jobs` want, joined; without any, asks whether the server lives.
    fn flush(
        &mut self,
        mut connection: MultiplexedConnection,
        jobs: Vec<Job>,
    ) -> impl Future<Output = Flushed> + use<> {
        let timeout = self.habits.timeout;
        let now = Instant::now();
        let (jobs, past): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| job.since + timeout > now && !job.reply.is_closed());
        for job in past {
            self.late(job);
        }
        let mut batch = Batch::default();
        for job in &jobs {
            for task in &job.tasks {
                batch.push(task.clone(), &self.random);
            }
        }
        let mut pipe = redis::pipe();
        let (random, turn) = (&self.random, &mut self.turn);
        let most = self.habits.jitter_seconds;
        batch.write(&mut pipe, &self.scripts, &mut self.seen, || {
            *turn += 1;
            if most == 0 { 0 } else { random.hash_one(*turn) % most }
        });
        if batch.is_empty() {
            pipe.cmd("PING").ignore();
        }
        // That of the oldest; the others had their wait in the queue.
        let deadline = jobs.iter().map(|job| job.since).min().unwrap_or(now) + timeout;
        pipe.ignore_errors();
        async move {
            let values = timeout_at(deadline, pipe.query_async(&mut connection)).await;
            Flushed { batch, jobs, values }
        }
    }

    /// Answers the jobs of a batch. Gives whether it came in time.
    ///
    /// # Errors
    /// When the connection is of no more use.
    async fn finish(
        &mut self,
        flushed: Flushed,
        connection: &MultiplexedConnection,
    ) -> Result<bool, String> {
        let Flushed { batch, jobs, values } = flushed;
        let values = match values {
            Ok(Ok(values)) => values,
            Ok(Err(e)) => {
                for job in jobs {
                    let _ = job.reply.send(Err(gone(&self.shown, &e.to_string())));
                }
                return Err(e.to_string());
            }
            Err(_) => {
                for job in jobs {
                    self.late(job);
                }
                return Ok(false);
            }
        };
        let (replies, after) = batch.read(values);
        if let Some(why) = &after.unfit {
            for job in jobs {
                let _ = job.reply.send(Err(gone(&self.shown, why)));
            }
            return Err(why.clone());
        }
        if replies.contains(&Reply::Forgotten) {
            return self.again(jobs, replies, connection).await;
        }
        answer(jobs, replies);
        self.mend(after, connection);
        Ok(true)
    }

    /// Makes the server know the scripts, and does only what it could not do without them.
    async fn again(
        &mut self,
        jobs: Vec<Job>,
        replies: Vec<Reply>,
        connection: &MultiplexedConnection,
    ) -> Result<bool, String> {
        let mut batch = Batch::default();
        let tasks = jobs.iter().flat_map(|job| &job.tasks);
        for (task, _) in tasks.zip(&replies).filter(|(_, reply)| **reply == Reply::Forgotten) {
            batch.push(task.clone(), &self.random);
        }
        let mut pipe = self.scripts.load();
        batch.write(&mut pipe, &self.scripts, &mut self.seen, || 0);
        pipe.ignore_errors();
        let mut connection = connection.clone();
        let work = pipe.query_async(&mut connection);
        let values: RedisResult<Vec<RedisResult<Value>>> =
            match timeout(self.habits.timeout, work).await {
                Ok(values) => values,
                Err(_) => {
                    for job in jobs {
                        self.late(job);
                    }
                    return Ok(false);
                }
            };
        let (second, _) = batch.read(values.map_err(|e| e.to_string())?);
        let mut second = second.into_iter();
        let replies = replies
            .into_iter()
            .map(|reply| match reply {
                Reply::Forgotten => second.next().unwrap_or(reply),
                known => known,
            })
            .collect();
        answer(jobs, replies);
        Ok(true)
    }

    /// Gives keys a time to live that came to be without one.
    fn mend(&self, after: After, connection: &MultiplexedConnection) {
        if after.endless.is_empty() {
            return;
        }
        let mut pipe = redis::pipe();
        for (key, seconds) in &after.endless {
            let life = seconds.saturating_add(self.habits.jitter_seconds);
            pipe.cmd("EXPIRE").arg(key.as_slice()).arg(life).ignore();
        }
        let (mut connection, limit) = (connection.clone(), ATTEMPT);
        tokio::spawn(async move {
            let _ = timeout(limit, pipe.query_async::<()>(&mut connection)).await;
        });
    }

    fn refuse(&self, job: Job) {
        let why = self.tell.borrow().clone().err().unwrap_or_else(|| "not connected".into());
        let _ = job.reply.send(Err(gone(&self.shown, &why)));
    }

    fn late(&self, job: Job) {
        let (url, after) = (self.shown.clone(), self.habits.timeout);
        let _ = job.reply.send(Err(StoreError::Timeout { url, after }));
    }

    fn set(&self, state: State) {
        let changed = self.tell.borrow().is_ok() != state.is_ok();
        match &state {
            Ok(()) => tracing::info!("Redis {} answers", self.shown),
            Err(why) if changed || !matches!(&*self.tell.borrow(), Err(old) if old == why) => {
                tracing::error!("Redis {}: {why}", self.shown);
            }
            Err(_) => {}
        }
        let _ = self.tell.send_replace(state);
    }
}

fn answer(jobs: Vec<Job>, replies: Vec<Reply>) {
    let mut replies = replies.into_iter();
    for job in jobs {
        let own = replies.by_ref().take(job.tasks.len()).collect();
        let _ = job.reply.send(Ok(own));
    }
}

fn gone(shown: &Arc<str>, why: &str) -> StoreError {
    StoreError::Redis { url: shown.clone(), reason: why.into() }
}
