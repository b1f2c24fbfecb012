//! One server of Redis: the connection to it, and whether it can be relied on. While it cannot,
//! commands fail at once, and only this file asks whether it can again.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use arc_swap::ArcSwapOption;
use service_kit::server::redis::{Dial, Node, State};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Most commands under way to a server; more fail at once.
const MAX_UNDER_WAY: usize = 1_024;
/// So many late answers in a row, and the server counts as gone.
const LATE_IN_A_ROW: u32 = 2;
/// Waits between attempts to reach a server that is gone.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Longest attempt.
const ATTEMPT: Duration = Duration::from_secs(1);

/// How a link behaves.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// How late an answer may be.
    pub timeout: Duration,
    /// How often an idle server is asked whether it lives.
    pub ping: Duration,
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another server has the key; `ask` when only for now.
    Moved { to: String, ask: bool },
    /// In words, without secrets.
    Failed(String),
}

/// A server. Cheap to clone; when the last one is dropped, the connection ends.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    current: Arc<Current>,
    /// To the driver: the connection of this number is broken, and why.
    broken: mpsc::Sender<(u64, String)>,
    under_way: Semaphore,
    late: AtomicU32,
}

/// What the driver tells.
struct Current {
    shown: String,
    connection: ArcSwapOption<(u64, MultiplexedConnection)>,
    state: watch::Sender<State>,
    /// Whether the first attempt to connect is over; commands wait for it.
    tried: watch::Sender<bool>,
    /// What the server refused last, so that it is told once.
    refused: Mutex<String>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.0.current.shown).finish()
    }
}

impl Node for Link {
    type Habits = Habits;

    fn open(dial: Dial, habits: Habits) -> Self {
        let (broken, reports) = mpsc::channel(16);
        let current = Arc::new(Current {
            shown: dial.shown(),
            connection: ArcSwapOption::empty(),
            state: watch::Sender::new(Err("not connected yet".into())),
            tried: watch::Sender::new(false),
            refused: Mutex::default(),
        });
        let driver = Driver { current: current.clone(), dial, habits, reports, number: 0 };
        tokio::spawn(driver.run());
        let under_way = Semaphore::new(MAX_UNDER_WAY);
        Self(Arc::new(Shared { current, broken, under_way, late: AtomicU32::new(0) }))
    }

    fn state(&self) -> watch::Receiver<State> {
        self.0.current.state.subscribe()
    }

    fn shown(&self) -> &str {
        &self.0.current.shown
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Link {
    /// The answer to the one command of `pipe` whose answer is not ignored.
    ///
    /// # Errors
    /// When the server cannot be relied on, refuses, or does not answer until `deadline`.
    pub(super) async fn ask(&self, pipe: &Pipeline, deadline: Instant) -> Result<Value, Refusal> {
        let failed = |why: &str| Refusal::Failed(why.to_owned());
        let Ok(_permit) = self.0.under_way.try_acquire() else {
            return Err(failed("too many commands are under way to it"));
        };
        let connected = self.connected(deadline).await.map_err(Refusal::Failed)?;
        let (number, mut connection) = (connected.0, connected.1.clone());
        let work = pipe.query_async::<Vec<RedisResult<Value>>>(&mut connection);
        let values = match timeout_at(deadline, work).await {
            Ok(Ok(values)) => values,
            Ok(Err(e)) => {
                self.give_up(number, e.to_string());
                return Err(Refusal::Failed(e.to_string()));
            }
            Err(_) => {
                if self.0.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE_IN_A_ROW {
                    self.give_up(number, "no answer in time".to_owned());
                }
                return Err(failed("no answer in time"));
            }
        };
        self.0.late.store(0, Ordering::Relaxed);
        match values.into_iter().next() {
            Some(Ok(value)) => Ok(value),
            Some(Err(e)) => Err(self.refusal(&e, number)),
            None => Err(failed("it answers with something else than was asked")),
        }
    }

    /// The connection, if there is one; waits for the first attempt.
    async fn connected(
        &self,
        deadline: Instant,
    ) -> Result<Arc<(u64, MultiplexedConnection)>, String> {
        let current = &self.0.current;
        if let Some(connection) = current.connection.load_full() {
            return Ok(connection);
        }
        let mut tried = current.tried.subscribe();
        let _ = timeout_at(deadline, tried.wait_for(|tried| *tried)).await;
        current.connection.load_full().ok_or_else(|| {
            let why = current.state.borrow().clone().err();
            why.map_or_else(|| "not connected".to_owned(), |why| why.to_string())
        })
    }

    fn refusal(&self, error: &RedisError, number: u64) -> Refusal {
        if let Some((to, _)) = error.redirect_node() {
            let ask = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            return Refusal::Moved { to: to.to_owned(), ask };
        }
        let words = error.to_string();
        if let ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown,
        ) = error.kind()
        {
            self.give_up(number, words.clone());
        } else {
            self.0.current.note_refusal(&words);
        }
        Refusal::Failed(words)
    }

    /// The connection of this number is of no more use.
    fn give_up(&self, number: u64, why: String) {
        // When the queue is full, the driver knows already.
        let _ = self.0.broken.try_send((number, why));
    }
}

impl Current {
    fn note_refusal(&self, words: &str) {
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != words {
            tracing::warn!("Redis {} refuses: {words}", self.shown);
            words.clone_into(&mut last);
        }
    }

