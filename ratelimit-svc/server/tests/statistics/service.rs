//! The program with a Redis of its own, and the requests that the original got.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A deadline that a busy machine does not miss.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const LIMITS: &str = "domain: d
descriptors:
- {key: k, rate_limit: {unit: year, requests_per_unit: 2}}
- {key: s, value: x, shadow_mode: true, rate_limit: {unit: year, requests_per_unit: 1}}
- {key: a, value: b.c, descriptors: [{key: e, rate_limit: {unit: year, requests_per_unit: 1}}, {key: f, descriptors: [{key: g, rate_limit: {unit: year, requests_per_unit: 5}}]}]}
- {key: two, descriptors: [{key: e, rate_limit: {unit: year, requests_per_unit: 1}}]}
- {key: v, detailed_metric: true, rate_limit: {unit: year, requests_per_unit: 10}}
- {key: u, rate_limit: {unlimited: true}}
- {key: m, value_to_metric: true, descriptors: [{key: p, rate_limit: {unit: year, requests_per_unit: 3}}]}
";

/// A redis-server; killed when dropped.
pub(crate) struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .expect("there is no redis-server; run `make tools`, or install it");
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { port, child }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program; killed when dropped.
pub(crate) struct Service {
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: Option<std::thread::JoinHandle<()>>,
    folder: PathBuf,
}

impl Service {
    pub(crate) fn start(redis: &Redis, variables: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("ratelimit-statistics-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("limits.yaml"), LIMITS).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ratelimit-svc"))
            .args(["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"])
            .args(["--admin-addr", "127.0.0.1:0", "--config"])
            .arg(&folder)
            .env("REDIS_URL", format!("redis://127.0.0.1:{}", redis.port))
            .env("REDIS_TIMEOUT", "30s")
            .env("LOCAL_CACHE_SIZE_IN_BYTES", "1000000")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (lines, stderr) = (log.clone(), BufReader::new(child.stderr.take().unwrap()));
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.0.lock().unwrap().push(line);
                lines.1.notify_all();
            }
        });
        let service = Self { child, log, reader: Some(reader), folder };
        service.wait_for_line(" answers");
        service
    }

    /// The first line of the log with this in it.
    pub(crate) fn wait_for_line(&self, part: &str) -> String {
        let (lines, changed) = &*self.log;
        let is_missing = |lines: &mut Vec<String>| !lines.iter().any(|l| l.contains(part));
        let lines = lines.lock().unwrap();
        let (lines, _) = changed.wait_timeout_while(lines, PATIENCE, is_missing).unwrap();
        let found = lines.iter().find(|l| l.contains(part)).cloned();
        found.unwrap_or_else(|| panic!("no `{part}` in {lines:#?}"))
    }

    /// The port that the log names so.
    pub(crate) fn addr(&self, what: &str) -> SocketAddr {
        let line = self.wait_for_line(&format!("listening for {what} on "));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Ends it in order; gives its log.
    pub(crate) fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        self.reader.take().unwrap().join().unwrap();
        self.log.0.lock().unwrap().clone()
    }

    /// A request with one entry; gives its status.
    pub(crate) fn hit(&self, key: &str, value: &str) -> u16 {
        self.ask(&of(&[(key, value)]))
    }

    /// The requests that [`super::GOLDEN`] is of.
    pub(crate) fn traffic(&self) {
        let deep = [("a", "b.c"), ("e", "1")];
        let two = [("two", "2"), ("e", "1")];
        let mut requests = vec![of(&[("k", "1")]); 4];
        requests.extend(vec![of(&[("s", "x")]); 3]);
        requests.extend([of(&deep), of(&deep), of(&[("a", "b.c"), ("f", "1"), ("g", "2")])]);
        requests.extend(vec![of(&two); 3]);
        requests.extend(["10.0.0.1", "a:b|c", "x y", "b.c", ""].map(|v| of(&[("v", v)])));
        requests.extend([of(&[("u", "1")]), of(&[("m", "in"), ("p", "1")])]);
        requests.extend(
            [
                r#"{"domain":"d","hitsAddend":3,"descriptors":[{"entries":[{"key":"k","value":"9"}]},{"entries":[{"key":"z","value":"9"}],"limit":{"requestsPerUnit":2,"unit":"YEAR"}}]}"#,
                r#"{"domain":"no.pe","descriptors":[{"entries":[{"key":"k","value":"9"}]},{"entries":[{"key":"l","value":"9"}]}]}"#,
                r#"{"domain":"","descriptors":[{"entries":[{"key":"k","value":"9"}]}]}"#,
                r#"{"domain":"d","descriptors":[]}"#,
            ]
            .map(str::to_owned),
        );
        let statuses: Vec<u16> = requests.iter().map(|request| self.ask(request)).collect();
        let expected = [
            200, 200, 429, 429, 200, 200, 200, 200, 429, 200, 200, 429, 429, 200, 200, 200, 200,
            200, 200, 200, 429, 200, 400, 400,
        ];
        assert_eq!(statuses, expected);
    }

    fn ask(&self, body: &str) -> u16 {
        let head = format!("POST /json HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        http(self.addr("HTTP"), &head, body).0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn of(entries: &[(&str, &str)]) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(k, v)| format!(r#"{{"key":"{k}","value":"{v}"}}"#)).collect();
    format!(r#"{{"domain":"d","descriptors":[{{"entries":[{}]}}]}}"#, entries.join(","))
}

pub(crate) fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    http(addr, &format!("GET {path} HTTP/1.1\r\n"), "")
}

fn http(addr: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(addr).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}Host: h\r\nConnection: close\r\n\r\n{body}");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
