//! `gateway-ctl serve` on a real Kubernetes API, with a real Envoy and both services: resources
//! become routes and statuses, whatever fails meanwhile.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::http::{self, Request};
use e2e::kubernetes::Cluster;
use e2e::process::{PATIENCE, Process, envoy, program};
use e2e::{TempDir, free_addr};
use serde_json::Value;

const V3: &str = "getambassador.io/v3alpha1";

/// Where the parts of an installation listen.
#[derive(Clone, Copy)]
struct Ports {
    listener: SocketAddr,
    echo: SocketAddr,
    xds: SocketAddr,
    admin: SocketAddr,
    envoy_admin: SocketAddr,
    ratelimit: SocketAddr,
    authz: SocketAddr,
}

impl Ports {
    fn new() -> Self {
        let [listener, echo, xds, admin, envoy_admin, ratelimit, authz] =
            std::array::from_fn(|_| free_addr());
        Self { listener, echo, xds, admin, envoy_admin, ratelimit, authz }
    }

    /// The quick start's resources, on these ports.
    fn quickstart(&self) -> String {
        let folder = e2e::root().join("../docs/examples/quickstart");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
        files.sort_by_key(std::fs::DirEntry::path);
        let texts: Vec<String> =
            files.iter().map(|f| std::fs::read_to_string(f.path()).unwrap()).collect();
        texts
            .join("\n---\n")
            .replace("port: 8080", &format!("port: {}", self.listener.port()))
            .replace("127.0.0.1:9080", &self.echo.to_string())
            .replace("127.0.0.1:8081", &self.ratelimit.to_string())
            .replace("127.0.0.1:9001", &self.authz.to_string())
    }
}

/// The generated CRDs, of `own` kinds or of Emissary's.
fn crds(of: &str) -> String {
    let folder = e2e::root().join("../deploy/charts/tollgate-crds/files").join(of);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let texts: Vec<String> =
        files.flatten().map(|f| std::fs::read_to_string(f.path()).unwrap()).collect();
    texts.join("\n---\n")
}

fn controller(kubeconfig: &str, xds: SocketAddr, admin: SocketAddr, more: &[&str]) -> Process {
    let (xds, admin) = (xds.to_string(), admin.to_string());
    let mut arguments = vec!["serve", "--xds-addr", &xds, "--admin-addr", &admin];
    arguments.extend_from_slice(more);
    Process::start(&program("gateway-ctl"), &arguments, &[("KUBECONFIG", kubeconfig)])
}

/// Everything but the controller.
struct Edge {
    ports: Ports,
    _parts: Vec<Process>,
    _folder: TempDir,
}

impl Edge {
    fn start(ports: Ports) -> Self {
        let folder = TempDir::new("edge");
        let xds = ports.xds.to_string();
        let bootstrap = std::process::Command::new(program("gateway-ctl"))
            .args(["envoy-bootstrap", "--xds", &xds, "--format", "json"])
            .args(["--envoy-admin-addr", &ports.envoy_admin.to_string()])
            .output()
            .unwrap();
        folder.write("envoy.json", &String::from_utf8(bootstrap.stdout).unwrap());
        let config = folder.path().join("envoy.json").display().to_string();
        let start = |name: &str, grpc: SocketAddr, more: &[&str]| {
            let (grpc, admin) = (grpc.to_string(), free_addr().to_string());
            let mut arguments =
                vec!["--xds", xds.as_str(), "--grpc-addr", &grpc, "--admin-addr", &admin];
            arguments.extend_from_slice(more);
            Process::start(&program(name), &arguments, &[])
        };
        let echo = ports.echo.to_string();
        let parts = vec![
            Process::start(
                &envoy(),
                &["--disable-hot-restart", "--concurrency", "1", "-l", "error", "-c", &config],
                &[],
            ),
            start("ratelimit-svc", ports.ratelimit, &["--http-addr", "off"]),
            start("authz-svc", ports.authz, &[]),
            Process::start(&program("gateway-ctl"), &["echo", "--addr", &echo], &[]),
        ];
        Self { ports, _parts: parts, _folder: folder }
    }

