//! Filter kind MTLS: a client's certificate, from the connection to Envoy or from a header of a proxy
//! in front.

mod certificate;
mod compile;
mod spec;
pub mod xfcc;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;
use quick_cache::sync::Cache;
use rustls_pki_types::TrustAnchor;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{HeaderTemplates, Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::context::{Context, Identity};
use crate::policy::Glob;
use crate::reply::Reply;

use certificate::{Chain, Fault, Names};
pub(crate) use compile::compile;
pub use spec::{Authorities, Spec};

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// How long it is believed that authorities signed a certificate; its own time is always looked at.
const BELIEVED: Duration = Duration::from_secs(60);
/// Most certificates that are remembered.
const REMEMBERED: usize = 1_024;

/// Where the certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Connection,
    Xfcc,
    ClientCert,
}

/// Which clients may pass: each list that is there must be met.
#[derive(Debug, Default)]
struct Accepted {
    subjects: Option<Vec<Glob>>,
    dns_names: Option<Vec<Glob>>,
    uris: Option<Vec<Glob>>,
    trust_domains: Option<Vec<String>>,
    principals: Option<Vec<Glob>>,
}

/// A compiled MTLS filter.
pub struct Mtls {
    source: Source,
    authorities: Option<Vec<TrustAnchor<'static>>>,
    accepted: Accepted,
    strip: bool,
    inject: HeaderTemplates,
    known: Cache<[u8; 32], Arc<Known>>,
}

/// A certificate that was verified.
struct Known {
    names: Names,
    /// Since the Unix epoch.
    valid: RangeInclusive<Duration>,
    since: Duration,
}

impl fmt::Debug for Mtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mtls").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Who the client is.
enum Client {
    /// By its certificate.
    Certificate(Arc<Known>),
    /// By what somebody who is trusted says of it.
    Told(Names),
}

/// Why there is none.
enum Refusal {
    /// 401.
    Unknown(&'static str),
    /// 500.
    Misconfigured(&'static str),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unknown(match fault {
            Fault::Malformed => "the client certificate cannot be read",
            Fault::Time => "the client certificate is not valid at this time",
            Fault::Untrusted => "the client certificate is not one of a known authority",
        })
    }
}

impl Judge for Mtls {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let reply = |status, words| Reply::json(status, words, context.request_id());
        let client = match self.client(context) {
            Ok(client) => client,
            Err(Refusal::Unknown(why)) => return Ok(Verdict::Deny(reply(401, why))),
            Err(Refusal::Misconfigured(why)) => return Ok(Verdict::Fail(reply(500, why))),
        };
        let names = match &client {
            Client::Certificate(known) => &known.names,
            Client::Told(names) => names,
        };
        let principal = &context.request.source().principal;
        if !self.accepted.has(names, principal) {
            return Ok(Verdict::Deny(reply(403, "this client may not pass")));
        }
        Ok(self.allow(context, names))
    }
}

impl Mtls {
    fn client(&self, context: &Context<'_>) -> Result<Client, Refusal> {
        const MISSING: Refusal = Refusal::Unknown("a client certificate is missing");
        // What filters made of the headers does not count.
        let header = |name| context.request.header(name).filter(|h| !h.is_empty());
        match self.source {
            Source::Connection => {
                let peer = context.request.source();
                match (peer.certificate.as_str(), peer.principal.as_str()) {
                    ("", "") => Err(MISSING),
                    ("", principal) => self.told_by_envoy(principal),
                    (text, _) => {
                        self.known(&[text], context.now, || certificate::read_url_encoded(text))
                    }
                }
            }
            Source::Xfcc => {
                let header = header("x-forwarded-client-cert").ok_or(MISSING)?;
                let Some(element) = xfcc::last(header) else {
                    return Err(Refusal::Unknown(
                        "the header of the client certificate is malformed",
                    ));
                };
                self.forwarded(element, context.now)
            }
            Source::ClientCert => {
                let own = header("client-cert").ok_or(MISSING)?;
                let chain = header("client-cert-chain");
                self.known(&[own, chain.unwrap_or_default()], context.now, || {
                    certificate::read_fields(own, chain)
                })
            }
        }
    }

    /// Envoy's name of the client, where that is enough.
    fn told_by_envoy(&self, principal: &str) -> Result<Client, Refusal> {
        if self.authorities.is_some() || self.accepted.needs_certificate() {
            return Err(Refusal::Misconfigured(
                "the client certificate is not told (ext_authz: include_peer_certificate)",
            ));
        }
        let uri = certificate::trust_domain(principal).is_some();
        Ok(Client::Told(Names {
            uris: uri.then(|| principal.to_owned()).into_iter().collect(),
            subject: if uri { String::new() } else { principal.to_owned() },
            ..Names::default()
        }))
    }

