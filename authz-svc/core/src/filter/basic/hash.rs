//! Hashes of passwords as htpasswd writes them. To verify one takes long, on purpose.

use argon2::{Argon2, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use service_kit::Secret;
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// Largest cost of bcrypt: about a second.
const MAX_COST: u32 = 14;
/// Largest memory of argon2, in KiB.
const MAX_MEMORY: u32 = 256 << 10;
/// Most passes of argon2.
const MAX_PASSES: u32 = 16;

/// A hash that can be verified.
#[derive(Clone, Debug)]
pub(super) enum Hash {
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt(Secret<String>),
    /// `$argon2i$`, `$argon2d$`, `$argon2id$`: PHC's text.
    Argon2(Secret<String>),
    /// `{SHA}`: unsalted; for old files only.
    Sha1(Secret<Vec<u8>>),
    /// `$apr1$salt$`: Apache's form of MD5-crypt.
    Apr1 {
        /// At most 8 bytes.
        salt: String,
        /// 22 characters.
        digest: Secret<String>,
    },
}

impl Hash {
    /// Reads a hash.
    ///
    /// # Errors
    /// In words, without the hash, when it is of no kind that is known, or costs too much.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.starts_with("$2") {
            let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
            let known = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
            return match cost {
                Some(cost) if cost > MAX_COST => {
                    Err(format!("its cost is {cost}; the most is {MAX_COST}"))
                }
                Some(_) if known && text.len() == 60 => {
                    Ok(Self::Bcrypt(Secret::new(text.to_owned())))
                }
                _ => Err("its bcrypt hash is broken".to_owned()),
            };
        }
        if text.starts_with("$argon2") {
            return argon2_of(text);
        }
        if let Some(digest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(digest).ok().filter(|d| d.len() == 20);
            let digest = digest.ok_or("its SHA-1 hash is broken")?;
            return Ok(Self::Sha1(Secret::new(digest)));
        }
        if let Some(rest) = text.strip_prefix("$apr1$") {
            let (salt, digest) = rest.split_once('$').ok_or("its apr1 hash is broken")?;
            if salt.len() > 8 || digest.len() != 22 {
                return Err("its apr1 hash is broken".to_owned());
            }
            let digest = Secret::new(digest.to_owned());
            return Ok(Self::Apr1 { salt: salt.to_owned(), digest });
        }
        Err("its hash is of no kind that is known; make it by `htpasswd -B`".to_owned())
    }

    /// Whether it is the hash of `password`.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash.expose()).unwrap_or(false),
            Self::Argon2(hash) => argon2::PasswordHash::new(hash.expose())
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Self::Sha1(digest) => Sha1::digest(password).ct_eq(digest.expose().as_slice()).into(),
            Self::Apr1 { salt, digest } => {
                apr1(password, salt.as_bytes()).as_bytes().ct_eq(digest.expose().as_bytes()).into()
            }
        }
    }
}

fn argon2_of(text: &str) -> Result<Hash, String> {
    let broken = || "its argon2 hash is broken".to_owned();
    let hash = argon2::PasswordHash::new(text).map_err(|_| broken())?;
    let parameters = argon2::Params::try_from(&hash).map_err(|_| broken())?;
    if parameters.m_cost() > MAX_MEMORY || parameters.t_cost() > MAX_PASSES {
        return Err(format!(
            "its argon2 hash takes {} KiB and {} passes; the most are {MAX_MEMORY} and {MAX_PASSES}",
            parameters.m_cost(),
            parameters.t_cost()
        ));
    }
    if hash.hash.is_none() || parameters.p_cost() > 16 {
        return Err(broken());
    }
    Ok(Hash::Argon2(Secret::new(text.to_owned())))
}

/// Apache's MD5-crypt (apr_md5.c describes it): 1,000 rounds of MD5.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let mut inner = Md5::new();
    inner.update(password);
    inner.update(salt);
    inner.update(password);
    let inner = inner.finalize();
    let mut outer = Md5::new();
    outer.update(password);
    outer.update(b"$apr1$");
    outer.update(salt);
    let mut left = password.len();
    while left > 0 {
        outer.update(&inner[..left.min(16)]);
        left -= left.min(16);
    }
    let mut bits = password.len();
    while bits > 0 {
        let first = password.first().copied().unwrap_or_default();
        outer.update([if bits & 1 == 1 { 0 } else { first }]);
        bits >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round % 2 == 1 {
            next.update(digest);
        } else {
            next.update(password);
        }
        digest = next.finalize();
    }
    encode(&digest.into())
}

/// MD5-crypt's own base 64, of the bytes in its own order.
fn encode(digest: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::new();
    let mut push = |mut value: u32, digits: usize| {
        for _ in 0..digits {
            text.push(char::from(DIGITS[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [high, middle, low] in ORDER {
        let part = |i: usize| u32::from(digest[i]);
        push(part(high) << 16 | part(middle) << 8 | part(low), 4);
    }
    push(u32::from(digest[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_verifies_its_password_only() {
        for hash in [
            // Made by htpasswd 2.4 and by argon2's reference program, of the password `sesame`.
            "$apr1$8sFt66rZ$OXpH8qkAnpRLJ8zqLLxGm1",
            "{SHA}e6ThIGqf3tu2sGIcUeBUtLaBwPk=",
        ] {
            assert!(Hash::read(hash).is_ok(), "{hash}");
        }
        let bcrypt = bcrypt::hash("sesame", 4).unwrap();
        let sha = format!("{{SHA}}{}", STANDARD.encode(Sha1::digest(b"sesame")));
        let apr1 = format!("$apr1$salt$1234${}", apr1(b"sesame", b"salt")).replace("$1234", "");
        for text in [bcrypt, sha, apr1] {
            let hash = Hash::read(&text).unwrap();
            assert!(hash.verify(b"sesame"), "{text}");
            assert!(!hash.verify(b"Sesame") && !hash.verify(b""), "{text}");
        }
    }

    #[test]
    fn apr1_is_apaches() {
        // From Apache's documentation of password formats.
        assert_eq!(apr1(b"myPassword", b"r31....."), "HqJZimcKQFAMYayBlzkrA/");
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        for (text, words) in [
            ("sesame", "no kind"),
            ("", "no kind"),
            ("$2y$31$abcdefghijklmnopqrstuuWzNVvCTcGCRLCGCCCCCCCCCCCCCCCCCCC", "cost is 31"),
            ("$2y$10$short", "broken"),
            ("$2x$10$abcdefghijklmnopqrstuuWzNVvCTcGCRLCGCCCCCCCCCCCCCCCCCC", "broken"),
            ("{SHA}short", "broken"),
            ("$apr1$nothing", "broken"),
            ("$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "4194304 KiB"),
            ("$argon2id$broken", "broken"),
        ] {
            let why = Hash::read(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
            assert!(text.is_empty() || !why.contains(text), "{why}");
        }
    }
}
