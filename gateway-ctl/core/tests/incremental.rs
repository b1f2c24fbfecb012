//! What a change touches, and what it does not.

#[path = "support/objects.rs"]
mod support;

use std::sync::Arc;

use gateway_core::ir::balance::ConsulService;
use gateway_core::resource::consul;
use gateway_core::{Engine, ResourceType, Settings};
use serde_json::{Value, json};
use service_kit::Object;
use support::*;

#[test]
fn a_new_mapping_dirties_its_host_and_makes_its_cluster() {
    let mut engine = engine(edge());
    let output = engine.apply(vec![mapping("a", "*", "/a/")], vec![]);
    assert_eq!(changed(&output), ["Cluster cluster_a_default", "Route edge"]);
    let output = engine.apply(vec![mapping("b", "*", "/b/")], vec![]);
    assert_eq!(changed(&output), ["Cluster cluster_b_default", "Route edge"]);
    let output = engine.apply(vec![], vec![reference("Mapping", "a")]);
    assert_eq!(changed(&output), ["Route edge"]);
    assert_eq!(removed(&output), ["Cluster cluster_a_default"]);
}

#[test]
fn a_new_member_changes_the_group_it_joins() {
    let mut engine = engine(edge());
    engine.apply(vec![mapping("a", "*", "/x/")], vec![]);
    engine.apply(
        vec![object("Mapping", "b", "{hostname: '*', prefix: /x/, service: b, weight: 20}")],
        vec![],
    );
    let routes = routes(&engine);
    let fraction = routes[0].pointer("/match/runtime_fraction/default_value/numerator");
    assert_eq!(fraction, Some(&json!(20)));
    assert_eq!(routes[0].pointer("/route/cluster"), Some(&json!("cluster_b_default")));
    assert_eq!(routes[1].pointer("/route/cluster"), Some(&json!("cluster_a_default")));
}

#[test]
fn the_same_event_twice_changes_nothing() {
    let mut engine = engine(edge());
    let object = mapping("a", "*", "/a/");
    engine.apply(vec![object.clone()], vec![]);
    let output = engine.apply(vec![object], vec![]);
    assert_eq!((changed(&output).len(), output.lowered, output.diagnostics_changed), (0, 0, false));
}

#[test]
fn a_change_that_means_the_same_stops_at_the_door() {
    let mut engine = engine(edge());
    engine.apply(vec![mapping("a", "*", "/a/")], vec![]);
    let spec = "{hostname: '*', prefix: /a/, service: a, docs: {path: /openapi}}";
    let output = engine.apply(vec![object("Mapping", "a", spec)], vec![]);
    assert_eq!((changed(&output).len(), output.lowered), (0, 0));
}

#[test]
fn a_mapping_moves_from_host_to_host() {
    let listener = listener("edge", 8080);
    let mut engine = engine(vec![listener, host("x", "x.test"), host("y", "y.test")]);
    engine.apply(vec![mapping("a", "x.test", "/")], vec![]);
    let count = |engine: &Engine| {
        let overview = engine.overview();
        overview.hosts.iter().map(|h| h.routes).collect::<Vec<_>>()
    };
    assert_eq!(count(&engine), [1, 0]);
    engine.apply(vec![mapping("a", "y.test", "/")], vec![]);
    assert_eq!(count(&engine), [0, 1]);
    engine.apply(vec![mapping("a", "*.test", "/")], vec![]);
    assert_eq!(count(&engine), [1, 1]);
    engine.apply(vec![host("y", "y.example")], vec![]);
    assert_eq!(count(&engine), [1, 0]);
}

#[test]
fn a_change_of_the_module_reaches_every_mapping() {
    let mut engine = engine(edge());
    engine.apply(vec![mapping("a", "*", "/a/"), mapping("b", "*", "/b/")], vec![]);
    let module = object("Module", "ambassador", "{config: {cluster_request_timeout_ms: 700}}");
    let output = engine.apply(vec![module], vec![]);
    assert_eq!(changed(&output), ["Route edge"]);
    assert!(routes(&engine).iter().all(|r| r.pointer("/route/timeout") == Some(&json!("0.700s"))));
    let output = engine.apply(vec![], vec![reference("Module", "ambassador")]);
    assert_eq!(changed(&output), ["Route edge"]);
    assert!(routes(&engine).iter().all(|r| r.pointer("/route/timeout") == Some(&json!("3s"))));
}

