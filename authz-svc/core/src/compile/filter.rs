//! `Filter` objects to filters.

use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef, Reason, Secret, Severity};

use super::{Settings, dialect};
use crate::filter::{Filter, KINDS, Spec};
use crate::secrets::{SecretData, Secrets};

/// A Filter on its way to a compiled one: what a kind sees of the object and where it says what is
/// wrong.
pub(crate) struct Compiling<'a, 'd> {
    /// The object's name.
    pub(crate) name: &'a str,
    /// The object's namespace.
    pub(crate) namespace: &'a str,
    /// What is wrong. Paths begin with `spec`; [`Self::path`] makes them.
    pub(crate) found: &'a mut Diagnostics<'d>,
    /// Of the installation.
    pub(crate) settings: &'a Settings,
    kind: &'static str,
    /// None while only the object by itself is looked at.
    secrets: Option<&'a Secrets<'a>>,
    refs: Vec<ObjectRef>,
}

impl<'a, 'd> Compiling<'a, 'd> {
    /// From here on paths are those of this kind.
    pub(crate) fn enter(&mut self, kind: &'static str) {
        self.kind = kind;
    }

    /// `spec.KIND.field`.
    pub(crate) fn path(&self, field: &str) -> String {
        if field.is_empty() {
            format!("spec.{}", self.kind)
        } else {
            format!("spec.{}.{field}", self.kind)
        }
    }

    /// Says that `field` of this kind is wrong; the filter will break every request.
    pub(crate) fn error(&mut self, field: &str, message: impl Into<String>) -> &mut Diagnostic {
        let path = self.path(field);
        self.found.error(path, message)
    }

    /// Says that `field` of this kind is not as it should be.
    #[allow(dead_code)] // for kinds to come
    pub(crate) fn warning(&mut self, field: &str, message: impl Into<String>) -> &mut Diagnostic {
        let path = self.path(field);
        self.found.warning(path, message)
    }

    /// Says something of `field` that is good to know.
    pub(crate) fn notice(&mut self, field: &str, message: impl Into<String>) -> &mut Diagnostic {
        let path = self.path(field);
        self.found.notice(path, message)
    }

    /// Remembers that a Secret is named.
    pub(crate) fn name_secret(&mut self, name: &str, namespace: Option<&str>) {
        let namespace = namespace.unwrap_or(self.namespace);
        self.refs.push(ObjectRef::new("Secret", namespace, name));
    }

    /// Whether Secrets can be looked at; if not, what is in them must not be missed.
    #[allow(dead_code)] // for kinds to come
    pub(crate) fn has_secrets(&self) -> bool {
        self.secrets.is_some()
    }

    /// The data of the Secret that `field` names, in the Filter's namespace unless another is
    /// given. Remembers that it is named. None when it is not there, which is told, or when
    /// Secrets cannot be looked at now.
    pub(crate) fn secret(
        &mut self,
        field: &str,
        name: &str,
        namespace: Option<&str>,
    ) -> Option<&'a SecretData> {
        if name.is_empty() {
            self.error(field, "the Secret has no name");
            return None;
        }
        self.name_secret(name, namespace);
        let namespace = namespace.unwrap_or(self.namespace);
        let data = self.secrets?.get(namespace, name);
        if data.is_none() {
            self.error(field, format!("there is no Secret {name}.{namespace}"))
                .hint("create it, or correct name and namespace")
                .reason(Reason::RefNotResolved);
        }
        data
    }

    /// The value under `key` of a Secret, as [`Self::secret`].
    pub(crate) fn secret_value(
        &mut self,
        field: &str,
        name: &str,
        namespace: Option<&str>,
        key: &str,
    ) -> Option<&'a Secret<Vec<u8>>> {
        let value = self.secret(field, name, namespace)?.get(key);
        if value.is_none() {
            let namespace = namespace.unwrap_or(self.namespace);
            self.error(field, format!("Secret {name}.{namespace} has no key `{key}`"))
                .hint(format!("put the value under the key `{key}`"))
                .reason(Reason::RefNotResolved);
        }
        value
    }
}

/// Compiles a Filter; also tells which Secrets it names. Without `secrets` what is in them is not
/// looked at.
pub(super) fn compile_filter<'a>(
    object: &'a Object,
    secrets: Option<&'a Secrets<'a>>,
    settings: &'a Settings,
    found: &mut Diagnostics<'_>,
) -> (Filter, Vec<ObjectRef>) {
    let ObjectRef { namespace, name, .. } = &object.reference;
    let full_name = format!("{name}.{namespace}");
    let spec = dialect::filter(object, found)
        .and_then(|object| object.read_spec::<Spec>(Severity::Error, found));
    let Some(spec) = spec else {
        return (Filter::broken(full_name), Vec::new());
    };
    let given = spec.given();
    if given.len() != 1 {
        let message = format!("a Filter has exactly one kind, this one has {}", given.len());
        found.error("spec", message).hint(format!("keep one of {}", KINDS.join(", ")));
        return (Filter::broken(full_name), Vec::new());
    }
    let refs = Vec::new();
    let mut compiling = Compiling { name, namespace, found, settings, kind: "", secrets, refs };
    let compiled = spec.compile(&mut compiling);
    let refs = std::mem::take(&mut compiling.refs);
    let filter = match compiled {
        Some((kind, judge)) if !found.has_errors() => {
            Filter { name: full_name, kind, judge: Some(judge) }
        }
        _ => Filter::broken(full_name),
    };
    (filter, refs)
}