    fn forwarded(&self, element: xfcc::Element, now: Duration) -> Result<Client, Refusal> {
        match (&element.certificate, &element.chain) {
            (None, None) if self.authorities.is_some() => Err(Refusal::Misconfigured(
                "the client certificate is not forwarded (set_current_client_cert_details: cert)",
            )),
            (None, None) => {
                let names = Names {
                    subject: element.subject.unwrap_or_default(),
                    dns_names: element.dns_names.iter().map(|d| d.to_ascii_lowercase()).collect(),
                    uris: element.uris,
                    fingerprint: element.hash.unwrap_or_default(),
                    ..Names::default()
                };
                if names.identity().is_empty() {
                    return Err(Refusal::Unknown("a client certificate is missing"));
                }
                Ok(Client::Told(names))
            }
            // The names of the element could have been forged by a name of the certificate.
            (own, chain) => {
                let texts = [own, chain].map(|t| t.as_deref().unwrap_or_default());
                self.known(&texts, now, || {
                    let mut all = Chain::new();
                    if let Some(own) = own {
                        all.extend(certificate::read_url_encoded(own)?);
                    }
                    if let Some(chain) = chain {
                        let chain = certificate::read_url_encoded(chain)?;
                        let skip = usize::from(all.first() == chain.first());
                        all.extend(chain.into_iter().skip(skip));
                    }
                    Some(all)
                })
            }
        }
    }

    /// The certificate of these texts, which `read` reads if it is not known already.
    fn known(
        &self,
        texts: &[&str],
        now: Duration,
        read: impl FnOnce() -> Option<Chain>,
    ) -> Result<Client, Refusal> {
        let mut digest = Sha256::new();
        for text in texts {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        let id: [u8; 32] = digest.finalize().into();
        let is_fresh = |known: &Arc<Known>| {
            let age = now.checked_sub(known.since);
            age.is_some_and(|age| age < BELIEVED) && known.valid.contains(&now)
        };
        if let Some(known) = self.known.get(&id).filter(is_fresh) {
            return Ok(Client::Certificate(known));
        }
        let chain = read().ok_or(Fault::Malformed)?;
        let (names, valid) = certificate::verify(&chain, self.authorities.as_deref(), now)?;
        let known = Arc::new(Known { names, valid, since: now });
        self.known.insert(id, known.clone());
        Ok(Client::Certificate(known))
    }

    fn allow(&self, context: &Context<'_>, names: &Names) -> Verdict {
        let list = |all: &[String]| Value::from(json!(all));
        let spiffe_id = names.spiffe_id().unwrap_or_default();
        let data = Value::map([
            ("identity", Value::from(names.identity())),
            ("spiffeID", Value::from(spiffe_id)),
            ("subject", Value::from(names.subject.as_str())),
            ("issuer", Value::from(names.issuer.as_str())),
            ("dnsNames", list(&names.dns_names)),
            ("uris", list(&names.uris)),
            ("serialNumber", Value::from(names.serial_number.as_str())),
            ("fingerprint", Value::from(names.fingerprint.as_str())),
            ("httpRequestHeader", context.header_value()),
        ]);
        let Ok(headers) = self.inject.render(&data) else {
            let words = "a header of this request cannot be made from its client certificate";
            return Verdict::Fail(Reply::json(500, words, context.request_id()));
        };
        let mut headers = context.settable(headers);
        if self.strip {
            let names: &[&str] = match self.source {
                Source::Connection => &[],
                Source::Xfcc => &["x-forwarded-client-cert"],
                Source::ClientCert => &["client-cert", "client-cert-chain"],
            };
            headers.extend(names.iter().map(|name| ((*name).to_owned(), None)));
        }
        let attributes = json!({
            "subject": names.subject, "issuer": names.issuer, "spiffeID": spiffe_id,
            "dnsNames": names.dns_names, "uris": names.uris,
            "serialNumber": names.serial_number, "fingerprint": names.fingerprint,
        });
        Verdict::Allow(Box::new(Modification {
            headers,
            identity: Some(Identity {
                subject: names.identity().to_owned(),
                attributes: Arc::new(attributes),
            }),
            ..Modification::default()
        }))
    }
}

impl Accepted {
    /// Whether the lists can only be judged by the certificate itself.
    fn needs_certificate(&self) -> bool {
        self.subjects.is_some() || self.dns_names.is_some() || self.uris.is_some()
    }

    fn has(&self, names: &Names, principal: &str) -> bool {
        fn met<T>(list: Option<&Vec<T>>, one: impl Fn(&T) -> bool) -> bool {
            list.is_none_or(|list| list.iter().any(one))
        }
        let domain = names.spiffe_id().and_then(certificate::trust_domain);
        met(self.subjects.as_ref(), |g| g.matches(&names.subject))
            && met(self.dns_names.as_ref(), |g| names.dns_names.iter().any(|n| g.matches(n)))
            && met(self.uris.as_ref(), |g| names.uris.iter().any(|n| g.matches(n)))
            && met(self.trust_domains.as_ref(), |d| domain == Some(d))
            && met(self.principals.as_ref(), |g| g.matches(principal))
    }
}

#[cfg(test)]
mod tests;