    fn get(&self, path: &str) -> Option<u16> {
        http::send(self.ports.listener, &Request::get(path, "gateway.test")).ok().map(|r| r.status)
    }

    fn wait_status(&self, path: &str, status: u16) {
        let end = Instant::now() + PATIENCE;
        while self.get(path) != Some(status) {
            assert!(Instant::now() < end, "{path} is not {status} but {:?}", self.get(path));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Updates that Envoy took, by kind.
    fn updates(&self) -> Vec<String> {
        let stats = http::get(self.ports.envoy_admin, "/stats?filter=update_success").unwrap();
        stats.body.lines().map(str::to_owned).collect()
    }
}

fn mapping(name: &str, prefix: &str, service: &str) -> String {
    format!(
        "apiVersion: {V3}\nkind: Mapping\nmetadata: {{name: {name}, namespace: default}}\nspec: {{hostname: '*', prefix: {prefix}, service: '{service}'}}\n"
    )
}

fn message(condition: &Value) -> &str {
    condition["message"].as_str().unwrap()
}

#[test]
fn resources_become_routes_and_statuses() {
    let cluster = Cluster::start();
    let ports = Ports::new();
    cluster.apply(&crds("emissary"));
    let edge = Edge::start(ports);
    let mut controller = controller(&cluster.kubeconfig(), ports.xds, ports.admin, &[]);
    controller.wait_ready(ports.admin);
    // Kinds that come later are read, too.
    cluster.apply(&crds("own"));
    let quickstart = ports.quickstart();
    let end = Instant::now() + PATIENCE;
    while let Err(e) = cluster.try_apply(serde_json::json!({
        "apiVersion": V3, "kind": "RateLimit", "metadata": {"name": "probe"},
        "spec": {"domain": "probe", "limits": []},
    })) {
        assert!(Instant::now() < end, "{e}");
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.apply(&quickstart);

    edge.wait_status("/private/x", 401);
    edge.wait_status("/backend/x", 200);
    let limited = (0..25).filter_map(|_| edge.get("/backend/x")).find(|s| *s != 200);
    assert_eq!(limited, Some(429));
    for (kind, name) in [
        ("Listener", "http"),
        ("Host", "everyone"),
        ("Mapping", "backend"),
        ("AuthService", "authorization"),
        ("RateLimitService", "limits"),
        ("Filter", "login"),
        ("FilterPolicy", "quickstart"),
        ("RateLimit", "quickstart"),
    ] {
        for condition in ["Accepted", "ResolvedRefs", "Programmed"] {
            cluster.wait_condition(kind, name, condition, "True");
        }
    }

    // A mistake is told in words, on the object and as an event, and costs nobody else.
    cluster.apply(&mapping("bad", "/bad/", "http://a:99999"));
    let accepted = cluster.wait_condition("Mapping", "bad", "Accepted", "False");
    assert!(message(&accepted).contains("spec.service") && message(&accepted).contains("99999"));
    assert_eq!(accepted["reason"], "Invalid");
    cluster.wait_condition("Mapping", "bad", "Programmed", "False");
    cluster.wait("an event", || {
        cluster.list("v1", "Event", "default").iter().any(|e| {
            e["involvedObject"]["name"] == "bad"
                && e["type"] == "Warning"
                && e["reason"] == "Invalid"
        })
    });
    assert_eq!(edge.get("/private/x"), Some(401));

    // What is named and not there is told, and told no longer when it comes.
    cluster.apply(&mapping("lost", "/lost/", "nosuch:8080"));
    let refs = cluster.wait_condition("Mapping", "lost", "ResolvedRefs", "False");
    assert!(message(&refs).contains("there is no Service `nosuch` in namespace `default`"));
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: nosuch, namespace: default}\nspec: {ports: [{port: 80}]}\n",
    );
    cluster.wait("the ports that there are", || {
        let refs = cluster.condition("Mapping", "lost", "ResolvedRefs");
        refs.is_some_and(|c| message(&c).contains("has no port 8080"))
    });

    // Endpoints are hosts, and a change of them is no change of routes.
    cluster.delete(V3, "Module", "default", "ambassador");
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: pods, namespace: default}\nspec: {ports: [{name: http, port: 80}]}\n",
    );
    let service = "resolver: endpoint, service:";
    cluster.apply(&mapping("pods", "/pods/", "pods").replace("service:", service));
    edge.wait_status("/pods/x", 503);
    let routes = || {
        let updates = edge.updates();
        updates
            .into_iter()
            .filter(|u| u.contains(".rds.") || u.contains(".cds."))
            .collect::<Vec<_>>()
    };
    let before = routes();
    cluster.apply(
        "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: pods-1, namespace: default, labels: {kubernetes.io/service-name: pods}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.7]}, {addresses: [192.0.2.8], conditions: {ready: false}}]
",
    );
    let clusters = || http::get(ports.envoy_admin, "/clusters").unwrap().body;
    cluster.wait("the pod that is ready", || clusters().contains("192.0.2.7:8080"));
    assert!(!clusters().contains("192.0.2.8"), "the other is not");
    assert_eq!(before, routes());

    // Deleted is gone.
    cluster.delete(V3, "Mapping", "default", "backend");
    edge.wait_status("/backend/x", 404);
    assert!(!controller.log().contains("panicked"), "{}", controller.log());
}

