//! The diagnostics pages of gateway-ctl in a real Chromium: on a desk and on a phone, bright and dark,
//! with a real Envoy connected. Pictures are kept in `target/pictures`.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Instant;

use e2e::browser::Browser;
use e2e::envoy::bootstrap;
use e2e::http::{self, Request};
use e2e::process::{PATIENCE, Process, program, start_envoy};
use e2e::run::Run;
use e2e::{TempDir, free_addr};
use serde_json::Value;

const PAGES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/routes", "Routes"),
    ("/clusters", "Clusters"),
    ("/objects", "Objects"),
    ("/limits", "Limits"),
    ("/authorization", "Authorization"),
    ("/changes", "Changes"),
    ("/explain", "Explain"),
];

struct Gateway {
    folder: TempDir,
    admin: SocketAddr,
    _controller: Process,
    _envoy: Process,
}

impl Gateway {
    fn start() -> Self {
        let folder = TempDir::new("pages");
        let [xds, admin, envoy_admin, listener] = std::array::from_fn(|_| free_addr());
        folder.write("gateway.yaml", &OBJECTS.replace("PORT", &listener.port().to_string()));
        let mappings: Vec<_> = (0..250).map(|i| mapping(&format!("item-{i:03}"), "10s")).collect();
        folder.write("many.yaml", &mappings.join("---\n"));
        let controller = controller(&folder, xds, admin, &[]);
        let file = folder.path().join(".envoy.json");
        std::fs::write(&file, bootstrap(xds, envoy_admin, xds)).unwrap();
        let mut envoy = start_envoy(&file, &[]);
        envoy.wait_ready_envoy(envoy_admin);
        Self { folder, admin, _controller: controller, _envoy: envoy }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    fn json(&self, path: &str) -> Value {
        http::get(self.admin, path).unwrap().json()
    }
}

fn controller(
    folder: &TempDir,
    xds: SocketAddr,
    admin: SocketAddr,
    variables: &[(&str, &str)],
) -> Process {
    let config = folder.path().display().to_string();
    let [xds, admin_text] = [xds, admin].map(|a| a.to_string());
    let arguments = ["serve", "--config", &config, "--xds-addr", &xds, "--admin-addr", &admin_text];
    let mut controller = Process::start(&program("gateway-ctl"), &arguments, variables);
    controller.wait_ready(admin);
    controller
}

#[test]
fn people_find_their_way() {
    let gateway = Gateway::start();
    for (name, size) in [("desk", (1280, 900)), ("phone", (390, 844))] {
        for dark in [false, true] {
            let browser = if dark { Browser::start_dark(size) } else { Browser::start(size) };
            let name = format!("pages-{name}-{}", if dark { "dark" } else { "bright" });
            look_at_all(&gateway, &browser, &name);
            if !dark {
                look_for_something(&gateway, &browser, &name);
            }
            assert_eq!(browser.console(), Vec::<String>::new());
        }
    }
    a_change_is_told(&gateway);
}

/// Each page has its name, fits the window, loads nothing from elsewhere, and tells no secret.
fn look_at_all(gateway: &Gateway, browser: &Browser, name: &str) {
    browser.open(&gateway.url("/"));
    for (path, title) in PAGES {
        browser.click(&format!("nav a[href='{path}']"));
        browser.wait_text("h1", title);
        assert_eq!(browser.url(), gateway.url(path));
        browser.keep_picture(&format!("{name}{}", path.replace('/', "-")));
        let widths =
            browser.run("arguments[0]([document.documentElement.scrollWidth, innerWidth])");
        assert!(widths[0].as_u64() <= widths[1].as_u64(), "{path} is too wide: {widths}");
        let others = browser.run(
            "arguments[0](performance.getEntriesByType('resource').map(e => e.name)
                .filter(n => !n.startsWith(location.origin)))",
        );
        assert_eq!(others, Value::Array(Vec::new()));
        assert!(!browser.source().contains("open-sesame"), "{path}");
    }
}