#[test]
fn two_settings_of_one_cluster_name_become_two_clusters() {
    let mut engine = engine(edge());
    engine.apply(
        vec![
            object("Mapping", "a", "{hostname: '*', prefix: /a/, service: s, grpc: true}"),
            object("Mapping", "b", "{hostname: '*', prefix: /b/, service: s}"),
        ],
        vec![],
    );
    let clusters: Vec<_> = engine.overview().clusters.iter().map(|c| c.name.clone()).collect();
    assert_eq!(clusters.len(), 2);
    let routes = routes(&engine);
    let cluster_of = |i: usize| routes[i].pointer("/route/cluster").unwrap().as_str().unwrap();
    assert!(cluster_of(0).starts_with("cluster_s_default-"), "{}", cluster_of(0));
    assert_eq!(cluster_of(1), "cluster_s_default");
    engine.apply(vec![], vec![reference("Mapping", "a")]);
    let names: Vec<_> = engine.overview().clusters.iter().map(|c| c.name.clone()).collect();
    assert_eq!(names, ["cluster_s_default"]);
}

#[test]
fn a_broken_version_leaves_the_one_before_in_force_and_says_so() {
    let mut engine = engine(edge());
    engine.apply(vec![mapping("a", "*", "/a/")], vec![]);
    let before: Vec<_> = engine.resources().cloned().collect();
    let broken =
        object("Mapping", "a", "{hostname: '*', prefix: '/x(', prefix_regex: true, service: a}");
    let output = engine.apply(vec![broken], vec![]);
    assert!(output.changed.is_empty() && output.diagnostics_changed);
    assert_eq!(engine.resources().cloned().collect::<Vec<_>>(), before);
    let found = findings(&engine);
    assert!(
        found[0].contains("spec.prefix") && found[0].contains("regular expression"),
        "{found:?}"
    );
    assert!(found[0].ends_with("the previous version stays in force"), "{found:?}");
    let output = engine.apply(vec![], vec![reference("Mapping", "a")]);
    assert_eq!(removed(&output), ["Cluster cluster_a_default"]);
    assert!(engine.diagnostics().is_empty());
}

#[test]
fn what_envoy_refuses_is_taken_back_and_reported_on_what_changed() {
    let mut engine = engine(edge());
    engine.apply(vec![mapping("a", "*", "/a/")], vec![]);
    let good = json(&engine, ResourceType::Route, "edge");
    engine.apply(vec![mapping("b", "*", "/b/")], vec![]);
    let output = engine.reject(ResourceType::Route, "edge", "no such thing");
    assert_eq!(changed(&output), ["Route edge"]);
    assert!(output.diagnostics_changed);
    assert_eq!(json(&engine, ResourceType::Route, "edge"), good);
    let found = findings(&engine);
    assert!(found[0].starts_with("error Mapping default/b: : Envoy refused"), "{found:?}");
    let output = engine.apply(vec![], vec![reference("Mapping", "b")]);
    assert!(output.diagnostics_changed);
    assert!(engine.diagnostics().is_empty());
    assert_eq!(json(&engine, ResourceType::Route, "edge"), good);
}

