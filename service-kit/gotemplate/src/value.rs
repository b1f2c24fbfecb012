//! The data of a template, with Go's kinds.

pub(crate) mod duration;

use std::collections::BTreeMap;
use std::sync::Arc;

/// A value as Go's reflection would see it.
#[derive(Clone, Debug)]
pub enum Value {
    /// A key that a map does not have; prints `<no value>`.
    Missing,
    /// A nil interface, JSON's null; also prints `<no value>`.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `uint8`: what indexing a string gives.
    Byte(u8),
    /// `float64`: every number that came from JSON.
    Float(f64),
    /// `string`
    String(Arc<str>),
    /// `[]interface{}`
    List(Arc<[Value]>),
    /// `[]string`, the values of a header; without values it is Go's nil slice.
    Strings(Arc<[Arc<str>]>),
    /// `map[string]interface{}`
    Map(Arc<Map>),
    /// A pointer to a struct: a field it does not have is an error.
    Struct(Arc<Vec<(String, Value)>>),
    /// A nil pointer to a struct: a field of a struct that is [`Value::Nil`].
    NilPointer,
    /// `http.Header`, with its methods `Get` and `Values`.
    Header(Arc<BTreeMap<String, Arc<[Arc<str>]>>>),
    /// `time.Duration` in nanoseconds, with its methods.
    Duration(i64),
    /// An `error`: prints its message; may have fields.
    Error(Arc<ErrorValue>),
}

/// Entries of a map; the hidden ones can be named but are not printed.
#[derive(Debug, Default)]
pub struct Map {
    pub(crate) entries: BTreeMap<String, Value>,
    pub(crate) hidden: BTreeMap<String, Value>,
}

impl Map {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).or_else(|| self.hidden.get(key))
    }
}

/// An error's message and fields.
#[derive(Debug)]
pub struct ErrorValue {
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, Value)>,
}

impl Value {
    /// A `map[string]interface{}`.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::map_with_hidden(entries, std::iter::empty::<(String, Self)>())
    }

    /// A map of which the `hidden` entries can be named in a template, but are left out when the
    /// whole map is printed, ranged over or turned into JSON.
    pub fn map_with_hidden<K: Into<String>, H: Into<String>>(
        entries: impl IntoIterator<Item = (K, Self)>,
        hidden: impl IntoIterator<Item = (H, Self)>,
    ) -> Self {
        Self::Map(Arc::new(Map {
            entries: entries.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            hidden: hidden.into_iter().map(|(k, v)| (k.into(), v)).collect(),
        }))
    }

    /// A struct with these fields in order.
    pub fn structure<K: Into<String>>(fields: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Struct(Arc::new(fields.into_iter().map(|(k, v)| (k.into(), v)).collect()))
    }

    /// An `http.Header`; names in any case, values of equal names in order.
    pub fn header<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut headers: BTreeMap<String, Vec<Arc<str>>> = BTreeMap::new();
        for (name, value) in pairs {
            headers.entry(canonical(name.as_ref())).or_default().push(value.as_ref().into());
        }
        Self::Header(Arc::new(headers.into_iter().map(|(k, v)| (k, v.into())).collect()))
    }

    /// An `error` that prints `message`.
    pub fn error<K: Into<String>>(
        message: impl Into<String>,
        fields: impl IntoIterator<Item = (K, Self)>,
    ) -> Self {
        Self::Error(Arc::new(ErrorValue {
            message: message.into(),
            fields: fields.into_iter().map(|(k, v)| (k.into(), v)).collect(),
        }))
    }

    /// A `[]interface{}`.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// Go's truth of a value: not zero, not empty, not nil.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil | Self::NilPointer => false,
            Self::Bool(b) => *b,
            Self::Int(n) | Self::Duration(n) => *n != 0,
            Self::Uint(n) => *n != 0,
            Self::Byte(n) => *n != 0,
            Self::Float(f) => *f != 0.0,
            Self::String(s) => !s.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Strings(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Header(headers) => !headers.is_empty(),
            Self::Struct(_) | Self::Error(_) => true,
        }
    }

    /// The type's name as `%T` prints it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Byte(_) => "uint8",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Strings(_) => "[]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(_) | Self::NilPointer => "*struct",
            Self::Header(_) => "http.Header",
            Self::Duration(_) => "time.Duration",
            Self::Error(_) => "*errors.errorString",
        }
    }
}

/// Go's `textproto.CanonicalMIMEHeaderKey`: `x-a` as `X-A`; a name with other than token
/// characters stays.
pub(crate) fn canonical(name: &str) -> String {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) {
        return name.to_owned();
    }
    let mut upper = true;
    name.chars()
        .map(|c| {
            let out = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            out
        })
        .collect()
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(b) => Self::Bool(b),
            serde_json::Value::Number(n) => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(s) => Self::String(s.into()),
            serde_json::Value::Array(items) => Self::list(items.into_iter().map(Self::from)),
            serde_json::Value::Object(map) => {
                Self::map(map.into_iter().map(|(k, v)| (k, Self::from(v))))
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn header_names_are_canonical() {
        assert_eq!(canonical("x-api-KEY"), "X-Api-Key");
        assert_eq!(canonical("a b"), "a b");
    }
}
