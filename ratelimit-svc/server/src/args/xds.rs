//! Settings of `CONFIG_TYPE=GRPC_XDS_SOTW`: limits come from a control plane, as from Envoy
//! Gateway's. Names and defaults are envoyproxy/ratelimit's.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use proto::envoy::config::core::v3::Node;
use service_kit::server::sotw_client::{Backoff, Settings};
use service_kit::server::tls::ClientFiles;
use tonic::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap,
};

use crate::environment::Environment;

/// The resource that control planes send.
const TYPE_URL: &str = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig";
/// gRPC's own bound in Go.
const MAX_MESSAGE: u64 = 4 << 20;
const MAX_MESSAGE_NAME: &str = "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES";

/// A control plane to take limits from.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    pub client: Settings,
    /// The ports for requests open when it has said something, good or bad.
    pub wait_for_first: bool,
}

/// The control plane that `CONFIG_TYPE` asks for.
pub(super) fn control_plane(env: &Environment) -> anyhow::Result<Option<ControlPlane>> {
    match env.text("CONFIG_TYPE", "FILE").to_ascii_uppercase().as_str() {
        "FILE" => return Ok(None),
        "GRPC_XDS_SOTW" => {}
        other => bail!("CONFIG_TYPE={other}: use FILE or GRPC_XDS_SOTW"),
    }
    let duration = |name: &str, default: u64| {
        env.duration(name).map(|d| d.unwrap_or(Duration::from_secs(default)))
    };
    let client = Settings {
        addr: addr(env)?,
        type_url: TYPE_URL.to_owned(),
        node: node(env),
        headers: headers(env)?,
        tls: tls(env)?,
        max_message: match env.number(MAX_MESSAGE_NAME, 0)? {
            0 => MAX_MESSAGE,
            set => set,
        }
        .try_into()
        .context(MAX_MESSAGE_NAME)?,
        max_message_name: MAX_MESSAGE_NAME,
        connect_retry: duration("CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL", 3)?,
        backoff: Backoff {
            initial: duration("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", 10)?,
            max: duration("XDS_CLIENT_BACKOFF_MAX_INTERVAL", 60)?,
            factor: factor(env)?,
            jitter: env.flag("XDS_CLIENT_BACKOFF_JITTER", true)?,
        },
    };
    let wait_for_first = !env.flag("FORCE_START_WITHOUT_INITIAL_CONFIG", false)?;
    Ok(Some(ControlPlane { client, wait_for_first }))
}

/// `host:port`, also written as gRPC's name resolvers want it.
fn addr(env: &Environment) -> anyhow::Result<String> {
    const NAME: &str = "CONFIG_GRPC_XDS_SERVER_URL";
    let url = env.text(NAME, "localhost:18000");
    let addr = ["dns:///", "passthrough:///"].iter().find_map(|p| url.strip_prefix(p));
    let addr = addr.unwrap_or(&url);
    let authority: Option<http::uri::Authority> = addr.parse().ok();
    match authority.and_then(|a| a.port_u16()) {
        Some(_) => Ok(addr.to_owned()),
        None => bail!("{NAME}={url}: write it as HOST:PORT"),
    }
}

/// What is no `key=value` is left out, as there.
fn node(env: &Environment) -> Node {
    use prost_types::value::Kind;
    let metadata = env.text("CONFIG_GRPC_XDS_NODE_METADATA", "");
    let entries = metadata.split(',').filter_map(|entry| entry.split_once('='));
    let text = |value: &str| prost_types::Value { kind: Some(Kind::StringValue(value.to_owned())) };
    let fields = entries.map(|(key, value)| (key.to_owned(), text(value))).collect();
    Node {
        id: env.text("CONFIG_GRPC_XDS_NODE_ID", "default"),
        metadata: Some(prost_types::Struct { fields }),
        ..Node::default()
    }
}

/// `name:value,name:value`. A value may be a token, so none is ever repeated.
fn headers(env: &Environment) -> anyhow::Result<MetadataMap> {
    const NAME: &str = "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS";
    let mut headers = MetadataMap::new();
    let text = env.text(NAME, "");
    for (i, entry) in text.split(',').enumerate().filter(|(_, entry)| !entry.is_empty()) {
        let place = i + 1;
        let (name, value) = entry
            .split_once(':')
            .ok_or_else(|| anyhow!("{NAME}: entry {place} is not like name:value"))?;
        let name = name.trim().to_ascii_lowercase();
        let bad = |what| anyhow!("{NAME}: entry {place} has {what}");
        if name.ends_with("-bin") {
            let key = BinaryMetadataKey::from_bytes(name.as_bytes());
            let mut value = BinaryMetadataValue::from_bytes(value.as_bytes());
            value.set_sensitive(true);
            headers.append_bin(key.map_err(|_| bad("a name that is no header's"))?, value);
        } else {
            let key = AsciiMetadataKey::from_bytes(name.as_bytes());
            let mut value = AsciiMetadataValue::try_from(value)
                .map_err(|_| bad("a value that is no header's"))?;
            value.set_sensitive(true);
            headers.append(key.map_err(|_| bad("a name that is no header's"))?, value);
        }
    }
    Ok(headers)
}

