//! What many requests want of one server, joined: hits on one key become one command, and each
//! request still gets the number it would have got alone. Knows commands and replies, no connection.

use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use ratelimit_core::algorithm::sliding_window::Hits;
use ratelimit_core::{Count, Counter, CounterKind};
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value};
use smallvec::SmallVec;

use super::script::{REFUND, SLIDE, TAKE};
use super::seen::Seen;

/// What one request wants of one key.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub key: SmallVec<[u8; 64]>,
    pub operation: Operation,
    /// Ask a server that is only taking the key over (`ASKING`).
    pub asking: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operation {
    /// Hits in a window of the clock of so many seconds.
    Add { hits: u64, seconds: u64 },
    /// The same, given back.
    Refund { hits: u64 },
    /// Hits in the window, without counting.
    Peek,
    /// Of a sliding window or a bucket; below 0 they are given back.
    Script { kind: CounterKind, hits: i64, now: Duration },
}

impl Operation {
    /// `hits` for `counter`, or, with `refund`, off it.
    pub(super) fn of(counter: &Counter, hits: u64, refund: bool, now: Duration) -> Self {
        match counter.kind {
            CounterKind::Window { .. } if refund => Self::Refund { hits },
            CounterKind::Window { seconds, .. } => Self::Add { hits, seconds },
            kind => {
                let hits = i64::try_from(hits).unwrap_or(i64::MAX);
                Self::Script { kind, hits: if refund { -hits } else { hits }, now }
            }
        }
    }

    /// Whether a task of this sort can be done by the command of that one.
    fn joins(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Add { seconds: a, .. }, Self::Add { seconds: b, .. }) => a == b,
            (Self::Refund { .. }, Self::Refund { .. }) | (Self::Peek, Self::Peek) => true,
            (Self::Script { kind: a, .. }, Self::Script { kind: b, .. }) => a == b,
            _ => false,
        }
    }
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Count(Count),
    /// Another server has the key; `ask` when only for now.
    Moved {
        to: String,
        ask: bool,
    },
    /// The server does not know the script; nothing was counted.
    Forgotten,
    /// The server refused, in its words.
    Refused(String),
}

/// The scripts and their hashes.
pub(super) struct Scripts {
    take: Script,
    slide: Script,
    refund: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { take: Script::new(TAKE), slide: Script::new(SLIDE), refund: Script::new(REFUND) }
    }
}

impl Scripts {
    /// Makes a server know all of them.
    pub(super) fn load(&self) -> Pipeline {
        let mut pipe = redis::pipe();
        for text in [TAKE, SLIDE, REFUND] {
            pipe.cmd("SCRIPT").arg("LOAD").arg(text).ignore();
        }
        pipe
    }
}

/// One command, for all tasks that join in it.
#[derive(Debug)]
struct Command {
    task: Task,
    hash: u64,
    /// Of all its tasks, in their order.
    hits: SmallVec<[i64; 1]>,
    /// Of all of them together, given back or not.
    total: u64,
    /// Whether it sends an EXPIRE along.
    expires: bool,
}

/// Where a task's answer is.
#[derive(Clone, Copy, Debug)]
struct Part {
    command: usize,
    nth: usize,
    /// Hits of the tasks before it in the command.
    before: u64,
}

/// Joined tasks, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    commands: Vec<Command>,
    parts: Vec<Part>,
    index: HashTable<usize>,
}

/// What a batch found out beside its replies.
#[derive(Debug, Default)]
pub(super) struct After {
    /// Keys that came to be without a time to live: the server had forgotten them.
    pub endless: Vec<(SmallVec<[u8; 64]>, u64)>,
    /// The server does not take writes (any more): it is a replica now, or is loading.
    pub unfit: Option<String>,
}

