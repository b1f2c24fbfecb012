//! Counters in one Redis (or Valkey) server, under envoyproxy/ratelimit's keys.
//!
//! Requests in flight share a few connections, on which the client library joins their commands.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use ratelimit_core::{Count, Counter, CounterKind, Plan};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, Script, Value};
use service_kit::server::admin::Readiness;
use service_kit::server::shutdown::Shutdown;

use super::{StoreError, StoreSettings};

/// A bucket is a hash of tokens and the moment (microseconds) they were counted. KEYS[1]; ARGV:
/// now, hits, capacity, tokens a second, seconds to live. Gives whether the hits were taken, and
/// the tokens left as text, for Redis would cut a number's fraction.
const TAKE: &str = r"
local now, hits, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 't', 'a')
local tokens, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
if now > at then
  tokens = math.min(capacity, tokens + (now - at) / 1000000 * rate)
  at = now
end
local allowed = 0
if tokens >= hits then
  tokens = tokens - hits
  allowed = 1
end
redis.call('HSET', KEYS[1], 't', string.format('%.17g', tokens), 'a', string.format('%.0f', at))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {allowed, string.format('%.17g', tokens)}
";

/// Takes hits off a count, down to 0; a count that does not exist stays so.
const REFUND: &str = r"
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count == 0 then return 0 end
local off = math.min(count, tonumber(ARGV[1]))
return redis.call('DECRBY', KEYS[1], off)
";

/// How often the server is asked whether it lives.
const PING: Duration = Duration::from_secs(1);

/// The store.
pub struct Redis {
    connections: Vec<ConnectionManager>,
    next: AtomicUsize,
    timeout: Duration,
    jitter_seconds: u64,
    random: RandomState,
    shown: String,
    take: Script,
    refund: Script,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("url", &self.shown).finish_non_exhaustive()
    }
}

