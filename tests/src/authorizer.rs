//! An authz-svc under test, asked as Envoy asks it.

use std::net::SocketAddr;

use proto::envoy::config::core::v3::HeaderValueOption;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Response, Status};

use crate::http;
use crate::process::{Process, program};
use crate::{TempDir, free_addr};

/// A running service.
#[derive(Debug)]
pub struct Authorizer {
    /// The program.
    pub process: Process,
    /// Where Envoy would ask.
    pub grpc: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    runtime: Runtime,
    client: Option<AuthorizationClient<Channel>>,
}

impl Authorizer {
    /// Starts it with the objects of `folder`, and waits until it is ready.
    pub fn start(folder: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let [grpc, admin] = std::array::from_fn(|_| free_addr());
        let [grpc_text, admin_text] = [grpc, admin].map(|a| a.to_string());
        let path = folder.path().display().to_string();
        let mut all = vec!["--config", &path, "--grpc-addr", &grpc_text];
        all.extend(["--admin-addr", &admin_text]);
        all.extend(arguments);
        let mut process = Process::start(&program("authz-svc"), &all, variables);
        process.wait_ready(admin);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { process, grpc, admin, runtime, client: None }
    }

    /// Makes one call.
    ///
    /// # Errors
    /// What the service answers instead, or that it is not there.
    pub fn call(
        &mut self,
        request: impl IntoRequest<CheckRequest>,
    ) -> Result<CheckResponse, Status> {
        if self.client.is_none() {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
            let channel = self.runtime.block_on(endpoint.connect());
            let channel = channel.map_err(|e| Status::unavailable(e.to_string()))?;
            self.client = Some(AuthorizationClient::new(channel));
        }
        let call = self.client.as_mut().unwrap().check(request);
        self.runtime.block_on(call).map(Response::into_inner)
    }

    /// Asks for a GET.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn get(&mut self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let response = self.call(check(host, path, headers));
        Answer::of(response.unwrap_or_else(|e| panic!("{e}\n{}", self.process.log())))
    }

    /// The value of the series that begins so at `/metrics`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = http::get(self.admin, "/metrics").unwrap().body;
        let line = text.lines().find_map(|line| line.strip_prefix(series).map(str::to_owned));
        line.and_then(|value| value.trim().parse().ok())
    }
}

/// What Envoy would ask of a GET.
pub fn check(host: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let http = HttpRequest {
        id: "envoy-1".to_owned(),
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http), time: None }),
            ..AttributeContext::default()
        }),
    }
}

/// An answer, allowed or denied.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the request passes.
    pub allow: bool,
    /// 200 when it passes.
    pub status: u64,
    /// For the backend when it passes, else for the client; lower-case names.
    pub headers: Vec<(String, String)>,
    /// For the client.
    pub body: String,
}

impl Answer {
    /// Reads it.
    ///
    /// # Panics
    /// When it is neither allowed nor denied.
    pub fn of(response: CheckResponse) -> Self {
        let pairs = |options: Vec<HeaderValueOption>| {
            options
                .into_iter()
                .filter_map(|o| o.header)
                .map(|h| (h.key.to_lowercase(), h.value))
                .collect()
        };
        let code = response.status.map_or(0, |s| s.code);
        match response.http_response {
            Some(HttpResponse::OkResponse(ok)) if code == 0 => {
                Self { allow: true, status: 200, headers: pairs(ok.headers), body: String::new() }
            }
            Some(HttpResponse::DeniedResponse(denied)) => Self {
                allow: false,
                status: denied.status.map_or(403, |s| u64::try_from(s.code).unwrap()),
                headers: pairs(denied.headers),
                body: denied.body,
            },
            other => panic!("neither allowed nor denied: {other:?}"),
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}
