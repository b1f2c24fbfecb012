//! Filter kind Basic: a user's name and password (RFC 7617), held against hashes. What was verified
//! is remembered for a while, for a hash takes long; and who tries too often has to wait.

mod hash;
mod memory;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotemplate::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use service_kit::Secret;

use super::{HeaderTemplates, Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::{Context, Identity};
use crate::need::Job;
use crate::reply::Reply;
use crate::spec::{HeaderTemplate, unset_if_empty};
use hash::Hash;
use memory::{Known, Memory};

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// Longest password, in bytes: bcrypt looks at 72.
const MAX_PASSWORD: usize = 1024;
/// `Filter.spec.Basic`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["users"]))]
pub struct Spec {
    /// Secrets with the users.
    #[serde(default)]
    pub users: Option<Vec<Users>>,
    /// Realm of `WWW-Authenticate`. Default: `NAME.NAMESPACE` of the Filter.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub realm: Option<String>,
    /// Whether the backend does not get the password. Default: true.
    #[serde(default)]
    pub strip_authorization: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates with `.user` and
    /// `.httpRequestHeader`.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
}

/// A Secret with users.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["secretName"]))]
pub struct Users {
    /// Its name.
    #[serde(default)]
    pub secret_name: String,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// The key of its data, a file as `htpasswd` writes it: bcrypt, argon2, apr1 or SHA-1.
    /// Default: `auth`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub key: Option<String>,
}

/// A compiled Basic filter.
pub struct Basic {
    users: BTreeMap<String, Arc<Hash>>,
    /// Verified against for users that are not there, so that they take as long as one who is.
    nobody: Option<Arc<Hash>>,
    /// Escaped for a quoted string.
    realm: String,
    strip: bool,
    inject: HeaderTemplates,
    memory: Memory,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl Judge for Basic {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let (user, password) = match credentials(context.header("authorization")) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => return Ok(self.refuse(context, "a user's name and password are missing")),
            Err(()) => return Ok(self.refuse(context, "the credentials cannot be read")),
        };
        match self.memory.recall(&user, password.expose(), context.now) {
            Known::Good => return Ok(self.allow(context, user)),
            Known::Bad => return Ok(self.refuse(context, "the name or the password is wrong")),
            Known::TooMany(wait) => return Ok(too_many(context, wait)),
            Known::Nothing => {}
        }
        let known = self.users.get(&user);
        let Some(hash) = known.or(self.nobody.as_ref()).cloned() else {
            return Ok(self.refuse(context, "the name or the password is wrong"));
        };
        let secret = password.clone();
        let job = Job::new(move || hash.verify(secret.expose()));
        let Some(verified) = context.compute::<bool>(job)? else {
            let words = "too many passwords are being verified; try again";
            let reply = Reply::json(503, words, context.request_id());
            return Ok(Verdict::Error(reply.with_header("retry-after", "1")));
        };
        let good = *verified && known.is_some();
        self.memory.remember(&user, password.expose(), good, context.now);
        Ok(if good {
            self.allow(context, user)
        } else {
            self.refuse(context, "the name or the password is wrong")
        })
    }
}

impl Basic {
    fn allow(&self, context: &Context<'_>, user: String) -> Verdict {
        let data = Value::map([
            ("user", Value::from(user.as_str())),
            ("httpRequestHeader", context.header_value()),
        ]);
        let Ok(headers) = self.inject.render(&data) else {
            let words = "a header of this request cannot be made from its user";
            return Verdict::Fail(Reply::json(500, words, context.request_id()));
        };
        let mut headers = context.settable(headers);
        if self.strip && !headers.iter().any(|(name, _)| name == "authorization") {
            headers.push(("authorization".to_owned(), None));
        }
        let attributes = Arc::new(json!({"user": user}));
        Verdict::Allow(Box::new(Modification {
            headers,
            identity: Some(Identity { subject: user, attributes }),
            ..Modification::default()
        }))
    }

    fn refuse(&self, context: &Context<'_>, why: &'static str) -> Verdict {
        let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.realm);
        let reply = Reply::json(401, why, context.request_id());
        Verdict::Deny(reply.with_header("www-authenticate", challenge))
    }
}

fn too_many(context: &Context<'_>, wait: u64) -> Verdict {
    let words = "too many wrong passwords; wait before the next try";
    let reply = Reply::json(429, words, context.request_id());
    Verdict::Deny(reply.with_header("retry-after", wait.to_string()))
}

type Credentials = (String, Secret<Vec<u8>>);

/// Name and password of an `Authorization` header; none when it is of another scheme.
fn credentials(header: Option<&str>) -> Result<Option<Credentials>, ()> {
    let Some((scheme, text)) = header.and_then(|h| h.trim().split_once(' ')) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let bytes = STANDARD.decode(text.trim()).map_err(|_| ())?;
    let colon = bytes.iter().position(|b| *b == b':').ok_or(())?;
    let (user, password) = bytes.split_at(colon);
    let user = std::str::from_utf8(user).map_err(|_| ())?;
    let is_plain = user.len() <= 256 && !user.chars().any(char::is_control);
    if !is_plain || password.len() > MAX_PASSWORD {
        return Err(());
    }
    Ok(Some((user.to_owned(), Secret::new(password[1..].to_vec()))))
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let mut users = BTreeMap::new();
    let named = spec.users.as_deref().unwrap_or_default();
    if named.is_empty() {
        compiling
            .error("users", "no users are named, so nobody could pass")
            .hint("name at least one Secret: users: [{secretName: …}]");
    }
    for (i, source) in named.iter().enumerate() {
        let field = format!("users[{i}].secretName");
        let key = source.key.as_deref().unwrap_or("auth");
        let namespace = source.namespace.as_deref();
        if let Some(file) = compiling.secret_value(&field, &source.secret_name, namespace, key) {
            read(file.expose(), &field, &mut users, compiling);
        }
    }
    let realm = spec.realm.clone();
    let realm = realm.unwrap_or_else(|| format!("{}.{}", compiling.name, compiling.namespace));
    let plain: String = realm.chars().filter(|c| !c.is_control()).collect();
    let path = compiling.path("injectRequestHeaders");
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    Some(Box::new(Basic {
        nobody: users.values().next().cloned(),
        users,
        realm: plain.replace('\\', "\\\\").replace('"', "\\\""),
        strip: spec.strip_authorization != Some(false),
        inject: HeaderTemplates::compile(headers, &path, compiling.found),
        memory: Memory::new(),
    }))
}

/// Adds the users of a file; the first of a name counts.
fn read(
    file: &[u8],
    field: &str,
    users: &mut BTreeMap<String, Arc<Hash>>,
    compiling: &mut Compiling<'_, '_>,
) {
    let text = String::from_utf8_lossy(file);
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    for (number, line) in lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
        let Some((user, hash)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            compiling
                .error(field, format!("line {number} of the file is not like user:hash"))
                .hint("make the file by `htpasswd -B`");
            continue;
        };
        match Hash::read(hash.trim()) {
            Ok(hash) => {
                users.entry(user.to_owned()).or_insert_with(|| Arc::new(hash));
            }
            Err(why) => {
                compiling.error(field, format!("line {number} of the file, user {user}: {why}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