#[test]
fn an_api_server_that_is_away_stops_nothing() {
    let mut cluster = Cluster::start();
    let ports = Ports::new();
    cluster.apply(&crds("emissary"));
    cluster.apply(&crds("own"));
    cluster.wait("CRDs", || cluster.try_apply(serde_json::json!({
        "apiVersion": V3, "kind": "FilterPolicy", "metadata": {"name": "probe"}, "spec": {"rules": []},
    })).is_ok());
    cluster.apply(&ports.quickstart());
    let edge = Edge::start(ports);
    let mut controller = controller(&cluster.kubeconfig(), ports.xds, ports.admin, &[]);
    controller.wait_ready(ports.admin);
    edge.wait_status("/backend/x", 200);
    cluster.wait_condition("Mapping", "backend", "Programmed", "True");

    let updates = edge.updates();
    cluster.stop_apiserver();
    controller.wait("saying that the API does not answer", |_| {
        http::get(ports.admin, "/diagnostics").is_ok_and(|r| r.body.contains("does not answer"))
    });
    assert_eq!(edge.get("/private/x"), Some(401), "traffic goes on");
    assert!(http::get(ports.admin, "/readyz").is_ok_and(|r| r.status == 200), "so does xDS");
    cluster.start_apiserver();
    cluster.apply(&mapping("late", "/late/", &ports.echo.to_string()));
    edge.wait_status("/late/x", 200);
    cluster.wait_condition("Mapping", "late", "Programmed", "True");
    let after = edge.updates();
    let of = |stats: &[String], kind: &str| {
        stats.iter().find(|s| s.starts_with(kind)).cloned().unwrap_or_default()
    };
    let listeners = "listener_manager.lds.update_success";
    assert_eq!(of(&updates, listeners), of(&after, listeners), "nothing was sent again");

    // A controller that starts again tells Envoy nothing that it has not.
    drop(controller);
    let mut controller = self::controller(&cluster.kubeconfig(), ports.xds, ports.admin, &[]);
    controller.wait_ready(ports.admin);
    cluster.apply(&mapping("later", "/later/", &ports.echo.to_string()));
    edge.wait_status("/later/x", 200);
    assert_eq!(edge.get("/late/x"), Some(200));
    let again = edge.updates();
    assert_eq!(of(&after, listeners), of(&again, listeners), "nothing was sent again");
}