impl Batch {
    /// Adds a task; answers are in the order of this.
    pub(super) fn push(&mut self, task: Task, random: &RandomState) {
        let hash = random.hash_one(task.key.as_slice());
        let own = match task.operation {
            Operation::Add { hits, .. } | Operation::Refund { hits } => {
                i64::try_from(hits).unwrap_or(i64::MAX)
            }
            Operation::Script { hits, .. } => hits,
            Operation::Peek => 0,
        };
        let commands = &mut self.commands;
        let joins = |i: &usize| {
            commands.get(*i).is_some_and(|c| {
                c.task.key == task.key
                    && c.task.asking == task.asking
                    && c.task.operation.joins(&task.operation)
            })
        };
        let known = self.index.find(hash, joins).copied();
        let Some(at) = known else {
            self.parts.push(Part { command: commands.len(), nth: 0, before: 0 });
            let at = commands.len();
            let (hits, total) = (SmallVec::from_buf([own]), own.unsigned_abs());
            commands.push(Command { task, hash, hits, total, expires: false });
            self.index.insert_unique(hash, at, |i| commands.get(*i).map_or(0, |c| c.hash));
            return;
        };
        if let Some(command) = commands.get_mut(at) {
            let before = command.total;
            self.parts.push(Part { command: at, nth: command.hits.len(), before });
            command.hits.push(own);
            command.total = before.saturating_add(own.unsigned_abs());
            if let (Operation::Script { now: mine, .. }, Operation::Script { now: other, .. }) =
                (&mut command.task.operation, task.operation)
            {
                *mine = (*mine).max(other);
            }
        }
    }

    /// The commands. Windows that `seen` knows to have a time to live get no other one; `jitter`
    /// gives the seconds that are added to a life.
    pub(super) fn write(
        &mut self,
        pipe: &mut Pipeline,
        scripts: &Scripts,
        seen: &mut Seen,
        mut jitter: impl FnMut() -> u64,
    ) {
        for command in &mut self.commands {
            let key = command.task.key.as_slice();
            if command.task.asking {
                pipe.cmd("ASKING").ignore();
            }
            match command.task.operation {
                Operation::Add { seconds, .. } => {
                    pipe.cmd("INCRBY").arg(key).arg(command.total);
                    if seen.add(command.hash ^ seconds) {
                        command.expires = true;
                        let life = seconds.saturating_add(jitter());
                        if command.task.asking {
                            pipe.cmd("ASKING").ignore();
                        }
                        pipe.cmd("EXPIRE").arg(key).arg(life).ignore();
                    }
                }
                Operation::Peek => {
                    pipe.cmd("GET").arg(key);
                }
                Operation::Refund { .. } => {
                    script(pipe, &scripts.refund, key).arg(command.hits.as_slice());
                }
                Operation::Script { kind: CounterKind::Sliding(sliding), now, .. } => {
                    let life = sliding.seconds.saturating_mul(2).saturating_add(jitter());
                    let length = sliding.seconds.saturating_mul(1_000_000);
                    script(pipe, &scripts.slide, key)
                        .arg(micros(now))
                        .arg(length)
                        .arg(sliding.limit)
                        .arg(life)
                        .arg(command.hits.as_slice());
                }
                Operation::Script { kind: CounterKind::Bucket { bucket, .. }, now, .. } => {
                    let life = bucket.seconds_to_full().saturating_add(jitter());
                    script(pipe, &scripts.take, key)
                        .arg(micros(now))
                        .arg(bucket.capacity)
                        .arg(bucket.per_second)
                        .arg(life)
                        .arg(command.hits.as_slice());
                }
                // A plain window is no script; see `Operation::of`.
                Operation::Script { kind: CounterKind::Window { .. }, .. } => {
                    pipe.cmd("PING");
                }
            }
        }
    }

