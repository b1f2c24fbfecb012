//! Where connections come from: TCP or a unix socket, in the clear or over TLS.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

/// Where a port is, as in `127.0.0.1:8081` or `unix:/run/name.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Address and port.
    Tcp(SocketAddr),
    /// A file.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("name a file, as in unix:/run/name.sock".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "write ADDRESS:PORT, or unix:/PATH".to_owned()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A port that is bound. The file of a unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

impl Listener {
    /// Binds `address` for this process alone. A socket file that no process listens on any more
    /// is replaced.
    ///
    /// # Errors
    /// The plain reason, as in "address in use"; callers add what the port is for.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        Ok(Self(match address {
            Address::Tcp(addr) => Kind::Tcp(TcpListener::bind(addr).await?),
            Address::Unix(path) => {
                remove_stale(path).await?;
                let listener = UnixListener::bind(path)?;
                Kind::Unix(listener, SocketFile::of(path)?)
            }
        }))
    }

    /// Where it is (the real port when 0 was asked for).
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match &self.0 {
            Kind::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Kind::Unix(_, file) => Address::Unix(file.path.clone()),
        })
    }

    pub(in crate::server) async fn accept(&self) -> io::Result<Socket> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Slower without, but it works.
                let _ = stream.set_nodelay(true);
                Ok(Socket::Tcp(stream))
            }
            Kind::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// The file of a socket; removed at the end unless another process has put its own there.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes the socket of a process that is gone, and nothing else.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let why = "there is a file that is no socket; remove it, or name another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // Somebody listens, or we cannot know.
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(e) => Err(e),
    }
}

/// A connection as it comes in.
#[derive(Debug)]
pub(in crate::server) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that a protocol can be spoken on.
#[derive(Debug)]
pub(in crate::server) enum Io {
    Clear(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// Both enums pass everything on; one connection type keeps the code of a port once in a program.
macro_rules! passes_on {
    ($name:ident: $($variant:ident),+) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(io) => Pin::new(io).poll_read(cx, buf)),+ }
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(io) => Pin::new(io).poll_write(cx, buf)),+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(io) => Pin::new(io).poll_write_vectored(cx, bufs)),+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$variant(io) => io.is_write_vectored()),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(io) => Pin::new(io).poll_flush(cx)),+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(io) => Pin::new(io).poll_shutdown(cx)),+ }
            }
        }
    };
}

passes_on!(Socket: Tcp, Unix);
passes_on!(Io: Clear, Tls);
