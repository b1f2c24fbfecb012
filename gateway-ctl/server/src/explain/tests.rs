use gateway_core::Overview;
use gateway_core::overview::{
    ClusterOverview, HostOverview, ListenerOverview, RouteOverview, ServiceOverview, ValueMatch,
};
use service_kit::{Object, ObjectRef};

use super::*;

fn overview() -> Overview {
    let host = ObjectRef::new("Host", "default", "shop");
    let route = |name: &str, path: &str| RouteOverview {
        host: host.clone(),
        mapping: ObjectRef::new("Mapping", "default", name),
        path_kind: "prefix".to_owned(),
        path: path.to_owned(),
        case_sensitive: true,
        hostname: "*".to_owned(),
        weight: 100,
        cluster: Some("cluster_a".to_owned()),
        service: "a".to_owned(),
        timeout_ms: 3000,
        authorized: true,
        descriptors: vec![vec![
            "remote_address=<client address>".to_owned(),
            "user=<header x-user>".to_owned(),
        ]],
        ..RouteOverview::default()
    };
    let mut posts = route("posts", "/api/");
    posts.headers.push(ValueMatch {
        name: ":method".to_owned(),
        value: Some("POST".to_owned()),
        regex: false,
    });
    let service = |kind: &str| ServiceOverview {
        service: ObjectRef::new(kind, "default", "s"),
        state: "in force".to_owned(),
        domain: "ambassador".to_owned(),
        ..ServiceOverview::default()
    };
    Overview {
        listeners: vec![ListenerOverview {
            port: 8080,
            security_model: "INSECURE".to_owned(),
            hosts: vec![host.clone(), ObjectRef::new("Host", "default", "any")],
            ..ListenerOverview::default()
        }],
        hosts: vec![
            HostOverview {
                host: ObjectRef::new("Host", "default", "any"),
                hostname: "*".to_owned(),
                insecure_action: "Redirect".to_owned(),
                routes: 0,
            },
            HostOverview {
                host: host.clone(),
                hostname: "*.example".to_owned(),
                insecure_action: "Route".to_owned(),
                routes: 2,
            },
        ],
        routes: vec![posts, route("all", "/api/")],
        clusters: vec![ClusterOverview {
            name: "cluster_a".to_owned(),
            address: "a:80".to_owned(),
            ..ClusterOverview::default()
        }],
        services: vec![service("AuthService"), service("RateLimitService")],
        ..Overview::default()
    }
}

fn objects() -> Vec<Arc<Object>> {
    let text = "\
apiVersion: getambassador.io/v3alpha1
kind: FilterPolicy
metadata: {name: p}
spec:
  rules:
  - {host: 'other.example', path: '*', filters: [{name: no}]}
  - {host: '*.example', path: '/api/*', filters: [{name: keys, ifRequestHeader: {name: x-key}}]}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: keys}
spec: {APIKey: {keys: [{secretName: k}]}}
---
apiVersion: v1
kind: Secret
metadata: {name: k}
stringData: {a: b}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: l}
spec:
  domain: ambassador
  limits:
  - {pattern: [{remote_address: '*'}], rate: 10, unit: minute}
  - {name: bob, pattern: [{remote_address: '*'}, {user: bob}], rate: 1, unit: hour}
";
    Object::from_yaml(text, "x.yaml").unwrap().0.into_iter().map(Arc::new).collect()
}

fn material() -> Material {
    Material {
        overview: overview(),
        objects: objects(),
        ambassador_id: "default".to_owned(),
        ..Material::default()
    }
}

fn explain_one(method: &str, url: &str, headers: &[&str]) -> String {
    let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
    let asked =
        Asked { method: method.to_owned(), url: url.to_owned(), headers, ..Asked::default() };
    explain(&Question::read(&asked).unwrap(), &material(), &Live::default()).to_text()
}