#[test]
fn a_secret_of_files_is_asked_for_in_words_that_envoy_does_not_know_yet() {
    let secret = "certificate/file//tls/a.crt+/tls/a.key";
    let host =
        "{hostname: a.test, tls: {cert_chain_file: /tls/a.crt, private_key_file: /tls/a.key}}";
    let listener = object(
        "Listener",
        "secure",
        "{port: 8443, protocol: HTTPS, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}",
    );
    let mut engine = engine(vec![listener, object("Host", "a", host)]);
    let version =
        |engine: &Engine| engine.resources().find(|r| r.name == secret).map(|r| r.version.clone());
    let first = version(&engine).unwrap();
    assert!(engine.may_heal(ResourceType::Secret, secret));
    assert!(!engine.may_heal(ResourceType::Listener, "secure"));
    assert!(engine.ask_again(ResourceType::Secret, secret).is_none(), "nobody refused it");
    // Whatever was asked for in vain is known to Envoy, too.
    let mut last = first;
    for _ in 0..3 {
        engine.reject(ResourceType::Secret, secret, "no file");
        assert_eq!(version(&engine), None);
        let output = engine.ask_again(ResourceType::Secret, secret).unwrap();
        assert_eq!(changed(&output), [format!("Secret {secret}")]);
        let now = version(&engine).unwrap();
        assert_ne!(now, last);
        last = now;
    }
    engine.apply(vec![mapping("m", "*", "/")], vec![]);
    assert_eq!(version(&engine), Some(last), "another change does not change the words");
    assert!(findings(&engine)[0].contains("no file"), "it is not known yet whether it is there");
    assert!(engine.heal(ResourceType::Secret, secret).diagnostics_changed);
    assert!(engine.diagnostics().is_empty());
}

#[test]
fn one_label_of_a_selector_is_enough_where_that_is_said() {
    let settings = || Settings { loose_selectors: true, ..Settings::default() };
    let labelled = |name: &str, labels: &str| {
        let yaml = format!(
            "{{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {{name: {name}, labels: {labels}}}, spec: {{prefix: /{name}/, service: s}}}}"
        );
        objects(&yaml).remove(0)
    };
    let host = |labels: &str| {
        let spec = format!("{{hostname: a.test, mappingSelector: {{matchLabels: {labels}}}}}");
        object("Host", "a", &spec)
    };
    let mut all = edge();
    all.retain(|o| o.reference.kind != "Host");
    let mut live = Engine::new(settings());
    live.apply(all.clone(), vec![]);
    for change in [
        host("{one: x, two: y}"),
        labelled("m", "{two: y}"),
        labelled("m", "{one: x}"),
        labelled("m", "{three: z}"),
        host("{one: x, three: z}"),
        host("{one: x, two: y}"),
    ] {
        all.retain(|o| o.reference != change.reference);
        all.push(change.clone());
        live.apply(vec![change], vec![]);
        let mut fresh = Engine::new(settings());
        fresh.apply(all.clone(), vec![]);
        assert_eq!(live.resources().collect::<Vec<_>>(), fresh.resources().collect::<Vec<_>>());
        assert_eq!(live.diagnostics(), fresh.diagnostics());
    }
    live.apply(vec![labelled("m", "{two: y}")], vec![]);
    assert_eq!(routes(&live).len(), 1);
}

#[test]
fn objects_of_other_instances_are_not_there() {
    let mut engine = engine(edge());
    let other =
        object("Mapping", "a", "{ambassador_id: [two], hostname: '*', prefix: /, service: a}");
    let output = engine.apply(vec![other], vec![]);
    assert!(changed(&output).is_empty());
    engine.apply(vec![mapping("a", "*", "/a/")], vec![]);
    let other =
        object("Mapping", "a", "{ambassador_id: two, hostname: '*', prefix: /, service: a}");
    let output = engine.apply(vec![other], vec![]);
    assert_eq!(removed(&output), ["Cluster cluster_a_default"]);
}

#[test]
fn secrets_are_passed_on_only_when_they_are_named() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {k: v}\n";
    let mut engine = engine(edge());
    let output = engine.apply(objects(secret), vec![]);
    assert!(changed(&output).is_empty());
    let filter =
        object("Filter", "key", "{APIKey: {httpHeader: x-key, keys: [{secretName: keys}]}}");
    let output = engine.apply(vec![filter], vec![]);
    assert_eq!(
        changed(&output),
        ["AuthorizationObject Filter/default/key", "AuthorizationObject Secret/default/keys"]
    );
    let output = engine.apply(vec![], vec![reference("Filter", "key")]);
    assert_eq!(removed(&output).len(), 2);
}

