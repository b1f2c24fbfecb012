//! What somebody saw: a status, flags of Envoy, the details of a status, a body, or a whole line of
//! an access log. Reads text; knows nothing of what is in force.

use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;
use serde_json::Value;

use super::Request;

/// The response flags of Envoy that it writes into access logs.
const FLAGS: &[&str] = &[
    "DC", "DF", "DI", "DO", "DPE", "DR", "DT", "FI", "IH", "LH", "LR", "NC", "NFCF", "NR", "OM",
    "RFCF", "RL", "RLSE", "SI", "UAEX", "UC", "UF", "UH", "UMSDR", "UO", "UPE", "UR", "URX", "UT",
];
/// Longest text that is looked at, in bytes.
const MOST: usize = 16 << 10;

/// What was seen, as far as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Symptom {
    /// The status of the response; 0 where there was none.
    pub status: Option<u16>,
    /// The status of a gRPC call.
    pub grpc_status: Option<u32>,
    /// Envoy's flags; none: not known, empty: there were none.
    pub flags: Option<Vec<String>>,
    /// Envoy's details of the status.
    pub details: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// The route, as in `default/shop`.
    pub route: Option<String>,
    /// The host of the service that was asked.
    pub upstream_host: Option<String>,
    /// How long the body was that came, in bytes.
    pub bytes_received: Option<u64>,
    /// The id of the request, by which the logs of the services know it.
    pub request_id: Option<String>,
    /// The line of a Lua script that failed, from 1 on, and why.
    pub script_error: Option<(usize, String)>,
    /// All that was told, in lower case, without underscores.
    #[serde(skip)]
    text: String,
}

/// `"GET /path HTTP/1.1" 503 UH`, and what follows.
static LINE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#""(\S+) (\S+) (\S+)" (\d{1,3}) (\S+) ?(.*)"#).ok());
static GRPC: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)grpc[-_ ]?(?:status|code)\W{0,4}(\d{1,2})\b").ok());

/// What Envoy's own log says of a script that failed.
static SCRIPT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"script log: \[string ".*?"\]:(\d{1,6}): (.{1,300})"#).ok());

/// The numbers and names of gRPC's statuses that gateways answer with.
const GRPC_STATUSES: &[(u32, &str)] = &[
    (2, "UNKNOWN"),
    (4, "DEADLINE_EXCEEDED"),
    (7, "PERMISSION_DENIED"),
    (8, "RESOURCE_EXHAUSTED"),
    (12, "UNIMPLEMENTED"),
    (13, "INTERNAL"),
    (14, "UNAVAILABLE"),
    (16, "UNAUTHENTICATED"),
];

/// The statuses of gRPC that Envoy makes of an HTTP status, as in
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>; the last only where
/// the RateLimitService asks for it.
pub(super) const fn grpc_of(status: u16) -> &'static [u32] {
    match status {
        400 | 431 => &[13],
        401 => &[16],
        403 => &[7],
        404 => &[12],
        429 => &[14, 8],
        502 | 503 => &[14],
        // By the text of the RFC it is UNAVAILABLE, and timeouts of Envoy itself are told apart.
        504 => &[14, 4],
        _ => &[2],
    }
}

impl Symptom {
    /// Reads what was told: any text, and what was given by name.
    ///
    /// # Errors
    /// Which flag is unknown.
    pub fn read(
        text: &str,
        status: Option<u16>,
        flags: &[String],
    ) -> Result<(Self, Option<Request>), String> {
        let end = (0..=MOST.min(text.len())).rev().find(|i| text.is_char_boundary(*i));
        let text = text.get(..end.unwrap_or_default()).unwrap_or_default().trim();
        let (mut symptom, request) = match Self::of_json(text).or_else(|| Self::of_line(text)) {
            Some((symptom, request)) => (symptom, request),
            None => (Self::of_words(text), None),
        };
        symptom.text = plain(text);
        symptom.script_error = script_error(text);
        symptom.status = status.or(symptom.status);
        if !flags.is_empty() {
            let flags: Vec<String> = flags
                .iter()
                .flat_map(|f| f.split(','))
                .map(|f| f.trim().to_ascii_uppercase())
                .collect();
            for flag in flags.iter().filter(|f| *f != "-") {
                if !FLAGS.contains(&flag.as_str()) {
                    return Err(format!("`{flag}` is no response flag of Envoy, as UH or UF are"));
                }
            }
            symptom.flags = Some(flags.into_iter().filter(|f| f != "-").collect());
        }
        Ok((symptom, request))
    }

