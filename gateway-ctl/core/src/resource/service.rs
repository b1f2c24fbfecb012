//! `service:` of Mappings and of the services that Envoy asks: `[scheme://]host[:port]`.

use service_kit::Diagnostics;

/// A service as written, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As the object writes it, in small letters and without anything after the port.
    pub text: String,
    /// `http` or `https` if it was written.
    pub scheme: Option<Scheme>,
    /// Host name or IP address, in small letters; IPv6 without its brackets.
    pub host: String,
    /// The port if it was written.
    pub port: Option<u16>,
}

/// The schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// The name of the TLSContext of connections to `service`, which is written at `path`.
pub fn read_tls_name(
    name: Option<String>,
    service: &Service,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<String> {
    let name = name.filter(|n| !n.is_empty())?;
    if service.scheme == Some(Scheme::Http) {
        found
            .error(path, "it says http://, and tls names a TLSContext; TLS is used")
            .hint("write https://, or remove tls");
    }
    Some(name)
}

impl Service {
    /// Reads a service and says what is wrong with it. `None` when nothing can be sent there.
    pub fn read(text: &str, path: &str, found: &mut Diagnostics<'_>) -> Option<Self> {
        let hint = "write it like my-service, my-service.namespace:8080 or https://host:8443";
        let trimmed = text.trim();
        let lower = trimmed.to_ascii_lowercase();
        let (scheme, rest) = if lower.starts_with("https://") {
            (Some(Scheme::Https), trimmed.get(8..).unwrap_or_default())
        } else if lower.starts_with("http://") {
            (Some(Scheme::Http), trimmed.get(7..).unwrap_or_default())
        } else if let Some((scheme, _)) = trimmed.split_once("://") {
            found.error(path, format!("service has the unknown scheme `{scheme}`")).hint(hint);
            return None;
        } else {
            (None, trimmed)
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (address, extra) = rest.split_at(end);
        if !extra.is_empty() && extra != "/" {
            found
                .error(
                    path,
                    format!("service has extra URL components (`{extra}`); they are ignored"),
                )
                .hint("change paths with rewrite or regex_rewrite");
        }
        let (host, port) = match split(address) {
            Ok(parts) => parts,
            Err(why) => {
                found.error(path, format!("service `{text}`: {why}")).hint(hint);
                return None;
            }
        };
        let head = trimmed.len() - rest.len();
        Some(Self {
            // Names have no case, and those of Kubernetes and Consul are written small.
            text: format!("{}{address}", trimmed.get(..head).unwrap_or_default())
                .to_ascii_lowercase(),
            scheme,
            host,
            port,
        })
    }

    /// Whether connections to it are TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Some(Scheme::Https)
    }

    /// The written port, else the one of the scheme.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// Whether the host is a Kubernetes name without its namespace.
    pub fn is_unqualified(&self) -> bool {
        !self.host.contains(['.', ':']) && self.host != "localhost"
    }

    /// The host in the namespace `namespace`, if it is a name that needs one; and the text.
    pub fn qualified(&self, namespace: &str) -> (String, String) {
        if !self.is_unqualified() {
            return (self.host.clone(), self.text.clone());
        }
        let host = format!("{}.{namespace}", self.host);
        let scheme = match self.scheme {
            Some(Scheme::Http) => "http://",
            Some(Scheme::Https) => "https://",
            None => "",
        };
        let port = self.port.map(|p| format!(":{p}")).unwrap_or_default();
        let text = format!("{scheme}{host}{port}");
        (host, text)
    }
}

/// `host[:port]`, `[ipv6][:port]`.
fn split(address: &str) -> Result<(String, Option<u16>), String> {
    if address.contains('@') {
        return Err("user names have no place here".to_owned());
    }
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is not an IPv6 address"));
        }
        (host, rest.strip_prefix(':'))
    } else {
        match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
        return Err(format!("`{}` is not the name of a host", host.escape_debug()));
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(format!("found invalid port `{port}`; a port is 1 to 65535")),
        },
    };
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use service_kit::Object;

    use super::*;

    fn read(text: &str) -> (Option<Service>, usize) {
        let json = serde_json::json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}});
        let object = Object::from_json(json).unwrap();
        let mut found = Diagnostics::new(&object);
        let service = Service::read(text, "spec.service", &mut found);
        (service, found.into_vec().len())
    }

    #[test]
    fn takes_services_apart() {
        for (text, host, port, tls) in [
            ("a", "a", 80, false),
            ("a.b:8080", "a.b", 8080, false),
            ("https://a", "a", 443, true),
            ("HTTPS://a:1", "a", 1, true),
            ("Web.Shop", "web.shop", 80, false),
            ("http://127.0.0.1:9000/", "127.0.0.1", 9000, false),
            ("[::1]:5", "::1", 5, false),
        ] {
            let (service, found) = read(text);
            let service = service.unwrap();
            assert_eq!(
                (service.host.as_str(), service.port_or_default(), service.is_tls(), found),
                (host, port, tls, 0),
                "{text}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["", "ftp://a", "a:0", "a:65536", "a:x", "a b", "[::1", "u@h", "a:1:2"] {
            assert_eq!(read(text), (None, 1), "{text}");
        }
        let (service, found) = read("a:1/path");
        assert_eq!((service.unwrap().text.as_str(), found), ("a:1", 1));
    }

    #[test]
    fn only_bare_names_get_a_namespace() {
        let text = |t: &str| read(t).0.unwrap().qualified("y");
        assert_eq!(text("https://four:1"), ("four.y".to_owned(), "https://four.y:1".to_owned()));
        assert_eq!(text("a.b").0, "a.b");
        assert_eq!(text("localhost").0, "localhost");
    }
}
