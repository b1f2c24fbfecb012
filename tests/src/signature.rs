//! Requests signed for the filter HMAC in its simple profile.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};

/// The secret; its name is `acme`.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Headers of a signed GET; each `seconds` ago is another one.
pub fn signed(host: &str, path: &str, seconds: u64) -> Vec<(String, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds;
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&jiff::Timestamp::from_second(now.cast_signed()).unwrap())
        .unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!("GET\n{host}\n{path}\n{date}\n{empty}");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).unwrap();
    let signature = STANDARD.encode(URL_SAFE_NO_PAD.decode(signature).unwrap());
    vec![("date".to_owned(), date), ("authorization".to_owned(), format!("HMAC acme:{signature}"))]
}
