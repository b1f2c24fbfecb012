//! What a control plane of envoyproxy/ratelimit's kind sends, to domains.

use prost::Message as _;
use prost_types::Any;
use proto::ratelimit::config::ratelimit::v3::RateLimitConfig;
use ratelimit_core::ratelimit_file::{Domains, File};

const MESSAGE: &str = "ratelimit.config.ratelimit.v3.RateLimitConfig";

/// Reads all resources. One that is wrong makes all of them wrong.
///
/// # Errors
/// The words of envoyproxy/ratelimit for the control plane, as `NAME: TEXT`.
pub(super) fn domains(resources: &[Any], merge_domains: bool) -> Result<Domains, String> {
    let messages: Vec<_> = resources.iter().map(message).collect::<Result<_, _>>()?;
    let read = messages.iter().map(|m| (m.name.clone(), File::from_message(m)));
    Domains::whole(read, merge_domains)
}

fn message(any: &Any) -> Result<RateLimitConfig, String> {
    let got = any.type_url.rsplit('/').next().unwrap_or_default();
    if got != MESSAGE {
        return Err(format!("proto: mismatched message type: got \"{got}\", want \"{MESSAGE}\""));
    }
    RateLimitConfig::decode(any.value.as_slice())
        .map_err(|e| format!("proto: cannot parse invalid wire-format data: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, domain: &str) -> Any {
        let message = RateLimitConfig {
            name: name.to_owned(),
            domain: domain.to_owned(),
            ..RateLimitConfig::default()
        };
        let type_url = format!("type.googleapis.com/{MESSAGE}");
        Any { type_url, value: message.encode_to_vec() }
    }

    #[test]
    fn refuses_with_the_name_of_the_resource() {
        let refusal = |resources: &[Any], merge| domains(resources, merge).unwrap_err();
        let twice = [config("a/b", "d"), config("c", "d")];
        assert_eq!(refusal(&twice, false), "c: duplicate domain 'd' in config file");
        assert!(domains(&twice, true).is_ok() && domains(&[], false).unwrap().is_empty());
        assert_eq!(
            refusal(&[config("a/b", "")], false),
            "a/b: config file cannot have empty domain"
        );
        let broken = Any { value: vec![0xff; 3], ..config("a", "d") };
        assert!(refusal(&[broken], false).starts_with("proto: cannot parse invalid wire-format"));
        let other = Any { type_url: "t/other.Type".to_owned(), ..config("a", "d") };
        assert!(refusal(&[other], false).contains("got \"other.Type\", want \"ratelimit."));
    }
}
