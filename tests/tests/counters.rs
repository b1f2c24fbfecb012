//! Counters on the admin port of the real ratelimit-svc: to see, and to begin anew.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use e2e::TempDir;
use e2e::http::{self, Request, Response};
use e2e::limiter::Limiter;
use e2e::redis::Redis;
use serde_json::{Value, json};

const LIMITS: &str = "domain: shop
descriptors:
- {key: user, rate_limit: {unit: year, requests_per_unit: 2}}
- {key: burst, rate_limit: {unit: year, requests_per_unit: 2, burst_factor: 2}}
";

struct Service {
    limiter: Limiter,
    _folder: TempDir,
}

impl Service {
    fn start(environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new("counters");
        folder.write("limits.yaml", LIMITS);
        let environment = [environment, &[("USE_STATSD", "false")]].concat();
        Self { limiter: Limiter::start_ready(&folder, &environment), _folder: folder }
    }

    fn post(&self, addr: SocketAddr, path: &str, body: &Value) -> Response {
        let mut request = Request::get(path, "x");
        request.method = "POST".to_owned();
        request.body = body.to_string();
        http::send(addr, &request).unwrap()
    }

    /// Whether a request passes.
    fn passes(&self, key: &str, value: &str) -> bool {
        self.post(self.limiter.http, "/json", &descriptor(key, value)).status == 200
    }

    fn reset(&self, body: &Value) -> Response {
        self.post(self.limiter.admin, "/counters/reset", body)
    }
}

fn descriptor(key: &str, value: &str) -> Value {
    json!({"domain": "shop", "descriptors": [{"entries": [{"key": key, "value": value}]}]})
}

fn counters_are_seen_and_begin_anew(service: &Service) {
    assert_eq!([0; 3].map(|_| service.passes("user", "alice")), [true, true, false]);
    assert!(service.passes("user", "bob") && service.passes("burst", "x"));
    let seen = |query: &str| {
        let page =
            http::get(service.limiter.admin, &format!("/counters?domain=shop{query}")).unwrap();
        page.json()["counters"].as_array().cloned().unwrap_or_default()
    };
    assert_eq!(seen("").len(), 3);
    assert_eq!(seen("&limit=1").len(), 1);
    let alice = seen("&prefix=user_alice");
    assert_eq!(alice[0]["hits"], 3);
    assert!(alice[0]["seconds"].as_u64().unwrap() > 0);
    assert_eq!(seen("&prefix=burst")[0]["tokens"], 3.0);

    let by_key = service.reset(&json!({"key": alice[0]["key"]}));
    assert_eq!(by_key.json()["reset"][0]["known"], true);
    assert_eq!([0; 3].map(|_| service.passes("user", "alice")), [true, true, false]);
    let by_request = service.reset(&descriptor("user", "alice"));
    assert_eq!(by_request.json()["reset"][0]["key"], alice[0]["key"]);
    assert!(service.passes("user", "alice"));

    for wrong in [json!({"key": "other_x"}), json!({"keys": []}), json!("x")] {
        let refused = service.reset(&wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.json()["error"].is_string());
    }
    // Nothing is done by looking.
    assert_eq!(http::get(service.limiter.admin, "/counters/reset").unwrap().status, 405);
    assert_eq!(http::get(service.limiter.admin, "/counters?domain=").unwrap().status, 400);
}

/// How near requests are to their limits is read without counting.
fn counters_are_read(service: &Service) {
    assert!(service.passes("user", "carol"));
    let both = json!({"domain": "shop", "descriptors": [
        {"entries": [{"key": "user", "value": "carol"}]},
        {"entries": [{"key": "burst", "value": "carol"}]},
        {"entries": [{"key": "nobody", "value": "x"}]},
    ]});
    for _ in 0..3 {
        let read = service.post(service.limiter.admin, "/counters/read", &both).json();
        let [user, burst, free] = std::array::from_fn(|i| &read["descriptors"][i]);
        assert_eq!((&user["used"], &user["remaining"]), (&json!(1), &json!(1)));
        assert_eq!(
            (&user["limit"]["requests"], &user["limit"]["unit"]),
            (&json!(2), &json!("year"))
        );
        assert_eq!(user["next_in_seconds"], 0);
        assert!(user["reset_in_seconds"].as_u64().unwrap() > 0);
        assert_eq!((&burst["used"], &burst["remaining"]), (&json!(0), &json!(4)));
        assert_eq!(burst["limit"]["algorithm"], "TokenBucket");
        assert_eq!(free["limit"], Value::Null);
    }
    assert_eq!([0; 2].map(|_| service.passes("user", "carol")), [true, false]);
    let read = service.post(service.limiter.admin, "/counters/read", &both).json();
    let user = &read["descriptors"][0];
    assert_eq!(user["remaining"], 0);
    assert_eq!(user["next_in_seconds"], user["reset_in_seconds"]);
    for wrong in [json!("x"), json!({"domain": "shop"}), json!({"key": "shop_user_carol_0"})] {
        let refused = service.post(service.limiter.admin, "/counters/read", &wrong);
        assert_eq!(refused.status, 400, "{wrong}");
    }
}

#[test]
fn in_memory() {
    let service = Service::start(&[]);
    counters_are_read(&service);
    service.reset(&descriptor("user", "carol"));
    counters_are_seen_and_begin_anew(&service);
}

#[test]
fn in_redis() {
    let redis = Redis::start();
    let url = format!("127.0.0.1:{}", redis.port);
    let service = Service::start(&[("REDIS_URL", &url)]);
    counters_are_read(&service);
    service.reset(&descriptor("user", "carol"));
    counters_are_seen_and_begin_anew(&service);
}

#[test]
fn with_a_token_they_are_for_those_who_have_it() {
    let service = Service::start(&[("ADMIN_TOKEN", "open-sesame")]);
    let status = |token: &str| {
        let request = Request::get("/counters?domain=shop", "x")
            .header("authorization", &format!("Bearer {token}"));
        http::send(service.limiter.admin, &request).unwrap().status
    };
    assert_eq!([status("open-sesame"), status("guess"), status("")], [200, 401, 401]);
    assert_eq!(http::get(service.limiter.admin, "/readyz").unwrap().status, 200);
}
