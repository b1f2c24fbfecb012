//! Counters as people ask for them: over a connection of its own, for a walk through a server's keys
//! would hold up requests.

use std::time::Duration;

use futures::future::try_join_all;
use ratelimit_core::algorithm::sliding_window::Hits;
use ratelimit_core::algorithm::token_bucket::Level;
use ratelimit_core::{Kept, Plan};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use service_kit::server::redis::Dial;
use tokio::time::timeout;

use super::{Redis, Servers, refused};
use crate::store::{Found, StoreError};

/// Longest walk through a server's keys.
const WALK: Duration = Duration::from_secs(5);
/// Keys that a server looks at in one step.
const STEP: usize = 1_000;

impl Redis {
    /// Counters whose keys begin with `prefix`, at most `most` of each server.
    pub(in crate::store) async fn list(
        &self,
        prefix: &[u8],
        most: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = self.main.list(prefix, most).await?;
        if let Some(servers) = &self.per_second {
            found.extend(servers.list(prefix, most).await?);
        }
        Ok(found)
    }

    /// What is kept of each counter of `plan`, in its order.
    pub(in crate::store) async fn read(
        &self,
        plan: &Plan<'_>,
    ) -> Result<Vec<Option<Kept>>, StoreError> {
        let mut servers: Vec<(Dial, Vec<usize>)> = Vec::new();
        for (index, counter) in plan.counters.iter().enumerate() {
            let dial = self.servers(counter).dial(plan.key(counter))?;
            match servers.iter_mut().find(|(known, _)| known.shown() == dial.shown()) {
                Some((_, indices)) => indices.push(index),
                None => servers.push((dial, vec![index])),
            }
        }
        let each = servers.iter().map(|(dial, indices)| async move {
            let counters = indices.iter().filter_map(|i| plan.counters.get(*i));
            let keys: Vec<Vec<u8>> = counters.map(|c| plan.key(c).to_owned()).collect();
            let work = async {
                let mut connection = open(dial).await?;
                read(&mut connection, &keys).await.map_err(|e| e.to_string())
            };
            let done = timeout(WALK, work).await;
            let done = done.unwrap_or_else(|_| Err(format!("not done within {WALK:?}")));
            done.map_err(|why| refused(&dial.shown(), &why))
        });
        let mut all = vec![None; plan.counters.len()];
        for ((_, indices), found) in servers.iter().zip(try_join_all(each).await?) {
            for (index, (kept, _)) in indices.iter().zip(found) {
                if let Some(place) = all.get_mut(*index) {
                    *place = kept;
                }
            }
        }
        Ok(all)
    }

    /// Forgets a counter, wherever it is; gives whether there was one.
    pub(in crate::store) async fn forget(&self, key: &[u8]) -> Result<bool, StoreError> {
        if let Some(cache) = &self.cache {
            cache.remove(key);
        }
        self.leases.forget(key);
        let mut known = self.main.forget(key).await?;
        if let Some(servers) = &self.per_second {
            known |= servers.forget(key).await?;
        }
        Ok(known)
    }
}

impl Servers {
    async fn list(&self, prefix: &[u8], most: usize) -> Result<Vec<Found>, StoreError> {
        let each = self.dials().into_iter().map(|dial| async move {
            let work = timeout(WALK, walk(&dial, prefix, most));
            let found = work.await.unwrap_or_else(|_| Err(format!("not done within {WALK:?}")));
            found.map_err(|why| refused(&dial.shown(), &why))
        });
        Ok(try_join_all(each).await?.concat())
    }

    async fn forget(&self, key: &[u8]) -> Result<bool, StoreError> {
        let dial = self.dial(key)?;
        let work = async {
            let mut connection = open(&dial).await?;
            let deleted: RedisResult<u64> =
                redis::cmd("DEL").arg(key).query_async(&mut connection).await;
            deleted.map(|n| n > 0).map_err(|e| e.to_string())
        };
        let done = timeout(WALK, work).await;
        let done = done.unwrap_or_else(|_| Err(format!("not done within {WALK:?}")));
        done.map_err(|why| refused(&dial.shown(), &why))
    }

