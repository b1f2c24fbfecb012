//! Empties an Envoy before it ends: balancers are told, then connections are waited for.

use std::net::SocketAddr;
use std::time::Duration;

use service_kit::go;
use tokio::time::{Instant, sleep};

use crate::output::note;

/// How often connections are counted.
const LOOK: Duration = Duration::from_millis(200);
/// Longest answer of the admin port.
const ANSWER: Duration = Duration::from_secs(2);

/// Empty an Envoy before it ends
///
/// Fails its health check, so that nobody sends new requests, and waits until its connections are
/// gone. For the `preStop` of a pod.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  gateway-ctl envoy-drain --min-delay 5s --timeout 25s")]
pub struct Args {
    /// Envoy's admin page
    #[arg(long, default_value = "127.0.0.1:8001", value_name = "ADDR")]
    envoy_admin_addr: SocketAddr,
    /// Wait at least this long: balancers need time to notice
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = go::parse_duration)]
    min_delay: Duration,
    /// Wait at most this long in all
    #[arg(long, default_value = "25s", value_name = "TIME", value_parser = go::parse_duration)]
    timeout: Duration,
}

/// Empties it.
///
/// # Errors
/// When the admin port does not answer: one line.
pub async fn drain(args: Args) -> Result<(), String> {
    let admin = Admin { http: reqwest::Client::new(), addr: args.envoy_admin_addr };
    let end = Instant::now() + args.timeout;
    admin.post("/healthcheck/fail").await?;
    // Answers carry `connection: close` from now on, and HTTP/2 clients a GOAWAY.
    admin.post("/drain_listeners?graceful&skip_exit").await?;
    sleep(args.min_delay.min(args.timeout)).await;
    loop {
        let open = admin.connections().await?;
        if open == 0 {
            return Ok(());
        }
        if Instant::now() >= end {
            note(format!("{open} connections are left after {:?}", args.timeout));
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

struct Admin {
    http: reqwest::Client,
    addr: SocketAddr,
}

impl Admin {
    async fn post(&self, path: &str) -> Result<(), String> {
        let request = self.http.post(format!("http://{}{path}", self.addr)).timeout(ANSWER);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map(|_| ()).map_err(|e| self.cannot(&e))
    }

    /// Connections of clients; those of probes and of the admin page do not count.
    async fn connections(&self) -> Result<u64, String> {
        let url = format!("http://{}/stats?filter=downstream_cx_active$", self.addr);
        let answer = self.http.get(url).timeout(ANSWER).send().await;
        let text = match answer {
            Ok(answer) => answer.text().await,
            Err(e) => Err(e),
        };
        Ok(count(&text.map_err(|e| self.cannot(&e))?))
    }

    fn cannot(&self, e: &reqwest::Error) -> String {
        format!("Envoy's admin page at {}: {e} (see --envoy-admin-addr)", self.addr)
    }
}

/// Sums `http.PREFIX.downstream_cx_active: N`.
fn count(stats: &str) -> u64 {
    stats
        .lines()
        .filter_map(|line| line.strip_prefix("http."))
        .filter(|line| !line.starts_with("admin.") && !line.starts_with("ready."))
        .filter_map(|line| line.rsplit(": ").next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn probes_do_not_count() {
        let stats = "http.admin.downstream_cx_active: 1\nhttp.ingress_http.downstream_cx_active: 3\n\
            http.ready.downstream_cx_active: 2\nlistener.0.0.0.0_8080.downstream_cx_active: 3\n";
        assert_eq!(super::count(stats), 3);
    }
}