    /// Whether nothing was told.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
            && self.status.is_none()
            && self.grpc_status.is_none()
            && self.flags.is_none()
    }

    /// Whether what was told has these words, however they are written.
    pub fn says(&self, words: &str) -> bool {
        self.text.contains(&plain(words))
    }

    /// What was understood, in words.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        match self.status {
            Some(0) => parts.push("no status: there was no response".to_owned()),
            Some(status) => parts.push(format!("status {status}")),
            None => {}
        }
        if let Some(code) = self.grpc_status {
            let name = GRPC_STATUSES.iter().find(|(c, _)| *c == code).map_or("", |(_, n)| n);
            parts.push(format!("gRPC status {code} {name}").trim_end().to_owned());
        }
        match self.flags.as_deref() {
            Some([]) => parts.push("no flags".to_owned()),
            Some(flags) => parts.push(format!("flags {}", flags.join(","))),
            None => {}
        }
        for (name, value) in [
            ("details", &self.details),
            ("cluster", &self.cluster),
            ("route", &self.route),
            ("host", &self.upstream_host),
        ] {
            parts.extend(value.as_ref().map(|v| format!("{name} {v}")));
        }
        parts.join(", ")
    }

    /// Words that stand alone: a status, flags, anything.
    fn of_words(text: &str) -> Self {
        let mut symptom = Self::default();
        for word in text.split(|c: char| c.is_whitespace() || ",;|".contains(c)) {
            let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            match word.parse::<u16>() {
                Ok(status) if (200..600).contains(&status) && symptom.status.is_none() => {
                    symptom.status = Some(status);
                }
                _ if FLAGS.contains(&word) => {
                    symptom.flags.get_or_insert_default().push(word.to_owned());
                }
                _ => {}
            }
            let named = GRPC_STATUSES.iter().find(|(_, name)| *name == word);
            symptom.grpc_status = symptom.grpc_status.or(named.map(|(code, _)| *code));
        }
        let grpc = GRPC.as_ref().and_then(|r| r.captures(text)?.get(1)?.as_str().parse().ok());
        symptom.grpc_status = grpc.or(symptom.grpc_status);
        symptom
    }

    /// A line of the text log, of this gateway or of Envoy's own format.
    fn of_line(text: &str) -> Option<(Self, Option<Request>)> {
        let found = LINE.as_ref()?.captures(text)?;
        let part = |i: usize| found.get(i).map_or("", |m| m.as_str());
        let flags = part(5);
        if flags != "-" && !flags.split(',').all(|f| FLAGS.contains(&f)) {
            return None;
        }
        let fields = fields(part(6));
        // Envoy writes numbers of bytes next; other meshes the details.
        let (details, at) = match fields.first() {
            Some(first) if first.parse::<u64>().is_err() && first != "-" => (Some(first), 1),
            _ => (None, 0),
        };
        let field = |i: usize| fields.get(at + i).filter(|f| *f != "-").cloned();
        let symptom = Self {
            status: part(4).parse().ok(),
            flags: Some(flags.split(',').filter(|f| *f != "-").map(str::to_owned).collect()),
            details: details.cloned().or_else(|| field(9)),
            bytes_received: field(0).and_then(|b| b.parse().ok()),
            request_id: field(6),
            upstream_host: field(8),
            cluster: field(10),
            route: field(11),
            ..Self::default()
        };
        let seen = Seen {
            method: part(1),
            path: part(2),
            host: field(7),
            port: field(13).and_then(|p| p.parse().ok()),
            is_https: field(14).is_some_and(|s| s == "https"),
        };
        Some((symptom, seen.request()))
    }

    /// A line of the JSON log.
    fn of_json(text: &str) -> Option<(Self, Option<Request>)> {
        let line: Value = serde_json::from_str(text.get(text.find('{')?..)?).ok()?;
        let field = |name: &str| match line.get(name)? {
            Value::String(text) if text == "-" || text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let status = field("response_code").and_then(|s| s.parse().ok());
        let flags = line.get("response_flags").and_then(Value::as_str);
        if status.is_none() && flags.is_none() {
            return None;
        }
        let symptom = Self {
            status,
            flags: Some(
                flags.unwrap_or("-").split(',').filter(|f| *f != "-").map(str::to_owned).collect(),
            ),
            details: field("response_code_details"),
            bytes_received: field("bytes_received").and_then(|b| b.parse().ok()),
            request_id: field("request_id"),
            upstream_host: field("upstream_host"),
            cluster: field("upstream_cluster"),
            route: field("route_name"),
            ..Self::default()
        };
        let (method, path) = (field("method"), field("path"));
        let local = field("downstream_local_address");
        let seen = Seen {
            method: method.as_deref().unwrap_or("-"),
            path: path.as_deref().unwrap_or("-"),
            host: field("authority"),
            port: local.and_then(|a| a.rsplit_once(':')?.1.parse().ok()),
            is_https: field("scheme").is_some_and(|s| s == "https"),
        };
        Some((symptom, seen.request()))
    }
}

/// What a line says of its request.
struct Seen<'a> {
    method: &'a str,
    path: &'a str,
    host: Option<String>,
    port: Option<u16>,
    is_https: bool,
}

