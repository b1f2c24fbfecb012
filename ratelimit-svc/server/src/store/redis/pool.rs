//! A few connections to one server. Requests in flight share each of them; the client library joins
//! their commands.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use ratelimit_core::{Count, Counter, CounterKind, Plan};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, RedisResult, Script, Value,
};
use service_kit::server::shutdown::Shutdown;

use super::Task;
use super::script::{REFUND, TAKE};
use crate::health::Health;
use crate::store::{RedisServer, StoreError};

/// The connections, and what the server runs.
pub(super) struct Pool {
    connections: Vec<ConnectionManager>,
    next: AtomicUsize,
    timeout: Duration,
    jitter_seconds: u64,
    random: RandomState,
    shown: String,
    take: Script,
    refund: Script,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("url", &self.shown).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn open(server: &RedisServer, jitter_seconds: u64) -> anyhow::Result<Self> {
        let shown = &server.shown;
        let wrong = || format!("Redis {shown}: not a URL; write it like redis://host:6379");
        let mut info = server.url.expose().as_str().into_connection_info().with_context(wrong)?;
        if let Some((user, password)) = &server.credentials {
            let mut own = info.redis_settings().clone().set_password(password.expose().as_str());
            if let Some(user) = user {
                own = own.set_username(user.as_str());
            }
            info = info.set_redis_settings(own);
        }
        let client = Client::open(info).with_context(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(server.timeout))
            .set_max_delay(Duration::from_secs(1))
            .set_min_delay(Duration::from_millis(50));
        let connections = (0..server.connections.max(1))
            .map(|_| ConnectionManager::new_lazy_with_config(client.clone(), config.clone()))
            .collect::<Result<_, _>>()
            .with_context(wrong)?;
        Ok(Self {
            connections,
            next: AtomicUsize::new(0),
            timeout: server.timeout,
            jitter_seconds,
            random: RandomState::new(),
            shown: shown.clone(),
            take: Script::new(TAKE),
            refund: Script::new(REFUND),
        })
    }

