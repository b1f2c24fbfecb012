//! Who reads the statistics: a sender of lines, or a port for Prometheus. On a thread of its own,
//! so that a long list of counters cannot hold up a request.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use service_kit::server::aside::Aside;
use service_kit::server::shutdown::Shutdown;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Metrics;
use super::name::Tags;
use super::prometheus::Page;
use super::prometheus::mapper::Mapper;
use super::statsd::{Lines, Receiver, Style, Target};

/// How often idle names are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// How long the last lines may take at the end.
const LAST: Duration = Duration::from_secs(2);
const PAGE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// In which form statistics are given away.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    None,
    /// As lines.
    Lines {
        to: Target,
        style: Style,
        every: Duration,
        /// It is set, not just the default.
        asked: bool,
    },
    /// As a page.
    Page {
        addr: SocketAddr,
        path: String,
        mapper: Mapper,
        tags: Tags,
    },
}

/// At work; what was counted last is sent when this is dropped.
#[derive(Debug)]
pub(crate) struct Outputs {
    _sending: Aside,
}

impl Outputs {
    /// Starts; the port of a page is bound when this returns.
    ///
    /// # Errors
    /// When that port cannot be had.
    pub(crate) fn start(output: Output, metrics: Metrics) -> anyhow::Result<Self> {
        let listener = match &output {
            Output::Page { addr, .. } => Some(bind(*addr)?),
            _ => None,
        };
        let sending = Aside::start("statistics", move |shutdown| async move {
            tokio::spawn(sweep(metrics.clone()));
            match (output, listener) {
                (Output::Lines { to, style, every, asked }, _) => {
                    let sender = Sender::new(metrics, style, Receiver::new(to, asked));
                    sender.run(every, shutdown).await;
                }
                (Output::Page { path, mapper, tags, .. }, Some(listener)) => {
                    let page = Page::new(mapper, tags);
                    tokio::select! {
                        () = serve(listener, path, page, metrics) => {}
                        () = shutdown.wait() => {}
                    }
                }
                _ => shutdown.wait().await,
            }
        })?;
        Ok(Self { _sending: sending })
    }
}

async fn sweep(metrics: Metrics) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        metrics.sweep(Instant::now());
    }
}

fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(addr).with_context(|| {
        format!("the port for Prometheus {addr} cannot be used; choose another by PROMETHEUS_ADDR")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, path: String, page: Page, metrics: Metrics) {
    let page = Arc::new(Mutex::new(page));
    let answer = move |uri: Uri| {
        let found = uri.path() == path;
        let (page, metrics) = (page.clone(), metrics.clone());
        async move {
            match found {
                true => render(&page, &metrics),
                false => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let served = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tracing::info!("listening for Prometheus on {}", listener.local_addr()?);
        axum::serve(listener, Router::new().fallback(answer)).await
    };
    if let Err(e) = served.await {
        tracing::error!("the port for Prometheus stopped: {e}");
    }
}

fn render(page: &Mutex<Page>, metrics: &Metrics) -> Response {
    let mut page = page.lock().unwrap_or_else(PoisonError::into_inner);
    let text = page.render(&metrics.readings(), &metrics.response_time.millis());
    ([(header::CONTENT_TYPE, PAGE_TYPE)], text).into_response()
}

/// Sends lines now and then.
struct Sender {
    metrics: Metrics,
    lines: Lines,
    receiver: Receiver,
}

impl Sender {
    fn new(metrics: Metrics, style: Style, receiver: Receiver) -> Self {
        Self { metrics, lines: Lines::new(style), receiver }
    }

    async fn run(mut self, every: Duration, shutdown: Shutdown) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => self.send().await,
                () = self.receiver.closed() => {}
                () = shutdown.wait() => {
                    let _ = timeout(LAST, self.send()).await;
                    return;
                }
            }
        }
    }

    /// Sends what is new; what cannot be sent is new the next time.
    async fn send(&mut self) {
        if !self.receiver.connect().await {
            return;
        }
        let times = self.metrics.response_time.millis();
        let chunks = self.lines.chunks(&self.metrics.readings(), &times, self.receiver.most());
        for chunk in chunks {
            if !self.receiver.send(&chunk.bytes).await {
                return;
            }
            self.lines.sent(chunk);
        }
    }
}