    /// A way to the server that has `key`.
    fn dial(&self, key: &[u8]) -> Result<Dial, StoreError> {
        match self {
            Self::One { dial, .. } => Ok(dial.clone()),
            Self::Cluster(cluster) => match cluster.address(key) {
                Some(address) => Ok(cluster.dial(address)),
                None => Err(refused("Cluster", "no server has the slot")),
            },
        }
    }

    /// A way to each server that has keys.
    fn dials(&self) -> Vec<Dial> {
        match self {
            Self::One { dial, .. } => vec![dial.clone()],
            Self::Cluster(cluster) => {
                cluster.addresses().into_iter().map(|a| cluster.dial(a)).collect()
            }
        }
    }
}

async fn open(dial: &Dial) -> Result<MultiplexedConnection, String> {
    dial.connect(Duration::from_secs(1), redis::pipe().cmd("PING").ignore()).await
}

async fn walk(dial: &Dial, prefix: &[u8], most: usize) -> Result<Vec<Found>, String> {
    let mut connection = open(dial).await?;
    let (mut keys, mut cursor): (Vec<Vec<u8>>, u64) = (Vec::new(), 0);
    loop {
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(glob(prefix)).arg("COUNT").arg(STEP);
        let (next, some): (u64, Vec<Vec<u8>>) =
            step.query_async(&mut connection).await.map_err(|e| e.to_string())?;
        keys.extend(some);
        cursor = next;
        if cursor == 0 || keys.len() >= most {
            break;
        }
    }
    // A walk may come by a key twice.
    keys.sort();
    keys.dedup();
    keys.truncate(most);
    let kept = read(&mut connection, &keys).await.map_err(|e| e.to_string())?;
    let found = keys.into_iter().zip(kept).filter_map(|(key, (kept, seconds))| {
        Some(Found { key: String::from_utf8_lossy(&key).into_owned(), stored: kept?, seconds })
    });
    Ok(found.collect())
}

/// What is kept of each key, and for how many seconds more.
async fn read(
    connection: &mut MultiplexedConnection,
    keys: &[Vec<u8>],
) -> RedisResult<Vec<(Option<Kept>, Option<u64>)>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipe = redis::pipe();
    for key in keys {
        // Of a key that is no text the first is an error, of one that is no hash the second.
        pipe.cmd("GET").arg(key).cmd("HGETALL").arg(key).cmd("TTL").arg(key);
    }
    let values: Vec<RedisResult<Value>> = pipe.ignore_errors().query_async(connection).await?;
    let read = |values: &[RedisResult<Value>]| {
        let number = |at: usize| -> Option<i64> {
            redis::from_redis_value_ref(values.get(at)?.as_ref().ok()?).ok()
        };
        let seconds = number(2).and_then(|s| u64::try_from(s).ok());
        let kept = match number(0) {
            Some(hits) => Some(Kept::Hits(u64::try_from(hits).unwrap_or(0))),
            None => hash(values.get(1)),
        };
        (kept, seconds)
    };
    Ok(values.chunks(3).map(read).collect())
}

/// A bucket or a sliding window, as the scripts write them.
fn hash(value: Option<&RedisResult<Value>>) -> Option<Kept> {
    let hash: Vec<(String, String)> =
        redis::from_redis_value_ref(value?.as_ref().ok()?).unwrap_or_default();
    let field = |name: &str| hash.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    if let Some(tokens) = field("t") {
        let level = Level { tokens: tokens.parse().ok()?, at: field("a")?.parse().ok()? };
        return Some(Kept::Bucket(level));
    }
    let number = |name| field(name)?.parse().ok();
    Some(Kept::Sliding(Hits {
        window: number("w")?,
        current: number("c")?,
        previous: number("p")?,
    }))
}

/// A pattern for keys that begin with `prefix`, whatever is in it.
fn glob(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if b"*?[]\\^-".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}