#[test]
fn one_of_two_replicas_writes_and_the_other_takes_over() {
    let cluster = Cluster::start();
    cluster.apply(&crds("emissary"));
    let start = |name: &str| {
        let (xds, admin) = (free_addr(), free_addr());
        (controller(&cluster.kubeconfig(), xds, admin, &["--identity", name]), admin)
    };
    let (mut first, first_admin) = start("one");
    first.wait_ready(first_admin);
    first.wait_log("leads=true");
    let (mut second, second_admin) = start("two");
    second.wait_ready(second_admin);
    let writes = |admin: SocketAddr| {
        let metrics = http::get(admin, "/metrics").unwrap().body;
        let line =
            metrics.lines().find(|l| l.starts_with("tollgate_status_writes_total{result=\"ok\"}"));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<u32>().ok()).unwrap_or(0)
    };
    cluster.apply(&mapping("bad", "/bad/", "http://a:99999"));
    cluster.wait_condition("Mapping", "bad", "Accepted", "False");
    cluster.wait("its own echo", || writes(first_admin) == 1);
    assert_eq!(writes(second_admin), 0);
    // The one that leads ends in order, so the Lease is free at once.
    first.terminate();
    first.wait_end();
    second.wait_log("leads=true");
    cluster.apply(&mapping("worse", "/worse/", "http://b:99999"));
    cluster.wait_condition("Mapping", "worse", "Accepted", "False");
    cluster.wait("the count of its write", || writes(second_admin) > 0);
    assert_eq!(writes(second_admin), 1, "what the first wrote is not written again");
}

#[test]
fn beside_another_controller_only_what_the_services_read_is_touched() {
    let cluster = Cluster::start();
    cluster.apply(&crds("emissary"));
    cluster.apply(&crds("own"));
    let (xds, admin) = (free_addr(), free_addr());
    let mut controller = controller(&cluster.kubeconfig(), xds, admin, &["--services-only"]);
    controller.wait_ready(admin);
    let limit = serde_json::json!({
        "apiVersion": V3, "kind": "RateLimit", "metadata": {"name": "shop"},
        "spec": {"domain": "ambassador", "limits": [
            {"pattern": [{"generic_key": "shop"}], "rate": 1, "unit": "hour"},
        ]},
    });
    cluster.wait("CRDs", || cluster.try_apply(limit.clone()).is_ok());
    cluster.apply(&mapping("theirs", "/theirs/", "http://a:99999"));
    let (grpc, own) = (free_addr().to_string(), free_addr().to_string());
    let xds = xds.to_string();
    let arguments =
        ["--xds", &xds, "--grpc-addr", &grpc, "--admin-addr", &own, "--http-addr", "off"];
    let _limits = Process::start(&program("ratelimit-svc"), &arguments, &[]);
    cluster.wait_condition("RateLimit", "shop", "Programmed", "True");
    let theirs = cluster.get(V3, "Mapping", "default", "theirs").unwrap();
    assert!(theirs.get("status").is_none(), "{theirs}");
}

#[test]
fn the_leader_knows_the_envoys_of_the_other_replica() {
    let cluster = Cluster::start();
    cluster.apply(&crds("emissary"));
    let (leader, ports) = ((free_addr(), free_addr()), Ports::new());
    // The leader sees no Envoy; the one there is comes to the other.
    let peers = ports.admin.to_string();
    let mut first = controller(
        &cluster.kubeconfig(),
        leader.0,
        leader.1,
        &["--identity", "one", "--peers", &peers],
    );
    first.wait_ready(leader.1);
    first.wait_log("leads=true");
    let mut second =
        controller(&cluster.kubeconfig(), ports.xds, ports.admin, &["--identity", "two"]);
    second.wait_ready(ports.admin);
    let edge = Edge::start(ports);
    cluster.apply(&format!(
        "apiVersion: {V3}\nkind: Listener\nmetadata: {{name: http, namespace: default}}\nspec: {{port: {}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}\n",
        ports.listener.port()
    ));
    cluster.apply(&mapping("there", "/there/", &ports.echo.to_string()));
    edge.wait_status("/there/x", 200);
    cluster.wait_condition("Mapping", "there", "Programmed", "True");
    // Without the other replica nobody can know.
    drop(second);
    cluster.apply(&mapping("unknown", "/unknown/", &ports.echo.to_string()));
    cluster.wait_condition("Mapping", "unknown", "Programmed", "False");
}