impl Redis {
    /// Prepares connections; they are made at the first use. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(settings: &StoreSettings) -> anyhow::Result<Self> {
        let StoreSettings::Redis { url, shown, credentials, timeout, connections, jitter_seconds } =
            settings
        else {
            anyhow::bail!("not the settings of Redis");
        };
        let wrong = || format!("Redis {shown}: not a URL; write it like redis://host:6379");
        let mut info = url.expose().as_str().into_connection_info().with_context(wrong)?;
        if let Some((user, password)) = credentials {
            let mut own = info.redis_settings().clone().set_password(password.expose().as_str());
            if let Some(user) = user {
                own = own.set_username(user.as_str());
            }
            info = info.set_redis_settings(own);
        }
        let client = Client::open(info).with_context(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(*timeout))
            .set_max_delay(Duration::from_secs(1))
            .set_min_delay(Duration::from_millis(50));
        let connections = (0..*connections)
            .map(|_| ConnectionManager::new_lazy_with_config(client.clone(), config.clone()))
            .collect::<Result<_, _>>()
            .with_context(wrong)?;
        Ok(Self {
            connections,
            next: AtomicUsize::new(0),
            timeout: *timeout,
            jitter_seconds: *jitter_seconds,
            random: RandomState::new(),
            shown: shown.clone(),
            take: Script::new(TAKE),
            refund: Script::new(REFUND),
        })
    }

    /// Keeps readiness true: asks the server now and then.
    pub(super) fn watch(&self, ready: Readiness, _key: String, shutdown: Shutdown) {
        let (mut connection, shown, timeout) =
            (self.connection(), self.shown.clone(), self.timeout.max(Duration::from_secs(1)));
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(PING);
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
                    Ok(Err(e)) => Err(format!("Redis {shown}: {}", reason(&e))),
                    Err(_) => Err(format!("Redis {shown} does not answer")),
                };
                if was != Some(state.is_ok()) {
                    match &state {
                        Ok(()) => tracing::info!("counters are in Redis {shown}"),
                        Err(why) => tracing::error!(
                            "{why}; requests are answered with an error, so Envoy's failure_mode_deny decides"
                        ),
                    }
                    was = Some(state.is_ok());
                }
                ready.set("store", state);
            }
        });
    }

    fn connection(&self) -> ConnectionManager {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[at].clone()
    }

    /// See [`super::Store::run`].
    ///
    /// # Errors
    /// When the server does not answer in time or with what was asked.
    pub async fn run(&self, plan: &Plan<'_>, now: Duration) -> Result<Vec<Count>, StoreError> {
        let mut connection = self.connection();
        let work = async {
            let zeroed = if plan.stop_when_over {
                self.zeroed(&mut connection, plan).await?
            } else {
                Vec::new()
            };
            self.count(&mut connection, plan, now, &zeroed).await
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(counts)) => Ok(counts),
            Ok(Err(e)) if e.is_timeout() => Err(self.timed_out()),
            Ok(Err(e)) => Err(StoreError::Redis { url: self.shown.clone(), reason: reason(&e) }),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> StoreError {
        StoreError::Timeout { url: self.shown.clone(), after: self.timeout }
    }

    /// With `stop_when_over`: which counters get no hits, because another one would be over.
    async fn zeroed(
        &self,
        connection: &mut ConnectionManager,
        plan: &Plan<'_>,
    ) -> Result<Vec<bool>, RedisError> {
        let mut pipe = redis::pipe();
        for counter in &plan.counters {
            pipe.get(plan.key(counter));
        }
        let known: Vec<Option<u64>> = pipe.query_async(connection).await?;
        let over = |(counter, known): (&Counter, &Option<u64>)| match counter.kind {
            CounterKind::Window { limit, .. } => {
                known.unwrap_or(0).saturating_add(counter.hits) > limit
            }
            CounterKind::Bucket { .. } => false,
        };
        let over: Vec<bool> = plan.counters.iter().zip(&known).map(over).collect();
        let any = over.contains(&true);
        Ok(over.into_iter().map(|over| any && !over).collect())
    }

    /// All counters in one round trip. A server that forgot the scripts (it was restarted) gets
    /// them again, and then only what they were for: other counters have counted already.
    async fn count(
        &self,
        connection: &mut ConnectionManager,
        plan: &Plan<'_>,
        now: Duration,
        zeroed: &[bool],
    ) -> Result<Vec<Count>, RedisError> {
        let all: Vec<usize> = (0..plan.counters.len()).collect();
        let mut results = self.send(connection, plan, now, zeroed, &all).await?;
        let forgotten: Vec<usize> =
            all.into_iter().filter(|i| results.get(*i).is_some_and(is_forgotten)).collect();
        if !forgotten.is_empty() {
            let mut load = redis::pipe();
            load.load_script(&self.take).ignore().load_script(&self.refund).ignore();
            load.query_async::<()>(connection).await?;
            let again = self.send(connection, plan, now, zeroed, &forgotten).await?;
            for (i, result) in forgotten.into_iter().zip(again) {
                if let Some(place) = results.get_mut(i) {
                    *place = result;
                }
            }
        }
        plan.counters.iter().zip(results).map(|(counter, value)| read(counter, value?)).collect()
    }

    async fn send(
        &self,
        connection: &mut ConnectionManager,
        plan: &Plan<'_>,
        now: Duration,
        zeroed: &[bool],
        indexes: &[usize],
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let mut pipe = redis::pipe();
        for (i, counter) in indexes.iter().filter_map(|i| Some((*i, plan.counters.get(*i)?))) {
            let hits = if zeroed.get(i) == Some(&true) { 0 } else { counter.hits };
            self.push(&mut pipe, plan.key(counter), counter, hits, now);
        }
        pipe.ignore_errors().query_async(connection).await
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
                let hits = if counter.refund { 0 } else { hits };
                let arguments = [
                    now.as_micros().to_string(),
                    hits.to_string(),
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

fn is_forgotten(result: &Result<Value, RedisError>) -> bool {
    let no_script = ErrorKind::Server(redis::ServerErrorKind::NoScript);
    result.as_ref().is_err_and(|e| e.kind() == no_script)
}

/// The reason without anything that the user wrote.
fn reason(error: &RedisError) -> String {
    error.to_string()
}
