//! The data of a template, with Go's kinds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// A value as Go's reflection would see it.
#[derive(Clone, Debug)]
pub enum Value {
    /// A key that a map does not have; prints `<no value>`.
    Missing,
    /// `nil`, JSON's null.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `float64`: every number that came from JSON.
    Float(f64),
    /// `string`
    String(Arc<str>),
    /// `[]interface{}`
    List(Arc<[Value]>),
    /// `map[string]interface{}`
    Map(Arc<Map>),
    /// A pointer to a struct: a field it does not have is an error.
    Struct(Arc<Vec<(String, Value)>>),
    /// `http.Header`, with its methods `Get` and `Values`.
    Header(Arc<BTreeMap<String, Vec<Arc<str>>>>),
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
        Self::Header(Arc::new(headers))
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
            Self::Missing | Self::Nil => false,
            Self::Bool(b) => *b,
            Self::Int(n) | Self::Duration(n) => *n != 0,
            Self::Uint(n) => *n != 0,
            Self::Float(f) => *f != 0.0,
            Self::String(s) => !s.is_empty(),
            Self::List(items) => !items.is_empty(),
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
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(_) => "*struct",
            Self::Header(_) => "http.Header",
            Self::Duration(_) => "time.Duration",
            Self::Error(_) => "error",
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

/// Go's `time.Duration.String`: `1m30s`, `1.5s`, `2µs`, `0s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = |value: u64, unit: u64| {
        let mut text = (value / unit).to_string();
        let rest = value % unit;
        if rest > 0 {
            let digits = unit.ilog10() as usize;
            let _ = write!(text, ".{rest:0digits$}");
            text.truncate(text.trim_end_matches('0').len());
        }
        text
    };
    match magnitude {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{sign}{n}ns"),
        n if n < 1_000_000 => format!("{sign}{}µs", fraction(n, 1_000)),
        n if n < 1_000_000_000 => format!("{sign}{}ms", fraction(n, 1_000_000)),
        n => {
            let seconds = n / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = fraction(n % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}s"),
                (0, _) => format!("{sign}{minutes}m{rest}s"),
                _ => format!("{sign}{hours}h{minutes}m{rest}s"),
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (3_600_000_000_000, "1h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(duration_text(nanos), text);
        }
    }

    #[test]
    fn header_names_are_canonical() {
        assert_eq!(canonical("x-api-KEY"), "X-Api-Key");
        assert_eq!(canonical("a b"), "a b");
    }
}