#[test]
fn a_policy_with_errors_is_passed_on_so_that_what_it_guards_stays_shut() {
    let mut engine = engine(edge());
    let broken = object("FilterPolicy", "p", "{rules: [{host: 7, path: []}]}");
    let output = engine.apply(vec![broken], vec![]);
    assert_eq!(changed(&output), ["AuthorizationObject FilterPolicy/default/p"]);
    assert!(findings(&engine)[0].starts_with("error FilterPolicy"), "{:?}", findings(&engine));
}

/// Whether every request is refused.
fn is_closed(engine: &Engine) -> bool {
    let listener = json(engine, ResourceType::Listener, "edge");
    listener.to_string().contains("envoy.filters.http.lua.closed")
}

#[test]
fn what_would_refuse_requests_and_cannot_refuses_all() {
    for (kind, name, spec) in [
        ("AuthService", "a", "{auth_service: a, proto: grpc}"),
        ("AuthService", "a", "{proto: grpc, protocol_version: v3}"),
        ("AuthService", "a", "{auth_service: a, proto: grpc, protocol_version: v3, tls: ctx}"),
        ("RateLimitService", "r", "{service: r, failure_mode_deny: true}"),
        ("Module", "ambassador", "{config: {ip_deny: [{remote: 10.0.0.0/99}]}}"),
        ("Module", "ambassador", "{config: {ip_deny: [{from: 10.0.0.0/8}]}}"),
        ("Module", "ambassador", "{config: {ip_deny: 10.0.0.0/8}}"),
        ("Module", "ambassador", "{config: {ip_allow: [{peer: 10.0.0.1}], server_name: [7]}}"),
        (
            "Module",
            "ambassador",
            "{config: {ip_allow: [{peer: 10.0.0.1}], ip_deny: [{peer: 10.0.0.1}]}}",
        ),
    ] {
        let mut engine = engine(edge());
        assert!(!is_closed(&engine));
        engine.apply(vec![object(kind, name, spec)], vec![]);
        assert!(is_closed(&engine), "{kind} {spec}: {:?}", findings(&engine));
        engine.apply(vec![], vec![reference(kind, name)]);
        assert!(!is_closed(&engine), "{kind} {spec}");
    }
    let open = object("RateLimitService", "r", "{service: r}");
    let engine = engine([edge(), vec![open]].concat());
    assert!(!is_closed(&engine) && !findings(&engine).is_empty());
}

#[test]
fn a_host_that_is_broken_opens_nothing() {
    let broken = object("Host", "h", "{hostname: x.test, tlsSecret: {name: cert}}");
    let engine = engine(vec![listener("edge", 8080), broken, mapping("a", "*", "/")]);
    let found = findings(&engine);
    assert!(found.iter().any(|f| f.contains("there is no Secret `cert`")), "{found:?}");
    // Not even in the clear, but for what proves that the name is ours.
    assert_eq!(routes(&engine), Vec::<Value>::new());
    let mut engine = engine;
    engine.apply(vec![mapping("acme", "*", "/.well-known/acme-challenge/")], vec![]);
    assert_eq!(routes(&engine).len(), 1);
}

#[test]
fn a_hostname_is_compared_only_where_the_host_is_wider() {
    let of = |hostname: &str| {
        let mut objects = vec![listener("edge", 8080), host("h", hostname)];
        objects.push(mapping("a", "X.test", "/"));
        let engine = engine(objects);
        routes(&engine)[0].pointer("/match/headers/0/string_match").cloned()
    };
    assert_eq!(of("x.test"), None);
    assert_eq!(of("*"), Some(json!({"exact": "x.test", "ignore_case": true})));
}

fn many(count: usize) -> Engine {
    let mut engine = Engine::new(Settings::default());
    let mut all = edge();
    all.extend((0..count).map(|i| mapping(&format!("m{i}"), "*", &format!("/m{i}/"))));
    engine.apply(all, vec![]);
    engine
}

