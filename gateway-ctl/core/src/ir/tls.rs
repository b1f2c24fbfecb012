//! TLS on either side, with certificates by name: what is in them is in Secret resources, so that a
//! renewed one touches neither Listener nor cluster.

use service_kit::ObjectRef;

/// Where a text of TLS is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In a Kubernetes Secret.
    Secret(ObjectRef),
    /// In a file that Envoy reads.
    File(String),
}

/// A Secret resource of Envoy, by what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretUse {
    /// A certificate with its key, of a Kubernetes Secret.
    Certificate(ObjectRef),
    /// A certificate with its key, in files that Envoy reads.
    Files {
        /// The chain.
        chain: String,
        /// The key.
        key: String,
    },
    /// Authorities, and what they revoked.
    Authorities {
        /// The authorities.
        ca: Place,
        /// What is revoked.
        revoked: Option<Place>,
    },
}

impl SecretUse {
    /// The name of the resource.
    pub fn name(&self) -> String {
        match self {
            Self::Certificate(secret) => format!("certificate/{}", path(secret)),
            Self::Files { chain, key } => format!("certificate/file/{chain}+{key}"),
            Self::Authorities { ca, revoked } => {
                let revoked = revoked.as_ref().map(|r| format!("+{}", r.name()));
                format!("authorities/{}{}", ca.name(), revoked.unwrap_or_default())
            }
        }
    }

    /// Whether Envoy reads a file for it.
    pub const fn is_of_files(&self) -> bool {
        match self {
            Self::Certificate(_) => false,
            Self::Files { .. } => true,
            Self::Authorities { ca, revoked } => {
                matches!(ca, Place::File(_)) || matches!(revoked, Some(Place::File(_)))
            }
        }
    }

    /// The Kubernetes Secrets it is made of.
    pub fn secrets(&self) -> impl Iterator<Item = &ObjectRef> {
        let (first, second) = match self {
            Self::Certificate(secret) => (Some(secret), None),
            Self::Files { .. } => (None, None),
            Self::Authorities { ca, revoked } => {
                (ca.secret(), revoked.as_ref().and_then(Place::secret))
            }
        };
        first.into_iter().chain(second)
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Secret(secret) => path(secret),
            Self::File(file) => format!("file/{file}"),
        }
    }

    /// The Kubernetes Secret, if it is in one.
    pub const fn secret(&self) -> Option<&ObjectRef> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::File(_) => None,
        }
    }
}

fn path(secret: &ObjectRef) -> String {
    format!("{}/{}", secret.namespace, secret.name)
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// What both sides can ask for; what is absent or empty is Envoy's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parameters {
    /// Oldest version.
    pub min: Option<Version>,
    /// Newest version.
    pub max: Option<Version>,
    /// Ciphers of TLS 1.2 and older.
    pub ciphers: Vec<String>,
    /// Curves of the key exchange.
    pub curves: Vec<String>,
    /// Protocols that are offered.
    pub alpn: Vec<String>,
}

/// How clients are served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerTls {
    /// The certificate.
    pub certificate: SecretUse,
    /// Authorities of clients' certificates.
    pub authorities: Option<SecretUse>,
    /// Whether a client without a certificate is turned away.
    pub requires_certificate: bool,
    /// The rest.
    pub parameters: Parameters,
}

/// How a service is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTls {
    /// The name that is asked for.
    pub server_name: Option<String>,
    /// Whether the installation's certificate is shown and the server's must be of its CA.
    pub own: bool,
    /// The certificate that is shown.
    pub certificate: Option<SecretUse>,
    /// Authorities of the server's certificate; none: any certificate is taken.
    pub authorities: Option<SecretUse>,
    /// The rest.
    pub parameters: Parameters,
}
