//! Go's `fmt`: `Sprint`, `Sprintln` and `Sprintf` with its verbs, flags and complaints.

mod flags;
mod float;
mod format;
mod number;
mod text;

pub(crate) use format::sprintf;
pub(crate) use text::is_printable;

use crate::value::{Value, duration};
use flags::Flags;

/// What stands for the address of a pointer: Go prints another one in each run.
const ADDRESS: u64 = 0x00c0_0000_0000;

/// The text would be longer than it may be.
#[derive(Debug)]
pub(crate) struct TooLong;

/// Operands one after the other; a space between two that are no strings.
pub(crate) fn sprint(values: &[Value], limit: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(limit);
    let string = |value: &Value| matches!(value, Value::String(_));
    printer.row(values, string, |printer, value| printer.value(value, 'v'));
    printer.finish()
}

/// The same, each as an action prints it.
pub(crate) fn sprint_actions(values: &[Value], limit: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(limit);
    let string = |value: &Value| matches!(value, Value::String(_) | Value::Missing | Value::Nil);
    printer.row(values, string, Printer::action);
    printer.finish()
}

/// Operands with spaces between them and a newline.
pub(crate) fn sprintln(values: &[Value], limit: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(limit);
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            printer.push(" ");
        }
        printer.value(value, 'v');
    }
    printer.push("\n");
    printer.finish()
}

/// As a template prints the value of an action: `<no value>` when there is none, a pointer's struct.
pub(crate) fn sprint_action(value: &Value, limit: usize) -> Result<String, TooLong> {
    let mut printer = Printer::new(limit);
    printer.action(value);
    printer.finish()
}

/// A text that grows to a limit; what comes after that is dropped and remembered as an error.
struct Printer {
    out: String,
    limit: usize,
    too_long: bool,
    flags: Flags,
    /// Inside of `%!verb(…)`: methods are not asked for a text.
    complaining: bool,
}

impl Printer {
    fn new(limit: usize) -> Self {
        let flags = Flags::default();
        Self { out: String::new(), limit, too_long: false, flags, complaining: false }
    }

    fn finish(self) -> Result<String, TooLong> {
        if self.too_long { Err(TooLong) } else { Ok(self.out) }
    }

    fn push(&mut self, text: &str) {
        if self.out.len() + text.len() > self.limit {
            self.too_long = true;
        } else {
            self.out.push_str(text);
        }
    }

    /// `count` times `c`, which is one byte long.
    fn repeat(&mut self, c: char, count: usize) {
        if count > self.limit.saturating_sub(self.out.len()) {
            self.too_long = true;
        } else {
            self.out.extend(std::iter::repeat_n(c, count));
        }
    }

    fn row(
        &mut self,
        values: &[Value],
        is_string: impl Fn(&Value) -> bool,
        print: impl Fn(&mut Self, &Value),
    ) {
        let mut after_string = true;
        for value in values {
            let string = is_string(value);
            if !string && !after_string {
                self.push(" ");
            }
            print(self, value);
            after_string = string;
        }
    }

    fn action(&mut self, value: &Value) {
        match value {
            Value::Missing | Value::Nil => self.push("<no value>"),
            Value::Struct(fields) => self.fields(fields, 'v', 0),
            value => self.value(value, 'v'),
        }
    }

    /// An operand, with the verbs that any type has.
    fn value(&mut self, value: &Value, verb: char) {
        match (value, verb) {
            (Value::Missing | Value::Nil, 'v' | 'T') => self.padded("<nil>"),
            (Value::Missing | Value::Nil, verb) => self.push(&format!("%!{verb}(<nil>)")),
            (value, 'T') => self.string(value.type_name(), 's'),
            (value, 'p') if is_reference(value) => {
                self.hexadecimal(ADDRESS, !self.flags.sharp);
            }
            (value, 'p') => self.complain(value, verb),
            (value, verb) => {
                if !self.method(value, verb) {
                    self.plain(value, verb, 0);
                }
            }
        }
    }

