//! What is known of an expression's type before there is a request: enough to find mistakes, never
//! to refuse what could be meant.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::operators as op;

/// A type, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Any.
    Any,
    Bool,
    /// `int`, `uint` and `double` are compared with each other.
    Number,
    Text,
    Bytes,
    Time,
    Duration,
    Null,
    List(Arc<Type>),
    /// From texts to this.
    Map(Arc<Type>),
}

impl Type {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    pub(super) fn map(of: Self) -> Self {
        Self::Map(Arc::new(of))
    }

    /// Whether it can be this one, and not only something else.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.may_be(b),
            (a, b) => a == b,
        }
    }

    /// Of one of both.
    pub(super) fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Any }
    }

    /// Whether values of it are small, whatever they are.
    pub(super) fn is_small(&self) -> bool {
        matches!(self, Self::Bool | Self::Number | Self::Time | Self::Duration | Self::Null)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "a value",
            Self::Bool => "a bool",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Bytes => "bytes",
            Self::Time => "a timestamp",
            Self::Duration => "a duration",
            Self::Null => "null",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        })
    }
}

/// How a function is called.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Global,
    Method,
    Both,
}
use Style::{Both, Global, Method};

/// Name, style, number of arguments (with the target), result.
type Signature = (&'static str, Style, &'static [usize], Type);

/// Functions that expressions may call: those whose cost is in proportion to their arguments.
const FUNCTIONS: &[Signature] = &[
    ("size", Both, &[1], Type::Number),
    ("contains", Method, &[2], Type::Bool),
    ("startsWith", Method, &[2], Type::Bool),
    ("endsWith", Method, &[2], Type::Bool),
    ("matches", Both, &[2], Type::Bool),
    ("charAt", Method, &[2], Type::Text),
    ("indexOf", Method, &[2, 3], Type::Number),
    ("lastIndexOf", Method, &[2, 3], Type::Number),
    ("lowerAscii", Method, &[1], Type::Text),
    ("upperAscii", Method, &[1], Type::Text),
    ("trim", Method, &[1], Type::Text),
    ("split", Method, &[2, 3], Type::Any),
    ("substring", Method, &[2, 3], Type::Text),
    ("bool", Global, &[1], Type::Bool),
    ("bytes", Global, &[1], Type::Bytes),
    ("double", Global, &[1], Type::Number),
    ("duration", Global, &[1], Type::Duration),
    ("dyn", Global, &[1], Type::Any),
    ("int", Global, &[1], Type::Number),
    ("string", Global, &[1], Type::Text),
    ("timestamp", Global, &[1], Type::Time),
    ("type", Global, &[1], Type::Any),
    ("uint", Global, &[1], Type::Number),
    ("getFullYear", Method, &[1, 2], Type::Number),
    ("getMonth", Method, &[1, 2], Type::Number),
    ("getDayOfYear", Method, &[1, 2], Type::Number),
    ("getDayOfMonth", Method, &[1, 2], Type::Number),
    ("getDate", Method, &[1, 2], Type::Number),
    ("getDayOfWeek", Method, &[1, 2], Type::Number),
    ("getHours", Method, &[1, 2], Type::Number),
    ("getMinutes", Method, &[1, 2], Type::Number),
    ("getSeconds", Method, &[1, 2], Type::Number),
    ("getMilliseconds", Method, &[1, 2], Type::Number),
    ("hasValue", Method, &[1], Type::Bool),
    ("or", Method, &[2], Type::Any),
    ("orValue", Method, &[2], Type::Any),
    ("value", Method, &[1], Type::Any),
    ("optional.none", Global, &[0], Type::Any),
    ("optional.of", Global, &[1], Type::Any),
    ("optional.ofNonZeroValue", Global, &[1], Type::Any),
];

/// What a call gives. `arguments` begin with the target of a method.
pub(super) fn of_call(name: &str, is_method: bool, arguments: &[Type]) -> Result<Type, String> {
    if let Some(of) = of_operator(name, arguments) {
        return of;
    }
    let Some((_, style, counts, result)) = FUNCTIONS.iter().find(|f| f.0 == name) else {
        return Err(format!("there is no function `{name}`"));
    };
    if *style != Both && (*style == Method) != is_method {
        let way = if *style == Method { "value.f(…)" } else { "f(value)" };
        return Err(format!("`{name}` is called like {}", way.replace('f', name)));
    }
    if !counts.contains(&arguments.len()) {
        return Err(format!("`{name}` does not take so many arguments"));
    }
    let takes_text = matches!(
        name,
        "contains" | "startsWith" | "endsWith" | "matches" | "lowerAscii" | "upperAscii" | "trim"
    );
    if takes_text && let Some(wrong) = arguments.iter().find(|a| !a.may_be(&Type::Text)) {
        return Err(format!("`{name}` is for strings, not for {wrong}"));
    }
    Ok(result.clone())
}

/// What an operator gives; none when it is none.
fn of_operator(name: &str, arguments: &[Type]) -> Option<Result<Type, String>> {
    let all = |of: &Type| match arguments.iter().find(|a| !a.may_be(of)) {
        Some(wrong) => Err(format!("{wrong} is used as {of}")),
        None => Ok(()),
    };
    Some(match (name, arguments) {
        (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, _) => {
            all(&Type::Bool).map(|()| Type::Bool)
        }
        (op::CONDITIONAL, [condition, yes, no]) => {
            if condition.may_be(&Type::Bool) {
                Ok(yes.clone().or(no.clone()))
            } else {
                Err(format!("{condition} is used as a bool"))
            }
        }
        (op::EQUALS | op::NOT_EQUALS, [a, b]) => {
            if a.may_be(b) || *a == Type::Null || *b == Type::Null {
                Ok(Type::Bool)
            } else {
                Err(format!("{a} never equals {b}"))
            }
        }
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => {
            let has_order = |t: &Type| !matches!(t, Type::List(_) | Type::Map(_) | Type::Null);
            if a.may_be(b) && has_order(a) && has_order(b) {
                Ok(Type::Bool)
            } else {
                Err(format!("{a} and {b} have no order"))
            }
        }
        (op::IN, [item, Type::List(of)]) if !item.may_be(of) => {
            Err(format!("{item} is never in a list of others"))
        }
        (op::IN, [_, Type::List(_) | Type::Map(_) | Type::Any]) => Ok(Type::Bool),
        (op::IN, [_, other]) => Err(format!("`in` looks into a list or a map, not into {other}")),
        (op::INDEX, [Type::List(of) | Type::Map(of), _]) => Ok(Type::clone(of)),
        (op::INDEX, [Type::Any, _]) | (op::OPT_INDEX | op::OPT_SELECT, [_, _]) => Ok(Type::Any),
        (op::INDEX, [other, _]) => Err(format!("{other} has no index")),
        (op::NEGATE, [a]) => Ok(a.clone()),
        (op::ADD, [a @ (Type::Text | Type::Bytes | Type::Number | Type::List(_)), b]) => {
            if a.may_be(b) { Ok(a.clone()) } else { Err(format!("{a} and {b} cannot be added")) }
        }
        (op::ADD, [Type::Bool | Type::Map(_) | Type::Null, b]) => {
            Err(format!("{} and {b} cannot be added", arguments[0]))
        }
        (op::ADD | op::SUBSTRACT, [_, _]) => Ok(Type::Any),
        (op::MULTIPLY | op::DIVIDE | op::MODULO, [_, _]) => {
            all(&Type::Number).map(|()| Type::Number)
        }
        _ => return None,
    })
}
