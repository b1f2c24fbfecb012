//! Redis in the ways it is run: alone, behind a Sentinel, as a cluster. Of a test's own, without
//! files that outlive it.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::TempDir;
use crate::process::{Process, on_path};

/// A redis-server.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens.
    pub port: u16,
    _folder: TempDir,
    _process: Process,
}

impl Redis {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no redis-server on PATH.
    pub fn start() -> Self {
        Self::start_at(crate::free_port())
    }

    /// Starts it again where one was before; it is empty.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_at(port: u16) -> Self {
        Self::with(port, &["--save", "", "--appendonly", "no"])
    }

    fn with(port: u16, arguments: &[&str]) -> Self {
        let program = on_path("redis-server")
            .expect("there is no redis-server; run `make tools`, or install it");
        let (folder, port_text) = (TempDir::new("redis"), port.to_string());
        let place = folder.path().display().to_string();
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--dir", &place];
        let all: Vec<&str> = arguments.iter().copied().chain(own).collect();
        let mut process = Process::start(&program, &all, &[]);
        process.wait("listening", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _folder: folder, _process: process }
    }

    /// A command's answer as text; none for nil.
    pub fn ask(&self, words: &[&str]) -> Option<String> {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let head = lines.next().unwrap().unwrap();
        match head.split_at(1) {
            ("$", "-1") => None,
            ("$", _) => Some(lines.next().unwrap().unwrap()),
            (_, rest) => Some(rest.to_owned()),
        }
    }
}

/// A master and a Sentinel that knows it as `m`.
#[derive(Debug)]
pub struct Sentinel {
    /// The master.
    pub master: Redis,
    sentinel: Redis,
    _folder: TempDir,
}

impl Sentinel {
    /// Starts both.
    ///
    /// # Panics
    /// When there is no redis-server on PATH.
    pub fn start() -> Self {
        let (master, folder) = (Redis::start(), TempDir::new("sentinel"));
        folder.write("s.conf", &format!("sentinel monitor m 127.0.0.1 {} 1\n", master.port));
        let file = folder.path().join("s.conf").display().to_string();
        let sentinel = Redis::with(crate::free_port(), &[&file, "--sentinel"]);
        Self { master, sentinel, _folder: folder }
    }

    /// As in `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("m,127.0.0.1:{}", self.sentinel.port)
    }
}

/// Three masters with a third of the slots each.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no redis-server or redis-cli on PATH.
    pub fn start() -> Self {
        // Each has a second port, 10,000 above.
        let arguments = ["--cluster-enabled", "yes", "--save", "", "--appendonly", "no"];
        let free = || loop {
            let port = crate::free_port();
            if port < 50_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
                return port;
            }
        };
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(free(), &arguments)).collect();
        let places: Vec<String> = nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&places)
            .arg("--cluster-yes")
            .output()
            .expect("there is no redis-cli; it comes with redis-server");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { nodes };
        while !cluster.nodes.iter().all(|n| n.info().contains("cluster_state:ok")) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        cluster
    }

    /// As in `REDIS_URL`.
    pub fn url(&self) -> String {
        let places: Vec<String> =
            self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        places.join(",")
    }

    /// A command about the key that is its second word, asked of whom it belongs to.
    pub fn ask(&self, words: &[&str]) -> Option<String> {
        let answers = self.nodes.iter().map(|n| n.ask(words));
        answers.flatten().find(|answer| !answer.starts_with("MOVED"))
    }
}

impl Redis {
    fn info(&self) -> String {
        let port = self.port.to_string();
        let said = Command::new("redis-cli").args(["-p", &port, "cluster", "info"]).output();
        said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }
}

/// Where counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In a Redis alone.
    Redis,
    /// In a Redis that a Sentinel knows.
    Sentinel,
    /// In a Redis Cluster.
    Cluster,
    /// In the memory of the service.
    Memory,
}

impl Store {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Sentinel, Self::Cluster, Self::Memory];

    /// For the names of tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
            Self::Memory => "memory",
        }
    }
}

/// A store that runs.
#[derive(Debug)]
pub enum Running {
    /// See [`Store::Redis`].
    Redis(Redis),
    /// See [`Store::Sentinel`].
    Sentinel(Sentinel),
    /// See [`Store::Cluster`].
    Cluster(Cluster),
    /// See [`Store::Memory`].
    Memory,
}

impl Running {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no redis-server or redis-cli on PATH.
    pub fn start(store: Store) -> Self {
        match store {
            Store::Redis => Self::Redis(Redis::start()),
            Store::Sentinel => Self::Sentinel(Sentinel::start()),
            Store::Cluster => Self::Cluster(Cluster::start()),
            Store::Memory => Self::Memory,
        }
    }

    /// `REDIS_TYPE` and `REDIS_URL`.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let (kind, url) = match self {
            Self::Redis(redis) => ("SINGLE", format!("redis://127.0.0.1:{}", redis.port)),
            Self::Sentinel(sentinel) => ("SENTINEL", sentinel.url()),
            Self::Cluster(cluster) => ("CLUSTER", cluster.url()),
            Self::Memory => return Vec::new(),
        };
        vec![("REDIS_TYPE", kind.to_owned()), ("REDIS_URL", url)]
    }

    /// A command's answer as text.
    pub fn ask(&self, words: &[&str]) -> Option<String> {
        match self {
            Self::Redis(redis) => redis.ask(words),
            Self::Sentinel(sentinel) => sentinel.master.ask(words),
            Self::Cluster(cluster) => cluster.ask(words),
            Self::Memory => None,
        }
    }
}
