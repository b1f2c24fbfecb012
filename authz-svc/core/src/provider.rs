//! What an OpenID provider says of itself (OpenID Connect Discovery 1.0 section 3).

use serde::Deserialize;

/// Provider metadata; other fields are of no use here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Provider {
    /// Its issuer identifier, the `iss` of its tokens.
    pub issuer: String,
    /// Where browsers log in.
    pub authorization_endpoint: Option<String>,
    /// Where tokens are.
    pub token_endpoint: Option<String>,
    /// Where claims of a user are.
    pub userinfo_endpoint: Option<String>,
    /// Where its keys are.
    pub jwks_uri: Option<String>,
    /// Where browsers log out (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<String>,
    /// Where tokens are asked about (RFC 7662).
    pub introspection_endpoint: Option<String>,
}

impl Provider {
    /// Reads the document.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let provider: Self = serde_json::from_slice(text)
            .map_err(|e| format!("the provider's configuration cannot be read: {e}"))?;
        if provider.issuer.is_empty() {
            return Err("the provider's configuration has no issuer".to_owned());
        }
        Ok(provider)
    }
}
