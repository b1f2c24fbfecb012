//! The port as a caller on a socket sees it.

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus as Told;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::super::shutdown::Trigger;
use super::*;

mod hot;
mod ports;

/// Answers a call once it may.
struct Slow {
    came: mpsc::Sender<()>,
    may_answer: Arc<Semaphore>,
}

#[tonic::async_trait]
impl RateLimitService for Slow {
    async fn should_rate_limit(
        &self,
        _: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        self.came.send(()).await.unwrap();
        self.may_answer.acquire().await.unwrap().forget();
        Ok(Response::new(RateLimitResponse::default()))
    }
}

struct Fixture {
    addr: SocketAddr,
    channel: Channel,
    ready: Readiness,
    came: mpsc::Receiver<()>,
    may_answer: Arc<Semaphore>,
    trigger: Trigger,
    served: JoinHandle<()>,
}

impl Fixture {
    async fn new(delay: u64, timeout: u64) -> Self {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, came) = mpsc::channel(8);
        let may_answer = Arc::new(Semaphore::new(0));
        let slow = Slow { came: sender, may_answer: may_answer.clone() };
        let routes = Routes::new(RateLimitServiceServer::new(slow));
        let ready = Readiness::new(&["config"]);
        let drain =
            Drain { delay: Duration::from_millis(delay), timeout: Duration::from_millis(timeout) };
        let (shutdown, trigger) = Shutdown::manual();
        let served = {
            let ready = ready.clone();
            tokio::spawn(async move {
                serve(listener, None, routes, &["named"], ready, drain, shutdown).await;
            })
        };
        let channel = Channel::from_shared(format!("http://{addr}")).unwrap();
        let channel = channel.connect().await.unwrap();
        Self { addr, channel, ready, came, may_answer, trigger, served }
    }

    async fn health(&self, service: &str) -> Result<Told, Code> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = soon(HealthClient::new(self.channel.clone()).check(request)).await;
        answer.map(|a| a.into_inner().status()).map_err(|status| status.code())
    }

    async fn watch(&self) -> Streaming<HealthCheckResponse> {
        let request = HealthCheckRequest { service: "named".to_owned() };
        HealthClient::new(self.channel.clone()).watch(request).await.unwrap().into_inner()
    }

    /// Starts a call and waits until it is in flight.
    async fn call(&mut self) -> JoinHandle<Result<Response<RateLimitResponse>, Status>> {
        let mut client = RateLimitServiceClient::new(self.channel.clone());
        let call =
            tokio::spawn(
                async move { client.should_rate_limit(RateLimitRequest::default()).await },
            );
        soon(self.came.recv()).await.unwrap();
        call
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("nothing happens")
}

async fn until(watch: &mut Streaming<HealthCheckResponse>, wanted: Told) {
    while soon(watch.message()).await.unwrap().unwrap().status() != wanted {}
}

#[tokio::test]
async fn health_follows_readiness() {
    let server = Fixture::new(0, 0).await;
    assert_eq!(server.health("").await, Ok(Told::NotServing));
    assert_eq!(server.health("named").await, Ok(Told::NotServing));
    assert_eq!(server.health("other").await, Err(Code::NotFound));
    let mut watch = server.watch().await;
    server.ready.set("config", Ok(()));
    until(&mut watch, Told::Serving).await;
    assert_eq!(server.health("").await, Ok(Told::Serving));
    server.ready.set("config", Err("gone".to_owned()));
    until(&mut watch, Told::NotServing).await;
}

#[tokio::test]
async fn drains_without_losing_a_call() {
    let mut server = Fixture::new(500, 60_000).await;
    server.ready.set("config", Ok(()));
    let mut watch = server.watch().await;
    until(&mut watch, Told::Serving).await;
    let before = server.call().await;
    server.trigger.fire();
    until(&mut watch, Told::NotServing).await;
    assert_eq!(server.ready.report()["drain"], "shutting down");
    // Callers that have not noticed yet are served.
    let during = server.call().await;
    // A health watch would never end by itself.
    drop(watch);
    server.may_answer.add_permits(2);
    soon(before).await.unwrap().unwrap();
    soon(during).await.unwrap().unwrap();
    soon(server.served).await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn a_call_in_flight_is_answered_after_the_goaway() {
    let mut server = Fixture::new(0, 60_000).await;
    let call = server.call().await;
    server.trigger.fire();
    // Refused connections say that the port is closed and the connection told to go.
    while tokio::net::TcpStream::connect(server.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.served.is_finished());
    server.may_answer.add_permits(1);
    soon(call).await.unwrap().unwrap();
    soon(server.served).await.unwrap();
}

#[tokio::test]
async fn ends_in_time_when_a_call_hangs() {
    let mut server = Fixture::new(0, 50).await;
    let _hanging = server.call().await;
    server.trigger.fire();
    soon(server.served).await.unwrap();
}

#[tokio::test]
async fn says_plainly_that_a_port_is_in_use() {
    let first = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let error = bind(first.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with("Address already in use"), "{error}");
}