fn change(i: usize) -> Arc<Object> {
    object(
        "Mapping",
        &format!("m{i}"),
        &format!("{{hostname: '*', prefix: /m{i}/, service: changed}}"),
    )
}

#[test]
fn one_change_among_ten_thousand_mappings_lowers_a_handful() {
    let mut engine = many(10_000);
    assert_eq!(engine.overview().routes.len(), 10_000);
    let output = engine.apply(vec![change(5_000)], vec![]);
    // The group, the old and the new cluster, the virtual host and the table.
    assert!(output.lowered <= 5, "{}", output.lowered);
    assert_eq!(
        (changed(&output), removed(&output)),
        (
            vec!["Cluster cluster_changed_default".to_owned(), "Route edge".to_owned()],
            vec!["Cluster cluster_m5000_default".to_owned()]
        )
    );
}

fn slice(service: usize, host: usize) -> Arc<Object> {
    let yaml = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: e{service}, labels: {{kubernetes.io/service-name: s{service}}}}}, addressType: IPv4, ports: [{{name: http, port: 8080}}], endpoints: [{{addresses: [10.{}.{}.1]}}]}}",
        host / 256,
        host % 256
    );
    objects(&yaml).remove(0)
}

#[test]
fn a_thousand_changes_of_endpoints_touch_nothing_else() {
    let services = 1000;
    let mut engine = Engine::new(Settings::default());
    let mut all = edge();
    for i in 0..services {
        let spec = format!("{{hostname: '*', prefix: /m{i}/, service: s{i}, resolver: endpoint}}");
        all.push(object("Mapping", &format!("m{i}"), &spec));
        all.push(slice(i, 0));
    }
    engine.apply(all, vec![]);
    for i in 0..services {
        let output = engine.apply(vec![slice(i, i + 1)], vec![]);
        assert_eq!(output.lowered, 1, "one unit for one change");
        assert_eq!(changed(&output), [format!("Endpoint k8s/default/s{i}/80")]);
        assert!(output.removed.is_empty() && !output.diagnostics_changed);
    }
}

fn in_consul(name: &str) -> ConsulService {
    let (agent, datacenter) = (String::new(), "dc1".to_owned());
    ConsulService { agent, datacenter, service: name.to_owned(), trusted: true, apart: false }
}

#[test]
fn what_consul_says_becomes_endpoints_and_until_then_nothing_is_said() {
    let mut engine = engine(edge());
    let spec = "{hostname: '*', prefix: /w/, service: web, resolver: consul}";
    let output = engine.apply(vec![object("Mapping", "w", spec)], vec![]);
    assert_eq!(changed(&output), ["Cluster cluster_web_default", "Route edge"]);
    assert_eq!(engine.consul_services().cloned().collect::<Vec<_>>(), [in_consul("web")]);
    let say =
        |host: &str| Arc::new(consul::object(&in_consul("web"), &[(host.to_owned(), 81)].into()));
    let output = engine.apply(vec![say("10.0.0.1")], vec![]);
    assert_eq!((changed(&output), output.lowered), (vec!["Endpoint consul/dc1/web".to_owned()], 1));
    // What a file says is not Consul's word.
    let file = "{apiVersion: consul/v1, kind: ConsulService, metadata: {name: consul/dc1/web}, instances: [[10.6.6.6, 1]]}";
    let lie = objects(file).remove(0);
    assert!(changed(&engine.apply(vec![lie], vec![])).is_empty());
}

#[test]
fn two_agents_of_one_datacenters_name_are_kept_apart() {
    let mut engine = engine(edge());
    let resolver = |name: &str, address: &str| {
        object("ConsulResolver", name, &format!("{{datacenter: dc1, address: '{address}'}}"))
    };
    let mapping = |resolver: &str| {
        let spec =
            format!("{{hostname: '*', prefix: /{resolver}/, service: web, resolver: {resolver}}}");
        object("Mapping", resolver, &spec)
    };
    engine.apply(
        vec![resolver("one", "a:8500"), resolver("two", "b:8500"), mapping("one"), mapping("two")],
        vec![],
    );
    let names: Vec<_> = engine.consul_services().map(ToString::to_string).collect();
    assert_eq!(names, ["consul/dc1/web", "consul/dc1/web@b:8500"]);
    assert!(engine.consul_services().all(|s| s.trusted));
    let clusters: Vec<_> = engine.overview().clusters.iter().map(|c| c.address.clone()).collect();
    assert_eq!(clusters, ["consul/dc1/web", "consul/dc1/web@b:8500"]);
}

