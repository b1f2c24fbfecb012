//! Keys of signatures and their algorithms (RFC 9421, section 3.3).

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// Shortest secret, in bytes.
const MIN_SECRET: usize = 16;
/// The algorithm of secrets.
pub(super) const HMAC: &str = "hmac-sha256";

/// Public keys: name and algorithm.
static PUBLIC: [(&str, &dyn VerificationAlgorithm); 4] = [
    ("ecdsa-p256-sha256", &ECDSA_P256_SHA256_FIXED),
    ("ed25519", &ED25519),
    ("rsa-pss-sha512", &RSA_PSS_2048_8192_SHA512),
    ("rsa-v1_5-sha256", &RSA_PKCS1_2048_8192_SHA256),
];

/// A key that verifies.
pub(super) struct Key {
    /// As `alg` of a signature names it.
    pub algorithm: &'static str,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm).finish()
    }
}

impl Key {
    /// Reads a key for `algorithm`.
    ///
    /// # Errors
    /// In words, without the key.
    pub(super) fn read(algorithm: &str, bytes: &[u8]) -> Result<Self, String> {
        if algorithm == HMAC {
            if bytes.len() < MIN_SECRET {
                return Err(format!("the secret is shorter than {MIN_SECRET} bytes"));
            }
            let key = Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes));
            return Ok(Self { algorithm: HMAC, material: Material::Secret(key) });
        }
        let Some((name, known)) = PUBLIC.iter().find(|(name, _)| *name == algorithm) else {
            let names: Vec<&str> = PUBLIC.iter().map(|(name, _)| *name).collect();
            return Err(format!("`{algorithm}` is none of {HMAC}, {}", names.join(", ")));
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(bytes)
            .map_err(|_| "it is no public key in PEM (BEGIN PUBLIC KEY)".to_owned())?;
        let key = ParsedPublicKey::new(*known, &der)
            .map_err(|_| format!("the public key is not one for {name}"))?;
        Ok(Self { algorithm: name, material: Material::Public(key) })
    }

    /// Whether `signature` is this key's of `message`. In a time that does not tell how much of a
    /// secret's is right.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}
