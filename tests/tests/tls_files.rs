//! Certificates in files: what is missing or wrong is told, and costs only what names it.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use e2e::certificates::Certificates;
use e2e::gateway::Gateway;
use e2e::http::{self, Request};
use e2e::tls::Client;
use e2e::{TempDir, free_addr};
use serde_json::json;

/// Two Hosts with files, of which those of the second are not there.
fn resources(port: u16, files: &TempDir) -> String {
    resources_of(port, files, &["good", "late"])
}

fn resources_of(port: u16, files: &TempDir, hosts: &[&str]) -> String {
    let folder = files.path().display();
    let host = |name: &str| {
        format!(
            "---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {{name: {name}}}
spec: {{hostname: {name}.test, tls: {{cert_chain_file: {folder}/{name}.crt, private_key_file: {folder}/{name}.key}}}}
"
        )
    };
    format!(
        "apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {{name: secure}}
spec: {{port: {port}, protocol: HTTPS, securityModel: SECURE, hostBinding: {{namespace: {{from: ALL}}}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: moved}}
spec: {{hostname: \"*\", prefix: /, service: to.test, host_redirect: true}}
{}",
        hosts.iter().map(|name| host(name)).collect::<String>(),
    )
}

/// The status that a name is answered with over TLS.
fn status(addr: SocketAddr, name: &str) -> Option<u16> {
    let client = Client { server_name: Some(name), certificate: None, only: None, alpn: &[] };
    let mut connection = client.connect(http::connect(addr).ok()?).ok()?;
    http::exchange(&mut connection.stream, &Request::get("/", name)).ok().map(|r| r.status)
}

fn write(files: &TempDir, name: &str, certificates: &Certificates) {
    let certificate = certificates.get(name);
    files.write(&format!("{name}.key"), &certificate.key);
    files.write(&format!("{name}.crt"), &certificate.chain);
}

fn certificates() -> Certificates {
    let certs = json!({"good": ["good.test"], "late": ["late.test"], "wrong": ["wrong.test"]});
    Certificates::of(&json!({"certs": certs}))
}

#[test]
fn a_file_is_checked_where_it_is_seen_and_taken_when_it_is_right() {
    let (files, secure, certificates) = (TempDir::new("tls-files"), free_addr(), certificates());
    write(&files, "good", &certificates);
    let gateway = Gateway::start(&resources(secure.port(), &files), &[("TLS_FILES_HERE", "true")]);
    gateway.eventually("served", |_| status(secure, "good.test") == Some(301));
    gateway.eventually("told", |g| g.finds("late.crt: No such file or directory"));
    assert_eq!(status(secure, "late.test"), None);
    files.write("late.crt", "nothing");
    files.write("late.key", "nothing");
    gateway.eventually("told", |g| g.finds("no PEM text of a certificate"));
    assert_eq!(status(secure, "good.test"), Some(301));
    write(&files, "late", &certificates);
    gateway.eventually("served", |_| status(secure, "late.test") == Some(301));
    assert!(!gateway.finds("late.crt"), "{:#}", gateway.found());
}

#[test]
fn a_file_that_only_envoy_sees_is_asked_for_until_it_is_right() {
    let (files, secure, certificates) = (TempDir::new("tls-files"), free_addr(), certificates());
    write(&files, "good", &certificates);
    files.write("wrong.crt", "nothing");
    files.write("wrong.key", "nothing");
    let resources = resources_of(secure.port(), &files, &["good", "late", "wrong"]);
    let gateway = Gateway::start(&resources, &[]);
    gateway.eventually("served", |_| status(secure, "good.test") == Some(301));
    gateway.eventually("told", |g| g.finds("late.crt") && g.finds("wrong.crt"));
    assert!(gateway.finds("Envoy is asked again by itself"), "{:#}", gateway.found());
    assert_eq!((status(secure, "late.test"), status(secure, "wrong.test")), (None, None));
    // It was asked again, and what is wrong is said all the time.
    let refused =
        || gateway.metric("tollgate_xds_nacks_total{type=\"secret\"}").unwrap_or_default();
    let first = refused();
    gateway.eventually("asked again", |g| {
        assert!(g.finds("late.crt") && g.finds("wrong.crt"), "{:#}", g.found());
        refused() > first
    });
    for (name, other) in [("late", "wrong"), ("wrong", "good")] {
        write(&files, name, &certificates);
        gateway.eventually("served", |_| status(secure, &format!("{name}.test")) == Some(301));
        gateway.eventually("not told", |g| !g.finds(&format!("{name}.crt")));
        assert_eq!(gateway.finds(&format!("{other}.crt")), other == "wrong");
        assert_eq!(status(secure, "good.test"), Some(301));
    }
    assert!(gateway.is_in_sync());
}
