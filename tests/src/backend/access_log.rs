//! A receiver of access logs over gRPC. Of an entry about a request it keeps the path, the headers of
//! request, response and trailers together, and `NAME STATUS`; of one about a connection the name.

use std::collections::BTreeMap;

use proto::envoy::data::accesslog::v3::HttpAccessLogEntry;
use proto::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use proto::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use proto::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::{Hit, Hits};

pub(super) async fn serve(listener: TcpListener, hits: Hits) {
    let service = AccessLogServiceServer::new(Receiver(hits));
    let incoming = TcpIncoming::from(listener);
    let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
}

struct Receiver(Hits);

#[tonic::async_trait]
impl AccessLogService for Receiver {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut stream = request.into_inner();
        let mut name = String::new();
        while let Some(message) = stream.message().await? {
            // Only the first message of a stream says whose it is.
            if let Some(identifier) = message.identifier {
                name = identifier.log_name;
            }
            let entries: Vec<Hit> = match message.log_entries {
                Some(LogEntries::HttpLogs(logs)) => {
                    logs.log_entry.into_iter().map(|entry| of_request(&name, entry)).collect()
                }
                Some(LogEntries::TcpLogs(logs)) => {
                    let of = |_| Hit { body: name.clone(), ..Hit::default() };
                    logs.log_entry.iter().map(of).collect()
                }
                None => Vec::new(),
            };
            self.0.lock().unwrap().extend(entries);
        }
        Ok(Response::new(StreamAccessLogsResponse::default()))
    }
}

fn of_request(name: &str, entry: HttpAccessLogEntry) -> Hit {
    let request = entry.request.unwrap_or_default();
    let response = entry.response.unwrap_or_default();
    let status = response.response_code.unwrap_or_default();
    let headers = [request.request_headers, response.response_headers, response.response_trailers];
    let headers: BTreeMap<String, String> = headers.into_iter().flatten().collect();
    Hit {
        path: request.path,
        headers: headers.into_iter().collect(),
        body: format!("{name} {status}"),
        ..Hit::default()
    }
}
