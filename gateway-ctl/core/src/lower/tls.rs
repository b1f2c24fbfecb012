//! Which certificates and settings of TLS a Host is served with, and a service is connected to.

use std::collections::BTreeSet;
use std::sync::Arc;

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use crate::ir::tls::{ClientTls, Place, SecretUse, ServerTls};
use crate::resource::secret::Part;
use crate::resource::tls::{Named, TlsSettings};
use crate::resource::tls_file::{self, FileUse};
use crate::resource::{Host, SecretTls, Spec, TlsContext};
use crate::store::{Good, Store};
use crate::syntax::Hostname;

/// How a Host is served.
#[derive(Clone, Debug, PartialEq)]
pub enum Termination {
    /// In the clear only.
    Clear,
    /// Over TLS.
    Tls(Arc<ServerTls>),
    /// It asks for TLS, and something is missing: it is not served.
    Broken,
}

/// Finds TLSContexts and Secrets.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The objects.
    pub store: &'a Store,
    /// The controller's own namespace.
    pub own_namespace: &'a str,
    /// Whether a dot in a Secret's name parts it from its namespace, unless a TLSContext says
    /// otherwise.
    pub namespacing: bool,
    /// Whether it is told which files can be used.
    pub checks_files: bool,
}

/// What is wrong, where (a field of the object that asked), and whether something is not there.
type Fault = (&'static str, String);

impl<'a> Lookup<'a> {
    /// How a Host is served, and what is wrong with that.
    pub fn terminate(
        &self,
        reference: &ObjectRef,
        host: &Host,
        found: &mut Vec<Diagnostic>,
    ) -> Termination {
        match self.server_tls(reference, host, found) {
            Ok(Some(tls)) => Termination::Tls(Arc::new(tls)),
            Ok(None) => Termination::Clear,
            Err((path, why)) => {
                let text = format!("{why}; this Host is not served");
                let mut d = Diagnostic::new(Severity::Error, reference.clone(), path, text);
                d.hint("once it is there, the Host is served; until then its requests are 404 (but for ACME challenges)")
                    .reason(Reason::RefNotResolved);
                found.push(d);
                Termination::Broken
            }
        }
    }

    fn server_tls(
        &self,
        reference: &ObjectRef,
        host: &Host,
        found: &mut Vec<Diagnostic>,
    ) -> Result<Option<ServerTls>, Fault> {
        let context = self.context_of_host(reference, host, found)?;
        let own = host.tls.secret.as_ref().map(|(ns, name)| ObjectRef::new("Secret", ns, name));
        let of_context = context.and_then(|(r, c)| self.secret_of(r, c));
        if let (Some(own), Some(other), Some((r, _))) = (&own, &of_context, context)
            && own != other
        {
            let text = format!(
                "{r} has the Secret {}.{}, and tlsSecret is {}.{}",
                other.name, other.namespace, own.name, own.namespace
            );
            return Err(("spec.tlsContext", text));
        }
        let settings = host.tls.settings.as_ref().or(context.map(|(_, c)| &c.settings));
        let files = settings.and_then(|s| s.files.clone());
        let certificate = match (own.or(of_context), files) {
            (Some(secret), _) => {
                self.check(&secret, "a certificate and its key", |s| &s.identity)
                    .map_err(|why| ("spec.tlsSecret", why))?;
                SecretUse::Certificate(secret)
            }
            (None, Some((chain, key))) => {
                let path = if host.tls.settings.is_some() { "spec.tls" } else { "spec.tlsContext" };
                self.check_pair(&chain, &key).map_err(|why| (path, why))?;
                SecretUse::Files { chain, key }
            }
            (None, None) if host.tls.context.is_none() && is_empty(host.tls.settings.as_ref()) => {
                return Ok(None);
            }
            (None, None) => {
                return Err((
                    "spec.tlsSecret",
                    "it asks for TLS and has no certificate".to_owned(),
                ));
            }
        };
        let standard = TlsSettings::default();
        let settings = settings.unwrap_or(&standard);
        // Names in a TLSContext are of its namespace.
        let (namespace, namespacing) = match context {
            Some((r, c)) => (&r.namespace, c.secret_namespacing.unwrap_or(self.namespacing)),
            None => (&reference.namespace, self.namespacing),
        };
        let path = if context.is_some() { "spec.tlsContext" } else { "spec.tls" };
        Ok(Some(ServerTls {
            authorities: self
                .authorities(settings, &certificate, namespace, namespacing)
                .map_err(|why| (path, why))?,
            certificate,
            requires_certificate: settings.requires_certificate,
            parameters: settings.parameters.clone(),
        }))
    }

    /// The TLSContext of a Host: the one it names, else the one called after it, else one that has
    /// its hostname among its `hosts`.
    fn context_of_host(
        &self,
        reference: &ObjectRef,
        host: &Host,
        found: &mut Vec<Diagnostic>,
    ) -> Result<Option<(&'a ObjectRef, &'a TlsContext)>, Fault> {
        if let Some(name) = &host.tls.context {
            let (r, context) = self
                .context(name, &reference.namespace)
                .ok_or_else(|| ("spec.tlsContext", format!("there is no TLSContext `{name}`")))?;
            found.extend(not_named(reference, host, r, context));
            return Ok(Some((r, context)));
        }
        // Nobody's Host, which is there when there is none, takes no TLSContext.
        if host.tls.settings.is_some() || reference.name.is_empty() {
            return Ok(None);
        }
        if host.tls.secret.is_some() {
            let named = format!("{}-context", reference.name);
            let named = ObjectRef::new("TLSContext", &reference.namespace, named);
            if let Some((r, context)) = self.contexts().find(|(r, _)| **r == named) {
                found.extend(not_named(reference, host, r, context));
                return Ok(Some((r, context)));
            }
        }
        let mut naming: Vec<_> =
            self.contexts().filter(|(_, c)| c.hosts.contains(&host.hostname)).collect();
        naming.sort_by_key(|(r, _)| (r.namespace != reference.namespace, *r));
        // One for another certificate than the Host's is not meant.
        Ok(naming.into_iter().find(|(r, c)| match (&host.tls.secret, self.secret_of(r, c)) {
            (Some((ns, name)), Some(other)) => other.namespace == *ns && other.name == *name,
            (None, None) => c.settings.files.is_some(),
            _ => true,
        }))
    }

    /// The TLSContext that has a name among its hosts, and how it is served; an inner none is one
    /// without a certificate.
    ///
    /// # Errors
    /// Why it cannot be served.
    pub fn named_by_hosts(
        &self,
        hostname: &Hostname,
        namespace: &str,
    ) -> Result<Option<Option<ServerTls>>, String> {
        let mut naming: Vec<_> =
            self.contexts().filter(|(_, c)| c.hosts.contains(hostname)).collect();
        naming.sort_by_key(|(r, _)| (r.namespace != namespace, *r));
        let Some((r, context)) = naming.into_iter().next() else { return Ok(None) };
        let certificate = match (self.secret_of(r, context), &context.settings.files) {
            (Some(secret), _) => {
                self.check(&secret, "a certificate and its key", |s| &s.identity)?;
                SecretUse::Certificate(secret)
            }
            (None, Some((chain, key))) => {
                self.check_pair(chain, key)?;
                SecretUse::Files { chain: chain.clone(), key: key.clone() }
            }
            (None, None) => return Ok(Some(None)),
        };
        let namespacing = context.secret_namespacing.unwrap_or(self.namespacing);
        Ok(Some(Some(ServerTls {
            authorities: self.authorities(
                &context.settings,
                &certificate,
                &r.namespace,
                namespacing,
            )?,
            certificate,
            requires_certificate: context.settings.requires_certificate,
            parameters: context.settings.parameters.clone(),
        })))
    }

    /// TLSContexts that serve nobody because there is no Host, and no TCPMapping of their names.
    pub fn unused_terminations(&self) -> Vec<Diagnostic> {
        let tcp = || self.store.of_kind("TCPMapping").filter_map(|(_, e)| e.good.as_ref());
        let names_it = |context: &TlsContext| {
            tcp().any(|good| match &good.spec {
                Spec::TcpMapping(m) => m.host.as_ref().is_some_and(|h| context.hosts.contains(h)),
                _ => false,
            })
        };
        let terminates = |c: &TlsContext| {
            !c.hosts.is_empty() && (c.secret.is_some() || c.settings.files.is_some())
        };
        self.contexts()
            .filter(|(_, context)| terminates(context) && !names_it(context))
            .map(|(reference, _)| {
                let text = "there is no Host, so no TLS is served with it";
                let severity = Severity::Error;
                let mut d = Diagnostic::new(severity, reference.clone(), "spec.hosts", text);
                d.hint("create a Host with its hostname and tlsSecret");
                d
            })
            .collect()
    }

    /// How a service is connected to with the TLSContext `name`, for an object of `namespace`.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn originate(&self, name: &str, namespace: &str) -> Result<ClientTls, String> {
        let (r, context) = self
            .context(name, namespace)
            .ok_or_else(|| format!("there is no TLSContext `{name}`"))?;
        let certificate = match (self.secret_of(r, context), &context.settings.files) {
            (Some(secret), _) => {
                self.check(&secret, "a certificate and its key", |s| &s.identity)
                    .map_err(|why| format!("{r}: {why}"))?;
                Some(SecretUse::Certificate(secret))
            }
            (None, Some((chain, key))) => {
                self.check_pair(chain, key).map_err(|why| format!("{r}: {why}"))?;
                Some(SecretUse::Files { chain: chain.clone(), key: key.clone() })
            }
            (None, None) => None,
        };
        let namespacing = context.secret_namespacing.unwrap_or(self.namespacing);
        Ok(ClientTls {
            server_name: context.settings.server_name.clone(),
            own: false,
            authorities: self
                .authorities(&context.settings, certificate.as_ref(), &r.namespace, namespacing)
                .map_err(|why| format!("{r}: {why}"))?,
            certificate,
            parameters: context.settings.parameters.clone(),
        })
    }

    fn contexts(&self) -> impl Iterator<Item = (&'a ObjectRef, &'a TlsContext)> + use<'a> {
        self.store.of_kind("TLSContext").filter_map(|(r, entry)| match &entry.good.as_ref()?.spec {
            Spec::TlsContext(context) => Some((r, &**context)),
            _ => None,
        })
    }

    /// Nearest first: the object's own namespace, the controller's, the only one anywhere.
    fn context(&self, name: &str, namespace: &str) -> Option<(&'a ObjectRef, &'a TlsContext)> {
        let mut named: Vec<_> = self.contexts().filter(|(r, _)| r.name == name).collect();
        let own = self.own_namespace;
        named.sort_by_key(|(r, _)| (r.namespace != namespace, r.namespace != own));
        let near = |r: &ObjectRef| r.namespace == namespace || r.namespace == own;
        match named.as_slice() {
            [first, rest @ ..] if near(first.0) || rest.is_empty() => Some(*first),
            _ => None,
        }
    }

    fn secret_of(&self, reference: &ObjectRef, context: &TlsContext) -> Option<ObjectRef> {
        let namespacing = context.secret_namespacing.unwrap_or(self.namespacing);
        Some(secret_ref(context.secret.as_ref()?, &reference.namespace, namespacing))
    }

    /// The authorities that are named, else those that the certificate's own Secret brings.
    fn authorities<'c>(
        &self,
        settings: &TlsSettings,
        certificate: impl Into<Option<&'c SecretUse>>,
        namespace: &str,
        namespacing: bool,
    ) -> Result<Option<SecretUse>, String> {
        let place = |named: &Named| match named {
            Named::Secret(text) => Place::Secret(secret_ref(text, namespace, namespacing)),
            Named::File(file) => Place::File(file.clone()),
        };
        let brought = |certificate: &SecretUse| match certificate {
            SecretUse::Certificate(secret) => {
                let tls = secret_tls(self.store.good(secret).map(AsRef::as_ref))?;
                tls.brings_authorities.then(|| Place::Secret(secret.clone()))
            }
            _ => None,
        };
        let named = settings.ca.as_ref().map(place);
        let Some(ca) = named.or_else(|| certificate.into().and_then(brought)) else {
            return Ok(None);
        };
        let revoked = settings.revoked.as_ref().map(place);
        if let Place::File(path) = &ca {
            self.check_file(&FileUse::Authorities(path.clone()))?;
        }
        if let Some(Place::File(path)) = &revoked {
            self.check_file(&FileUse::Revoked(path.clone()))?;
        }
        if let Some(secret) = ca.secret() {
            self.check(secret, "certificates of authorities", |s| &s.authorities)?;
        }
        if let Some(secret) = revoked.as_ref().and_then(Place::secret) {
            self.check(secret, "a list of revoked certificates", |s| &s.revoked)?;
        }
        Ok(Some(SecretUse::Authorities { ca, revoked }))
    }

    /// The files that Hosts and TLSContexts name.
    pub fn files(&self) -> BTreeSet<FileUse> {
        let of_hosts =
            self.store.of_kind("Host").filter_map(|(_, e)| match &e.good.as_ref()?.spec {
                Spec::Host(host) => host.tls.settings.as_ref(),
                _ => None,
            });
        let of_contexts = self.contexts().map(|(_, context)| &context.settings);
        let mut files = BTreeSet::new();
        for settings in of_hosts.chain(of_contexts) {
            if let Some((chain, key)) = settings.files.clone() {
                files.insert(FileUse::Identity { chain, key });
            }
            if let Some(Named::File(path)) = settings.ca.clone() {
                files.insert(FileUse::Authorities(path));
            }
            if let Some(Named::File(path)) = settings.revoked.clone() {
                files.insert(FileUse::Revoked(path));
            }
        }
        files
    }

    fn check_pair(&self, chain: &str, key: &str) -> Result<(), String> {
        self.check_file(&FileUse::Identity { chain: chain.to_owned(), key: key.to_owned() })
    }

    /// Whether files can be used, as far as that is told.
    fn check_file(&self, of: &FileUse) -> Result<(), String> {
        match self.store.good(&tls_file::reference(of)).map(|g| &g.spec) {
            Some(Spec::TlsFile(usable)) => usable.clone().map_err(|why| format!("{of}: {why}")),
            _ if self.checks_files => Err(format!("{of}: not read yet")),
            _ => Ok(()),
        }
    }

    /// Whether a Secret is there and has `what`.
    fn check<T>(
        &self,
        secret: &ObjectRef,
        what: &str,
        part: fn(&SecretTls) -> &Part<T>,
    ) -> Result<(), String> {
        let (name, namespace) = (&secret.name, &secret.namespace);
        let Some(tls) = secret_tls(self.store.good(secret).map(AsRef::as_ref)) else {
            return Err(format!("there is no Secret `{name}` in namespace `{namespace}`"));
        };
        match part(tls) {
            Some(Ok(_)) => Ok(()),
            Some(Err(why)) => Err(format!("Secret `{name}` of namespace `{namespace}`: {why}")),
            None => Err(format!("Secret `{name}` of namespace `{namespace}` does not have {what}")),
        }
    }
}

