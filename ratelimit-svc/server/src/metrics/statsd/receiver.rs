//! Who gets lines: a connection that is made, lost and made again. What cannot be sent stays in the
//! counters, so that nothing waits here.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio::time::timeout;

/// Deadline of a connection, and of the sending of a chunk.
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Wait after the first failure; doubled by each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Tcp(String, u16),
    Udp(String, u16),
    /// Datagrams to a socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "tcp {host}:{port}"),
            Self::Udp(host, port) => write!(f, "udp {host}:{port}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

impl Target {
    /// Most bytes in one go; datagrams must fit a usual network's packet.
    pub(crate) fn most(&self) -> usize {
        match self {
            Self::Tcp(..) => 1 << 16,
            Self::Udp(..) => 1_432,
            Self::Unix(_) => 8_192,
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(host, port) => {
                TcpStream::connect((host.as_str(), *port)).await.map(Connection::Tcp)
            }
            Self::Udp(host, port) => {
                let mut failed = io::Error::from(io::ErrorKind::NotFound);
                for addr in tokio::net::lookup_host((host.as_str(), *port)).await? {
                    let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any).await?;
                    match socket.connect(addr).await {
                        Ok(()) => return Ok(Connection::Udp(socket)),
                        Err(e) => failed = e,
                    }
                }
                Err(failed)
            }
            Self::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Connection::Unix(socket))
            }
        }
    }
}

#[derive(Debug)]
enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Connection {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Udp(socket) => socket.send(bytes).await.map(|_| ()),
            Self::Unix(socket) => socket.send(bytes).await.map(|_| ()),
        }
    }

    /// Ends when the other side does; what it says is not read.
    async fn closed(&self) {
        let Self::Tcp(stream) = self else { return std::future::pending().await };
        let mut unread = [0; 256];
        loop {
            let ready = stream.readable().await;
            match stream.try_read(&mut unread) {
                Ok(0) => return,
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return,
                _ if ready.is_err() => return,
                _ => {}
            }
        }
    }
}

/// A [`Target`] and the connection to it, if there is one.
#[derive(Debug)]
pub(crate) struct Receiver {
    target: Target,
    connection: Option<Connection>,
    /// Not before then, and how long to wait after the next failure.
    next: Option<Instant>,
    wait: Duration,
    /// Somebody wants it: then it is worth a warning when it cannot be reached.
    asked: bool,
    /// It was said that it cannot be reached.
    said: bool,
}

impl Receiver {
    pub(crate) fn new(target: Target, asked: bool) -> Self {
        let (connection, next) = (None, None);
        Self { target, connection, next, wait: FIRST_WAIT, asked, said: false }
    }

    pub(crate) fn most(&self) -> usize {
        self.target.most()
    }

    /// Whether there is a connection, made now if it may be tried.
    pub(crate) async fn connect(&mut self) -> bool {
        if self.connection.is_some() {
            return true;
        }
        if self.next.is_some_and(|next| Instant::now() < next) {
            return false;
        }
        match within(self.target.connect()).await {
            Ok(connection) => {
                self.connection = Some(connection);
                // Datagrams go anywhere; only a stream says that somebody is there.
                if self.said && matches!(self.target, Target::Tcp(..)) {
                    tracing::info!("statistics are sent to {}", self.target);
                    self.said = false;
                }
            }
            Err(e) => self.failed(&e),
        }
        self.connection.is_some()
    }

    /// Sends bytes; false when that failed, and the connection with it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        match within(connection.send(bytes)).await {
            Ok(()) => {
                self.wait = FIRST_WAIT;
                true
            }
            Err(e) => {
                self.failed(&e);
                false
            }
        }
    }

    /// Ends when the other side ended the connection, which is then known.
    pub(crate) async fn closed(&mut self) {
        match &self.connection {
            Some(connection) => connection.closed().await,
            None => std::future::pending().await,
        }
        self.connection = None;
    }

    fn failed(&mut self, e: &io::Error) {
        self.connection = None;
        self.next = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        if std::mem::replace(&mut self.said, true) {
            return;
        }
        let target = &self.target;
        if self.asked {
            tracing::warn!(
                "statistics cannot be sent to {target}: {e}; they are kept, and it is tried again (check STATSD_HOST, STATSD_PORT, STATSD_PROTOCOL)"
            );
        } else {
            tracing::info!(
                "no statsd at {target}; metrics are on the admin port at /metrics (USE_STATSD=false ends the search)"
            );
        }
    }
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIMEOUT, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
