//! A real Envoy finds, among many routes of one Host, the one that the order of routes says.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use gateway_core::overview::RouteOverview;
use gateway_core::{Engine, Settings};
use gateway_ctl::render;
use regex::Regex;
use service_kit::server::objects::FileObjects;

/// A small generator, so that a failure is found again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..=self.below(3) {
            path.push('/');
            for _ in 0..self.below(4) {
                path.push(['a', 'b', 'c', '1'][self.below(4) as usize]);
            }
        }
        path
    }
}

/// Mappings that answer with their name, of every kind of match.
fn mappings(chance: &mut Chance) -> String {
    let mut yaml = String::new();
    for number in 0..700 {
        let path = chance.path();
        let matching = match chance.below(40) {
            0 => format!("prefix: '{path}[ab]+.*', prefix_regex: true"),
            1 => format!("prefix: {path}, case_sensitive: false"),
            2..8 => format!("prefix: {path}, prefix_exact: true"),
            8..14 => format!("prefix: {path}, headers: {{x-a: '1'}}"),
            14 => format!("prefix: {path}, query_parameters: {{q: '1'}}"),
            15 => format!("prefix: {path}, precedence: {}", chance.below(4)),
            16 => format!("prefix: {path}, method: POST"),
            _ => format!("prefix: {path}"),
        };
        let _ = write!(
            yaml,
            "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: m{number}}}\n\
             spec: {{hostname: '*', {matching}, service: other.test, host_redirect: true, path_redirect: /m{number}}}\n"
        );
    }
    yaml
}

/// A route, and its path if that is a regular expression.
type Tried<'a> = (&'a RouteOverview, Option<Regex>);

fn fits((route, regex): &Tried<'_>, path: &str, query: &str, header: bool) -> bool {
    let path_fits = match route.path_kind.as_str() {
        "path" => path == route.path,
        "regex" => regex.as_ref().is_some_and(|r| r.is_match(path)),
        _ if route.case_sensitive => path.starts_with(&route.path),
        _ => path.to_lowercase().starts_with(&route.path.to_lowercase()),
    };
    path_fits
        && route.headers.iter().all(|h| h.name == "x-a" && header)
        && route.query_parameters.iter().all(|_| query == "?q=1")
}

/// Where a request is sent to; empty when no route fits.
fn ask(connection: &mut BufReader<TcpStream>, path: &str, header: bool) -> String {
    let extra = if header { "x-a: 1\r\n" } else { "" };
    let text = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{extra}\r\n");
    connection.get_mut().write_all(text.as_bytes()).unwrap();
    let mut location = String::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            return location;
        }
        if let Some(to) = line.strip_prefix("location: http://other.test/") {
            to.trim().split('?').next().unwrap().clone_into(&mut location);
        }
    }
}

#[test]
fn the_route_is_the_one_that_is_first_in_order() {
    let Some(envoy) = common::envoy() else { return };
    let [address, admin]: [SocketAddr; 2] = std::array::from_fn(|_| common::free_port());
    let mut chance = Chance(7);
    let yaml = format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: edge}}\n\
         spec: {{port: {}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}\n\
         ---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: any}}\n\
         spec: {{hostname: '*', requestPolicy: {{insecure: {{action: Route}}}}}}\n{}",
        address.port(),
        mappings(&mut chance),
    );
    let mut engine = Engine::new(Settings::default());
    let files = [("all.yaml".to_owned(), yaml)].into();
    engine.apply(FileObjects::new().update(files).applied, Vec::new());
    let bootstrap = render::static_bootstrap(&engine, admin).unwrap();
    let table = bootstrap.to_string();
    assert!(table.contains("prefix_match_map"), "the routes are divided");
    let file = common::folder("many-routes").join("bootstrap.json");
    std::fs::write(&file, &table).unwrap();
    let child = Command::new(envoy)
        .args(["-c", file.to_str().unwrap(), "--disable-hot-restart", "--concurrency", "1"])
        .args(["--log-level", "error"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _envoy = common::Ends(child);
    common::eventually("Envoy listens", || TcpStream::connect(address).is_ok());

    let routes = engine.overview().routes;
    let routes: Vec<Tried<'_>> = routes
        .iter()
        .map(|r| {
            let regex = (r.path_kind == "regex").then(|| format!("^(?:{})$", r.path));
            (r, regex.map(|r| Regex::new(&r).unwrap()))
        })
        .collect();
    let connection = TcpStream::connect(address).unwrap();
    connection.set_nodelay(true).unwrap();
    let mut connection = BufReader::new(connection);
    let mut found = 0;
    for _ in 0..3000 {
        let path = chance.path();
        let query = ["", "?q=1", "?x=/a"][chance.below(3) as usize];
        let header = chance.below(2) == 0;
        // As Envoy's normalize_path leaves it: these paths have no dots.
        let first = routes.iter().find(|r| fits(r, &path, query, header));
        let expected = first.map(|(r, _)| r.mapping.name.clone()).unwrap_or_default();
        found += usize::from(first.is_some());
        assert_eq!(
            ask(&mut connection, &format!("{path}{query}"), header),
            expected,
            "{path}{query}"
        );
    }
    assert!(found > 1000, "{found}");
}