#[test]
fn another_agent_takes_over_what_was_known() {
    let mut engine = engine(edge());
    let spec = "{hostname: '*', prefix: /w/, service: web, resolver: consul}";
    let known = consul::object(&in_consul("web"), &[("10.0.0.1".to_owned(), 81)].into());
    engine.apply(vec![object("Mapping", "w", spec), Arc::new(known)], vec![]);
    let before = json(&engine, ResourceType::Endpoint, "consul/dc1/web");
    for address in ["a:8500", "z:8500"] {
        let spec = format!("{{datacenter: dc1, address: '{address}'}}");
        engine.apply(vec![object("ConsulResolver", "consul", &spec)], vec![]);
        assert_eq!(json(&engine, ResourceType::Endpoint, "consul/dc1/web"), before);
    }
    engine.apply(vec![], vec![reference("ConsulResolver", "consul")]);
    assert_eq!(json(&engine, ResourceType::Endpoint, "consul/dc1/web"), before);
}

#[test]
fn an_agent_that_another_namespace_names_is_not_trusted_with_the_token() {
    let text = "apiVersion: getambassador.io/v3alpha1\nkind: ConsulResolver\nmetadata: {name: theirs, namespace: team}\nspec: {datacenter: dc1, address: 'evil:80'}\n";
    let spec = "{hostname: '*', prefix: /a/, service: web, resolver: theirs}";
    let mut engine = engine(edge());
    engine.apply([objects(text), vec![object("Mapping", "a", spec)]].concat(), vec![]);
    let services: Vec<_> = engine.consul_services().map(|s| (s.to_string(), s.trusted)).collect();
    assert_eq!(services, [("consul/dc1/web".to_owned(), false)]);
}

#[test]
fn a_second_tracing_service_is_told_and_logs_have_many() {
    let mut engine = engine(edge());
    engine.apply(
        vec![
            object("TracingService", "a", "{driver: zipkin, service: z}"),
            object("TracingService", "b", "{driver: datadog, service: d}"),
            object("TracingService", "c", "{driver: lightstep, service: d}"),
            object("LogService", "l", "{service: l, protocol_version: v3}"),
            object("LogService", "m", "{service: m, protocol_version: v3, driver: tcp}"),
        ],
        vec![],
    );
    let found = findings(&engine);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("default/b") && found[0].contains("default/a is it"), "{found:?}");
    assert!(found[1].contains("lightstep is in Envoy no longer"), "{found:?}");
    let listener = json(&engine, ResourceType::Listener, "edge").to_string();
    assert!(listener.contains("cluster_tracing_z_default"), "{listener}");
    assert!(listener.contains("cluster_logging_l_default"), "{listener}");
    assert!(listener.contains("envoy.access_loggers.tcp_grpc"), "{listener}");
    assert!(!listener.contains("datadog"), "{listener}");
    let output = engine.apply(vec![], vec![reference("TracingService", "a")]);
    assert!(changed(&output).contains(&"Listener edge".to_owned()), "{:?}", changed(&output));
    assert!(json(&engine, ResourceType::Listener, "edge").to_string().contains("datadog"));
}

