//! Consul: a real one, which says where the hosts of services are, dies and comes back.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use e2e::backend::Backend;
use e2e::consul::Consul;
use e2e::free_addr;
use e2e::gateway::Gateway;
use serde_json::Value;

const TOKEN: &str = "5f1c0a7e-not-to-be-seen";

fn backend(name: &str) -> (Backend, SocketAddr) {
    let addr = free_addr();
    (Backend::start(name, "http", &[addr], &Value::Null), addr)
}

fn resources(agent: SocketAddr, plain: SocketAddr) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1
kind: ConsulResolver
metadata: {{name: consul-dc1}}
spec: {{address: \"{agent}\", datacenter: dc1}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: web}}
spec: {{hostname: \"*\", prefix: /web/, service: web, resolver: consul-dc1, load_balancer: {{policy: round_robin}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: plain}}
spec: {{hostname: \"*\", prefix: /plain/, service: \"{plain}\"}}
"
    )
}

/// Whether all of a number of requests are answered by `name`.
fn only(gateway: &Gateway, name: &str) -> bool {
    (0..10).all(|_| gateway.who("/web/") == name)
}

#[test]
fn hosts_follow_consul_and_stay_while_it_is_away() {
    let mut consul = Consul::stopped();
    let ((_plain, plain), (_a, a), (_b, b)) = (backend("plain"), backend("a"), backend("b"));
    let environment = [("CONSUL_HTTP_TOKEN", TOKEN)];
    // Nobody waits for a Consul that is silent.
    let mut gateway = Gateway::start(&resources(consul.addr, plain), &environment);
    assert_eq!(gateway.who("/plain/"), "plain");
    assert_eq!(gateway.who("/web/"), "503");
    assert!(gateway.finds("does not answer about web (dc1)"), "{:#}", gateway.found());

    consul.start();
    consul.set("web", "a", a, true);
    gateway.eventually("served by a", |g| g.who("/web/") == "a");
    gateway.eventually("cured", |g| !g.finds("does not answer"));
    consul.set("web", "b", b, true);
    gateway.eventually("served by b, too", |g| g.who("/web/") == "b");
    consul.set("web", "a", a, false);
    gateway.eventually("without a, whose check fails", |g| only(g, "b"));
    consul.set("web", "a", a, true);
    gateway.eventually("with a again", |g| g.who("/web/") == "a");
    consul.remove("a");
    gateway.eventually("without a, which is gone", |g| only(g, "b"));

    consul.kill();
    gateway.eventually("told of the outage", |g| g.finds("its instances stay as they were"));
    assert!(only(&gateway, "b"));
    assert_eq!(gateway.metric("tollgate_consul_services_silent"), Some(1.0));
    // A controller that begins anew takes nothing away that it does not know of.
    gateway.restart_controller();
    gateway.eventually("connected", Gateway::is_in_sync);
    assert!(only(&gateway, "b"), "{:#}", gateway.found());

    consul.start();
    consul.set("web", "a", a, true);
    gateway.eventually("served by a after the outage", |g| g.who("/web/") == "a");
    gateway.eventually("cured", |g| !g.finds("does not answer"));
    assert_eq!(gateway.metric("tollgate_consul_services_silent"), Some(0.0));
    let said = format!("{}{:#}", gateway.controller.log(), gateway.found());
    assert!(!said.contains(TOKEN), "the token is said");
}