    /// The answers of the tasks, in their order, of the commands' values.
    pub(super) fn read(&self, values: Vec<RedisResult<Value>>) -> (Vec<Reply>, After) {
        let mut after = After::default();
        let mut rows: Vec<RedisResult<Value>> = values;
        rows.resize_with(self.commands.len(), || Err(misfit()));
        for (command, value) in self.commands.iter().zip(&rows) {
            after.note(command, value);
        }
        let reply = |part: &Part| {
            let (command, value) = (self.commands.get(part.command), rows.get(part.command));
            match (command, value) {
                (Some(command), Some(Ok(value))) => {
                    count(command, *part, value).map_or_else(|e| refusal(&e), Reply::Count)
                }
                (_, Some(Err(e))) => refusal(e),
                _ => refusal(&misfit()),
            }
        };
        (self.parts.iter().map(reply).collect(), after)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
}

impl After {
    fn note(&mut self, command: &Command, value: &RedisResult<Value>) {
        match (command.task.operation, value) {
            (Operation::Add { seconds, .. }, Ok(Value::Int(sum)))
                if !command.expires && u64::try_from(*sum) == Ok(command.total) =>
            {
                self.endless.push((command.task.key.clone(), seconds));
            }
            (_, Err(e))
                if matches!(
                    e.kind(),
                    ErrorKind::Server(
                        ServerErrorKind::ReadOnly
                            | ServerErrorKind::BusyLoading
                            | ServerErrorKind::MasterDown
                    )
                ) =>
            {
                self.unfit = Some(e.to_string());
            }
            _ => {}
        }
    }
}

fn script<'p>(pipe: &'p mut Pipeline, script: &Script, key: &[u8]) -> &'p mut Pipeline {
    pipe.cmd("EVALSHA").arg(script.get_hash()).arg(1).arg(key)
}

fn micros(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

fn misfit() -> RedisError {
    (ErrorKind::Client, "the server answers with something else than was asked").into()
}

fn refusal(error: &RedisError) -> Reply {
    match (error.redirect_node(), error.kind()) {
        (Some((to, _)), kind) => {
            Reply::Moved { to: to.to_owned(), ask: kind == ErrorKind::Server(ServerErrorKind::Ask) }
        }
        (None, ErrorKind::Server(ServerErrorKind::NoScript)) => Reply::Forgotten,
        _ => Reply::Refused(error.to_string()),
    }
}

/// A task's part of a command's value.
fn count(command: &Command, part: Part, value: &Value) -> Result<Count, RedisError> {
    let hits = command.hits.get(part.nth).map_or(0, |h| h.unsigned_abs());
    let number = |value: &Value| match value {
        Value::Int(n) => Ok(u64::try_from(*n).unwrap_or(0)),
        _ => Err(misfit()),
    };
    let row = || match value {
        Value::Array(rows) => match rows.get(part.nth) {
            Some(Value::Array(row)) => Ok(row.as_slice()),
            _ => Err(misfit()),
        },
        _ => Err(misfit()),
    };
    match command.task.operation {
        Operation::Add { .. } => {
            // As if one request had come after the other.
            let before_all = number(value)?.saturating_sub(command.total);
            Ok(Count::Window { after: before_all + part.before + hits })
        }
        Operation::Peek => {
            let known: Option<u64> = redis::from_redis_value_ref(value)?;
            Ok(Count::Window { after: known.unwrap_or(0) })
        }
        Operation::Refund { .. } => {
            Ok(Count::Window { after: number(row()?.first().ok_or_else(misfit)?)? })
        }
        Operation::Script { kind, .. } => match (kind, row()?) {
            (CounterKind::Sliding(_), [allowed, window, current, previous]) => {
                let hits = Hits {
                    window: number(window)?,
                    current: number(current)?,
                    previous: number(previous)?,
                };
                Ok(Count::Sliding { allowed: number(allowed)? == 1, hits })
            }
            (CounterKind::Bucket { .. }, [allowed, tokens]) => {
                let tokens: String = redis::from_redis_value_ref(tokens)?;
                let tokens = tokens.parse().map_err(|_| misfit())?;
                Ok(Count::Bucket { allowed: number(allowed)? == 1, tokens })
            }
            _ => Err(misfit()),
        },
    }
}

#[cfg(test)]
#[path = "batch/tests.rs"]
mod tests;