/// `cargo test --release -p gateway-core --test incremental -- --ignored --nocapture`
#[test]
#[ignore = "prints times; says nothing about right and wrong"]
fn times_of_one_change() {
    for count in [10, 1_000, 10_000] {
        let start = std::time::Instant::now();
        let mut engine = many(count);
        let cold = start.elapsed();
        let mut times: Vec<_> = (0..20)
            .map(|round| {
                let object = object(
                    "Mapping",
                    "m5",
                    &format!(
                        "{{hostname: '*', prefix: /m5/, service: m5, timeout_ms: {}}}",
                        100 + round
                    ),
                );
                let start = std::time::Instant::now();
                engine.apply(vec![object], vec![]);
                start.elapsed()
            })
            .collect();
        times.sort();
        let bytes: usize = engine.resources().map(|r| r.body.len()).sum();
        eprintln!(
            "{count} Mappings: cold {cold:?}, one change {:?} (p50) {:?} (max), {bytes} bytes",
            times[10], times[19]
        );
    }
}

/// What each kind of change lowers and sends, in a configuration of 200 Mappings on 20 Hosts.
#[test]
fn a_change_costs_what_it_touches() {
    let mut objects = vec![listener("edge", 8080), listener("other", 8081)];
    for n in 0..20 {
        objects.push(host(&format!("h{n}"), &format!("h{n}.test")));
        for m in 0..10 {
            objects.push(mapping(&format!("m{n}-{m}"), &format!("h{n}.test"), &format!("/{m}/")));
        }
    }
    let auth = "{auth_service: auth, proto: grpc, protocol_version: v3}";
    let limit = "{service: limit, protocol_version: v3}";
    objects.push(object("AuthService", "auth", auth));
    objects.push(object("RateLimitService", "limit", limit));
    let mut engine = engine(objects);
    let tables = "Route edge, Route other";
    let filter = |name: &str| format!("Extension envoy.filters.http.{name}");
    let (ext_authz, ratelimit) = (filter("ext_authz"), filter("ratelimit"));
    let listeners = "Listener edge, Listener other";
    let with =
        |kind: &str, name: &str, spec: &str| (kind.to_owned(), name.to_owned(), spec.to_owned());
    let mapping = |more: &str| {
        with(
            "Mapping",
            "m3-3",
            &format!("{{hostname: h3.test, prefix: /3/, service: m3-3, {more}}}"),
        )
    };
    // What is changed, the most units that may be looked at, and what is sent for it.
    let rows: [((String, String, String), usize, String); 11] = [
        // A route: its group, its Host, and the tables of both Listeners.
        (mapping("timeout_ms: 7"), 5, tables.to_owned()),
        // The cluster alone: its name stays.
        (
            mapping("timeout_ms: 7, connect_timeout_ms: 7"),
            2,
            "Cluster cluster_m3_3_default".to_owned(),
        ),
        (mapping("timeout_ms: 7, connect_timeout_ms: 7, docs: {path: /}"), 0, String::new()),
        (with("AuthService", "auth", &auth.replace('}', ", timeout_ms: 9}")), 6, ext_authz.clone()),
        (with("RateLimitService", "limit", &limit.replace('}', ", timeout_ms: 9}")), 6, ratelimit),
        // Another name for the service: another cluster, and the one before is gone.
        (
            with("AuthService", "auth", &auth.replace("auth_service: auth", "auth_service: new")),
            6,
            format!(
                "Cluster cluster_extauth_new_default, {ext_authz}, - Cluster cluster_extauth_auth_default"
            ),
        ),
        (
            with("Host", "h3", "{hostname: h3.test, requestPolicy: {insecure: {action: Reject}}}"),
            18,
            tables.to_owned(),
        ),
        (
            with(
                "Listener",
                "other",
                "{port: 8082, protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: ALL}}}",
            ),
            8,
            "Listener other".to_owned(),
        ),
        (
            with("RateLimit", "r", "{domain: ambassador, limits: []}"),
            1,
            "RateLimitObject RateLimit/default/r".to_owned(),
        ),
        (
            with("Filter", "f", "{External: {auth_service: x}}"),
            1,
            "AuthorizationObject Filter/default/f".to_owned(),
        ),
        (with("Module", "ambassador", "{config: {server_name: x}}"), 10, listeners.to_owned()),
    ];
    for ((kind, name, spec), most, wanted) in rows {
        assert_costs(&mut engine, object(&kind, &name, &spec), most, &wanted);
    }
}

