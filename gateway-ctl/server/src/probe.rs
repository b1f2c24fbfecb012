//! Asks a gateway from where it is used: for smoke tests in a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use service_kit::go;
use tokio::time::{Instant, sleep};

use crate::output;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// Send requests until one is answered as expected
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  gateway-ctl probe http://gateway/private/ --expect 401\n  gateway-ctl probe http://gateway/ --expect 429 --repeat 50 -H 'host: shop.example'"
)]
pub struct Args {
    /// What is asked, as in http://gateway/path
    url: String,
    /// The status that is waited for
    #[arg(long, value_name = "STATUS")]
    expect: u16,
    /// How many requests are sent at most
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// A header of the requests, as in `x-user: alice`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Longest time for all of it
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = go::parse_duration)]
    timeout: Duration,
}

/// Asks; what was answered goes to standard output.
///
/// # Errors
/// When the expected status did not come.
pub async fn probe(args: Args) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    for header in &args.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| format!("-H {header}: write it as `name: value`"))?;
        let name: HeaderName = name.trim().parse().map_err(|e| format!("-H {header}: {e}"))?;
        let value: HeaderValue =
            value.trim().parse().map_err(|_| format!("-H {name}: not a header value"))?;
        headers.append(name, value);
    }
    let http = reqwest::Client::builder()
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| e.to_string())?;
    let end = Instant::now() + args.timeout;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..args.repeat {
        if round > 0 {
            sleep(PAUSE).await;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let answer = http.get(&args.url).timeout(left).send().await;
        let word = match &answer {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(e) if e.is_builder() => return Err(format!("{}: not a URL", args.url)),
            Err(e) if e.is_connect() => "no connection".to_owned(),
            Err(_) => "no answer".to_owned(),
        };
        *seen.entry(word).or_default() += 1;
        if answer.is_ok_and(|a| a.status().as_u16() == args.expect) {
            return output::result(&format!("{}\n", summary(&seen))).map_err(|e| e.to_string());
        }
    }
    Err(format!("{} was never answered {}: {}", args.url, args.expect, summary(&seen)))
}

fn summary(seen: &BTreeMap<String, u32>) -> String {
    let words: Vec<String> = seen.iter().map(|(word, count)| format!("{count} × {word}")).collect();
    words.join(", ")
}