#[test]
fn only_what_it_may_read_is_read() {
    let cluster = Cluster::start();
    let ports = Ports::new();
    cluster.apply(&crds("emissary"));
    cluster.apply(&crds("own"));
    // One namespace, and of its Secrets one by name.
    cluster.apply(
        "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: gateway-ctl, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gateway-ctl, namespace: default}
rules:
- {apiGroups: [getambassador.io], resources: ['*'], verbs: [get, list, watch]}
- {apiGroups: [getambassador.io], resources: ['*/status'], verbs: [patch]}
- {apiGroups: [''], resources: [services], verbs: [get, list, watch]}
- {apiGroups: [''], resources: [secrets], resourceNames: [partner-keys, login-keys], verbs: [get, list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gateway-ctl, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gateway-ctl}
subjects: [{kind: ServiceAccount, name: gateway-ctl, namespace: default}]
",
    );
    cluster.wait("CRDs", || cluster.try_apply(serde_json::json!({
        "apiVersion": V3, "kind": "FilterPolicy", "metadata": {"name": "probe"}, "spec": {"rules": []},
    })).is_ok());
    cluster.apply(&ports.quickstart());
    let kubeconfig = cluster.kubeconfig_of("default", "gateway-ctl");
    let edge = Edge::start(ports);
    let mut controller =
        controller(&kubeconfig, ports.xds, ports.admin, &["--watch-namespaces", "default"]);
    controller.wait_ready(ports.admin);
    edge.wait_status("/partner/x", 401);
    let key = Request::get("/partner/x", "gateway.test").header("x-api-key", "quickstart-partner");
    let end = Instant::now() + PATIENCE;
    while http::send(ports.listener, &key).unwrap().status != 200 {
        assert!(Instant::now() < end, "the key of the Secret is not known: {}", controller.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    cluster.wait_condition("Filter", "partner-key", "ResolvedRefs", "True");
    // Another Secret may not be read: said on the object that names it.
    cluster.apply(&format!(
        "apiVersion: {V3}\nkind: Filter\nmetadata: {{name: other}}\nspec: {{APIKey: {{keys: [{{secretName: hidden}}]}}}}\n"
    ));
    let refs = cluster.wait_condition("Filter", "other", "ResolvedRefs", "False");
    assert!(message(&refs).contains("hidden"), "{refs}");
    let found = http::get(ports.admin, "/diagnostics").unwrap().body;
    assert!(found.contains("Secret default/hidden cannot be read"), "{found}");
}

#[test]
fn a_listener_follows_the_labels_of_namespaces() {
    let cluster = Cluster::start();
    let ports = Ports::new();
    cluster.apply(&crds("emissary"));
    cluster.apply(&crds("own"));
    let labels = |text: &str| {
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{{text}}}}}\n"
        ));
    };
    labels("team: back");
    let port = ports.listener.port();
    cluster.apply(&format!(
        "\
apiVersion: {V3}
kind: Listener
metadata: {{name: web, namespace: default}}
spec:
  port: {port}
  protocol: HTTP
  securityModel: INSECURE
  hostBinding: {{namespace: {{from: SELECTOR, selector: {{matchExpressions: [{{key: team, operator: In, values: [web]}}]}}}}}}
---
apiVersion: {V3}
kind: Host
metadata: {{name: shop, namespace: shop}}
spec: {{hostname: gateway.test, requestPolicy: {{insecure: {{action: Route}}}}}}
---
apiVersion: {V3}
kind: Mapping
metadata: {{name: shop, namespace: shop}}
spec: {{hostname: gateway.test, prefix: /shop/, service: '{}'}}
",
        ports.echo
    ));
    let edge = Edge::start(ports);
    let mut controller = controller(&cluster.kubeconfig(), ports.xds, ports.admin, &[]);
    controller.wait_ready(ports.admin);
    cluster.wait_condition("Listener", "web", "Accepted", "False");
    assert_ne!(edge.get("/shop/x"), Some(200), "its namespace has other labels");
    labels("team: web");
    edge.wait_status("/shop/x", 200);
    labels("team: back");
    cluster.wait("Listener without a Host that ends", || edge.get("/shop/x").is_none());
}

