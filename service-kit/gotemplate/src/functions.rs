//! The functions that a template may call.

/// A function; [`Functions`] says which of them a template has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    And,
    Or,
    Not,
    Len,
    Index,
    Slice,
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
    Call,
    HasKey,
    DoNotSet,
    Json,
}

const BUILTINS: &[(&str, Function)] = &[
    ("and", Function::And),
    ("call", Function::Call),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("html", Function::Html),
    ("index", Function::Index),
    ("js", Function::Js),
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
    ("hasKey", Function::HasKey),
    ("doNotSet", Function::DoNotSet),
];

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
        if name == "json" {
            return self.json.then_some(Function::Json);
        }
        BUILTINS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }
}
