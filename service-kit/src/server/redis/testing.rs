//! For tests: real servers of a test's own, in every way that Redis is run. They want
//! `redis-server` and `redis-cli` on PATH.

#![allow(clippy::unwrap_used, missing_docs, clippy::new_without_default)]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Address, Credentials, RedisServer, Sentinels, Tls, Topology, Trust};
use crate::Secret;

/// A deadline that a busy machine does not miss.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `done`.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("stores-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One server; killed when dropped.
pub struct Server {
    pub port: u16,
    child: Child,
    arguments: Vec<String>,
    _folder: Folder,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let (port, folder) = (free_port(), Folder::new());
        let own = [
            ["--bind", "127.0.0.1"],
            ["--save", ""],
            ["--appendonly", "no"],
            ["--repl-diskless-sync-delay", "0"],
        ];
        let port_text = port.to_string();
        let has_port = arguments.contains(&"--port") || arguments.contains(&"--sentinel");
        let mut all: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        if !has_port {
            all.extend(["--port".to_owned(), port_text]);
        }
        if !arguments.contains(&"--sentinel") {
            all.extend(own.concat().into_iter().map(str::to_owned));
        }
        all.extend(["--dir".to_owned(), folder.0.display().to_string()]);
        let child = spawn(&all);
        let server = Self { port, child, arguments: all, _folder: folder };
        if !has_port {
            wait_port(port);
        }
        server
    }

    /// Ends it at once; its port stays its own.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty.
    pub fn restart(&mut self) {
        self.child = spawn(&self.arguments);
        wait_port(self.port);
    }

    /// A command of one line, as `GET k`; gives what the server says.
    pub fn ask(&self, command: &str) -> String {
        ask(self.port, command)
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub fn server(&self, timeout: Duration) -> RedisServer {
        server(Topology::Single(self.address()), timeout)
    }

    pub fn address(&self) -> Address {
        local(self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("there is no redis-server; run `make tools`, or install it")
}

fn wait_port(port: u16) {
    wait("redis-server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}

pub fn ask(port: u16, command: &str) -> String {
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return String::new();
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    let _ = stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer.strip_suffix("+OK\r\n").unwrap_or_default().to_owned()
}

pub fn local(port: u16) -> Address {
    Address::Tcp("127.0.0.1".to_owned(), port)
}

pub fn server(topology: Topology, timeout: Duration) -> RedisServer {
    RedisServer { topology, credentials: None, database: 0, tls: None, timeout, connections: 1 }
}

/// A user that must log in.
pub fn with_acl() -> (Server, RedisServer) {
    let redis = Server::with(&[
        "--user",
        "alice",
        "on",
        ">open-sesame",
        "~*",
        "&*",
        "+@all",
        "--user",
        "default",
        "off",
    ]);
    let mut server = redis.server(PATIENCE);
    let credentials: Credentials =
        (Some("alice".to_owned()), Secret::new("open-sesame".to_owned()));
    server.credentials = Some(credentials);
    (redis, server)
}

/// A socket instead of a port.
pub fn on_socket() -> (Server, Folder, RedisServer) {
    let folder = Folder::new();
    let path = folder.0.join("redis.sock");
    let redis = Server::with(&["--unixsocket", path.to_str().unwrap()]);
    wait("the socket", || path.exists());
    let server = server(Topology::Single(Address::Unix(path)), PATIENCE);
    (redis, folder, server)
}

/// TLS with certificates on both sides.
pub struct TlsRedis {
    pub redis: Server,
    pub folder: Folder,
    port: u16,
}

impl TlsRedis {
    pub fn start() -> Self {
        let folder = Folder::new();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        folder.file("ca.crt", &ca_certificate.pem());
        for name in ["localhost", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut own = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            // A name of its own: with its issuer's it would count as signed by itself.
            own.distinguished_name.push(rcgen::DnType::CommonName, name);
            folder.file(&format!("{name}.crt"), &own.signed_by(&key, &issuer).unwrap().pem());
            folder.file(&format!("{name}.key"), &key.serialize_pem());
        }
        let port = free_port();
        let path = |name: &str| folder.0.join(name).display().to_string();
        let redis = Server::with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &path("localhost.crt"),
            "--tls-key-file",
            &path("localhost.key"),
            "--tls-ca-cert-file",
            &path("ca.crt"),
        ]);
        wait_port(port);
        Self { redis, folder, port }
    }

    pub fn server(&self, host: &str, trust: Trust, shown: bool) -> RedisServer {
        let address = Address::Tcp(host.to_owned(), self.port);
        let path = |name: &str| self.folder.0.join(name);
        let mut own = server(Topology::Single(address), PATIENCE);
        own.tls = Some(Tls {
            ca: Some(path("ca.crt")),
            client: shown.then(|| (path("client.crt"), path("client.key"))),
            trust,
        });
        own
    }
}

/// A master, a replica, and three Sentinels.
pub struct SentinelRedis {
    pub nodes: [Server; 2],
    sentinels: Vec<(Server, u16)>,
    _folder: Folder,
}

impl SentinelRedis {
    pub fn start() -> Self {
        let master = Server::start();
        let replica = Server::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let folder = Folder::new();
        let sentinels: Vec<(Server, u16)> = (0..3)
            .map(|i| {
                let port = free_port();
                let text = format!(
                    "port {port}\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 {} 2\nsentinel down-after-milliseconds m 500\nsentinel failover-timeout m 3000\n",
                    master.port
                );
                let file = folder.file(&format!("s{i}.conf"), &text);
                let sentinel = Server::with(&[file.to_str().unwrap(), "--sentinel"]);
                wait_port(port);
                (sentinel, port)
            })
            .collect();
        let last = sentinels.last().unwrap().1;
        wait("the Sentinels", || {
            let known = Command::new("redis-cli")
                .args(["-p", &last.to_string(), "SENTINEL", "master", "m"])
                .output()
                .expect("there is no redis-cli; it comes with redis-server");
            let known = String::from_utf8_lossy(&known.stdout).into_owned();
            known.contains("num-other-sentinels\n2") && known.contains("num-slaves\n1")
        });
        Self { nodes: [master, replica], sentinels, _folder: folder }
    }

    pub fn server(&self, timeout: Duration) -> RedisServer {
        let addresses = self.sentinels.iter().map(|(_, port)| local(*port)).collect();
        let sentinels = Sentinels { master: "m".to_owned(), addresses, credentials: None };
        server(Topology::Sentinel(sentinels), timeout)
    }
}

/// Three masters, each with a replica.
pub struct ClusterRedis {
    pub nodes: Vec<Server>,
}

impl ClusterRedis {
    pub fn start() -> Self {
        let nodes: Vec<Server> = (0..6)
            .map(|_| {
                let timeout = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
                Server::with(&timeout)
            })
            .collect();
        let places: Vec<String> = nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&places)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("there is no redis-cli; it comes with redis-server");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { nodes };
        wait("the cluster", || {
            cluster.nodes.iter().all(|n| {
                let nodes = n.ask("CLUSTER NODES");
                let role = n.ask("ROLE");
                // A replica without data would not take over.
                n.ask("CLUSTER INFO").contains("cluster_state:ok")
                    && nodes.matches("slave").count() == 3
                    && (role.contains("master") || role.contains("connected"))
            })
        });
        cluster
    }

    pub fn server(&self, timeout: Duration) -> RedisServer {
        // Two are enough to find the others.
        let seeds = self.nodes.iter().take(2).map(Server::address).collect();
        server(Topology::Cluster(seeds), timeout)
    }
}

/// Below the ports that the system gives to clients, and not given twice.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step =
            std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(step % 8_000).unwrap();
        // A server of a cluster has a second one, 10,000 above.
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}
