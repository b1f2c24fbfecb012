//! The variables by which Consul's own programs are told where an agent is and how to speak to it.

use std::fmt;

use service_kit::Secret;

/// Where an agent is unless something says otherwise.
const USUAL: &str = "127.0.0.1:8500";

/// What the environment says.
#[derive(Clone, Default)]
pub struct Environment {
    address: String,
    token: Option<Secret<String>>,
    token_file: Option<String>,
    ca_file: Option<String>,
    client_certificate: Option<(String, String)>,
    encrypted: bool,
}

impl Environment {
    /// Reads `CONSUL_HTTP_ADDR`, `CONSUL_HTTP_SSL`, `CONSUL_HTTP_TOKEN`, `CONSUL_HTTP_TOKEN_FILE`,
    /// `CONSUL_CACERT`, `CONSUL_CLIENT_CERT` and `CONSUL_CLIENT_KEY`.
    pub fn read() -> Self {
        let of = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            address: of("CONSUL_HTTP_ADDR").unwrap_or_else(|| USUAL.to_owned()),
            token: of("CONSUL_HTTP_TOKEN").map(Secret::new),
            token_file: of("CONSUL_HTTP_TOKEN_FILE"),
            ca_file: of("CONSUL_CACERT"),
            client_certificate: of("CONSUL_CLIENT_CERT").zip(of("CONSUL_CLIENT_KEY")),
            encrypted: of("CONSUL_HTTP_SSL").is_some_and(|v| v == "1" || v == "true"),
        }
    }

    /// The usual agent.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL of an agent, given its address as a ConsulResolver writes it.
    pub(super) fn url(&self, written: &str) -> Result<reqwest::Url, String> {
        let written = if written.is_empty() { &self.address } else { written };
        if written.contains('$') {
            return Err("its address names a variable that --expand-env does not name".to_owned());
        }
        let scheme = if self.encrypted { "https" } else { "http" };
        let text = match written.split_once("://") {
            Some(("http" | "https", _)) => written.to_owned(),
            Some((other, _)) => {
                return Err(format!("`{other}` is no way to speak to an agent; http or https is"));
            }
            None => format!("{scheme}://{written}"),
        };
        let mut url: reqwest::Url =
            text.parse().map_err(|_| format!("`{written}` is no address"))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(format!("`{written}` is no address"));
        }
        // A URL does not tell its scheme's port from none.
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let has_port = authority.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
        if !has_port {
            // Consul's usual ports.
            let port = if url.scheme() == "https" { 8501 } else { 8500 };
            url.set_port(Some(port)).map_err(|()| format!("`{written}` is no address"))?;
        }
        url.set_path("/");
        url.set_query(None);
        Ok(url)
    }

    /// The token that questions carry. A file is read anew each time: tokens are renewed.
    pub(super) fn token(&self) -> Result<Option<Secret<String>>, String> {
        if self.token.is_some() {
            return Ok(self.token.clone());
        }
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("CONSUL_HTTP_TOKEN_FILE cannot be read: {e}"))?;
        Ok(Some(Secret::new(text.trim().to_owned())))
    }

    /// A client with the certificates that the environment names.
    pub(super) fn client(&self) -> Result<reqwest::ClientBuilder, String> {
        let read = |name: &str, file: &str| {
            std::fs::read(file).map_err(|e| format!("{name} cannot be read: {e}"))
        };
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(file) = &self.ca_file {
            let pem = read("CONSUL_CACERT", file)?;
            let all = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| "CONSUL_CACERT holds no certificates".to_owned())?;
            builder = builder.tls_certs_only(all);
        }
        if let Some((certificate, key)) = &self.client_certificate {
            let mut pem = read("CONSUL_CLIENT_CERT", certificate)?;
            pem.push(b'\n');
            pem.extend(read("CONSUL_CLIENT_KEY", key)?);
            let identity = reqwest::Identity::from_pem(&pem).map_err(|_| {
                "CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY are no certificate with its key"
                    .to_owned()
            })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_with_consuls_usual_ports() {
        let environment = Environment { address: "agent".to_owned(), ..Environment::default() };
        let url = |text: &str| environment.url(text).map(String::from);
        assert_eq!(url("").unwrap(), "http://agent:8500/");
        assert_eq!(url("a:80").unwrap(), "http://a/");
        assert_eq!(url("https://a").unwrap(), "https://a:8501/");
        assert_eq!(url("https://a:443/x").unwrap(), "https://a/");
        assert!(url("unix:///x").is_err());
        assert!(url("http://").is_err());
        assert!(url("$HOST_IP:8500").unwrap_err().contains("--expand-env"));
        let environment = Environment { encrypted: true, ..environment };
        assert_eq!(String::from(environment.url("a:1").unwrap()), "https://a:1/");
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Some(Secret::new("hunter2".to_owned()));
        let environment = Environment { token, ..Environment::default() };
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
