//! How a server is reached: its address, or Sentinels that know it; TLS; credentials.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisConnectionInfo, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::Tls;
use crate::Secret;

/// Longest wait for one Sentinel.
const SENTINEL: Duration = Duration::from_millis(300);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and its port.
    Tcp(String, u16),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl Address {
    /// Reads `HOST:PORT`, where an IPv6 address may be in brackets; none when it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        Some(Self::Tcp(host.to_owned(), port.parse().ok()?))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A user, if there is one, and the password.
pub type Credentials = (Option<String>, Secret<String>);

/// Sentinels, of which each can say where the master is.
#[derive(Clone, Debug)]
pub struct Sentinels {
    /// The master's name.
    pub master: String,
    /// The Sentinels.
    pub addresses: Vec<Address>,
    /// For the Sentinels themselves.
    pub credentials: Option<Credentials>,
}

/// What finds a server.
#[derive(Clone, Debug)]
pub enum Target {
    /// The server itself.
    Address(Address),
    /// Sentinels that know it.
    Sentinels(Arc<Sentinels>),
}

/// Everything that is needed to connect. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dial {
    /// What finds it.
    pub target: Target,
    /// Of the server; Sentinels have their own.
    pub credentials: Option<Credentials>,
    /// Number of the database.
    pub database: i64,
    /// TLS; none for clear text.
    pub tls: Option<Tls>,
}

impl Dial {
    /// For people.
    pub fn shown(&self) -> String {
        match &self.target {
            Target::Address(address) => address.to_string(),
            Target::Sentinels(sentinels) => format!("master `{}` of Sentinel", sentinels.master),
        }
    }

    /// Connects to a server that takes writes, answers within `limit`, and runs `first`.
    ///
    /// # Errors
    /// In words, without secrets.
    pub async fn connect(
        &self,
        limit: Duration,
        first: &Pipeline,
    ) -> Result<MultiplexedConnection, String> {
        let address = match &self.target {
            Target::Address(address) => address.clone(),
            Target::Sentinels(sentinels) => self.ask_sentinels(sentinels).await?,
        };
        let of = |e: String| match &self.target {
            Target::Address(_) => e,
            Target::Sentinels(_) => format!("{address}: {e}"),
        };
        let mut connection = self.open(&address, self.credentials.as_ref()).await.map_err(of)?;
        is_writable(&mut connection).await.map_err(of)?;
        // The library would wait for the answer to nothing.
        if !first.is_empty() {
            first.query_async::<()>(&mut connection).await.map_err(|e| of(e.to_string()))?;
        }
        // Whether it is quick enough, too.
        let ping = timeout(limit, redis::cmd("PING").query_async::<()>(&mut connection)).await;
        match ping {
            Ok(pong) => pong.map_err(|e| of(e.to_string()))?,
            Err(_) => return Err(of(format!("no answer within {limit:?}"))),
        }
        Ok(connection)
    }

    async fn ask_sentinels(&self, sentinels: &Sentinels) -> Result<Address, String> {
        let mut why = "there are no Sentinels".to_owned();
        for sentinel in &sentinels.addresses {
            let asked = timeout(SENTINEL, self.ask_sentinel(sentinel, sentinels)).await;
            match asked.unwrap_or_else(|_| Err(format!("no answer within {SENTINEL:?}"))) {
                Ok(address) => return Ok(address),
                Err(e) => why = format!("Sentinel {sentinel}: {e}"),
            }
        }
        Err(why)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &Address,
        sentinels: &Sentinels,
    ) -> Result<Address, String> {
        let mut connection = self.open(sentinel, sentinels.credentials.as_ref()).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(&sentinels.master);
        let found: RedisResult<Option<(String, u16)>> = ask.query_async(&mut connection).await;
        match found.map_err(|e| e.to_string())? {
            Some((host, port)) => Ok(Address::Tcp(host, port)),
            None => Err(format!("it knows no master `{}`", sentinels.master)),
        }
    }

    /// A connection that is logged in.
    ///
    /// # Errors
    /// In words, without secrets.
    pub async fn open(
        &self,
        address: &Address,
        credentials: Option<&Credentials>,
    ) -> Result<MultiplexedConnection, String> {
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|e| e.to_string())?;
                self.log_in(stream, credentials).await
            }
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port));
                let stream = stream.await.map_err(|e| e.to_string())?;
                stream.set_nodelay(true).map_err(|e| e.to_string())?;
                match &self.tls {
                    None => self.log_in(stream, credentials).await,
                    Some(tls) => {
                        let (config, name) = tls.client(host)?;
                        let stream = TlsConnector::from(config).connect(name, stream);
                        let stream = stream.await.map_err(|e| format!("TLS: {e}"))?;
                        self.log_in(stream, credentials).await
                    }
                }
            }
        }
    }

    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        credentials: Option<&Credentials>,
    ) -> Result<MultiplexedConnection, String> {
        let mut info = RedisConnectionInfo::default().set_db(self.database).set_skip_set_lib_name();
        if let Some((user, password)) = credentials {
            info = info.set_password(password.expose());
            if let Some(user) = user {
                info = info.set_username(user);
            }
        }
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(driver);
        Ok(connection)
    }
}

/// A replica takes no writes; who may not ask for the role will see at the first write.
async fn is_writable(connection: &mut MultiplexedConnection) -> Result<(), String> {
    let role: RedisResult<Value> = redis::cmd("ROLE").query_async(connection).await;
    let Ok(Value::Array(role)) = role else { return Ok(()) };
    let name: Option<String> = role.first().and_then(|v| redis::from_redis_value_ref(v).ok());
    match name.as_deref() {
        Some("slave") => Err("it is a replica, which takes no writes; name the master".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["host:6379", "[::1]:6379", "10.0.0.1:1"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["host", ":1", "host:70000", ""] {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }
}