fn look_for_something(gateway: &Gateway, browser: &Browser, name: &str) {
    browser.open(&gateway.url("/routes"));
    browser.wait_text(".pager", "Part 1 of 3");
    browser.click("a[rel=next]");
    browser.wait_text(".pager", "Part 2 of 3");
    browser.fill("#q", "checkout");
    browser.click(".search button");
    browser.wait_text("main", "1 of 25");
    // What is asked on the way, by name, and where to read it.
    for part in [
        "everyone",
        "login",
        "OAuth2, only /checkout/admin/*",
        "passes",
        "limit per-client: 9 per minute",
        "127.0.0.1:9",
    ] {
        browser.wait_text(".picture", part);
    }
    browser.text(".picture a[href='/objects/Filter/default/login']");
    browser.text(".picture a[href='/objects/RateLimit/default/clients']");
    browser.keep_picture(&format!("{name}-found"));
    browser.click("tbody a[href^='/objects/Mapping/']");
    browser.wait_text("h1", "Mapping default/checkout");
    browser.wait_text("main", "prefix: /checkout/");
    browser.keep_picture(&format!("{name}-object"));
    // The object that is broken is told first, and says how to mend it.
    browser.open(&gateway.url("/"));
    assert_eq!(browser.text("tbody td"), "error");
    browser.click("tbody a[href='/objects/Mapping/default/broken']");
    browser.wait_text("main", "spec.prefix");
    // A cluster that nothing is behind.
    browser.open(&gateway.url("/clusters?q=empty"));
    browser.wait_text("main", "no endpoints");
    // Why that is, and the object to look at.
    browser.open(&gateway.url("/explain"));
    browser.fill("#text", "503 UH no healthy upstream");
    browser.click("form.explain button");
    browser.wait_text("h3#no-pods", "The Service selects no pod");
    browser.wait_text("main", "nobody made an EndpointSlice");
    browser.keep_picture(&format!("{name}-explained"));
    browser.fill("#url", "http://shop.example/checkout/x");
    browser.click("form.explain button");
    browser.wait_text("table", "Mapping default/checkout");
    // A Secret is there, its values are not.
    browser.open(&gateway.url("/objects/Secret/default/client"));
    assert!(browser.text("pre").contains("(hidden)") && !browser.source().contains("open-sesame"));
}

/// Who used which limit up, who was refused and why: of the services that `run` starts.
#[test]
fn limits_and_refusals_are_seen_as_they_happen() {
    let run = Run::start("plans", "", &[]);
    let ask = |key: &str| run.get("/api/", &[("x-api-key", key)]).status;
    assert_eq!([0; 4].map(|_| ask("key-of-anna")), [200, 200, 200, 429]);
    assert_eq!([ask("key-of-cleo"), ask("guess")], [200, 401]);

    let browser = Browser::start((1280, 900));
    let url = |path: &str| format!("http://{}{path}", run.admin);
    browser.open(&url("/limits"));
    browser.wait_text("main", "1 of 1 well");
    browser.wait_text("tbody tr:first-child", "free");
    let first = browser.text("tbody tr:first-child");
    assert!(first.contains('4') && first.contains("1 (25 %)"), "{first}");
    assert!(browser.source().contains("plan_free_who_anna"), "{}", browser.source());
    browser.keep_picture("pages-limits");
    // How near somebody is: what authorization says of the key names the counter.
    browser.open(&url("/explain"));
    browser.fill("#url", &format!("http://{}/api/x", run.listener));
    browser.fill("#headers", "x-api-key: key-of-anna");
    browser.click("form.explain button");
    browser.wait_text("main", "plan=free, who=anna");
    browser.wait_text("main", "0 left");
    browser.wait_text("h3#over-limit", "The request is over a limit");
    browser.keep_picture("pages-near-limits");
    browser.open(&url("/authorization"));
    browser.wait_text("main", "allowed: 5");
    browser.wait_text("main", "the API key is not valid");
    assert!(!browser.source().contains("key-of-anna"));
    browser.keep_picture("pages-authorization");
    browser.open(&url("/"));
    browser.wait_text("main", "authz-svc: 1 of 1 well");
    assert_eq!(browser.console(), Vec::<String>::new());
    let json = http::get(run.admin, "/limits?json=true").unwrap().json();
    assert_eq!(json["limits"][0]["over_limit"], 1, "{json}");
    assert_eq!(json["counters"]["ambassador"][0]["hits"], 4, "{json}");
    run.end();
}