/// A change looks at so many units at most, and this is sent for it.
fn assert_costs(engine: &mut Engine, object: Arc<Object>, most: usize, wanted: &str) {
    let what = format!("{} {}", object.reference, object.json["spec"]);
    let output = engine.apply(vec![object], vec![]);
    let mut sent = changed(&output);
    sent.extend(removed(&output).into_iter().map(|name| format!("- {name}")));
    assert_eq!(sent.join(", "), wanted, "{what}");
    assert!(output.lowered <= most, "{what}: {} units", output.lowered);
}

/// The same of what is beside Mappings and Hosts: TLSContexts, TCPMappings, Ingresses, resolvers and
/// what Consul says, among 100 Mappings on 10 Hosts.
#[test]
fn a_change_beside_mappings_costs_what_it_touches() {
    let mut objects = vec![listener("edge", 8080), listener("other", 8081)];
    for n in 0..10 {
        objects.push(host(&format!("h{n}"), &format!("h{n}.test")));
        for m in 0..10 {
            objects.push(mapping(&format!("m{n}-{m}"), &format!("h{n}.test"), &format!("/{m}/")));
        }
    }
    let mapping = |name: &str, more: &str| {
        let spec = format!("{{hostname: h3.test, prefix: /{name}/, service: {name}, {more}}}");
        object("Mapping", name, &spec)
    };
    let agent = |address: &str| {
        object("ConsulResolver", "consul", &format!("{{address: {address}, datacenter: dc1}}"))
    };
    let tcp =
        |more: &str| object("TCPMapping", "tcp", &format!("{{port: 9000, service: db{more}}}"));
    objects.extend([
        object("TLSContext", "up", "{hosts: [], min_tls_version: v1.2}"),
        mapping("secure", "tls: up"),
        agent("consul:8500"),
        mapping("known", "resolver: consul"),
        tcp(":1"),
        object("KubernetesEndpointResolver", "each", "{}"),
    ]);
    let mut engine = engine(objects);
    let known = engine.consul_services().next().cloned().unwrap();
    let mut costs = |object: Arc<Object>, most: usize, wanted: &str| {
        assert_costs(&mut engine, object, most, wanted);
    };
    let tables = "Route edge, Route other";
    // Who names it; a context that nobody names is nothing.
    let context = |name: &str| object("TLSContext", name, "{hosts: [], min_tls_version: v1.3}");
    costs(context("up"), 2, "Cluster cluster_secure_otls_up_default");
    costs(context("unused"), 0, "");
    // Its Listener, and no other one's bytes.
    costs(
        tcp(":2"),
        5,
        "Cluster cluster_db_2_default, Listener tcp/0.0.0.0:9000, - Cluster cluster_db_1_default",
    );
    costs(tcp(":2, idle_timeout_ms: 5000"), 5, "Listener tcp/0.0.0.0:9000");
    // The Host and the Mapping that it means.
    costs(
        ingress("a", "h4.test", "/in/"),
        6,
        &format!("Cluster cluster_web_default_80_default, {tables}"),
    );
    costs(ingress("a", "h4.test", "/in2/"), 6, tables);
    // What Consul says is its endpoints; another agent takes over what the one before said.
    costs(
        Arc::new(consul::object(&known, &[("10.0.0.1".to_owned(), 80)].into())),
        1,
        "Endpoint consul/dc1/known",
    );
    costs(agent("other:8500"), 4, "");
    costs(object("KubernetesEndpointResolver", "each", "{ambassador_id: [default]}"), 0, "");
    costs(
        mapping("known", "resolver: each"),
        4,
        "Cluster cluster_known_default, Endpoint k8s/default/known/80, - Endpoint consul/dc1/known",
    );
}

fn ingress(name: &str, host: &str, path: &str) -> Arc<Object> {
    let yaml = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, annotations: {{kubernetes.io/ingress.class: ambassador}}}}\n\
         spec: {{rules: [{{host: {host}, http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n"
    );
    objects(&yaml).remove(0)
}
