//! `Filter.spec.HMAC`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::spec::{GoDuration, HeaderTemplate, duration, unset_if_empty};

/// `Filter.spec.HMAC`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["keys"]))]
pub struct Spec {
    /// `httpSignatures`: HTTP Message Signatures (RFC 9421) in the headers `Signature-Input` and
    /// `Signature`. `simple`: `Authorization: HMAC KEYID:SIGNATURE`, where SIGNATURE is the base64 of
    /// HMAC-SHA256 over five lines: method, host, path with query, the header `X-Date` (or `Date`),
    /// and the hexadecimal SHA-256 of the body. Default: `httpSignatures`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "httpSignatures", "simple"]))]
    pub profile: Option<String>,
    /// The keys that signatures are verified with.
    #[serde(default)]
    pub keys: Option<Vec<Keys>>,
    /// With `httpSignatures`: what each signature must cover; names of headers, and `@method`,
    /// `@authority`, `@scheme`, `@target-uri`, `@request-target`, `@path`, `@query`, where one with
    /// `@` may be covered by one that contains it. `@query` is not asked of a request without.
    /// Default: `@method`, `@authority`, `@path`, `@query`.
    #[serde(default)]
    pub components: Option<Vec<String>>,
    /// Whether the body must be signed, by a covered `Content-Digest` (RFC 9530) or, in the profile
    /// `simple`, the last line. `auto`: when there is one; `always`; `never`: `simple` has `-` for the
    /// last line then. Envoy must send bodies (`with_request_body`); one that it cuts is refused.
    /// Default: `auto`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "auto", "always", "never"]))]
    pub content_digest: Option<String>,
    /// How old a signature may be, as in `5m`; at most 24h. Default: 5m.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub max_age: Duration,
    /// How far ahead a signature's time may be, and how long after `expires` it may come, as in
    /// `30s`; at most 1h. Default: 30s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub clock_skew: Duration,
    /// Whether a signature, or its `nonce`, passes once only. It is remembered in the store of
    /// sessions; without the store nobody passes. Two equal requests within a second need a `nonce`.
    /// Default: true.
    #[serde(default)]
    pub replay_protection: Option<bool>,
    /// With `httpSignatures`: whether a signature must have a `nonce`. Default: false.
    #[serde(default)]
    pub require_nonce: Option<bool>,
    /// With `httpSignatures`: the `tag` that a signature must have to be looked at.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub tag: Option<String>,
    /// Realm of `WWW-Authenticate`. Default: `NAME.NAMESPACE` of the Filter.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub realm: Option<String>,
    /// Whether the backend does not get the headers of the signature. Default: false.
    #[serde(default)]
    pub strip_signature: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates with `.keyID` and
    /// `.httpRequestHeader`.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
}

/// Keys in a Secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["secretName"]))]
pub struct Keys {
    /// The Secret's name.
    #[serde(default)]
    pub secret_name: String,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// The key of its data. Default: every value of the Secret is a key, and its name the key id.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub key: Option<String>,
    /// With `key`: the key id. Default: the same as `key`.
    #[serde(default, rename = "keyID", deserialize_with = "unset_if_empty")]
    pub key_id: Option<String>,
    /// `hmac-sha256`: a secret of 16 bytes at least, as it is. The others are public keys in PEM:
    /// `ecdsa-p256-sha256`, `ed25519`, `rsa-pss-sha512`, `rsa-v1_5-sha256`. Default: `hmac-sha256`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "hmac-sha256", "ecdsa-p256-sha256", "ed25519",
        "rsa-pss-sha512", "rsa-v1_5-sha256"]))]
    pub algorithm: Option<String>,
}
