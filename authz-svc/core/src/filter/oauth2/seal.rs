//! Identifiers that nobody can guess, and values that only their holder can read. A store that
//! falls into wrong hands tells nothing: keys are digests of identifiers, and values are encrypted
//! with a key that is made of the identifier itself.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use service_kit::Secret;
use sha2::{Digest as _, Sha256};

/// The first byte of a sealed value; another one is not read.
const VERSION: u8 = 1;
/// Length of an identifier in text.
pub(super) const TEXT_LEN: usize = 43;
/// Longest value that is sealed, in bytes.
pub(super) const MAX_LEN: usize = 128 << 10;

/// 256 random bits: of a session, of a login, of a lock.
#[derive(Clone)]
pub(super) struct Id(Secret<[u8; 32]>);

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Id")
    }
}

impl Id {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Reads what [`Self::text`] wrote, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(Self::new(bytes))
    }

    /// For a cookie or a URL.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose())
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Where the value of this identifier is; says nothing of the identifier.
    pub(super) fn place(&self, kind: &str, filter: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(kind);
        hash.update([0]);
        hash.update(self.0.expose());
        format!("oauth2/{kind}/{filter}/{}", URL_SAFE_NO_PAD.encode(hash.finalize()))
    }

    /// Other bits, of which these cannot be found out (HKDF, RFC 5869).
    pub(super) fn derive(&self, salt: &[u8], purpose: &str) -> Id {
        let mut bytes = [0; 32];
        let key = Salt::new(HKDF_SHA256, salt).extract(self.0.expose());
        // 32 bytes always are to be had.
        let _ = key.expand(&[purpose.as_bytes()], Length).and_then(|okm| okm.fill(&mut bytes));
        Id::new(bytes)
    }

    /// Encrypts. `fresh` are random bytes that were never used before; `context` is needed again
    /// to open it. None when it is too long.
    pub(super) fn seal(&self, fresh: &[u8; 32], context: &str, value: &[u8]) -> Option<Vec<u8>> {
        if value.len() > MAX_LEN {
            return None;
        }
        let key = self.key(fresh, context)?;
        let mut sealed = value.to_vec();
        // The key is another one each time, so the nonce may be the same.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(nonce, Aad::from([VERSION]), &mut sealed).ok()?;
        let mut out = Vec::with_capacity(1 + fresh.len() + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(fresh);
        out.extend_from_slice(&sealed);
        Some(out)
    }

    /// Decrypts what [`Self::seal`] made with the same context.
    pub(super) fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        let (fresh, value) = rest.split_at_checked(32)?;
        if *version != VERSION || value.len() > MAX_LEN + 16 {
            return None;
        }
        let key = self.key(fresh, context)?;
        let mut value = value.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let opened = key.open_in_place(nonce, Aad::from([VERSION]), &mut value).ok()?.len();
        value.truncate(opened);
        Some(value)
    }

    fn key(&self, fresh: &[u8], context: &str) -> Option<LessSafeKey> {
        let key = Salt::new(HKDF_SHA256, fresh).extract(self.0.expose());
        let info = [b"tollgate ".as_slice(), context.as_bytes()];
        let okm = key.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

/// 32 bytes.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_holder_only() {
        let (id, other) = (Id::new([1; 32]), Id::new([2; 32]));
        let sealed = id.seal(&[9; 32], "a", b"value").unwrap();
        assert_eq!(id.open("a", &sealed).unwrap(), b"value");
        assert!(!sealed.windows(5).any(|w| w == b"value"));
        assert!(other.open("a", &sealed).is_none() && id.open("b", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(id.open("a", &bad).is_none(), "{at}");
            assert!(id.open("a", &sealed[..at]).is_none(), "{at}");
        }
        assert!(id.seal(&[9; 32], "a", &vec![0; MAX_LEN + 1]).is_none());
    }

    #[test]
    fn only_its_own_text_is_read() {
        let id = Id::new([0xfe; 32]);
        assert_eq!(Id::parse(&id.text()).unwrap().bytes(), id.bytes());
        for bad in ["", "x", &id.text()[1..], &format!("{}=", id.text()), &"!".repeat(43)] {
            assert!(Id::parse(bad).is_none(), "{bad}");
        }
        assert_ne!(id.derive(b"s", "a").bytes(), id.derive(b"s", "b").bytes());
        assert_ne!(id.place("session", "f"), id.place("login", "f"));
        assert!(!id.place("session", "f").contains(&id.text()));
    }
}