#[test]
fn certificates_are_made_and_admission_speaks_the_words_of_the_status() {
    let cluster = Cluster::start();
    cluster.apply(&crds("emissary"));
    let kubeconfig = cluster.kubeconfig();
    let certificates = || {
        let output = std::process::Command::new(program("gateway-ctl"))
            .args(["certificates", "--namespace", "default", "--ca-secret", "ca"])
            .args(["--secret", "ctl-tls=localhost,ctl.default.svc", "--secret", "envoy-tls=envoy"])
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    let (one, two) = std::thread::scope(|s| {
        let (one, two) = (s.spawn(certificates), s.spawn(certificates));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!((one + &two).matches(": made").count(), 3, "each once, whoever came first");
    assert_eq!(certificates(), "", "they last");

    // What the kubelet does with a Secret.
    let folder = TempDir::new("webhook");
    let secret = cluster.get("v1", "Secret", "default", "ctl-tls").unwrap();
    use base64::Engine as _;
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        let text = secret["data"][name].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        folder.write(name, &String::from_utf8(bytes).unwrap());
    }
    let (xds, admin, webhook) = (free_addr(), free_addr(), free_addr());
    cluster.apply(&format!(
        "\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: tollgate}}
webhooks:
- name: objects.tollgate.test
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 5
  clientConfig: {{url: 'https://localhost:{}/validate'}}
  rules:
  - {{apiGroups: [getambassador.io], apiVersions: ['*'], resources: ['*'], operations: [CREATE, UPDATE]}}
",
        webhook.port()
    ));
    let mut controller = controller(
        &kubeconfig,
        xds,
        admin,
        &[
            "--tls-dir",
            folder.path().to_str().unwrap(),
            "--webhook-addr",
            &webhook.to_string(),
            "--webhook-configuration",
            "tollgate",
        ],
    );
    controller.wait_ready(admin);
    controller.wait_log("new CA");
    let object = |name: &str, service: &str| {
        serde_json::json!({
            "apiVersion": V3, "kind": "Mapping", "metadata": {"name": name},
            "spec": {"prefix": "/", "service": service},
        })
    };
    let end = Instant::now() + PATIENCE;
    while let Err(e) = cluster.try_apply(object("good", "a:80")) {
        assert!(Instant::now() < end, "{e}\n{}", controller.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = cluster.try_apply(object("bad", "a:99999")).unwrap_err();
    assert!(refused.contains("found invalid port `99999`; a port is 1 to 65535"), "{refused}");
    assert!(cluster.get(V3, "Mapping", "default", "bad").is_none());
}

#[test]
fn an_ingress_is_routed_and_told_the_gateways_addresses() {
    let cluster = Cluster::start();
    let ports = Ports::new();
    cluster.apply(&crds("emissary"));
    let edge = Edge::start(ports);
    let mut controller = controller(&cluster.kubeconfig(), ports.xds, ports.admin, &[]);
    controller.wait_ready(ports.admin);
    cluster.apply(&format!(
        "apiVersion: {V3}
kind: Listener
metadata: {{name: http, namespace: default}}
spec: {{port: {}, protocol: HTTP, securityModel: XFP, hostBinding: {{namespace: {{from: ALL}}}}}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: edge}}
spec: {{controller: getambassador.io/ingress-controller}}
---
apiVersion: v1
kind: Service
metadata: {{name: gateway, namespace: default, labels: {{app.kubernetes.io/component: ambassador-service}}}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: shop, namespace: default}}
spec:
  ingressClassName: edge
  rules:
  - http: {{paths: [{{path: /shop, pathType: Prefix, backend: {{service: {{name: shop, port: {{number: 80}}}}}}}}]}}
",
        ports.listener.port()
    ));
    // Nothing answers to the Service's name here, so a route shows as 503.
    edge.wait_status("/shop/x", 503);
    assert_eq!(edge.get("/shopping"), Some(404));
    let balancer = serde_json::json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
    cluster.patch_status("v1", "Service", "default", "gateway", &balancer);
    cluster.wait("the address of the gateway", || {
        let ingress = cluster.get("networking.k8s.io/v1", "Ingress", "default", "shop");
        ingress.is_some_and(|i| i["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.7")
    });
    cluster.delete("networking.k8s.io/v1", "IngressClass", "", "edge");
    edge.wait_status("/shop/x", 404);
    // Nobody is sent here for it any longer.
    cluster.wait("no address", || {
        let ingress = cluster.get("networking.k8s.io/v1", "Ingress", "default", "shop");
        ingress.is_some_and(|i| i["status"]["loadBalancer"]["ingress"].is_null())
    });
}
