//! Fuzz targets: whatever template and data, nothing panics and the output is bounded. `cargo test`
//! runs each on its corpus and for two seconds on new inputs; `cargo bolero test NAME` searches with
//! libFuzzer for as long as one likes.

use std::time::Duration;

use bolero::TypeGenerator;
use gotemplate::{Functions, Template, Value};

const TIME: Duration = Duration::from_secs(2);

fn data() -> Value {
    let status = |reset| {
        Value::structure([("Code", Value::Int(2)), ("DurationUntilReset", Value::Duration(reset))])
    };
    Value::map([
        ("s", Value::from("äb\u{0}<&>")),
        ("n", Value::Int(i64::MIN)),
        ("u", Value::Uint(u64::MAX)),
        ("f", Value::Float(-0.0)),
        ("nil", Value::Nil),
        ("t", Value::Bool(true)),
        ("d", Value::Duration(i64::MAX)),
        ("l", Value::list([Value::Int(1), Value::from("x"), Value::Nil, status(i64::MIN)])),
        ("m", Value::map([("a", Value::map([("b", Value::Float(f64::NAN))]))])),
        ("h", Value::header([("X-A", "1"), ("X-A", "2")])),
        ("e", Value::error("it failed", [("code", Value::Int(5))])),
        (
            "RateLimitResponse",
            Value::structure([("Statuses", Value::list([status(1), status(0)]))]),
        ),
    ])
}

fn run(text: &str) {
    for functions in [Functions::header(), Functions::body()] {
        let Ok(template) = Template::parse(text, &functions) else { continue };
        match template.execute(&data()) {
            Ok(output) => assert!(output.text.len() <= 64 << 10, "{} bytes", output.text.len()),
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
}

#[test]
fn texts() {
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|bytes: &[u8]| run(&String::from_utf8_lossy(bytes)));
}

/// A part of a template that parses, more often than not.
#[derive(Clone, Debug, TypeGenerator)]
enum Part {
    Text(u8),
    /// A function and its arguments.
    Action(u8, Vec<u8>),
    /// `$x := …` or `$x = …`.
    Assign(bool, u8, u8),
    /// `if`, `range`, `with`, `define`.
    Open(u8, u8),
    Else,
    Break(bool),
    End,
    Call,
}

const TEXTS: &[&str] = &["x", " ", "\n", "{{- /* c */ -}}", "ä", "{{", "}}"];
const FUNCTIONS: &[&str] = &[
    "", "print", "printf", "println", "len", "index", "slice", "and", "or", "not", "eq", "ne",
    "lt", "le", "gt", "ge", "html", "js", "urlquery", "hasKey", "doNotSet", "json", "call",
];
const ARGUMENTS: &[&str] = &[
    ".",
    "$",
    "$x",
    ".s",
    ".n",
    ".u",
    ".f",
    ".nil",
    ".t",
    ".d",
    ".l",
    ".m",
    ".m.a",
    ".m.a.b",
    ".h",
    ".e",
    ".none",
    "0",
    "1",
    "-1",
    "1e99",
    "'x'",
    "\"\"",
    "\"%v|%5.2f|%[9]d|%*s|%!\"",
    "`raw`",
    "true",
    "nil",
    "(len .l)",
    "(index .l 3)",
    ".d.Seconds",
    "(.h.Get \"X-A\")",
    "99999999",
    "(index .RateLimitResponse.Statuses 0).DurationUntilReset",
    "| print",
    "| len",
    "| html",
    "\"%70000d\"",
    "(print .m)",
];

fn argument(number: u8) -> &'static str {
    ARGUMENTS[usize::from(number) % ARGUMENTS.len()]
}

/// Blocks are closed at the end.
fn write(parts: &[Part]) -> String {
    let mut text = String::from("{{$x := 1}}");
    let mut open = 0;
    for part in parts {
        match part {
            Part::Text(n) => text += TEXTS[usize::from(*n) % TEXTS.len()],
            Part::Action(n, arguments) => {
                let arguments: Vec<&str> = arguments.iter().map(|a| argument(*a)).take(4).collect();
                let function = FUNCTIONS[usize::from(*n) % FUNCTIONS.len()];
                text += &format!("{{{{{function} {}}}}}", arguments.join(" "));
            }
            Part::Assign(new, function, value) => {
                let function = FUNCTIONS[usize::from(*function) % FUNCTIONS.len()];
                let sign = if *new { ":=" } else { "=" };
                text += &format!("{{{{$x {sign} {function} {} $x}}}}", argument(*value));
            }
            Part::Open(kind, value) => {
                let value = argument(*value);
                text += &match kind % 5 {
                    0 => format!("{{{{if {value}}}}}"),
                    1 => format!("{{{{range {value}}}}}"),
                    2 => format!("{{{{range $i, $x := {value}}}}}"),
                    3 => format!("{{{{with $y := {value}}}}}"),
                    _ => "{{define \"t\"}}".to_owned(),
                };
                open += 1;
            }
            Part::Else if open > 0 => text += "{{else}}",
            Part::Break(stops) => text += if *stops { "{{break}}" } else { "{{continue}}" },
            Part::End if open > 0 => {
                text += "{{end}}";
                open -= 1;
            }
            Part::Call => text += "{{template \"t\" .}}",
            Part::Else | Part::End => {}
        }
    }
    text + &"{{end}}".repeat(open)
}

#[test]
fn parts() {
    bolero::check!()
        .with_type::<Vec<Part>>()
        .with_test_time(TIME)
        .for_each(|parts: &Vec<Part>| run(&write(parts)));
}