/// That a TLSContext with `hosts` has none that means the Host which it is used for. A Host may be meant
/// by its own name, too.
fn not_named(
    reference: &ObjectRef,
    host: &Host,
    of: &ObjectRef,
    context: &TlsContext,
) -> Option<Diagnostic> {
    let means = |h: &Hostname| *h == host.hostname || h.to_string() == reference.name;
    if context.hosts.is_empty() || context.hosts.iter().any(means) {
        return None;
    }
    let text = format!("{of} does not have `{}` among its hosts; it is used", host.hostname);
    let mut d = Diagnostic::new(Severity::Error, reference.clone(), "spec.tlsContext", text);
    d.hint("add the hostname to its hosts, or remove the hosts");
    Some(d)
}

/// What a Secret in force has for TLS.
pub fn secret_tls(good: Option<&Good>) -> Option<&SecretTls> {
    match &good?.spec {
        Spec::Secret(tls) => Some(tls),
        _ => None,
    }
}

/// The Secret that a text means, in an object of `namespace`.
pub fn secret_ref(text: &str, namespace: &str, namespacing: bool) -> ObjectRef {
    match text.rsplit_once('.') {
        Some((name, other)) if namespacing && !name.is_empty() && !other.is_empty() => {
            ObjectRef::new("Secret", other, name)
        }
        _ => ObjectRef::new("Secret", namespace, text),
    }
}

fn is_empty(settings: Option<&TlsSettings>) -> bool {
    settings.is_none_or(|s| *s == TlsSettings::default())
}
