//! A script that Envoy cannot read costs itself alone.

#![allow(clippy::unwrap_used)]

use e2e::backend::Backend;
use e2e::free_addr;
use e2e::gateway::Gateway;
use serde_json::Value;

const GOOD: &str =
    "function envoy_on_response(handle) handle:headers():add('x-script', 'VERSION') end";

/// A Module with a script and another setting, and a Mapping.
fn resources(script: &str, server_name: &str, backend: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1
kind: Module
metadata: {{name: ambassador}}
spec: {{config: {{server_name: {server_name}, lua_scripts: {}}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: echo}}
spec: {{hostname: \"*\", prefix: /, service: \"{backend}\"}}
",
        Value::from(script)
    )
}

#[test]
fn a_script_that_envoy_refuses_costs_nothing_else() {
    let addr = free_addr();
    let _backend = Backend::start("echo", "http", &[addr], &Value::Null);
    let backend = addr.to_string();
    let header = |gateway: &Gateway, name: &str| {
        gateway.get("/x").ok().and_then(|r| r.header(name).map(str::to_owned))
    };
    for broken in ["function envoy_on_request(handle", "error('no')", "return 1 +", "\u{1b}Lua"] {
        let gateway = Gateway::start(&resources(broken, "first", &backend), &[]);
        // From the start: requests pass, and the Module's other settings are in force.
        gateway.eventually("served", |g| header(g, "server").as_deref() == Some("first"));
        gateway.eventually("told", |g| g.finds("Envoy refused") && g.finds("Module"));
        assert_eq!(header(&gateway, "x-script"), None);

        // What else changes in the meantime does.
        gateway.write(&resources(broken, "between", &backend));
        gateway.eventually("changed", |g| header(g, "server").as_deref() == Some("between"));
        assert_eq!(header(&gateway, "x-script"), None);

        gateway.write(&resources(&GOOD.replace("VERSION", "1"), "second", &backend));
        gateway.eventually("mended", |g| header(g, "x-script").as_deref() == Some("1"));
        gateway.eventually("cured", |g| !g.finds("Envoy refused"));
        assert_eq!(header(&gateway, "server").as_deref(), Some("second"));

        gateway.write(&resources(broken, "third", &backend));
        gateway.eventually("told again", |g| g.finds("Envoy refused"));
        gateway.eventually("changed", |g| header(g, "server").as_deref() == Some("third"));
        assert_eq!(header(&gateway, "x-script").as_deref(), Some("1"), "the last good one stays");
    }
}