/// The files are read once now, so that a wrong path ends the start and not the service.
fn tls(env: &Environment) -> anyhow::Result<Option<ClientFiles>> {
    const USE: &str = "CONFIG_GRPC_XDS_SERVER_USE_TLS";
    if !env.flag(USE, false)? {
        return Ok(None);
    }
    let path = |name: &str| env.get(name).map(PathBuf::from);
    let identity = match (
        path("CONFIG_GRPC_XDS_CLIENT_TLS_CERT"),
        path("CONFIG_GRPC_XDS_CLIENT_TLS_KEY"),
    ) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => bail!(
            "CONFIG_GRPC_XDS_CLIENT_TLS_CERT and CONFIG_GRPC_XDS_CLIENT_TLS_KEY go together; set both or none"
        ),
    };
    let files = ClientFiles {
        identity,
        ca: path("CONFIG_GRPC_XDS_SERVER_TLS_CACERT"),
        server_name: env.get("CONFIG_GRPC_XDS_SERVER_TLS_SAN").map(str::to_owned),
    };
    files.read().map_err(|why| anyhow!("{USE}: {why}"))?;
    Ok(Some(files))
}

fn factor(env: &Environment) -> anyhow::Result<f64> {
    const NAME: &str = "XDS_CLIENT_BACKOFF_RANDOM_FACTOR";
    let text = env.text(NAME, "0.5");
    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite());
    factor.ok_or_else(|| anyhow!("{NAME}={text}: not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ControlPlane, String> {
        let mut all = vec![("CONFIG_TYPE", "GRPC_XDS_SOTW")];
        all.extend(variables);
        let read = control_plane(&Environment::of(&all)).map_err(|e| format!("{e:#}"))?;
        Ok(read.unwrap())
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let ControlPlane { client, wait_for_first } = read(&[]).unwrap();
        assert_eq!((client.addr.as_str(), client.node.id.as_str()), ("localhost:18000", "default"));
        assert_eq!((client.max_message, client.connect_retry.as_secs()), (4 << 20, 3));
        let seconds = Duration::from_secs;
        let backoff = Backoff { initial: seconds(10), max: seconds(60), factor: 0.5, jitter: true };
        assert_eq!(client.backoff, backoff);
        assert!(client.tls.is_none() && client.headers.is_empty() && wait_for_first);
        assert!(control_plane(&Environment::of(&[])).unwrap().is_none());
    }

    #[test]
    fn variables_are_read_in_go_notation() {
        let ControlPlane { client, wait_for_first } = read(&[
            ("FORCE_START_WITHOUT_INITIAL_CONFIG", "T"),
            ("CONFIG_GRPC_XDS_SERVER_URL", "dns:///[::1]:9"),
            ("CONFIG_GRPC_XDS_NODE_METADATA", "a=b=c,nothing,d="),
            ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "Authorization:Bearer a:b,x-two:2"),
            ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "1m30s"),
            ("XDS_CLIENT_BACKOFF_JITTER", "0"),
            ("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", "9000000"),
        ])
        .unwrap();
        assert!(!wait_for_first && !client.backoff.jitter);
        assert_eq!((client.addr.as_str(), client.max_message), ("[::1]:9", 9_000_000));
        assert_eq!(client.backoff.initial.as_secs(), 90);
        let metadata = client.node.metadata.as_ref().unwrap();
        assert_eq!(metadata.fields.keys().collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(client.headers.get("authorization").unwrap(), "Bearer a:b");
        assert_eq!(client.headers.get("x-two").unwrap(), "2");
        assert!(!format!("{client:?}").contains("Bearer"));
    }

    #[test]
    fn a_bad_value_is_named_and_no_secret_is() {
        for (name, value) in [
            ("CONFIG_TYPE", "REST"),
            ("CONFIG_GRPC_XDS_SERVER_URL", "host"),
            ("CONFIG_GRPC_XDS_SERVER_URL", "unix:/run/xds"),
            ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "hush"),
            ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "a b:hush"),
            ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "a:hush\n"),
            ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "hm"),
            ("XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "x"),
            ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "soon"),
            ("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", "-1"),
            ("FORCE_START_WITHOUT_INITIAL_CONFIG", "maybe"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name) && !error.contains("hush"), "{error}");
        }
        let tls = ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true");
        let error = read(&[tls, ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", "/none.pem")]).unwrap_err();
        assert!(error.contains("/none.pem"), "{error}");
        let error = read(&[tls, ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", "/k")]).unwrap_err();
        assert!(error.contains("go together"), "{error}");
    }
}
