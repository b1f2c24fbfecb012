//! The gRPC port of the real program, as Envoy's host sees it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto::envoy::extensions::common::ratelimit::v3::{
    RateLimitDescriptor, rate_limit_descriptor::Entry,
};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::transport::{Channel, Endpoint};

const LIMITS: &str = "domain: d
descriptors:
- key: k
  rate_limit: {unit: year, requests_per_unit: 1}
";

/// A program that is killed with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    fn start(folder: &Path, socket: &Path) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_ratelimit-svc"))
            .arg("--config")
            .arg(folder.join("limits"))
            .args(["--http-addr", "off", "--admin-addr", "127.0.0.1:0"])
            .env("GRPC_UDS", socket)
            .env("USE_STATSD", "false")
            .stdout(Stdio::null())
            .spawn();
        Self(program.unwrap())
    }

    async fn ends(&mut self) -> bool {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        until(|| self.0.try_wait().unwrap()).await.success()
    }
}

/// What `look` finds, as soon as it finds something.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("nothing happens")
}

async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
    let connected = async {
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), connected).await.expect("no connection")
}

async fn ask(channel: Channel) -> Code {
    let entries = vec![Entry { key: "k".to_owned(), value: "v".to_owned() }];
    let descriptor = RateLimitDescriptor { entries, ..RateLimitDescriptor::default() };
    let request = RateLimitRequest {
        domain: "d".to_owned(),
        descriptors: vec![descriptor],
        ..RateLimitRequest::default()
    };
    let answer = RateLimitServiceClient::new(channel).should_rate_limit(request).await;
    answer.unwrap().into_inner().overall_code()
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ratelimit-svc-port-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("limits")).unwrap();
    std::fs::write(folder.join("limits/d.yaml"), LIMITS).unwrap();
    folder
}

#[tokio::test]
async fn a_unix_socket_limits_outlives_a_crash_and_is_removed_at_the_end() {
    let folder = folder();
    let socket = folder.join("rls.sock");
    let service = Service::start(&folder, &socket);
    let channel = connect(&socket).await;
    assert_eq!(ask(channel.clone()).await, Code::Ok);
    assert_eq!(ask(channel).await, Code::OverLimit);
    drop(service);
    assert!(socket.exists(), "killed, it cannot clean up");
    let mut service = Service::start(&folder, &socket);
    assert_eq!(ask(connect(&socket).await).await, Code::Ok);
    assert!(service.ends().await);
    assert!(!socket.exists());
    std::fs::remove_dir_all(folder).unwrap();
}
