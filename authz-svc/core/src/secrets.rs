//! Secrets as filters need them: decoded, by namespace and name.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use service_kit::{Object, ObjectRef, Secret};

/// The data of Secrets; decoded when somebody asks for it.
#[derive(Debug, Default)]
pub struct Secrets<'a>(HashMap<&'a str, HashMap<&'a str, Entry<'a>>>);

struct Entry<'a> {
    object: &'a Object,
    data: OnceCell<SecretData>,
}

/// Without its content.
impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The data of one Secret, by key.
pub type SecretData = BTreeMap<String, Secret<Vec<u8>>>;

impl<'a> Secrets<'a> {
    /// Takes every object of kind Secret.
    pub fn new(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut secrets: HashMap<&str, HashMap<&str, Entry<'_>>> = HashMap::new();
        for object in objects.into_iter().filter(|o| o.reference.kind == "Secret") {
            let ObjectRef { namespace, name, .. } = &object.reference;
            let entry = Entry { object, data: OnceCell::new() };
            secrets.entry(namespace).or_default().insert(name, entry);
        }
        Self(secrets)
    }

    /// The data of a Secret.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&SecretData> {
        let entry = self.0.get(namespace)?.get(name)?;
        Some(entry.data.get_or_init(|| decode(entry.object)))
    }
}

/// `data` (base64) and, over it, `stringData`. A value that is no base64 is left out.
fn decode(object: &Object) -> SecretData {
    let texts = |field: &str| {
        let map = object.json.get(field).and_then(Json::as_object);
        map.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
    };
    let data = texts("data").filter_map(|(k, v)| Some((k, STANDARD.decode(v.trim()).ok()?)));
    let plain = texts("stringData").map(|(k, v)| (k, v.into_bytes()));
    data.chain(plain).map(|(k, v)| (k, Secret::new(v))).collect()
}
