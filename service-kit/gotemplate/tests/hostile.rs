//! No template and no data makes the engine panic or run for ever.

use gotemplate::{Functions, Template, Value};
use proptest::prelude::*;

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{{".to_owned()),
        Just("}}".to_owned()),
        Just("{{- ".to_owned()),
        Just(" -}}".to_owned()),
        Just("{{range 100000}}".to_owned()),
        Just("{{range .l}}".to_owned()),
        Just("{{if .m.a}}".to_owned()),
        Just("{{end}}".to_owned()),
        Just("{{else}}".to_owned()),
        Just("{{define \"t\"}}{{template \"t\" .}}{{end}}".to_owned()),
        Just("{{template \"t\" .}}".to_owned()),
        Just("{{$x := index .l -1}}".to_owned()),
        Just("{{printf \"%*.*f|%[9]d|%!\" 5 .l .f}}".to_owned()),
        Just("{{slice .s 1 2}}".to_owned()),
        Just("((((((".to_owned()),
        Just("|".to_owned()),
        Just(".s".to_owned()),
        "\\PC{0,6}",
    ]
}

proptest! {
    #[test]
    fn text_of_any_shape_ends(pieces in prop::collection::vec(piece(), 0..12)) {
        let data = Value::map([
            ("l", Value::list([Value::Int(1), Value::from("x")])),
            ("s", Value::from("äb")),
            ("f", Value::Float(-0.0)),
            ("m", Value::map([("a", Value::Bool(true))])),
        ]);
        if let Ok(template) = Template::parse(&pieces.concat(), &Functions::body()) {
            let _ = template.execute(&data);
        }
    }
}

#[test]
fn bounds_hold() {
    let run =
        |text: &str| Template::parse(text, &Functions::header()).unwrap().execute(&Value::Nil);
    assert!(run("{{range 200}}{{range 200}}x{{end}}{{end}}").is_err());
    assert!(run("{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}").is_err());
    assert!(run("{{range 9000}}0123456789{{end}}").is_err());
    assert!(Template::parse(&"(".repeat(60_000), &Functions::header()).is_ok());
    assert!(Template::parse(&format!("{{{{{}", "(".repeat(60_000)), &Functions::header()).is_err());
    assert!(Template::parse(&"{{if 1}}".repeat(8_000), &Functions::header()).is_err());
    assert!(Template::parse(&"x".repeat(65_537), &Functions::header()).is_err());
    assert!(Template::parse("{{json \"\" .}}", &Functions::header()).is_err());
}