#[test]
fn names_what_a_request_meets_and_why() {
    let text = explain_one("get", "http://shop.example:8080/api/x?y=1", &["X-User: bob"]);
    for part in [
        "GET /api/x?y=1 to shop.example",
        "Host default/shop: hostname `*.example`",
        "Mapping default/all: prefix `/api/`",
        "not Mapping default/posts: wants header :method to be `POST`",
        "cluster_a (a:80)",
        "rule that fits: p.default[1]",
        "Filter default/keys (APIKey)",
        "limit `bob` of RateLimit default/l: 1 per hour\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = explain_one("GET", "http://a.example:8080/api/", &["x-user: eve"]);
    let other = "limit 0 of RateLimit default/l: 10 per minute";
    assert!(text.contains(other) && !text.contains("`bob`"), "{text}");
    let text = explain_one("GET", "http://a.example:8080/api/", &["x-key: wrong"]);
    assert!(text.contains("denied with status 401") && !text.contains("limit 0"), "{text}");
}

#[test]
fn says_where_a_request_ends_early() {
    assert!(explain_one("GET", "http://shop.example:8080/other", &[]).contains("none fits: 404"));
    assert!(explain_one("GET", "http://elsewhere:8080/api/", &[]).contains("301 to https"));
}

#[test]
fn wrong_arguments_are_named() {
    assert!(Request::parse("GET", "/api", &[]).unwrap_err().contains("/api"));
    let error = Request::parse("GET", "http://a/", &["nonsense".to_owned()]).unwrap_err();
    assert!(error.contains("nonsense"));
}

#[test]
fn what_authz_svc_decided_goes_before_what_it_would_decide() {
    let line = "ACCESS [x] \"GET /api/x HTTP/1.1\" 401 UAEX 0 9 1 - \"-\" \"-\" \"1-2\" \"shop.example\" \"-\" ext_authz_denied \"cluster_a\" \"default/all\" \"-\" 8080 http";
    let asked = Asked { text: line.to_owned(), ..Asked::default() };
    let question = Question::read(&asked).unwrap();
    assert_eq!(question.symptom.request_id.as_deref(), Some("1-2"));
    let decision = serde_json::from_str(
        r#"{"result":"denied","status":401,"rule":"p.default[1]","filters":[{"filter":"keys.default","kind":"APIKey","result":"denied","status":401,"reason":"the key is unknown"}]}"#,
    );
    let live = Live { decision: Some(decision.unwrap()), ..Live::default() };
    let explanation = explain(&question, &material(), &live);
    let first = &explanation.causes[0];
    assert_eq!((first.id.as_str(), first.is_certain), ("filter-denies", true));
    assert!(first.found[0].words.ends_with("answered 401: the key is unknown"), "{first:?}");
    assert!(explanation.to_text().contains("authz-svc      denied, 401, by rule p.default[1]"));
}

#[test]
fn where_nothing_is_like_that_the_usual_causes_are_told() {
    let asked = Asked { text: "503 UO".to_owned(), ..Asked::default() };
    let material = Material::default();
    let explanation = explain(&Question::read(&asked).unwrap(), &material, &Live::default());
    assert_eq!(explanation.causes[0].id, "circuit-breaker");
    let asked = Asked { flags: vec!["UH".to_owned()], ..Asked::default() };
    let explanation = explain(&Question::read(&asked).unwrap(), &material, &Live::default());
    assert!(explanation.causes.iter().all(|c| !c.is_certain) && !explanation.causes.is_empty());
    assert!(explanation.notes[0].contains("the usual causes"), "{explanation:?}");
}

#[test]
fn hosts_that_are_ejected_are_told_from_those_that_fail_their_checks() {
    let host = |unhealthy: &str| EnvoyHost {
        address: "10.0.0.1:1".to_owned(),
        unhealthy: unhealthy.to_owned(),
    };
    let (out, fails, well) =
        (host("it is ejected as an outlier"), host("its health check fails"), host(""));
    let first = |hosts: &[&EnvoyHost]| {
        let mut material = material();
        let cluster = ClusterOverview {
            name: "cluster_a".to_owned(),
            address: "10.0.0.1:1".to_owned(),
            health_checks: true,
            outlier_detection: true,
            owners: vec![ObjectRef::new("Mapping", "default", "all")],
            ..ClusterOverview::default()
        };
        material.overview.clusters = vec![cluster];
        let hosts = hosts.iter().map(|h| (*h).clone()).collect();
        let hosts = Some(EnvoyHosts([("cluster_a".to_owned(), hosts)].into()));
        let asked = Asked { text: "503 UH".to_owned(), ..Asked::default() };
        let question = Question::read(&asked).unwrap();
        let explanation = explain(&question, &material, &Live { hosts, ..Live::default() });
        let first = &explanation.causes[0];
        (first.id.clone(), first.is_certain)
    };
    assert_eq!(first(&[&out, &out]), ("hosts-ejected".to_owned(), true));
    assert_eq!(first(&[&fails, &fails]), ("hosts-unhealthy".to_owned(), true));
    assert!(!first(&[&well, &out]).1);
    assert!(!first(&[]).1);
}

#[test]
fn a_filter_may_refuse_a_content_type() {
    let asked = Asked { text: "415 UAEX".to_owned(), ..Asked::default() };
    let question = Question::read(&asked).unwrap();
    let explanation = explain(&question, &Material::default(), &Live::default());
    assert_eq!(explanation.causes[0].id, "filter-denies");
}

#[test]
fn a_log_that_shows_no_refusal_shows_that_authorization_let_it_pass() {
    let line = |status: &str| {
        let text = format!(
            "ACCESS [x] \"GET /api/x HTTP/1.1\" {status} 0 9 1 - \"-\" \"-\" \"1-2\" \"shop.example\" \"-\" request_rate_limited \"cluster_a\" \"default/all\" \"-\" 8080 http"
        );
        let asked = Asked { text, ..Asked::default() };
        let mut material = material();
        // A key that every request must have.
        for object in &mut material.objects {
            if object.reference.kind == "FilterPolicy" {
                let mut own = (**object).clone();
                own.json["spec"]["rules"][1]["filters"][0] = serde_json::json!({"name": "keys"});
                *object = Arc::new(own);
            }
        }
        explain(&Question::read(&asked).unwrap(), &material, &Live::default())
    };
    let explanation = line("429 RL");
    assert_eq!(explanation.causes[0].id, "over-limit", "{explanation:?}");
    assert!(explanation.to_text().contains("but it passed"), "{}", explanation.to_text());
    assert!(explanation.causes[0].found[0].words.contains("counts against"), "{explanation:?}");
    assert!(!line("401 UAEX").to_text().contains("but it passed"));
}

#[test]
fn what_authorization_says_names_a_counter() {
    let mut material = material();
    for route in &mut material.overview.routes {
        route.descriptors =
            vec![vec!["user=<authorization's identity.name, or nobody>".to_owned()]];
        route.authorized = false;
    }
    let asked = Asked { url: "http://shop.example:8080/api/x".to_owned(), ..Asked::default() };
    let limit = serde_json::json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "RateLimit",
        "metadata": {"name": "u", "namespace": "default"},
        "spec": {"domain": "ambassador", "limits": [{"pattern": [{"user": "*"}], "rate": 1, "unit": "hour"}]}});
    material.objects.push(Arc::new(Object::from_json(limit).unwrap()));
    let asking = asking(&Question::read(&asked).unwrap(), &material).unwrap();
    let entry = &asking.body["descriptors"][0]["entries"][0];
    assert_eq!((&entry["key"], &entry["value"]), (&"user".into(), &"nobody".into()));
}
