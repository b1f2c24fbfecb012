//! What a port allows, and how long a connection lives.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::jitter::between;

/// Headers of one request, in bytes; what other gRPC servers allow.
const MAX_HEADERS: u32 = 16 << 10;
/// What a caller may send ahead on one stream, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// What a caller may send ahead on one connection, in bytes.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What a port allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; more are closed at once.
    pub connections: usize,
    /// Calls in flight of one connection.
    pub streams: u32,
    /// Length of a message to the hot method, in bytes; longer ones are answered
    /// RESOURCE_EXHAUSTED. Services have bounds of their own.
    pub message: usize,
    /// Of messages to the hot method that are not whole yet: bytes a connection.
    pub unfinished: usize,
    /// For TLS, and again for the first bytes of HTTP/2.
    pub handshake: Duration,
    /// Between one ping and the next.
    pub ping: Duration,
    /// For the answer to a ping; without one the connection is closed.
    pub pong: Duration,
    /// After this time, more or less a tenth, a connection is told to go (GOAWAY), so that callers
    /// spread over new replicas.
    pub age: Option<Duration>,
    /// From there to its end, at most: time for calls in flight.
    pub age_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 4096,
            message: 4 << 20,
            unfinished: 16 << 20,
            handshake: Duration::from_secs(5),
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            age: None,
            age_grace: Duration::from_secs(3600),
        }
    }
}

impl Limits {
    pub(super) fn http(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(self.streams)
            .max_header_list_size(MAX_HEADERS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // A caller whose deadlines are over while this process did not run resets all that it
            // sent before anybody looks at it; more than that is an attack.
            .max_pending_accept_reset_streams(usize::try_from(self.streams).unwrap_or(usize::MAX));
        builder
    }
}

/// What time does to a connection.
pub(super) struct Life {
    pings: Option<PingPong>,
    ping: Duration,
    pong: Duration,
    grace: Duration,
    /// Of the ping that waits for its pong, or of the next one.
    pulse: Instant,
    waits: bool,
    /// When it must leave; then, when it ends.
    age: Option<Instant>,
    leaves: bool,
    /// One timer for both: a connection that works looks at it all the time.
    sleep: Pin<Box<Sleep>>,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Tell it to go.
    Leave,
    /// End it.
    End(&'static str),
}

impl Life {
    pub(super) fn new(limits: &Limits, pings: Option<PingPong>) -> Self {
        let now = Instant::now();
        let age = limits.age.and_then(|age| now.checked_add(jittered(age)));
        let pulse = now + limits.ping;
        Self {
            pings,
            ping: limits.ping,
            pong: limits.pong,
            grace: limits.age_grace,
            pulse,
            waits: false,
            age,
            leaves: false,
            sleep: Box::pin(sleep_until(age.map_or(pulse, |age| age.min(pulse)))),
        }
    }

    /// What is due next. Asked again after each answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            if self.waits
                && let Some(pings) = &mut self.pings
                && let Poll::Ready(pong) = pings.poll_pong(cx)
            {
                if pong.is_err() {
                    return Poll::Ready(Due::End("broken"));
                }
                self.waits = false;
                self.pulse = Instant::now() + self.ping;
                self.set_timer();
            }
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if let Some(due) = self.due(now) {
                self.set_timer();
                return Poll::Ready(due);
            }
            self.set_timer();
        }
    }

    fn due(&mut self, now: Instant) -> Option<Due> {
        if self.age.is_some_and(|age| age <= now) {
            if self.leaves {
                return Some(Due::End("old, with calls in flight"));
            }
            self.leaves = true;
            self.age = now.checked_add(self.grace);
            return Some(Due::Leave);
        }
        if self.pulse <= now {
            if self.waits {
                return Some(Due::End("silent: it answers no ping"));
            }
            // A ping of ours that is on its way is the only reason to fail; then its pong counts.
            let _ = self.pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
            self.waits = true;
            self.pulse = now + self.pong;
        }
        None
    }

    fn set_timer(&mut self) {
        let next = self.age.map_or(self.pulse, |age| age.min(self.pulse));
        self.sleep.as_mut().reset(next);
    }
}

/// Give or take a tenth, so that connections of one moment do not end in one moment.
fn jittered(age: Duration) -> Duration {
    between(age, 0.9, 1.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth() {
        let age = Duration::from_secs(1000);
        let ages: Vec<_> = (0..200).map(|_| jittered(age)).collect();
        assert!(ages.iter().all(|a| (900..=1100).contains(&a.as_secs())), "{ages:?}");
        assert!(ages.iter().any(|a| a.as_secs() < 990) && ages.iter().any(|a| a.as_secs() > 1010));
    }

    fn life() -> Life {
        let limits = Limits { age: Some(Duration::from_secs(100)), ..Limits::default() };
        Life::new(&limits, None)
    }

    #[tokio::test]
    async fn who_answers_no_ping_is_ended() {
        let mut life = life();
        let sent = life.pulse;
        assert_eq!(life.due(sent), None);
        assert!(life.waits);
        let ended = life.pulse;
        assert_eq!(ended - sent, Duration::from_secs(10));
        assert!(matches!(life.due(ended), Some(Due::End(why)) if why.contains("ping")));
    }

    #[tokio::test]
    async fn who_is_old_leaves_and_ends_after_the_grace() {
        let mut life = life();
        let age = life.age.unwrap();
        assert_eq!(life.due(age), Some(Due::Leave));
        let ended = life.age.unwrap();
        assert_eq!(ended - age, Duration::from_secs(3600));
        life.pulse = ended + Duration::from_secs(1);
        assert_eq!(life.due(ended - Duration::from_secs(1)), None);
        assert!(matches!(life.due(ended), Some(Due::End(_))));
    }
}