    /// Keeps `component` of health true: asks the server `every` so often.
    pub(super) fn watch(
        &self,
        component: &'static str,
        every: Duration,
        health: &Health,
        shutdown: &Shutdown,
    ) {
        let (mut connection, shown) = (self.connection(), self.shown.clone());
        // A server that is slow for once is not gone.
        let timeout = self.timeout.max(Duration::from_secs(1));
        let (health, shutdown) = (health.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            let mut was = None;
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = shutdown.wait() => return,
                }
                let command = redis::cmd("PING");
                let ping = command.query_async::<()>(&mut connection);
                let state = match tokio::time::timeout(timeout, ping).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(e)) => Err(format!("Redis {shown}: {e}")),
                    Err(_) => Err(format!("Redis {shown} does not answer")),
                };
                if was != Some(state.is_ok()) {
                    match &state {
                        Ok(()) => tracing::info!("Redis {shown} answers"),
                        Err(why) => tracing::error!(
                            "{why}; requests are answered with an error, so Envoy's failure_mode_deny decides"
                        ),
                    }
                    was = Some(state.is_ok());
                }
                health.set_store(component, state);
            }
        });
    }

    fn connection(&self) -> ConnectionManager {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[at].clone()
    }

    /// Counts, each with the index of its counter, in one round trip.
    pub(super) async fn count(
        &self,
        plan: &Plan<'_>,
        tasks: &[Task],
        now: Duration,
    ) -> Result<Vec<(usize, Count)>, StoreError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let work = async {
            let mut connection = self.connection();
            let mut counts = Vec::with_capacity(tasks.len());
            let forgotten = self.send(&mut connection, plan, tasks, now, &mut counts).await?;
            if !forgotten.is_empty() {
                // The server was restarted: give it the scripts again, and only what needs them.
                let mut load = redis::pipe();
                load.load_script(&self.take).ignore().load_script(&self.refund).ignore();
                load.query_async::<()>(&mut connection).await?;
                let still = self.send(&mut connection, plan, &forgotten, now, &mut counts).await?;
                if !still.is_empty() {
                    return Err((ErrorKind::Client, "the server keeps no scripts").into());
                }
            }
            Ok(counts)
        };
        self.within_deadline(work).await
    }

    /// Which of these windows would be over with their hits.
    pub(super) async fn would_be_over(
        &self,
        plan: &Plan<'_>,
        windows: &[usize],
    ) -> Result<Vec<usize>, StoreError> {
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let counters = || windows.iter().filter_map(|i| Some((*i, plan.counters.get(*i)?)));
        let work = async {
            let mut pipe = redis::pipe();
            for (_, counter) in counters() {
                pipe.get(plan.key(counter));
            }
            let known: Vec<Option<u64>> = pipe.query_async(&mut self.connection()).await?;
            let over = |(counter, known): (&Counter, Option<u64>)| match counter.kind {
                CounterKind::Window { limit, .. } => {
                    known.unwrap_or(0).saturating_add(counter.hits) > limit
                }
                CounterKind::Bucket { .. } => false,
            };
            let judged = counters().zip(known).filter(|((_, c), known)| over((c, *known)));
            Ok(judged.map(|((index, _), _)| index).collect())
        };
        self.within_deadline(work).await
    }

    async fn within_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        let late = || StoreError::Timeout { url: self.shown.clone(), after: self.timeout };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) if e.is_timeout() => Err(late()),
            Ok(Err(e)) => Err(StoreError::Redis { url: self.shown.clone(), reason: e.to_string() }),
            Err(_) => Err(late()),
        }
    }

    /// Adds to `counts`; gives the tasks whose script the server does not know. Those were not
    /// done, all others were.
    async fn send(
        &self,
        connection: &mut ConnectionManager,
        plan: &Plan<'_>,
        tasks: &[Task],
        now: Duration,
        counts: &mut Vec<(usize, Count)>,
    ) -> Result<Vec<Task>, RedisError> {
        let tasks: Vec<(Task, &Counter)> =
            tasks.iter().filter_map(|t| Some((*t, plan.counters.get(t.index)?))).collect();
        let mut pipe = redis::pipe();
        for (task, counter) in &tasks {
            self.push(&mut pipe, plan.key(counter), counter, task.hits, now);
        }
        let values: Vec<RedisResult<Value>> = pipe.ignore_errors().query_async(connection).await?;
        let mut forgotten = Vec::new();
        for ((task, counter), value) in tasks.into_iter().zip(values) {
            match value {
                Ok(value) => counts.push((task.index, read(counter, value)?)),
                Err(e) if e.kind() == ErrorKind::Server(redis::ServerErrorKind::NoScript) => {
                    forgotten.push(task);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(forgotten)
    }

    fn push(&self, pipe: &mut Pipeline, key: &str, counter: &Counter, hits: u64, now: Duration) {
        match counter.kind {
            CounterKind::Window { .. } if counter.refund => {
                pipe.add_command(script(&self.refund, key, &[hits.to_string()]));
            }
            CounterKind::Window { seconds, .. } => {
                let life = seconds.saturating_add(self.jitter(key, now));
                pipe.cmd("INCRBY").arg(key).arg(hits);
                pipe.cmd("EXPIRE").arg(key).arg(life).ignore();
            }
            CounterKind::Bucket { bucket, .. } => {
                let life = bucket.seconds_to_full().saturating_add(self.jitter(key, now));
                let sign = if counter.refund { "-" } else { "" };
                let arguments = [
                    now.as_micros().to_string(),
                    format!("{sign}{hits}"),
                    bucket.capacity.to_string(),
                    bucket.per_second.to_string(),
                    life.to_string(),
                ];
                pipe.add_command(script(&self.take, key, &arguments));
            }
        }
    }

    /// 0 up to the most that is set, different for each key and moment.
    fn jitter(&self, key: &str, now: Duration) -> u64 {
        if self.jitter_seconds == 0 {
            return 0;
        }
        self.random.hash_one((key, now.as_nanos())) % self.jitter_seconds
    }
}

fn script(script: &Script, key: &str, arguments: &[String]) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(1).arg(key).arg(arguments);
    command
}

fn read(counter: &Counter, value: Value) -> Result<Count, RedisError> {
    match counter.kind {
        CounterKind::Window { .. } => {
            let after: i64 = redis::from_redis_value(value)?;
            Ok(Count::Window { after: u64::try_from(after).unwrap_or(0) })
        }
        CounterKind::Bucket { .. } => {
            let (allowed, tokens): (i64, String) = redis::from_redis_value(value)?;
            Ok(Count::Bucket { allowed: allowed == 1, tokens: tokens.parse().unwrap_or(0.0) })
        }
    }
}
