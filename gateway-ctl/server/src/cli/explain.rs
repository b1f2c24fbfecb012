//! `gateway-ctl explain`: what is asked, and where what is known comes from.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{EngineArgs, Failure, failed};
use crate::explain::{self, Asked, EnvoyHosts, Explanation, Live, Question};
use crate::output;

/// Longest answer of a controller or an Envoy.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest text that is read from standard input, in bytes.
const MOST: u64 = 64 << 10;
/// Clusters of an Envoy that a controller is told of.
const CLUSTERS: usize = 50;

/// Say what would happen to a request, or why something was answered as it was
///
/// Give a method and a URL, and it names the Listener, the Host, the Mapping and the cluster that the
/// request meets, whether authorization is asked and by which rule, and what it counts against. Give
/// what was seen (a status, a response flag of Envoy, a line of the access log, the text of a body),
/// with or without a request, and it names the causes, with the next step. Nothing is sent.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gateway-ctl explain GET 'http://shop.example:8080/cart?x=1' -H 'x-user: alice' --config gateway/\n  gateway-ctl explain 503 UH 'no healthy upstream' --admin http://127.0.0.1:8877\n  kubectl logs deploy/gateway | grep ' 503 ' | tail -1 | gateway-ctl explain - --admin http://127.0.0.1:8877"
)]
pub(super) struct ExplainArgs {
    /// METHOD and URL of a request, and what was seen; `-` reads what was seen from standard input
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// A header of the request, as in `x-user: alice`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The status that was seen
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(0..600))]
    status: Option<u16>,
    /// A response flag of Envoy that was seen, as in UH; may be given several times
    #[arg(long = "flag", value_name = "FLAG", value_delimiter = ',')]
    flags: Vec<String>,
    /// The address of the client, for limits that count by it
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Folder (or file) of resources
    #[arg(long, value_name = "DIR", required_unless_present_any = ["admin", "causes"])]
    config: Option<PathBuf>,
    /// Ask the running controller with this admin page instead
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<String>,
    /// The token of that page
    #[arg(long, env = "ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// Look at the hosts of clusters in the Envoy with this admin page, as in http://127.0.0.1:8001
    #[arg(long, value_name = "URL")]
    envoy: Option<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// Print all causes that are known, as Markdown
    #[arg(long)]
    causes: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// Answers.
pub(super) async fn run(args: ExplainArgs) -> Result<(), Failure> {
    if args.causes {
        return output::result(&explain::markdown()).map_err(failed);
    }
    let asked = asked(&args)?;
    // What cannot be read is told here, whoever answers.
    let question = Question::read(&asked).map_err(failed)?;
    let hosts = match &args.envoy {
        Some(url) => Some(EnvoyHosts::read(&get(url, "clusters?format=json", &[], None).await?)),
        None => None,
    };
    let explanation = match (&args.admin, args.config) {
        (Some(admin), _) => ask(admin, &asked, hosts, args.admin_token.as_deref()).await?,
        (None, Some(config)) => {
            let settings = args.engine.settings();
            let live = Live { hosts, ..Live::default() };
            explain::explain_files(&question, &[config], settings, &live).map_err(failed)?
        }
        (None, None) => return Err(failed("--config or --admin is missing")),
    };
    let text = match args.output {
        Form::Text => explanation.to_text(),
        Form::Json => serde_json::to_string_pretty(&explanation).map_err(failed)? + "\n",
    };
    output::result(&text).map_err(failed)
}

fn asked(args: &ExplainArgs) -> Result<Asked, Failure> {
    let mut words = args.words.as_slice();
    let mut asked = Asked {
        headers: args.headers.clone(),
        status: args.status,
        flags: args.flags.clone(),
        client: args.client.clone().unwrap_or_default(),
        ..Asked::default()
    };
    match words {
        [method, url, rest @ ..] if METHODS.contains(&method.to_ascii_uppercase().as_str()) => {
            (asked.method, asked.url, words) = (method.clone(), url.clone(), rest);
        }
        [url, rest @ ..] if url.starts_with("http://") || url.starts_with("https://") => {
            (asked.url, words) = (url.clone(), rest);
        }
        _ => {}
    }
    asked.text = words.join(" ");
    if asked.text == "-" {
        asked.text.clear();
        let mut input = std::io::stdin().lock().take(MOST);
        input.read_to_string(&mut asked.text).map_err(failed)?;
    }
    Ok(asked)
}

/// Asks a running controller.
async fn ask(
    admin: &str,
    asked: &Asked,
    hosts: Option<EnvoyHosts>,
    token: Option<&str>,
) -> Result<Explanation, Failure> {
    let hosts = hosts.map(|h| serde_json::to_string(&h.remarkable(CLUSTERS)).unwrap_or_default());
    let headers = asked.headers.join("\n");
    let (status, flags) =
        (asked.status.map(|s| s.to_string()).unwrap_or_default(), asked.flags.join(","));
    let pairs = [
        ("json", "true"),
        ("method", &asked.method),
        ("url", &asked.url),
        ("headers", &headers),
        ("text", &asked.text),
        ("status", &status),
        ("flags", &flags),
        ("client", &asked.client),
        ("hosts", hosts.as_deref().unwrap_or_default()),
    ];
    let pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let json = get(admin, "explain", &pairs, token).await?;
    serde_json::from_value(json).map_err(|e| failed(format_args!("{admin}: {e}")))
}

/// JSON of a page below `base`.
async fn get(
    base: &str,
    path: &str,
    pairs: &[(&str, &str)],
    token: Option<&str>,
) -> Result<Value, Failure> {
    let wrong = |e: &dyn std::fmt::Display| failed(format_args!("{base}: {e}"));
    let base_url = format!("{}/", base.trim_end_matches('/'));
    let mut url = reqwest::Url::parse(&base_url)
        .and_then(|u| u.join(path))
        .map_err(|e| wrong(&format_args!("{e}; write it like http://127.0.0.1:8877")))?;
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| wrong(&e))?;
    let mut request = client.get(url).timeout(ANSWER);
    if let Some(token) = token.filter(|t| !t.is_empty()) {
        request = request.basic_auth("admin", Some(token));
    }
    let answer = request.send().await.map_err(|e| wrong(&e.without_url()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|e| wrong(&e.without_url()))?;
    if !status.is_success() {
        let words = String::from_utf8_lossy(&body);
        let hint = if status.as_u16() == 401 { " (see --admin-token)" } else { "" };
        return Err(wrong(&format_args!("answers {status}{hint}: {}", words.trim())));
    }
    serde_json::from_slice(&body).map_err(|e| wrong(&e))
}
