//! What was read of a file that TLS settings name, as the controller tells the engine: an object of a
//! kind of its own, so that it is kept, compared and forgotten as all others. What is in the file stays
//! outside: only whether Envoy can use it is told.

use serde_json::json;
use service_kit::{Object, ObjectRef};

use crate::certificate;

/// The API group of the kind; no API server has it, and files are not read for it.
pub const GROUP: &str = "tls-file";
const KIND: &str = "TLSFile";

/// What files are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileUse {
    /// A certificate with its key.
    Identity {
        /// The file of the certificate.
        chain: String,
        /// The file of the key.
        key: String,
    },
    /// Authorities.
    Authorities(String),
    /// Revoked certificates.
    Revoked(String),
}

impl FileUse {
    /// The files.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::Identity { chain, key } => vec![chain, key],
            Self::Authorities(path) | Self::Revoked(path) => vec![path],
        }
    }

    /// Checks what is in the files, in the order of [`Self::paths`].
    ///
    /// # Errors
    /// Why Envoy would not take it; the text quotes nothing.
    pub fn check(&self, contents: &[Vec<u8>]) -> Result<(), String> {
        let part = |i: usize| contents.get(i).map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::Identity { .. } => certificate::check_pair(part(0), part(1)),
            Self::Authorities(_) => certificate::check_authorities(part(0)),
            Self::Revoked(_) => certificate::check_revoked(part(0)),
        }
        .map(drop)
    }
}

impl std::fmt::Display for FileUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity { chain, key } => write!(f, "certificate {chain} with key {key}"),
            Self::Authorities(path) => write!(f, "authorities {path}"),
            Self::Revoked(path) => write!(f, "revoked certificates {path}"),
        }
    }
}

/// Whether the files can be used, or why not.
pub type Usable = Result<(), String>;

/// The object of a use.
pub fn reference(of: &FileUse) -> ObjectRef {
    ObjectRef::new(KIND, "", of.to_string())
}

/// What came of reading, as an object.
pub fn object(of: &FileUse, usable: &Usable) -> Object {
    Object {
        api_version: format!("{GROUP}/v1"),
        reference: reference(of),
        labels: Default::default(),
        annotations: Default::default(),
        generation: 0,
        uid: String::new(),
        json: json!({"fault": usable.as_ref().err()}),
        status: serde_json::Value::Null,
        source: None,
    }
}

/// Reads such an object.
pub fn read(object: &Object) -> Usable {
    object.json["fault"].as_str().map_or(Ok(()), |why| Err(why.to_owned()))
}