    /// The text of a value that has the method `Error` or `String`; whether that was all.
    fn method(&mut self, value: &Value, verb: char) -> bool {
        if self.complaining {
            return false;
        }
        let composed =
            is_reference(value) || matches!(value, Value::Duration(_) | Value::NilPointer);
        if verb == 'w' && composed {
            self.complain(value, verb);
            return true;
        }
        if self.flags.sharp_v || !matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            return false;
        }
        match value {
            Value::Error(error) => self.string(&error.message, verb),
            Value::Duration(nanos) => self.string(&duration::text(*nanos), verb),
            _ => return false,
        }
        true
    }

    /// `%!verb(type=value)`: the verb does not fit the type.
    fn complain(&mut self, value: &Value, verb: char) {
        let before = std::mem::replace(&mut self.complaining, true);
        self.push(&format!("%!{verb}({}=", value.type_name()));
        self.plain(value, 'v', 0);
        self.push(")");
        self.complaining = before;
    }

    /// A value by its kind; `depth` counts what it is inside of.
    fn plain(&mut self, value: &Value, verb: char, depth: usize) {
        if self.too_long || (depth > 0 && self.method(value, verb)) {
            return;
        }
        match value {
            Value::Missing | Value::Nil if self.flags.sharp_v => self.push("interface {}(nil)"),
            Value::Missing | Value::Nil => self.push("<nil>"),
            Value::NilPointer => match verb {
                'v' => self.padded("<nil>"),
                'b' | 'o' | 'd' | 'x' | 'X' => self.unsigned(value, 0, verb),
                verb => self.complain(value, verb),
            },
            Value::Bool(truth) => match verb {
                'v' | 't' => self.padded(if *truth { "true" } else { "false" }),
                verb => self.complain(value, verb),
            },
            Value::Int(n) | Value::Duration(n) => self.signed(value, *n, verb),
            Value::Uint(n) => self.unsigned(value, *n, verb),
            Value::Byte(n) => self.unsigned(value, u64::from(*n), verb),
            Value::Float(f) => self.float(value, *f, verb),
            Value::String(text) if is_text_verb(verb) => self.string(text, verb),
            Value::String(_) => self.complain(value, verb),
            Value::List(items) => self.sequence(value, items.iter(), |printer, item| {
                printer.plain(item, verb, depth + 1);
            }),
            Value::Strings(items) if items.is_empty() && self.flags.sharp_v => {
                self.push("[]string(nil)");
            }
            Value::Strings(items) => self.sequence(value, items.iter(), |printer, item| {
                printer.plain(&Value::String(item.clone()), verb, depth + 1);
            }),
            Value::Map(map) => self.sequence(value, map.entries.iter(), |printer, (key, item)| {
                printer.plain(&Value::from(key.as_str()), verb, depth + 1);
                printer.push(":");
                printer.plain(item, verb, depth + 1);
            }),
            Value::Header(headers) => {
                self.sequence(value, headers.iter(), |printer, (key, values)| {
                    printer.plain(&Value::from(key.as_str()), verb, depth + 1);
                    printer.push(":");
                    printer.plain(&Value::Strings(values.clone()), verb, depth + 1);
                });
            }
            Value::Struct(_) | Value::Error(_) if depth > 0 => self.pointer(value, verb),
            Value::Struct(fields) => {
                self.push("&");
                self.fields(fields, verb, depth + 1);
            }
            Value::Error(error) => {
                let fields = [("s".to_owned(), Value::from(error.message.as_str()))];
                self.push("&");
                self.fields(&fields, verb, depth + 1);
            }
        }
    }

    fn pointer(&mut self, value: &Value, verb: char) {
        match verb {
            'v' => self.hexadecimal(ADDRESS, !self.flags.sharp),
            'b' | 'o' | 'd' | 'x' | 'X' => self.unsigned(value, ADDRESS, verb),
            verb => {
                self.push(&format!("%!{verb}({}=", value.type_name()));
                self.hexadecimal(ADDRESS, true);
                self.push(")");
            }
        }
    }

    fn fields(&mut self, fields: &[(String, Value)], verb: char, depth: usize) {
        self.push("{");
        for (at, (name, field)) in fields.iter().enumerate() {
            if at > 0 {
                self.push(if self.flags.sharp_v { ", " } else { " " });
            }
            if self.flags.plus_v || self.flags.sharp_v {
                self.push(name);
                self.push(":");
            }
            let nil = matches!(field, Value::Nil);
            self.plain(if nil { &Value::NilPointer } else { field }, verb, depth + 1);
        }
        self.push("}");
    }

    /// `[a b]`, `map[k:v k:v]`, or with Go's syntax `type{a, b}`.
    fn sequence<T>(
        &mut self,
        value: &Value,
        items: impl Iterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        let map = matches!(value, Value::Map(_) | Value::Header(_));
        let (open, between, close) = match (self.flags.sharp_v, map) {
            (true, _) => (format!("{}{{", value.type_name()), ", ", "}"),
            (false, true) => ("map[".to_owned(), " ", "]"),
            (false, false) => ("[".to_owned(), " ", "]"),
        };
        self.push(&open);
        for (at, entry) in items.enumerate() {
            if self.too_long {
                return;
            }
            if at > 0 {
                self.push(between);
            }
            item(self, entry);
        }
        self.push(close);
    }
}

fn is_text_verb(verb: char) -> bool {
    matches!(verb, 'v' | 's' | 'q' | 'x' | 'X')
}

fn is_reference(value: &Value) -> bool {
    matches!(
        value,
        Value::List(_)
            | Value::Strings(_)
            | Value::Map(_)
            | Value::Header(_)
            | Value::Struct(_)
            | Value::Error(_)
    )
}
