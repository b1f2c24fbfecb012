use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::response::IntoResponse as _;
use prometheus_client::encoding::text;

use super::*;

const KEYS: &str =
    r#"{"keys": [{"kty": "oct", "kid": "a", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;

/// A server that says `body` and counts.
async fn server(body: &'static str) -> (Arc<str>, Arc<Mutex<usize>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    let router = axum::Router::new().fallback(move || {
        *counted.lock().unwrap() += 1;
        std::future::ready(([("cache-control", "max-age=3600")], body).into_response())
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url.into(), count)
}

fn fetch(url: &Arc<str>) -> Fetch {
    let (url, what) = (url.clone(), DocumentKind::KeySet);
    Fetch { url, what, max_stale: Duration::ZERO, insecure_tls: false, refresh: false }
}

fn documents() -> Documents {
    Documents::new(&Addresses::default(), Metrics::register(&mut Registry::default())).unwrap()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_the_configuration_names_is_there_before_a_request() {
    let (url, count) = server(KEYS).await;
    let documents = documents();
    documents.want(&[fetch(&url), fetch(&url)]);
    until("it is not fetched", || documents.at_hand(&fetch(&url)).is_some_and(|d| d.is_ok())).await;
    documents.want(&[fetch(&url)]);
    let Ok(Document::KeySet(keys)) = documents.get(&fetch(&url)).await else { panic!("no keys") };
    assert!(keys.has("a"));
    assert_eq!(*count.lock().unwrap(), 1);
    documents.want(&[]);
    assert!(documents.at_hand(&fetch(&url)).is_none(), "forgotten");
}

#[tokio::test]
async fn many_who_wait_make_one_fetch_and_missing_keys_none_just_after() {
    let (url, count) = server(KEYS).await;
    let documents = documents();
    let fetch = fetch(&url);
    let all = (0..100).map(|_| documents.get(&fetch));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    let refresh = Fetch { refresh: true, ..fetch };
    for _ in 0..1_000 {
        assert!(documents.at_hand(&refresh).is_some_and(|d| d.is_ok()), "nothing to wait for");
    }
    assert_eq!(*count.lock().unwrap(), 1);
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_at_once_for_a_while() {
    let (url, _) = server("[]").await;
    let documents = documents();
    assert_eq!(documents.get(&fetch(&url)).await.err(), Some(CallError::Unavailable));
    for url in ["http://169.254.169.254/", "http://127.0.0.1:1/"] {
        let fetch = fetch(&url.into());
        assert_eq!(documents.get(&fetch).await.err(), Some(CallError::Unavailable), "{url}");
    }
}

#[tokio::test]
async fn urls_are_bounded_and_those_of_the_configuration_stay() {
    let documents = documents();
    let url = |i: usize| fetch(&format!("http://127.0.0.1:1/{i}").into());
    documents.want(&[url(0)]);
    for i in 1..MAX_URLS + 50 {
        documents.entry(&url(i)).unwrap();
    }
    assert_eq!(documents.0.entries.load().len(), MAX_URLS);
    assert!(documents.0.entries.load().contains_key(&key(&url(0))));
}

#[tokio::test]
async fn ages_are_shown() {
    let (url, _) = server(KEYS).await;
    let mut registry = Registry::default();
    let documents = documents();
    documents.register(&mut registry, TokenCache::new(1));
    documents.get(&fetch(&url)).await.unwrap();
    let mut out = String::new();
    text::encode(&mut out, &registry).unwrap();
    let place = url.trim_start_matches("http://");
    assert!(
        out.contains(&format!("authz_document_age_seconds{{document=\"{place}\"}} 0.")),
        "{out}"
    );
    assert!(out.contains("authz_token_cache_lookups_total{result=\"hit\"} 0"), "{out}");
}