impl Seen<'_> {
    fn request(self) -> Option<Request> {
        if self.method == "-" || !self.path.starts_with('/') {
            return None;
        }
        let scheme = if self.is_https { "https" } else { "http" };
        let host = self.host?;
        let mut request =
            Request::parse(self.method, &format!("{scheme}://{host}{}", self.path), &[]).ok()?;
        request.port = self.port.unwrap_or(request.port);
        request.has_headers = false;
        Some(request)
    }
}

fn script_error(text: &str) -> Option<(usize, String)> {
    let found = SCRIPT.as_ref()?.captures(text)?;
    Some((found.get(1)?.as_str().parse().ok()?, found.get(2)?.as_str().to_owned()))
}

/// Words and quoted texts.
fn fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        fields.push(field.to_owned());
        rest = after.trim_start();
    }
    fields
}

fn plain(text: &str) -> String {
    text.to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ACCESS [2026-05-04T03:02:01.000Z] \"GET /shop/x?y=1 HTTP/1.1\" 503 UH 0 19 1 - \"10.0.0.9\" \"curl/8.5\" \"1-2-3\" \"shop.example:8080\" \"-\" no_healthy_upstream \"cluster_shop_default\" \"default/shop\" \"-\" 8080 http";

    fn read(text: &str) -> (Symptom, Option<Request>) {
        Symptom::read(text, None, &[]).unwrap()
    }

    #[test]
    fn reads_a_line_of_the_log() {
        let (symptom, request) = read(&format!("envoy-1 {LINE}"));
        assert_eq!(
            (symptom.status, symptom.flags.as_deref()),
            (Some(503), Some(&["UH".to_owned()][..]))
        );
        assert_eq!(symptom.details.as_deref(), Some("no_healthy_upstream"));
        assert_eq!(symptom.cluster.as_deref(), Some("cluster_shop_default"));
        assert_eq!(symptom.route.as_deref(), Some("default/shop"));
        assert_eq!(symptom.request_id.as_deref(), Some("1-2-3"));
        assert!(symptom.says("no healthy upstream"));
        let request = request.unwrap();
        assert_eq!((request.host.as_str(), request.port), ("shop.example", 8080));
        assert_eq!(request.path_and_query(), "/shop/x?y=1");
        assert!(!request.is_https && !request.has_headers);
    }

    #[test]
    fn reads_lines_of_others() {
        let envoys = "[2026-05-04T03:02:01.000Z] \"GET / HTTP/2\" 404 NR 0 0 0 - \"-\" \"-\" \"id\" \"a.example\" \"-\"";
        let (symptom, request) = read(envoys);
        assert_eq!((symptom.status, symptom.details), (Some(404), None));
        assert_eq!(request.unwrap().host, "a.example");
        let mesh = "[2026-05-04T03:02:01.000Z] \"GET / HTTP/2\" 404 NR route_not_found - \"-\" 0 0 0 - \"-\" \"-\" \"id\" \"a.example\" \"-\"";
        assert_eq!(read(mesh).0.details.as_deref(), Some("route_not_found"));
        let broken = "ACCESS [x] \"- - HTTP/1.1\" 400 DPE 0 11 0 - \"-\" \"-\" \"-\" \"-\" \"-\" http1.codec_error \"-\" \"-\" \"-\" 80 -";
        let (symptom, request) = read(broken);
        assert_eq!(symptom.details.as_deref(), Some("http1.codec_error"));
        assert_eq!(request, None);
    }

    #[test]
    fn reads_a_line_of_json() {
        let line = r#"{"response_code":503,"response_flags":"UF,URX","method":"GET","path":"/","authority":"a.example","route_name":"default/a","downstream_local_address":"10.0.0.1:8443","scheme":"https","upstream_cluster":"-"}"#;
        let (symptom, request) = read(line);
        assert_eq!(symptom.flags.unwrap(), ["UF", "URX"]);
        assert_eq!(symptom.cluster, None);
        let request = request.unwrap();
        assert_eq!((request.port, request.is_https), (8443, true));
    }

    #[test]
    fn reads_words() {
        let (symptom, _) = read("503 UH \"no healthy upstream\"");
        assert_eq!((symptom.status, symptom.flags.unwrap()), (Some(503), vec!["UH".to_owned()]));
        let (symptom, _) = read("rpc error: code = UNAVAILABLE, grpc-status: 14");
        assert_eq!((symptom.status, symptom.grpc_status), (None, Some(14)));
        let (symptom, _) = read(
            "[error][lua] script log: [string \"function envoy_on_request(h)...\"]:12: no such thing",
        );
        assert_eq!(symptom.script_error, Some((12, "no such thing".to_owned())));
        assert_eq!(symptom.status, None);
        assert!(read("").0.is_empty());
        let error = Symptom::read("", None, &["XX".to_owned()]).unwrap_err();
        assert!(error.contains("`XX`"), "{error}");
        // Cut between letters, not in one.
        assert!(read(&"ä".repeat(MOST)).0.says("ä"));
    }
}