fn a_change_is_told(gateway: &Gateway) {
    gateway.folder.write("many.yaml", &mapping("item-000", "20s"));
    let end = Instant::now() + PATIENCE;
    let entry = loop {
        let entry = gateway.json("/changes?json=true")[0].clone();
        if entry["live_ms"].is_u64() && entry["objects"][0]["object"]["name"] == "item-000" {
            break entry;
        }
        assert!(Instant::now() < end, "{entry}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!((&entry["objects"][0]["what"], &entry["more"]), (&"changed".into(), &230.into()));
    assert_eq!(entry["objects"][1]["what"], "deleted");
    let browser = Browser::start((1280, 900));
    browser.open(&gateway.url("/changes"));
    browser.click("summary");
    let text = browser.text("details pre");
    assert!(text.contains("-    timeout: 10s") && text.contains("+    timeout: 20s"), "{text}");
    browser.keep_picture("pages-change");
}

#[test]
fn with_a_token_they_are_for_those_who_have_it() {
    let folder = TempDir::new("pages-token");
    folder.write("gateway.yaml", &OBJECTS.replace("PORT", "8080"));
    let (xds, admin) = (free_addr(), free_addr());
    let _controller = controller(&folder, xds, admin, &[("ADMIN_TOKEN", "open-sesame")]);
    let ask = |path: &str, authorization: &str| {
        let request = Request::get(path, "gateway.example");
        http::send(admin, &request.header("authorization", authorization)).unwrap()
    };
    for path in ["/", "/routes", "/objects/Mapping/default/checkout", "/diagnostics", "/changes"] {
        let refused = ask(path, "Bearer guess");
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Basic "));
        assert_eq!(ask(path, "Bearer open-sesame").status, 200, "{path}");
        assert_eq!(ask(path, "Basic YW55Ym9keTpvcGVuLXNlc2FtZQ==").status, 200, "{path}");
    }
    for path in ["/healthz", "/readyz", "/ambassador/v0/check_ready", "/metrics"] {
        assert_eq!(ask(path, "").status, 200, "{path}");
    }
    // As dashboards of Emissary know it.
    assert!(ask("/metrics", "").body.contains("\nambassador_diagnostics_errors "));
    // Nothing is done by asking.
    let mut request = Request::get("/", "localhost").header("authorization", "Bearer open-sesame");
    request.method = "POST".to_owned();
    assert_eq!(http::send(admin, &request).unwrap().status, 405);
}

#[test]
fn a_name_that_somebody_pointed_here_gets_nothing() {
    let folder = TempDir::new("pages-host");
    folder.write("gateway.yaml", &OBJECTS.replace("PORT", "8080"));
    let (xds, admin) = (free_addr(), free_addr());
    let _controller = controller(&folder, xds, admin, &[]);
    let status = |host: &str| http::send(admin, &Request::get("/", host)).unwrap().status;
    assert_eq!([status("localhost"), status("evil.example")], [200, 403]);
}

fn mapping(name: &str, timeout: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec:\n  hostname: \"*\"\n  prefix: /{name}/\n  service: 127.0.0.1:9\n  docs: {{timeout: {timeout}}}\n"
    )
}

const OBJECTS: &str = r#"
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: PORT, protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: everyone}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata: {name: authz}
spec: {auth_service: "127.0.0.1:9001", proto: grpc, protocol_version: v3}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimitService
metadata: {name: limits}
spec: {service: "127.0.0.1:8081", protocol_version: v3}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: checkout}
spec:
  hostname: "*"
  prefix: /checkout/
  service: 127.0.0.1:9
  labels: {ambassador: [{per-client: [{remote_address: {key: remote_address}}]}]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: empty}
spec: {hostname: "*", prefix: /empty/, service: empty, resolver: endpoint}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: broken}
spec: {hostname: "*", prefix: 5, service: shop}
---
apiVersion: getambassador.io/v3alpha1
kind: FilterPolicy
metadata: {name: shop}
spec:
  rules:
  - {host: "*", path: /checkout/admin/*, filters: [{name: login}]}
  - {host: "*", path: /item-249/*, filters: [{name: nowhere}]}
  - {host: "*", path: /item-248/*, filters: [{name: login}]}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: clients}
spec: {domain: ambassador, limits: [{name: per-client, pattern: [{remote_address: "*"}], rate: 9, unit: minute}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {oauth2-client-secret: open-sesame}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: login}
spec:
  OAuth2:
    authorizationURL: https://login.example.org
    clientID: shop
    secret: open-sesame
    protectedOrigins: [{origin: "https://shop.example.org"}]
"#;
