//! The functions that a template may call, and what they take.

/// A function; [`Functions`] says which of them a template has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    And,
    Or,
    Not,
    Len,
    Index,
    Slice,
    Call,
    Print,
    Printf,
    Println,
    Html,
    Js,
    Urlquery,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    HasKey,
    DoNotSet,
    Json,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Anything, also the absence of a value (Go's `reflect.Value`).
    Value,
    /// Anything; the absence of a value becomes nil (`interface{}`).
    Any,
    /// `string`
    String,
    /// `map[string]interface{}` or nil.
    Map,
    /// `time.Duration`
    Duration,
}

impl Type {
    /// Its name in Go.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Value => "reflect.Value",
            Self::Any => "interface {}",
            Self::String => "string",
            Self::Map => "map[string]interface {}",
            Self::Duration => "time.Duration",
        }
    }
}

/// Parameters: fixed ones, and the type of those that may follow.
pub(crate) struct Signature {
    pub fixed: &'static [Type],
    pub variadic: Option<Type>,
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("and", Function::And),
    ("call", Function::Call),
    ("doNotSet", Function::DoNotSet),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("hasKey", Function::HasKey),
    ("html", Function::Html),
    ("index", Function::Index),
    ("js", Function::Js),
    ("json", Function::Json),
    ("le", Function::Le),
    ("len", Function::Len),
    ("lt", Function::Lt),
    ("ne", Function::Ne),
    ("not", Function::Not),
    ("or", Function::Or),
    ("print", Function::Print),
    ("printf", Function::Printf),
    ("println", Function::Println),
    ("slice", Function::Slice),
    ("urlquery", Function::Urlquery),
];

impl Function {
    /// Its name in a template.
    pub(crate) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn signature(self) -> Signature {
        use Type::{Any, Map, String, Value};
        let (fixed, variadic): (&'static [Type], _) = match self {
            Self::And | Self::Or | Self::Index | Self::Slice | Self::Call | Self::Eq => {
                (&[Value], Some(Value))
            }
            Self::Not | Self::Len => (&[Value], None),
            Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => (&[Value, Value], None),
            Self::Print | Self::Println | Self::Html | Self::Js | Self::Urlquery => {
                (&[], Some(Any))
            }
            Self::Printf => (&[String], Some(Any)),
            Self::HasKey => (&[Map, String], None),
            Self::DoNotSet => (&[], None),
            Self::Json => (&[String, Any], None),
        };
        Signature { fixed, variadic }
    }
}

/// Which functions a template has beside Go's own.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    json: bool,
}

impl Functions {
    /// Of a header's value: `hasKey` and `doNotSet`.
    pub fn header() -> Self {
        Self { json: false }
    }

    /// Of a body: also `json`.
    pub fn body() -> Self {
        Self { json: true }
    }

    pub(crate) fn find(self, name: &str) -> Option<Function> {
        let (_, function) = FUNCTIONS.iter().find(|(known, _)| *known == name)?;
        (*function != Function::Json || self.json).then_some(*function)
    }
}
