//! A request as it is written on the command line.

use axum::http::Uri;
use serde_json::{Map, Value};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As in `GET`.
    pub method: String,
    /// Whether it comes over TLS.
    pub is_https: bool,
    /// The host, in lower case, without the port.
    pub host: String,
    /// The port, or the scheme's.
    pub port: u16,
    /// The path, beginning with `/`.
    pub path: String,
    /// What stands after `?`.
    pub query: Option<String>,
    /// Names in lower case, values.
    pub headers: Vec<(String, String)>,
    /// Whether the headers are known: a line of a log does not have them.
    pub has_headers: bool,
    /// The address of the client, if it is known.
    pub client: Option<String>,
    /// What authorization says of it; none: not known.
    pub metadata: Option<Map<String, Value>>,
}

impl Request {
    /// Reads method, URL and `name: value` headers. A `host` header wins over the URL's host, as
    /// curl does it.
    ///
    /// # Errors
    /// Which argument is wrong and how it is written.
    pub fn parse(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let wrong = || format!("`{url}` is not a URL; write it like http://shop.example:8080/cart");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let headers = headers
            .iter()
            .map(|header| {
                let (name, value) = header.split_once(':').ok_or_else(|| {
                    format!("`{header}` is not a header; write it like `x-user: alice`")
                })?;
                Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let named = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value);
        let host = match named {
            Some(value) => match value.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => host,
                _ => value,
            },
            None => host,
        };
        Ok(Self {
            method: method.to_ascii_uppercase(),
            is_https,
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: if uri.path().is_empty() { "/".to_owned() } else { uri.path().to_owned() },
            query: uri.query().map(str::to_owned),
            headers,
            has_headers: true,
            client: None,
            metadata: None,
        })
    }

    /// One of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self {
            method: String::new(),
            is_https: false,
            host: String::new(),
            port: 0,
            path: "/".to_owned(),
            query: None,
            headers: Vec::new(),
            has_headers: false,
            client: None,
            metadata: None,
        }
    }

    /// Path and query as on the wire.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The value of a header or pseudo-header; several are joined as Envoy joins them.
    pub fn header(&self, name: &str) -> Option<String> {
        match name {
            ":method" => return Some(self.method.clone()),
            ":authority" | "host" => return Some(self.host.clone()),
            ":path" => return Some(self.path_and_query()),
            ":scheme" => return Some(if self.is_https { "https" } else { "http" }.to_owned()),
            _ => {}
        }
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The value of a query parameter; empty when it has none.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.as_deref()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}