    fn set(&self, state: State) {
        match (&*self.state.borrow(), &state) {
            (Err(_), Ok(())) => tracing::info!("Redis {} answers", self.shown),
            (old, Err(why)) if old.as_ref().err() != Some(why) => {
                tracing::error!("Redis {}: {why}", self.shown);
            }
            _ => {}
        }
        let _ = self.state.send_replace(state);
    }
}

struct Driver {
    current: Arc<Current>,
    dial: Dial,
    habits: Habits,
    reports: mpsc::Receiver<(u64, String)>,
    /// Of the connection.
    number: u64,
}

impl Driver {
    async fn run(mut self) {
        while let Some(connection) = self.connect().await {
            self.number += 1;
            self.current.set(Ok(()));
            self.current.connection.store(Some(Arc::new((self.number, connection.clone()))));
            self.current.tried.send_replace(true);
            let why = self.watch(connection).await;
            self.current.connection.store(None);
            let Some(why) = why else { return };
            self.current.set(Err(why.into()));
        }
    }

    /// The next connection; none when there is nobody left to serve.
    async fn connect(&mut self) -> Option<MultiplexedConnection> {
        let mut waits = 0_u32;
        loop {
            let (dial, limit) = (self.dial.clone(), ATTEMPT.max(self.habits.timeout));
            let ping = self.habits.timeout;
            let attempt = async move {
                timeout(limit, dial.connect(ping, &::redis::pipe()))
                    .await
                    .unwrap_or_else(|_| Err(format!("no connection within {limit:?}")))
            };
            match self.meanwhile(attempt).await? {
                Ok(connection) => return Some(connection),
                Err(why) => {
                    self.current.set(Err(why.into()));
                    self.current.tried.send_replace(true);
                    let wait = FIRST_WAIT.saturating_mul(1 << waits.min(4)).min(LONGEST_WAIT);
                    waits += 1;
                    self.meanwhile(sleep(wait)).await?;
                }
            }
        }
    }

    /// Waits for `work`; none when there is nobody left to serve.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                // Of a connection that is given up already.
                report = self.reports.recv() => {
                    report?;
                }
            }
        }
    }

    /// Watches over a connection until it breaks; gives why, or none when there is nobody left to
    /// serve.
    async fn watch(&mut self, mut connection: MultiplexedConnection) -> Option<String> {
        let limit = self.habits.timeout;
        loop {
            tokio::select! {
                report = self.reports.recv() => {
                    let (number, why) = report?;
                    if number == self.number {
                        return Some(why);
                    }
                }
                () = sleep(self.habits.ping) => {
                    let ping = ::redis::cmd("PING");
                    match timeout(limit, ping.query_async::<()>(&mut connection)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => return Some(e.to_string()),
                        Err(_) => return Some(format!("no answer within {limit:?}")),
                    }
                }
            }
        }
    }
}
